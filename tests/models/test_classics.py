"""The classics against their definitions, computed another way, and where there is little to learn from."""

from dataclasses import replace
from functools import partial
from math import sqrt

import numpy as np
import pytest
import torch
from implicit.cpu.als import AlternatingLeastSquares
from scipy.optimize import nnls
from scipy.sparse import csr_matrix
from sklearn.linear_model import ElasticNet

from workbench.evaluation import evaluate
from workbench.models import MODELS, create
from workbench.models import ials as ials_file
from workbench.models import slim as slim_file
from workbench.models import user_knn as user_knn_file
from workbench.models.recent_popularity import DAY
from workbench.testing import interactions, latent_log
from workbench.training import Learning

PAIRS = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0), (3, 2)]  # nobody has item 3
PERSONAL = [name for name, (model, config) in MODELS.items() if model.personal and not issubclass(config, Learning)]


@pytest.fixture
def log():
    return interactions(PAIRS, 4, 4)


@pytest.fixture(scope="module")
def latent():
    """80 people, 30 items, 10 events each."""
    return latent_log(n_users=80, n_items=30, events_each=12)[0]


def scores(model, log):
    return model.score(log.batch(torch.arange(log.n_users)))


def test_recent_popularity_halves_an_event_with_each_half_life():
    ages = torch.tensor([0, 10, 20, 25])
    aged = replace(interactions([(0, 0), (1, 0), (2, 1), (3, 2)], 4, 4), timestamps=1_000 * DAY - ages * DAY)
    ours = scores(create("recent_popularity", half_life=10.0).fit(aged), aged)
    assert ours[3].tolist() == pytest.approx([1 + 1 / 2, 1 / 4, 0.5**2.5, 0])


def test_recent_popularity_without_times_is_popularity(log):
    twice = interactions([*PAIRS, (3, 2)], 4, 4)
    timeless = replace(twice, timestamps=torch.zeros_like(twice.timestamps))
    recent, all_time = (scores(create(name).fit(timeless), timeless) for name in ("recent_popularity", "popularity"))
    assert torch.equal(recent, all_time)
    nothing = log.select(log.items > 3)
    assert scores(create("recent_popularity").fit(nothing), nothing).eq(0).all()


def test_user_knn_adds_up_the_similarities_of_who_has_the_item(log):
    everyone = scores(create("user_knn").fit(log), log)[3]  # has item 2 alone; person 1 has it too, among three
    other = 1 / sqrt(1 * 3)
    assert everyone.tolist() == pytest.approx([other, other, 1 + other, 0], abs=1e-5)  # 1: the person himself
    shrunk = scores(create("user_knn", shrink=2.0).fit(log), log)[3]
    other = 1 / (sqrt(1 * 3) + 2)
    assert shrunk.tolist() == pytest.approx([other, other, 1 / (1 + 2) + other, 0], abs=1e-5)
    assert scores(create("user_knn", k=1).fit(log), log)[3].tolist() == pytest.approx([0, 0, 1, 0], abs=1e-5)


@pytest.mark.parametrize("k", [1, 5, 500])
def test_user_knn_is_the_loop_over_people(latent, k, monkeypatch):
    sets = [set(latent.items[latent.users == user].tolist()) for user in range(latent.n_users)]
    expected = np.zeros((latent.n_users, latent.n_items))
    for user, history in enumerate(sets):
        similarity = [np.float32(len(history & own)) / (np.sqrt(np.float32(len(history) * len(own))) + np.float32(1e-6)) for own in sets]
        for neighbour in sorted(range(latent.n_users), key=lambda v: (-similarity[v], -len(sets[v]), v))[:k]:
            expected[user, list(sets[neighbour])] += similarity[neighbour]
    model = create("user_knn", k=k).fit(latent)
    np.testing.assert_allclose(scores(model, latent).numpy(), expected, rtol=1e-5, atol=1e-6)
    whole = scores(model, latent)
    monkeypatch.setattr(user_knn_file, "CELLS", 3 * latent.n_users)  # three requests at a time
    assert torch.allclose(scores(model, latent), whole, rtol=1e-5)


def test_of_people_at_equal_similarity_the_one_with_more_items_is_the_neighbour():
    tied = interactions([(0, 0), (1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (2, 4), (2, 5), (2, 6), (3, 7), (4, 0), (4, 1)], 5, 8)
    request = replace(tied.batch(torch.tensor([0])), items=torch.tensor([0, 7]), offsets=torch.tensor([0, 2]))
    # cosines with {0, 7}: 1/√2, 1/√8, 1/√8, 1/√2, 1/2; the first two are persons 0 and 3, then 4, then 1 before 2 by code
    nearest = create("user_knn", k=4).fit(tied).score(request)[0]
    assert (nearest > 0).tolist() == [True, True, True, True, False, False, False, True]
    more = interactions([(0, 0), (1, 0), (1, 1), (1, 2), (1, 3), (2, 4)], 3, 5)
    request = replace(more.batch(torch.tensor([0])), items=torch.tensor([0, 1, 2, 3]), offsets=torch.tensor([0, 4]))
    assert create("user_knn", k=1).fit(more).score(request)[0].tolist() == pytest.approx([1, 1, 1, 1, 0], abs=1e-5)


def test_rp3beta_by_hand(log):
    # from item 2: to persons 1 and 3, each with probability 1/2; from person 1 to items 0, 1 and 2 with 1/3
    alpha, beta = 0.5, 0.25
    to_each = (1 / 2) ** alpha * (1 / 3) ** alpha
    ours = scores(create("rp3beta", alpha=alpha, beta=beta).fit(log), log)[3]
    assert ours.tolist() == pytest.approx([to_each / 3**beta, to_each / 2**beta, 0, 0])


@pytest.mark.parametrize(("alpha", "beta", "k"), [(1.0, 0.0, 30), (0.5, 0.7, 4), (0.0, 0.3, 100)])
def test_rp3beta_is_the_product_of_transitions_over_popularity(latent, alpha, beta, k):
    x = latent.csr().toarray().astype(float)
    x = x[:, x.sum(0) > 0]
    fewer = interactions(np.argwhere(x).tolist(), *x.shape)
    walks = (x / x.sum(0)).T ** alpha @ (x / x.sum(1, keepdims=True)) ** alpha / x.sum(0) ** beta
    if alpha == 0:  # then numpy's 0 ** 0 is 1 where there is no event at all
        walks = x.T @ x / x.sum(0) ** beta
    np.fill_diagonal(walks, 0)
    for row in walks:
        row[np.argsort(-row)[k:]] = 0
    ours = scores(create("rp3beta", alpha=alpha, beta=beta, k=k).fit(fewer), fewer)
    np.testing.assert_allclose(ours.numpy(), x @ walks, rtol=2e-4, atol=1e-6)


def elastic_net(x, alpha, l1_ratio):
    """(n_items, n_items): row j predicts item j, by scikit-learn's coordinate descent."""
    weights = np.zeros((x.shape[1], x.shape[1]))
    for item in range(x.shape[1]):
        others = np.arange(x.shape[1]) != item
        net = ElasticNet(alpha=alpha, l1_ratio=l1_ratio, positive=True, fit_intercept=False, tol=1e-10, max_iter=100_000)
        weights[item, others] = net.fit(x[:, others], x[:, item]).coef_
    return weights


@pytest.mark.parametrize(("alpha", "l1_ratio"), [(0.2, 0.02), (0.02, 0.5), (0.001, 0.1)])
@pytest.mark.parametrize("patience", [slim_file.PATIENCE, -1])  # -1: wrong guesses are always turned one at a time
def test_slim_is_scikit_learns_elastic_net(latent, alpha, l1_ratio, patience, monkeypatch):
    monkeypatch.setattr(slim_file, "PATIENCE", patience)
    monkeypatch.setattr(slim_file, "BLOCK", 7)
    monkeypatch.setattr(slim_file, "START", 5)
    weights = create("slim", alpha=alpha, l1_ratio=l1_ratio).fit(latent).weights.to_dense().numpy()
    expected = elastic_net(latent.csr().toarray().astype(float), alpha, l1_ratio)
    np.testing.assert_allclose(weights, expected, atol=2e-5)
    assert (weights >= 0).all()
    assert (np.diag(weights) == 0).all()
    assert 0 < (weights > 0).mean() < 0.9


def test_slim_without_l1_is_non_negative_ridge_regression(latent):
    x, ridge = latent.csr().toarray().astype(float), sqrt(0.05 * latent.n_users)
    weights = create("slim", alpha=0.05, l1_ratio=0.0).fit(latent).weights.to_dense().numpy()
    for item in range(latent.n_items):  # ||target - x w||² + ridge² ||w||² is one least squares with more rows
        others = np.arange(latent.n_items) != item
        rows = np.vstack([x[:, others], ridge * np.eye(others.sum())])
        expected, _ = nnls(rows, np.append(x[:, item], np.zeros(others.sum())))
        np.testing.assert_allclose(weights[item, others], expected, atol=1e-5)


def test_slim_that_is_penalised_enough_has_no_weight_left(latent, tmp_path):
    model = create("slim", alpha=10.0, l1_ratio=0.9).fit(latent)
    assert scores(model, latent).eq(0).all()
    model.save(tmp_path)
    assert scores(MODELS["slim"][0].load(tmp_path), latent).eq(0).all()


def test_slim_does_not_count_people_without_events(latent):
    more = replace(latent, n_users=latent.n_users + 100)
    ours, others = (create("slim", alpha=0.05).fit(x).weights.to_dense() for x in (latent, more))
    assert torch.equal(ours, others)


@pytest.mark.parametrize("settings", [{}, {"factors": 8, "regularization": 0.5, "alpha": 10.0}])
def test_ials_folds_in_as_implicit_solves_for_a_person(latent, settings, monkeypatch):
    monkeypatch.setattr(ials_file, "BLOCK", 7)
    model, config = create("ials", **settings).fit(latent), create("ials", **settings).config
    theirs = AlternatingLeastSquares(factors=config.factors, regularization=config.regularization, alpha=config.alpha)
    theirs.item_factors = model.item_factors.numpy()
    everyone = np.arange(latent.n_users)
    folded = model.person_vectors(latent.batch(torch.from_numpy(everyone)))
    np.testing.assert_allclose(folded.numpy(), theirs.recalculate_user(everyone, csr_matrix(latent.csr())), rtol=1e-3, atol=1e-5)
    x, items = latent.csr().toarray().astype(float), theirs.item_factors.astype(float)
    for user in (0, 40, 79):  # eq. 4 as it is written
        confidence = np.diag(1 + (config.alpha - 1) * x[user])
        left = items.T @ confidence @ items + config.regularization * np.eye(config.factors)
        np.testing.assert_allclose(folded[user].numpy(), np.linalg.solve(left, items.T @ confidence @ x[user]), rtol=1e-4, atol=1e-6)


def test_ials_depends_on_its_seed_and_not_on_how_many_threads_there_are(latent, monkeypatch):
    found = []
    for seed, threads in ((0, 1), (0, 1), (0, 4), (1, 1)):
        monkeypatch.setattr(ials_file, "AlternatingLeastSquares", partial(AlternatingLeastSquares, num_threads=threads))
        found.append(create("ials", factors=8, seed=seed).fit(latent).item_factors)
    zero, again, threaded, one = found
    assert torch.equal(zero, again)
    assert torch.equal(zero, threaded)
    assert not torch.allclose(zero, one, atol=1e-3)


@pytest.mark.parametrize("name", PERSONAL)
def test_a_person_without_a_history_an_item_that_nobody_has_and_few_items(name, log):
    model = create(name).fit(log)  # k is beyond the catalogue
    request = replace(
        log.batch(torch.tensor([0, 1])), users=torch.tensor([-1, 0, -1]), offsets=torch.tensor([0, 0, 2, 2]), items=torch.tensor([0, 2])
    )
    got = model.score(request)
    assert got.shape == (3, 4)
    assert got.isfinite().all()
    assert got[[0, 2]].abs().max() < 1e-6
    assert got[:, 3].abs().max() < 1e-6


@pytest.mark.parametrize(
    ("name", "low", "high"), [("user_knn", 0.115, 0.145), ("rp3beta", 0.11, 0.14), ("slim", 0.125, 0.15), ("ials", 0.12, 0.15)]
)
def test_each_beats_popularity_on_ml_100k_by_no_more_than_can_be(name, low, high, ml100k):
    parts = ml100k.split("user_time")
    result = evaluate(create(name).fit(parts.train), parts.holdout("test"), ks=(10,))
    assert 0.09 < low < result.mean("ndcg@10") < high  # popularity has .082, EASE .144
