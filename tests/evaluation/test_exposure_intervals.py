"""Whether the jackknife's intervals of set-level metrics hold the expected value at this many people, and what the bootstrap does instead."""

import numpy as np
import pytest
import torch

from tests.evaluation.made import chance
from tests.evaluation.test_exposure import skewed
from workbench.evaluation import SET_METRICS, set_difference
from workbench.evaluation.exposure import Exposure, set_interval

N, N_ITEMS, K = 120, 200, 5  # few people for so many items: coverage is far from all, and far from settled


def pairs_of_lists(rng):
    """Of one population: a model's lists, drawn with chances like 1 / place, and another's, which shares half of each with it."""
    a, other = skewed(rng, N, N_ITEMS, K), skewed(rng, N, N_ITEMS, N_ITEMS)
    rows = [[*own[:2], *(item for item in order if item not in own[:2])][:K] for own, order in zip(a, other, strict=True)]
    return torch.from_numpy(a), torch.tensor(np.array(rows))


def value(metric, rows):
    return SET_METRICS[metric].function(Exposure(rows, N_ITEMS))[0].item()


@pytest.fixture(scope="module")
def expected():
    """Of each metric, and of the difference of two models in it, over 2,000 other draws of the people."""
    rng = np.random.default_rng(1)
    drawn = [pairs_of_lists(rng) for _ in range(2000)]
    return {metric: tuple(np.mean([[value(metric, rows) for rows in both] for both in drawn], axis=0)) for metric in SET_METRICS}


@pytest.mark.parametrize("metric", SET_METRICS)
def test_the_jackknife_covers_and_the_bootstrap_over_people_does_not(expected, metric):
    """Drawn with replacement, 120 people are about 76 different ones, who show fewer items: the bootstrap lies beside the value."""
    rng = np.random.default_rng(2)
    covered, bootstrapped, repeats = 0, 0, 300
    for repeat in range(repeats):
        rows, _ = pairs_of_lists(rng)
        interval = set_interval(metric, rows, N_ITEMS)
        covered += interval.low <= expected[metric][0] <= interval.high
        if repeat < 40:
            resampled = [value(metric, rows[torch.from_numpy(rng.integers(N, size=N))]) for _ in range(100)]
            low, high = np.quantile(resampled, [0.025, 0.975])
            bootstrapped += low <= expected[metric][0] <= high
            assert (np.mean(resampled) < interval.value) == (metric != "gini")  # too few items, exposure too unequal
    assert covered / repeats >= chance(0.95, repeats)[0]
    assert bootstrapped / 40 < 0.5


@pytest.mark.parametrize("metric", SET_METRICS)
def test_the_difference_of_two_models_is_covered_too(expected, metric):
    rng, truth = np.random.default_rng(3), expected[metric][0] - expected[metric][1]
    intervals = [set_difference(metric, *pairs_of_lists(rng), N_ITEMS) for _ in range(300)]
    assert sum(each.low <= truth <= each.high for each in intervals) / 300 >= chance(0.95, 300)[0]
