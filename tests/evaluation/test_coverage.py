"""How often the intervals of means hold the truth, counted in simulations with fixed seeds."""

from functools import cache

import numpy as np
import pytest
import torch
from scipy import stats

from tests.evaluation.made import chance
from workbench.data.power import PLANNING_SD
from workbench.evaluation import bootstrap_mean, bootstrap_means
from workbench.evaluation.metrics import ndcg


@cache
def population():
    """NDCG@10 differences of two models over 200,000 people: most likes go unfound, and the models agree on three places in five."""
    rng, n = np.random.default_rng(0), 200_000
    ease = rng.beta(0.8, 5, size=(n, 1)) / np.sqrt(np.arange(1, 11))
    common, own = rng.random((n, 10)) < 0.6, rng.random((2, n, 10))
    shared = rng.random((n, 10)) < ease
    hits = [np.where(common, shared, draw < factor * ease) for draw, factor in zip(own, (1.15, 0.85), strict=True)]
    relevant = torch.from_numpy(np.maximum(rng.geometric(0.1, size=n), np.maximum(hits[0].sum(1), hits[1].sum(1))))
    a, b = (ndcg(torch.from_numpy(found), relevant, 10) for found in hits)
    return (a - b).numpy()


def rate_of_coverage(replications, n, resamples, seed):
    truth, rng = population().mean(), np.random.default_rng(seed)
    drawn = torch.from_numpy(rng.choice(population(), size=(n, replications)))
    covered = [bootstrap_mean(column, resamples=resamples, seed=i) for i, column in enumerate(drawn.T)]
    return sum(interval.low <= truth <= interval.high for interval in covered) / replications


def test_the_population_is_no_easy_one():
    """A spread like that measured between two models on ML-100k, two people in three without a difference, tails far from normal."""
    values = population()
    assert values.std() == pytest.approx(PLANNING_SD, abs=0.02)
    assert values.mean() == pytest.approx(0.015, abs=0.002)
    assert 0.6 < (values == 0).mean() < 0.7
    assert stats.kurtosis(values) > 9


def test_nineteen_of_twenty_intervals_of_paired_differences_hold_the_truth():
    low, high = chance(0.95, 400)
    assert low <= rate_of_coverage(400, 300, 500, seed=7) <= high


@pytest.mark.slow
def test_the_interval_covers_at_its_nominal_rate():
    """2,000 samples of 300 people: 95 % lies inside the 95 % interval of the rate observed."""
    rate = rate_of_coverage(2000, 300, 2000, seed=7)
    observed = stats.binomtest(round(rate * 2000), 2000).proportion_ci(0.95)
    assert observed.low <= 0.95 <= observed.high


@pytest.mark.parametrize("n", [8, 12, 20])
def test_few_people_get_an_interval_that_covers(n):
    """The plain percentile interval covers 86 % at n = 8 instead of 95 %."""
    draws = np.random.default_rng(n).normal(size=(600, n))
    intervals = [bootstrap_mean(torch.from_numpy(row), resamples=1000, seed=i) for i, row in enumerate(draws)]
    assert 0.92 <= sum(i.low <= 0 <= i.high for i in intervals) / 600 <= 0.98


def test_people_who_are_not_in_a_column_cost_it_no_coverage():
    """Half of 60 people are in the slice: its interval is that of 30."""
    rng, covered = np.random.default_rng(0), 0
    for seed in range(400):
        values = torch.from_numpy(rng.normal(size=60))
        values[torch.from_numpy(rng.permutation(60)[:30])] = torch.nan
        interval = bootstrap_means({"slice": values}, resamples=500, seed=seed)["slice"]
        assert interval.n == 30
        covered += interval.low <= 0 <= interval.high
    assert chance(0.95, 400)[0] <= covered / 400 <= chance(0.95, 400)[1]
