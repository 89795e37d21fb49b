"""Pages of groups of people: how often all intervals hold at once, how often anything is called significant where there is nothing."""

import numpy as np
import pytest
import torch

from tests.evaluation.made import METRIC, chance, everyone, valued
from workbench.evaluation import Slice, adjusted_gap, group_gaps

CELLS = [("F", "young", 8), ("F", "mid", 40), ("F", "old", 12), ("M", "young", 22), ("M", "mid", 40), ("M", "old", 28)]
SIZES = [size for _, _, size in CELLS]
N = sum(SIZES)
EVERYONE = everyone(N)
ALIKE = [0.5] * 6
"""Of each cell, the probability that a person's list has anything they liked: nothing planted."""
UNLIKE = [0.2, 0.3, 0.3, 0.5, 0.6, 0.6]
"""A gap between the genders, and one of the young among women alone."""
MEAN = 1.2 / (1.2 + 2)
"""Of a value that is not zero: a draw of the beta distribution of 1.2 and 2."""


def page():
    """Two genders, three ages, and their intersections: eleven groups of 8 to 90 people, ten of them no mirror of another."""
    gender, age = (np.repeat([cell[place] for cell in CELLS], SIZES) for place in (0, 1))
    genders = [Slice("gender", each, torch.from_numpy(gender == each)) for each in ("F", "M")]
    ages = [Slice("age", each, torch.from_numpy(age == each)) for each in ("young", "mid", "old")]
    return genders + ages + [a & b for a in genders for b in ages]


PAGE = page()


def values_of(rng, likely):
    """Skewed, in [0, 1], many of them zero, as those of NDCG are. likely: float (n,), that it is not zero."""
    return np.where(rng.random(len(likely)) < likely, rng.beta(1.2, 2, len(likely)), 0.0)


def pages(likely, replications, seed):
    """Of each page: the gaps of its groups in values drawn anew."""
    rng, likely = np.random.default_rng(seed), np.repeat(likely, SIZES)
    for replication in range(replications):
        yield group_gaps(valued(values_of(rng, likely), judged=EVERYONE), PAGE, METRIC, seed=replication)


def rates(likely, replications, seed):
    """Shares of pages on which every interval of a kind holds what is true, and of those with anything significant.

    What is true follows from the cells: each is of so many people, whoever they are.
    """
    mean = np.repeat(likely, SIZES) * MEAN
    inside = [group.people.numpy() for group in PAGE]
    own, others = (np.array([mean[side].mean() for side in sides]) for sides in (inside, [~side for side in inside]))
    true = {"value": own, "difference": own - others, "ratio": own / others}
    held, significant = dict.fromkeys(true, 0), 0
    for found in pages(likely, replications, seed):
        significant += any(gap.significant for gap in found)
        for kind, truth in true.items():
            intervals = [getattr(gap, kind) for gap in found]
            held[kind] += all(not (each.low > at or each.high < at) for each, at in zip(intervals, truth, strict=True))
    return {kind: count / replications for kind, count in held.items()}, significant / replications


def test_a_page_without_a_gap_seldom_shows_one_and_its_intervals_hold_together():
    held, significant = rates(ALIKE, 60, seed=1)
    assert significant <= chance(0.05, 60)[1]
    assert min(held.values()) >= chance(0.95, 60)[0], held


def test_intervals_of_a_page_hold_planted_gaps_together():
    held, significant = rates(UNLIKE, 60, seed=2)
    assert significant > 0.1  # there is something to find
    assert min(held.values()) >= chance(0.95, 60)[0], held


def test_a_large_gap_is_found_on_every_page():
    """Of women 15 % have something, of men 85 %: means of 0.06 and 0.32."""
    for found in pages([0.15] * 3 + [0.85] * 3, 10, seed=3):
        women, men, *others = found
        assert (women.verdict(0.01), men.verdict(0.01)) == ("worse", "better")
        assert not any(each.significant for each in others if each.dimension == "age")


def test_groups_that_differ_in_spread_alone_are_seldom_called_different():
    """20 people of wide spread, 60 of narrow, the means equal: Student's t calls a quarter of such groups different."""
    rng, group, significant = np.random.default_rng(4), Slice("group", "wide", torch.arange(80) < 20), 0
    judged, width = everyone(80), np.where(np.arange(80) < 20, 0.35, 0.05)
    for replication in range(60):
        values = 0.4 + width * rng.uniform(-1, 1, 80)
        significant += group_gaps(valued(values, judged=judged), [group], METRIC, seed=replication)[0].significant
    assert significant / 60 <= chance(0.05, 60)[1]


LEVELS = np.repeat([1, 5, 25, 125], 60)
RARE = torch.from_numpy(
    np.isin(np.arange(240), np.concatenate([60 * level + np.arange(size) for level, size in enumerate((20, 12, 12, 10))]))
)


def adjusted_rates(replications, seed):
    """Shares of replications whose adjusted interval holds what was planted on top of activity, and whose interval lies on one side of 0.

    Whether a person has anything becomes likelier with activity, from 0.3 to 0.75; of the group of 54 it is less likely by 0.2.
    """
    likely = np.repeat([0.3, 0.45, 0.6, 0.75], 60) - 0.2 * RARE.numpy()
    rng, judged, held, found = np.random.default_rng(seed), everyone(240), 0, 0
    for _ in range(replications):
        result = valued(values_of(rng, likely), judged=judged)
        interval = adjusted_gap(result, Slice("group", "rare", RARE), METRIC, activity=torch.from_numpy(LEVELS)).adjusted
        held += interval.low <= -0.2 * MEAN <= interval.high
        found += interval.high < 0
    return held / replications, found / replications


def test_the_adjusted_interval_holds_what_is_planted_on_top_of_activity():
    held, found = adjusted_rates(300, seed=5)
    assert held >= chance(0.95, 300)[0]
    assert 0.3 < found < 0.95


def test_small_groups_like_everybody_else_are_seldom_told_apart_however_many_have_nothing():
    """10 of 600 people, 85 % of them with nothing: of such a group one in five has nothing at all, and so no variance of its own."""
    rng, judged, missed, likely = np.random.default_rng(9), everyone(600), 0, np.full(600, 0.15)
    for _ in range(600):
        members = torch.zeros(600, dtype=torch.bool).index_fill_(0, torch.from_numpy(rng.permutation(600)[:10]), value=True)
        result, activity = valued(values_of(rng, likely), judged=judged), torch.from_numpy(rng.integers(1, 50, 600))
        interval = adjusted_gap(result, Slice("group", "small", members), METRIC, activity=activity, least=2)
        missed += interval is not None and not interval.adjusted.low <= 0 <= interval.adjusted.high
    assert missed / 600 <= chance(0.05, 600)[1]


@pytest.mark.slow
def test_a_page_without_a_gap_keeps_its_error_rate():
    """2,000 pages; groups overlap, so Holm errs on the safe side, but not by far."""
    held, significant = rates(ALIKE, 2000, seed=6)
    assert 0.01 <= significant <= chance(0.05, 2000)[1], (held, significant)
    assert chance(0.95, 2000)[0] <= min(held.values()), (held, significant)
    assert max(held.values()) <= 0.995, (held, significant)


@pytest.mark.slow
def test_intervals_of_a_page_hold_planted_gaps_together_at_their_rate():
    held, significant = rates(UNLIKE, 2000, seed=7)
    assert chance(0.95, 2000)[0] <= min(held.values()), (held, significant)
    assert max(held.values()) <= 0.995, (held, significant)


@pytest.mark.slow
def test_the_adjusted_interval_keeps_its_rate():
    held, _ = adjusted_rates(2000, seed=8)
    assert chance(0.95, 2000)[0] <= held <= 0.985
