"""What is learnt of single candidates, of pairs and of lists: by hand on two or three candidates, and what each must not depend on."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import tensor

from workbench.ranking.losses import LOSSES, ranking_loss

numbers = st.floats(-5, 5)


def loss(name, scores, labels, weights=None, real=None):
    """The sum, and how many there are, of one list or of several."""
    scores = torch.as_tensor(scores, dtype=torch.float64)
    if scores.dim() == 1:
        return loss(name, scores[None], [labels], None if weights is None else [weights], None if real is None else [real])
    weights = torch.ones_like(scores) if weights is None else tensor(weights, dtype=torch.float64)
    real = torch.ones_like(scores, dtype=torch.bool) if real is None else tensor(real)
    total, n = ranking_loss(name, scores, tensor(labels, dtype=torch.bool), weights, real)
    return total, int(n)


def softplus(x):
    return math.log1p(math.exp(x))


@settings(max_examples=30, deadline=None)
@given(numbers, numbers, st.floats(0, 3), st.floats(0, 3))
def test_single_chances_cost_their_log(a, b, w, v):
    total, n = loss("pointwise", [a, b], [1, 0], [w, v])
    assert total.item() == pytest.approx(w * softplus(-a) + v * softplus(b), abs=1e-9)
    assert n == 2


@settings(max_examples=30, deadline=None)
@given(numbers, numbers, numbers, st.floats(0.1, 3))
def test_a_pair_costs_how_far_its_lesser_candidate_is_above(a, b, c, w):
    total, n = loss("pairwise", [a, b], [1, 0])
    assert (total.item(), n) == (pytest.approx(softplus(b - a)), 1)
    total, n = loss("pairwise", [a, b, c], [1, 0, 0], [w, 1, 1])  # a mean over two pairs
    assert (total.item(), n) == (pytest.approx(w * (softplus(b - a) + softplus(c - a)) / 2), 1)
    total, n = loss("pairwise", [a, b, c], [1, 1, 0], [w, 1, 7])  # each by its own liked candidate's weight
    assert (total.item(), n) == (pytest.approx((w * softplus(c - a) + softplus(c - b)) / 2), 1)


@settings(max_examples=30, deadline=None)
@given(numbers, numbers, numbers)
def test_a_list_costs_the_log_of_the_share_of_what_was_liked(a, b, c):
    total, n = loss("listwise", [a, b], [1, 0])
    assert (total.item(), n) == (pytest.approx(softplus(b - a)), 1)
    total, n = loss("listwise", [a, b, c], [1, 1, 0])
    whole = math.log(math.exp(a) + math.exp(b) + math.exp(c))
    assert (total.item(), n) == (pytest.approx(whole - (a + b) / 2), 1)


@pytest.mark.parametrize("name", LOSSES)
def test_learning_lifts_what_was_liked_and_lowers_the_rest(name):
    scores = tensor([[0.3, -0.2, 0.1, 0.0]], dtype=torch.float64, requires_grad=True)
    total, _ = ranking_loss(name, scores, tensor([[True, False, True, False]]), torch.ones_like(scores), torch.ones(1, 4, dtype=torch.bool))
    total.backward()
    assert (scores.grad[0, [0, 2]] < 0).all()
    assert (scores.grad[0, [1, 3]] > 0).all()


@pytest.mark.parametrize("name", ["pairwise", "listwise"])
@pytest.mark.parametrize("label", [0, 1])
def test_a_request_of_one_label_says_nothing_of_pairs_and_lists(name, label):
    scores = tensor([[0.3, -0.2], [1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    total, n = loss(name, scores, [[label, label], [1, 0]])
    alone, one = loss(name, [1.0, 2.0], [1, 0])
    assert (total.item(), n, one) == (pytest.approx(alone.item()), 1, 1)
    total.backward()
    assert scores.grad[0].tolist() == [0, 0]
    nothing, none = loss(name, [0.3, -0.2], [label, label])
    assert (nothing.item(), none) == (0, 0)


@pytest.mark.parametrize("name", ["pairwise", "listwise"])
@settings(max_examples=30, deadline=None)
@given(st.lists(numbers, min_size=3, max_size=3), st.floats(-50, 50))
def test_pairs_and_lists_know_only_differences(name, scores, more):
    total, _ = loss(name, scores, [1, 0, 0])
    shifted, _ = loss(name, [each + more for each in scores], [1, 0, 0])
    assert shifted.item() == pytest.approx(total.item(), abs=1e-9)


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=30, deadline=None)
@given(filler=st.sampled_from([0.0, 5.0, -700.0, 1e30]), label=st.booleans(), weight=st.sampled_from([0.0, 1.0, 1e6]))
def test_what_fills_a_list_up_has_no_say(name, filler, label, weight):
    wanted, n = loss(name, [0.5, -1.0], [1, 0], [2.0, 1.0])
    scores = tensor([[0.5, -1.0, filler, filler]], dtype=torch.float64, requires_grad=True)
    total, m = loss(name, scores, [[1, 0, label, label]], [[2.0, 1.0, weight, weight]], [[True, True, False, False]])
    assert (total.item(), m) == (pytest.approx(wanted.item()), n)
    total.backward()
    assert scores.grad[0, 2:].tolist() == [0, 0]
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_whole_rows_of_filling_count_for_nothing(name):
    wanted, n = loss(name, [0.5, -1.0], [1, 0])
    total, m = loss(name, [[0.5, -1.0], [0.0, 0.0]], [[1, 0], [0, 0]], None, [[True, True], [False, False]])
    assert (total.item(), m) == (pytest.approx(wanted.item()), n)


@pytest.mark.parametrize("name", LOSSES)
def test_a_click_that_counts_three_times_costs_three_times_as_much(name):
    """So that one click far down a page makes up for those that were never made there, whether it is the only one of its page or not."""
    scores = [[0.5, -1.0, 0.2]]
    once, n = loss(name, scores, [[1, 0, 0]])
    thrice, m = loss(name, scores, [[1, 0, 0]], [[3.0, 1.0, 1.0]])
    others, _ = loss("pointwise", scores, [[1, 0, 0]], [[0.0, 1.0, 1.0]]) if name == "pointwise" else (torch.zeros(()), 0)
    assert n == m
    assert (thrice - others).item() == pytest.approx(3 * (once - others).item())


@pytest.mark.parametrize("name", LOSSES)
def test_scores_far_apart_cost_much_and_not_infinitely(name):
    for scores in ([-1e4, 1e4], [1e4, -1e4]):
        scores = tensor([scores], dtype=torch.float32, requires_grad=True)
        total, _ = ranking_loss(name, scores, tensor([[True, False]]), torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool))
        total.backward()
        assert total.isfinite()
        assert scores.grad.isfinite().all()
