"""Logs made up for one test each, split as anybody's would be, and each person's events in order by a plain loop."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from tests.evaluation.made import tables
from workbench.data import Holdout, Interactions, Side, load_card
from workbench.data.splits import Split, split

CARD = load_card("ml-100k")
"""Liked is a value of 4 or 5."""
PRIME = 2**31 - 1


class Event(NamedTuple):
    user: int
    item: int
    value: float
    time: int


def log(events: Sequence[Event], n_items: int, *, repeats: bool = False, folder: Path = Path("made")) -> SimpleNamespace:
    """What a split needs of a data set. folder: where its ledger is."""
    stored = sorted(events, key=lambda each: (each.user, each.time, each.item))
    columns = {
        "user_code": pa.array([each.user for each in stored], pa.int32()),
        "item_code": pa.array([each.item for each in stored], pa.int32()),
        "value": pa.array([each.value for each in stored], pa.float64()),
        "timestamp": pa.array([each.time for each in stored], pa.int64()),
        "event": pa.nulls(len(stored), pa.string()),
        "place": pa.array(range(len(stored)), pa.int64()),
    }

    def connect() -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect()
        connection.from_arrow(pa.table(columns)).create("coded_events")
        return connection

    sizes = {"users": 1 + max(each.user for each in events), "items": n_items}
    snapshot = SimpleNamespace(id="made@0", name="made", has_times=True, rows=sizes.__getitem__, folder=folder / "0")
    card = CARD.model_copy(update={"meaning": CARD.meaning.model_copy(update={"repeats": repeats})})
    return SimpleNamespace(card=card, snapshot=snapshot, connect=connect, item_ids=[f"i{code:03d}" for code in range(n_items)])


def timelines(events: Iterable[Event], seed: int) -> dict[int, list[Event]]:
    """Each person's events by time, those of one moment by the fifth power of a mix of person and item (see `rules.py`)."""
    digest = hashlib.sha256(str(seed).encode()).digest()
    a, b, c = (1 + int.from_bytes(digest[n : n + 8], "big") % (PRIME - 1) for n in (0, 8, 16))
    found: dict[int, list[Event]] = {}
    for each in sorted(events, key=lambda e: (e.user, e.time, pow((a * e.user + b * e.item + c) % PRIME, 5, PRIME))):
        found.setdefault(each.user, []).append(each)
    return found


def some_events(seed: int, *, n_users: int = 60, n_items: int = 60, low: int = 8, high: int = 40, repeats: bool = False) -> list[Event]:
    """Between `low` and `high` events each, about three at a moment, half of them liked; people begin at moments of their own."""
    rng = np.random.default_rng(seed)
    events = []
    for user in range(n_users):
        n, start = int(rng.integers(low, high + 1)), int(rng.integers(60))
        items = rng.choice(n_items, size=n, replace=repeats)
        times = start + rng.integers(0, 1 + n // 3, size=n)
        values = rng.choice([2.0, 5.0], size=n)
        told = zip(items.tolist(), values.tolist(), times.tolist(), strict=True)
        events += [Event(user, item, value, time) for item, value, time in told]
    return events


def coloured(n_users: int = 80, n_items: int = 60, each: int = 26, seed: int = 0) -> list[Event]:
    """Person u likes items i with u + i even, of which they have `each` in an order of their own: what one did says what comes next."""
    rng = np.random.default_rng(seed)
    return [
        Event(user, int(item), 5.0, 100 * user + place)
        for user in range(n_users)
        for place, item in enumerate(rng.permutation(np.arange(user % 2, n_items, 2))[:each])
    ]


def colours(n_items: int = 60) -> Tensor:
    """float32 (n_items, 2): what `coloured` people go by."""
    return torch.eye(2)[torch.arange(n_items) % 2]


def described(n_items: int = 60) -> Side:
    return Side(items=colours(n_items), texts=colours(n_items))


def people(privacy: Mapping[str, str], columns: Mapping[str, Sequence[str]], **slices: dict) -> SimpleNamespace:
    """What groupings of people need of a data set."""
    data = tables(users=dict(columns), **slices)
    data.card.privacy = dict(privacy)
    return data


def by_colour(n_users: int = 80) -> SimpleNamespace:
    """People of whom the table says the colour."""
    plan = {"table": "users", "column": "plan"}
    return people({"plan": "public"}, {"plan": [("even", "odd")[user % 2] for user in range(n_users)]}, plan=plan)


def new_people(events: Sequence[Event], n_items: int, seed: int = 0, **options: object) -> Split:
    """By the split `new_user`, a third of the people for each part."""
    return split(log(events, n_items), "new_user", seed, fractions=(0.4, 0.3, 0.3), **options)


def had(events: Interactions, user: int) -> list[int]:
    """The person's items, oldest first."""
    return events.items[events.offsets[user] : events.offsets[user + 1]].tolist()


def unsealed(holdout: Holdout) -> Holdout:
    """Looks at it are not written down."""
    return replace(holdout, ledger=None)
