"""A data set at hand: its card, its snapshot, and what one asks of them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import duckdb
import pandas as pd

from workbench.data import splits
from workbench.data.card import Card, any_of, load_card
from workbench.data.snapshot import Snapshot, find, open_snapshot, prepare


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    name: str
    card: Card
    snapshot: Snapshot

    def __repr__(self) -> str:
        return f"Dataset({self.snapshot.id}: {self.n_users:,} people, {self.n_items:,} items)"

    def connect(self) -> duckdb.DuckDBPyConnection:
        """DuckDB over the snapshot, with the views `events`, `coded_events`, `users`, `items`, and `acts`, coded events less exposures."""
        connection = self.snapshot.connect()
        connection.execute(f"CREATE VIEW acts AS SELECT * FROM coded_events WHERE NOT {any_of(self.card.meaning.exposure)}")
        return connection

    def sql(self, query: str, parameters: dict[str, Any] | None = None) -> pd.DataFrame:
        """The answer to a question in SQL over `events`, `users`, `items`; `$name` in it stands for a parameter."""
        with self.connect() as connection:
            return connection.execute(query, parameters).df()

    @cached_property
    def user_ids(self) -> list[str]:
        """Ids as text; a person's code is their place here."""
        return self.snapshot.ids("users")

    @cached_property
    def item_ids(self) -> list[str]:
        """Ids as text; an item's code is its place here."""
        return self.snapshot.ids("items")

    @property
    def n_users(self) -> int:
        return self.snapshot.rows("users")

    @property
    def n_items(self) -> int:
        """The size of the catalogue: every item in the log or in the item table."""
        return self.snapshot.rows("items")

    def split(self, name: str = "default", seed: int = 0, refit: splits.Refit = "train", **options: Any) -> splits.Split:
        """One of the rules in `rules.py`, with its parameters; see `splits.split`."""
        return splits.split(self, name, seed, refit, **options)

    def describe(self) -> pd.DataFrame:
        """One row for each fact a reader asks first: size, span, density, what counts as liked, event types, repeats, ties."""
        facts = self.sql(
            f"""
            WITH pairs AS (SELECT user_code, item_code, count(*) AS n FROM acts GROUP BY user_code, item_code),
                 moments AS (SELECT user_code, timestamp, count(*) AS n FROM acts GROUP BY user_code, timestamp)
            SELECT count(*) AS events,
                   count(DISTINCT user_code) AS people,
                   (SELECT count(*) FROM pairs) AS pairs,
                   (SELECT coalesce(avg(CASE WHEN {any_of(self.card.meaning.positive)} THEN 1.0 ELSE 0.0 END), 0.0) FROM acts) AS liked,
                   (SELECT coalesce(avg(CASE WHEN {any_of(self.card.meaning.negative)} THEN 1.0 ELSE 0.0 END), 0.0) FROM acts) AS disliked,
                   sum(CASE WHEN {any_of(self.card.meaning.exposure)} THEN 1 ELSE 0 END) AS shown,
                   min(timestamp) AS first, max(timestamp) AS last,
                   (SELECT coalesce(sum(n - 1), 0) FROM pairs) AS repeats,
                   (SELECT coalesce(sum(CASE WHEN n > 1 THEN n ELSE 0 END) / sum(n), 0) FROM moments) AS tied
            FROM coded_events"""
        ).iloc[0]
        rows = {
            "events": f"{int(facts.events):,}",
            "people": f"{int(facts.people):,}",
            "items in the catalogue": f"{self.n_items:,}",
            "filled cells": f"{facts.pairs / (facts.people * self.n_items):.2g} of 1",
            "time span": _span(facts["first"], facts["last"]),
            **self._meanings(facts),
            "repeats of a person and item": f"{int(facts.repeats):,}, which the card calls "
            f"{'normal' if self.card.meaning.repeats else 'the exception'}",
            "events that share person and moment with another": f"{facts.tied:.0%}"
            if self.snapshot.has_times
            else "not applicable: no times",
        }
        return pd.DataFrame({"": list(rows), "what is in the data": list(rows.values())})

    def _meanings(self, facts: Any) -> dict[str, str]:
        meaning = self.card.meaning
        liked = " or ".join(rule.text for rule in meaning.positive) or "nothing counts as liked"
        told = {"liked": f"{facts.liked:.0%} of events ({liked})"}
        if meaning.negative:
            told["disliked"] = f"{facts.disliked:.0%} of events ({' or '.join(rule.text for rule in meaning.negative)})"
        if meaning.exposure:
            told["only shown"] = f"{int(facts.shown):,} events ({' or '.join(rule.text for rule in meaning.exposure)})"
        if "event" in self.snapshot.columns("events"):
            counts = self.sql("SELECT event, count(*) AS n FROM coded_events GROUP BY event ORDER BY n DESC, event")
            told["event types"] = ", ".join(f"{event} {n:,}" for event, n in counts.itertuples(index=False, name=None))
        return told


def _span(first: Any, last: Any) -> str:
    if pd.isna(first):
        return "not applicable: no times"
    return " to ".join(f"{pd.to_datetime(int(moment), unit='us'):%-d %b %Y}" for moment in (first, last))


def load_dataset(name: str) -> Dataset:
    """The data set `name`, out of its snapshot; the first call makes the snapshot.

    Raises RequestError when there is no such card, WorkError when the snapshot is damaged (both hashes in the message).
    """
    card = load_card(name)
    folder = find(name, card)
    return Dataset(name, card, open_snapshot(name, folder) if folder else prepare(name))
