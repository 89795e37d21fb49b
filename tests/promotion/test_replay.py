"""Whether a champion learnt from what is judged now, and how a bundle of one snapshot is asked about another."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from workbench.evaluation.ranking import NOTHING
from workbench.promotion.replay import learnt_from_the_judged, replay, requests_of
from workbench.serving.requests import Answer
from workbench.testing import interactions
from workbench.testing.synthetic import holdout

OWN_TIME, ONE_MOMENT, RANDOM = {"own time"}, {"own time", "one moment"}, set()
USERS, ITEMS = ["u0", "u1", "u2"], ["i0", "i1", "i2", "i3", "i4"]
JUDGED = [("u0", "i3", 100), ("u0", "i4", 110), ("u1", "i3", 200)]
"""u2 is not judged."""


def log(rows, users=USERS, items=ITEMS):
    """Events (user, item, time), by person."""
    rows = sorted(rows, key=lambda row: users.index(row[0]))
    made = interactions([(users.index(user), items.index(item)) for user, item, _ in rows], len(users), len(items))
    return replace(made, timestamps=torch.tensor([time for *_, time in rows], dtype=torch.int64))


@pytest.fixture
def bundle(tmp_path):
    """`bundle(learnt, others)`: one whose models learnt from the first and know of the others."""

    def write(learnt, others=(), users=USERS, items=ITEMS):
        rows = [*((*row, True) for row in learnt), *((*row, False) for row in others)]
        columns = {
            "user_code": np.array([users.index(user) for user, *_ in rows], np.int64),
            "item_code": np.array([items.index(item) for _, item, *_ in rows], np.int64),
            "timestamp": np.array([time for _, _, time, _ in rows], np.int64),
            "liked": np.ones(len(rows), bool),
            "learnt": np.array([learnt for *_, learnt in rows], bool),
        }
        pq.write_table(pa.table(columns), tmp_path / "histories.parquet")
        return SimpleNamespace(folder=tmp_path, user_ids=list(users), item_ids=list(items))

    return write


def found(made, promises, judged=JUDGED, users=USERS, items=ITEMS):
    data = SimpleNamespace(user_ids=users, item_ids=items, n_users=len(users), n_items=len(items))
    parts = SimpleNamespace(test=log(judged, users, items), rule=SimpleNamespace(promises=frozenset(promises)))
    return learnt_from_the_judged(made, data, parts)


ANY = pytest.mark.parametrize("promises", [OWN_TIME, ONE_MOMENT, RANDOM], ids=["own time", "one moment", "random"])


@ANY
def test_what_was_learnt_before_anybody_is_judged_counts_nowhere(bundle, promises):
    assert found(bundle([("u0", "i0", 10), ("u1", "i1", 20), ("u2", "i2", 99)]), promises) == 0


@ANY
def test_what_is_known_and_was_not_learnt_counts_nowhere(bundle, promises):
    assert found(bundle([("u0", "i0", 10)], others=[*JUDGED, ("u0", "i1", 500)]), promises) == 0


@ANY
def test_every_event_that_is_judged_counts_once(bundle, promises):
    assert found(bundle(JUDGED), promises) == 3
    assert found(bundle(JUDGED[1:]), promises) == 2
    assert found(bundle([]), promises) == 0


def test_at_random_the_judged_events_alone_count(bundle):
    """Not the same item at another time, nor another's."""
    learnt = [("u0", "i3", 100), ("u0", "i3", 101), ("u1", "i4", 110), ("u0", "i1", 9999), ("u2", "i0", 9999)]
    assert found(bundle(learnt), RANDOM) == 1


def test_by_own_time_what_came_after_a_persons_own_first_judged_event_counts(bundle):
    learnt = [
        ("u0", "i0", 99),  # before
        ("u0", "i1", 100),  # at that very moment: training may hold it, by the split's order among equal moments
        ("u0", "i2", 101),  # after
        ("u1", "i0", 199),  # before theirs, after u0's
        ("u1", "i1", 201),  # after
        ("u2", "i0", 9999),  # of nobody who is judged
    ]
    assert found(bundle(learnt), OWN_TIME) == 2


def test_by_one_moment_whatever_anybody_did_from_then_on_counts(bundle):
    learnt = [("u0", "i0", 99), ("u0", "i1", 100), ("u1", "i0", 150), ("u2", "i0", 9999), ("u2", "i1", 99)]
    assert found(bundle(learnt), ONE_MOMENT) == 3


@pytest.mark.parametrize(("promises", "count"), [(OWN_TIME, 2), (ONE_MOMENT, 3), (RANDOM, 1)])
def test_people_and_items_are_told_by_their_ids_not_by_their_codes(bundle, promises, count):
    """The bundle's codes are in another order, it knows a person and an item that the data set lost, and lacks some of it."""
    users, items = ["lost", "u1", "u0"], ["gone", "i3", "i0"]
    learnt = [
        ("u0", "i3", 100),  # judged
        ("u0", "gone", 105),  # after u0's first, of an item that is no more
        ("u1", "i0", 50),
        ("lost", "i3", 120),  # somebody else's, after the one moment
        ("lost", "i0", 20),
    ]
    assert found(bundle(learnt, users=users, items=items), promises) == count


@ANY
def test_nobody_and_nothing_in_common_is_nothing_learnt(bundle, promises):
    """Codes are the same, and the people and items behind them are not."""
    made = bundle([(f"x{place}", f"y{place}", 10 + place) for place in range(3)], users=["x0", "x1", "x2"], items=["y0", "y1", "y2"])
    assert found(made, promises) == 0


@ANY
def test_a_missing_id_is_not_taken_for_another_persons_event(bundle, promises):
    """A person who is lost has the code -1: -1 * 5 + 4 would be the key of nothing, -1 + 5 * 1 of u0's last item."""
    made = bundle([("u9", "i0", 99), ("u0", "i9", 99)], users=["u9", "u0"], items=["i0", "i9"])
    assert found(made, promises, judged=[("u0", "i4", 100), ("u1", "i4", 99)]) == (2 if promises == ONE_MOMENT else 0)


class Echo:
    """Answers with its first items that are not in the history, and keeps what it was asked."""

    def __init__(self, users, items, k=3, chances=None) -> None:
        self.user_ids, self.item_ids, self.k, self.moments, self.asked, self.chances = users, items, k, None, [], chances

    def answer(self, asked):
        self.asked += asked
        found = []
        for each in asked:
            items = np.array([code for code in range(len(self.item_ids)) if code not in each.seen][: self.k], np.int64)
            scores = 10.0 - items
            chances = None if self.chances is None else np.full(len(items), self.chances)
            found.append(Answer(items=items, scores=scores, served_by="", fallback=each.user < 0, chances=chances))
        return found


def judged_on(known, truth):
    judged = holdout(log(known), log(truth))
    data = SimpleNamespace(user_ids=USERS, item_ids=ITEMS, n_users=3, n_items=5)
    return data, judged


KNOWN = [("u0", "i0", 1), ("u0", "i1", 2), ("u1", "i2", 3), ("u2", "i2", 4)]


def test_requests_are_in_the_bundles_codes_without_what_it_does_not_have():
    data, judged = judged_on(KNOWN, JUDGED)
    bundle = Echo(["u1", "u9"], ["i1", "i9", "i0"])
    first, second = requests_of(bundle, data, judged, torch.tensor([70, 80]))
    told = first.user, first.history.tolist(), first.seen.tolist(), first.liked.tolist(), first.moment
    assert told == (-1, [2, 0], [2, 0, 1], [2, 0], 70), "i9 is gone, so it is as if it were seen"
    assert (second.user, second.history.tolist(), second.seen.tolist(), second.moment) == (0, [], [1], 80)


def test_requests_hide_nothing_where_repeats_are_wanted_and_tell_what_was_liked():
    data, judged = judged_on(KNOWN, JUDGED)
    history = replace(judged.history, grades=torch.tensor([0, 1, 1, 1], dtype=torch.int8))
    first, _ = requests_of(Echo(USERS, ITEMS), data, replace(judged, seen=None, history=history), torch.tensor([70, 80]))
    assert (first.history.tolist(), first.seen.tolist(), first.liked.tolist()) == ([0, 1], [], [1])


def replayed(bundle):
    data, judged = judged_on(KNOWN, JUDGED)
    rule = SimpleNamespace(promises=frozenset(OWN_TIME))
    parts = SimpleNamespace(holdout=lambda part: judged, rule=rule, test=log(JUDGED), valid=log(KNOWN), has_times=True)
    return replay(bundle, data, parts)


def test_lists_of_the_same_snapshot_are_what_the_bundle_answered():
    bundle = Echo(USERS, ITEMS, chances=0.25)
    told = replayed(bundle)
    assert told.items.tolist() == [[2, 3, 4], [0, 1, 3]]
    assert told.scores.tolist() == [[8, 7, 6], [10, 9, 7]]
    assert told.chances.tolist() == [[0.25] * 3] * 2
    assert told.served.tolist() == [True, True]
    assert len(told.seconds) == 2
    assert (told.seconds > 0).all()


def test_lists_of_another_snapshot_are_in_the_data_sets_codes_without_what_was_lost():
    told = replayed(Echo(["u1"], ["i4", "i9", "i3", "i2"], k=4))
    assert told.items.tolist() == [[4, 3, 2, NOTHING], [4, 3, NOTHING, NOTHING]]
    assert told.scores[0].tolist()[:3] == [10, 8, 7]
    assert told.scores[0, 3].isnan()
    assert told.chances.isnan().all()
    assert told.served.tolist() == [False, True]
