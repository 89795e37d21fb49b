"""Intervals for statistics of pairs. Pairs of one person are alike, so it is people that the intervals are about: other people like these.

Where few people have most of the pairs, there are fewer people than it seems. Degrees of freedom are those of Kish's effective number,
(Σ w)² / Σ w² of the people's numbers of pairs w (Survey Sampling 1965), which is n where all have as many.
"""

import math

import numpy as np
import torch
from scipy import special, stats
from torch import Tensor

from workbench.evaluation.intervals import Interval, percentile_interval, poisson_weights
from workbench.evaluation.tally import Tally


def effective_df(weights: Tensor) -> float:
    """Kish's effective number of people less one, at least 1. weights: (n,), at least 0, some above."""
    weights = weights.double()
    return max(1.0, (weights.sum().square() / weights.square().sum()).item() - 1)


def ratio_interval(numerators: Tensor, denominators: Tensor, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """Interval of Σ numerators / Σ denominators, one of each for a person: float64 (n,), denominators above 0.

    Percentile bootstrap over people, each counting as often as a Poisson draw of mean 1 says (Hanley and MacGibbon, Computer Methods and
    Programs in Biomedicine 2006), widened as Hesterberg's expanded percentile interval (The American Statistician 2015). One person
    leaves no interval.
    """
    n, value = len(numerators), (numerators.sum() / denominators.sum()).item()
    if n < 2:
        return Interval(value, math.nan, math.nan, n, level)
    columns = torch.stack([numerators - value * denominators, denominators], dim=1).float()
    sums = torch.cat([weights @ columns for weights in poisson_weights(n, resamples, np.random.default_rng(seed))]).double()
    drawn = (value + sums[:, 0] / sums[:, 1]).numpy()  # of few people there may be draws of nobody, which are NaN
    return percentile_interval(drawn, value, n, level, df=effective_df(denominators))


def auc_interval(tally: Tally, *, level: float = 0.95) -> Interval:
    """Interval of the AUC over all pairs, whoever's they are. tally: of comparisons with everybody's pairs.

    The variance is Obuchowski's for clustered data (Biometrics 1997), which sums DeLong's structural components person by person. The
    interval is symmetric in the logit, so it stays within (0, 1); Student's t has the degrees of freedom of the label with fewer people.
    There is none where fewer than two people have one of the labels, and where the AUC is 0 or 1, which leaves nothing to vary.
    """
    n, n_ones, n_zeros = len(tally.ones), tally.ones.sum(), tally.zeros.sum()
    with_ones, with_zeros = int((tally.ones > 0).sum()), int((tally.zeros > 0).sum())
    value = (tally.ones_won.sum() / (n_ones * n_zeros)).item()
    if min(with_ones, with_zeros) < 2 or not 0 < value < 1:
        return Interval(value, math.nan, math.nan, n, level)
    of_ones = (tally.ones_won / n_zeros - tally.ones * value) / n_ones  # a person's Σ (V10 - AUC), over all pairs labelled 1
    of_zeros = (tally.zeros_lost / n_ones - tally.zeros * value) / n_zeros  # Σ (V01 - AUC), over all pairs labelled 0
    variance = (
        with_ones / (with_ones - 1) * of_ones.square().sum()
        + with_zeros / (with_zeros - 1) * of_zeros.square().sum()
        + 2 * n / (n - 1) * (of_ones * of_zeros).sum()
    )
    reach = stats.t.ppf((1 + level) / 2, min(effective_df(tally.ones), effective_df(tally.zeros)))
    half = reach * variance.clamp(min=0).sqrt().item() / (value * (1 - value))  # the logit's derivative is 1 / (x (1 - x))
    low, high = special.expit(special.logit(value) + np.array([-half, half]))
    return Interval(value, float(low), float(high), n, level)
