"""Features as a network takes them: numbers of about one size, a mark for what is missing, categories as codes."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from workbench.errors import RequestError
from workbench.features import FeatureFrame

CLIP = 5.0
"""Standard deviations beyond which a number is taken for that many."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Inputs:
    """Learnt from the training examples alone."""

    numbers: tuple[str, ...]
    """Features that are numbers and not the same everywhere."""
    missing: tuple[str, ...]
    """Of these the ones that are missing somewhere: each has a mark besides."""
    mean: Tensor
    """float64 (numbers,), of the squashed values."""
    spread: Tensor
    """float64 (numbers,), above 0."""
    categories: dict[str, tuple[str, ...]]
    """By feature: the names seen, in the order of their codes from 1; 0 is a name that was not seen, or none."""

    @classmethod
    def of(cls, frame: FeatureFrame) -> Self:
        """Raises RequestError, naming the feature, for an infinite value."""
        check_finite(frame)
        numbers = [each.name for each in frame.definitions if not each.category]
        values = squashed(frame.only(numbers).values)
        counts = (~values.isnan()).sum(0).clamp(min=1)
        mean = values.nansum(0) / counts
        spread = ((values - mean).square().nansum(0) / counts).sqrt()
        told = spread > 1e-9
        gaps = values.isnan().any(0) & ~values.isnan().all(0)
        seen = {}
        for each in frame.definitions:
            if each.category:
                codes = frame.column(each.name)
                seen[each.name] = tuple(frame.names[each.name][int(code)] for code in codes[~codes.isnan()].unique())
        return cls(
            numbers=tuple(name for name, kept in zip(numbers, told.tolist(), strict=True) if kept),
            missing=tuple(name for name, gap in zip(numbers, gaps.tolist(), strict=True) if gap),
            mean=mean[told],
            spread=spread[told],
            categories=seen,
        )

    @property
    def width(self) -> int:
        """Of the numbers, marks included."""
        return len(self.numbers) + len(self.missing)

    @property
    def sizes(self) -> list[int]:
        """Codes of each category, that of the unseen among them."""
        return [len(names) + 1 for names in self.categories.values()]

    def encoded(self, frame: FeatureFrame) -> tuple[Tensor, Tensor]:
        """float32 (n, width) and int64 (n, categories). Raises RequestError for a feature that is absent or infinite."""
        check_finite(frame)
        absent = {*self.numbers, *self.missing, *self.categories} - {each.name for each in frame.definitions}
        if absent:
            raise RequestError(f"the feature {min(absent)} was learnt from and is not among those given.")
        values = [squashed(frame.column(name)) for name in self.numbers]
        scaled = [((each - m) / s).nan_to_num(0.0).clamp(-CLIP, CLIP) for each, m, s in zip(values, self.mean, self.spread, strict=True)]
        marks = [frame.column(name).isnan().double() for name in self.missing]
        n = len(frame.values)
        numbers = torch.stack([*scaled, *marks], dim=1).float() if self.width else torch.empty(n, 0)
        codes = [self._codes(frame, name) for name in self.categories]
        return numbers, torch.stack(codes, dim=1) if codes else torch.empty(n, 0, dtype=torch.int64)

    def _codes(self, frame: FeatureFrame, name: str) -> Tensor:
        known = {each: code for code, each in enumerate(self.categories[name], start=1)}
        table = torch.tensor([*(known.get(each, 0) for each in frame.names[name]), 0])
        return table[frame.column(name).nan_to_num(nan=len(table) - 1).long()]


def squashed(values: Tensor) -> Tensor:
    """sign(x) log(1 + |x|): counts span decades."""
    return values.sign() * values.abs().log1p()


def check_finite(frame: FeatureFrame) -> None:
    """Raises RequestError, naming the feature and the row, for an infinite value. NaN is for what is not there."""
    broken = torch.nonzero(frame.values.isinf())
    if len(broken):
        row, column = broken[0].tolist()
        name = frame.definitions[column].name
        raise RequestError(f"the feature {name} is {frame.values[row, column].item()} in row {row}; NaN is for what is not there.")
