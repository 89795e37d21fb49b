"""Every model passes one suite, and the suite itself can fail."""

import pytest
import torch

from workbench.models import MODELS, create
from workbench.models.ease import Ease, EaseConfig
from workbench.testing import check_recommender

WITHOUT_TASTE = {"random", "popularity", "recent_popularity"}
SETTINGS = {
    "ease": {"l2": 1.0},
    "item_knn": {"k": 20},
    "user_knn": {"k": 10},
    "rp3beta": {"k": 20},
    "slim": {"alpha": 0.01},
    "mf": {"epochs": 30, "learning_rate": 0.01, "dimensions": 16, "batch_size": 256},
    "sasrec": {"epochs": 20, "learning_rate": 0.01, "dimensions": 16, "batch_size": 16, "length": 20},
}


@pytest.mark.parametrize("name", MODELS)
def test_the_contract_holds(name):
    check_recommender(lambda: create(name, **SETTINGS.get(name, {})), learns=name not in WITHOUT_TASTE)


class Broken(Ease):
    def __init__(self, config=EaseConfig(l2=1.0)):  # noqa: B008, frozen
        super().__init__(config)


class WrongType(Broken):
    def score(self, batch):
        return super().score(batch).double()


class NotFinite(Broken):
    def score(self, batch):
        return super().score(batch).log()


class SeesTheBatch(Broken):
    def score(self, batch):
        return super().score(batch) + len(batch)


class DrawsGlobally(Broken):
    def fit(self, train, valid=None):
        super().fit(train)
        self.weights = self.weights + torch.rand(())
        return self


class ForgetsItself(Broken):
    @classmethod
    def load(cls, directory):
        model = super().load(directory)
        model.weights = model.weights * 2
        return model


class KnowsPeople(Broken):
    def score(self, batch):
        return super().score(batch) + batch.users[:, None]


class LearnsNothing(Broken):
    def score(self, batch):
        return torch.zeros(len(batch), batch.n_items)


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (WrongType, "scores are torch.float64"),
        (NotFinite, "not finite"),
        (SeesTheBatch, "who else is in the batch"),
        (DrawsGlobally, "two trainings with one seed differ"),
        (ForgetsItself, "the loaded model scores differently"),
        (KnowsPeople, "see the history only"),
        (LearnsNothing, "missing items at rank 1"),
    ],
)
def test_a_model_that_breaks_the_contract_is_told_how(broken, what):
    with pytest.raises(AssertionError, match=what):
        check_recommender(broken)
