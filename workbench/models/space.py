"""What is worth trying: the values that `workbench tune` may give to a setting. A model names its settings' in `space`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Any number from `low` to `high`; of whole ones a whole one; `log`: each order of magnitude is as likely as another."""

    low: float
    high: float
    log: bool = False

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


@dataclass(frozen=True, init=False)
class Choices:
    values: tuple[str | int | float, ...]

    def __init__(self, *values: str | int | float) -> None:
        object.__setattr__(self, "values", values)

    def __contains__(self, value: object) -> bool:
        return value in self.values
