"""The contract of features: nothing at or after the moment of a request has a say."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from workbench.features import Asked, Tables

Build = Callable[[Tables, Asked], Tensor]
"""Features of pairs, float (n, d); `lambda tables, asked: build_features(definitions, tables, asked).values`, or code of one's own."""


def check_point_in_time(build: Build, tables: Tables, asked: Asked, *, seed: int = 0, events: int = 20) -> None:
    """Put events at and after the moment of requests into the log, and find every feature of theirs unchanged.

    They are of every kind: liked, disliked, neither, of each type there is. Tried for the first, the middle and the last moment asked for,
    each with `events` events of the same people and items and of others. Raises AssertionError, naming the row and the column, for a
    feature that saw one; there must be somebody who asks.
    """
    rng = np.random.default_rng(seed)
    moments = asked.timestamps.unique()
    for moment in moments[[0, len(moments) // 2, -1]].unique().tolist():
        rows = torch.nonzero(asked.timestamps <= moment)[:, 0]
        some = Asked(asked.users[rows], asked.items[rows], asked.timestamps[rows], {name: each[rows] for name, each in asked.given.items()})
        at = np.where(rng.random(events) < 0.5, 0, rng.integers(0, 10**12, events)) + moment
        mine, any_user, any_item = rng.integers(len(rows), size=events), asked.users.numpy(), asked.items.numpy()
        users = np.where(rng.random(events) < 0.7, some.users.numpy()[mine], rng.choice(any_user, events))
        items = np.where(rng.random(events) < 0.7, some.items.numpy()[mine], rng.choice(any_item, events))
        flags = {name: rng.random(events) < 0.5 for name in ("liked", "disliked")}
        types = pa.array(rng.choice([*tables.event_types, ""], events), pa.string())
        more = tables.extended(user_code=users, item_code=items, timestamp=at, event=pc.if_else(pc.equal(types, ""), None, types), **flags)
        before, after = build(tables, some), build(more, some)
        same = (before == after) | (before.isnan() & after.isnan())
        if not same.all():
            row, column = torch.nonzero(~same)[0].tolist()
            told = f"{before[row, column].item():g} becomes {after[row, column].item():g}"
            raise AssertionError(f"feature {column} of row {row} looks ahead: with events at or after its moment {told}.")
