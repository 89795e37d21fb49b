"""The suite every model passes: `check_recommender(lambda: MyModel())` in a test of your own."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from workbench.data import Interactions
from workbench.evaluation import evaluate
from workbench.models import HasVectors, Recommender, create
from workbench.testing.synthetic import checkerboard, latent_log


def check_recommender(make: Callable[[], Recommender], *, learns: bool = True) -> None:
    """Raises AssertionError, saying what is wrong, when the model breaks the contract.

    make: returns a fresh untrained model, the same each time. learns: it works from behaviour, so it must solve the checkerboard and beat
    popularity where taste decides; False for random and popularity.
    """
    train, holdout = latent_log()
    model = make().fit(train)
    _check_scores(model, train)
    _check_batches(model, train)
    _check_determinism(make, model, train)
    _check_save_and_load(model, train)
    _check_strangers(model, train)
    _check_vectors(model, train)
    if learns:
        _check_checkerboard(make)
        popularity = create("popularity").fit(train)
        own, floor = (evaluate(m, holdout, name="", ks=(10,), fallback=popularity).mean("ndcg@10") for m in (model, popularity))
        assert own > floor, f"NDCG@10 {own:.3f} where taste decides; popularity has {floor:.3f}"


def _everyone(train: Interactions) -> torch.Tensor:
    return torch.arange(train.n_users)


def _check_scores(model: Recommender, train: Interactions) -> None:
    scores = model.score(train.batch(_everyone(train)[:7]))
    assert scores.shape == (7, train.n_items), f"scores have shape {tuple(scores.shape)}, expected {(7, train.n_items)}"
    assert scores.dtype == torch.float32, f"scores are {scores.dtype}, expected float32"
    assert scores.isfinite().all(), "some scores are not finite"
    assert model.score(train.batch(_everyone(train)[:0])).shape == (0, train.n_items), "an empty batch should give no rows"


def _check_batches(model: Recommender, train: Interactions) -> None:
    whole = model.score(train.batch(_everyone(train)))
    alone = torch.cat([model.score(train.batch(user[None])) for user in _everyone(train)[:5]])
    assert torch.allclose(whole[:5], alone, rtol=1e-4, atol=1e-5), "a person's scores depend on who else is in the batch"


def _check_determinism(make: Callable[[], Recommender], model: Recommender, train: Interactions) -> None:
    batch = train.batch(_everyone(train))
    torch.rand(3)  # whatever else drew from the global generator must not matter
    assert torch.equal(model.score(batch), make().fit(train).score(batch)), "two trainings with one seed differ"


def _check_save_and_load(model: Recommender, train: Interactions) -> None:
    batch = train.batch(_everyone(train))
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder))
        suffixes = {path.suffix for path in Path(folder).iterdir()}
        assert suffixes <= {".json", ".safetensors"}, f"saved as {sorted(suffixes)}; only JSON and safetensors are allowed"
        loaded = type(model).load(Path(folder))
    assert torch.equal(loaded.score(batch), model.score(batch)), "the loaded model scores differently"


def _check_strangers(model: Recommender, train: Interactions) -> None:
    """A history moved to a person nobody trained on must count all the same, when the model says it is inductive and personal."""
    if not (model.inductive and model.personal):
        return
    known = train.batch(_everyone(train)[:5])
    stranger = type(known)(**{**vars(known), "users": torch.full((5,), -1)})
    assert torch.equal(model.score(stranger), model.score(known)), "an inductive model should see the history only"


def _check_vectors(model: Recommender, train: Interactions) -> None:
    """Where a model has vectors, their inner products are its scores, but for a factor."""
    if not isinstance(model, HasVectors):
        return
    batch = train.batch(_everyone(train))
    scores, products = model.score(batch), model.person_vectors(batch) @ model.item_vectors().T
    factor = (scores * products).sum() / (products * products).sum()
    assert factor > 0, "inner products of the vectors rank the other way round than the scores"
    assert torch.allclose(scores, factor * products, rtol=1e-3, atol=1e-4 * float(scores.abs().max())), "inner products are not the scores"


def _check_checkerboard(make: Callable[[], Recommender]) -> None:
    train, holdout = checkerboard()
    popularity = create("popularity").fit(train)
    result = evaluate(make().fit(train), holdout, name="", ks=(1,), fallback=popularity)
    assert result.mean("hit_rate@1") == 1.0, f"finds {result.mean('hit_rate@1'):.0%} of the checkerboard's missing items at rank 1"
