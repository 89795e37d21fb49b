"""A data set at hand: its card, its snapshot, and what one asks of them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from workbench.data import splits
from workbench.data.card import Card, load_card
from workbench.data.snapshot import Snapshot, find, open_snapshot, prepare


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    name: str
    card: Card
    snapshot: Snapshot

    def __repr__(self) -> str:
        return f"Dataset({self.snapshot.id}: {self.n_users:,} people, {self.n_items:,} items)"

    def connect(self) -> duckdb.DuckDBPyConnection:
        """DuckDB over the snapshot, with the views `events`, `users`, `items`."""
        return self.snapshot.connect()

    def sql(self, query: str, parameters: dict[str, Any] | None = None) -> pd.DataFrame:
        """The answer to a question in SQL over `events`, `users`, `items`; `$name` in it stands for a parameter."""
        with self.connect() as connection:
            return connection.execute(query, parameters).df()

    @cached_property
    def user_ids(self) -> list[str]:
        """Ids as text; a person's code is their place here."""
        return self._ids("users", "user_id")

    @cached_property
    def item_ids(self) -> list[str]:
        """Ids as text; an item's code is its place here."""
        return self._ids("items", "item_id")

    @property
    def n_users(self) -> int:
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """The size of the catalogue: every item in the log or in the item table."""
        return len(self.item_ids)

    def split(self, name: str = "default", seed: int = 0, fractions: splits.Fractions = (0.8, 0.1, 0.1)) -> splits.Split:
        return splits.split(self, name, seed, fractions)

    def describe(self) -> pd.DataFrame:
        """One row for each fact a reader asks first: size, span, density, what counts as liked, repeats, ties."""
        positive = self.card.meaning.positive
        facts = self.sql(
            """
            WITH pairs AS (SELECT user_id, item_id, count(*) AS n FROM events GROUP BY ALL),
                 moments AS (SELECT user_id, timestamp, count(*) AS n FROM events GROUP BY ALL)
            SELECT count(*) AS events,
                   count(DISTINCT user_id) AS people,
                   (SELECT count(*) FROM pairs) AS pairs,
                   (SELECT count(*) FROM items) AS items,
                   avg(CASE WHEN value BETWEEN $low AND $high THEN 1.0 ELSE 0.0 END) AS liked,
                   min(timestamp) AS first, max(timestamp) AS last,
                   (SELECT coalesce(sum(n - 1), 0) FROM pairs) AS repeats,
                   (SELECT coalesce(sum(n) FILTER (WHERE n > 1), 0) / sum(n) FROM moments) AS tied
            FROM events""",
            {"low": positive.min, "high": positive.max},
        ).iloc[0]
        first, last = (pd.to_datetime(int(facts[c]), unit="us").strftime("%-d %b %Y") for c in ("first", "last"))
        rows = {
            "events": f"{int(facts.events):,}",
            "people": f"{int(facts.people):,}",
            "items in the catalogue": f"{self.n_items:,}",
            "filled cells": f"{facts.pairs / (facts.people * self.n_items):.1%}",
            "time span": f"{first} to {last}",
            "liked": f"{facts.liked:.0%} of events ({positive.column} {_bounds(positive.min, positive.max)})",
            "repeats of a person and item": f"{int(facts.repeats):,}",
            "events that share person and moment with another": f"{facts.tied:.0%}",
        }
        return pd.DataFrame({"": list(rows), "what is in the data": list(rows.values())})

    def _ids(self, table: str, key: str) -> list[str]:
        return list(self.sql(f"SELECT {key} AS id FROM {table} ORDER BY {key}")["id"])


def _bounds(low: float, high: float) -> str:
    if np.isinf(high):
        return f"≥ {low:g}"
    return f"≤ {high:g}" if np.isinf(low) else f"{low:g} to {high:g}"


def load_dataset(name: str) -> Dataset:
    """The data set `name`, out of its snapshot; the first call makes the snapshot.

    Raises RequestError when there is no such card, WorkError when the snapshot is damaged (both hashes in the message).
    """
    card = load_card(name)
    folder = find(name, card)
    return Dataset(name, card, open_snapshot(name, folder) if folder else prepare(name))
