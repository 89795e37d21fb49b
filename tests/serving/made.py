"""A small log with genres, and the ways in which its bundles are made."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:  # as tests/conftest.py has it
    from workbench.data import Dataset

N_USERS, N_ITEMS, EACH = 30, 64, 20
GENRES = ("comedy", "drama", "war", "")
POLICY = """
[[step]]
kind = "cap"
by = "genre"
most = 2

[[step]]
kind = "mmr"
weight = 0.6
"""


def write_log(folder: Path, without: str) -> None:
    """People with 20 events each out of 64 items, the first ones and those of a taste the likelier, two at each moment; nobody has the
    last item. without: an item that is left out everywhere."""
    rng = np.random.default_rng(7)
    lines = ["user_id,item_id,rating,timestamp"]
    for user in range(N_USERS):
        own = (user + np.arange(1, N_ITEMS)) % 3 == 0
        weights = (1 + 9 * own) / np.arange(1, N_ITEMS)
        for place, item in enumerate(rng.choice(N_ITEMS - 1, EACH, replace=False, p=weights / weights.sum())):
            lines.append(f"u{user:02d},i{item:02d},{1 + (user + item) % 5},{10_000 + 400 * user + 50 * (place // 2)}")
    lines = [line for line in lines if f",{without}," not in line]
    (folder / "log.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    told = [f"i{item:02d},{GENRES[item % 4]}{'|war' if item % 8 == 1 else ''},{1950 + item if item % 5 else ''}" for item in range(N_ITEMS)]
    told = [line for line in told if not line.startswith(f"{without},")]
    people = [f"u{user:02d},{'abc'[user % 3]}" for user in range(N_USERS)]
    (folder / "users.csv").write_text("\n".join(["user_id,town", *people]) + "\n", encoding="utf-8")
    (folder / "items.csv").write_text("\n".join(["item_id,genre,year", *told]) + "\n", encoding="utf-8")


def made_data(root: Path, without: str = "nothing") -> "Dataset":
    from workbench.data import load_dataset
    from workbench.data.add import add
    from workbench.data.request import Request

    for name in ("datasets", "notebooks"):
        (root / name).mkdir()
    write_log(root, without)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_HOME", str(root))
        columns = {"user_id": "user_id", "item_id": "item_id", "value": "rating", "timestamp": "timestamp"}
        told = {"name": "small", "columns": columns, "unit": "s", "positive_min": 4.0, "repeats": False}
        add(Request(file=root / "log.csv", item_table=root / "items.csv", user_table=root / "users.csv", **told))
        card = root / "datasets" / "small.toml"
        text = re.sub(r"^town = .*$", 'town = "sensitive"', card.read_text(encoding="utf-8"), flags=re.MULTILINE)
        card.write_text(text + '\n[slices]\ngenre = { table = "items", column = "genre", separator = "|" }\n', encoding="utf-8")
        return load_dataset("small")
