"""Intervals of means: what they are for many, for few, for one and for nobody. Whether they cover is in test_coverage.py."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import tensor

from workbench.evaluation import bootstrap_mean, bootstrap_means, intervals
from workbench.evaluation.intervals import _weights, expanded_tail, poisson_weights, resampled_means


def test_one_person_says_nothing_of_others():
    one = bootstrap_mean(tensor([0.3]))
    assert (one.value, one.n, one.known) == (pytest.approx(0.3), 1, False)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert one.text() == "0.300 (no interval, 1 person)"


def test_nobody_has_no_value_either():
    nobody = bootstrap_mean(tensor([math.nan, math.nan]))
    assert math.isnan(nobody.value)
    assert nobody.text() == "nan (no interval, 0 people)"


def test_text_is_for_readers():
    interval = bootstrap_mean(torch.full((5,), -0.5))
    assert interval.text() == "-0.500 (-0.500 to -0.500)"
    assert bootstrap_mean(torch.full((5,), 0.5)).text(digits=1, sign=True) == "+0.5 (+0.5 to +0.5)"


@pytest.mark.parametrize("value", [0.25, 0.1, 1 / 3, 1e6 + 0.1, -7.0, 0.0])
@pytest.mark.parametrize("n", [2, 50, 943])
def test_what_is_the_same_for_everyone_has_no_width_at_all(value, n):
    constant = bootstrap_mean(torch.full((n,), value, dtype=torch.float64))
    assert constant.low == constant.high == pytest.approx(constant.value, rel=1e-15 * n, abs=0)  # a sum of n rounds, n - 1 times
    assert constant.value == pytest.approx(value, rel=1e-12)


def test_the_interval_of_many_is_the_normal_one():
    values = torch.from_numpy(np.random.default_rng(0).normal(size=4000))
    interval = bootstrap_mean(values, resamples=4000)
    half = 1.96 * values.std().item() / 4000**0.5
    assert (interval.low, interval.high) == pytest.approx((interval.value - half, interval.value + half), abs=0.05 * half)


def test_the_spread_of_few_is_widened_to_that_of_students_t():
    """At n = 5 the plain percentile interval of a normal mean is 1.96 √(4 / 5) s / √5 on each side; t has 2.78."""
    assert expanded_tail(4, 0.95) == pytest.approx(stats.norm.cdf(-math.sqrt(5 / 4) * 2.776445))
    assert expanded_tail(10**6, 0.95) == pytest.approx(0.025, abs=1e-6)


def test_far_from_zero_nothing_is_lost_to_float32():
    """One microsecond beside a year: float32 alone has steps of two seconds there."""
    values = torch.from_numpy(np.random.default_rng(0).normal(size=200))
    near, far = bootstrap_mean(values), bootstrap_mean(values + 3.15e7)
    assert (far.low - 3.15e7, far.high - 3.15e7) == pytest.approx((near.low, near.high), abs=1e-6)


def test_the_seed_decides_and_columns_share_the_draws():
    values = torch.from_numpy(np.random.default_rng(0).random(100))
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values, seed=1) != bootstrap_mean(values, seed=2)
    both = bootstrap_means({"a": values, "b": values + 1})
    assert both["b"].low - both["a"].low == pytest.approx(1)


def test_a_person_without_a_value_takes_no_part():
    """Columns with different people missing, under one draw of weights: each is what weighing its own people gives."""
    rng = np.random.default_rng(0)
    values = torch.from_numpy(rng.random((40, 6)))
    values[torch.from_numpy(rng.random((40, 6)) < 0.3)] = math.nan
    values[:, 3] = values[:, 1] + 1  # two columns with the same people
    values[:, 5] = math.nan
    drawn = resampled_means(values, 50, seed=4)
    weights = torch.cat(list(poisson_weights(40, 50, np.random.default_rng(4)))).double().numpy()
    for column in range(5):
        present = ~values[:, column].isnan().numpy()
        expected = weights[:, present] @ values[present, column].numpy() / weights[:, present].sum(1)
        np.testing.assert_allclose(drawn[:, column], expected, atol=1e-6)
    found = bootstrap_means({str(column): values[:, column] for column in range(6)})
    assert found["0"].n == int((~values[:, 0].isnan()).sum())
    assert found["0"].value == pytest.approx(values[:, 0].nanmean().item())
    assert not found["5"].known


def test_resamples_in_which_nobody_was_drawn_are_passed_over():
    """Two people both weigh nothing in one resample of seven (e^-2)."""
    drawn = resampled_means(tensor([[0.0], [1.0]]).double(), 2000, seed=1)
    assert np.isnan(drawn).mean() == pytest.approx(math.exp(-2), abs=0.02)  # binomial spread of 2,000 is ± 0.015
    interval = bootstrap_mean(tensor([0.0, 1.0]))
    assert (interval.low, interval.high) == (0, 1)


def test_people_weighed_a_piece_at_a_time_are_all_weighed(monkeypatch):
    monkeypatch.setattr(intervals, "CELLS", 50 * 7)
    values = torch.from_numpy(np.random.default_rng(0).random((40, 2)))
    values[30:, 1] = math.nan
    rng = np.random.default_rng(4)
    weights = torch.cat([_weights(50, size, rng) for size in (7, 7, 7, 7, 7, 5)], dim=1).double()
    drawn = resampled_means(values, 50, seed=4)
    np.testing.assert_allclose(drawn[:, 0], weights @ values[:, 0] / weights.sum(1), atol=1e-6)
    np.testing.assert_allclose(drawn[:, 1], weights[:, :30] @ values[:30, 1] / weights[:, :30].sum(1), atol=1e-6)


def test_weights_are_poisson_of_mean_one_whatever_the_size_of_a_piece(monkeypatch):
    weights = torch.cat(list(poisson_weights(500, 2000, np.random.default_rng(0))))
    assert weights.shape == (2000, 500)
    for count in range(5):
        assert (weights == count).double().mean().item() == pytest.approx(stats.poisson.pmf(count, 1), abs=0.002)
    monkeypatch.setattr(intervals, "CELLS", 500 * 7)
    pieces = list(poisson_weights(500, 20, np.random.default_rng(0)))
    assert [len(piece) for piece in pieces] == [7, 7, 6]
