"""A policy: named steps in order, each recording what it changed and why. Written in TOML, or as a notebook's text."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor

from workbench.errors import RequestError, unknown
from workbench.evaluation.ranking import NOTHING
from workbench.policy.calibrated import Calibrate
from workbench.policy.caps import Cap, Once
from workbench.policy.diversify import Dpp, Mmr
from workbench.policy.eligibility import Available, Block, Require, Unseen
from workbench.policy.facts import Facts
from workbench.policy.floor import Floor
from workbench.policy.pool import Pool, fresh
from workbench.policy.randomise import Randomise
from workbench.policy.step import Step

AnyStep = Annotated[
    Block | Require | Available | Unseen | Cap | Once | Mmr | Dpp | Calibrate | Floor | Randomise, Field(discriminator="kind")
]
_STEPS: TypeAdapter[Step] = TypeAdapter(AnyStep)
KINDS = ("block", "require", "available", "unseen", "cap", "once", "mmr", "dpp", "calibrate", "floor", "randomise")


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a step did."""

    step: str
    kind: str
    removed: int
    """Candidates taken away, of all people."""
    people: int
    """People whose list is another one after it."""
    replaced: int
    """Places of lists whose item was not in the person's list before."""
    short: int
    """People with fewer than `k` items left."""
    chance: bool
    """The order was drawn."""
    asked: float | None = None
    """The share of places that a group was to get; None of a step that promises none."""
    reached: float | None = None
    """The share that it has."""

    @property
    def missed(self) -> bool:
        """The group has less than its floor."""
        return self.asked is not None and self.reached is not None and self.reached < self.asked - 1e-9


@dataclass(frozen=True, eq=False, kw_only=True)
class Applied:
    """What a policy made of the candidates."""

    pool: Pool
    """The last state; `pool.lists` is what is shown."""
    records: list[Record]
    stages: list[Pool]
    """Before the first step, and after each."""

    @property
    def lists(self) -> Tensor:
        """int64 (n, k): what is shown, best first; NOTHING where too few may be."""
        return self.pool.lists

    @property
    def short(self) -> Tensor:
        """bool (n,): people whose list has fewer than `k` items."""
        return (self.lists == NOTHING).any(1)

    def trace(self, row: int, titles: Sequence[str]) -> pd.DataFrame:
        """One person's candidates that were in the list at some time: their place after each step, and what took them away. Without what
        `unseen` refused: that is what the person had.
        """
        places = [_places(stage, row) for stage in self.stages]
        listed = [int(stage.in_list[row].sum()) for stage in self.stages]
        steps = _told_apart(["item", "before", *(record.step for record in self.records)])[1:]
        ever = {item for stage, n in zip(places, listed, strict=True) for item, place in stage.items() if place <= n}
        rows = []
        for item in sorted(ever, key=lambda item: (places[-1].get(item, 10**9), places[0][item])):
            at = next((number for number, stage in enumerate(places) if item not in stage), None)
            if at is not None and self.records[at - 1].kind == "unseen":
                continue
            gone = "" if at is None else steps[at]
            told = {name: str(stage[item]) if item in stage else "" for name, stage in zip(steps, places, strict=True)}
            out = f"taken away: {gone}" if gone else "" if places[-1][item] <= listed[-1] else "below the list"
            rows.append({"item": titles[item], **told, "": out})
        return pd.DataFrame(rows)


def _told_apart(names: Sequence[str]) -> list[str]:
    """Each name once: the second of a name is "name (2)"."""
    found: list[str] = []
    for name in names:
        number, unique = 2, name
        while unique in found:
            unique, number = f"{name} ({number})", number + 1
        found.append(unique)
    return found


def _places(pool: Pool, row: int) -> dict[int, int]:
    return {item: place for place, item in enumerate(pool.items[row].tolist(), start=1) if item != NOTHING}


@dataclass(frozen=True)
class Policy:
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        """Raises RequestError for a step after one that it would undo."""
        for step in self.steps:
            step.check()
        kinds = [step.model_dump()["kind"] for step in self.steps]
        if "floor" in kinds and (after := [kind for kind in kinds[kinds.index("floor") :] if kind != "floor"]):
            raise RequestError(f'"{after[0]}" comes after "floor" and would undo it: put the floor last.')
        if "randomise" in kinds and (after := kinds[kinds.index("randomise") + 1 :]):
            raise RequestError(f'"{after[0]}" comes after "randomise", whose chances would no longer be true: put it last.')

    @property
    def text(self) -> str:
        return ", then ".join(step.title for step in self.steps) or "as ranked"

    def apply(self, pool: Pool, facts: Facts) -> Applied:
        """Every step in turn. Hard rules hold in every list that comes out, whatever the steps after them prefer; where they leave too few
        items, a list is shorter. Raises RequestError when the data has not what a step asks for.
        """
        stages, records = [pool], []
        for step in self.steps:
            before = stages[-1]
            stages.append(step.apply(before, facts))
            records.append(_record(step, before, stages[-1], facts))
        return Applied(pool=stages[-1], records=records, stages=stages)


def _record(step: Step, before: Pool, after: Pool, facts: Facts) -> Record:
    old, new = before.lists, after.lists
    asked, reached = step.promised(after, facts) or (None, None)
    return Record(
        step=step.title,
        kind=str(step.model_dump()["kind"]),
        removed=int(before.there.sum() - after.there.sum()),
        people=int((old != new).any(1).sum()),
        replaced=int(fresh(new, old).sum()),
        short=int((new == NOTHING).any(1).sum()),
        chance=after.chances is not None and before.chances is None,
        asked=asked,
        reached=reached,
    )


def policy_of(text: str) -> Policy:
    """The policy in TOML that a text is, or that stands in the file which it names: `[[step]]` tables, each with its `kind` and parameters.
    Raises RequestError, naming the file and the step.
    """
    return parse_policy(policy_text(text), "the policy" if _is_toml(text) else text)


def policy_text(text: str) -> str:
    """The text itself where it is TOML, else that of the file it names. Raises RequestError for a file that cannot be read."""
    if _is_toml(text):
        return text
    try:
        return Path(text).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise RequestError(f"the policy {text} cannot be read: {error}.") from None


def _is_toml(text: str) -> bool:
    return "[[" in text or "\n" in text


def parse_policy(text: str, where: str = "the policy") -> Policy:
    """The policy that a TOML text describes. Raises RequestError, naming the step, for what no policy can have."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"{where} is no TOML: {error}.") from None
    if other := sorted(set(raw) - {"step"}):
        raise unknown(f"entry of {where}", other[0], ["step"])
    tables = raw.get("step", [])
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise RequestError(f"{where}: write each step as a table, [[step]].")
    return make_policy(tables, where)


def make_policy(steps: Sequence[dict[str, Any]], where: str = "the policy") -> Policy:
    """A policy out of each step's parameters: `make_policy([{"kind": "mmr", "weight": 0.7}])`. Raises RequestError, naming the step."""
    made = []
    for number, table in enumerate(steps, start=1):
        kind = table.get("kind")
        if kind is None:
            raise RequestError(f'{where}, step {number}, has no "kind"; docs/policy.md has the kinds of steps.')
        if kind not in KINDS:
            raise unknown(f"kind of step (step {number} of {where})", str(kind), KINDS)
        for name, value in table.items():
            if isinstance(value, bool):  # True is 1 to Python
                raise RequestError(f'{where}, step {number} ("{kind}"), {name}: input should be a number or a text, not {value}.')
        try:
            made.append(_STEPS.validate_python(table))
            made[-1].check()
        except RequestError as error:
            raise RequestError(f"{where}, step {number}: {error}") from None
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(each) for each in first["loc"][1:])
            reason = first["msg"].removeprefix("Value error, ")
            raise RequestError(f'{where}, step {number} ("{kind}"), {name}: {reason[:1].lower()}{reason[1:]}.') from None
    try:
        return Policy(tuple(made))
    except RequestError as error:
        raise RequestError(f"{where}: {error}") from None


def limits_hold(applied: Applied) -> Tensor:
    """bool (n,): whether each list keeps to every limit; for tests and for who does not take our word."""
    held = torch.ones(len(applied.pool), dtype=torch.bool)
    for limit in applied.pool.limits:
        held &= limit.holds(applied.lists)
    return held
