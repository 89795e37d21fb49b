"""Hard rules on whole lists: at most so many of a group, one of each."""

from typing import Annotated, Literal

from pydantic import Field

from workbench.policy.facts import Facts
from workbench.policy.greedy import keep_to_limits
from workbench.policy.limits import Limit
from workbench.policy.pool import Pool
from workbench.policy.step import Step


class Cap(Step):
    """At most `most` items of any one group; those beyond it give way to what comes next. An item of no group counts nowhere."""

    hard = True
    kind: Literal["cap"]
    by: str
    """A grouping of the card, a column of the item table, or "popularity"."""
    most: Annotated[int, Field(ge=1, strict=True)]

    @property
    def text(self) -> str:
        return f"at most {self.most} of a {self.by}"

    def apply(self, pool: Pool, facts: Facts) -> Pool:
        return keep_to_limits(pool.limited(Limit(groups=facts.membership(self.by).counted, most=self.most)))


class Once(Step):
    """One item of each value of a column: the same film twice under two ids, two volumes of a series."""

    hard = True
    kind: Literal["once"]
    by: str

    @property
    def text(self) -> str:
        return f"one of each {self.by}"

    def apply(self, pool: Pool, facts: Facts) -> Pool:
        return keep_to_limits(pool.limited(Limit(groups=facts.membership(self.by).counted, most=1)))
