"""Set-level metrics: the value against its textbook formula, the values without each person against computing them anew."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.made import random_lists
from workbench.evaluation import SET_METRICS, set_difference
from workbench.evaluation.exposure import Exposure, jackknife, set_interval

NAN = float("nan")


def counted(rows, n_items):
    counts = Counter(int(item) for row in rows for item in row if item >= 0)
    return [counts[item] for item in range(n_items)]


def coverage(counts):
    return sum(count > 0 for count in counts) / len(counts)


def gini(counts):
    """The sorted formula: Σ (2 i - M - 1) x(i) / (M Σ x), i = 1 … M."""
    m, total = len(counts), sum(counts)
    return sum((2 * i - m - 1) * x for i, x in enumerate(sorted(counts), start=1)) / (m * total) if total else NAN


def entropy(counts):
    shares = [count / sum(counts) for count in counts if count]
    return -sum(share * math.log2(share) for share in shares) if shares else NAN


PLAIN = {"coverage": coverage, "gini": gini, "entropy": entropy}


def value_and_without(metric, rows, n_items):
    value, without = SET_METRICS[metric].function(Exposure(torch.as_tensor(rows), n_items))
    return value.item(), without.numpy()


@pytest.mark.parametrize("metric", SET_METRICS)
def test_by_hand(metric):
    """Four lists of a catalogue of four: the items are shown 3, 2, 1 and 0 times."""
    rows = [[0, 1], [0, 1], [0, -1], [2, -1]]
    expected = {
        "coverage": 3 / 4,
        "gini": (-3 * 0 + -1 * 1 + 1 * 2 + 3 * 3) / (4 * 6),
        "entropy": -(3 / 6 * math.log2(3 / 6) + 2 / 6 * math.log2(2 / 6) + 1 / 6 * math.log2(1 / 6)),
    }
    assert value_and_without(metric, rows, 4)[0] == pytest.approx(expected[metric])


@pytest.mark.parametrize("metric", SET_METRICS)
@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 12), n_items=st.integers(1, 9), data=st.data())
def test_the_values_without_each_person_are_what_leaving_them_out_gives(metric, seed, n, n_items, data):
    """Lists of every length, empty ones too."""
    rows = random_lists(np.random.default_rng(seed), n, n_items, data.draw(st.integers(1, n_items)))
    value, without = value_and_without(metric, rows, n_items)
    left_out = [PLAIN[metric](counted(np.delete(rows, person, axis=0), n_items)) for person in range(n)]
    np.testing.assert_allclose(value, PLAIN[metric](counted(rows, n_items)), atol=1e-12)
    np.testing.assert_allclose(without, left_out, atol=1e-12)


@pytest.mark.parametrize("metric", SET_METRICS)
def test_the_same_on_many_long_lists(metric):
    """200 people whose lists follow popularity, so that counts run from 0 to hundreds and many are equal."""
    rng = np.random.default_rng(0)
    rows = skewed(rng, 200, 60, 10)
    value, without = value_and_without(metric, rows, 60)
    assert value == pytest.approx(PLAIN[metric](counted(rows, 60)))
    expected = [PLAIN[metric](counted(np.delete(rows, person, axis=0), 60)) for person in range(200)]
    np.testing.assert_allclose(without, expected, atol=1e-12)


def skewed(rng, n, n_items, k):
    """Lists of k different items, drawn with chances like 1 / place."""
    return np.argsort(np.log1p(np.arange(n_items)) - rng.gumbel(size=(n, n_items)), axis=1)[:, :k]


def test_the_bounds():
    all_equal, one_takes_all = torch.arange(8).reshape(4, 2), torch.zeros(4, 1, dtype=torch.int64)
    assert [set_interval(metric, all_equal, 8).value for metric in SET_METRICS] == pytest.approx([8 / 8, 0, math.log2(8)])
    assert [set_interval(metric, one_takes_all, 8).value for metric in SET_METRICS] == pytest.approx([1 / 8, 1 - 1 / 8, 0])


@pytest.mark.parametrize("metric", SET_METRICS)
def test_the_order_of_people_and_the_codes_of_items_change_nothing(metric):
    rng = np.random.default_rng(0)
    rows = random_lists(rng, 30, 12, 5)
    moved = np.where(rows >= 0, rng.permutation(12)[rows], -1)[rng.permutation(30)]
    a, b = (set_interval(metric, torch.as_tensor(lists), 12) for lists in (rows, moved))
    assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high))


@pytest.mark.parametrize("metric", SET_METRICS)
def test_one_or_two_people_say_nothing_of_others(metric):
    rows = torch.tensor([[0, 1], [1, 2], [3, 4]])
    for n in (1, 2):
        assert not set_interval(metric, rows[:n], 5).known
        assert not set_difference(metric, rows[:n], rows[:n], 5).known
    assert set_interval(metric, rows, 5).known
    assert set_interval(metric, rows[:1], 5).text(digits=1).endswith("(no interval, 1 person)")
    assert set_interval(metric, rows[:2], 5).text(digits=1).endswith("(no interval, 2 people)")


def test_where_leaving_somebody_out_leaves_nothing_there_is_no_interval():
    lonely = torch.tensor([[0, 1], [-1, -1], [-1, -1]])
    assert not set_interval("gini", lonely, 5).known
    assert set_interval("coverage", lonely, 5).known
    assert math.isnan(set_interval("gini", torch.full((4, 2), -1), 5).value)


def test_the_jackknife_of_a_mean_is_its_t_interval():
    """Leaving one out of a mean gives the classical standard error, s / √n."""
    values = torch.from_numpy(np.random.default_rng(0).normal(size=25))
    found = jackknife(values.mean().item(), (values.sum() - values) / 24)
    half = 2.0638985616280205 * values.std().item() / 25**0.5  # t of 24 degrees of freedom at 97.5 %
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half))


def test_equal_lists_differ_by_nothing():
    rows = torch.as_tensor(random_lists(np.random.default_rng(0), 20, 12, 5))
    for metric in SET_METRICS:
        found = set_difference(metric, rows, rows, 12)
        assert (found.value, found.low, found.high) == (0, 0, 0)
