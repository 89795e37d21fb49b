"""Intervals for means over people: what other people like these would have given.

People are resampled by weights: each person counts as often as a Poisson draw of mean 1 says, and a mean is the weighted sum over the
weighted number (Hanley and MacGibbon, Computer Methods and Programs in Biomedicine 2006). So one draw serves any number of metrics and
slices as a matrix product, and a person who is not in a slice, NaN in its column, takes no part in it.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from torch import Tensor

CELLS = 2**22
"""Weights drawn at once: 16 MB, which stay in the processor's cache until they are multiplied."""
RESAMPLES = 2000

Floats = npt.NDArray[np.float64]
State = Literal["pass", "fail", "unknown"]
_BELOW = np.cumsum([math.exp(-1) / math.factorial(draw) for draw in range(12)])
_DRAWS = torch.from_numpy(np.searchsorted(_BELOW, (np.arange(65536) + 0.5) / 65536).astype(np.float32))


@dataclass(frozen=True)
class Interval:
    value: float
    low: float
    """NaN, like `high`, where one person, or none, says nothing of others."""
    high: float
    n: int
    """People."""
    level: float = 0.95

    @property
    def known(self) -> bool:
        return not math.isnan(self.low)

    def above(self, least: float = 0.0) -> State:
        """pass: the whole interval lies above `least`; fail: below; unknown: neither, or there is none."""
        return "pass" if self.low > least else "fail" if self.high < least else "unknown"

    def text(self, digits: int = 3, sign: bool = False) -> str:
        """ "0.123 (0.110 to 0.136)"; with `sign`, a plus or minus before each number."""
        form = f"{'+' if sign else ''}.{digits}f"
        if not self.known:
            return f"{self.value:{form}} (no interval, {self.n} {'person' if self.n == 1 else 'people'})"
        return f"{self.value:{form}} ({self.low:{form}} to {self.high:{form}})"


def bootstrap_mean(values: Tensor, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Interval of the mean of one metric, float64 (n,); see `bootstrap_means`."""
    return bootstrap_means({"": values}, level=level, resamples=resamples, seed=seed)[""]


def bootstrap_means(
    columns: Mapping[str, Tensor], *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Percentile bootstrap interval of the mean of each column, float64 (n,), over the people who have a value in it.

    People are what is resampled: the interval speaks of other people like these, not of retraining the model.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13; widened for few people, see `expanded_tail`.
    """
    values = torch.stack([column.double() for column in columns.values()]).T
    point, n = means_and_counts(values)
    drawn = resampled_means(values, resamples, seed)
    return {name: percentile_interval(drawn[:, i], float(point[i]), int(n[i]), level, df=float(n[i]) - 1) for i, name in enumerate(columns)}


def percentile_interval(drawn: Floats, value: float, n: int, level: float, df: float) -> Interval:
    """The interval out of resampled values, float64 (resamples,); NaN among them, where nobody was drawn, are passed over."""
    if n < 2:
        return Interval(value, math.nan, math.nan, n, level)
    tail = expanded_tail(df, level)
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    return Interval(value, float(low), float(high), n, level)


def means_and_counts(values: Tensor) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Mean of each column of float64 (n, m) over its people, and their number; NaN is nobody's value."""
    n = len(values) - np.count_nonzero(values.isnan().numpy(), axis=0)  # ten times faster than torch's sum of bool
    return (values.nansum(0) / torch.from_numpy(n)).numpy(), n


@lru_cache
def expanded_tail(df: float, level: float) -> float:
    """The share to cut off each end: less than (1 - level) / 2 for few people, whose plain percentile interval is too narrow.

    Hesterberg's expanded percentile interval (The American Statistician, 2015): Φ(-√(n / (n - 1)) · t), t of df = n - 1 degrees of freedom.
    """
    return float(stats.norm.cdf(-math.sqrt((df + 1) / df) * stats.t.ppf((1 + level) / 2, df)))


def resampled_means(values: Tensor, resamples: int, seed: int) -> Floats:
    """float64 (resamples, m): means of the columns of `values`, float64 (n, m), over people drawn with replacement, one draw for all.

    Centred before they are multiplied in float32, so a column of one value has resamples of that very value.
    """
    m, present = values.shape[1], ~values.isnan()
    first, which = _distinct(present)
    centre = torch.from_numpy(means_and_counts(values)[0])
    sums = torch.zeros(resamples, m + len(first), dtype=torch.float64)
    rng, step = np.random.default_rng(seed), max(1, CELLS // resamples)
    for some, who in zip(values.split(step), present.split(step), strict=True):
        sums += _weights(resamples, len(some), rng) @ torch.cat([(some - centre).float().nan_to_num(), who[:, first].float()], dim=1)
    drawn: Floats = (centre + sums[:, :m] / sums[:, m:][:, which]).numpy()
    return drawn


def _distinct(present: Tensor) -> tuple[list[int], list[int]]:
    """Of the different columns of bool (n, m) the first ones, and which of them each of the m is: metrics of one slice have the same."""
    groups: dict[bytes, int] = {}
    packed = np.packbits(np.ascontiguousarray(present.numpy().T), axis=1)
    which = [groups.setdefault(column.tobytes(), len(groups)) for column in packed]
    return [which.index(group) for group in range(len(groups))], which


def poisson_weights(n: int, resamples: int, rng: np.random.Generator) -> Iterator[Tensor]:
    """float32 (some, n) at a time, `resamples` rows in all: Poisson draws of mean 1."""
    step = max(1, CELLS // max(1, n))
    for start in range(0, resamples, step):
        yield _weights(min(step, resamples - start), n, rng)


def _weights(rows: int, n: int, rng: np.random.Generator) -> Tensor:
    """float32 (rows, n): Poisson draws of mean 1, to a sixteenth bit.

    A draw is a place in a table of 65,536 that holds 0, 1, 2, … as often as the distribution says; four places to a random word.
    """
    words = rng.integers(2**64 - 1, size=-(-rows * n // 4), dtype=np.uint64, endpoint=True)
    return _DRAWS.index_select(0, torch.from_numpy(words.view(np.uint16)[: rows * n]).int()).view(rows, n)
