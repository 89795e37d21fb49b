"""Candidates before anything is done to them: what is refused, their order, and scores on one scale for everyone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import tensor

from tests.evaluation.made import Scores
from tests.policy.made import listed, pool, pools
from workbench.errors import RequestError
from workbench.evaluation.lists import check_lists
from workbench.policy import Pool, candidates
from workbench.testing import interactions
from workbench.testing.synthetic import holdout

apart = st.floats(-8e307, 8e307)
"""No two of them too far apart to subtract."""


@pytest.mark.parametrize(
    ("items", "scores", "k", "reason"),
    [
        ([[0, 1]], [[1.0]], 1, "do not fit"),
        ([[0], [1]], [[1.0], [1.0]], 1, "of 1 people do not fit"),
        ([[]], [[]], 1, "do not fit"),
        ([[0, 1]], [[1.0, 0.0]], 0, "k = 0 should be at least 1"),
        ([[0, 1]], [[1.0, torch.nan]], 1, "not finite"),
        ([[0, 1]], [[1.0, -torch.inf]], 1, "not finite"),
        ([[2, 0, 2]], [[3.0, 2.0, 1.0]], 1, "there twice"),
    ],
)
def test_what_is_no_pool_is_refused(items, scores, k, reason):
    with pytest.raises(ValueError, match=reason):
        Pool.of(tensor([0]), tensor(items, dtype=torch.int64), tensor(scores), k)


def test_candidates_come_by_falling_score_equals_in_the_order_given_and_empty_places_last():
    made = Pool.of(tensor([7]), tensor([[3, -1, 1, 2, -1]]), tensor([[-5.0, torch.nan, 0.5, 0.5, 9.0]]), 2)
    assert made.items[0, :3].tolist() == [1, 2, 3]
    assert made.items[0, 3:].tolist() == [-1, -1]
    assert made.scores[0, :3].tolist() == [0.5, 0.5, -5.0]
    assert made.lists.tolist() == [[1, 2]]


def test_many_equals_stay_in_the_order_given_too():
    """More than a sort that is not stable leaves alone."""
    items = torch.randperm(1000, generator=torch.Generator().manual_seed(0))[None]
    assert torch.equal(Pool.of(tensor([0]), items, (items % 2).double(), 5).items[0, :500], items[items % 2 == 1])


def test_relevance_is_the_score_between_the_lowest_and_the_highest_of_the_person():
    made = pool([[0, 1, 2], [3, 4], [5], []], [[10, 7.5, 0], [-3, -3], [0.1], []])
    assert made.relevance.tolist() == [[1, 7.5 / 10, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]]


@settings(max_examples=50, deadline=None)
@given(pools(scores=apart))
def test_relevance_is_between_0_and_1_and_falls_with_the_score(start):
    found = start.relevance
    assert ((found >= 0) & (found <= 1)).all()
    assert (found[:, :-1] >= found[:, 1:]).all()
    assert (found[:, 0] == start.there[:, 0].double()).all()


def test_who_lies_between_scores_too_far_apart_to_subtract_is_in_the_middle():
    """1e308 - -1e308 is above the largest float."""
    assert pool([[0, 1, 2]], [[1e308, 0.0, -1e308]]).relevance.tolist() == [[1, 0.5, 0]]


def test_without_refused_candidates_the_others_keep_their_order():
    start = pool([[4, 3, 2, 1], [5, 6]], k=2)
    found = start.without(tensor([[True, False, True, False], [False, True, False, False]]))
    assert found.items.tolist() == [[3, 1, -1, -1], [5, -1, -1, -1]]
    assert found.scores[found.there].tolist() == [3, 1, 2]
    assert start.items.tolist() == [[4, 3, 2, 1], [5, 6, -1, -1]]


def test_candidates_are_the_best_that_may_be_shown_with_their_scores():
    """Person 0 had item 3; of person 1 nothing is known, so the fallback scores; nothing is asked of person 2."""
    known = interactions([(0, 3)], 3, 4)
    judged = holdout(known, interactions([(0, 1), (1, 2)], 3, 4))
    model, fallback = Scores([[0, 2, 1, 9.0]] * 3, personal=True), Scores([[4, 3, 2, 1.0]] * 3)
    found = candidates(model, judged, 10, 2, fallback)
    assert found.users.tolist() == [0, 1]
    assert listed(found.items) == [[1, 2, 0], [0, 1, 2, 3]]
    assert found.scores[found.there].tolist() == [2, 1, 0, 4, 3, 2, 1]
    assert found.lists.tolist() == [[1, 2], [0, 1]]
    check_lists(found.lists, judged, "candidates")


def test_candidates_for_somebody_the_model_cannot_serve_need_a_fallback():
    judged = holdout(interactions([], 1, 4), interactions([(0, 1)], 1, 4))
    with pytest.raises(RequestError, match="name a fallback"):
        candidates(Scores([[0, 2, 1, 9.0]], personal=True), judged, 2, 1)
