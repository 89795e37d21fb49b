"""Groups of people against everybody else: closed forms, Welch's interval by scipy, p-values against every deal there is, fairlearn."""

from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from math import comb, inf, isnan, log, nan, sqrt

import numpy as np
import pandas as pd
import pytest
import torch
from fairlearn.metrics import MetricFrame
from scipy import stats
from torch import tensor

from tests.evaluation.made import METRIC, chance, valued
from workbench.evaluation import Gap, Interval, Slice, adjusted_gap, compare, group_gaps, worst_group
from workbench.evaluation.permutation import holm
from workbench.testing import interactions
from workbench.testing.synthetic import holdout

FLIPS = 9_999


def of(n, who, dimension="group", name="a"):
    """A slice of these of n people."""
    return Slice(dimension, name, torch.zeros(n, dtype=torch.bool).index_fill_(0, tensor(list(who), dtype=torch.int64), value=True))


def split(labels, dimension):
    """A slice for each label, in alphabetical order."""
    labels = np.asarray(list(labels))
    return [Slice(dimension, str(label), torch.from_numpy(labels == label)) for label in np.unique(labels)]


def one(values, who, **told):
    """These people against everybody else."""
    (found,) = group_gaps(valued(values), [of(len(values), who)], METRIC, **told)
    return found


def half(interval):
    assert interval.high - interval.value == pytest.approx(interval.value - interval.low)
    return interval.high - interval.value


def skewed(seed, n):
    """Values in [0, 1], about 40 % of them zero."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(n) < 0.4, 0.0, rng.beta(1.2, 2, n))


def made(**told):
    """A gap with these things told of it: 0.010, from -0.020 to 0.040, of 40 people among 140."""
    usual = {
        "metric": METRIC,
        "dimension": "age",
        "group": "old",
        "value": Interval(0.11, 0.08, 0.14, 40),
        "difference": Interval(0.01, -0.02, 0.04, 40),
        "ratio": Interval(1.1, 0.8, 1.5, 40),
        "n_others": 100,
        "p_value": 0.5,
        "detectable": 0.04,
    }
    return Gap(**{**usual, **told})


# means, differences, ratios


def test_two_groups_by_hand():
    few, many = [0.2, 0.4, 0.6], [0.1, 0.3, 0.5, 0.7, 0.9]
    a, b = group_gaps(valued(few + many), split("aaabbbbb", "group"), METRIC)
    assert (a.value.value, b.value.value) == pytest.approx((1.2 / 3, 2.5 / 5))
    assert (a.difference.value, b.difference.value) == pytest.approx((0.4 - 0.5, 0.5 - 0.4))
    assert (a.ratio.value, b.ratio.value) == pytest.approx((0.4 / 0.5, 0.5 / 0.4))
    assert (a.value.n, a.difference.n, a.ratio.n, a.n_others) == (3, 3, 3, 5)
    assert (b.value.n, b.difference.n, b.ratio.n, b.n_others) == (5, 5, 5, 3)
    assert (a.metric, a.label) == (METRIC, "group: a")


def test_one_side_is_the_mirror_of_the_other():
    values = skewed(0, 40)
    a, b = group_gaps(valued(values), split(["a"] * 15 + ["b"] * 25, "group"), METRIC)
    assert (b.difference.low, b.difference.high) == pytest.approx((-a.difference.high, -a.difference.low))
    assert (b.ratio.low, b.ratio.high) == pytest.approx((1 / a.ratio.high, 1 / a.ratio.low))
    assert b.detectable == pytest.approx(a.detectable)


def test_of_three_groups_the_others_are_all_who_are_not_in_the_one():
    values = [0.1, 0.2, 0.3, 0.4, 0.5, 0.9]
    a, b, c = group_gaps(valued(values), split("aabbcc", "group"), METRIC)
    means = 0.3 / 2, 0.7 / 2, 1.4 / 2
    rest = (0.7 + 1.4) / 4, (0.3 + 1.4) / 4, (0.3 + 0.7) / 4
    assert [each.value.value for each in (a, b, c)] == pytest.approx(means)
    assert [each.difference.value for each in (a, b, c)] == pytest.approx([mean - others for mean, others in zip(means, rest, strict=True)])


@pytest.mark.parametrize(("seed", "n", "inside"), [(0, 60, 25), (1, 200, 20), (2, 400, 360), (3, 40, 20)])
def test_the_interval_of_one_group_is_welchs(seed, n, inside):
    """Up to the noise of the 2,000 resamples that say how far one of one hypothesis goes, and never narrower."""
    values = skewed(seed, n)
    found = one(values, range(inside))
    welch = stats.ttest_ind(values[:inside], values[inside:], equal_var=False).confidence_interval(0.95)
    assert found.difference.value == pytest.approx((welch.low + welch.high) / 2)
    assert 1 - 1e-9 <= half(found.difference) / ((welch.high - welch.low) / 2) <= 1.1
    low, high = stats.t.interval(0.95, inside - 1, loc=values[:inside].mean(), scale=stats.sem(values[:inside]))
    assert found.value.value == pytest.approx((low + high) / 2)
    assert 1 - 1e-9 <= half(found.value) / ((high - low) / 2) <= 1.1


def test_the_ratio_is_as_far_from_its_own_on_the_log_scale_as_the_difference():
    """Standard error of the log of a mean: s / (mean √n). Both ends are as many standard errors away as those of the difference."""
    a = np.array([0.2, 0.5, 0.6, 0.3, 0.4, 0.8, 0.7])
    b = a + 0.02
    found = one([*a, *b], range(7))
    errors = stats.sem(a), stats.sem(b)
    t = half(found.difference) / sqrt(errors[0] ** 2 + errors[1] ** 2)
    spread = t * sqrt((errors[0] / a.mean()) ** 2 + (errors[1] / b.mean()) ** 2)
    assert log(found.ratio.low) == pytest.approx(log(a.mean() / b.mean()) - spread)
    assert log(found.ratio.high) == pytest.approx(log(a.mean() / b.mean()) + spread)


def test_where_a_mean_is_not_above_zero_there_is_no_ratio():
    for values in ([0.0, 0, 0, 0.25, 0.5, 0.75], [0.25, 0.5, 0.75, 0, 0, 0], [-0.5, -0.25, -0.75, 0.25, 0.5, 0.75]):
        found = one(values, range(3))
        assert isnan(found.ratio.value)
        assert not found.ratio.known
        assert found.difference.known


@pytest.mark.parametrize("others", [4, 5, 9, 10, 11])
def test_a_group_of_zeros_has_a_mean_of_zero_and_no_ratio_whatever_the_others_have(others):
    found = one([0.0] * 6 + [0.3 * place / others for place in range(1, others + 1)], range(6))
    assert found.value.value == 0
    assert isnan(found.ratio.value)


def test_detectable_is_what_two_quantiles_of_welchs_t_reach():
    """Three groups of 20, 40 and 60 people, who have the same twenty values once, twice and three times."""
    values = np.tile(skewed(1, 20), 6)
    labels = np.array(["a"] * 20 + ["b"] * 40 + ["c"] * 60)
    for each, place in zip(group_gaps(valued(values), split(labels, "group"), METRIC), "abc", strict=True):
        a, b = values[labels == place], values[labels != place]
        welch = stats.ttest_ind(a, b, equal_var=False)
        reach = stats.t.ppf(1 - 0.05 / 3 / 2, welch.df) + stats.t.ppf(0.8, welch.df)  # as one of three
        assert each.detectable == pytest.approx(reach * sqrt(stats.sem(a) ** 2 + stats.sem(b) ** 2))


def test_intervals_that_hold_together_are_wider_than_each_alone_and_no_wider_than_bonferronis():
    values = skewed(2, 300)
    groups = split([f"{place // 50}" for place in range(300)], "group")
    together = group_gaps(valued(values), groups, METRIC)
    for each, group in zip(together, groups, strict=True):
        inside = group.people.numpy()
        welch = stats.ttest_ind(values[inside], values[~inside], equal_var=False)
        error = sqrt(stats.sem(values[inside]) ** 2 + stats.sem(values[~inside]) ** 2)
        alone, bonferroni = (stats.t.ppf(1 - 0.05 / m / 2, welch.df) * error for m in (1, 6))
        assert 1.1 * alone < half(each.difference) < 1.1 * bonferroni
        assert half(each.value) > 1.1 * stats.t.ppf(0.975, 49) * stats.sem(values[inside])


def test_numbers_far_from_zero_lose_no_digits():
    values = skewed(3, 50)
    near, far = one(values, range(20)), one(values + 1e6, range(20))
    assert far.p_value == near.p_value
    assert (far.difference.low, far.difference.high) == pytest.approx((near.difference.low, near.difference.high), rel=1e-6)


def test_the_order_of_people_changes_nothing_but_the_deals():
    values, moved = skewed(4, 60), np.random.default_rng(0).permutation(60)
    inside = np.arange(60) < 25
    a, b = (group_gaps(valued(values[at]), [Slice("g", "a", torch.from_numpy(inside[at]))], METRIC)[0] for at in (np.arange(60), moved))
    assert (b.difference.value, b.detectable) == pytest.approx((a.difference.value, a.detectable))
    assert half(b.difference) == pytest.approx(half(a.difference), rel=0.1)
    assert b.p_value == pytest.approx(a.p_value, abs=6 * sqrt(0.25 / FLIPS))  # the largest error of either, three times over


def test_a_seed_says_which_resamples_and_deals():
    values = skewed(5, 40)
    assert one(values, range(15), seed=3) == one(values, range(15), seed=3)
    assert one(values, range(15), seed=3).p_value != one(values, range(15), seed=4).p_value


# fairlearn


def mean_of(y_true, y_pred):
    return float(np.mean(y_pred))


@pytest.mark.parametrize("seed", range(3))
def test_fairlearn_agrees_on_means_differences_and_ratios(seed):
    rng = np.random.default_rng(seed + 10)
    values, labels = skewed(seed, 120), rng.choice(["18 to 25", "25 to 35", "35 to 45", "unknown"], p=[0.1, 0.2, 0.6, 0.1], size=120)
    found = group_gaps(valued(values), split(labels, "age"), METRIC)
    frame = MetricFrame(metrics=mean_of, y_true=values, y_pred=values, sensitive_features=labels)
    assert {each.group: each.value.value for each in found} == pytest.approx(frame.by_group.to_dict())
    for each in found:
        sides = np.where(labels == each.group, "inside", "outside")
        two = MetricFrame(metrics=mean_of, y_true=values, y_pred=values, sensitive_features=sides)
        assert abs(each.difference.value) == pytest.approx(two.difference(method="between_groups"))
        assert min(each.ratio.value, 1 / each.ratio.value) == pytest.approx(two.ratio(method="between_groups"))
        assert (each.difference.value > 0) == (two.by_group["inside"] > two.by_group["outside"])


def test_fairlearn_agrees_on_the_worst_intersection():
    rng = np.random.default_rng(10)
    values, sex, age = skewed(3, 150), rng.choice(["F", "M"], size=150), rng.choice(["young", "old"], size=150)
    crossed = [a & b for a in split(sex, "gender") for b in split(age, "age")]
    found = group_gaps(valued(values), crossed, METRIC)
    features = pd.DataFrame({"gender": sex, "age": age})
    frame = MetricFrame(metrics=mean_of, y_true=values, y_pred=values, sensitive_features=features)
    assert [each.value.value for each in found] == pytest.approx([frame.by_group[tuple(each.group.split(", "))] for each in found])
    assert worst_group(found).group == ", ".join(frame.by_group.astype(float).idxmin())


# p-values


def squared_t(a, b):
    """Welch's, exactly; infinite where neither side varies and their means differ."""
    means = [sum(side) / len(side) for side in (a, b)]
    spread = sum(sum((x - mean) ** 2 for x in side) / (len(side) - 1) / len(side) for side, mean in zip((a, b), means, strict=True))
    return (means[0] - means[1]) ** 2 / spread if spread else inf if means[0] != means[1] else 0


def share_as_far(values, inside):
    """Of all ways to deal these values to `inside` people and the rest, the share with a t at least as far from zero as the first."""
    exact = [Fraction(value) for value in values]
    ways = [
        squared_t([exact[i] for i in some], [exact[i] for i in range(len(exact)) if i not in some])
        for some in map(set, combinations(range(len(exact)), inside))
    ]
    return sum(each >= ways[0] for each in ways) / comb(len(exact), inside)


def assert_dealt(p_value, share):
    """(1 + B) / (1 + 9,999), B of a binomial distribution; outside these bounds once in 10,000 tests."""
    low, high = chance(share, FLIPS, within=0.9999)
    assert low <= (p_value * (1 + FLIPS) - 1) / FLIPS <= high


@pytest.mark.parametrize(
    ("values", "inside"),
    [
        ([0.9, 0.8, 0.65, 0.1, 0.22, 0.37, 0.41], 3),  # of 35 deals
        ([0.5, 0.1, 0.2, 0.3, 0.45, 0.7, 0.8, 0.95], 2),
        ([0.7, 0.9, 0.1, 0.2, 0.3, 0.45, 0.5, 0.55], 2),
        ([0.13, 0.21, 0.34, 0.55, 0.89, 0.02, 0.07, 0.01], 5),
        ([1.0, 0.5, 0.5, 0.0, 0.0, 0.0, 0.25, 0.0], 3),  # many deals are equal
        ([0.0, 0.0, 0.0, 1.0, 0.0, 0.5, 0.5, 1.0], 4),
    ],
)
def test_p_values_are_the_share_of_deals_that_lie_as_far_apart(values, inside):
    assert_dealt(one(values, range(inside)).p_value, share_as_far(values, inside))


@pytest.mark.parametrize(("high", "low"), [(1.0, 0.0), (0.7, 0.2), (0.9, 1 / 3), (0.3, 0.1)])
@pytest.mark.parametrize("n", [6, 8, 10])
def test_two_groups_that_are_all_of_one_value_each_are_as_far_apart_as_in_the_mirror_deal(n, high, low):
    """Two of all deals, this one and its mirror, have nothing but `high` on one side: both count, however their spreads are rounded."""
    values = [high] * (n // 2) + [low] * (n // 2)
    assert share_as_far(values, n // 2) == 2 / comb(n, n // 2)
    assert_dealt(one(values, range(n // 2)).p_value, 2 / comb(n, n // 2))


def test_a_p_value_counts_deals():
    """(1 + B) / (1 + 9,999) to the last digit: never 0, and no rounder than a float64."""
    for who, values in ((30, np.linspace(0, 1, 60)), (2, [0.1, 0.5, 0.2, 0.7, 0.4])):
        p_value = one(values, range(who)).p_value
        assert p_value * (1 + FLIPS) == pytest.approx(max(1, round(p_value * (1 + FLIPS))), abs=1e-6)


def test_of_many_people_the_p_value_is_welchs():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0.15, 0.3, 80), rng.normal(0.1, 0.1, 220)])
    welch = stats.ttest_ind(values[:80], values[80:], equal_var=False).pvalue
    assert 0.001 < welch < 0.2
    assert one(values, range(80)).p_value == pytest.approx(welch, abs=0.015)


def test_p_values_are_adjusted_over_all_groups_asked_about():
    """The deals are the same however many groups there are, so the adjusted ones are Holm's of each on its own."""
    values = skewed(0, 60) + 0.25 * (np.arange(60) < 20)
    groups = [of(60, range(20), "a"), of(60, range(10, 40), "b"), of(60, range(5, 60, 3), "c"), of(60, range(45, 60), "d")]
    alone = [one(values, torch.nonzero(each.people)[:, 0]).p_value for each in groups]
    together = [each.p_value for each in group_gaps(valued(values), groups, METRIC)]
    assert together == pytest.approx(holm(alone), rel=1e-6)
    assert min(alone) < together[0] < 0.05
    assert [each > by_itself for each, by_itself in zip(together, alone, strict=True)] == [True, True, True, together[3] > alone[3]]


def test_the_two_groups_of_a_dimension_share_a_p_value_and_count_once():
    values = skewed(1, 60) + 0.2 * (np.arange(60) < 25)
    gender, age = split(["F"] * 25 + ["M"] * 35, "gender"), split((["young", "old"] * 30), "age")
    alone = [one(values, torch.nonzero(each.people)[:, 0]) for each in (gender[0], age[0])]
    found = group_gaps(valued(values), gender + age, METRIC)
    assert found[0].p_value == found[1].p_value
    assert found[2].p_value == found[3].p_value
    assert [found[0].p_value, found[2].p_value] == pytest.approx(holm([each.p_value for each in alone]), rel=1e-6)
    (only, mirror) = group_gaps(valued(values), gender, METRIC)
    assert only.p_value == mirror.p_value == alone[0].p_value
    assert only.detectable == pytest.approx(mirror.detectable) == pytest.approx(alone[0].detectable)


def test_two_groups_are_mirrors_among_those_who_have_a_value():
    """The third group, of whom nothing is measured, is nobody."""
    values = np.concatenate([skewed(1, 40), [nan] * 5])
    found = group_gaps(valued(values), split(["F"] * 15 + ["M"] * 25 + ["unknown"] * 5, "gender"), METRIC)
    assert [each.group for each in found] == ["F", "M"]
    assert found[0].p_value == found[1].p_value == one(values[:40], range(15)).p_value


def test_without_tests_everything_but_the_p_values_is_the_same():
    """Eleven groups, two of them mirrors, one of a single person."""
    values = skewed(5, 90)
    groups = split([f"{place % 7}" for place in range(90)], "week") + split("ab" * 45, "half") + [of(90, [3], "one"), of(90, range(90))]
    tested, untested = (group_gaps(valued(values), groups, METRIC, seed=3, tested=told) for told in (True, False))
    assert len(untested) == len(tested) == 10
    assert all(isnan(each.p_value) and not each.significant for each in untested)
    assert [str(replace(each, p_value=0.5)) for each in untested] == [str(replace(each, p_value=0.5)) for each in tested]


def test_a_mirror_of_a_later_group_has_that_groups_p_value():
    """Groups of a dimension may overlap, where a cell names several: "b" and "not b" are mirrors, "a" cuts across both."""
    values = skewed(2, 60) + 0.8 * (np.arange(60) < 30)
    groups = [of(60, range(0, 60, 2), "likes", "a"), of(60, range(30), "likes", "b"), of(60, range(30, 60), "likes", "not b")]
    a, b, not_b = group_gaps(valued(values), groups, METRIC)
    assert b.p_value < 0.01 < a.p_value
    assert not_b.p_value == b.p_value


# groups of few, of nobody, of everybody


def test_groups_of_nobody_and_of_everybody_are_left_out():
    groups = [of(6, [], name="nobody"), of(6, range(6), name="all"), of(6, [0, 1], name="two"), of(6, [], name="nobody again")]
    assert [each.group for each in group_gaps(valued([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), groups, METRIC)] == ["two"]
    assert group_gaps(valued([0.1, 0.2]), groups[:0], METRIC) == []
    assert group_gaps(valued([0.1] * 6), groups[:2], METRIC) == []
    assert group_gaps(valued([nan] * 6), groups, METRIC) == []


def test_of_one_person_there_is_a_value_alone():
    found = one([0.9, 0.2, 0.3, 0.4], [0])
    assert (found.value.value, found.difference.value, found.ratio.value) == pytest.approx((0.9, 0.9 - 0.3, 0.9 / 0.3))
    assert not any(each.known for each in (found.value, found.difference, found.ratio))
    assert (found.p_value, found.detectable, found.not_excluded) == (1, inf, inf)
    assert (found.significant, found.verdict(0.5)) == (False, "too few to say")
    assert found.sentence() == "group: a: too few people for an interval; no difference can be excluded."


def test_against_one_person_there_is_no_difference_to_be_told_but_the_groups_own_interval():
    found = one([0.9, 0.2, 0.3, 0.4], [1, 2, 3])
    assert found.value.known
    assert not any(each.known for each in (found.difference, found.ratio))
    assert (found.p_value, found.detectable, found.n_others) == (1, inf, 1)
    assert found.sentence().endswith("no difference can be excluded.")


def test_two_people_who_differ_have_intervals():
    found = one([0.9, 0.2], [0])
    assert not found.value.known
    assert one([0.9, 0.2, 0.3, 0.5], [0, 1]).difference.known


def test_who_has_no_value_is_in_no_group_and_no_other():
    values, inside = skewed(6, 40), np.arange(40) < 12
    gone = np.arange(40) % 5 == 0
    (found,) = group_gaps(valued(np.where(gone, nan, values)), [Slice("group", "a", torch.from_numpy(inside))], METRIC)
    assert found == one(values[~gone], range(int((inside & ~gone).sum())))
    assert (found.value.n, found.n_others) == (12 - 3, 28 - 5)


def test_a_group_in_which_nobody_has_a_value_is_left_out_and_so_is_one_that_all_who_have_one_are_in():
    values = [nan, nan, 0.1, 0.2, 0.3]
    groups = [of(5, [0, 1], name="silent"), of(5, [2, 3, 4], name="heard"), of(5, [0, 2], name="one heard")]
    assert [each.group for each in group_gaps(valued(values), groups, METRIC)] == ["one heard"]


# no spread


@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.7, 1.0])
def test_where_all_have_one_value_there_is_no_difference(value):
    found = one([value] * 50, range(20))
    assert found.value.value == pytest.approx(value)
    assert (found.difference.value, found.ratio.value) == pytest.approx((0, 1), abs=1e-12)
    assert found.difference.low <= found.difference.value <= found.difference.high
    assert (found.p_value, found.significant) == (1, False)


def test_people_who_are_all_alike_may_still_differ():
    """As in a `Comparison` of 40 people: by 3 / 40 at most, for all that they say, so a difference of 0.01 is not excluded."""
    paired = compare(valued([0.0] * 40), valued([0.0] * 40, "b"), METRIC)
    assert paired.detectable == 3 / 40
    assert paired.verdict(0.01) == "too few to say"
    found = one([0.0] * 80, range(40))
    assert found.detectable > 0.01
    assert found.verdict(0.01) == "too few to say"


def test_few_people_who_all_have_nothing_do_not_say_that_nobody_like_them_has_anything():
    """Of 8 people, each of whom has something with probability 0.3, all have nothing once in 1 / 0.7⁸ ≈ 17 times: more often than an
    interval of 95 % may miss.
    """
    found = one(np.concatenate([np.zeros(8), skewed(0, 92)]), range(8))
    assert found.value.value == pytest.approx(0, abs=1e-12)
    assert found.value.high > 0.05


def test_a_difference_of_nothing_is_not_called_minus_nothing():
    sentence = one([0.25] * 40, range(20)).sentence()
    assert "cannot be excluded" in sentence
    assert "-0.000" not in sentence


# which groups


def test_a_slice_of_what_was_liked_is_no_group_of_people():
    result, truth = valued([0.1, 0.2, 0.3]), tensor([True, False, True])
    people = of(3, [0])
    for wrong in (Slice("genre", "drama", truth=truth), people & Slice("genre", "drama", truth=truth), Slice("all", "everyone")):
        with pytest.raises(ValueError, match=r" is no group of people\.") as error:
            group_gaps(result, [people, wrong], METRIC)
        assert wrong.label in str(error.value)


def test_the_worst_group_has_the_lowest_mean_of_those_with_an_interval():
    values = [0.0, 0.3, 0.5, 0.2, 0.4, 0.6, 0.9]
    found = group_gaps(valued(values), split("abbccdd", "group"), METRIC)
    assert worst_group(found).group == "c"  # 0.3; "a" has 0, of one person
    assert worst_group(found[1:2]).group == "b"
    assert worst_group(found[:1]) is None
    assert worst_group([]) is None


# words


@pytest.mark.parametrize(
    ("told", "call"),
    [
        ({"p_value": 0.049}, "better"),
        ({"p_value": 0.049, "difference": Interval(-0.01, -0.04, 0.02, 40)}, "worse"),
        ({}, "no difference"),  # an interval from -0.02 to 0.04, people enough to show 0.04, where 0.05 would matter
        ({"p_value": 0.05}, "no difference"),
        ({"difference": Interval(0.02, -0.02, 0.06, 40)}, "too few to say"),
        ({"difference": Interval(-0.02, -0.06, 0.02, 40)}, "too few to say"),
        ({"difference": Interval(0.01, -0.03, 0.05, 40)}, "too few to say"),  # up to 0.05: that is not less
        ({"difference": Interval(0.01, -0.02, 0.04, 29)}, "too few to say"),
        ({"difference": Interval(0.01, -0.02, 0.04, 30), "n_others": 30}, "no difference"),
        ({"n_others": 29}, "too few to say"),
        ({"detectable": 0.051}, "too few to say"),
        ({"detectable": 0.05}, "no difference"),
        ({"difference": Interval(0.01, nan, nan, 1), "detectable": inf}, "too few to say"),
    ],
)
def test_the_verdict_where_a_difference_of_a_twentieth_would_matter(told, call):
    assert made(**told).verdict(0.05) == call


def test_what_is_not_excluded_is_the_far_end_of_the_interval():
    assert made().not_excluded == 0.04
    assert made(difference=Interval(-0.01, -0.05, 0.03, 40)).not_excluded == 0.05
    assert made(difference=Interval(0.03, 0.01, 0.05, 40)).not_excluded == 0.05
    assert made(difference=Interval(0.5, nan, nan, 1)).not_excluded == inf


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (
            {"p_value": 0.01, "difference": Interval(0.0312, 0.0104, 0.0521, 40)},
            "age: old: NDCG@10 is higher by 0.031 than everybody else's (+0.031 (+0.010 to +0.052)).",
        ),
        (
            {"p_value": 0.01, "difference": Interval(-0.0312, -0.0521, -0.0104, 40)},
            "age: old: NDCG@10 is lower by 0.031 than everybody else's (-0.031 (-0.052 to -0.010)).",
        ),
        ({}, "age: old: no difference in NDCG@10 is seen; one of up to 0.040 cannot be excluded."),
        (
            {"difference": Interval(-0.01, -0.05, 0.02, 40)},
            "age: old: no difference in NDCG@10 is seen; one of up to 0.050 cannot be excluded.",
        ),
        ({"difference": Interval(0.5, nan, nan, 1)}, "age: old: too few people for an interval; no difference can be excluded."),
        ({"metric": "recall@5"}, "age: old: no difference in Recall@5 is seen; one of up to 0.040 cannot be excluded."),
    ],
)
def test_a_gap_in_words(told, sentence):
    assert made(**told).sentence() == sentence


def test_a_sentence_has_as_many_digits_as_are_asked_for():
    assert made().sentence(digits=1).endswith("one of up to 0.0 cannot be excluded.")
    assert "lower by 0.06 than" in made(p_value=0.01, difference=Interval(-0.0556, -0.08, -0.02, 40)).sentence(digits=2)


def test_a_large_gap_is_found_and_a_group_like_the_others_is_not_called_different():
    rng = np.random.default_rng(0)
    values = rng.random(200) * np.where(np.arange(200) < 40, 0.3, 1)  # means of 0.15 and 0.5
    found, other = group_gaps(valued(values), [of(200, range(40)), of(200, range(0, 200, 2), "every second")], METRIC)
    assert found.verdict(0.01) == "worse"
    assert found.difference.low < 0.15 - 0.5 < found.difference.high
    assert "is lower by 0.3" in found.sentence()
    assert not other.significant


# of like activity


def active(values, lengths):
    """An evaluation of people with so many events known of them."""
    n = len(values)
    known = interactions([(user, item) for user, length in enumerate(lengths) for item in range(length)], n, max(lengths) + 2)
    return valued(values, judged=holdout(known, interactions([(user, max(lengths) + 1) for user in range(n)], n, max(lengths) + 2)))


LEVELS = np.repeat([1, 2, 4, 8], 60)
"""240 people, in four strata of 60: the quarters of activity."""
RARE = np.concatenate([60 * level + np.arange(size) for level, size in enumerate((24, 8, 6, 2))])
"""40 of them, most of them with few events."""


def squared_error(side, everybody):
    """Of the mean of these, whose variance is mixed with everybody's as if 30 more had that, unless it is the larger one."""
    n, variance = len(side), np.var(side, ddof=1)
    return max(variance, ((n - 1) * variance + 30 * np.var(everybody, ddof=1)) / (n + 29)) / n


def test_a_gap_that_is_activity_alone_is_gone():
    """A person's value is their number of events over 10; the group has 2 of them on average, the others 4.1."""
    values = LEVELS / 10
    found = adjusted_gap(active(values, LEVELS), of(240, RARE, "gender", "F"), METRIC)
    group, others = (24 + 2 * 8 + 4 * 6 + 8 * 2) / 40, (36 + 2 * 52 + 4 * 54 + 8 * 58) / 200
    assert found.plain == pytest.approx((group - others) / 10) == pytest.approx(-0.21)
    assert found.adjusted.value == pytest.approx(0, abs=1e-12)
    assert found.adjusted.low < 0 < found.adjusted.high
    assert (found.covered, found.strata) == (1, 4)
    assert (found.dimension, found.group, found.adjusted.n) == ("gender", "F", 40)


def test_what_is_planted_on_top_of_activity_remains():
    values = LEVELS / 10 - 0.05 * np.isin(np.arange(240), RARE)
    result, group = active(values, LEVELS), of(240, RARE)
    found = adjusted_gap(result, group, METRIC)
    assert found.adjusted.value == pytest.approx(-0.05)
    plain = (2 - 4.1) / 10 - 0.05  # activity and what is on top
    assert found.plain == pytest.approx(plain)
    assert group_gaps(result, [group], METRIC)[0].difference.value == pytest.approx(plain)
    assert found == adjusted_gap(result, group, METRIC, activity=tensor(LEVELS))
    assert found == adjusted_gap(result, group, METRIC, activity=tensor(np.exp(LEVELS)))  # only their order matters


def test_with_ten_strata_most_of_what_follows_activity_closely_is_gone():
    """Everybody has another activity, and their value rises with it in a straight line; within a tenth of the people little is left."""
    activity, rng = np.arange(1000.0), np.random.default_rng(0)
    inside = torch.from_numpy(rng.random(1000) < 0.6 - activity / 2000)
    found = adjusted_gap(valued(activity / 1000), Slice("g", "a", inside), METRIC, activity=tensor(activity))
    assert found.strata == 10
    assert found.plain < -0.1
    assert 0.1 * found.plain < found.adjusted.value <= 0


def test_two_strata_by_hand():
    """Three of the group have few events, two have many: their gaps weigh 3 / 5 and 2 / 5, and Welch's degrees of freedom are pooled as
    Satterthwaite does. All variances but that of two are below everybody's, and so moderated.
    """
    few, other_few = [0.1, 0.2, 0.6], [0.3, 0.5]
    many, other_many = [0.4, 0.8], [0.5, 0.7, 0.9]
    values = few + other_few + many + other_many
    activity = tensor([1, 2, 3, 1, 2, 11, 12, 10, 13, 12])
    found = adjusted_gap(valued(values), of(10, [0, 1, 2, 5, 6]), METRIC, activity=activity)
    gap = 3 / 5 * (0.9 / 3 - 0.4) + 2 / 5 * (0.6 - 0.7)
    sides = [(3 / 5, few), (3 / 5, other_few), (2 / 5, many), (2 / 5, other_many)]
    parts = [share**2 * squared_error(side, values) for share, side in sides]
    error = sum(parts)
    df = error**2 / sum(part**2 / freedom for part, freedom in zip(parts, (2, 1, 1, 2), strict=True))
    assert found.adjusted.value == pytest.approx(gap)
    assert half(found.adjusted) == pytest.approx(stats.t.ppf(0.975, df) * sqrt(error))
    assert found.plain == pytest.approx((0.9 + 1.2) / 5 - (0.8 + 2.1) / 5)
    assert (found.covered, found.strata, found.adjusted.n) == (1, 2, 5)
    wider = adjusted_gap(valued(values), of(10, [0, 1, 2, 5, 6]), METRIC, activity=activity, level=0.99)
    assert half(wider.adjusted) == pytest.approx(stats.t.ppf(0.995, df) * sqrt(error))


@pytest.mark.parametrize(("n", "inside", "near"), [(30, 12, 0.1), (4000, 1600, 1e-3)])
def test_of_one_stratum_the_interval_is_welchs_of_moderated_variances(n, inside, near):
    """The more people, the nearer to Welch's own, and hardly ever narrower: a side is moderated where its variance is the smaller one."""
    values = skewed(0, n)
    a, b = values[:inside], values[inside:]
    found = adjusted_gap(valued(values), of(n, range(inside)), METRIC, activity=torch.ones(n))
    errors = squared_error(a, values), squared_error(b, values)
    df = sum(errors) ** 2 / (errors[0] ** 2 / (len(a) - 1) + errors[1] ** 2 / (len(b) - 1))
    assert half(found.adjusted) == pytest.approx(stats.t.ppf(0.975, df) * sqrt(sum(errors)))
    welch = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert 1 - near <= half(found.adjusted) / ((welch.high - welch.low) / 2) <= 1 + near
    assert found.adjusted.value == pytest.approx(found.plain)


def test_few_people_of_a_stratum_who_all_have_nothing_leave_the_interval_wide():
    """As wide as if their variance were about everybody's, with the one degree of freedom that two people have."""
    values = np.concatenate([np.zeros(2), skewed(0, 60)])
    found = adjusted_gap(valued(values), of(62, range(2)), METRIC, activity=torch.ones(62))
    assert half(found.adjusted) > stats.t.ppf(0.975, 10) * sqrt(0.9 * values.var() / 2)
    assert found.adjusted.high > 0


def test_where_nobody_is_of_like_activity_nothing_can_be_said():
    values = skewed(0, 30)
    lengths = [1] * 15 + [9] * 15
    assert adjusted_gap(active(values, lengths), of(30, range(15)), METRIC) is None
    assert adjusted_gap(active(values, lengths), of(30, range(16)), METRIC) is None  # one person of fifteen others' activity
    assert adjusted_gap(active(values, lengths), of(30, range(17)), METRIC).covered == 2 / 17
    assert adjusted_gap(active(values, lengths), of(30, []), METRIC) is None
    assert adjusted_gap(active(values, lengths), of(30, range(30)), METRIC) is None


def test_covered_is_the_share_of_the_group_that_has_its_like():
    """Ten of 24 in the group have fewer events than anybody else."""
    lengths = [1] * 10 + [5] * 14 + [5] * 6
    values = [0.0] * 10 + [0.5, 0.7] * 7 + [0.6, 0.8] * 3
    found = adjusted_gap(active(values, lengths), of(30, range(24)), METRIC)
    assert (found.covered, found.strata, found.adjusted.n) == (14 / 24, 1, 14)
    assert found.adjusted.value == pytest.approx(0.6 - 0.7)


def test_the_plain_difference_is_of_those_who_are_covered():
    """So that what is gone is due to activity, and not to the ten who are left out."""
    lengths = [1] * 10 + [5] * 14 + [5] * 6
    values = [0.0] * 10 + [0.5, 0.7] * 7 + [0.6, 0.8] * 3
    found = adjusted_gap(active(values, lengths), of(30, range(24)), METRIC)
    assert found.plain == pytest.approx(0.6 - 0.7)
    assert found.adjusted.value == pytest.approx(found.plain)


@pytest.mark.parametrize(
    ("alone", "together", "others", "others_alone", "least", "told"),
    [
        (0, 10, 10, 0, 10, True),
        (0, 9, 10, 0, 10, False),
        (0, 10, 9, 0, 10, False),
        (0, 9, 9, 0, 9, True),
        (10, 10, 10, 0, 10, True),
        (9, 10, 10, 0, 10, False),
        (1, 10, 10, 0, 10, False),
        (0, 10, 10, 10, 10, True),
        (0, 10, 10, 9, 10, False),
        (0, 10, 10, 1, 10, False),
        (0, 2, 2, 0, 2, True),
        (1, 5, 5, 0, 2, False),
        (2, 5, 5, 0, 2, True),
        (0, 5, 5, 2, 2, True),
        (0, 5, 5, 1, 2, False),
    ],
)
def test_nothing_is_said_where_few_are_covered_or_few_are_left_out(alone, together, others, others_alone, least, told):
    """Of the group so many have one event, which nobody else has; so many have five, as so many others; the rest of these have nine. From
    what is said of those who are covered and of everybody, what the few have who are left out could be told.
    """
    lengths = [1] * alone + [5] * (together + others) + [9] * others_alone
    result = active(skewed(0, len(lengths)), lengths)
    found = adjusted_gap(result, of(len(lengths), range(alone + together)), METRIC, least=least)
    assert (found is not None) == told
    assert not told or (found.adjusted.n, found.covered) == (together, together / (alone + together))


@pytest.mark.parametrize("low", [10, 15, 19, 20, 21, 25, 30])
def test_people_of_two_activities_are_in_two_strata_however_many_have_the_one(low):
    """So many of 40 people have one event, the others nine, and what is measured of them is a tenth of that."""
    lengths = [1] * low + [9] * (40 - low)
    group = of(40, [*range(8), *range(36, 40)])
    found = adjusted_gap(active(np.array(lengths) / 10, lengths), group, METRIC)
    assert found.plain == pytest.approx((8 * 0.1 + 4 * 0.9) / 12 - ((low - 8) * 0.1 + (36 - low) * 0.9) / 28)
    assert found.adjusted.value == pytest.approx(0, abs=1e-12)
    assert found.strata == 2


def test_there_are_as_many_strata_as_give_each_ten_of_the_group_from_two_to_ten():
    rng = np.random.default_rng(0)
    activity, values = torch.from_numpy(rng.permutation(600)), skewed(0, 600)
    strata = {
        size: adjusted_gap(valued(values), of(600, range(size)), METRIC, activity=activity).strata for size in (12, 29, 30, 45, 99, 300)
    }
    assert strata == {12: 2, 29: 2, 30: 3, 45: 4, 99: 9, 300: 10}


def test_who_has_no_value_is_in_no_stratum():
    values, gone, inside = skewed(1, 240), np.arange(240) % 7 == 0, np.isin(np.arange(240), RARE)
    found = adjusted_gap(active(np.where(gone, nan, values), LEVELS), Slice("g", "a", torch.from_numpy(inside)), METRIC)
    assert found == adjusted_gap(active(values[~gone], LEVELS[~gone]), Slice("g", "a", torch.from_numpy(inside[~gone])), METRIC)
    assert (found.covered, found.adjusted.n) == (1, (inside & ~gone).sum())


def test_where_nobody_has_a_value_nothing_can_be_said():
    assert adjusted_gap(valued([nan] * 12), of(12, range(6)), METRIC) is None


def test_a_gap_that_activity_hid_comes_to_light():
    """Few events, 2 of the group with 0.2 less; many events, and so 0.4 more for everybody, 6 of them: the gap was hidden."""
    lengths = [1] * 10 + [9] * 10
    inside = [0, 1, 10, 11, 12, 13, 14, 15]
    values = np.array([0.3] * 10 + [0.7] * 10) - 0.2 * np.isin(np.arange(20), inside)
    found = adjusted_gap(active(values, lengths), of(20, inside), METRIC)
    plain = (2 * 0.1 + 6 * 0.5) / 8 - (8 * 0.3 + 4 * 0.7) / 12
    assert found.adjusted.value == pytest.approx(-0.2)
    assert found.plain == pytest.approx(plain) == pytest.approx(-1 / 30)


def test_where_all_have_one_value_no_difference_is_left_and_the_interval_has_no_width():
    found = adjusted_gap(active([0.5] * 20, [1] * 10 + [9] * 10), of(20, [0, 1, 10, 11, 12]), METRIC)
    assert (found.plain, found.adjusted.value, found.adjusted.low, found.adjusted.high) == (0, 0, 0, 0)


def test_a_slice_of_what_was_liked_is_not_adjusted_as_if_it_were_a_group_of_people():
    result, truth = valued(skewed(0, 12)), torch.arange(12) < 6
    drama = Slice("genre", "drama", truth=truth)
    for wrong in (drama, of(12, range(6)) & drama):
        with pytest.raises(ValueError, match="is no group of people"):
            adjusted_gap(result, wrong, METRIC, activity=torch.ones(12))
