"""Models as ONNX graphs: what `score` and `rank` say of anybody, at any number of requests, out of one file of all sources."""

import numpy as np
import pytest
import torch

from workbench.data import UserBatch
from workbench.data.interactions import offsets_of
from workbench.errors import NotApplicable
from workbench.evaluation.ranking import NOTHING
from workbench.evaluation.scoring import rank
from workbench.models import MODELS, create, fit
from workbench.models.recbole.families import SUPPORTED
from workbench.promotion.export import RetrieverGraph, export_retriever
from workbench.promotion.graphs import NO_GRAPH, Vectors, graph_of
from workbench.serving.onnx_files import external_tensors
from workbench.serving.retrieve import session
from workbench.serving.verify import compared
from workbench.testing import latent_log

NAMES = tuple(name for name in MODELS if name not in NO_GRAPH)
LEARN = ("mf", "sasrec", "two_tower")
TRAIN, HOLDOUT = latent_log()
DEPTH = 20
RELATIVE = 1e-5
"""Of the largest score of the list: sums of 32 bits in another order."""
ALL_OF_THEM = 257


def requests(histories, users=None):
    """What each had, oldest first; users: strangers where none are given."""
    users = [-1] * len(histories) if users is None else users
    items = torch.tensor([item for own in histories for item in own], dtype=torch.int64)
    lengths = torch.tensor([len(own) for own in histories])
    told = {"timestamps": torch.zeros_like(items), "offsets": offsets_of(lengths), "n_items": TRAIN.n_items}
    return UserBatch(users=torch.tensor(users, dtype=torch.int64), items=items, **told)


def known(n=ALL_OF_THEM):
    """People of the log with what they had, as often round as it takes."""
    return TRAIN.batch(torch.arange(n) % TRAIN.n_users)


def histories(least=1):
    """Of one item to more than twice as many as there are, with items that come twice, at once and later."""
    rng = np.random.default_rng(5)
    lengths = [length for length in (0, 1, 2, 3, 7, 30, 49, 50, 51, 99, 130, 230) if length >= least]
    drawn = [rng.integers(0, TRAIN.n_items, length).tolist() for length in lengths]
    return [*drawn, [4, 4, 4], [4, 9, 4], [9, 4, 4, 9, 9], [99], [0], list(range(TRAIN.n_items)), [7] * 60]


def fed(graph, batch, seen=None):
    lengths = batch.lengths
    history = np.zeros((len(batch), max(1, int(lengths.max()))), np.int64)
    for row, (start, length) in enumerate(zip(batch.offsets.tolist(), lengths.tolist(), strict=False)):
        history[row, :length] = batch.items[start : start + length].numpy()
    history[np.arange(history.shape[1]) >= lengths.numpy()[:, None]] = 3  # after the last anything may stand that is an item
    shown = [[] if seen is None else seen.items[seen.offsets[row] : seen.offsets[row + 1]].tolist() for row in range(len(batch))]
    hidden = np.full((len(batch), max(1, *map(len, shown), 1)), -1, np.int64)
    for row, own in enumerate(shown):
        hidden[row, : len(own)] = own
    told = {"user": batch.users.numpy(), "history": history, "lengths": lengths.numpy(), "seen": hidden}
    outputs = [each.name for each in graph.get_outputs()]
    return dict(zip(outputs, graph.run(None, {each.name: told[each.name] for each in graph.get_inputs()}), strict=True))


def near(found, wanted):
    """float32 (n, n_items) each, to 1e-5 of the largest score of a row."""
    size = np.abs(wanted).max(1, keepdims=True)
    assert np.isfinite(found).all()
    assert (np.abs(found - wanted) <= RELATIVE * np.maximum(size, 1e-6)).all(), float(
        (np.abs(found - wanted) / np.maximum(size, 1e-6)).max()
    )


def trained(name):
    model = create(name, **({"epochs": 1} if name in LEARN or (name.startswith("recbole:") and "SLIM" not in name) else {}))
    fit(name, model, TRAIN)
    return model


def written(path, models):
    graph = RetrieverGraph([graph_of(model) for model in models], FLOORS[: len(models)], HOLDOUT.ties, DEPTH, scores=True)
    export_retriever(path, graph.eval())
    return session(path.read_bytes())


FLOORS = [0.0 if name in ("item_knn", "session_knn", "rp3beta") else None for name in NAMES]
"""Of models that say nothing of most items: a score of 0."""


@pytest.fixture(scope="module")
def models():
    return {name: trained(name) for name in NAMES}


@pytest.fixture(scope="module")
def path(models, tmp_path_factory):
    """All models in one file: an export takes seconds."""
    path = tmp_path_factory.mktemp("graphs") / "retriever.onnx"
    written(path, models.values())
    return path


@pytest.fixture(scope="module")
def graph(path):
    return session(path.read_bytes())


@pytest.fixture(scope="module")
def answers(graph):
    """Of everybody known, with what they had masked."""
    return fed(graph, known(), known())


every = pytest.mark.parametrize("name", NAMES)


@every
@pytest.mark.slow
def test_many_people_at_once_are_scored_as_by_the_model(name, models, answers):
    near(answers[f"scores.{NAMES.index(name)}"], models[name].score(known()).numpy())


@every
@pytest.mark.slow
def test_one_person_is_scored_as_by_the_model_and_as_among_many(name, models, graph, answers):
    """A request alone goes another way through some graphs."""
    for user in (0, 3, TRAIN.n_users - 1):
        batch = TRAIN.batch(torch.tensor([user]))
        alone = fed(graph, batch, batch)[f"scores.{NAMES.index(name)}"]
        near(alone, models[name].score(batch).numpy())
        near(alone, answers[f"scores.{NAMES.index(name)}"][[user]])


@every
@pytest.mark.slow
def test_histories_of_any_length_and_items_that_come_twice_count_as_in_the_model(name, models, graph):
    """Strangers' where the model serves them; who is known by place in training keeps that place."""
    model = models[name]
    for own in (histories(), *([each] for each in histories()[-7:]), *([each] for each in histories()[:3])):
        batch = requests(own, None if model.inductive else list(range(len(own))))
        near(fed(graph, batch)[f"scores.{NAMES.index(name)}"], model.score(batch).numpy())


@every
@pytest.mark.slow
def test_an_empty_history_is_scored_as_by_the_model(name, models, graph):
    """Beside others and alone."""
    model = models[name]
    for own in ([[], [3, 5], []], [[]]):
        batch = requests(own, None if model.inductive or not model.personal else list(range(len(own))))
        near(fed(graph, batch)[f"scores.{NAMES.index(name)}"], model.score(batch).numpy())


@every
@pytest.mark.slow
def test_lists_are_the_best_of_the_scores_without_what_was_seen_and_equals_by_ties(name, answers):
    """By a plain sort of what the graph itself says, so that no rounding decides."""
    place = NAMES.index(name)
    scores, ties, seen = answers[f"scores.{place}"], HOLDOUT.ties.numpy(), known()
    for row in range(ALL_OF_THEM):
        hidden = set(seen.items[seen.offsets[row] : seen.offsets[row + 1]].tolist())
        order = [item for item in np.lexsort((ties, -scores[row])).tolist() if item not in hidden]
        order = [item for item in order if FLOORS[place] is None or scores[row, item] > FLOORS[place]][:DEPTH]
        found = answers[f"items.{place}"][row]
        assert found.tolist() == order + [NOTHING] * (DEPTH - len(order))
        np.testing.assert_array_equal(answers[f"best.{place}"][row, : len(order)], scores[row, order])
        assert np.isneginf(answers[f"best.{place}"][row, len(order) :]).all()


@every
@pytest.mark.slow
def test_lists_are_those_of_the_evaluation(name, models, answers):
    """Identical, but for items whose scores are equal as far as 32 bits can say."""
    place, model = NAMES.index(name), models[name]
    found, _ = rank(model, known(), known(), DEPTH, HOLDOUT.ties, FLOORS[place])
    scores = model.score(known()).gather(1, found.clamp(min=0))
    pairs = [(items[items >= 0].numpy(), own[items >= 0].double().numpy()) for items, own in zip(found, scores, strict=True)]
    own = [
        (items[items >= 0], best[items >= 0].astype(np.float64))
        for items, best in zip(answers[f"items.{place}"], answers[f"best.{place}"], strict=True)
    ]
    parity = compared(pairs, own)
    assert parity.holds, parity.text
    if name != "user_knn":  # many people are equally like somebody, and their votes are added up in another order
        assert parity.identical >= 0.9 * parity.requests, parity.text
    if name in ("popularity", "recent_popularity"):
        assert parity.identical == parity.requests


@pytest.mark.slow
def test_who_has_seen_everything_gets_nothing_and_who_has_seen_all_but_one_that_one(graph):
    everything = list(range(TRAIN.n_items))
    seen = requests([everything, everything[:-1], everything[1:] * 2, []])
    found = fed(graph, requests([[1, 2]] * 4, [0, 1, 2, 3]), seen)
    for place in range(len(NAMES)):
        items = found[f"items.{place}"]
        assert (items[0] == NOTHING).all()
        assert set(items[1].tolist()) <= {TRAIN.n_items - 1, NOTHING}
        assert set(items[2].tolist()) <= {0, NOTHING}
        if FLOORS[place] is None:
            assert items[1, 0] == TRAIN.n_items - 1
            assert (items[3] != NOTHING).all()


@pytest.mark.slow
def test_what_a_stranger_had_is_all_that_counts(graph, models):
    """The code of who asks says nothing to a model that serves strangers."""
    own = histories()
    stranger, somebody = (fed(graph, requests(own, users)) for users in (None, [5] * len(own)))
    for place, name in enumerate(NAMES):
        if models[name].inductive:
            np.testing.assert_array_equal(stranger[f"scores.{place}"], somebody[f"scores.{place}"], err_msg=name)


@pytest.mark.slow
def test_the_file_is_whole_and_says_nothing_of_this_machine(path):
    content = path.read_bytes()
    assert external_tensors(content) == []
    for told in (b"/work", b"site-packages", b"/root", b"/home", b"/tmp", b".py"):
        assert told not in content


@pytest.mark.slow
def test_models_with_vectors_are_graphs_of_vectors(models):
    with_vectors = {name for name, model in models.items() if isinstance(graph_of(model), Vectors)}
    assert {"ials", "mf", "sasrec", "two_tower"} == with_vectors


def test_every_model_of_ours_is_exported_or_says_why_not():
    assert set(NAMES) | set(NO_GRAPH) == set(MODELS)
    assert set(NO_GRAPH) == {"random"}


def test_random_is_refused_with_its_reason():
    with pytest.raises(NotApplicable, match=NO_GRAPH["random"]) as error:
        graph_of(create("random").fit(TRAIN))
    assert "\n" not in str(error.value)


def test_a_model_of_somebody_else_is_refused_with_what_to_do():
    class Own:
        title = "Own"

    with pytest.raises(NotApplicable, match=r"^Own cannot be exported: it is not one of ours; write a graph for it"):
        graph_of(Own())


QUICK_ONES = ("BPR", "MultiVAE")


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in QUICK_ONES else pytest.mark.slow) for name in SUPPORTED])
def test_a_supported_model_of_recboles_is_scored_as_by_the_model(name, tmp_path):
    model = trained(f"recbole:{name}")
    graph = written(tmp_path / "retriever.onnx", [model])
    assert external_tensors((tmp_path / "retriever.onnx").read_bytes()) == []
    near(fed(graph, known())["scores.0"], model.score(known()).numpy())
    one = TRAIN.batch(torch.tensor([4]))
    near(fed(graph, one)["scores.0"], model.score(one).numpy())
    if model.inductive:
        for own in (histories(), [[3]], [[4, 9, 4]]):
            near(fed(graph, requests(own))["scores.0"], model.score(requests(own)).numpy())
