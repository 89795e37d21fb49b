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
    def errors_and_df(self) -> tuple[Floats, Floats]:
        """float64 (m,) each: the standard error, and its degrees of freedom by Satterthwaite (1946). NaN for fewer than two people."""
        errors, freedom = [], []
        for column, apart in zip(self.columns(), self.deviations, strict=True):
            if len(column) < 2:
                errors.append(math.nan)
                freedom.append(math.nan)
                continue
            parts = [(column.var().item() / len(column), len(column) - 1)]
            parts += [(each.nanmean(1).var().item() / len(each), len(each) - 1) for each in apart]
            total = sum(variance for variance, _ in parts)
            errors.append(math.sqrt(total))
            freedom.append(total**2 / sum(variance**2 / df for variance, df in parts) if total > 0 else float(len(column) - 1))
        return np.array(errors), np.array(freedom)

    def p_values(self, seed: int) -> Floats:
        """float64 (m,), two-sided, not adjusted: by sign flips; where there are several trainings by Student's t."""
        errors, df = self.errors_and_df
        several = np.array([bool(apart) for apart in self.deviations])
        with np.errstate(divide="ignore", invalid="ignore"):
            p = np.where(self.means == 0, 1.0, np.maximum(2 * stats.t.sf(np.abs(self.means) / errors, df), 1 / (1 + LEAST)))
        p = np.where(np.isnan(p), 1.0, p)
        if not several.all():
            p[~several] = sign_flip_p_values(self.values[:, torch.from_numpy(~several)], seed)
        return p

    def intervals(self, *, together: bool = True, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0) -> list[Interval]:
        """One for each column; `together`, all of them hold at once with probability `level`, otherwise each does on its own.

        A column on its own, of single trainings: the expanded percentile interval. Otherwise value ± t · error, where t goes as far into
        its own tails as the resampled columns' largest |z| goes into the normal one's at `level`: the columns' likeness counts (Romano and
        Wolf, Econometrica 2005, for the bootstrap of the maximum). With several trainings the error is the spread of what was resampled.
        """
        drawn = self._resampled(resamples, seed)
        errors, df = self.errors_and_df
        several = np.array([bool(apart) for apart in self.deviations])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of columns without anybody
            spread = np.nanstd(drawn, axis=0)
        alone = not together or len(self.means) == 1
        half = stats.t.ppf((1 + level) / 2 if alone else self._reach(drawn, spread, level), df) * np.where(several, spread, errors)
        return [
            percentile_interval(drawn[:, i], float(self.means[i]), int(self.counts[i]), level, df=self.counts[i] - 1)
            if alone and not several[i]
            else Interval(float(self.means[i]), float(self.means[i] - half[i]), float(self.means[i] + half[i]), int(self.counts[i]), level)
            for i in range(len(self.means))
        ]

    def _reach(self, drawn: Floats, spread: Floats, level: float) -> float:
        """How far into a tail all columns together go: the normal distribution function at the `level` quantile of the largest |z|."""
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
