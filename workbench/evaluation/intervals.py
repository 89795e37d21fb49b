"""Intervals for means over people: what other people like these would have given.

People are resampled by weights: each person counts as often as a Poisson draw of mean 1 says, and a mean is the weighted sum over the
weighted number (Hanley and MacGibbon, Computer Methods and Programs in Biomedicine 2006). So one draw serves any number of metrics and
slices as a matrix product, and a person who is not in a slice, NaN in its column, takes no part in it.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from torch import Tensor

CELLS = 2**24
"""Weights drawn at once; bounds memory at 7 bytes each."""
RESAMPLES = 2000

Floats = npt.NDArray[np.float64]


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
    values = torch.stack([column.double() for column in columns.values()], dim=1)
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
    present = ~values.isnan()
    n = present.sum(0)
    return (values.nan_to_num().sum(0) / n).numpy(), n.numpy()


def expanded_tail(df: float, level: float) -> float:
    """The share to cut off each end: less than (1 - level) / 2 for few people, whose plain percentile interval is too narrow.

    Hesterberg's expanded percentile interval (The American Statistician, 2015): Φ(-√(n / (n - 1)) · t), t of df = n - 1 degrees of freedom.
    """
    return float(stats.norm.cdf(-math.sqrt((df + 1) / df) * stats.t.ppf((1 + level) / 2, df)))


def resampled_means(values: Tensor, resamples: int, seed: int) -> Floats:
    """float64 (resamples, m): means of the columns of `values`, float64 (n, m), over people drawn with replacement, one draw for all.

    Centred before they are multiplied in float32, so a column of one value has resamples of that very value.
    """
    present = ~values.isnan()
    centre = values.nan_to_num().sum(0) / present.sum(0).clamp(min=1)
    groups, which = _distinct(present)
    parts = torch.cat([(values - centre).nan_to_num().float(), groups.float()], dim=1)
    rows = []
    for weights in poisson_weights(len(values), resamples, np.random.default_rng(seed)):
        sums, counts = (weights @ parts).double().split([values.shape[1], groups.shape[1]], dim=1)
        rows.append(centre + sums / counts[:, which])
    return torch.cat(rows).numpy()


def _distinct(present: Tensor) -> tuple[Tensor, Tensor]:
    """The different columns of bool (n, m), and which of them each of the m is: metrics of one slice have one and the same."""
    keys = torch.from_numpy(np.random.default_rng(0).integers(2**62, size=len(present)))
    _, which = torch.unique((present * keys[:, None]).sum(0), return_inverse=True)  # sums wrap: two different columns agree once in 2^64
    first = torch.full((int(which.max()) + 1,), len(which)).scatter_reduce_(0, which, torch.arange(len(which)), "amin")
    return present[:, first], which


def poisson_weights(n: int, resamples: int, rng: np.random.Generator) -> Iterator[Tensor]:
    """float32 (some, n) at a time, `resamples` rows in all: Poisson draws of mean 1, to a sixteenth bit.

    A draw is a place in a table of 65,536 that holds 0, 1, 2, … as often as the distribution says.
    """
    below = np.cumsum([math.exp(-1) / math.factorial(draw) for draw in range(12)])
    table = np.searchsorted(below, (np.arange(65536) + 0.5) / 65536).astype(np.float32)
    step = max(1, CELLS // max(1, n))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        yield torch.from_numpy(table[np.frombuffer(rng.bytes(2 * size * n), dtype=np.uint16)].reshape(size, n))
