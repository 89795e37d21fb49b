"""Splits: who is trained on, who is judged, and what that leaves to learn.

A split is a pure function of (snapshot, fractions, seed). Two events of one person at the same moment are ordered by
md5(seed, user id, item id): reproducible, unrelated to file order or popularity.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import duckdb
import pandas as pd
import torch
from torch import Tensor

from workbench.data.card import Card
from workbench.data.holdout import Holdout, tie_ranks
from workbench.data.interactions import Interactions
from workbench.data.snapshot import Snapshot
from workbench.errors import RequestError, unknown

PARTS = ("train", "valid", "test")
Fractions = tuple[float, float, float]

# Every event, coded and in order. $seed breaks ties; $low and $high are the bounds of a positive value.
ORDERED = """
    WITH user_codes AS (SELECT user_id, row_number() OVER (ORDER BY user_id) - 1 AS user_code FROM users),
         item_codes AS (SELECT item_id, row_number() OVER (ORDER BY item_id) - 1 AS item_code FROM items),
         coded AS (
            SELECT user_code, item_code, timestamp, value,
                   value BETWEEN $low AND $high AS positive,
                   md5(concat_ws(chr(31), $seed, user_id, item_id)) AS tie
            FROM events JOIN user_codes USING (user_id) JOIN item_codes USING (item_id)),
         ordered AS (
            SELECT *, row_number() OVER (ORDER BY user_code, timestamp, tie, value) - 1 AS place,
                   row_number() OVER (PARTITION BY user_code ORDER BY timestamp, tie, value) AS position,
                   count(*) OVER (PARTITION BY user_code) AS n
            FROM coded)
"""

# The last floor(n · f) of a person's n events are test, the floor(n · f) before them validation.
# f = $test / $whole in whole numbers: nothing is rounded.
USER_TIME = """
    SELECT *, CASE WHEN position > n - n * $test // $whole THEN 2
                   WHEN position > n - n * $test // $whole - n * $valid // $whole THEN 1
                   ELSE 0 END AS part
    FROM ordered ORDER BY place
"""

# Two moments cut the log for everyone; events at the very moment of a cut fall behind it, so nothing in training is as late as it.
GLOBAL_TIME = """
    , by_time AS (SELECT timestamp, row_number() OVER (ORDER BY timestamp) AS rank, count(*) OVER () AS total FROM ordered),
      cuts AS (SELECT min(timestamp) FILTER (WHERE rank > total - total * $test // $whole - total * $valid // $whole) AS first_valid,
                      min(timestamp) FILTER (WHERE rank > total - total * $test // $whole) AS first_test
               FROM by_time)
    SELECT ordered.*, CASE WHEN timestamp >= first_test THEN 2 WHEN timestamp >= first_valid THEN 1 ELSE 0 END AS part
    FROM ordered, cuts ORDER BY place
"""

QUERIES = {"user_time": USER_TIME, "global_time": GLOBAL_TIME}
RULES = {
    "user_time": "Each person's events by time, the first {0} for training, the next {1} for validation, the last {2} for test",
    "global_time": "One moment for everyone: the first {0} of events for training, the next {1} for validation, the last {2} for test",
}


class Log(Protocol):
    """What a split needs of a data set."""

    @property
    def card(self) -> Card: ...
    @property
    def snapshot(self) -> Snapshot: ...
    @property
    def n_users(self) -> int: ...
    @property
    def item_ids(self) -> Sequence[str]: ...
    def connect(self) -> duckdb.DuckDBPyConnection: ...


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Split:
    """The three parts of a log and the rule that made them."""

    name: str
    fractions: Fractions
    seed: int
    snapshot_id: str
    repeats: bool
    n_discarded: int
    """Events of the log that are in no part."""
    ties: Tensor
    """int64 (n_items,): the order among equal scores, see `tie_ranks`."""
    train: Interactions
    valid: Interactions
    test: Interactions

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(getattr(self, part)):,} {part}" for part in PARTS)
        return f"Split({self.snapshot_id} by {self.name}: {sizes})"

    @property
    def parameters(self) -> dict[str, Any]:
        """What decides the split, for the run record."""
        return {"name": self.name, "fractions": list(self.fractions), "seed": self.seed}

    @property
    def rule(self) -> str:
        return RULES[self.name].format(*(f"{100 * share:.3g} %" for share in self.fractions))

    def summary(self) -> str:
        """What the rule is, what it discards, who has nothing in the test part, and what is judged."""
        n_events = len(self.train) + len(self.valid) + len(self.test) + self.n_discarded
        people = self.train.events_per_user + self.valid.events_per_user + self.test.events_per_user > 0
        without = int((people & (self.test.events_per_user == 0)).sum())
        return (
            f"{self.rule}. Of {n_events:,} events {self.n_discarded:,} are discarded and {len(self.train):,} trained on. "
            f"{without:,} of {int(people.sum()):,} people have no event in the test part. Rankings are judged on what people liked; "
            f"what they had before {'may be shown again' if self.repeats else 'is masked'}."
        )

    def holdout(self, part: str = "test") -> Holdout:
        """Who is judged on `part` ("valid" or "test"), on what, knowing what.

        Truth: a person's positives in the part. History: everything they had in the parts before it, which is also what is masked unless
        the card calls repeats legitimate. Models are trained on `train` alone.
        """
        if part not in PARTS[1:]:
            raise unknown("part to judge on", part, PARTS[1:])
        history = self.train if part == "valid" else self.train.plus(self.valid)
        return Holdout.build(
            label="/".join((self.snapshot_id, self.name, *(f"{share:g}" for share in self.fractions), str(self.seed), part)),
            truth=getattr(self, part).positives(),
            people=getattr(self, part).events_per_user > 0,
            history=history,
            seen=None if self.repeats else history,
            trained=self.train.events_per_user > 0,
            ties=self.ties,
        )

    def describe(self) -> pd.DataFrame:
        """One row for each judged part: how many people it has, whom it leaves out, who has a history."""
        rows = []
        for part in PARTS[1:]:
            holdout = self.holdout(part)
            rows.append(
                {
                    "part": {"valid": "validation", "test": "test"}[part],
                    "events": len(getattr(self, part)),
                    "people": holdout.n_people,
                    "nothing to find": holdout.n_without_truth,
                    "judged": len(holdout.users),
                    "with a history": int((holdout.history_lengths > 0).sum()),
                    "in training": int(holdout.trained[holdout.users].sum()),
                    "to find, each": holdout.n_relevant.double().mean().item() if len(holdout.users) else 0.0,
                }
            )
        return pd.DataFrame(rows)


def split(log: Log, name: str = "default", seed: int = 0, fractions: Fractions = (0.8, 0.1, 0.1)) -> Split:
    """Split a data set by one of the named rules; "default" is the one its card recommends.

    Raises RequestError for an unknown name, and for fractions that are negative, leave no training, or do not add up to 1.
    """
    name = log.card.split.default if name == "default" else name
    if name not in QUERIES:
        raise unknown("split", name, [*QUERIES, "default"])
    if min(fractions) < 0 or fractions[0] == 0 or abs(sum(fractions) - 1) > 1e-9:
        raise RequestError(f"fractions = {fractions} should be three shares that add up to 1, the first above 0.")
    valid_share, test_share = (Fraction(share).limit_denominator(10_000) for share in fractions[1:])
    whole = math.lcm(valid_share.denominator, test_share.denominator)
    positive = log.card.meaning.positive
    with log.connect() as connection:
        columns = connection.execute(
            ORDERED + QUERIES[name],
            {
                "seed": seed,
                "low": positive.min,
                "high": positive.max,
                "valid": int(valid_share * whole),
                "test": int(test_share * whole),
                "whole": whole,
            },
        ).fetchnumpy()
        n_events = connection.execute("SELECT count(*) FROM events").fetchall()[0][0]
    events, part = _interactions(columns, log.n_users, len(log.item_ids)), torch.from_numpy(columns["part"])
    train, valid, test = (events.select(part == code) for code in range(3))
    return Split(
        name=name,
        fractions=fractions,
        seed=seed,
        snapshot_id=log.snapshot.id,
        repeats=log.card.meaning.repeats,
        n_discarded=n_events - len(events),
        ties=tie_ranks(log.item_ids, seed),
        train=train,
        valid=valid,
        test=test,
    )


def _interactions(columns: dict[str, Any], n_users: int, n_items: int) -> Interactions:
    def column(name: str, dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(columns[name]).to(dtype)

    return Interactions(
        n_users=n_users,
        n_items=n_items,
        users=column("user_code", torch.int64),
        items=column("item_code", torch.int64),
        timestamps=column("timestamp", torch.int64),
        values=column("value", torch.float64),
        positive=column("positive", torch.bool),
        order=column("place", torch.int64),
    )
