"""Bootstrap intervals for means over people."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
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
    """Percentile bootstrap interval of the mean of `values`, float64 (n,), n >= 1 (Efron and Tibshirani 1993, ch. 13).

    People are what is resampled: the interval speaks of other people like these, not of retraining the model. With n = 1 it has no width.
    """
    column = values.double().numpy()
    means = resampled_means(column[:, None], resamples, np.random.default_rng(seed))[:, 0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(column.mean()), float(low), float(high), len(column), level)


def resampled_means(values: npt.NDArray[np.float64], resamples: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """float64 (resamples, m): means of the columns of `values` (n, m) over people drawn with replacement, the same draws for all columns."""
    n = len(values)
    means = []
    for start in range(0, resamples, BLOCK):
        size = min(BLOCK, resamples - start)
        draws = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        means.append(np.bincount(draws.ravel(), minlength=size * n).reshape(size, n) @ values / n)
    return np.concatenate(means)
