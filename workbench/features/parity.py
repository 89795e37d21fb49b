"""Many requests at once and one at a time say the same: by how much they differ, feature by feature."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow.compute as pc
import torch

from workbench.features.build import build_features
from workbench.features.definition import KINDS, Feature
from workbench.features.online import OnlineStore
from workbench.features.sql import CONDITIONS
from workbench.features.tables import Asked, Tables


def parity(definitions: Sequence[Feature], tables: Tables, cutoff: int, asked: Asked, allowed: Collection[str] = ()) -> dict[str, float]:
    """By feature: the largest difference between the offline frame and the store that starts at `cutoff` and hears of every later event.

    asked: at `cutoff` or later. Infinite where one has a value and the other none.
    """
    offline = build_features(definitions, tables, asked, allowed=allowed)
    store = OnlineStore.of(definitions, tables, cutoff, allowed)
    later = tables.events.filter(pc.greater_equal(tables.events["timestamp"], cutoff)).sort_by("timestamp").to_pylist()
    largest = torch.zeros(len(definitions), dtype=torch.float64)
    told = 0
    for place in torch.argsort(asked.timestamps, stable=True).tolist():
        moment = int(asked.timestamps[place])
        while told < len(later) and later[told]["timestamp"] < moment:
            event = later[told]
            store.observe(event["user_code"], event["item_code"], event["timestamp"], kinds_of(event), event["value"])
            told += 1
        given = {name: [float(column[place])] for name, column in asked.given.items()}
        row, other = store.features(int(asked.users[place]), [int(asked.items[place])], moment, given)[0], offline.values[place]
        apart = (row - other).abs()
        apart[row.isnan() & other.isnan()] = 0.0
        largest = torch.maximum(largest, apart.nan_to_num(nan=float("inf")))
    return dict(zip((each.name for each in definitions), largest.tolist(), strict=True))


def kinds_of(event: Mapping[str, Any]) -> set[str]:
    """Of "all", "liked" and "disliked" those that a row of `Tables.events` is, and its type."""
    return {kind for kind, flag in CONDITIONS.items() if event[flag]} | ({event["event"]} - {None, *KINDS})
