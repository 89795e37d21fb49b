"""Splits: who is trained on, who is judged, and what that leaves to learn.

A split is a pure function of (snapshot, rule with its parameters, seed); `rules.py` has the rules. Events that only say that an item was
shown are in no part.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import duckdb
import pandas as pd
import torch
from torch import Tensor

from workbench.data.card import Card, any_of
from workbench.data.engine import literal
from workbench.data.holdout import Holdout, sealed_part, tie_ranks
from workbench.data.interactions import Interactions
from workbench.data.ledger import NAME as LEDGER
from workbench.data.ledger import Ledger, Looks
from workbench.data.power import detectable_difference
from workbench.data.rules import CODED, IN_TIME, TIMELESS, Rule, make_rule, mixers
from workbench.data.snapshot import Snapshot
from workbench.errors import NotApplicable, unknown
from workbench.files import whole_file

PARTS = ("train", "valid", "test")
CODES = {"train": 0, "valid": 1, "test": 2, "known": 3}
Refit = Literal["train", "train+valid"]
REFITS: tuple[Refit, ...] = ("train", "train+valid")


class Log(Protocol):
    """What a split needs of a data set."""

    @property
    def card(self) -> Card: ...
    @property
    def snapshot(self) -> Snapshot: ...
    @property
    def item_ids(self) -> Sequence[str]: ...
    def connect(self) -> duckdb.DuckDBPyConnection: ...


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Split:
    """The parts of a log and the rule that made them."""

    name: str
    rule: Rule
    seed: int
    snapshot_id: str
    repeats: bool
    has_times: bool = True
    n_discarded: int = 0
    """Events that are in no part although people acted."""
    n_exposures: int = 0
    """Events that only say that an item was shown; in no part."""
    ties: Tensor
    """int64 (n_items,): the order among equal scores, see `tie_ranks`."""
    train: Interactions
    valid: Interactions
    test: Interactions
    known: Interactions
    """What is revealed of a person at the moment of the request and trained on by nobody; empty but for `new_user`."""
    ledger: Ledger | None = None
    """Where looks at the test part are written down."""
    refit: Refit = "train"
    """What models learn from before they are judged on test."""

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(getattr(self, part)):,} {part}" for part in PARTS)
        return f"Split({self.snapshot_id} by {self.name}: {sizes})"

    @property
    def options(self) -> dict[str, Any]:
        """The rule's parameters."""
        return self.rule.model_dump(mode="json")

    @property
    def parameters(self) -> dict[str, Any]:
        """What decides the split and what is learnt from, for the run record."""
        return {"name": self.name, **self.options, "seed": self.seed, "refit": self.refit}

    @cached_property
    def fit_on(self) -> Interactions:
        """What models learn from before they are judged on test: the refit policy. Before validation it is always `train`."""
        return self.train if self.refit == "train" else self.train.plus(self.valid)

    @property
    def n_events(self) -> int:
        """Of people acting."""
        return len(self.train) + len(self.valid) + len(self.test) + len(self.known) + self.n_discarded

    def summary(self) -> str:
        """What the rule is, what it discards, who has nothing in the test part, and what is judged."""
        people = self.train.events_per_user + self.valid.events_per_user + self.test.events_per_user + self.known.events_per_user > 0
        without = int((people & (self.test.events_per_user == 0)).sum())
        shown = f" {self.n_exposures:,} events that only say what was shown are not split." if self.n_exposures else ""
        return (
            f"{self.rule.text}. Of {self.n_events:,} events {self.n_discarded:,} are discarded and {len(self.train):,} trained on.{shown} "
            f"{without:,} of {int(people.sum()):,} people have no event in the test part. Rankings are judged on what people liked; "
            f"what they had before {'may be shown again' if self.repeats else 'is masked'}."
        )

    def holdout(self, part: str = "test") -> Holdout:
        """Who is judged on `part` ("valid" or "test"), on what, knowing what.

        Truth: a person's positives in the part. History: everything they had in the parts before it and what the rule reveals, which is
        also what is masked unless the card calls repeats legitimate. Models are trained on `train` (validation) and on `fit_on` (test).
        """
        if part not in PARTS[1:]:
            raise unknown("part to judge on", part, PARTS[1:])
        history = self.train if part == "valid" else self.train.plus(self.valid)
        history = history.plus(self.known) if len(self.known) else history
        fitted = self.train if part == "valid" else self.fit_on
        return Holdout.build(
            label=self._label(part),
            truth=getattr(self, part).positives(),
            people=getattr(self, part).events_per_user > 0,
            history=history,
            seen=None if self.repeats else history,
            trained=fitted.events_per_user > 0,
            ties=self.ties,
            ledger=self.ledger if part == "test" else None,
        )

    def _label(self, part: str) -> str:
        return "/".join((self.snapshot_id, self.name, json.dumps(self.options, sort_keys=True), str(self.seed), part))

    def looks(self) -> Looks:
        """At the test part so far, whatever the seed and whoever looked."""
        return self.ledger.looks(sealed_part(self._label("test"))) if self.ledger else Looks(0, 0)

    def describe(self) -> pd.DataFrame:
        """One row for each judged part: how many people it has, whom it leaves out, who has a history, how small a difference they can
        show."""
        rows = []
        for part in PARTS[1:]:
            holdout = self.holdout(part)
            n = len(holdout.users)
            known = int((holdout.history_lengths > 0).sum())
            rows.append(
                {
                    "part": {"valid": "validation", "test": "test"}[part],
                    "events": len(getattr(self, part)),
                    "people": holdout.n_people,
                    "nothing to find": holdout.n_without_truth,
                    "judged": n,
                    "with a history": known,
                    "without": n - known,
                    "in training": int(holdout.trained[holdout.users].sum()),
                    "to find, each": holdout.n_relevant.double().mean().item() if n else float("nan"),
                    "detectable NDCG": detectable_difference(n) if n > 1 else float("nan"),
                }
            )
        return pd.DataFrame(rows)

    def parts(self) -> dict[str, Interactions]:
        return {name: getattr(self, name) for name in CODES}


def split(log: Log, name: str = "default", seed: int = 0, refit: Refit = "train", **options: Any) -> Split:
    """Split a data set by one of the named rules; "default" is the one its card recommends, with the parameters the card has for it.

    Raises RequestError for an unknown rule, parameter or refit policy and for a value no split can have; NotApplicable when the rule needs
    times and the log has none.
    """
    name, rule = chosen_rule(log, name, options)
    if refit not in REFITS:
        raise unknown("refit policy", refit, REFITS)
    with log.connect() as connection:
        n_events, n_exposures = _counts(connection, log)
        query = _query(log, rule, seed, n_events - n_exposures)
        found = connection.sql(query).to_arrow_table()
    columns = {name: torch.from_numpy(found[name].combine_chunks().to_numpy(zero_copy_only=False).copy()) for name in found.column_names}
    events = _interactions(columns, log.snapshot.rows("users"), log.snapshot.rows("items"))
    return Split(
        name=name,
        rule=rule,
        seed=seed,
        snapshot_id=log.snapshot.id,
        repeats=log.card.meaning.repeats,
        has_times=log.snapshot.has_times,
        n_discarded=n_events - n_exposures - len(events),
        n_exposures=n_exposures,
        ties=tie_ranks(log.item_ids, seed),
        refit=refit,
        ledger=Ledger(log.snapshot.folder.parent / LEDGER),
        **{which: events.select(torch.nonzero(columns["part"] == code)[:, 0]) for which, code in CODES.items()},
    )


def rolling_origin(log: Log, seed: int = 0, windows: int = 4, share: float = 0.1, refit: Refit = "train") -> list[Split]:
    """The backtest: one split for each window, earliest first."""
    return [split(log, "rolling_origin", seed, refit, windows=windows, share=share, window=window) for window in range(1, windows + 1)]


def write_split(log: Log, path: Path, name: str = "default", seed: int = 0, **options: Any) -> Path:
    """Stream a split to Parquet without holding it in memory: user_code, item_code, timestamp, value, grade, part (int8: 0 training,
    1 validation, 2 test, 3 known), by person and time. For logs whose tensors would not fit. Raises as `split` does.
    """
    _, rule = chosen_rule(log, name, options)
    with whole_file(path) as partial, log.connect() as connection:
        n_events, n_exposures = _counts(connection, log)
        query = _query(log, rule, seed, n_events - n_exposures)
        connection.execute(f"COPY ({query}) TO {literal(str(partial))} (FORMAT parquet)")
    return path


def chosen_rule(log: Log, name: str, options: dict[str, Any]) -> tuple[str, Rule]:
    """The rule and its name, the card's recommendation resolved."""
    default = log.card.split
    if name in ("default", default.default):
        name, options = default.default, {**default.parameters, **options}
    rule = make_rule(name, options)
    if rule.needs_time and not log.snapshot.has_times:
        raise NotApplicable(f"the split {name} needs times, and {log.snapshot.name} has none; choose one of {TIMELESS}.")
    return name, rule


def _query(log: Log, rule: Rule, seed: int, n_events: int) -> str:
    """SQL for the events of all parts, by person and time."""
    meaning = log.card.meaning
    coded = CODED.format(grade=meaning.grade_sql, exposure=any_of(meaning.exposure), **mixers(seed))
    columns = "user_code, item_code, timestamp, coalesce(value, CAST('NaN' AS DOUBLE)) AS value, grade, CAST(part AS TINYINT) AS part"
    return f"SELECT {columns} FROM ({coded}{rule.query(n_events)}) AS parted WHERE part IS NOT NULL ORDER BY user_code, {IN_TIME}"


def _counts(connection: duckdb.DuckDBPyConnection, log: Log) -> tuple[int, int]:
    exposure = any_of(log.card.meaning.exposure)
    query = f"SELECT count(*), coalesce(sum(CASE WHEN {exposure} THEN 1 ELSE 0 END), 0) FROM coded_events"
    n_events, n_exposures = connection.execute(query).fetchall()[0]
    return int(n_events), int(n_exposures)


def _interactions(columns: dict[str, Tensor], n_users: int, n_items: int) -> Interactions:
    return Interactions(
        n_users=n_users,
        n_items=n_items,
        users=columns["user_code"].long(),
        items=columns["item_code"].long(),
        timestamps=columns["timestamp"],
        values=columns["value"],
        grades=columns["grade"],
        order=torch.arange(len(columns["user_code"])),
    )
