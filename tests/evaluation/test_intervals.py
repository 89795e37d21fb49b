import numpy as np
import pytest
import torch

from workbench.evaluation import bootstrap_mean, bootstrap_means


def test_one_person_has_no_width_and_constants_have_none():
    assert (bootstrap_mean(torch.tensor([0.3])).low, bootstrap_mean(torch.tensor([0.3])).high) == pytest.approx((0.3, 0.3))
    constant = bootstrap_mean(torch.full((50,), 0.25))
    assert (constant.value, constant.low, constant.high, constant.n) == (0.25, 0.25, 0.25, 50)


def test_the_interval_of_many_is_the_normal_one():
    values = torch.from_numpy(np.random.default_rng(0).normal(size=4000))
    interval = bootstrap_mean(values, resamples=4000)
    half = 1.96 * values.std().item() / 4000**0.5
    assert (interval.low, interval.high) == pytest.approx((interval.value - half, interval.value + half), abs=0.05 * half)


def test_the_seed_decides_and_metrics_share_the_draws():
    values = torch.from_numpy(np.random.default_rng(0).random(100))
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values, seed=1) != bootstrap_mean(values, seed=2)
    both = bootstrap_means({"a": values, "b": values + 1})
    assert both["b"].low - both["a"].low == pytest.approx(1)


def rate_of_coverage(replications, n=80):
    rng = np.random.default_rng(7)
    draws = rng.beta(0.5, 2.0, size=(replications, n))  # skewed like per-person NDCG; the mean is 0.5 / 2.5
    intervals = [bootstrap_mean(torch.from_numpy(row), resamples=400, seed=i) for i, row in enumerate(draws)]
    return sum(interval.low <= 0.2 <= interval.high for interval in intervals) / replications


def test_nine_out_of_ten_intervals_hold_the_truth():
    assert 0.91 <= rate_of_coverage(300) <= 0.98  # nominal 0.95; binomial spread of 300 is ± 0.025


@pytest.mark.parametrize("n", [8, 12, 20])
def test_few_people_get_an_interval_that_covers(n):
    """The plain percentile interval covers 86 % at n = 8 instead of 95 %."""
    draws = np.random.default_rng(n).normal(size=(600, n))
    intervals = [bootstrap_mean(torch.from_numpy(row), resamples=1000, seed=i) for i, row in enumerate(draws)]
    assert 0.92 <= sum(i.low <= 0 <= i.high for i in intervals) / 600 <= 0.98


@pytest.mark.slow
def test_the_interval_covers_at_its_nominal_rate():
    assert rate_of_coverage(4000) == pytest.approx(0.95, abs=0.015)  # percentile intervals fall a little short at n = 80


def test_text_is_for_readers():
    interval = bootstrap_mean(torch.full((5,), -0.5))
    assert interval.text() == "-0.500 (-0.500 to -0.500)"
    assert bootstrap_mean(torch.full((5,), 0.5)).text(digits=1, sign=True) == "+0.5 (+0.5 to +0.5)"
