"""Two towers serve strangers by their history and items that nobody had by their features, and see the past and nothing else."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Generator
from torch.nn.functional import normalize

from workbench.data import Interactions, Side, UserBatch
from workbench.errors import RequestError
from workbench.evaluation import evaluate
from workbench.models import create, two_tower
from workbench.models.two_tower import TwoTower, _Retrieve, _Towers
from workbench.retrieval import ItemVectors, Requests, VectorIndex
from workbench.testing import interactions, latent_log
from workbench.training import Engine

CPU = Engine(device="cpu", threads=1)
FAST = {"dimensions": 16, "length": 8, "negatives": 16, "batch_size": 64, "learning_rate": 0.01}
N_USERS, N_ITEMS, N_UNTRAINED = 44, 30, 6
GROUP = torch.arange(N_ITEMS) % 2
"""Of items. A person u, of group u % 2, has items of the same group alone; the last items nobody has, the last four people nothing."""
ONE_HOT = torch.eye(2)[GROUP]
PEOPLE = torch.eye(2)[torch.arange(N_USERS) % 2]


def two_groups(seed: int = 0) -> Interactions:
    generator, rows = Generator().manual_seed(seed), []
    for user in range(N_USERS - 4):
        own = torch.arange(user % 2, N_ITEMS - N_UNTRAINED, 2)
        rows += [(user, int(item)) for item in own[torch.randperm(len(own), generator=generator)][:8]]
    return interactions(rows, N_USERS, N_ITEMS)


def trained(side: Side | None = None, engine: Engine = CPU, **settings) -> TwoTower:
    return create("two_tower", **{**FAST, "epochs": 15, **settings}).fit(two_groups(), None, engine, side)


@pytest.fixture(scope="module")
def featured():
    return trained(Side(items=ONE_HOT))


@pytest.fixture(scope="module")
def featureless():
    return trained()


@pytest.fixture(scope="module")
def all_tables():
    texts = torch.randn(N_ITEMS, 5, generator=Generator().manual_seed(0))
    return trained(Side(users=PEOPLE, items=ONE_HOT, texts=texts), epochs=8)


def everyone(log: Interactions) -> UserBatch:
    return log.batch(torch.arange(log.n_users))


def empty(*users: int) -> UserBatch:
    """Requests of people of whom no event is known."""
    nothing, offsets = torch.zeros(0, dtype=torch.int64), torch.zeros(len(users) + 1, dtype=torch.int64)
    people = torch.tensor(users, dtype=torch.int64)
    return UserBatch(users=people, items=nothing, timestamps=nothing, offsets=offsets, n_items=N_ITEMS)


def test_it_beats_popularity_where_taste_decides_and_is_no_oracle():
    train, truth = latent_log()
    model = create("two_tower", epochs=10, dimensions=16, length=20, temperature=0.2, batch_size=256, learning_rate=0.01)
    best = model.fit(train, truth, CPU).training.best
    popular = evaluate(create("popularity").fit(train), truth, ks=(10,)).mean("ndcg@10")
    assert popular * 1.2 < best < 0.6


def test_training_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    trained(Side(items=ONE_HOT), epochs=1)
    assert torch.equal(torch.get_rng_state(), before)


# What is served


def test_without_features_of_people_a_history_is_all_that_counts(featured):
    known = everyone(two_groups())
    stranger = replace(known, users=torch.full_like(known.users, -1))
    assert torch.equal(featured.score(stranger), featured.score(known))


@pytest.mark.parametrize("table", ["items", "texts"])
def test_items_that_nobody_had_are_ranked_by_their_features(table):
    """For every person each untrained item of their group stands above each of the other group."""
    noise = 0.3 * torch.randn(N_ITEMS, 3, generator=Generator().manual_seed(1))
    model = trained(Side(**{table: torch.cat([ONE_HOT, noise], 1)}))
    log = two_groups()
    untrained = torch.arange(N_ITEMS - N_UNTRAINED, N_ITEMS)
    assert log.events_per_item[untrained].sum() == 0
    people = torch.arange(N_USERS - 4)
    scores = model.score(log.batch(people))[:, untrained]
    own = GROUP[untrained] == people[:, None] % 2
    assert scores.masked_fill(~own, math.inf).amin(1).gt(scores.masked_fill(own, -math.inf).amax(1)).all()


def test_without_features_an_item_that_nobody_had_has_no_vector_of_its_own(featureless):
    """All of them are one and the same item, whatever their rows started as."""
    log = two_groups()
    assert torch.equal(featureless.network.met[:, 0], log.events_per_item > 0)
    scores = featureless.score(log.batch(torch.arange(5)))
    assert scores.isfinite().all()
    untrained = scores[:, -N_UNTRAINED:]
    assert torch.equal(untrained, untrained[:, :1].expand_as(untrained))
    kept = featureless.network.own.weight.data[-1].clone()
    featureless.network.own.weight.data[-1] = 1e3
    after = featureless.score(log.batch(torch.arange(5)))
    featureless.network.own.weight.data[-1] = kept
    assert torch.equal(after, scores)


def test_of_whom_nothing_is_known_scores_are_finite(featured, featureless):
    for model in (featured, featureless):
        scores = model.score(empty(0, -1, 43))
        assert scores.isfinite().all()
        assert torch.equal(scores, scores[:1].expand_as(scores)), "they are all alike"
        assert model.score(empty()).shape == (0, N_ITEMS)


def test_features_of_people_count_and_only_for_known_codes():
    """Who has no event gets items of their group by their own features; a stranger with the same history, none."""
    model = trained(Side(users=PEOPLE))
    scores = model.score(empty(40, 41, 42, 43, -1))
    met = model.network.met[:, 0]
    means = torch.stack([scores[:, met & (group == GROUP)].mean(1) for group in (0, 1)], 1)
    assert means[:4].argmax(1).tolist() == [0, 1, 0, 1]
    assert torch.equal(scores[0], scores[2]), "alike in features and history"
    assert not torch.allclose(scores[4], scores[0], atol=0.1)
    model.network.side("users").zero_()
    assert torch.allclose(model.score(empty(40, -1)), scores[4].expand(2, -1), atol=1e-5)


def test_only_the_last_events_count(featured):
    last = torch.tensor([1, 3, 5, 7, 9, 11, 13, 15])
    assert len(last) == featured.config.length
    longer = torch.cat([torch.tensor([0, 2, 4]), last])
    vectors = []
    for history in (last, longer):
        log = interactions([(0, int(item)) for item in history], 1, N_ITEMS)
        vectors.append(featured.person_vectors(log.batch(torch.tensor([0]))))
    assert torch.equal(*vectors)


def test_vectors_have_length_1_and_make_the_scores(all_tables):
    batch = everyone(two_groups())
    people, items = all_tables.person_vectors(batch), all_tables.item_vectors()
    assert people.shape == (N_USERS, 16)
    assert items.shape == (N_ITEMS, 16)
    for vectors in (people, items):
        assert torch.allclose(vectors.norm(dim=1), torch.ones(len(vectors)), atol=1e-5)
    assert torch.allclose(all_tables.score(batch), people @ items.T / all_tables.config.temperature, atol=1e-5)


# Items beside items, and new ones


def test_the_item_tower_runs_once_for_many_batches_and_again_after_more_training(monkeypatch):
    model, calls = trained(epochs=1), []
    tower = _Towers.items
    monkeypatch.setattr(_Towers, "items", lambda network, *given: calls.append(1) or tower(network, *given))
    batch = everyone(two_groups())
    first = [model.score(batch) for _ in range(3)]
    assert len(calls) == 1
    assert torch.equal(first[0], first[2])
    model.network.train()
    with torch.no_grad():
        model.network.own.weight.neg_()
    assert not torch.allclose(model.score(batch), first[0])
    assert len(calls) == 2


def test_items_nearest_to_one_by_their_vectors_are_of_its_group(featured):
    items = torch.arange(N_ITEMS)
    asked = interactions([(user, item) for user, item in enumerate(items.tolist())], N_ITEMS, N_ITEMS).batch(items)  # each by its own item
    index = VectorIndex.build(featured.item_vectors())
    requests = Requests(asked=asked, seen=asked, trained=torch.zeros(N_ITEMS, dtype=torch.bool))
    related = ItemVectors("neighbours", featured.item_vectors(), index).candidates(requests, 5)
    assert (related != items[:, None]).all()
    assert (GROUP[related] == GROUP[:, None]).all()


def test_a_new_item_is_where_a_catalogues_untrained_one_of_its_features_is(all_tables):
    network, untrained = all_tables.network, slice(N_ITEMS - N_UNTRAINED, N_ITEMS)
    same = Side(items=network.side("items")[untrained], texts=network.side("texts")[untrained])
    catalogue = all_tables.item_vectors()
    assert torch.allclose(all_tables.new_item_vectors(same), catalogue[untrained], atol=1e-6)
    exact = Side(items=same.items.double(), texts=same.texts.double())
    assert torch.allclose(all_tables.new_item_vectors(exact), catalogue[untrained], atol=1e-6), "whatever type the numbers have"
    met = Side(items=network.side("items")[:1], texts=network.side("texts")[:1])
    assert not torch.allclose(all_tables.new_item_vectors(met), catalogue[:1], atol=1e-3), "it lacks the vector of its own"


@pytest.mark.parametrize(
    ("tables", "line"),
    [
        ({}, r"widths {'items': 2, 'texts': 5}, not {}\."),
        ({"users": torch.ones(3, 2)}, r"not {}\."),
        ({"items": torch.ones(3, 2)}, r"not {'items': 2}\."),
        ({"items": torch.ones(3, 3), "texts": torch.ones(3, 5)}, r"not {'items': 3, 'texts': 5}\."),
        ({"items": torch.ones(3, 2), "texts": torch.ones(2, 5)}, r"a row for each in every table, not {'items': 3, 'texts': 2}\."),
    ],
)
def test_new_items_of_other_features_are_refused(all_tables, tables, line):
    with pytest.raises(RequestError, match=line):
        all_tables.new_item_vectors(Side(**tables))


def test_without_features_there_are_no_new_items(featureless):
    with pytest.raises(RequestError, match=r"widths {}, not {'items': 2}"):
        featureless.new_item_vectors(Side(items=ONE_HOT))


def test_a_loaded_model_has_its_features_and_scores(all_tables, tmp_path):
    all_tables.save(tmp_path)
    loaded = TwoTower.load(tmp_path)
    batch = everyone(two_groups())
    assert torch.equal(loaded.score(batch), all_tables.score(batch))
    for name in ("users", "items", "texts"):
        assert torch.equal(loaded.network.side(name), all_tables.network.side(name))
    new = Side(items=torch.ones(2, 2), texts=torch.ones(2, 5))
    assert torch.equal(loaded.new_item_vectors(new), all_tables.new_item_vectors(new))


def test_a_checkpoint_holds_no_features(tmp_path):
    """Data, and with vectors of texts most of the bytes by far."""
    trained(
        Side(items=ONE_HOT, texts=torch.randn(N_ITEMS, 5000)), epochs=1, dimensions=4, engine=Engine(device="cpu", checkpoints=tmp_path)
    )
    state = torch.load(tmp_path / "epoch-00001.ckpt", weights_only=True)
    assert not any(tensor.numel() == N_ITEMS * 5000 for tensor in state["state_dict"].values())
    (file,) = tmp_path.glob("*.ckpt")
    learnt = 5000 * 4 * 4  # bytes of the projection of the texts; Adam has two numbers for each weight
    assert file.stat().st_size < 4 * learnt + 2**16 < N_ITEMS * 5000 * 4


# Features that do not fit


@pytest.mark.parametrize(
    ("tables", "line"),
    [
        ({"users": torch.ones(3, 2)}, r"features of users have shape \(3, 2\); the log needs 44 rows\."),
        ({"items": torch.ones(44, 2)}, r"features of items have shape \(44, 2\); the log needs 30 rows\."),
        ({"items": ONE_HOT, "texts": torch.ones(29, 2)}, r"features of texts have shape \(29, 2\); the log needs 30 rows\."),
    ],
)
def test_features_need_a_row_for_each(tables, line):
    with pytest.raises(RequestError, match=line):
        create("two_tower").fit(two_groups(), None, CPU, Side(**tables))


def test_people_of_one_event_each_teach_nothing():
    with pytest.raises(RequestError, match="needs somebody with two events"):
        create("two_tower").fit(interactions([(0, 1), (1, 2)], 2, 3))


# How it learns


@pytest.mark.parametrize(("tables", "hidden"), [({}, 0.0), ({"items": ONE_HOT}, 0.75), ({"texts": ONE_HOT}, 0.75)])
def test_an_items_own_vector_is_hidden_only_where_there_are_features(tables, hidden):
    """And in training alone: the share of items that are where their features put them."""
    network = _Towers(N_ITEMS, tables, create("two_tower", dimensions=16, dropout=0.0, id_dropout=0.75).config)
    network.met.fill_(True)
    items = torch.arange(N_ITEMS).repeat(100)
    with torch.no_grad():
        shown = network.eval().items(items, Generator().manual_seed(0))
        drawn = network.train().items(items, Generator().manual_seed(0))
    same = torch.isclose(drawn, shown, atol=1e-6).all(1)
    assert (~same).double().mean() == pytest.approx(hidden, abs=4 * (0.75 * 0.25 / len(items)) ** 0.5)
    if tables:
        bare = network.item_tower_of(torch.zeros(len(items), 16), network.item_features(items))
        assert torch.allclose(drawn[~same], bare[~same], atol=1e-6)


def objective(log: Interactions, **settings) -> _Retrieve:
    config = create("two_tower", **{**FAST, "dropout": 0.0, "length": 3, **settings}).config
    network = _Towers(log.n_items, {}, config)
    network.met.copy_((log.events_per_item > 0)[:, None])
    return _Retrieve(network, log, config)


def histories(learnt: _Retrieve, monkeypatch) -> list[tuple[int, list[int]]]:
    """Of each example the event and what the person's tower is shown of the past."""
    asked = []

    def people(users, items, lengths, generator):
        asked.extend(row[:length].tolist() for row, length in zip(items, lengths.tolist(), strict=True))
        return torch.ones(len(users), learnt.config.dimensions)

    with monkeypatch.context() as patch:
        patch.setattr(learnt.network, "people", people)
        (events,) = learnt.draw(torch.arange(learnt.n_examples), Generator())
        learnt.loss(events, generator=Generator().manual_seed(0))
    return list(zip(events.tolist(), asked, strict=True))


LOG = interactions([(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 4), (2, 0), (4, 3), (4, 3), (4, 1)], 5, 6)


def test_an_example_is_an_event_with_those_before_it(monkeypatch):
    """The last three at most, oldest first; a person's first event is nobody's target."""
    assert histories(objective(LOG), monkeypatch) == [
        (1, [0]),
        (2, [0, 1]),
        (3, [0, 1, 2]),
        (4, [1, 2, 3]),
        (7, [4]),
        (9, [3]),
        (10, [3, 3]),
    ]


@pytest.mark.parametrize("event", range(len(LOG)))
def test_no_history_has_its_target_or_what_came_later(event, monkeypatch):
    """Item 5 in its place changes the histories of later events of that person, and no other."""
    items = LOG.items.clone()
    items[event] = 5
    before, after = (histories(objective(log), monkeypatch) for log in (LOG, replace(LOG, items=items)))
    changed = [place for (place, one), (_, other) in zip(before, after, strict=True) if one != other]
    later = [place for place, _ in before if event < place <= event + 3 and LOG.users[place] == LOG.users[event]]
    assert changed == later


def test_what_fills_a_short_history_is_not_learnt_from():
    """The slope of people's vectors by the items' own: those of their histories alone, not of the targets that stand in for padding."""
    learnt = objective(LOG)
    lengths = torch.tensor([1, 2])
    vectors = learnt.network.people(torch.tensor([0, 0]), torch.tensor([[0, 4, 4], [0, 1, 5]]), lengths, None)
    vectors[:, 0].sum().backward()
    reached = learnt.network.own.weight.grad.abs().sum(1) > 0
    assert torch.nonzero(reached)[:, 0].tolist() == [0, 1]
    assert learnt.network.recency.grad[2] == 0
    assert learnt.network.recency.grad[:2].abs().gt(0).all()


def test_weights_of_a_history_sum_to_one_and_are_nothing_beyond_it(monkeypatch):
    """The latest event's first: with log weights 0, log 2 and log 4 a history of two weighs (2, 1) / 3 and one of three (4, 2, 1) / 7."""
    learnt, seen = objective(LOG), []
    learnt.network.recency.data = torch.tensor([0.0, math.log(2), math.log(4)])

    def bag(table, items, weights):
        seen.append(weights)
        return torch.zeros(len(items), table.shape[1])

    monkeypatch.setattr(two_tower, "_bag", bag)
    learnt.network.people(torch.zeros(4, dtype=torch.int64), torch.zeros(4, 3, dtype=torch.int64), torch.tensor([0, 1, 2, 3]), None)
    expected = [[0, 0, 0], [1, 0, 0], [2 / 3, 1 / 3, 0], [4 / 7, 2 / 7, 1 / 7]]
    assert torch.allclose(seen[0], torch.tensor(expected))


def test_the_correction_is_the_log_of_how_often_an_item_is_expected(monkeypatch):
    """Of B examples and N uniform draws: B (events + 1) / Σ (events + 1) + N / items. With 11 events of 6 items the sum is 17."""
    learnt, seen = objective(LOG, negatives=40), []

    def spy(states, vectors, items, log_q):
        seen.append((states, vectors, items, log_q))
        return states.sum()

    monkeypatch.setattr(two_tower, "in_batch_softmax_loss", spy)
    events = learnt.events[[0, 3, 6]]
    _, count = learnt.loss(events, generator=Generator().manual_seed(0))
    ((states, vectors, items, log_q),) = seen
    assert count == 3
    assert items[:3].tolist() == [1, 4, 1]
    counts = torch.tensor([2, 2, 2, 3, 2, 0])
    assert torch.equal(counts, LOG.events_per_item)
    expected = 3 * (counts + 1) / 17 + 40 / 6
    assert expected.sum().item() == pytest.approx(3 + 40)
    assert torch.allclose(log_q, expected.log()[items], atol=1e-6)
    assert set(items[3:].tolist()) == set(range(6)), "the tail too, and what nobody had"
    assert torch.allclose(states * learnt.config.temperature, normalize(states), atol=1e-6)
    assert torch.allclose(vectors, learnt.network.items(items, None), atol=1e-6)
