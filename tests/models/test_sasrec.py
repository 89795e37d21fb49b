"""SASRec sees the past and nothing else, learns what follows what, and serves sessions of nobody it knows."""

import math

import pytest
import torch

from workbench.data import UserBatch
from workbench.errors import RequestError
from workbench.evaluation import evaluate
from workbench.models import create
from workbench.models.sasrec import SCORED
from workbench.testing import interactions, latent_log
from workbench.testing.synthetic import holdout
from workbench.training import Engine

CPU = Engine(device="cpu", threads=1)
N_ITEMS = 12


def session(*histories: list[int], n_items: int = N_ITEMS) -> UserBatch:
    """Requests of people whom no snapshot knows."""
    offsets = torch.tensor([0, *(len(history) for history in histories)]).cumsum(0)
    items = torch.tensor([item for history in histories for item in history], dtype=torch.int64)
    users = torch.full((len(histories),), -1)
    return UserBatch(users=users, items=items, timestamps=torch.arange(len(items)), offsets=offsets, n_items=n_items)


def cycle(n_users: int = 60, each: int = 8):
    """Item i is followed by i + 1, and the last by the first; the next one is to be found, which nobody has in the history."""
    starts = [5 * user % N_ITEMS for user in range(n_users)]
    known = interactions([(u, (s + n) % N_ITEMS) for u, s in enumerate(starts) for n in range(each)], n_users, N_ITEMS)
    return known, holdout(known, interactions([(u, (s + each) % N_ITEMS) for u, s in enumerate(starts)], n_users, N_ITEMS))


SMALL = {"dimensions": 16, "length": 8, "batch_size": 16, "learning_rate": 0.01}
LOSSES = [
    {"loss": "softmax"},
    {"loss": "sampled_softmax", "negatives": 8},
    {"loss": "sampled_softmax", "negatives": 8, "drawn_by": "popularity"},
    {"loss": "gbce", "negatives": 4},
]


@pytest.fixture(scope="module")
def trained():
    return create("sasrec", epochs=20, **SMALL).fit(cycle()[0], None, CPU)


@pytest.mark.parametrize("settings", LOSSES, ids=lambda settings: "-".join(str(value) for value in settings.values()))
def test_every_loss_learns_what_follows_what(settings):
    """Popularity knows nothing here: each item is had as often as any other."""
    train, truth = cycle()
    model = create("sasrec", epochs=45, **SMALL, **settings).fit(train, None, CPU)
    assert evaluate(model, truth, ks=(1,)).mean("hit_rate@1") > 0.95
    guess = evaluate(create("popularity").fit(train), truth, ks=(1,)).mean("hit_rate@1")
    assert guess < 0.6  # one in four unseen items, by chance


def test_it_beats_popularity_where_taste_decides_and_is_no_oracle():
    train, truth = latent_log()
    model = create("sasrec", epochs=30, dimensions=32, learning_rate=0.005).fit(train, truth, CPU)
    popular = evaluate(create("popularity").fit(train), truth, ks=(10,)).mean("ndcg@10")
    assert popular * 1.1 < model.training.best < 0.9


def states_of(model, *histories):
    """The state after each event, float (people, longest, dimensions)."""
    lengths = torch.tensor([len(history) for history in histories])
    padded = torch.full((len(histories), int(lengths.max())), model.network.n_items)
    for row, history in enumerate(histories):
        padded[row, : len(history)] = torch.tensor(history)
    with torch.no_grad():
        return model.network.eval()(padded, lengths)


def test_a_later_event_changes_no_earlier_state(trained):
    first = states_of(trained, [1, 2, 3, 4, 5, 6])
    for place in range(6):
        changed = [1, 2, 3, 4, 5, 6]
        changed[place] = 11
        other = states_of(trained, changed)
        assert torch.equal(first[:, :place], other[:, :place])
        assert not torch.allclose(first[:, place:], other[:, place:], atol=1e-3)


def test_in_training_no_loss_reads_its_own_target(trained):
    """The slope of the loss at a position by the embeddings of later inputs is nothing."""
    network = trained.network.eval()
    inputs = torch.tensor([[1, 2, 3, 4]])
    network.zero_grad()
    states = network(inputs, torch.tensor([4]))
    states[0, 1].sum().backward()
    reached = network.items.weight.grad.abs().sum(1) > 0
    network.zero_grad(set_to_none=True)
    assert torch.nonzero(reached)[:, 0].tolist() == [1, 2]


def test_padding_and_company_do_not_matter(trained):
    """The same person alone, beside longer ones, and among more than are encoded at once."""
    people = [[3], [1, 2, 3, 4, 5], [7, 8], [], [11, 0, 1, 2, 3, 4, 5, 6]]
    together = trained.score(session(*people))
    for row, person in enumerate(people):
        assert torch.allclose(trained.score(session(person))[0], together[row], atol=1e-5)
    many = trained.score(session(*people * (SCORED // 2)))
    assert torch.allclose(many[: len(people)], together, atol=1e-5)
    assert torch.allclose(many[-len(people) :], together, atol=1e-5)


def test_who_did_nothing_has_no_state(trained):
    assert trained.score(session([], [1])).tolist()[0] == [0.0] * N_ITEMS
    assert trained.score(session([], [])).shape == (2, N_ITEMS)
    assert trained.score(session()).shape == (0, N_ITEMS)


def test_only_the_last_events_count(trained):
    """A history longer than the network looks back is its last part."""
    last = [4, 5, 6, 7, 8, 9, 10, 11]
    assert len(last) == trained.config.length
    assert torch.equal(trained.score(session([0, 0, 3, *last])), trained.score(session(last)))


def test_positions_count_from_the_latest_event_back(trained):
    """Moving the latest event's position moves every length's last state; the second's only those that have a second event."""
    before = trained.score(session([5], [4, 5], [3, 4, 5]))
    weight = trained.network.positions.weight.data
    kept = weight.clone()
    weight[0] += 1 * torch.linspace(-1, 1, weight.shape[1])
    moved = trained.score(session([5], [4, 5], [3, 4, 5]))
    weight.copy_(kept)
    weight[1] += 1 * torch.linspace(-1, 1, weight.shape[1])
    second = trained.score(session([5], [4, 5], [3, 4, 5]))
    weight.copy_(kept)
    assert not any(torch.allclose(a, b, atol=1e-4) for a, b in zip(before, moved, strict=True))
    assert [torch.allclose(a, b, atol=1e-4) for a, b in zip(before, second, strict=True)] == [True, False, False]


def test_a_session_of_nobody_is_served(trained):
    """A line of items that nobody had from its start on: what follows the last one comes first."""
    best = trained.score(session([2, 3, 4], [9, 10, 11], [6])).argmax(1)
    assert best.tolist() == [5, 0, 7]


def test_what_stands_in_for_padding_is_never_scored_nor_read(trained):
    """It has a row of the table; whatever is there, scores are the same."""
    people = session([1], [2, 3, 4])
    before, row = trained.score(people), trained.network.items.weight.data[-1]
    kept = row.clone()
    row.fill_(1e3)
    after = trained.score(people)
    row.copy_(kept)
    assert before.shape == (2, N_ITEMS)
    assert torch.equal(after, before)


def test_padding_is_never_taught():
    """People of 2 and of 6 events in one batch: without a gradient Adam leaves the row where it began, whatever the rate."""
    log = interactions([(0, 0), (0, 1), *((1, item) for item in range(6))], 2, N_ITEMS)
    rows = [
        create("sasrec", epochs=3, **{**SMALL, "learning_rate": rate}).fit(log, None, CPU).network.items.weight[-1] for rate in (0.1, 1e-9)
    ]
    assert torch.allclose(*rows, atol=1e-7)


def test_untrained_it_guesses_evenly():
    """The first loss is that of a guess among all items, log 12: nothing is scaled wrongly at the start."""
    model = create("sasrec", epochs=1, **{**SMALL, "learning_rate": 1e-9}, dropout=0.0).fit(cycle()[0], None, CPU)
    assert model.training.curve[0].loss == pytest.approx(math.log(N_ITEMS), rel=0.05)


def test_heads_divide_the_width():
    with pytest.raises(RequestError, match="dimensions = 10 should be a multiple of heads = 4"):
        create("sasrec", dimensions=10, heads=4)


def test_people_of_one_event_each_teach_nothing():
    with pytest.raises(RequestError, match="needs somebody with two events"):
        create("sasrec").fit(interactions([(0, 1), (1, 2)], 2, 3))


def test_a_person_of_one_event_does_not_disturb(trained):
    train, _ = cycle()
    more = interactions([*zip(train.users.tolist(), train.items.tolist(), strict=True), (60, 3)], 62, N_ITEMS)
    model = create("sasrec", epochs=20, **SMALL).fit(more, None, CPU)
    assert torch.equal(model.network.items.weight, trained.network.items.weight)


def test_nearly_all_dropped_still_trains():
    model = create("sasrec", epochs=1, **SMALL, dropout=0.999).fit(cycle()[0], None, CPU)
    assert all(weight.isfinite().all() for weight in model.network.parameters())


@pytest.mark.parametrize(
    "settings", [{"loss": "gbce", "negatives": 256}, {"loss": "softmax"}, {"loss": "sampled_softmax", "negatives": 256}], ids=str
)
def test_two_threads_add_up_in_one_order(settings):
    """So many numbers that torch shares them out."""
    train, _ = latent_log(n_users=60)
    first, second = (create("sasrec", epochs=2, **settings).fit(train, None, Engine(device="cpu", threads=2)) for _ in range(2))
    assert torch.equal(first.network.items.weight, second.network.items.weight)
