"""Who asks knowing what, and what they then liked: by hand on splits of a few events, and sessions against a loop."""

from collections import defaultdict
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluation.made import Scores
from workbench.data import Interactions
from workbench.data.holdout import sealed_part
from workbench.data.interactions import MINUTE
from workbench.data.ledger import Ledger, Looks
from workbench.data.rules import make_rule
from workbench.data.splits import Split
from workbench.errors import NotApplicable, RequestError
from workbench.evaluation import compare, evaluate
from workbench.evaluation.ranking import NOTHING
from workbench.models import create
from workbench.retrieval import TASKS, Requests, ScorerSource, home, next_in_session, related

N_ITEMS = 12


def made(rows, n_users=3, repeats=False, ledger=None):
    """A split of events (user, item, minute, part); what is not liked has a part that ends in "-"."""
    rows = sorted(rows, key=lambda row: (row[0], row[2]))
    parts = [row[3].removesuffix("-") for row in rows]
    log = Interactions(
        n_users=n_users,
        n_items=N_ITEMS,
        users=torch.tensor([row[0] for row in rows], dtype=torch.int64),
        items=torch.tensor([row[1] for row in rows], dtype=torch.int64),
        timestamps=torch.tensor([round(row[2] * MINUTE) for row in rows], dtype=torch.int64),
        values=torch.ones(len(rows), dtype=torch.float64),
        grades=torch.tensor([not row[3].endswith("-") for row in rows], dtype=torch.int8),
        order=torch.arange(len(rows)),
    )
    held = {
        name: log.select(torch.tensor([part == name for part in parts], dtype=torch.bool)) for name in ("train", "valid", "test", "known")
    }
    told = {"name": "made", "rule": make_rule("user_time", {}), "seed": 0, "snapshot_id": "made@0"}
    return Split(**told, repeats=repeats, ties=torch.arange(N_ITEMS), ledger=ledger, **held)


def asked(judged):
    """By person judged: what is known of them, what may not be shown, what is to be found."""

    def of(log, user):
        return None if log is None else log.items[log.users == user].tolist()

    return {user: tuple(of(log, user) for log in (judged.history, judged.seen, judged.truth)) for user in judged.users.tolist()}


FEED = [
    (0, 0, 0, "train"), (0, 1, 10, "train"), (0, 2, 20, "valid-"), (0, 3, 5000, "test"), (0, 4, 5010, "test-"), (0, 5, 5020, "test"),
    (1, 6, 0, "test"), (1, 7, 10, "test"),
    (2, 8, 0, "train"), (2, 9, 10, "test-"),
]  # fmt: skip


def test_a_feed_is_the_holdout_of_the_split():
    parts = made(FEED)
    for part in ("valid", "test"):
        ours, theirs = home(parts, part), parts.holdout(part)
        assert ours.label == theirs.label
        assert asked(ours) == asked(theirs)
        assert torch.equal(ours.trained, theirs.trained)


def test_related_knows_the_last_event_alone_and_leaves_out_that_item_alone():
    judged = related(made(FEED))
    assert asked(judged) == {0: ([2], [2], [3, 5])}  # the last event counts whether it was liked or not
    assert not judged.trained.any()
    assert judged.label.endswith("/test:related")


def test_related_leaves_out_who_looked_at_nothing_before_and_counts_them():
    judged = related(made(FEED))
    assert (judged.n_people, judged.n_without_truth) == (3, 2)  # one without an event before, one who liked nothing
    assert asked(related(made(FEED), "valid")) == {}
    assert related(made(FEED), "valid").n_people == 1


def test_related_on_validation_knows_of_training_only():
    parts = made([(0, 1, 0, "train"), (0, 2, 10, "train"), (0, 3, 20, "valid"), (0, 4, 30, "test")])
    assert asked(related(parts, "valid")) == {0: ([2], [2], [3])}
    assert asked(related(parts, "test")) == {0: ([3], [3], [4])}


def test_beside_an_item_the_others_that_the_person_had_may_be_shown():
    judged = related(made(FEED))
    scores = torch.zeros(3, N_ITEMS)
    scores[:, 0], scores[:, 2] = 1.0, 2.0
    found = ScorerSource("made", Scores(scores), judged.ties).candidates(Requests.of(judged, judged.users), N_ITEMS)
    assert found[0].tolist() == [0, 1, *range(3, 12), NOTHING]


def test_the_item_looked_at_is_no_answer_where_repeats_are_legitimate_either():
    parts = made([(0, 1, 0, "train"), (0, 1, 5000, "test"), (0, 2, 5010, "test")], repeats=True)
    assert asked(home(parts)) == {0: ([1], None, [1, 2])}
    judged = related(parts)
    assert asked(judged) == {0: ([1], [1], [2])}
    assert judged.n_masked_truth == 1


def session(*rows, **told):
    """What next_in_session makes of one person's events (item, minute, part)."""
    return asked(next_in_session(made([(0, *row) for row in rows], **told))).get(0)


def test_the_last_liked_event_of_a_session_is_asked_for_with_what_came_before_it():
    assert session((1, 0, "test"), (2, 10, "test"), (3, 20, "test"), (4, 30, "test-")) == ([1, 2], [1, 2], [3])


def test_an_event_before_it_need_not_be_liked():
    assert session((1, 0, "test-"), (2, 10, "test")) == ([1], [1], [2])


def test_only_the_session_is_known():
    assert session((0, 0, "train"), (1, 1000, "train"), (2, 5000, "test"), (3, 5010, "test")) == ([2], [2], [3])


def test_the_first_event_of_a_session_has_nothing_to_be_told_from():
    assert session((1, 0, "test"), (2, 10, "test"), (3, 1000, "test")) == ([1], [1], [2])  # so an earlier one is asked for
    assert session((1, 0, "test"), (2, 1000, "test")) is None


@pytest.mark.parametrize(
    ("minutes", "one"),
    [(30.0, False), (30 - 1 / MINUTE, True), (29.0, True), (31.0, False)],
    ids=["exactly the gap", "a microsecond less", "less", "more"],
)
def test_a_session_has_ended_when_the_gap_has_passed(minutes, one):
    assert session((1, 0, "test"), (2, minutes, "test")) == (([1], [1], [2]) if one else None)


def test_the_gap_is_between_events_and_can_be_chosen():
    rows = [(0, item, 20 * item, "test") for item in range(5)]  # longer than the gap together
    assert asked(next_in_session(made(rows))) == {0: ([0, 1, 2, 3], [0, 1, 2, 3], [4])}
    assert asked(next_in_session(made(rows), gap=20.0)) == {}


def test_a_session_may_have_begun_in_an_earlier_part():
    assert session((0, 0, "train"), (1, 10, "valid"), (2, 20, "test")) == ([0, 1], [0, 1], [2])
    parts = made([(0, 0, 0, "train"), (0, 1, 10, "valid"), (0, 2, 20, "test")])
    assert asked(next_in_session(parts, "valid")) == {0: ([0], [0], [1])}


def test_what_was_had_in_an_earlier_session_may_come_again():
    assert session((1, 0, "train"), (2, 5000, "test"), (1, 5010, "test")) == ([2], [2], [1])


def test_what_was_in_the_session_is_to_be_found_only_where_repeats_are_legitimate():
    rows = [(1, 0, "test"), (2, 10, "test"), (1, 20, "test")]
    assert session(*rows) == ([1], [1], [2])
    assert session(*rows, repeats=True) == ([1, 2], None, [1])


def test_people_without_a_session_are_left_out_and_counted():
    judged = next_in_session(made(FEED))
    assert asked(judged) == {0: ([3, 4], [3, 4], [5]), 1: ([6], [6], [7])}
    assert (judged.n_people, judged.n_without_truth) == (3, 1)
    assert not judged.trained.any()
    nobody = next_in_session(made([(0, 0, 0, "train")]))
    assert asked(nobody) == {}
    with pytest.raises(NotApplicable, match="nobody is left to judge on the test:session part"):
        evaluate(Scores(torch.zeros(3, N_ITEMS)), nobody, ks=(1,))


def test_a_split_of_nothing_has_no_session():
    assert asked(next_in_session(made([]))) == {}
    assert asked(related(made([]))) == {}


def next_by_a_loop(rows, repeats, gap=30):
    by_person = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row[0], row[2])):
        by_person[row[0]].append(row)
    found = {}
    for user, events in by_person.items():
        for place, (_, item, _, part) in enumerate(events):
            first = place
            while first and events[first][2] - events[first - 1][2] < gap:
                first -= 1
            before = [row[1] for row in events[first:place]]
            if part == "test" and before and (repeats or item not in before):
                found[user] = (before, None if repeats else before, [item])
    return found


@given(data=st.data(), repeats=st.booleans())
def test_sessions_are_those_of_a_loop(data, repeats):
    rows = []
    for user in range(3):
        n = data.draw(st.integers(0, 8))
        minutes = sorted(data.draw(st.lists(st.integers(0, 8).map(lambda quarter: 15 * quarter), min_size=n, max_size=n)))
        bounds = sorted([data.draw(st.integers(0, n)), data.draw(st.integers(0, n))])
        for place, minute in enumerate(minutes):
            part = ("train", "valid", "test")[sum(place >= bound for bound in bounds)]
            rows.append((user, data.draw(st.integers(0, 3)), minute, part + data.draw(st.sampled_from(["", "-"]))))
    assert asked(next_in_session(made(rows, repeats=repeats))) == next_by_a_loop(rows, repeats)


def test_each_task_has_a_label_of_its_own():
    parts = made(FEED)
    labels = [TASKS[name](parts).label.rsplit("/", 1)[-1] for name in ("home", "related", "session")]
    assert labels == ["test", "test:related", "test:session"]
    assert len(TASKS) == 3


def test_evaluations_pair_only_within_a_task():
    parts = made(FEED)
    on_feed, on_item, on_session = (evaluate(Scores(torch.rand(3, N_ITEMS)), task(parts), ks=(1,)) for task in TASKS.values())
    with pytest.raises(RequestError, match="the part is test for the one, test:related for the other"):
        compare(on_feed, on_item, "recall@1")
    with pytest.raises(RequestError, match="the part is test:session for the one, test:related for the other"):
        compare(on_session, on_item, "recall@1")


def test_a_look_at_a_task_is_a_look_at_the_test_part(tmp_path):
    parts = made(FEED, ledger=Ledger(tmp_path / "looks.jsonl"))
    model = create("popularity").fit(parts.train)
    for task in TASKS.values():
        evaluate(model, task(parts, "test"), ks=(1,))
        assert sealed_part(task(parts, "test").label) == sealed_part(parts.holdout("test").label)
    assert parts.looks() == Looks(total=3, models=1)
    assert all(task(parts, "valid").ledger is None for task in TASKS.values())


def test_who_learnt_people_by_name_serves_nobody_in_particular():
    parts = made([*FEED, (0, 9, 5030, "test")])
    by_name = ScorerSource("mf", Scores(torch.rand(3, N_ITEMS), personal=True, inductive=False), parts.ties)
    by_history = ScorerSource("knn", Scores(torch.rand(3, N_ITEMS), personal=True), parts.ties)
    served = {}
    for name, task in TASKS.items():
        judged = task(parts)
        asking = Requests.of(judged, judged.users)
        served[name] = [(source.candidates(asking, 2)[:, 0] != NOTHING).tolist() for source in (by_name, by_history)]
    assert served == {"home": [[True, False]] * 2, "related": [[False], [True]], "session": [[False] * 2, [True] * 2]}


@pytest.mark.parametrize("rows", [[2, 0, 0], [1], [], [0, 1, 2]])
def test_some_requests_are_the_rows_of_all(rows):
    log = made([(0, 1, 0, "train"), (0, 2, 1, "train"), (2, 3, 0, "train"), (2, 4, 1, "train"), (2, 3, 2, "train")]).train
    batch = log.batch(torch.arange(3))
    whole = Requests(asked=batch, seen=log.select(log.items > 2).batch(torch.arange(3)), trained=torch.tensor([True, False, True]))
    some = whole.select(torch.tensor(rows, dtype=torch.int64))
    assert len(some) == len(rows)
    assert some.trained.tolist() == whole.trained[rows].tolist()
    for part, of in ((some.asked, whole.asked), (some.seen, whole.seen)):
        assert part.users.tolist() == rows
        assert [each.tolist() for each in part.items.split(part.lengths.tolist())] == [
            of.items[of.offsets[row] : of.offsets[row + 1]].tolist() for row in rows
        ]
        assert len(part.timestamps) == len(part.items)
    assert replace(whole, seen=None).select(torch.tensor([0])).seen is None
