"""Lists filled place by place: equal to a loop in plain Python, never an item twice, never an empty place before an item."""

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import tensor

from tests.policy.made import limits, listed, pool, pools, slow_fill
from workbench.policy.greedy import BLOCK, fill, keep_to_limits
from workbench.policy.limits import Limit


class Pairs:
    """What a candidate adds is its own worth, and what it is worth beside each item above it; both whole numbers, so ties are many."""

    def __init__(self, start, own, beside):
        self.items, self.beside, self.rows = start.items, beside, torch.arange(len(start))
        self.gains = own[start.items].clone()

    def values(self):
        return self.gains

    def take(self, places):
        self.gains = self.gains + self.beside[self.items[self.rows, places][:, None], self.items]


def by_place(block):
    """The order that there is."""
    return Fixed(-torch.arange(block.items.shape[1]).expand(block.items.shape))


class Fixed:
    def __init__(self, gains):
        self.gains = torch.as_tensor(gains, dtype=torch.float64)

    def values(self):
        return self.gains

    def take(self, places):
        """Nothing changes."""


@settings(max_examples=80, deadline=None)
@given(pools(), st.lists(limits(), max_size=3), st.integers(0, 2**16))
def test_filled_at_once_is_filled_one_by_one(start, rules, seed):
    """Whole pools, so what comes after the lists too."""
    generator = torch.Generator().manual_seed(seed)
    own = torch.randint(-3, 4, (8,), generator=generator).double()
    beside = torch.randint(-2, 3, (8, 8), generator=generator).double()
    start = replace(start, limits=tuple(rules))
    found = fill(start, lambda block: Pairs(block, own, beside))
    expected = slow_fill(start, lambda row, chosen, item: float(own[item] + sum(beside[each, item] for each in chosen)))
    assert listed(found.items) == expected
    assert all(len(set(row)) == len(row) for row in expected)
    for rule in rules:
        assert rule.holds(found.lists).all()


@settings(max_examples=30, deadline=None)
@given(pools(), st.lists(limits(), max_size=2))
def test_kept_to_limits_is_the_order_there_is_without_what_does_not_fit(start, rules):
    start = replace(start, limits=tuple(rules))
    found = keep_to_limits(start)
    assert listed(found.items) == slow_fill(start)
    for again in (keep_to_limits(found), fill(start, by_place)):
        assert torch.equal(again.items, found.items)
        assert torch.equal(again.scores[again.there], found.scores[found.there])


@settings(max_examples=30, deadline=None)
@given(pools(scores=st.floats(-1e6, 1e6)), st.lists(limits(), max_size=2))
def test_each_item_keeps_its_score_and_nobody_gets_an_item_of_somebody_else(start, rules):
    generator = torch.Generator().manual_seed(0)
    found = fill(replace(start, limits=tuple(rules)), lambda block: Fixed(torch.rand(block.items.shape, generator=generator)))
    for row, own in enumerate(found.items.tolist()):
        before = dict(zip(start.items[row].tolist(), start.scores[row].tolist(), strict=True))
        assert all(before[item] == score for item, score in zip(own, found.scores[row].tolist(), strict=True) if item != -1)


def test_by_hand():
    """Items 0 and 1 are of one group, of which one is allowed: 1 makes way for 2, and stays in the pool behind the list."""
    start = pool([[0, 1, 2, 3]], k=2).limited(Limit(groups=tensor([0, 0, 1, 1]), most=1))
    found = keep_to_limits(start)
    assert found.lists.tolist() == [[0, 2]]
    assert found.items.tolist() == [[0, 2, 1, 3]]


def test_where_limits_leave_too_few_the_list_is_shorter_and_the_others_wait_behind_it():
    start = pool([[0, 1, 2, 3]], k=3).limited(Limit(groups=tensor([0, 0, 1, 1]), most=1))
    found = keep_to_limits(start)
    assert found.lists.tolist() == [[0, 2, -1]]
    assert found.items.tolist() == [[0, 2, 1, 3]]


def test_without_limits_nobody_is_dropped_where_candidates_are_fewer_than_places():
    start = pool([[4, 2], [], [1, 3, 5]], k=5)
    for found in (keep_to_limits(start), fill(start, by_place)):
        assert found.items.tolist() == [[4, 2, -1], [-1, -1, -1], [1, 3, 5]]
        assert found.lists.tolist() == [[4, 2, -1, -1, -1], [-1] * 5, [1, 3, 5, -1, -1]]


def test_of_equal_gains_the_candidate_placed_higher_is_taken():
    assert fill(pool([[5, 3, 4, 1]], k=2), lambda block: Fixed([[1, 2, 2, 2]])).items.tolist() == [[3, 4, 5, 1]]


def test_a_candidate_that_may_be_shown_is_taken_however_little_it_adds():
    """A gain of minus infinity is more than nothing, and than what a limit forbids."""
    start = pool([[0, 1, 2]], k=2).limited(Limit(groups=tensor([0, 0, 1]), most=1))
    assert fill(start, lambda block: Fixed([[torch.inf, torch.inf, -torch.inf]])).lists.tolist() == [[0, 2]]


def test_what_an_empty_place_would_add_does_not_matter():
    found = fill(pool([[0, 1], [2]], k=2), lambda block: Fixed([[0, 1], [0, torch.inf]]))
    assert found.items.tolist() == [[1, 0], [2, -1]]


def test_people_beyond_a_block_have_the_lists_of_those_within():
    n = BLOCK + 1
    start = pool([[row % 3, 3 + row % 2, 5] for row in range(n)], k=2).limited(Limit(groups=tensor([0, 1, 2, 0, 1, 2]), most=1))
    sizes = []

    def counted(block):
        sizes.append(len(block))
        return by_place(block)

    found = fill(start, counted)
    assert sizes == [BLOCK, 1]
    assert listed(found.items) == slow_fill(start)


def test_of_nobody_there_are_no_lists():
    nobody = pool([[0, 1]]).blocks(1)[0].without(tensor([[False, False]]))
    nobody = replace(nobody, users=nobody.users[:0], items=nobody.items[:0], scores=nobody.scores[:0])
    nobody = nobody.limited(Limit(groups=tensor([0, 0]), most=1))
    assert fill(nobody, by_place).lists.shape == keep_to_limits(nobody).lists.shape == (0, 3)
