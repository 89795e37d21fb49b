"""Every source against brute force over its scores or vectors, and whom it cannot serve."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from tests.evaluation.made import Scores
from workbench.evaluation.ranking import NOTHING
from workbench.models import create
from workbench.retrieval import IndexConfig, ItemVectors, PersonVectors, Requests, ScorerSource, VectorIndex, sources
from workbench.testing import interactions, latent_log
from workbench.training import Engine

N_USERS, N_ITEMS = 9, 40


class Taste:
    """A person's vector is the mean of those of the history."""

    inductive, personal = True, True

    def __init__(self, vectors):
        self.vectors = vectors

    def item_vectors(self, device="cpu"):
        return self.vectors.to(device)

    def person_vectors(self, batch):
        return batch.history_matrix() @ self.vectors / batch.lengths.clamp(min=1)[:, None]

    def score(self, batch):
        return self.person_vectors(batch) @ self.vectors.T


@pytest.fixture
def vectors():
    return torch.randn(N_ITEMS, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def log():
    """Person 4 has no history, and person u has 3 + u events, some of them of one item."""
    generator = torch.Generator().manual_seed(1)
    pairs = [(user, int(torch.randint(N_ITEMS, (), generator=generator))) for user in range(N_USERS) if user != 4 for _ in range(3 + user)]
    return interactions(pairs, N_USERS, N_ITEMS)


def requests(log, users=range(N_USERS), masked=True):
    users = torch.tensor(users, dtype=torch.int64)
    batch = log.batch(users)
    return Requests(asked=batch, seen=batch if masked else None, trained=log.events_per_user[users] > 0)


def histories(asked):
    return [part.tolist() for part in asked.items.split(asked.lengths.tolist())]


def best(scores, hidden, k, ties=range(N_ITEMS)):
    shown = sorted((item for item in range(N_ITEMS) if item not in hidden), key=lambda item: (-scores[item], ties[item]))
    return (shown + [NOTHING] * k)[:k]


@pytest.mark.parametrize("k", [1, 5, N_ITEMS, N_ITEMS + 3])
@pytest.mark.parametrize("masked", [True, False])
def test_a_scorer_gives_its_best_that_may_be_shown(log, k, masked):
    generator = torch.Generator().manual_seed(2)
    scores = torch.randint(4, (N_USERS, N_ITEMS), generator=generator)  # mostly ties
    ties = torch.randperm(N_ITEMS, generator=generator)
    asked = requests(log, masked=masked)
    found = ScorerSource("made", Scores(scores), ties).candidates(asked, k)
    for user, history in enumerate(histories(asked.asked)):
        assert found[user].tolist() == best(scores[user].tolist(), history if masked else (), k, ties.tolist())


def test_blocks_make_no_difference(log, monkeypatch):
    model = create("item_knn").fit(log)
    source = ScorerSource("knn", model, torch.arange(N_ITEMS))
    whole = source.candidates(requests(log), 6)
    blocks = []

    class Counted:
        inductive = personal = True

        def score(self, batch):
            blocks.append(len(batch))
            return model.score(batch)

    for size, expected in ((1, [1] * 8), (4 * N_ITEMS * 3, [3, 3, 2])):
        monkeypatch.setattr(sources, "SCORE_BYTES", size)
        assert torch.equal(ScorerSource("knn", Counted(), torch.arange(N_ITEMS)).candidates(requests(log), 6), whole)
        assert blocks == expected
        blocks.clear()


@pytest.mark.parametrize(
    ("personal", "inductive", "served"),
    [(False, True, [True, True, True]), (True, True, [True, False, True]), (True, False, [True, True, False])],
    ids=["of nobody", "of the history", "of who was trained on"],
)
def test_whom_a_scorer_cannot_serve_gets_nothing(log, personal, inductive, served):
    asked = replace(requests(log, [0, 4, 2]), trained=torch.tensor([True, True, False]))
    model = Scores(torch.rand(N_USERS, N_ITEMS), personal=personal, inductive=inductive)
    found = ScorerSource("made", model, torch.arange(N_ITEMS)).candidates(asked, 3)
    assert (found != NOTHING).all(1).tolist() == served
    assert (found != NOTHING).any(1).tolist() == served


def test_people_whom_nobody_knows_are_served_from_their_history(log, vectors):
    """Code -1 stands for no place in any log."""
    known = requests(log)
    strangers = replace(known, asked=replace(known.asked, users=torch.full((N_USERS,), -1)), trained=torch.zeros(N_USERS, dtype=torch.bool))
    strangers = replace(strangers, seen=strangers.asked)
    index = VectorIndex.build(vectors)
    for source in (
        ScorerSource("knn", create("item_knn").fit(log), torch.arange(N_ITEMS)),
        PersonVectors("taste", Taste(vectors), index),
        ItemVectors("beside", vectors, index),
    ):
        found = source.candidates(strangers, 5)
        assert torch.equal(found, source.candidates(known, 5))
        assert found[4].tolist() == [NOTHING] * 5
        assert (found[[0, 1, 2, 3, 5, 6, 7, 8]] != NOTHING).all()


@pytest.mark.parametrize("masked", [True, False])
def test_vectors_in_an_exact_index_give_what_the_scores_give(log, vectors, masked):
    model = Taste(vectors)
    asked = requests(log, masked=masked)
    by_index = PersonVectors("taste", model, VectorIndex.build(model.item_vectors())).candidates(asked, 10)
    assert torch.equal(by_index, ScorerSource("taste", model, torch.arange(N_ITEMS)).candidates(asked, 10))
    scores = model.score(asked.asked)
    for user, history in enumerate(histories(asked.asked)):
        hidden = history if masked else ()
        assert by_index[user].tolist() == (best(scores[user].tolist(), hidden, 10) if history else [NOTHING] * 10)


@pytest.mark.parametrize(("name", "settings"), [("ials", {"iterations": 2}), ("mf", {"epochs": 1})])
def test_a_model_out_of_an_index_is_the_model(name, settings):
    train, truth = latent_log(n_users=30, n_items=40, events_each=10)
    model = create(name, **settings)
    model = model.fit(train, None, Engine(device="cpu", threads=1)) if name == "mf" else model.fit(train)
    asked = Requests.of(truth, truth.users)
    by_index = PersonVectors(name, model, VectorIndex.build(model.item_vectors())).candidates(asked, 10)
    assert torch.equal(by_index, ScorerSource(name, model, truth.ties).candidates(asked, 10))


def test_who_was_not_trained_on_has_no_vector_to_search_with(log, vectors):
    class ByName(Taste):
        inductive = False

        def person_vectors(self, batch):
            assert batch.users.tolist() == [2]
            return super().person_vectors(batch)

    asked = replace(requests(log, [0, 2, 4]), trained=torch.tensor([False, True, False]))
    found = PersonVectors("by name", ByName(vectors), VectorIndex.build(vectors)).candidates(asked, 3)
    assert (found != NOTHING).all(1).tolist() == [False, True, False]


@pytest.mark.parametrize("metric", ["cosine", "inner_product"])
@pytest.mark.parametrize("masked", [True, False])
def test_items_are_those_beside_the_last_one(log, vectors, metric, masked):
    asked = replace(requests(log, masked=masked), trained=torch.zeros(N_USERS, dtype=torch.bool))
    source = ItemVectors("beside", vectors, VectorIndex.build(vectors, IndexConfig(metric=metric)))
    found = source.candidates(asked, 6)
    compared = normalize(vectors, dim=1) if metric == "cosine" else vectors
    for user, history in enumerate(histories(asked.asked)):
        if not history:
            assert found[user].tolist() == [NOTHING] * 6
            continue
        scores = (compared @ compared[history[-1]]).tolist()
        assert found[user].tolist() == best(scores, history if masked else (), 6)


def test_only_the_last_item_counts(log, vectors):
    source = ItemVectors("beside", vectors, VectorIndex.build(vectors))
    one, other = (
        Requests(asked=part.batch(torch.tensor([0])), seen=None, trained=torch.ones(1, dtype=torch.bool))
        for part in (interactions([(0, 1), (0, 2), (0, 7)], 1, N_ITEMS), interactions([(0, 7)], 1, N_ITEMS))
    )
    assert torch.equal(source.candidates(one, 5), source.candidates(other, 5))


def test_where_little_is_left_a_list_ends_early(vectors):
    log = interactions([(0, item) for item in range(N_ITEMS - 2)], 1, N_ITEMS)
    index = VectorIndex.build(vectors)
    for source in (
        ScorerSource("taste", Taste(vectors), torch.arange(N_ITEMS)),
        PersonVectors("taste", Taste(vectors), index),
        ItemVectors("beside", vectors, index),
    ):
        found = source.candidates(requests(log, [0]), 4)[0].tolist()
        assert sorted(found[:2]) == [N_ITEMS - 2, N_ITEMS - 1]
        assert found[2:] == [NOTHING] * 2


@pytest.mark.parametrize("users", [[], [4], [4, 4]], ids=["nobody", "one without a history", "two without a history"])
def test_where_nobody_can_be_served_nobody_is(log, vectors, users):
    index = VectorIndex.build(vectors)
    for source in (
        ScorerSource("taste", Taste(vectors), torch.arange(N_ITEMS)),
        PersonVectors("taste", Taste(vectors), index),
        ItemVectors("beside", vectors, index),
    ):
        found = source.candidates(requests(log, users), 3)
        assert found.dtype == torch.int64
        assert found.tolist() == [[NOTHING] * 3] * len(users)


def test_a_list_ends_where_nothing_speaks_for_an_item(log):
    """Even items have a score above 0, and lower the higher their code."""
    scores = torch.where(torch.arange(N_ITEMS) % 2 == 0, N_ITEMS - torch.arange(N_ITEMS), 0).float()
    asked = requests(log)
    scorer = Scores(scores.expand(N_USERS, -1).clone())
    found = ScorerSource("even", scorer, torch.arange(N_ITEMS), floor=0.0).candidates(asked, N_ITEMS)
    for row, history in zip(found.tolist(), histories(asked.asked), strict=True):
        left = [item for item in range(0, N_ITEMS, 2) if item not in history]
        assert row == (left + [NOTHING] * N_ITEMS)[:N_ITEMS]
    assert scorer.scores[0].tolist() == scores.tolist(), "the model's scores stay as they are"


def test_an_item_nobody_had_has_no_neighbours(vectors):
    """Its vector is zero, and zero is as near to everything."""
    vectors[5] = 0
    log = interactions([(0, 5), (1, 6)], 2, N_ITEMS)
    index = VectorIndex.build(vectors, IndexConfig(metric="cosine"))
    found = ItemVectors("neighbours", vectors, index).candidates(requests(log, range(2)), 3)
    assert found[0].tolist() == [NOTHING] * 3
    assert NOTHING not in found[1]
