"""A model that tells its vectors is held to them: their inner products are its scores, but for one factor above 0."""

import pytest
import torch

from workbench.models import HasVectors
from workbench.models.ease import Ease, EaseConfig
from workbench.testing import check_recommender


class Told(Ease):
    """EASE is an inner product: a person's vector is the history, an item's its column of the weights."""

    def __init__(self, config=EaseConfig(l2=1.0)):  # noqa: B008, frozen
        super().__init__(config)

    def item_vectors(self, device="cpu"):
        return self.weights.T.to(device)

    def person_vectors(self, batch):
        return batch.history_matrix()


class Halved(Told):
    def person_vectors(self, batch):
        return super().person_vectors(batch) / 2


class Enlarged(Told):
    def item_vectors(self, device="cpu"):
        return 1000 * super().item_vectors(device)


class TurnedRound(Told):
    def item_vectors(self, device="cpu"):
        return -super().item_vectors(device)


class Nothing(Told):
    def item_vectors(self, device="cpu"):
        return torch.zeros_like(super().item_vectors(device))


class OfOtherItems(Told):
    def item_vectors(self, device="cpu"):
        return super().item_vectors(device).roll(1, 0)


class ForgetsAnItem(Told):
    def item_vectors(self, device="cpu"):
        vectors = super().item_vectors(device).clone()
        vectors[7] = 0
        return vectors


class AFactorEach(Told):
    """Everybody's order is right, and yet the products of two people cannot be held against each other."""

    def person_vectors(self, batch):
        return super().person_vectors(batch) * (1 + batch.lengths + batch.items[batch.offsets[1:] - 1])[:, None]


class WithABias(Told):
    """A number for each item that no vector knows of."""

    def score(self, batch):
        return super().score(batch) + torch.arange(batch.n_items) / batch.n_items


@pytest.mark.parametrize("model", [Told, Halved, Enlarged])
def test_vectors_that_give_the_scores_but_for_a_factor_pass(model):
    assert isinstance(model(), HasVectors)
    check_recommender(model)


@pytest.mark.parametrize("model", [OfOtherItems, ForgetsAnItem, AFactorEach, WithABias])
def test_vectors_that_do_not_give_the_scores_are_caught(model):
    with pytest.raises(AssertionError, match="inner products"):
        check_recommender(model)


@pytest.mark.parametrize("model", [TurnedRound, Nothing])
def test_a_factor_that_is_not_above_0_is_caught(model):
    with pytest.raises(AssertionError, match="rank the other way round than the scores"):
        check_recommender(model)


def test_who_tells_no_vectors_is_not_asked_for_them():
    assert not isinstance(Ease(), HasVectors)
