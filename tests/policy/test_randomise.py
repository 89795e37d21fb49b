"""Randomness in a known amount: as much as was asked for, with chances that add up and that the draws keep to."""

from dataclasses import replace

import pytest
import torch
from torch import tensor

from tests.evaluation.made import chance
from tests.policy.made import facts, fits, listed, pool
from workbench.policy import make_policy
from workbench.policy.greedy import keep_to_limits
from workbench.policy.limits import Limit
from workbench.policy.randomise import Randomise, chances, temperature

FOUR = [5, 3, 8, 1]
CAP = Limit(groups=tensor([0, 1, 0, 1, 0, 1, 0, 2, -1]), most=1)
"""Of the four items 5, 3 and 1 are of one group, 8 is of none."""


def randomise(share, seed=0):
    return Randomise(kind="randomise", share=share, seed=seed)


def alike(n, own=FOUR, k=2, *limits):
    return keep_to_limits(replace(pool([own] * n, k=k), limits=limits))


def every_list(own, k, limits, chosen=()):
    """All that can be drawn: whole lists, and shorter ones where nothing else fits."""
    left = [item for item in own if item not in chosen and all(fits(limit, chosen, item) for limit in limits)]
    if len(chosen) == k or not left:
        return [list(chosen)]
    return [found for item in left for found in every_list(own, k, limits, (*chosen, item))]


def moved(before, after):
    """Share of the filled places whose item was not in the person's list."""
    pairs = list(zip(listed(before.lists), listed(after.lists), strict=True))
    return sum(item not in old for old, new in pairs for item in new) / sum(len(new) for _, new in pairs)


def of_whole(found):
    """The chance of each list: the product over its places."""
    return found.nan_to_num(nan=1.0).prod(1)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("k", [1, 5])
def test_as_many_places_are_new_as_were_asked_for(share, k):
    """Of 2000 people, some with few candidates; the temperature was learnt on other draws, as of 4000 people."""
    start = pool([range(12), range(4), range(8), range(12)] * 500, k=k)
    found = moved(start, randomise(share).apply(start, facts()))
    assert abs(found - share) < 4 * (share * (1 - share) / k * (1 / 2000 + 1 / 4000)) ** 0.5


def test_under_a_limit_too_as_many_places_are_new_as_were_asked_for():
    """Ten items of five providers, of each at most one, five places."""
    start = alike(1000, list(range(10)), 5, Limit(groups=tensor([0, 1, 2, 3, 4] * 2), most=1))
    assert moved(start, randomise(0.1).apply(start, facts())) == pytest.approx(0.1, abs=0.01)


def test_more_than_can_be_new_is_as_much_as_can_be():
    """Four of five items, however hot: a fifth of the places at most is new on average."""
    start = pool([range(5)] * 1000, k=4)
    assert moved(start, randomise(0.9).apply(start, facts())) == pytest.approx(1 / 5, abs=0.02)


def test_who_has_no_more_candidates_than_places_gets_all_of_them():
    found = randomise(0.5).apply(pool([[4, 2], [7], []] * 20, k=3), facts())
    assert [set(own) for own in listed(found.lists)] == [{4, 2}, {7}, set()] * 20


def test_chances_by_hand():
    """Weights 1, 1/2, 1/3, 1/4 at T = 1: the first place of the second item is 1/2 of 25/12, then that of the last 1/4 of 19/12."""
    found = chances(pool([FOUR], k=2), tensor([[3, 1]]), 1.0)
    assert found.tolist() == [pytest.approx([1 / 2 / (25 / 12), 1 / 4 / (19 / 12)])]


def test_a_hotter_order_weighs_places_more_alike():
    """r^(-1/T): at T = 1/2 weights 1, 1/4, 1/9, 1/16; at the hottest all alike."""
    one = tensor([[1, 5]])
    assert chances(pool([FOUR], k=2), one, 0.5)[0, 0].item() == pytest.approx(1 / 16 / (1 + 1 / 4 + 1 / 9 + 1 / 16))
    assert chances(pool([FOUR], k=2), one, 1e9)[0].tolist() == pytest.approx([1 / 4, 1 / 3])


def test_chances_under_a_limit_are_of_what_is_still_open():
    """After item 5 the limit leaves item 8 alone, and then nothing: a sure second place, and no third. Weights 1, 1/2, 1/3, 1/4."""
    found = chances(pool([FOUR], k=3).limited(CAP), tensor([[5, 8, -1]]), 1.0)
    assert found[0, :2].tolist() == pytest.approx([1 / (25 / 12), 1.0])
    assert found[0, 2].isnan()


@pytest.mark.parametrize("heat", [0.2, 1.0, 5.0])
@pytest.mark.parametrize(
    ("k", "limits", "n"),
    [(2, (), 12), (4, (), 24), (2, (CAP,), 6), (2, (replace(CAP, most=2),), 12), (3, (CAP,), 6), (3, (replace(CAP, most=2),), 18)],
)
def test_chances_of_all_lists_that_there_can_be_add_up_to_one(k, limits, n, heat):
    """In order, and shorter where the limit leaves no more: of three that exclude one another and item 8, that is six lists of two."""
    lists = every_list(FOUR, k, limits)
    assert len(lists) == n
    start = replace(pool([FOUR] * len(lists), k=k), limits=limits)
    padded = tensor([own + [-1] * (k - len(own)) for own in lists])
    found = of_whole(chances(start, padded, heat))
    assert found.sum().item() == pytest.approx(1)
    assert (found > 0).all()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("k", "limits"), [(2, ()), (2, (CAP,)), (2, (replace(CAP, most=2),))])
def test_lists_come_as_often_as_their_chances_say(k, limits, seed):
    """Of 2000 people alike, each of the lists that there can be, but for one time in ten thousand."""
    n = 2000
    drawn = randomise(0.25, seed).apply(alike(n, FOUR, k, *limits), facts())
    told = {tuple(own): value for own, value in zip(listed(drawn.lists), of_whole(drawn.chances).tolist(), strict=True)}
    assert set(told) == {tuple(own) for own in every_list(FOUR, k, limits)}
    assert sum(told.values()) == pytest.approx(1)
    for own, value in told.items():
        low, high = chance(value, n, 1 - 1e-4)
        assert low <= listed(drawn.lists).count(list(own)) / n <= high


def test_each_persons_chances_are_those_of_their_list_at_the_temperature_found():
    start, step = pool([FOUR, [2, 4, 6], [7]] * 50, k=2), randomise(0.2, 7)
    drawn = step.apply(start, facts())
    expected = chances(start, drawn.lists, temperature(start, step.share, step.seed))
    assert torch.equal(drawn.chances.nan_to_num(nan=-1.0), expected.nan_to_num(nan=-1.0))
    assert torch.equal(drawn.chances.isnan(), drawn.lists == -1)
    assert ((drawn.chances > 0) & (drawn.chances <= 1) | drawn.chances.isnan()).all()


def test_what_is_drawn_keeps_to_the_limits():
    start = alike(500, list(range(9)), 3, CAP)
    drawn = randomise(0.3).apply(start, facts())
    assert CAP.holds(drawn.lists).all()
    assert (drawn.lists != -1).all(), "three groups and one of none fill three places"


def test_a_draw_does_not_depend_on_who_else_is_asked():
    """More than can be new is asked for, so everybody's temperature is the hottest there is."""
    step, rows = randomise(0.9, 3), [list(range(5)), [6, 2, 9, 1, 0], list(range(5))]
    together = step.apply(pool(rows, k=4, users=[4, 0, 7]), facts())
    for row, user in enumerate([4, 0, 7]):
        alone = step.apply(pool([rows[row]], k=4, users=[user]), facts())
        assert torch.equal(alone.items[0], together.items[row])
        assert torch.equal(alone.chances[0], together.chances[row])


def test_asked_one_by_one_people_see_as_much_that_is_new_as_asked_together():
    """As a service asks. A quarter of 300 places, each person with two: half a list cannot be a quarter of it, so it is one on average."""
    alone = [pool([FOUR], k=2, users=[user]) for user in range(150)]
    found = sum(moved(each, randomise(0.25).apply(each, facts())) for each in alone) / len(alone)
    assert found == pytest.approx(0.25, abs=0.1)


def test_people_draw_each_for_themselves_and_anew_with_another_seed():
    start = pool([range(6)] * 200, k=3)
    one, other = randomise(0.3, 0).apply(start, facts()), randomise(0.3, 1).apply(start, facts())
    assert torch.equal(one.items, randomise(0.3, 0).apply(start, facts()).items)
    assert len({tuple(own) for own in listed(one.lists)}) > 20
    assert 20 < (one.lists != other.lists).any(1).sum() < 200


def test_people_unknown_are_drawn_for_too():
    """Code -1, as a request has of people that the snapshot does not know."""
    drawn = randomise(0.3).apply(pool([range(6)] * 3, k=3, users=[-1, 0, 1]), facts())
    assert (drawn.lists != -1).all()


def test_the_record_says_that_the_order_was_drawn():
    applied = make_policy([{"kind": "mmr"}, {"kind": "randomise", "share": 0.3}]).apply(pool([range(6)] * 20, k=3), facts())
    assert [record.chance for record in applied.records] == [False, True]
    assert applied.pool.chances is not None
    assert applied.records[1].step == "30% of places at random"


def test_of_nobody_nothing_is_drawn():
    nobody = pool([[0, 1]])
    nobody = replace(nobody, users=nobody.users[:0], items=nobody.items[:0], scores=nobody.scores[:0])
    drawn = randomise(0.1).apply(nobody, facts())
    assert drawn.lists.shape == drawn.chances.shape == (0, 3)
