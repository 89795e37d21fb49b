"""What a split promised, counted again from its parts in SQL; and the leaks it never promised to prevent, counted too."""

from dataclasses import dataclass
from typing import Literal

import duckdb
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from workbench.data.interactions import Interactions
from workbench.data.rules import Promise
from workbench.data.splits import CODES, Log, Split
from workbench.errors import WorkError

# `parts` holds every event of a split: place, part, user_code, item_code, timestamp.
OF_PERSON = "SELECT user_code, min(timestamp) AS first FROM parts WHERE part = 2 GROUP BY user_code"
EARLIEST = "SELECT min(timestamp) FROM parts WHERE part = {}"


@dataclass(frozen=True, eq=False)
class Leak:
    """One way for a split to leak: which events, of which part, and who promised that there are none."""

    what: str
    part: Literal["train", "valid", "test", "before test"]
    """The part the events are in."""
    condition: str
    """SQL over `parts AS e`, true for an event that leaks."""
    promise: Promise | None = None
    """The promise that it breaks; None where none was given."""
    needs_time: bool = False


LEAKS = (
    Leak(
        "test events of a person and item that are in training or validation too",
        "test",
        "EXISTS (SELECT 1 FROM parts AS o WHERE o.part <> 2 AND o.user_code = e.user_code AND o.item_code = e.item_code)",
    ),
    Leak(
        "validation events of a person and item that are in training too",
        "valid",
        "EXISTS (SELECT 1 FROM parts AS o WHERE o.part IN (0, 3) AND o.user_code = e.user_code AND o.item_code = e.item_code)",
    ),
    Leak(
        "events known of a person that are later than their first test event",
        "before test",
        f"EXISTS (SELECT 1 FROM ({OF_PERSON}) AS o WHERE o.user_code = e.user_code AND e.timestamp > o.first)",
        "own time",
        needs_time=True,
    ),
    Leak(
        "training events at or after the earliest test event of anybody",
        "train",
        f"e.timestamp >= ({EARLIEST.format(2)})",
        "one moment",
        needs_time=True,
    ),
    Leak(
        "training events at or after the earliest validation event of anybody",
        "train",
        f"e.timestamp >= ({EARLIEST.format(1)})",
        "one moment",
        needs_time=True,
    ),
    Leak(
        "validation events at or after the earliest test event of anybody",
        "valid",
        f"e.timestamp >= ({EARLIEST.format(2)})",
        "one moment",
        needs_time=True,
    ),
    Leak(
        "training events of people who are judged",
        "train",
        "EXISTS (SELECT 1 FROM parts AS o WHERE o.part IN (1, 2) AND o.user_code = e.user_code)",
        "new people",
    ),
    Leak(
        "training events of items that are to be found",
        "train",
        "EXISTS (SELECT 1 FROM parts AS o WHERE o.part IN (1, 2) AND o.item_code = e.item_code)",
        "new items",
    ),
    Leak(
        "test events of people without a training event",
        "test",
        "NOT EXISTS (SELECT 1 FROM parts AS o WHERE o.part = 0 AND o.user_code = e.user_code)",
    ),
    Leak(
        "test events of items without a training event",
        "test",
        "NOT EXISTS (SELECT 1 FROM parts AS o WHERE o.part = 0 AND o.item_code = e.item_code)",
    ),
)
"""Of these the leaks of `new people` and `new items` are looked for only where they were promised away: elsewhere they are the normal
case."""
INCLUDED = {"train": (0,), "valid": (1,), "test": (2,), "before test": (0, 1, 3)}

# An id as a careless program writes it: without case, outer blanks, leading zeros, a trailing .0.
SPELLING = "regexp_replace(regexp_replace(lower(trim({id})), '^0+([0-9])', '\\1'), '^([0-9]+)[.]0+$', '\\1')"


@dataclass(frozen=True, eq=False)
class Finding:
    what: str
    events: int
    of: int
    promised: bool
    """The split promised that there are none."""
    people: int = 0
    """Whose events they are."""
    part: str = "train"
    places: Tensor | None = None
    """int64: the events' `order`, so that the metric can be taken without them."""

    @property
    def ok(self) -> bool:
        return self.events == 0 or not self.promised

    @property
    def noted(self) -> bool:
        """It happened, and the split never promised that it would not."""
        return self.events > 0 and not self.promised

    @property
    def amount(self) -> str:
        """ "79,961 of 80,808 (99%)"."""
        return f"{self.events:,} of {self.of:,} ({self.share:.0%})"

    @property
    def share(self) -> float:
        """In [0, 1]."""
        return self.events / self.of if self.of else 0.0


def audit(parts: Split, log: Log | None = None) -> list[Finding]:
    """Leaks between the parts of a split. A promise that is not kept makes the evaluation worthless.

    With `log`, ids are compared under other spellings too ("007" and "7").
    """
    with duckdb.connect() as connection:
        frame = _frame(parts)
        connection.register("parts", frame)
        findings = [_found(connection, parts, leak) for leak in LEAKS if _looked_for(leak, parts)]
        if log is not None:
            findings.append(_spellings(connection, log, len(parts.test)))
    return findings


def audited(parts: Split) -> Split:
    """The split itself. Raises WorkError when it does not keep a promise: whatever is measured on it would be worth nothing."""
    for finding in audit(parts):
        if not finding.ok:
            raise WorkError(f"{parts.name} promised none, and {finding.amount} are {finding.what}; {finding.people:,} people are affected.")
    return parts


def audit_counts(counts: Tensor, parts: Split, what: str = "popularity") -> Finding:
    """Whether a count for each item, int64 (n_items,), saw events that training does not have: it was taken over a larger log.

    Holds for any count that is to come from the training part, used as a score or as a feature.
    """
    excess = (counts - parts.fit_on.events_per_item).clamp(min=0)
    return Finding(f"events in the {what} that are not in training", int(excess.sum()), int(counts.sum()), True)


def _looked_for(leak: Leak, parts: Split) -> bool:
    if leak.promise in ("new people", "new items"):
        return leak.promise in parts.rule.promises
    return parts.has_times or not leak.needs_time


def _promised(leak: Leak, parts: Split) -> bool:
    if leak.promise is None:  # that pairs are in one part alone follows from the card: nobody takes an item twice
        return "person and item" in leak.what and not parts.repeats
    return leak.promise in parts.rule.promises


def _frame(parts: Split) -> pd.DataFrame:
    columns: dict[str, list[Tensor]] = {"place": [], "part": [], "user_code": [], "item_code": [], "timestamp": []}
    for name, part in parts.parts().items():
        for column, values in zip(columns.values(), _columns(part, CODES[name]), strict=True):
            column.append(values)
    return pd.DataFrame({name: torch.cat(values).numpy() for name, values in columns.items()})


def _columns(part: Interactions, code: int) -> tuple[Tensor, ...]:
    return part.order, torch.full((len(part),), code), part.users, part.items, part.timestamps


def _found(connection: duckdb.DuckDBPyConnection, parts: Split, leak: Leak) -> Finding:
    included = INCLUDED[leak.part]
    query = f"SELECT place, user_code FROM parts AS e WHERE part IN ({', '.join(map(str, included))}) AND {leak.condition}"
    total = sum(len(part) for name, part in parts.parts().items() if CODES[name] in included)
    return _finding(connection, query, leak.what, leak.part, total, _promised(leak, parts))


def _finding(connection: duckdb.DuckDBPyConnection, query: str, what: str, part: str, of: int, promised: bool) -> Finding:
    """query: SQL for (place, user_code) of the events that were found."""
    rows = connection.execute(query).fetchnumpy()
    places = torch.from_numpy(rows["place"]).to(torch.int64)
    return Finding(what, len(places), of, promised, len(np.unique(rows["user_code"])), part, places)


def _spellings(connection: duckdb.DuckDBPyConnection, log: Log, of: int) -> Finding:
    """Test events whose person and item are in training or validation under other spellings of their ids."""
    with log.connect() as ids:
        for table, key in (("users", "user_id"), ("items", "item_id")):
            code = f"{table[:-1]}_code"
            spelled = f"SELECT {code}, min({code}) OVER (PARTITION BY {SPELLING.format(id=key)}) AS {code}_spelled FROM {table}"
            connection.register(f"spelled_{table}", ids.execute(spelled).df())
    query = """
        WITH spelled AS (
            SELECT place, part, p.user_code, p.item_code, user_code_spelled, item_code_spelled
            FROM parts AS p JOIN spelled_users AS u ON p.user_code = u.user_code JOIN spelled_items AS i ON p.item_code = i.item_code)
        SELECT place, user_code FROM spelled AS e
        WHERE part = 2 AND EXISTS (
            SELECT 1 FROM spelled AS o
            WHERE o.part <> 2 AND o.user_code_spelled = e.user_code_spelled AND o.item_code_spelled = e.item_code_spelled
              AND (o.user_code <> e.user_code OR o.item_code <> e.item_code))"""
    what = "test events whose person and item are in training or validation under another spelling of an id"
    return _finding(connection, query, what, "test", of, False)
