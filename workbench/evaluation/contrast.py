"""A mean over people, or the difference of two over the same people, each perhaps the mean over several trainings of a model.

Two things vary: which people there are, and how a training turned out. People are resampled by weights, trainings with replacement, both at
once, so an interval speaks of other people and of other trainings.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from workbench.data.power import POWER
from workbench.evaluation.intervals import RESAMPLES, Floats, Interval, means_and_counts, percentile_interval, resampled_means
from workbench.evaluation.permutation import LEAST, sign_flip_p_values


@dataclass(frozen=True, eq=False)
class Contrast:
    """m of them, a column each: means of one model, or of one minus the other, in m slices, say."""

    values: Tensor
    """float64 (n, m): each person's value, the mean over trainings; NaN for who is not in the column."""
    deviations: list[list[Tensor]]
    """For each column, for each model with several trainings: float64 (S, n), each training less their mean; NaN as in `values`."""

    @classmethod
    def of(cls, a: Sequence[Tensor], b: Sequence[Tensor] | None = None) -> "Contrast":
        """a, b: for each column float64 (S, n), a row for each training, as many people in both; a person needs a value in each."""
        columns, deviations = [], []
        for place, one in enumerate(a):
            sides = [one] if b is None else [one, b[place]]
            means = [side.mean(0) for side in sides]
            columns.append(means[0] if b is None else means[0] - means[1])
            nobody = columns[-1].isnan()
            apart = [(side - mean).masked_fill(nobody, torch.nan) for side, mean in zip(sides, means, strict=True) if len(side) > 1]
            deviations.append(apart)
        return cls(torch.stack(columns, dim=1), deviations)

    def columns(self) -> list[Tensor]:
        """For each column the values of the people in it."""
        return [column[~column.isnan()] for column in self.values.T]

    @cached_property
    def means(self) -> Floats:
        """float64 (m,)."""
        return means_and_counts(self.values)[0]

    @cached_property
    def counts(self) -> Floats:
        """float64 (m,): people."""
        return means_and_counts(self.values)[1].astype(np.float64)

    @cached_property
    def parts(self) -> tuple[Floats, Floats]:
        """float64 (m, 3) each: what people, a's trainings and b's add to the variance of the mean, and each one's degrees of freedom.

        A model with a single training adds nothing. NaN for fewer than two people.
        """
        variances, freedom = np.zeros((len(self.deviations), 3)), np.ones((len(self.deviations), 3))
        for i, (column, deviations) in enumerate(zip(self.columns(), self.deviations, strict=True)):
            n = len(column)
            variances[i, 0], freedom[i, 0] = (column.var().item() / n, n - 1) if n > 1 else (math.nan, 1)
            for j, each in enumerate(deviations, start=1):
                variances[i, j], freedom[i, j] = each.nanmean(1).var().item() / len(each), len(each) - 1
        return variances, freedom

    def half_widths(self, p: float | Floats) -> Floats:
        """float64 (m,): √(Σ t² · variance) over the parts, t the quantile `p`, in (0, 1), one or one for each column, of a part's own
        degrees of freedom.

        So mean ± half covers at least as often as it says, however the variance is shared between the parts and however few trainings
        there are. The pooled degrees of freedom of Satterthwaite (1946) are too many for few trainings; `docs/metrics.md` has the numbers.
        """
        variances, freedom = self.parts
        halves: Floats = np.sqrt((stats.t.ppf(np.asarray(p)[..., None], freedom) ** 2 * variances).sum(1))
        return halves

    def p_values(self, seed: int) -> Floats:
        """float64 (m,), two-sided, not adjusted: by sign flips; where there are several trainings the p whose `half_widths` reach zero."""
        single = np.array([not apart for apart in self.deviations])
        p = np.ones(len(single)) if single.all() else self._where_half_reaches_zero()
        if single.any():
            p[single] = sign_flip_p_values(self.values[:, torch.from_numpy(single)], seed)
        return p

    def _where_half_reaches_zero(self) -> Floats:
        """float64 (m,), by bisection; 1 where there is no half-width."""
        low, high = np.full(len(self.means), 1 / (1 + LEAST)), np.ones(len(self.means))
        while (high - low).max() > 1e-9:
            middle = (low + high) / 2
            beyond = self.half_widths(1 - middle / 2) < np.abs(self.means)
            low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
        return high

    def detectable(self, level: float, power: float = POWER) -> Floats:
        """float64 (m,): the smallest true difference shown with this power by an interval at `level`, two-sided; infinite for one person.

        Where nobody differs, 3 / n: so many people like these may still differ (the rule of three, Hanley and Lippman-Hand, JAMA 1983).
        """
        found = self.half_widths((1 + level) / 2) + self.half_widths(power)
        alike = (self.means == 0) & (self.parts[0].sum(1) == 0)
        with np.errstate(divide="ignore"):
            return np.where(alike, 3 / self.counts, np.where(np.isnan(found), np.inf, found))

    def intervals(self, *, together: bool = True, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0) -> list[Interval]:
        """One for each column; `together`, all of them hold at once with probability `level`, otherwise each does on its own.

        A column on its own, of single trainings: the expanded percentile interval. Otherwise value ± `half_widths`, whose t go as far into
        their tails as the resampled columns' largest |z| goes into the normal one's at `level`: the columns' likeness counts (Romano and
        Wolf, Econometrica 2005, for the bootstrap of the maximum).
        """
        if together and len(self.means) > 1:
            return self._around(self.half_widths(self._reach(resamples, seed, level)), level)
        found = self._around(self.half_widths((1 + level) / 2), level)
        if not all(self.deviations):
            drawn = resampled_means(self.values, resamples, seed)
            for i, apart in enumerate(self.deviations):
                if not apart:
                    found[i] = percentile_interval(drawn[:, i], found[i].value, found[i].n, level, df=found[i].n - 1)
        return found

    def _around(self, halves: Floats, level: float) -> list[Interval]:
        ends = zip(self.means, self.means - halves, self.means + halves, self.counts, strict=True)
        return [Interval(float(value), float(low), float(high), int(n), level) for value, low, high, n in ends]

    def _reach(self, resamples: int, seed: int, level: float) -> float:
        """How far into a tail all columns together go: the normal distribution function at the `level` quantile of the largest |z|."""
        drawn = self._resampled(resamples, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of columns without anybody
            spread = np.nanstd(drawn, axis=0)
        z = np.nan_to_num(np.abs(drawn - self.means) / np.where(spread > 0, spread, np.inf))
        return float(stats.norm.cdf(np.quantile(z.max(axis=1), level)))

    def _resampled(self, resamples: int, seed: int) -> Floats:
        """float64 (resamples, m)."""
        apart = [each.T for deviations in self.deviations for each in deviations]
        drawn = resampled_means(torch.cat([self.values, *apart], dim=1), resamples, seed)
        m, rng = self.values.shape[1], np.random.default_rng([seed, 1])
        result, place = drawn[:, :m].copy(), m
        for column, deviations in enumerate(self.deviations):
            for each in deviations:
                result[:, column] += (_training_weights(len(each), resamples, rng) * drawn[:, place : place + len(each)]).sum(1)
                place += len(each)
        return result


def _training_weights(trainings: int, resamples: int, rng: np.random.Generator) -> Floats:
    """float64 (resamples, trainings): how much more or less than its share each training counts when they are drawn with replacement.

    Stretched by √(S / (S - 1)): of S trainings drawn from S the variance of the mean is too small by that much, squared.
    """
    counts = rng.multinomial(trainings, np.full(trainings, 1 / trainings), size=resamples)
    weights: Floats = (counts / trainings - 1 / trainings) * math.sqrt(trainings / (trainings - 1))
    return weights
