"""Sessions by hand: where they end, how like they are, how they vote."""

from dataclasses import replace
from math import sqrt

import pytest
import torch

from workbench.data.interactions import MINUTE
from workbench.models import create, session_knn
from workbench.models.session_knn import SessionKnn
from workbench.models.sparse import sparse
from workbench.testing import interactions, latent_log

N_ITEMS = 6


def timed(rows, n_users=4):
    """Events (user, item, minute), those of a person in order of time."""
    rows = sorted(rows, key=lambda row: (row[0], row[2]))
    log = interactions([row[:2] for row in rows], n_users, N_ITEMS)
    return replace(log, timestamps=torch.tensor([round(row[2] * MINUTE) for row in rows], dtype=torch.int64))


def scores(model, *histories):
    pairs = [(user, item) for user, items in enumerate(histories) for item in items]
    return model.score(interactions(pairs, len(histories), N_ITEMS).batch(torch.arange(len(histories))))


THREE = [(0, 0, 0), (0, 1, 5), (0, 2, 100), (0, 3, 110), (0, 1, 120), (0, 2, 125), (1, 0, 50), (1, 4, 60)]
"""Three sessions, by their ends: {0, 1}, {0, 4}, {1, 2, 3} with item 2 twice."""


def test_a_session_ends_with_the_gap_and_with_the_person():
    log = timed([(0, 0, 0), (0, 1, 29), (0, 2, 59), (0, 3, 70), (2, 4, 71), (2, 5, 71)])
    assert log.sessions(30).tolist() == [0, 0, 1, 1, 2, 2]
    assert log.sessions(31).tolist() == [0, 0, 0, 0, 1, 1]
    assert log.sessions(1).tolist() == [0, 1, 2, 3, 4, 4]
    assert interactions([], 3, 3).sessions(30).tolist() == []


def test_the_gap_is_exact_to_the_microsecond():
    for gap in (30, 7 * 24 * 60):
        times = torch.tensor([0, gap * MINUTE - 1, 2 * gap * MINUTE - 1])
        assert replace(interactions([(0, 0), (0, 1), (0, 2)], 1, 3), timestamps=times).sessions(float(gap)).tolist() == [0, 0, 1]


def test_without_times_everybody_has_one_session():
    log = interactions([(0, 0), (0, 1), (2, 1), (2, 3)], 4, N_ITEMS)
    assert replace(log, timestamps=torch.zeros_like(log.timestamps)).sessions(30.0).tolist() == [0, 0, 1, 1]


def test_training_keeps_what_each_session_has_the_earliest_first():
    model = create("session_knn").fit(timed(THREE))
    assert model.sessions.to_dense().tolist() == [[1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 1, 0], [0, 1, 1, 1, 0, 0]]


def test_sessions_vote_with_the_weights_they_share_over_the_root_of_their_length():
    model = create("session_knn", length=4).fit(timed(THREE))
    found = scores(model, [1], [0, 1], [5, 0, 5, 1], [2, 0], [5], [])
    first, third = 1 / sqrt(2), 1 / sqrt(3)
    assert found[0].tolist() == pytest.approx([first, first + third, third, third, 0, 0])
    first, second = (1 + 3 / 4) / sqrt(2), (3 / 4) / sqrt(2)  # of item 1, the latest, and of item 0
    assert found[1].tolist() == pytest.approx([first + second, first + third, third, third, second, 0])
    first, second = (1 + 2 / 4) / sqrt(2), (2 / 4) / sqrt(2)
    assert found[2].tolist() == pytest.approx([first + second, first + third, third, third, second, 0])
    first, second, third = 1 / sqrt(2), 1 / sqrt(2), (3 / 4) / sqrt(3)
    assert found[3].tolist() == pytest.approx([first + second, first + third, third, third, second, 0])
    assert found[4:].eq(0).all()


def test_only_the_last_events_are_compared_and_of_an_item_that_is_there_twice_the_later():
    model = create("session_knn", length=2).fit(timed(THREE))
    assert torch.equal(scores(model, [0, 0, 2, 1]), scores(model, [2, 1]))
    four = create("session_knn", length=4).fit(timed(THREE))
    assert torch.equal(scores(four, [1, 5, 1]), scores(four, [5, 1]))


def test_only_the_likest_sessions_vote_and_of_equals_the_later_is_kept():
    """{0, 1} and {0, 4} are equally like; person 1's comes later, whatever the order of the people."""
    kept = create("session_knn", k=1).fit(timed(THREE))
    like = 1 / sqrt(2)
    assert scores(kept, [0])[0].tolist() == pytest.approx([like, 0, 0, 0, like, 0])
    turned = [(0, 0, 200), (0, 1, 205), *THREE[2:]]
    assert scores(create("session_knn", k=1).fit(timed(turned)), [0])[0].tolist() == pytest.approx([like, like, 0, 0, 0, 0])


def test_a_longer_gap_makes_one_session_of_two():
    model = create("session_knn", gap=1000.0).fit(timed(THREE))
    assert model.sessions.to_dense().tolist() == [[1, 0, 0, 0, 1, 0], [1, 1, 1, 1, 0, 0]]


def test_blocks_of_requests_make_no_difference(monkeypatch):
    train, _ = latent_log(n_users=40, n_items=30, events_each=10)
    model = create("session_knn", k=5).fit(train)
    batch = train.batch(torch.arange(40))
    whole = model.score(batch)
    for cells in (1, 3 * len(model.sessions)):
        monkeypatch.setattr(session_knn, "CELLS", cells)
        assert torch.equal(model.score(batch), whole)


def test_nobody_did_anything_and_so_nobody_is_like():
    nothing = interactions([], 3, N_ITEMS)
    model = create("session_knn").fit(nothing)
    assert model.sessions.shape == (0, N_ITEMS)
    assert scores(model, [0], []).tolist() == [[0.0] * N_ITEMS] * 2


def test_people_and_items_without_an_event_are_no_trouble_to_what_is_saved(tmp_path):
    """Person 0 and 3 did nothing, nobody had the last items."""
    model = create("session_knn", k=7, length=3).fit(timed([(1, 0, 0), (1, 1, 3), (2, 1, 0)]))
    model.save(tmp_path)
    loaded = SessionKnn.load(tmp_path)
    assert loaded.config == model.config
    assert loaded.sessions.shape == model.sessions.shape == (2, N_ITEMS)
    assert torch.equal(scores(loaded, [0], [1, 5], []), scores(model, [0], [1, 5], []))


@pytest.mark.parametrize("n_sessions", [0, 3])
def test_sessions_without_an_event_are_saved_and_give_no_votes(tmp_path, n_sessions):
    model = create("session_knn")
    indices = torch.tensor([[0, 0], [0, 1]])[:, : 2 * (n_sessions > 0)]
    model.sessions = sparse(indices, torch.ones(indices.shape[1]), (n_sessions, N_ITEMS))
    model.save(tmp_path)
    loaded = SessionKnn.load(tmp_path)
    assert loaded.sessions.shape == (n_sessions, N_ITEMS)
    like = 1 / sqrt(2) if n_sessions else 0
    assert scores(loaded, [0])[0].tolist() == pytest.approx([like, like, 0, 0, 0, 0])
