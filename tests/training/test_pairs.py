"""Losses over pairs are the papers' formulas, with gradients that are theirs, also where a row is used more than once."""

import math

import pytest
import torch
from torch import Generator, tensor

from workbench.training.pairs import pair_loss, rows


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def of_scores(loss: str, scores: list[list[float]]) -> torch.Tensor:
    """People of one dimension and size 1, so that items are scores."""
    candidates = torch.arange(len(scores) * len(scores[0])).view(len(scores), -1)
    vectors = torch.cat([tensor(scores).flatten(), torch.ones(1)])[:, None]
    return pair_loss(loss, vectors, torch.full((len(scores),), len(vectors) - 1), candidates)


def test_bpr_by_hand():
    """Two examples with two negatives each: the mean over an example's negatives, summed over examples."""
    first = -(math.log(sigmoid(2 - 1)) + math.log(sigmoid(2 - 2))) / 2
    second = -(math.log(sigmoid(0 - 0)) + math.log(sigmoid(0 + 3))) / 2
    assert of_scores("bpr", [[2.0, 1.0, 2.0], [0.0, 0.0, -3.0]]).item() == pytest.approx(first + second)


def test_bce_by_hand():
    liked = math.log(sigmoid(2)) + math.log(sigmoid(0))
    not_liked = math.log(1 - sigmoid(1)) + math.log(1 - sigmoid(-1)) + math.log(1 - sigmoid(0)) + math.log(1 - sigmoid(3))
    assert of_scores("bce", [[2.0, 1.0, -1.0], [0.0, 0.0, 3.0]]).item() == pytest.approx(-liked - not_liked)


@pytest.mark.parametrize("loss", ["bpr", "bce"])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_gradients_are_those_of_the_loss(loss, k):
    """By finite differences; people twice, an item as its own negative and twice among one's negatives."""
    generator = Generator().manual_seed(k)
    vectors = torch.randn(9, 3, generator=generator, dtype=torch.float64).requires_grad_()
    users, candidates = tensor([0, 1, 0, 2]), torch.randint(3, 9, (4, 1 + k), generator=generator)
    candidates[1] = candidates[1, 0]
    assert torch.autograd.gradcheck(lambda v: 3.0 * pair_loss(loss, v, users, candidates), (vectors,))


@pytest.mark.parametrize("loss", ["bpr", "bce"])
def test_scores_that_are_far_apart_do_not_overflow(loss):
    vectors = tensor([[500.0], [1.0], [-1.0]], requires_grad=True)
    value = pair_loss(loss, vectors, tensor([0]), tensor([[2, 1]]))
    value.backward()
    assert value.item() == pytest.approx(1000.0)  # bpr: 500 − (−500); bce: 500 of each
    assert vectors.grad[1:].tolist() == [[500.0], [-500.0]]


def test_rows_that_are_used_twice_get_both_gradients():
    table = torch.randn(5, 2, generator=Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    places = tensor([3, 1, 3])
    assert torch.equal(rows(table, places), table[places])
    assert torch.autograd.gradcheck(lambda t: rows(t, places).square(), (table,))
