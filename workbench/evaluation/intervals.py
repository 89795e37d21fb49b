"""Bootstrap intervals for means over people."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats
from torch import Tensor

BLOCK = 256
"""Resamples drawn at once; bounds memory at BLOCK × people × 8 bytes."""


@dataclass(frozen=True)
class Interval:
    value: float
    low: float
    high: float
    n: int
    level: float = 0.95

    def text(self, digits: int = 3, sign: bool = False) -> str:
        """ "0.123 (0.110 to 0.136)"; with `sign`, a plus or minus before each number."""
        form = f"{'+' if sign else ''}.{digits}f"
        return f"{self.value:{form}} ({self.low:{form}} to {self.high:{form}})"


def bootstrap_mean(values: Tensor, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """Interval of the mean of one metric, float64 (n,); see `bootstrap_means`."""
    return bootstrap_means({"": values}, level=level, resamples=resamples, seed=seed)[""]


def bootstrap_means(columns: Mapping[str, Tensor], *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> dict[str, Interval]:
    """Percentile bootstrap interval of the mean of each column, float64 (n,), over the same n >= 1 people.

    People are what is resampled: the interval speaks of other people like these, not of retraining the model. With n = 1 it has no width.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13; widened for few people, see `_expanded_tail`.
    """
    values = np.stack([column.double().numpy() for column in columns.values()], axis=1)
    means = resampled_means(values, resamples, np.random.default_rng(seed))
    tail = _expanded_tail(len(values), level)
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    point = values.mean(axis=0)
    return {name: Interval(float(point[i]), float(low[i]), float(high[i]), len(values), level) for i, name in enumerate(columns)}


def _expanded_tail(n: int, level: float) -> float:
    """The share to cut off each end: less than (1 - level) / 2 for few people, whose plain percentile interval is too narrow.

    Hesterberg's expanded percentile interval (The American Statistician, 2015): Φ(-√(n / (n - 1)) · t), t of n - 1 degrees of freedom.
    """
    return float(stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf((1 + level) / 2, n - 1))) if n > 1 else 0.0


def resampled_means(values: npt.NDArray[np.float64], resamples: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """float64 (resamples, m): means of the columns of `values` (n, m) over people drawn with replacement, one draw for all."""
    n = len(values)
    means = []
    for start in range(0, resamples, BLOCK):
        size = min(BLOCK, resamples - start)
        draws = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        means.append(np.bincount(draws.ravel(), minlength=size * n).reshape(size, n) @ values / n)
    return np.concatenate(means)
