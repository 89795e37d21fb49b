"""A project folder of its own for every test that writes, and ML-100k prepared once."""

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest

from workbench.paths import home as project_home

if TYPE_CHECKING:  # a conftest that holds DuckDB makes it report leaks when the tests are over
    from workbench.data import Dataset

ROOT = Path(__file__).parent.parent

CARD = """
title = "Tiny"
source = "package:tinydata==1.0/log"
licence = "made up"
version = 1
[files]
events = {{ name = "tiny.inter", sha256 = "{events}" }}
items = {{ name = "tiny.item", sha256 = "{items}" }}
[columns]
user_id = "user_id:token"
item_id = "item_id:token"
value = "rating:float"
timestamp = {{ column = "timestamp:float", unit = "s", zone = "UTC" }}
[meaning]
positive = {{ column = "value", min = 4 }}
repeats = false
[split]
default = "user_time"
because = "it is tiny"
[privacy]
user_id = "identifier"
item_id = "public"
value = "behavioural"
timestamp = "behavioural"
title = "public"
"""

SHORTER: dict[str, dict[str, object]] = {
    "02_retrieval": {"models": "random, popularity, item_knn, session_knn, ease, mf", "trainings": 2, "windows": 2},
    "03_ranking": {"rankers": "trees, multi_task"},
    "04_cold_start": {"methods": "popularity, content, item_knn, ease, evidence_blend", "requests": 200, "rounds": 2},
}
"""Defaults of notebooks in tests of what surrounds them: seconds instead of minutes, and every part of a page still there."""

Rows = list[tuple[str, str, float, float]]


def tiny_rows(n_users: int = 8, n_items: int = 12, each: int = 10) -> Rows:
    """(user, item, rating, time): person u has items u, u + 1, …; every second one is liked; pairs of events share a moment."""
    return [
        (f"u{u:02d}", f"i{(u + n) % n_items:02d}", 5.0 - 2 * (n % 2), 1000.0 + 100 * u + n // 2)
        for u in range(n_users)
        for n in range(each)
    ]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project: WORKBENCH_HOME points at it, for child processes too."""
    root = tmp_path / "project"
    for folder in ("datasets", "notebooks", "reports"):
        (root / folder).mkdir(parents=True)
    (root / "notebooks" / "profiles.toml").write_text("", encoding="utf-8")
    monkeypatch.setenv("WORKBENCH_HOME", str(root))
    return root


@pytest.fixture
def tiny(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """`tiny(rows, titles)` installs an importless package that holds a log, writes the card `tiny`, and returns the card's path."""
    site = tmp_path / "site"
    log = site / "tinydata" / "log"
    log.mkdir(parents=True)
    (site / "tinydata-1.0.dist-info").mkdir()
    (site / "tinydata-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: tinydata\nVersion: 1.0\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))

    def install(rows: Rows | None = None, titles: dict[str, str] | None = None) -> Path:
        rows = tiny_rows() if rows is None else rows
        items = sorted({row[1] for row in rows})
        lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float", *("\t".join(map(str, row)) for row in rows)]
        (log / "tiny.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
        named = ["item_id:token\ttitle:token_seq", *(f"{item}\t{(titles or {}).get(item, 'Film ' + item)}" for item in items)]
        (log / "tiny.item").write_text("\n".join(named) + "\n", encoding="utf-8")
        hashes = {
            role: hashlib.sha256((log / f"tiny.{end}").read_bytes()).hexdigest() for role, end in (("events", "inter"), ("items", "item"))
        }
        card = home / "datasets" / "tiny.toml"
        card.write_text(CARD.format(**hashes), encoding="utf-8")
        return card

    yield install
    sys.path_importer_cache.clear()


@pytest.fixture(scope="session")
def ml100k(tmp_path_factory: pytest.TempPathFactory) -> "Dataset":
    """ML-100k, prepared in a folder of its own, so that the checkout's snapshots stay as they are."""
    from workbench.data import load_dataset

    root = tmp_path_factory.mktemp("ml100k")
    shutil.copytree(project_home() / "datasets", root / "datasets", ignore=shutil.ignore_patterns("snapshots"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_HOME", str(root))
        return load_dataset("ml-100k")


@pytest.fixture
def project(home: Path, ml100k: "Dataset") -> Path:
    """The notebooks and ML-100k's snapshot in a folder of its own."""
    shutil.copytree(ml100k.snapshot.folder.parent.parent.parent, home / "datasets", dirs_exist_ok=True)
    for path in (ROOT / "notebooks").glob("*.*"):
        shutil.copy(path, home / "notebooks")
    return home


def keep(notebooks: Path, names: Sequence[str]) -> None:
    """A suite of these notebooks alone, each after the one before."""
    needs = [[], *([each] for each in names)]
    plans = (f"[{name}]\nneeds = {json.dumps(before)}\n" for name, before in zip(names, needs, strict=False))
    (notebooks / "profiles.toml").write_text("".join(plans), encoding="utf-8")


def shorten(notebooks: Path) -> None:
    """Give the copies of the notebooks in this folder the defaults of `SHORTER`."""
    for name, values in SHORTER.items():
        path = notebooks / f"{name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        (cell,) = (each for each in notebook.cells if "parameters" in each.metadata.get("tags", []))
        for parameter, value in values.items():
            line = re.compile(rf"^({parameter}: \w+ = ).*?(  #)", re.MULTILINE)
            cell.source, n = line.subn(lambda found, value=value: f"{found[1]}{value!r}{found[2]}", cell.source)
            assert n == 1, f"{name} has no parameter {parameter}"
        nbformat.write(notebook, path)
