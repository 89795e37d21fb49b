"""What a report says first: the answer, the numbers behind it, the guardrails, and what it cannot say."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from workbench.evaluation.intervals import State


@dataclass(frozen=True)
class Headline:
    """One of the few numbers at the top."""

    label: str
    value: str
    note: str
    change: str = ""
    trend: Literal["up", "down", "flat"] = "flat"
    """Whether the change is good (up), bad (down) or neither; not its sign."""


@dataclass(frozen=True)
class Guardrail:
    state: State
    text: str


@dataclass(frozen=True)
class Verdict:
    """Every sentence in it is computed from numbers; nothing is markup."""

    headline: str
    numbers: list[Headline] = field(default_factory=list)
    guardrails: list[Guardrail] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    """What this report cannot say."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def _repr_markdown_(self) -> str:
        marks = {"pass": "✓", "fail": "✗", "unknown": "?"}
        lines = [f"**{self.headline}**", *(f"- {marks[g.state]} {g.text}" for g in self.guardrails)]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.headline
