"""A metric over the windows of a backtest: its trend beside the number of all windows together.

A person may be in several windows, so people are resampled with all their windows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from workbench.errors import RequestError
from workbench.evaluation.comparison import check_comparable
from workbench.evaluation.harness import Evaluation
from workbench.evaluation.intervals import RESAMPLES, Floats, Interval, percentile_interval, poisson_weights


@dataclass(frozen=True)
class Backtest:
    metric: str
    windows: list[Interval]
    """Of each window, the earliest first."""
    pooled: Interval
    """The mean over everyone in every window: who is judged in two windows counts twice."""
    trend: Interval
    """Change from one window to the next: slope of the least-squares line through the windows' means."""


def backtest(a: Sequence[Evaluation], metric: str, b: Sequence[Evaluation] | None = None, *, seed: int = 0) -> Backtest:
    """Of a's values in each window, or of a's minus b's.

    Raises RequestError for fewer than two windows, for another number of b's, and where a pair cannot be compared.
    """
    if len(a) < 2 or (b is not None and len(a) != len(b)):
        raise RequestError(f"a backtest needs two windows or more, as many of both models; there are {len(a)} and {len(b or a)}.")
    values = torch.full((a[0].holdout.truth.n_users, len(a)), torch.nan, dtype=torch.float64)
    for window, one in enumerate(a):
        column = one.values(metric)
        if b is not None:
            check_comparable(one, b[window], metric)
            column = column - b[window].values(metric)
        values[one.users, window] = column
    values = values[~values.isnan().all(1)]
    everyone = torch.ones(1, len(values))
    drawn = [_statistics(weights, values) for weights in (everyone, *poisson_weights(len(values), RESAMPLES, np.random.default_rng(seed)))]
    point, resampled = drawn[0][0], np.concatenate(drawn[1:])
    counts = [*(~values.isnan()).sum(0).tolist(), len(values), len(values)]
    *windows, pooled, trend = (percentile_interval(resampled[:, i], float(point[i]), n, 0.95, df=n - 1) for i, n in enumerate(counts))
    return Backtest(metric, windows, pooled, trend)


def _statistics(weights: Tensor, values: Tensor) -> Floats:
    """float64 (rows, windows + 2): the windows' means, the mean of all, the slope, under each row of weights (rows, people)."""
    present = ~values.isnan()
    sums = weights.double() @ values.nan_to_num()
    counts = weights.double() @ present.double()
    means = sums / counts
    steps = torch.arange(values.shape[1], dtype=torch.float64)
    steps = steps - steps.mean()
    pooled = sums.sum(1, keepdim=True) / counts.sum(1, keepdim=True)
    return torch.cat([means, pooled, (means @ steps / steps.square().sum())[:, None]], dim=1).numpy()
