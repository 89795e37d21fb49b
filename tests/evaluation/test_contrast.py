"""Means over people and trainings, and intervals of several at once: whether they cover, and what would not."""

import numpy as np
import pytest
import torch
from scipy import stats

from tests.evaluation.made import chance
from workbench.evaluation import bootstrap_mean
from workbench.evaluation.contrast import Contrast, _training_weights

N = 100
TRAININGS_VARY = {"people": 0.1, "training": 0.1, "both": 0.1}
"""Standard deviations: of a person, of a training, of a person in a training. The mean over N people has 0.01 from people."""
PEOPLE_VARY = {"people": 0.1, "training": 0.002, "both": 0.1}


def trainings(rng, people, training, both, s):
    """float64 (s, N) with mean 0."""
    parts = rng.normal(0, people, N) + rng.normal(0, training, (s, 1)) + rng.normal(0, both, (s, N))
    return torch.from_numpy(parts)


def rate(intervals, truth=0.0):
    return np.mean([each.low <= truth <= each.high for each in intervals])


@pytest.mark.parametrize("s", [2, 3, 5])
@pytest.mark.parametrize("spread", [TRAININGS_VARY, PEOPLE_VARY], ids=["trainings vary", "people vary"])
def test_an_interval_over_several_trainings_covers(s, spread):
    rng, repeats = np.random.default_rng(s), 300
    drawn = [trainings(rng, **spread, s=s) for _ in range(repeats)]
    covered = rate([Contrast.of([x]).intervals(resamples=400, seed=seed)[0] for seed, x in enumerate(drawn)])
    assert covered >= chance(0.95, repeats)[0]
    ignored = rate([bootstrap_mean(x.mean(0), resamples=400, seed=seed) for seed, x in enumerate(drawn)])
    assert ignored < 0.5 if spread is TRAININGS_VARY else ignored > 0.9  # resampling people alone


def test_a_difference_of_two_models_with_several_trainings_covers():
    rng, repeats, covered, alarms = np.random.default_rng(0), 300, [], 0
    for seed in range(repeats):
        a, b = trainings(rng, **TRAININGS_VARY, s=4), trainings(rng, **TRAININGS_VARY, s=3)
        contrast = Contrast.of([a], [b])
        covered += contrast.intervals(resamples=500, seed=seed)
        alarms += contrast.p_values(seed)[0] < 0.05
    assert rate(covered) >= chance(0.95, repeats)[0]
    assert alarms / repeats <= chance(0.05, repeats)[1]


def test_the_half_width_has_a_part_of_people_and_one_of_trainings():
    x = torch.tensor([[0.0, 0.2, 0.4], [0.2, 0.2, 0.2], [0.4, 0.5, 0.9]], dtype=torch.float64)
    people, runs = x.mean(0).var().item() / 3, x.mean(1).var().item() / 3
    contrast = Contrast.of([x])
    half = stats.t.ppf(0.9, 2) * (people + runs) ** 0.5  # both parts have two degrees of freedom
    assert contrast.half_widths(0.9)[0] == pytest.approx(half)
    assert contrast.p_values(0)[0] == pytest.approx(2 * stats.t.sf(x.mean().item() / (people + runs) ** 0.5, 2))


@pytest.mark.parametrize("level", [0.95, 0.9975])
@pytest.mark.parametrize("s", [2, 3, 5])
def test_the_half_width_covers_however_the_variance_is_shared(s, level):
    """100 people; at 99.75 %, the level of one in twenty slices, the pooled degrees of freedom would miss up to twenty times too often."""
    rng, repeats, p = np.random.default_rng(s), 40_000, (1 + level) / 2
    for share in (0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 1):
        off, df = rng.normal(size=repeats), np.array([99, s - 1])
        parts = np.array([1 - share, share]) * rng.chisquare(df, size=(repeats, 2)) / df
        covers = np.abs(off) <= np.sqrt((stats.t.ppf(p, df) ** 2 * parts).sum(1))
        assert covers.mean() >= chance(level, repeats)[0]
        satterthwaite = parts.sum(1) ** 2 / (parts**2 / df).sum(1)
        if s < 5 and share == 0.9:
            assert (np.abs(off) <= stats.t.ppf(p, satterthwaite) * np.sqrt(parts.sum(1))).mean() < chance(level, repeats)[0]


def test_the_p_value_is_where_the_interval_reaches_zero():
    rng = np.random.default_rng(0)
    a, b = trainings(rng, **TRAININGS_VARY, s=4) + 0.2, trainings(rng, **TRAININGS_VARY, s=3)
    contrast = Contrast.of([a], [b])
    p = contrast.p_values(0)[0]
    assert 0.001 < p < 0.5
    (touching,) = contrast.intervals(level=1 - p)
    assert touching.low == pytest.approx(0, abs=1e-6)
    same = Contrast.of([torch.full((3, 40), 0.25).double()], [torch.full((2, 40), 0.25).double()])
    assert same.p_values(0)[0] == 1


def test_what_is_detectable_counts_trainings():
    """Found in 80 % of samples in which the truth is that large; a little more often, since the interval is a cautious one."""
    rng, found, smallest = np.random.default_rng(1), 0, []
    for _ in range(300):
        x = trainings(rng, **TRAININGS_VARY, s=5)
        smallest.append(Contrast.of([x]).detectable(0.95)[0])
    for seed in range(300):
        x = trainings(rng, **TRAININGS_VARY, s=5) + float(np.median(smallest))
        found += Contrast.of([x]).p_values(seed)[0] < 0.05
    assert chance(0.8, 300)[0] <= found / 300
    people_only = Contrast.of([trainings(rng, **TRAININGS_VARY, s=1)]).detectable(0.95)[0]
    assert people_only < 0.8 * np.median(smallest)
    assert people_only == pytest.approx((stats.t.ppf(0.975, 99) + stats.t.ppf(0.8, 99)) * 0.1 * 2**0.5 / 10, rel=0.2)


def test_the_trainings_drawn_have_the_variance_of_the_mean():
    """Of S trainings drawn from S the mean varies by (S - 1) / S too little, which the weights make good."""
    values = np.array([0.0, 1.0, 5.0])
    drawn = _training_weights(3, 200_000, np.random.default_rng(0)) @ values
    assert drawn.mean() == pytest.approx(0, abs=0.02)
    assert drawn.var() == pytest.approx(values.var(ddof=1) / 3, rel=0.02)


def test_a_single_training_and_column_has_the_percentile_interval():
    x = torch.from_numpy(np.random.default_rng(0).exponential(size=80))
    assert Contrast.of([x[None]]).intervals(seed=3)[0] == bootstrap_mean(x, seed=3)


def test_columns_apart_have_the_percentile_interval_each():
    x = torch.from_numpy(np.random.default_rng(0).exponential(size=(3, 80)))
    apart = Contrast.of(list(x[:, None])).intervals(together=False, seed=3)
    assert [each.low for each in apart] == pytest.approx([bootstrap_mean(column, seed=3).low for column in x], abs=1e-9)


def sliced(values):
    """Ten overlapping slices of 150 people, some large, some small: float64 (1, 150) each, NaN outside."""
    people = torch.arange(150)
    inside = [people >= 0, people < 75, people >= 75, *(people % 5 == rest for rest in range(5)), people < 12, people % 10 == 0]
    return [values.masked_fill(~each, torch.nan)[None] for each in inside]


def test_intervals_of_slices_hold_together():
    """All ten cover in 95 % of samples; were each left on its own, one of them would miss in more than a fifth."""
    rng, repeats = np.random.default_rng(0), 400
    contrasts = [Contrast.of(sliced(torch.from_numpy(rng.standard_t(5, size=150)))) for _ in range(repeats)]
    joint = [min(each.low <= 0 <= each.high for each in x.intervals(resamples=400, seed=seed)) for seed, x in enumerate(contrasts)]
    low, high = chance(0.95, repeats)
    assert low <= np.mean(joint) <= high
    alone = [min(each.low <= 0 <= each.high for each in x.intervals(together=False, resamples=400)) for x in contrasts[:100]]
    assert np.mean(alone) < 0.8


def test_likeness_counts_and_columns_that_are_all_the_same_are_hardly_widened():
    x = torch.from_numpy(np.random.default_rng(0).normal(size=300))[None]
    (alone,) = Contrast.of([x]).intervals()
    twins = Contrast.of([x] * 10).intervals()
    strangers = Contrast.of(list(torch.from_numpy(np.random.default_rng(1).normal(size=(10, 1, 300))))).intervals()
    assert twins[0].high - twins[0].low == pytest.approx(alone.high - alone.low, rel=0.1)
    widths = [(each.high - each.low) / (2 * stats.t.ppf(0.975, 299)) * 300**0.5 for each in strangers]
    assert np.mean(widths) == pytest.approx(2.8 / 1.96, rel=0.1)  # Bonferroni's z of ten is 2.81


def test_the_mean_over_trainings_is_the_value_and_a_person_needs_all_of_them():
    a = torch.tensor([[1.0, 2.0, float("nan")], [3.0, 4.0, 5.0]]).double()
    b = torch.tensor([[1.0, 1.0, 1.0]]).double()
    contrast = Contrast.of([a], [b])
    assert contrast.means.tolist() == [((1 + 3) / 2 - 1 + (2 + 4) / 2 - 1) / 2]
    assert contrast.counts.tolist() == [2]
    assert [column.tolist() for column in contrast.columns()] == [[1, 2]]


def test_one_person_has_no_interval_and_constants_no_width():
    one, none, same = (torch.tensor([row]).double() for row in ([0.5, np.nan, np.nan], [np.nan] * 3, [0.25] * 3))
    found = Contrast.of([one, none, same]).intervals()
    assert [each.known for each in found] == [False, False, True]
    assert (found[2].low, found[2].high) == (0.25, 0.25)
    assert Contrast.of([one, none, same]).p_values(0)[0] == 1
    (all_same,) = Contrast.of([torch.full((3, 40), 0.25).double()]).intervals()
    assert (all_same.low, all_same.high) == (0.25, 0.25)
