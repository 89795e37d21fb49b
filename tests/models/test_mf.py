"""Matrix factorisation learns taste by each of its losses, and says of whom it knows nothing."""

from dataclasses import replace

import pytest
import torch

from workbench.errors import RequestError
from workbench.evaluation import evaluate
from workbench.models import create
from workbench.models.mf import Mf, _Factorise
from workbench.testing import checkerboard, interactions, latent_log
from workbench.training import Engine

CPU = Engine(device="cpu", threads=1)
FAST = {"dimensions": 16, "batch_size": 256, "learning_rate": 0.01}
LOSSES = [
    {"loss": "bpr", "negatives": 2},
    {"loss": "bpr", "drawn_by": "popularity"},
    {"loss": "softmax", "shared_negatives": 16},
    {"loss": "softmax", "shared_negatives": 16, "drawn_by": "popularity"},
    {"loss": "bce", "negatives": 4},
]


@pytest.mark.parametrize("settings", LOSSES, ids=lambda settings: "-".join(str(value) for value in settings.values()))
def test_every_loss_learns_taste(settings):
    """The checkerboard, which popularity cannot tell, in full; and where taste and popularity decide, better than popularity."""
    train, truth = checkerboard()
    model = create("mf", epochs=50, **FAST, **settings).fit(train, None, CPU)
    assert evaluate(model, truth, ks=(1,)).mean("hit_rate@1") == 1.0
    train, truth = latent_log()
    model = create("mf", epochs=30, **FAST, **settings).fit(train, truth, CPU)
    popular = evaluate(create("popularity").fit(train), truth, ks=(10,)).mean("ndcg@10")
    assert popular * 1.1 < model.training.best < 0.9


@pytest.fixture(scope="module")
def gap():
    """Of four people, the third did nothing."""
    train = interactions([(0, 0), (0, 1), (1, 1), (1, 2), (3, 0)], 4, 3)
    return train, create("mf", epochs=1).fit(train, None, CPU)


@pytest.mark.parametrize(("asked", "named"), [([0, 2, 1], 2), ([-1], -1), ([3, -1, 2], -1)])
def test_strangers_are_refused_by_name(gap, asked, named):
    train, model = gap
    batch = replace(train.batch(torch.zeros(len(asked), dtype=torch.int64)), users=torch.tensor(asked))
    with pytest.raises(RequestError, match=rf"cannot score person {named}, who was not in training: name a fallback"):
        model.score(batch)


def test_a_loaded_model_still_knows_who_was_in_training(gap, tmp_path):
    train, model = gap
    model.save(tmp_path)
    with pytest.raises(RequestError, match="cannot score person 2"):
        Mf.load(tmp_path).score(train.batch(torch.tensor([2])))


def test_strangers_get_the_fallback(gap):
    _, truth = latent_log(n_users=60)
    train = truth.history.select(truth.history.users != 7)
    model = create("mf", epochs=1).fit(train, None, CPU)
    without = replace(truth, history=train, trained=train.events_per_user > 0)
    with pytest.raises(RequestError, match=r"cannot serve 1 of 60 people .*: name a fallback"):
        evaluate(model, without, ks=(10,))
    popularity = create("popularity").fit(train)
    result = evaluate(model, without, ks=(10,), fallback=popularity)
    assert int((~result.lists.served).sum()) == 1


def test_a_history_says_nothing_the_vector_does_not(gap):
    """It was learnt, not made from the history: another history changes nothing."""
    train, model = gap
    batch = train.batch(torch.tensor([0]))
    other = replace(batch, items=torch.tensor([2, 2]))
    assert torch.equal(model.score(batch), model.score(other))


def test_negatives_of_a_step_are_unseen():
    train, _ = latent_log(n_users=60)
    config = create("mf", loss="bpr", negatives=5).config
    objective = _Factorise(create("mf", loss="bpr", epochs=1).fit(train, None, CPU).network, train, config)
    users, candidates = objective.draw(torch.arange(len(train)), torch.Generator().manual_seed(0))
    items, negatives = candidates[:, 0], candidates[:, 1:]
    seen = torch.zeros(60, 100, dtype=torch.bool)
    seen[train.users, train.items] = True
    assert torch.equal(users, train.users)
    assert torch.equal(items, train.items)
    assert negatives.shape == (len(train), 5)
    assert not seen[users[:, None], negatives].any()


def test_nobody_did_anything():
    with pytest.raises(RequestError, match="0 examples to learn from"):
        create("mf").fit(interactions([], 3, 3))
