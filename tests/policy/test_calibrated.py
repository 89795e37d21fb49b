"""Lists with the shares of what was liked: equal to the paper's greedy by loops, its KL by hand."""

from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch
from torch import tensor

from tests.policy.made import ITEMS, facts, listed, pool, random_pool, relevance, slow_fill
from workbench.errors import RequestError
from workbench.evaluation import liked_shares, membership, miscalibration
from workbench.policy.calibrated import Calibrate
from workbench.policy.limits import Limit
from workbench.testing import interactions

TWO = {"genre": ["comedy", "comedy", "comedy", "drama", "drama", "comedy|drama", "", None]}
GENRE = {"genre": {"table": "items", "column": "genre", "separator": "|"}}


def calibrate(weight, by="genre"):
    return Calibrate(kind="calibrate", by=by, weight=weight)


def genres(item):
    return [name for name in (ITEMS["genre"][item] or "").split("|") if name] or ["unknown"]


def mean_shares(items):
    """By genre, each item's weight shared among its genres."""
    shares: dict[str, float] = {}
    for item in items:
        for name in genres(item):
            shares[name] = shares.get(name, 0) + 1 / len(genres(item)) / len(items)
    return shares


def divergence(target, items):
    """Σ p log(p / q~), q~ = 0.99 q + 0.01 p: eq. 3 to 5."""
    shown = mean_shares(items)
    return sum(p * log(p / (0.99 * shown.get(name, 0) + 0.01 * p)) for name, p in target.items())


@pytest.mark.parametrize("weight", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(6))
def test_each_place_is_that_of_the_papers_greedy(weight, seed):
    """argmax (1 - λ) · Σ relevance - λ · KL over the list with the candidate; with limits in half of the cases."""
    rng = np.random.default_rng([seed, round(10 * weight)])
    start = random_pool(rng, 4, 10, 5)
    if seed % 2:
        start = start.limited(Limit(groups=torch.from_numpy(rng.integers(-1, 3, size=12)), most=2))
    liked = [rng.permutation(12)[: rng.integers(0, 6)].tolist() for _ in range(4)]
    known = facts(had=[(user, item) for user, own in enumerate(liked) for item in own])

    def gain(row, chosen, item):
        told = relevance(start, row)
        if not liked[row]:
            return -start.items[row].tolist().index(item)
        shown = [*chosen, item]
        return round((1 - weight) * sum(told[each] for each in shown) - weight * divergence(mean_shares(liked[row]), shown), 12)

    assert listed(calibrate(weight).apply(start, known).items) == slow_fill(start, gain)


def test_what_was_liked_three_to_one_comes_three_to_one():
    """Liked: three comedies, one drama. All the weight on calibration: the best list of four is as they were liked."""
    known = facts(TWO, [(0, 0), (0, 1), (0, 2), (0, 3)], **GENRE)
    found = calibrate(1.0).apply(pool([[3, 4, 0, 1, 2]], k=4), known)
    assert sorted(found.lists[0].tolist()) == [0, 1, 2, 3]
    target = liked_shares(known.history, tensor([0]), known.membership("genre"))
    assert miscalibration(found.lists, known.membership("genre"), target).item() == pytest.approx(0, abs=1e-15)


def test_without_weight_on_calibration_the_order_by_score_stays():
    known = facts(TWO, [(0, 0), (1, 3)], **GENRE)
    assert listed(calibrate(0.0).apply(pool([[3, 4, 0], [0, 1, 3, 2]], k=3), known).items) == [[3, 4, 0], [0, 1, 3, 2]]


def test_who_liked_nothing_keeps_their_order_even_where_it_is_not_that_of_the_scores():
    """Person 0 had items and liked none, person 1 had none."""
    history = interactions([(0, 0), (0, 1), (2, 3)], 3, 8)
    known = facts(TWO, replace(history, grades=tensor([0, 0, 1], dtype=torch.int8)), 3, **GENRE)
    turned = pool([[0, 3, 1]] * 3).ordered(tensor([[2, 0, 1]] * 3))
    assert listed(calibrate(0.9).apply(turned, known).items) == [[1, 0, 3], [1, 0, 3], [3, 0, 1]]


def test_somebody_unknown_keeps_their_order():
    """Code -1, as a request has of people that the snapshot does not know."""
    known = facts(TWO, [(0, 3), (3, 3), (3, 4)], **GENRE)
    start = pool([[0, 3, 1], [0, 3, 1]], users=[-1, 0])
    assert listed(calibrate(0.9).apply(start, known).items) == [[0, 3, 1], [3, 0, 1]]


def test_items_of_no_genre_are_a_group_of_their_own():
    """Liked: item 6, of no genre. Item 7 has none either, and is what the list then gets first."""
    known = facts(TWO, [(0, 6)], **GENRE)
    assert known.membership("genre").names == ("comedy", "drama", "unknown")
    assert listed(calibrate(0.9).apply(pool([[0, 3, 5, 7]], k=2), known).items) == [[7, 0, 3, 5]]


def test_popularity_is_a_grouping_too():
    """Events: 4, 3, 2, 1 and 0 of ten. Items 0 and 1 are the head, 2 the mid; person 1 liked 3, of the tail, as is 4."""
    events = [(0, 0), (1, 3), (2, 0), (3, 0), (4, 0), (2, 1), (3, 1), (4, 1), (3, 2), (4, 2)]
    known = facts({"title": list("abcde")}, events, 5)
    assert listed(calibrate(0.9, "popularity").apply(pool([[0, 1, 2, 4]], k=1, users=[1]), known).lists) == [[4]]


def test_groups_of_people_are_refused():
    with pytest.raises(RequestError, match='"town" groups people'):
        calibrate(0.5, "town").apply(pool([[0]]), facts())


def test_shares_of_what_was_liked_by_hand():
    """Person 0: a comedy, a comedy that is a drama too, one without: 1.5, 0.5 and 1 of 3. Person 1 nothing."""
    known = facts(TWO, [(0, 0), (0, 5), (0, 6)], **GENRE)
    groups = membership(known.data, known.history, "genre")
    assert liked_shares(known.history, tensor([0, 1]), groups).tolist() == [pytest.approx([1.5 / 3, 0.5 / 3, 1 / 3]), [0, 0, 0]]


def test_divergence_by_hand():
    """Liked three to one. All comedies: 0.99 · 1 + 0.01 · 0.75 and 0.01 · 0.25. Half each, the shared one too: 0.5 and 0.5, but for 1 %."""
    known = facts(TWO, [(0, 0), (0, 1), (0, 2), (0, 3)], **GENRE)
    groups = known.membership("genre")
    target = liked_shares(known.history, tensor([0] * 5), groups)
    lists = tensor([[0, 1, -1], [0, 3, 5], [5, -1, -1], [6, 7, -1], [-1, -1, -1]])
    found = miscalibration(lists, groups, target).tolist()
    comedies = 0.75 * log(0.75 / 0.9975) + 0.25 * log(0.25 / 0.0025)
    halves = 0.75 * log(0.75 / (0.99 / 2 + 0.0075)) + 0.25 * log(0.25 / (0.99 / 2 + 0.0025))
    assert found[:3] == pytest.approx([comedies, halves, halves])
    assert found[3] == pytest.approx(log(1 / 0.01)), "nothing of what was liked: all that is left is 1 % of it"
    assert np.isnan(found[4])


def test_who_liked_nothing_has_no_miscalibration():
    groups = facts(TWO, [(0, 0)], **GENRE).membership("genre")
    assert miscalibration(tensor([[0, 1]]), groups, torch.zeros(1, 3, dtype=torch.float64)).isnan().tolist() == [True]


def test_calibrated_lists_are_less_miscalibrated_than_those_by_score():
    rng = np.random.default_rng(0)
    start = random_pool(rng, 40, 12, 5, least=10)
    known = facts(had=[(user, int(item)) for user in range(40) for item in rng.permutation(12)[:4]], n_users=40)
    groups = known.membership("genre")
    target = liked_shares(known.history, start.users, groups)
    before, after = (miscalibration(each.lists, groups, target).mean().item() for each in (start, calibrate(0.9).apply(start, known)))
    assert 0 <= after < before / 2
