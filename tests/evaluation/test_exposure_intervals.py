"""Whether the jackknife's intervals of set-level metrics hold the value expected of so many people, and that the bootstrap's do not."""

import numpy as np
import pytest
import torch

from tests.evaluation.made import chance
from workbench.evaluation import SET_METRICS, set_difference
from workbench.evaluation.exposure import Exposure, set_interval

N, N_ITEMS, K = 60, 100, 4  # few people for so many items: coverage is far from all, and far from settled


def pairs_of_lists(rng):
    """Of one population: a model's lists, drawn with chances like 1 / place, and another's, which has two items of each in common."""
    dislike = np.log1p(np.arange(N_ITEMS)) - rng.gumbel(size=(2, N, N_ITEMS))  # the smallest are drawn
    a = np.argpartition(dislike[0], K, axis=1)[:, :K]
    np.put_along_axis(dislike[1], a[:, :2], -np.inf, axis=1)
    return torch.from_numpy(a), torch.from_numpy(np.argpartition(dislike[1], K, axis=1)[:, :K])


def value(metric, rows):
    return SET_METRICS[metric].function(Exposure(rows, N_ITEMS))[0].item()


@pytest.fixture(scope="module")
def expected():
    """Of each metric, for the one model and the other, over 600 other draws of the people."""
    rng = np.random.default_rng(1)
    drawn = [pairs_of_lists(rng) for _ in range(600)]
    return {metric: np.mean([[value(metric, rows) for rows in both] for both in drawn], axis=0) for metric in SET_METRICS}


@pytest.fixture(scope="module")
def draws():
    rng = np.random.default_rng(2)
    return [pairs_of_lists(rng) for _ in range(300)]


def rate(intervals, truth):
    return sum(each.low <= truth <= each.high for each in intervals) / len(intervals)


@pytest.mark.parametrize("metric", SET_METRICS)
def test_the_jackknife_covers_the_value_expected_of_so_many_people(expected, draws, metric):
    """At its nominal rate or above it: the jackknife's variance is never too small on average."""
    a, b = expected[metric]
    assert rate([set_interval(metric, rows, N_ITEMS) for rows, _ in draws], a) >= chance(0.95, len(draws))[0]
    assert rate([set_difference(metric, *both, N_ITEMS) for both in draws], a - b) >= chance(0.95, len(draws))[0]


@pytest.mark.parametrize("metric", SET_METRICS)
def test_the_bootstrap_over_people_does_not(expected, draws, metric):
    """Drawn with replacement, 60 people are about 38 different ones, who show fewer items: the interval lies beside the value."""
    rng, covered = np.random.default_rng(3), 0
    for rows, _ in draws[:30]:
        resampled = [value(metric, rows[torch.from_numpy(rng.integers(N, size=N))]) for _ in range(50)]
        low, high = np.quantile(resampled, [0.025, 0.975])
        covered += low <= expected[metric][0] <= high
        assert (np.mean(resampled) > value(metric, rows)) == (metric == "gini")  # too few items, exposure too unequal
    assert covered / 30 < 0.5
