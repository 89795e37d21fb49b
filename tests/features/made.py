"""Logs, requests and features, small and made up."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from hypothesis import strategies as st

from workbench.features import Asked, Feature, Tables, feature
from workbench.features.definition import DAY, KINDS, OF_ENTITY

N_USERS, N_ITEMS = 3, 5
QUARTER = DAY // 4
TYPES = ("view", "it's")
ENTITIES = ("user", "item", "user_item", "user_group")
GENRES = {0: (0,), 1: (0, 1), 2: (1, 2), 3: (2,)}
"""The groups of each item; item 4 is in none."""
TALES = {"user": {"age": ["20", "x", None], "city": ["Oslo", None, "Bonn"]}, "item": {"year": ["1999", "", "inf", "-3.5", "nan"]}}
PRIVACY = {"age": "behavioural", "city": "sensitive", "year": "public", "user_id": "identifier"}
Groups = Mapping[str, Mapping[int, Sequence[int]]]


class Event(NamedTuple):
    user: int
    item: int
    time: int
    value: float | None = None
    kinds: Collection[str] = ("all",)
    """Of "all", "liked" and "disliked" those that it is, and its type."""


def made(
    events: Sequence[Event],
    groups: Groups | None = None,
    attributes: Mapping[str, Mapping[str, Sequence[str | None]]] | None = None,
    privacy: Mapping[str, str] = PRIVACY,
) -> Tables:
    told = {
        "user_code": pa.array([each.user for each in events], pa.int64()),
        "item_code": pa.array([each.item for each in events], pa.int64()),
        "timestamp": pa.array([each.time for each in events], pa.int64()),
        "value": pa.array([each.value for each in events], pa.float64()),
        **{flag: pa.array([kind in each.kinds for each in events], pa.bool_()) for flag, kind in zip(FLAGS, KINDS, strict=True)},
        "event": pa.array([next((kind for kind in each.kinds if kind not in KINDS), None) for each in events], pa.string()),
    }
    tables = {
        of: pa.table({f"{of}_code": pa.array(range(n), pa.int64()), **{name: pa.array(cells, pa.string()) for name, cells in cols.items()}})
        for of, n in (("user", N_USERS), ("item", N_ITEMS))
        for cols in [(TALES if attributes is None else attributes)[of]]
    }
    grouped = {name: grouping(by) for name, by in ({"genre": GENRES} if groups is None else groups).items()}
    return Tables(pa.table(told), tables, grouped, privacy)


FLAGS = ("acted", "liked", "disliked")


def grouping(by: Mapping[int, Sequence[int]]) -> pa.Table:
    pairs = [(item, group) for item, found in by.items() for group in found]
    return pa.table({name: pa.array([pair[place] for pair in pairs], pa.int64()) for place, name in enumerate(("item_code", "grp"))})


def asks(rows: Sequence[tuple[int, int, int]], **given: Sequence[float]) -> Asked:
    """Rows of user, item, moment."""
    columns = torch.tensor(rows, dtype=torch.int64).view(-1, 3).T.contiguous()
    return Asked(*columns, {name: torch.tensor(told, dtype=torch.float64) for name, told in given.items()})


moments = st.builds(lambda quarter, more: quarter * QUARTER + more, st.integers(-6, 10), st.sampled_from([0, 0, 0, -1, 1]))
users, items = st.integers(0, N_USERS - 1), st.integers(0, N_ITEMS - 1)
flags = st.sampled_from([("all",), ("all", "liked"), ("all", "disliked"), ("liked",), ()])
types = st.sampled_from([(), *((kind,) for kind in TYPES)])
values = st.sampled_from([None, 1.0, 2.0, 5.0, 2.5, -3.0, 0.0, 0.1])
event = st.builds(lambda *told: Event(*told[:4], told[4] + told[5]), users, items, moments, values, flags, types)
pairs = st.lists(st.tuples(users, items, moments), min_size=4, max_size=30)
NAMED = [Event(0, 0, 20 * DAY, None, (kind,)) for kind in TYPES]
"""After everything, so that each type has been heard of."""


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    """In no order of time; some events are there twice."""
    events = draw(st.lists(event, max_size=25))
    return [*events, *events[: draw(st.integers(0, 4))], *NAMED]


@st.composite
def every(draw: st.DrawFn, kinds: Sequence[str] = (*KINDS, *TYPES)) -> list[Feature]:
    """Each aggregation of each entity, the rest of it drawn: few values, so that many read the same events."""
    found = [feature("hour", "context", "hour"), feature("weekday", "context", "weekday")]
    for entity in ENTITIES:
        for aggregation in OF_ENTITY[entity]:
            if aggregation != "attribute":
                window = draw(st.sampled_from([None, 0.25, 1.0])) if aggregation != "decayed" else None
                found.append(
                    one(
                        entity,
                        aggregation,
                        window=window,
                        events=draw(st.sampled_from(kinds)),
                        delay=draw(st.sampled_from([0, 0, 0.25])),
                        of=draw(st.sampled_from(kinds)) if aggregation == "rate" else "",
                        half_life=draw(st.sampled_from([0.001, 0.5, 30.0])) if aggregation == "decayed" else None,
                    )
                )
    return found


def one(entity: str, aggregation: str, **told: object) -> Feature:
    """Called after all that it is."""
    name = "_".join(str(each) for each in (entity, aggregation, *told.values()) if each)
    return feature(name, entity, aggregation, group="genre" if entity == "user_group" else "", **told)


def thorough(delays: Sequence[float] = (0.0, 0.25)) -> list[Feature]:
    """Each aggregation of each entity, with and without a window, at each delay."""
    found = [feature("hour", "context", "hour"), feature("weekday", "context", "weekday")]
    for entity in ENTITIES:
        for delay in delays:
            for window in (None, 1.0):
                for aggregation in OF_ENTITY[entity]:
                    if aggregation not in ("attribute", "decayed"):
                        of = {"of": "liked"} if aggregation == "rate" else {}
                        found.append(one(entity, aggregation, window=window, delay=delay, **of))
            found += [one(entity, "decayed", half_life=half, delay=delay) for half in (0.001, 30.0)]
            found += [one(entity, "count", events=kind, delay=delay) for kind in ("disliked", "view")]
    return found


def some_log(n: int = 60, seed: int = 0) -> list[Event]:
    """At random, within three weeks, with ties."""
    rng = np.random.default_rng(seed)
    log = []
    for _ in range(n):
        time = int(rng.integers(-20, 60)) * QUARTER + int(rng.integers(-1, 2))
        kinds = ("all", *(kind for kind in ("liked", "disliked", "view") if rng.random() < 0.3))
        log.append(Event(int(rng.integers(N_USERS)), int(rng.integers(N_ITEMS)), time, [None, 1.0, 4.5][rng.integers(3)], kinds))
    return log


def some_asks(n: int = 20, seed: int = 1, first: int = -20) -> Asked:
    rng = np.random.default_rng(seed)
    return asks([(int(rng.integers(N_USERS)), int(rng.integers(N_ITEMS)), int(rng.integers(first, 64)) * QUARTER) for _ in range(n)])
