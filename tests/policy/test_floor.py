"""A share of everybody's places for a group: exact without limits, never above the best there is with them, and never more than asked."""

import numpy as np
import pytest
import torch
from torch import tensor

from tests.policy.made import facts, listed, optimum, pool, random_pool, relevance, worth
from workbench.errors import RequestError
from workbench.policy.floor import Floor
from workbench.policy.greedy import keep_to_limits
from workbench.policy.limits import Limit

SIX = {"provider": ["in", "in", "in", "out", "out", "out"], "area": ["x", "y", "x", "x", "y", "y"]}


def floor(share, by="provider", group="in"):
    return Floor(kind="floor", by=by, group=group, share=share)


def inside_lists(lists, inside):
    return sum(inside[item] for own in listed(lists) for item in own)


def least(share, places):
    """The smallest whole number of places that is such a share, a number of hundredths."""
    return -(-round(100 * share) * places // 100)


def made_up(rng):
    """Twelve items in two groupings, a third of them in group "in" of each."""
    return {by: rng.permutation(["in", "out", ""] * 4).tolist() for by in ("provider", "area")}


def cheapest_swaps(start, inside, wanted):
    """The swap, of all people's, that costs the least relevance, until there are enough or no more: by trying them all."""
    rows = listed(start.items)
    told = [relevance(start, row) for row in range(len(rows))]
    for _ in range(wanted):
        swaps = [
            (told[row][own[out]] - told[row][own[new]], row, out, new)
            for row, own in enumerate(rows)
            for out in range(min(start.k, len(own)))
            for new in range(start.k, len(own))
            if inside[own[new]] and not inside[own[out]]
        ]
        if not swaps:
            break
        _, row, out, new = min(swaps)
        rows[row][out], rows[row][new] = rows[row][new], rows[row][out]
    return rows


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.8])
@pytest.mark.parametrize("seed", range(8))
def test_one_floor_without_limits_costs_the_least_there_is(seed, share):
    """The largest total relevance of all lists with that many places for the group; where there are none, all that there is."""
    rng = np.random.default_rng([seed, round(10 * share)])
    start, items = random_pool(rng, 3, 7, 3), made_up(rng)
    inside = [each == "in" for each in items["provider"]]
    found = floor(share).apply(start, facts(items))
    wanted = least(share, int((start.lists != -1).sum()))
    best = optimum(start, [(inside, wanted)])
    if best is None:
        most = sum(min(start.k, sum(inside[item] for item in own)) for own in listed(start.items))
        assert inside_lists(found.lists, inside) == most < wanted
    else:
        assert worth(start, found.lists) == pytest.approx(best, abs=1e-9)
        assert inside_lists(found.lists, inside) == max(wanted, inside_lists(start.lists, inside))
    assert [sorted(own) for own in listed(found.items)] == [sorted(own) for own in listed(start.items)]


@pytest.mark.parametrize("seed", range(12))
def test_from_any_order_the_swaps_are_the_cheapest_and_take_the_places_of_what_they_replace(seed):
    rng = np.random.default_rng(seed)
    start, items = random_pool(rng, 4, 8, 3, least=1), made_up(rng)
    turned = start.ordered(torch.stack([torch.from_numpy(rng.permutation(start.items.shape[1])) for _ in range(len(start))]))
    turned = turned.without(torch.zeros_like(turned.there))  # empty places last again
    inside = [each == "in" for each in items["provider"]]
    wanted = least(0.7, int((turned.lists != -1).sum())) - inside_lists(turned.lists, inside)
    found = floor(0.7).apply(turned, facts(items))
    assert listed(found.items) == cheapest_swaps(turned, inside, wanted)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("many", [False, True])
def test_with_limits_lists_keep_them_and_are_nearly_the_best(several, many):
    """Held against the best lists with one floor or two; a greedy search misses some that there are, and pays a little more."""
    feasible, met, had, best_had = 0, 0, 0.0, 0.0
    for seed in range(40):
        rng = np.random.default_rng([seed, several, many])
        start, items = random_pool(rng, 3, 7, 3), made_up(rng)
        groups = torch.from_numpy(rng.random((12, 3)) < 0.4 if many else rng.integers(-1, 3, 12))
        start = keep_to_limits(start.limited(Limit(groups=groups, most=int(rng.integers(1, 3)))))
        places, known, found, floors = int((start.lists != -1).sum()), facts(items), start, []
        for by in ("provider", "area")[: 1 + several]:
            share = float(rng.choice([0.2, 0.4, 0.6]))
            found = floor(share, by).apply(found, known)
            floors.append(([each == "in" for each in items[by]], least(share, places)))
        assert all(limit.holds(found.lists).all() for limit in found.limits)
        assert [len(own) for own in listed(found.lists)] == [len(own) for own in listed(start.lists)]
        best = optimum(start, floors)
        enough = all(inside_lists(found.lists, inside) >= wanted for inside, wanted in floors)
        assert best is not None or not enough
        feasible += best is not None
        if enough:
            assert worth(start, found.lists) <= best + 1e-9
            met, had, best_had = met + 1, had + worth(start, found.lists), best_had + best
    assert feasible >= 10
    assert met >= 0.8 * feasible
    assert had >= 0.95 * best_had


def test_where_the_cheapest_to_give_up_is_in_nobodys_way_another_makes_room():
    """One from each area. The list has 3 of x and 4 of y; item 0, inside, is of x: it fits in place of 3, though 4 would be cheaper."""
    start = pool([[3, 4, 0]], [[1.0, 0.9, 0.0]], k=2).limited(Limit(groups=tensor([0, 1, 0, 0, 1, 1]), most=1))
    inside = [each == "in" for each in SIX["provider"]]
    assert optimum(start, [(inside, 1)]) == pytest.approx(0.9)
    assert floor(0.5).apply(start, facts(SIX)).lists.tolist() == [[0, 4]]


def test_by_hand():
    """Relevance 1, 0.6, 0.5, 0 and 1, 0.9, 0.2, 0. Three of four places: the swap at 0.6 - 0.5, then that at 0.9 - 0.2, then 1 - 0."""
    start = pool([[3, 4, 0, 1], [3, 4, 1, 0]], [[1.0, 0.6, 0.5, 0.0], [1.0, 0.9, 0.2, 0.0]], k=2)
    expected = {
        0.25: [[3, 0], [3, 4]],
        0.5: [[3, 0], [3, 1]],
        0.51: [[1, 0], [3, 1]],
        1.0: [[1, 0], [0, 1]],
    }
    for share, lists in expected.items():
        assert floor(share).apply(start, facts(SIX)).lists.tolist() == lists


def test_who_has_enough_already_keeps_everything():
    start = pool([[0, 3, 1, 4]], k=2)
    assert torch.equal(floor(0.5).apply(start, facts(SIX)).items, start.items)


def test_a_floor_that_cannot_be_met_takes_what_there_is():
    """Person 0 has one item inside, person 1 none, person 2 nothing at all."""
    start = pool([[3, 4, 1], [4, 5], []], k=2)
    assert floor(1.0).apply(start, facts(SIX)).lists.tolist() == [[3, 1], [4, 5], [-1, -1]]


def test_only_places_that_are_filled_count():
    """Three of six places are filled: half of them are two."""
    start = pool([[3, 4, 0, 1], [5]], k=2)
    assert inside_lists(floor(0.5).apply(start, facts(SIX)).lists, [True] * 3 + [False] * 3) == 2


@pytest.mark.parametrize(("share", "people", "k", "wanted"), [(0.28, 5, 5, 7), (0.07, 10, 10, 7), (0.55, 10, 10, 55), (0.56, 5, 5, 14)])
def test_a_share_is_met_exactly_where_its_product_is_a_whole_number(share, people, k, wanted):
    """0.28 of 25 places are 7, though in floats 0.28 · 25 = 7.000000000000001."""
    items = {"provider": ["out"] * k + ["in"] * k}
    found = floor(share).apply(pool([range(2 * k)] * people, k=k), facts(items))
    assert inside_lists(found.lists, [False] * k + [True] * k) == wanted


def test_a_later_floor_leaves_the_groups_of_those_before_alone():
    """Item 2, inside, is of area x: area y gets the other place, though all were asked for."""
    first = floor(0.5).apply(pool([[3, 2, 4, 1]], k=2), facts(SIX))
    assert first.lists.tolist() == [[3, 2]]
    assert floor(1.0, "area", "y").apply(first, facts(SIX)).lists.tolist() == [[4, 2]]


def test_popularity_and_items_without_a_cell_are_groups_too():
    known = facts({"provider": ["a", "a", "a", ""]}, [(0, 0), (1, 0), (2, 1)])
    start = pool([[0, 1, 2, 3]], k=1)
    assert floor(1.0, "popularity", "tail").apply(start, known).lists.tolist() == [[2]]
    assert floor(1.0, group="unknown").apply(start, known).lists.tolist() == [[3]]


def test_a_group_that_is_not_there_is_refused_with_the_nearest_one():
    with pytest.raises(RequestError, match=r'no group of provider "inn"\. Did you mean "in"\?  \(in, out\)'):
        floor(0.5, group="inn").apply(pool([[0]]), facts(SIX))
