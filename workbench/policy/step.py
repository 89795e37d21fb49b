"""A step of a policy: named, checked, and able to say what it does."""

from abc import abstractmethod
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from workbench.policy.facts import Facts
from workbench.policy.pool import Pool


class Step(BaseModel):
    """Parameters of a step. Raises ValidationError for one that no step can have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hard: ClassVar[bool] = False
    """A rule that every list keeps to, whatever later steps prefer."""
    name: str = ""
    """What the record calls it; its text where none is given."""

    def check(self) -> None:
        """Raises RequestError for parameters that do not go together."""

    @property
    @abstractmethod
    def text(self) -> str:
        """What it does, in a few words."""

    @property
    def title(self) -> str:
        return self.name or self.text

    def promised(self, pool: Pool, facts: Facts) -> tuple[float, float] | None:  # noqa: ARG002
        """Of a step that promises a share of everybody's places: what was asked, and what these lists, which it made, have. Else None."""
        return None

    @abstractmethod
    def apply(self, pool: Pool, facts: Facts) -> Pool:
        """The pool without what may not be shown, or in another order. Raises RequestError when the data has not what the step asks for."""
