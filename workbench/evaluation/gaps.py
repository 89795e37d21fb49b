"""Whom a model serves worse: a group of people against everybody else, other people on either side, so that nothing is paired.

Differences in means by Welch's t (Biometrika 1947), which lets each side have a spread of its own. Few people of whom most have 0, as in
NDCG, look as if they varied less than they do, so in intervals a group's variance is at least its mix with everybody's, as in Smyth's
moderated t (Statistical Applications in Genetics and Molecular Biology 2004). P-values are of t's permutation distribution: labels are
dealt anew over the people, which is exact where groups do not differ at all and right for many people where only their spreads do (Janssen,
Statistics & Probability Letters 1997).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from workbench.data.power import POWER
from workbench.evaluation.comparison import MIN_PEOPLE, Call
from workbench.evaluation.harness import Evaluation
from workbench.evaluation.intervals import RESAMPLES, Floats, Interval, resampled_means
from workbench.evaluation.metrics import label
from workbench.evaluation.permutation import ALPHA, LEAST, holm
from workbench.evaluation.slices import Slice

CELLS = 2**23
"""Values dealt anew at once."""
PRIOR = 30
"""People of everybody's variance that a group's own is mixed with in intervals, where that makes it larger."""
ROUNDING = 1e-12
"""Of the values' size: what sums of them may be off by."""


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A group's mean beside that of everybody else who has a value. Intervals of a list of them hold together."""

    metric: str
    dimension: str
    group: str
    value: Interval
    """The group's mean."""
    difference: Interval
    """That minus everybody else's."""
    ratio: Interval
    """That over everybody else's; NaN where either is not above 0."""
    n_others: int
    p_value: float
    """Two-sided, Holm-adjusted over the groups asked about at once."""
    detectable: float
    """The smallest true difference that this many people on either side show with 80 % power, as one of those asked about at once. Where
    all are alike, 3 / n of the smaller side, as in `Comparison`."""

    @property
    def label(self) -> str:
        return f"{self.dimension}: {self.group}"

    @property
    def significant(self) -> bool:
        return self.p_value < ALPHA

    @property
    def not_excluded(self) -> float:
        """The largest difference, either way, that the interval leaves open; infinite where there is none."""
        return max(0.0, -self.difference.low, self.difference.high) if self.difference.known else math.inf

    def verdict(self, effect: float) -> Call:
        """As `Comparison.verdict`: "no difference" only where the whole interval lies within `effect`, of enough people on both sides."""
        if self.significant:
            return "better" if self.difference.value > 0 else "worse"
        enough = min(self.difference.n, self.n_others) >= MIN_PEOPLE and self.detectable <= effect
        return "no difference" if enough and self.not_excluded < effect else "too few to say"

    def sentence(self, digits: int = 3) -> str:
        """What it says, in words."""
        name, size = label(self.metric), f"{abs(self.difference.value):.{digits}f}"
        if self.significant:
            side = "higher" if self.difference.value > 0 else "lower"
            return f"{self.label}: {name} is {side} by {size} than everybody else's ({self.difference.text(digits, sign=True)})."
        if not self.difference.known:
            return f"{self.label}: too few people for an interval; no difference can be excluded."
        return f"{self.label}: no difference in {name} is seen; one of up to {self.not_excluded:.{digits}f} cannot be excluded."


def group_gaps(result: Evaluation, groups: Sequence[Slice], metric: str, *, seed: int = 0, tested: bool = True) -> list[Gap]:
    """Each group of people against everybody else. Groups of nobody, and of everybody, are left out; of one person there is a value alone.
    tested: whether p-values are wanted; else they are NaN.

    Where a dimension has two groups, one is the other's mirror, and they count as one in the correction. Raises ValueError for a slice of
    what was liked: that is no group of people.
    """
    values = result.values(metric)
    told = ~values.isnan()
    kept = []
    for each in groups:
        if each.people is None or each.truth is not None:
            raise ValueError(f"{each.label} is no group of people.")
        if 0 < int((each.people & told).sum()) < int(told.sum()):
            kept.append(each)
    if not kept:
        return []
    member = torch.stack([each.people[told] for each in kept if each.people is not None], dim=1)
    sides = _Sides(values[told], member)
    mirror = _mirrors(kept, member)
    first = [place for place, of in enumerate(mirror) if of == place]
    adjusted = np.full(len(kept), 1.0 if tested else np.nan)
    if tested:
        adjusted[first] = holm(sides.p_values(seed)[first])
    return sides.gaps(metric, kept, adjusted[mirror], len(first), seed)


def worst_group(gaps: Sequence[Gap]) -> Gap | None:
    """The group with the lowest mean, of those that have an interval; None where none has."""
    return min((gap for gap in gaps if gap.value.known), key=lambda gap: gap.value.value, default=None)


def _mirrors(groups: Sequence[Slice], member: Tensor) -> list[int]:
    """For each group the place of the earlier one of its dimension that is its complement; its own where there is none."""
    found: list[int] = []
    for place, each in enumerate(groups):
        of = (
            other
            for other in range(place)
            if found[other] == other and groups[other].dimension == each.dimension and bool((member[:, other] ^ member[:, place]).all())
        )
        found.append(next(of, place))
    return found


@dataclass(frozen=True, eq=False)
class _Sides:
    """n people's values and m groups of them, each with everybody else as its other side."""

    values: Tensor
    """float64 (n,)."""
    member: Tensor
    """bool (n, m)."""

    def _moments(self, values: Tensor) -> tuple[Tensor, ...]:
        """Counts, means and variances of the groups and of the others, float64 (rows, m). values: float64 (rows, n)."""
        inside = self.member.double()
        n, counts = len(self.values), inside.sum(0)
        centred = values - self.values.mean()  # sums of squares of numbers far from zero lose digits
        sums, squares = centred @ inside, centred.square() @ inside
        rest, rest_squares = centred.sum(1, keepdim=True) - sums, centred.square().sum(1, keepdim=True) - squares
        found = []
        for size, total, square in ((counts, sums, squares), (n - counts, rest, rest_squares)):
            mean = total / size
            variance = (square - total * mean) / (size - 1)
            found += [size.expand_as(mean), mean, torch.where(variance <= ROUNDING * square / size, 0.0, variance)]
        return tuple(found)

    def _t(self, values: Tensor) -> Tensor:
        n_a, a, var_a, n_b, b, var_b = self._moments(values)
        spread = (var_a / n_a + var_b / n_b).sqrt()
        return torch.where(spread > 0, (a - b) / spread, torch.where(a == b, 0.0, torch.inf * (a - b).sign())).nan_to_num()

    def p_values(self, seed: int) -> Floats:
        """float64 (m,), not adjusted; 1 for a side of one person."""
        m, n = self.member.shape[1], len(self.values)
        observed = self._t(self.values[None]).abs() * (1 - 1e-9)
        deals = max(LEAST, math.ceil(20 * m / ALPHA))
        rng, extreme = np.random.default_rng([seed, 2]), torch.zeros(m, dtype=torch.int64)
        done, values = 0, self.values.numpy()
        while done < deals:
            rows = min(deals - done, max(1, CELLS // n))
            dealt = torch.from_numpy(rng.permuted(np.broadcast_to(values, (rows, n)), axis=1))
            extreme += (self._t(dealt).abs() >= observed).sum(0)
            done += rows
        alone = (self.member.sum(0) < 2) | ((~self.member).sum(0) < 2)
        return np.where(alone.numpy(), 1.0, (1 + extreme.numpy()) / (1 + deals))

    def gaps(self, metric: str, groups: Sequence[Slice], p_values: Floats, family: int, seed: int) -> list[Gap]:
        """family: comparisons that are corrected for."""
        n_a, a, var_a, n_b, b, var_b = (each[0].numpy() for each in self._moments(self.values[None]))
        a, b, everybody = self._whole(a), self._whole(b), float(self.values.var())
        with np.errstate(divide="ignore", invalid="ignore"):
            error_a, error_b = (moderated(variance, n, everybody) / n for variance, n in ((var_a, n_a), (var_b, n_b)))
            error = error_a + error_b
            freedom = error**2 / (error_a**2 / (n_a - 1) + error_b**2 / (n_b - 1))
            freedom = np.where(np.isfinite(freedom), freedom, np.minimum(n_a, n_b) - 1)
            both, own = self._reach(seed)
            half = stats.t.ppf(both, freedom) * np.sqrt(error)
            half_own = stats.t.ppf(own, n_a - 1) * np.sqrt(error_a)
            smallest = (stats.t.ppf(1 - ALPHA / family / 2, freedom) + stats.t.ppf(POWER, freedom)) * np.sqrt(error)
            log_ratio = np.log(np.where((a > 0) & (b > 0), a / b, np.nan))
            half_log = stats.t.ppf(both, freedom) * np.sqrt(error_a / a**2 + error_b / b**2)
        found = []
        for i, each in enumerate(groups):
            n = int(n_a[i])
            known = n > 1 and n_b[i] > 1
            ends = (float(a[i] - b[i] - half[i]), float(a[i] - b[i] + half[i])) if known else (math.nan, math.nan)
            own_ends = (float(a[i] - half_own[i]), float(a[i] + half_own[i])) if n > 1 else (math.nan, math.nan)
            with np.errstate(over="ignore"):  # the end of a ratio to next to nothing is infinite
                ends_of_ratio = np.exp(log_ratio[i] + np.array([-half_log[i], half_log[i]]))
            ratio = (float(ends_of_ratio[0]), float(ends_of_ratio[1])) if known else (math.nan, math.nan)
            found.append(
                Gap(
                    metric=metric,
                    dimension=each.dimension,
                    group=each.name,
                    value=Interval(float(a[i]), *own_ends, n),
                    difference=Interval(float(a[i] - b[i]), *ends, n),
                    ratio=Interval(float(np.exp(log_ratio[i])), *ratio, n),
                    n_others=int(n_b[i]),
                    p_value=float(p_values[i]),
                    detectable=(float(smallest[i]) or 3 / min(n, int(n_b[i]))) if known else math.inf,
                )
            )
        return found

    def _whole(self, centred: Floats) -> Floats:
        """Means again, of which 0 is 0."""
        means = centred + float(self.values.mean())
        return np.where(np.abs(means) < ROUNDING * float(self.values.abs().max()), 0.0, means)

    def _reach(self, seed: int, level: float = 0.95) -> tuple[float, float]:
        """How far into a tail all differences together go, and all groups' own means: see `Contrast.intervals`."""
        inside = torch.where(self.member, self.values[:, None], torch.nan)
        outside = torch.where(self.member, torch.nan, self.values[:, None])
        m = inside.shape[1]
        drawn = resampled_means(torch.cat([inside, outside], dim=1), RESAMPLES, seed)
        return _farthest(drawn[:, :m] - drawn[:, m:], level), _farthest(drawn[:, :m], level)


def moderated(variance: Floats, n: Floats, everybody: float) -> Floats:
    """Variances of n people, at least their mix with everybody's as of PRIOR people more."""
    return np.maximum(variance, ((n - 1) * variance + PRIOR * everybody) / (n - 1 + PRIOR))


def _farthest(drawn: Floats, level: float) -> float:
    """The normal distribution function at the `level` quantile of the largest |z| of these columns."""
    spread, centre = np.nanstd(drawn, axis=0), np.nanmean(drawn, axis=0)
    z = np.nan_to_num(np.abs(drawn - centre) / np.where(spread > 0, spread, np.inf))
    return float(stats.norm.cdf(max(np.quantile(z.max(axis=1), level), stats.norm.ppf((1 + level) / 2))))
