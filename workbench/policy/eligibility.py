"""Hard rules: what may not be shown, to anybody or to a person. Each says which candidates it refuses."""

import math
from abc import abstractmethod
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from workbench.errors import RequestError
from workbench.policy.facts import Facts
from workbench.policy.greedy import keep_to_limits
from workbench.policy.pool import Pool
from workbench.policy.step import Step


class Eligibility(Step):
    """A rule that takes candidates away."""

    hard = True

    @abstractmethod
    def refused(self, pool: Pool, facts: Facts) -> Tensor:
        """bool (n, m): candidates that may not be shown."""

    def apply(self, pool: Pool, facts: Facts) -> Pool:
        left = pool.without(self.refused(pool, facts) & pool.there)
        return keep_to_limits(left) if pool.limits else left


class Block(Eligibility):
    """A block list."""

    kind: Literal["block"]
    items: Annotated[tuple[str, ...], Field(min_length=1)]
    """Ids of items; one that the catalogue does not have is nobody's."""

    @property
    def text(self) -> str:
        return f"{len(self.items)} blocked items"

    def refused(self, pool: Pool, facts: Facts) -> Tensor:
        wanted = set(self.items)
        return torch.tensor([each in wanted for each in facts.data.item_ids])[pool.items]


class Require(Eligibility):
    """What a column of the item table must say: one of some texts, or a number within bounds. Of a grouping whose cells name several groups
    one that is among them is enough.
    """

    kind: Literal["require"]
    column: str
    among: tuple[str, ...] = ()
    at_least: float = -math.inf
    at_most: float = math.inf
    empty: Literal["refuse", "allow"] = "refuse"
    """What becomes of items whose cell is empty or, where there are bounds, no number."""

    def check(self) -> None:
        bounds = self.at_least > -math.inf or self.at_most < math.inf
        if bool(self.among) == bounds or not self.at_least <= self.at_most:
            raise RequestError('"require" takes either "among" or bounds, "at_least" not above "at_most".')

    @property
    def text(self) -> str:
        if self.among:
            return f"{self.column} is {' or '.join(self.among)}"
        bounds = [f"at least {self.at_least:g}"] * (self.at_least > -math.inf) + [f"at most {self.at_most:g}"] * (self.at_most < math.inf)
        return f"{self.column} is {' and '.join(bounds)}"

    def refused(self, pool: Pool, facts: Facts) -> Tensor:
        cells = facts.cells(self.column)
        separator = facts.separator(self.column)
        return torch.tensor([not self._allows(cell, separator) for cell in cells])[pool.items]

    def _allows(self, cell: str | None, separator: str | None) -> bool:
        if cell is None or not cell.strip():
            return self.empty == "allow"
        if self.among:
            parts = cell.split(separator) if separator else [cell]
            return any(part.strip() in self.among for part in parts)
        number = _number(cell)
        return self.empty == "allow" if number is None else self.at_least <= number <= self.at_most


class Available(Eligibility):
    """Within the time in which an item is on offer, as two columns of the item table say: numbers, or dates in ISO 8601, UTC."""

    kind: Literal["available"]
    at: float | str
    """The moment that is asked about, in the columns' own terms: a number, a text, or a date as TOML has it."""
    since: str = ""
    """The column with the first moment; an empty cell: not on offer yet."""
    until: str = ""
    """The column with the moment from which on it is not on offer; an empty cell: always."""

    @field_validator("at", mode="before")
    @classmethod
    def _as_text(cls, at: Any) -> Any:
        return at.isoformat() if isinstance(at, date) else at

    def check(self) -> None:
        if not self.since and not self.until:
            raise RequestError('"available" needs a column "since" or "until".')
        if _moment(str(self.at), None) is None:
            raise RequestError(f'"available": at = {self.at!r} is neither a number nor a date in ISO 8601.')

    @property
    def text(self) -> str:
        return f"on offer at {self.at}"

    def refused(self, pool: Pool, facts: Facts) -> Tensor:
        now, dated = _moment(str(self.at), None), _number(str(self.at)) is None
        assert now is not None
        refused = torch.zeros(facts.data.n_items, dtype=torch.bool)
        if self.since:
            refused |= torch.tensor([each is None or each > now for each in self._moments(facts, self.since, dated)])
        if self.until:
            given = [bool(cell and cell.strip()) for cell in facts.cells(self.until)]
            ends = self._moments(facts, self.until, dated)
            refused |= torch.tensor([there and (end is None or end <= now) for there, end in zip(given, ends, strict=True)])
        return refused[pool.items]

    def _moments(self, facts: Facts, column: str, dated: bool) -> list[float | None]:
        """Of each item; None for a cell that is empty, or of another kind than `at`."""
        cells = facts.cells(column)
        found = [_moment(cell or "", dated) for cell in cells]
        if all(each is None for each in found) and any(cell and cell.strip() for cell in cells):
            kind = "a date in ISO 8601, as `at` is" if dated else "a number, as `at` is"
            raise RequestError(f'"available": no cell of {column} is {kind}.')
        return found


class Unseen(Eligibility):
    """What the person had already."""

    kind: Literal["unseen"]

    @property
    def text(self) -> str:
        return "not had before"

    def refused(self, pool: Pool, facts: Facts) -> Tensor:
        had = facts.history
        return torch.isin(pool.users[:, None] * had.n_items + pool.items, had.users * had.n_items + had.items) & (pool.users >= 0)[:, None]


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _moment(cell: str, dated: bool | None) -> float | None:
    """A number as it is; a date, or date and time, with its dashes, as seconds since 1970. dated: which of these it must be, None for
    either. None for anything else.
    """
    number = _number(cell)
    if number is not None:
        return None if dated else number
    if dated is False or "-" not in cell:
        return None
    try:
        found = datetime.fromisoformat(cell.strip())
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
