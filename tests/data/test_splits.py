"""Splits against a plain Python oracle on small logs full of ties, and the facts of ML-100k."""

import hashlib
from types import SimpleNamespace

import duckdb
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.data import audit, load_card
from workbench.data.splits import split
from workbench.errors import RequestError

CARD = load_card("ml-100k")
USERS, ITEMS = ["u1", "u10", "u2"], ["i0", "i1", "i2", "i3", "i4"]
events = st.lists(
    st.tuples(st.sampled_from(USERS), st.sampled_from(ITEMS), st.integers(1, 5), st.integers(0, 6)),
    min_size=1,
    max_size=40,
    unique_by=lambda e: e[:2],
)


def dataset(rows):
    def connect():
        connection = duckdb.connect()
        connection.execute("CREATE TABLE events (user_id VARCHAR, item_id VARCHAR, value DOUBLE, timestamp BIGINT)")
        connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)
        connection.execute("CREATE TABLE users AS SELECT unnest(?) AS user_id", [USERS])
        connection.execute("CREATE TABLE items AS SELECT unnest(?) AS item_id", [ITEMS])
        return connection

    return SimpleNamespace(card=CARD, snapshot=SimpleNamespace(id="made@0"), connect=connect, n_users=3, n_items=5, item_ids=ITEMS)


def tie(seed, user, item):
    return hashlib.md5(f"{seed}\x1f{user}\x1f{item}".encode()).hexdigest()


def timeline(rows, seed):
    return sorted(rows, key=lambda e: (e[0], e[3], tie(seed, *e[:2])))


def user_time(rows, seed, valid, test):
    parts = {"train": [], "valid": [], "test": []}
    for user in USERS:
        own = [row for row in timeline(rows, seed) if row[0] == user]
        n_valid, n_test = (len(own) * tenths // 10 for tenths in (valid, test))
        n_train = len(own) - n_valid - n_test
        parts["train"] += own[:n_train]
        parts["valid"] += own[n_train : n_train + n_valid]
        parts["test"] += own[n_train + n_valid :]
    return parts


def global_time(rows, seed, valid, test):
    times = sorted(row[3] for row in rows)
    n_valid, n_test = (len(rows) * tenths // 10 for tenths in (valid, test))
    first_test = times[len(rows) - n_test] if n_test else float("inf")
    first_valid = times[len(rows) - n_test - n_valid] if n_valid + n_test else float("inf")
    parts = {"train": [], "valid": [], "test": []}
    for row in timeline(rows, seed):
        parts["test" if row[3] >= first_test else "valid" if row[3] >= first_valid else "train"].append(row)
    return parts


def decoded(part):
    columns = (part.users.tolist(), part.items.tolist(), part.values.tolist(), part.timestamps.tolist())
    return [(USERS[u], ITEMS[i], value, time) for u, i, value, time in zip(*columns, strict=True)]


@pytest.mark.parametrize("oracle", [user_time, global_time])
@settings(max_examples=60, deadline=None)
@given(rows=events, seed=st.integers(0, 3), valid=st.integers(0, 4), test=st.integers(0, 4))
def test_a_split_is_what_its_rule_says(oracle, rows, seed, valid, test):
    parts = split(dataset(rows), oracle.__name__, seed, ((10 - valid - test) / 10, valid / 10, test / 10))
    expected = oracle(rows, seed, valid, test)
    for name in ("train", "valid", "test"):
        assert decoded(getattr(parts, name)) == expected[name], name
    assert all(finding.ok for finding in audit(parts))
    assert parts.n_discarded == 0


def test_the_order_of_the_file_does_not_matter_and_the_seed_decides_ties():
    rows = [("u1", item, 5, 0) for item in ITEMS] + [("u2", item, 5, 0) for item in ITEMS]
    fractions = (0.6, 0.2, 0.2)
    once = decoded(split(dataset(rows), "user_time", 0, fractions).test)
    assert decoded(split(dataset(rows[::-1]), "user_time", 0, fractions).test) == once
    others = {tuple(decoded(split(dataset(rows), "user_time", seed, fractions).test)) for seed in range(8)}
    assert len(others) > 1


def test_positives_are_what_the_card_says():
    parts = split(dataset([("u1", item, value, 0) for value, item in enumerate(ITEMS, start=1)]), "user_time", 0, (1.0, 0.0, 0.0))
    assert sorted(parts.train.positives().values.tolist()) == [4.0, 5.0]


@pytest.mark.parametrize(("part", "n_people", "judged", "known", "trained"), [("valid", 197, 186, 70, 70), ("test", 166, 153, 77, 57)])
def test_ml_100k_by_global_time_leaves_few_to_judge(ml100k, part, n_people, judged, known, trained):
    parts = ml100k.split("global_time")
    holdout = parts.holdout(part)
    assert holdout.n_people == n_people
    assert holdout.n_people - holdout.n_without_truth == judged == len(holdout.users)
    assert int((holdout.history_lengths > 0).sum()) == known
    assert int(holdout.trained[holdout.users].sum()) == trained
    assert "Of 100,000 events 0 are discarded and 79,999 trained on. 777 of 943 people have no event in the test part." in parts.summary()
    in_test = parts.test.events_per_user > 0
    assert int((in_test & (parts.train.events_per_user > 0)).sum()) == 69


def test_ml_100k_by_user_time_keeps_everyone_who_liked_something(ml100k):
    parts = ml100k.split()
    assert parts.name == "user_time"
    assert len(parts.train) + len(parts.valid) + len(parts.test) == 100_000
    assert [len(parts.holdout(part).users) for part in ("valid", "test")] == [843, 835]
    assert parts.describe()["with a history"].tolist() == [843, 835]


def test_a_data_set_and_its_split_print_in_a_line(ml100k):
    assert repr(ml100k) == f"Dataset({ml100k.snapshot.id}: 943 people, 1,682 items)"
    assert repr(ml100k.split()) == f"Split({ml100k.snapshot.id} by user_time: 80,808 train, 9,596 valid, 9,596 test)"


def test_the_audit_sees_a_leak_that_is_put_in(ml100k):
    parts = ml100k.split()
    leaky = type(parts)(**{**vars(parts), "train": parts.train.plus(parts.test.select(torch.arange(10)))})
    findings = audit(leaky)
    assert [finding.events for finding in findings[:1]] == [10]
    assert not findings[0].ok
    assert findings[2].ok, "user_time never promised that nobody else's future is in training"
    assert findings[2].share > 0.9


@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.2), (0.0, 0.5, 0.5), (1.1, -0.1, 0.0)])
def test_fractions_that_are_no_split_are_refused(ml100k, fractions):
    with pytest.raises(RequestError, match="three shares that add up to 1"):
        ml100k.split("user_time", fractions=fractions)


def test_an_unknown_split_or_part_names_the_nearest(ml100k):
    with pytest.raises(RequestError, match=r'no split "user-time"\. Did you mean "user_time"'):
        ml100k.split("user-time")
    with pytest.raises(RequestError, match='no part to judge on "train"'):
        ml100k.split().holdout("train")
