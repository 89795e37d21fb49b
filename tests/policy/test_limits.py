"""What a list may hold at most of a group: counted as lists grow, and told of lists that are there."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import tensor

from tests.policy.made import fits, groups_of, limits, listed, pools
from workbench.policy.limits import Limit

ONE = tensor([0, 0, 1, -1, -1])
MANY = tensor([[True, False], [True, True], [False, True], [False, False], [False, False]])


def test_a_list_holds_where_no_group_comes_more_often_than_it_may():
    limit = Limit(groups=ONE, most=1)
    assert limit.holds(tensor([[0, 2, 3], [0, 1, 2], [2, 1, -1]])).tolist() == [True, False, True]
    assert Limit(groups=ONE, most=2).holds(tensor([[0, 1, 2]])).tolist() == [True]


def test_an_item_of_several_groups_counts_in_each():
    limit = Limit(groups=MANY, most=1)
    assert limit.holds(tensor([[0, 2, -1], [0, 1, -1], [1, 2, -1]])).tolist() == [True, False, False]


def test_items_of_no_group_and_empty_places_count_nowhere():
    """The code of an empty place, -1, is also that of the last item of the table."""
    for groups in (ONE, MANY, tensor([0, 0, 1, -1, 1]), torch.cat([MANY[:4], tensor([[True, True]])])):
        assert Limit(groups=groups, most=1).holds(tensor([[2, -1, -1], [-1, -1, -1]])).tolist() == [True, True]
    assert Limit(groups=ONE, most=1).holds(tensor([[3, 4, 0]])).tolist() == [True]
    assert Limit(groups=MANY, most=1).holds(tensor([[3, 4, 0]])).tolist() == [True]


def test_what_is_taken_closes_its_groups_where_they_are_full_and_for_that_person_alone():
    items = tensor([[0, 1, 2, 3, -1], [0, 1, 2, 3, -1]])
    for groups in (ONE, MANY):
        count = Limit(groups=groups, most=1).count(items)
        assert count.open().tolist() == [[True] * 5] * 2
        count.take(tensor([0, 0]), tensor([True, False]))
        assert count.open().tolist() == [[False, False, True, True, True], [True] * 5]


@pytest.mark.parametrize("most", [1, 2, 3])
def test_groups_may_be_more_than_a_word_has_bits(most):
    """Item i is in groups 2 i to 2 i + 2, so two neighbours share one of 201."""
    member = torch.zeros(100, 201, dtype=torch.bool)
    for item in range(100):
        member[item, 2 * item : 2 * item + 3] = True
    limit, items, chosen = Limit(groups=member, most=most), torch.arange(100).repeat(1, 3), []
    count = limit.count(items)
    for place in range(300):
        expected = fits(limit, chosen, place % 100)
        assert count.fits(place).tolist() == count.open()[:, place].tolist() == [expected]
        count.take(tensor([place]), tensor([expected]))
        chosen += [place % 100] * expected
    assert len(chosen) == {1: 50, 2: 100, 3: 150}[most]


def test_a_limit_larger_than_any_list_costs_no_more_than_one_that_is_not(monkeypatch):
    """Ten thousand counters for a list of two."""
    made, zeros = [], torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *size, **more: made.append(size) or zeros(*size, **more))
    count = Limit(groups=MANY, most=10_000).count(tensor([[0, 1]]))
    assert count.open().tolist() == [[True, True]]
    assert len(made) < 100


def test_an_empty_place_stays_open_though_the_last_item_of_the_table_is_full():
    """Nobody takes it: whether there is a candidate is not the limit's to say."""
    for groups in (tensor([0, 1, 0]), tensor([[True, False], [False, True], [True, False]])):
        count = Limit(groups=groups, most=1).count(tensor([[2, 0, -1]]))
        count.take(tensor([0]), tensor([True]))
        assert count.open().tolist() == [[False, False, True]]


def test_a_second_of_a_group_is_open_until_it_is_taken():
    count = Limit(groups=ONE, most=2).count(tensor([[0, 1, 2]]))
    count.take(tensor([0]), tensor([True]))
    assert count.open().tolist() == [[True, True, True]]
    count.take(tensor([1]), tensor([True]))
    assert count.open().tolist() == [[False, False, True]]


def test_an_item_without_a_group_may_come_as_often_as_there_is_one():
    count = Limit(groups=tensor([-1, -1, -1]), most=1).count(tensor([[0, 1, 2]]))
    for place in range(3):
        assert count.open().all()
        count.take(tensor([place]), tensor([True]))


@settings(max_examples=40, deadline=None)
@given(pools(), limits())
def test_lists_hold_where_each_item_fits_what_is_above_it(start, limit):
    rows = listed(start.lists)
    expected = [all(fits(limit, row[:place], item) for place, item in enumerate(row)) for row in rows]
    assert limit.holds(start.lists).tolist() == expected


@settings(max_examples=40, deadline=None)
@given(pools(), limits(), st.data())
def test_what_is_open_is_what_fits(start, limit, data):
    """Taking any open candidates in any order, by the count and by a loop."""
    count, chosen = limit.count(start.items), [[] for _ in range(len(start))]
    for _ in range(start.items.shape[1]):
        expected = [[item == -1 or fits(limit, chosen[row], item) for item in own] for row, own in enumerate(start.items.tolist())]
        assert count.open().tolist() == expected
        places = data.draw(st.lists(st.integers(0, start.items.shape[1] - 1), min_size=len(start), max_size=len(start)))
        taken = [start.items[row, place] != -1 and expected[row][place] for row, place in enumerate(places)]
        count.take(tensor(places), tensor(taken))
        for row, place in enumerate(places):
            chosen[row] += [int(start.items[row, place])] * taken[row]


@settings(max_examples=40, deadline=None)
@given(pools(), limits().filter(lambda each: each.groups.dim() == 1))
def test_one_group_an_item_is_a_case_of_several(start, limit):
    member = torch.stack([limit.groups == group for group in range(3)], dim=1)
    many = Limit(groups=member, most=limit.most)
    assert all(groups_of(many, item) == groups_of(limit, item) for item in range(8))
    assert many.count(start.items).open().tolist() == limit.count(start.items).open().tolist()
    assert torch.equal(many.holds(start.lists), limit.holds(start.lists))
