"""Two evaluations of the same people: what is refused, what is counted, what may be said."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from tests.evaluation.made import METRIC, everyone, valued
from workbench.data import detectable_difference
from workbench.errors import NotApplicable, RequestError
from workbench.evaluation import Slice, compare, compare_models, compare_slices, pool

LABEL = 'ml-100k@3f9c21/user_time/{"fractions": [0.8, 0.1, 0.1]}/0/test'


def noise(n, seed=0):
    return np.random.default_rng(seed).normal(size=n)


def two(differences, **options):
    """Evaluations a and b whose values differ by these."""
    common = noise(len(differences), seed=9)
    return valued(common + np.asarray(differences), "a", **options), valued(common, "b", **options)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("ml-100k@3f9c21", "ml-100k@0a1b2c"), "the snapshot is ml-100k@3f9c21 for the one, ml-100k@0a1b2c for the other"),
        (("user_time", "global_time"), "the split is user_time for the one, global_time for the other"),
        (
            ("0.8, 0.1, 0.1", "0.7, 0.2, 0.1"),
            'the split\'s parameters are {"fractions": [0.8, 0.1, 0.1]} for the one, {"fractions": [0.7, 0.2, 0.1]} for',
        ),
        (("/0/", "/1/"), "the seed is 0 for the one, 1 for the other"),
        (("/test", "/valid"), "the part is test for the one, valid for the other"),
    ],
)
def test_what_was_judged_on_something_else_is_refused_with_the_reason(change, reason):
    one, other = (valued(noise(20), name, everyone(20, label)) for name, label in (("A", LABEL), ("B", LABEL.replace(*change))))
    with pytest.raises(RequestError) as caught:
        compare(one, other, METRIC)
    assert str(caught.value).startswith(f"A and B cannot be compared: {reason}")


def test_other_people_are_refused_and_counted():
    with pytest.raises(RequestError, match="A and B cannot be compared: 3 people were judged for one of them only"):
        compare(valued(noise(20), "A"), valued(noise(17), "B"), METRIC)


def test_a_metric_that_is_not_there_is_refused_with_those_that_are():
    a, b = valued(noise(20), "A"), valued(noise(20), "B", metric="recall@5")
    with pytest.raises(RequestError, match=r'^B was not judged by "ndcg@10"\. \(recall@5\)$'):
        compare(a, b, METRIC)
    with pytest.raises(RequestError, match='A was not judged by "map@10"'):
        compare_models({"A": a}, b, "map@10")


def test_a_metric_that_nobody_has_a_value_of_cannot_be_compared():
    """Diversity of lists of one item, say."""
    nothing = [math.nan] * 5
    with pytest.raises(NotApplicable, match="for nobody"):
        compare(valued(nothing, "A"), valued(nothing, "B"), METRIC)
    (found,) = compare_models({"A": valued(nothing, "A")}, valued(nothing, "B"), METRIC)
    assert (found.difference.known, found.p_value, found.verdict(0.01)) == (False, 1, "too few to say")


def test_a_comparison_is_paired():
    a, b = two(np.full(200, 0.01))
    found = compare(a, b, METRIC)
    assert found.difference.value == pytest.approx(0.01)
    assert found.difference.high - found.difference.low < 1e-9  # everyone gains the same, however much people differ
    assert (found.a, found.b, found.metric, found.dimension, found.group) == ("a", "b", METRIC, "all", "everyone")
    assert compare(b, a, METRIC).difference.value == pytest.approx(-0.01)


def test_who_gains_and_who_loses_is_counted():
    found = compare(*two([0.2, 0.1, 0.1, 0, 0, -0.3]), METRIC)
    assert (found.wins, found.ties, found.losses) == (3, 2, 1)


def test_effect_size_is_the_mean_in_standard_deviations():
    differences = np.array([0.2, 0.1, 0.1, 0, 0, -0.3])
    mean = sum(differences) / 6
    spread = math.sqrt(sum((differences - mean) ** 2) / 5)
    assert compare(*two(differences), METRIC).effect_size == pytest.approx(mean / spread)
    assert compare(valued([0.5] * 9), valued([0.5] * 9), METRIC).effect_size == 0
    assert compare(valued([1.0] * 9), valued([0.5] * 9), METRIC).effect_size == math.inf
    assert math.isnan(compare(valued([1.0]), valued([0.5]), METRIC).effect_size)


def test_what_can_be_detected_follows_from_spread_and_number():
    """(z(97.5 %) + z(80 %)) · sd / √n, and with that power: of 2,000 samples with that true difference about 80 % are significant."""
    assert detectable_difference(943, 0.165) == pytest.approx((1.95996 + 0.84162) * 0.165 / 943**0.5, rel=1e-5)
    assert detectable_difference(1) == math.inf
    rng = np.random.default_rng(0)
    samples = rng.normal(detectable_difference(100, 0.165), 0.165, size=(2000, 100))
    z = samples.mean(1) / (samples.std(1, ddof=1) / 10)
    assert 0.76 < (np.abs(z) > 1.984).mean() < 0.84  # t(99 degrees of freedom) in place of z
    differences = noise(100)
    found = compare(*two(differences), METRIC).detectable
    assert found == pytest.approx((stats.t.ppf(0.975, 99) + stats.t.ppf(0.8, 99)) * differences.std(ddof=1) / 10)
    assert found == pytest.approx(detectable_difference(100, differences.std(ddof=1)), rel=0.02)


def test_where_nobody_differs_three_in_n_may_still():
    """The rule of three: had 3 / n of all people a difference, a sample of n would show none in 1 of 20, (1 - 3 / n)^n ≈ e^-3."""
    same = valued([0.25] * 150)
    found = compare(same, same, METRIC)
    assert found.detectable == 3 / 150
    assert (found.p_value, found.difference.low, found.difference.high, found.ties) == (1, 0, 0, 150)
    assert (1 - found.detectable) ** 150 == pytest.approx(0.05, abs=0.003)


@pytest.mark.parametrize(
    ("values", "call"),
    [
        ([0.3] * 4, "too few to say"),  # four people cannot be significant, whatever they say: 2 / 2^4 = 0.125
        ([0.3] * 6, "better"),  # six can: 2 / 2^6 = 0.031
        ([0.3] * 30, "better"),
        ([-0.3] * 30, "worse"),
        ([0.0] * 299, "too few to say"),  # 3 / 299 is more than 0.01
        ([0.0] * 300, "no difference"),
        ([0.001, -0.001] * 14, "too few to say"),  # 28 people, whatever their interval
        ([0.001, -0.001] * 15, "no difference"),
        ([0.02, -0.018] * 500, "no difference"),
        ([0.2, -0.184] * 500, "too few to say"),  # not significant, and 0.01 lies inside the interval
        ([0.12, -0.12] * 500, "too few to say"),  # the interval ends at 0.0074, but 0.01 would have shown in 75 of 100 samples only
        ([0.11, -0.11] * 500, "no difference"),
    ],
)
def test_no_difference_is_said_only_of_people_who_would_have_shown_one_that_matters(values, call):
    assert compare(valued(values, "a"), valued(np.zeros(len(values)), "b"), METRIC).verdict(effect=0.01) == call


def test_one_person_is_too_few():
    found = compare(valued([0.9], "a"), valued([0.1], "b"), METRIC)
    assert (found.difference.known, found.p_value, found.detectable) == (False, 1.0, math.inf)
    assert found.verdict(effect=0.01) == "too few to say"


def halves(n):
    half = torch.arange(n) < n // 2
    return [Slice("half", "first", half), Slice("half", "second", ~half)]


def test_slices_hold_together_and_empty_ones_are_left_out():
    a, b = two(noise(200) * 0.3)
    first, second = halves(200)
    (alone,) = compare_slices(a, b, METRIC, [first])
    both = compare_slices(a, b, METRIC, [first, Slice("half", "nobody", torch.zeros(200, dtype=torch.bool)), second])
    assert [(each.dimension, each.group, each.difference.n) for each in both] == [("half", "first", 100), ("half", "second", 100)]
    assert both[0].difference.value == alone.difference.value
    assert both[0].difference.high - both[0].difference.low > alone.difference.high - alone.difference.low
    assert both[0].p_value >= alone.p_value
    of_two, of_one = (stats.t.ppf(1 - 0.025 / m, 99) + stats.t.ppf(0.8, 99) for m in (2, 1))
    assert both[0].detectable == pytest.approx(alone.detectable * of_two / of_one)


def test_a_slice_of_one_person_says_nothing_and_does_not_spoil_the_others():
    a, b = two(noise(100) * 0.3 + 0.5)
    lonely = torch.arange(100) == 7
    one, rest = compare_slices(a, b, METRIC, [Slice("who", "one", lonely), Slice("who", "rest", ~lonely)])
    assert (one.difference.known, one.verdict(0.01)) == (False, "too few to say")
    assert rest.verdict(0.01) == "better"
    assert rest.difference.known


def test_comparisons_with_one_reference_are_one_family():
    reference = valued(noise(100, 1), "reference")
    others = {f"m{n}": valued(noise(100, 1) + 0.1 * noise(100, 2 + n) + gap, f"m{n}") for n, gap in enumerate((0.025, 0.0, 0.0))}
    together = compare_models(others, reference, METRIC)
    alone = [compare(each, reference, METRIC) for each in others.values()]
    assert [(each.a, each.b, each.dimension) for each in together] == [(name, "reference", "model") for name in others]
    assert together[0].p_value == pytest.approx(3 * alone[0].p_value, abs=0.02)  # Holm multiplies the smallest by three
    assert together[0].difference.value == alone[0].difference.value
    assert together[0].difference.low < alone[0].difference.low


def test_a_difference_that_only_one_training_shows_is_not_significant():
    """Person by person it is, over and over; but the trainings of one model differ by as much."""
    b, runs = noise(200, 1), [0.3, 0.0, -0.02]
    trainings = [valued(b + run + 0.05 * noise(200, seed), "a") for seed, run in enumerate(runs)]
    found = compare(pool(trainings), valued(b, "b"), METRIC)
    assert found.difference.value == pytest.approx(np.mean(runs), abs=0.01)
    assert found.verdict(0.01) == "too few to say"
    assert found.difference.low < 0 < found.difference.high
    assert compare(trainings[0], valued(b, "b"), METRIC).verdict(0.01) == "better"
