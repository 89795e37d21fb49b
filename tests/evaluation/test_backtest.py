"""A metric over windows: means, pooled mean and slope in closed form, and people resampled with all their windows."""

import numpy as np
import pytest
import torch

from tests.evaluation.made import METRIC, chance, everyone, valued
from workbench.errors import RequestError
from workbench.evaluation import backtest, bootstrap_mean
from workbench.testing import interactions
from workbench.testing.synthetic import holdout


def window(people, values, name="a", label="window"):
    """Only these of 200 people are judged."""
    truth = interactions([(user, 0) for user in people], 200, 12)
    return valued(values, name, judged=holdout(interactions([], 200, 12), truth, label=label))


def test_means_pooled_and_slope_are_as_by_hand():
    a = [window([0, 1], [0.0, 0.2]), window([1, 2, 3], [0.3, 0.3, 0.6]), window([5], [0.7])]
    found = backtest(a, METRIC)
    assert [each.value for each in found.windows] == pytest.approx([0.1, 0.4, 0.7])
    assert [each.n for each in found.windows] == [2, 3, 1]
    assert found.pooled.value == pytest.approx((0.0 + 0.2 + 0.3 + 0.3 + 0.6 + 0.7) / 6)  # who is in two windows counts twice
    assert found.trend.value == pytest.approx(0.3)  # from one window to the next
    assert found.pooled.n == found.trend.n == 5  # people, not people in windows
    assert not found.windows[2].known


def test_a_difference_is_taken_window_by_window():
    a = [window([0, 1], [0.5, 0.3]), window([1, 2], [0.9, 0.1])]
    b = [window([0, 1], [0.1, 0.1], "b"), window([1, 2], [0.2, 0.2], "b")]
    found = backtest(a, METRIC, b)
    assert [each.value for each in found.windows] == pytest.approx([0.3, 0.3])
    assert found.trend.value == pytest.approx(0)


def test_people_are_resampled_with_all_their_windows():
    """The same value in both windows: pooled is as uncertain as one window; were they taken as independent, by 1/√2 less."""
    values = np.random.default_rng(0).normal(size=200)
    found = backtest([valued(values), valued(values)], METRIC)
    one = bootstrap_mean(torch.from_numpy(values))
    assert found.pooled.high - found.pooled.low == pytest.approx(one.high - one.low, rel=0.1)
    assert (found.trend.low, found.trend.high) == (0, 0)


def test_the_trend_and_the_pooled_mean_cover():
    """60 people, whose values in three windows have something in common; each of them is in two of the three."""
    rng, repeats, slope, covered = np.random.default_rng(3), 200, 0.1, {"trend": 0, "pooled": 0}
    groups = [np.arange(60) % 3 != left_out for left_out in range(3)]
    for seed in range(repeats):
        common = rng.normal(size=60)
        windows = [window(np.flatnonzero(who), common[who] + rng.normal(i * slope, 1, who.sum())) for i, who in enumerate(groups)]
        found = backtest(windows, METRIC, seed=seed)
        covered["trend"] += found.trend.low <= slope <= found.trend.high
        covered["pooled"] += found.pooled.low <= slope <= found.pooled.high  # the mean of 0, 0.1 and 0.2
    for hits in covered.values():
        assert chance(0.94, repeats)[0] <= hits / repeats


def test_what_cannot_be_a_backtest_is_refused():
    a = [valued([0.1, 0.2]), valued([0.2, 0.3])]
    with pytest.raises(RequestError, match="two windows or more"):
        backtest(a[:1], METRIC)
    with pytest.raises(RequestError, match="there are 2 and 1"):
        backtest(a, METRIC, a[:1])
    with pytest.raises(RequestError, match="cannot be compared"):
        backtest(a, METRIC, [valued([0.1, 0.2], "b"), valued([0.1, 0.2], "b", judged=everyone(2, "elsewhere"))])
    with pytest.raises(RequestError, match="was not judged by"):
        backtest(a, METRIC, [valued([0.1, 0.2], "b"), valued([0.1, 0.2], "b", metric="mrr@10")])
