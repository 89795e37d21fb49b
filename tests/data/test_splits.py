"""Splits against a plain Python oracle on small logs full of ties, and the facts of ML-100k."""

import dataclasses
import hashlib
import itertools
import math
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.data import RULES, audit, load_card, rolling_origin, write_split
from workbench.data.card import Rule
from workbench.data.power import PLANNING_SD
from workbench.data.splits import split
from workbench.errors import NotApplicable, RequestError

CARD = load_card("ml-100k")
USERS, ITEMS = ["u1", "u10", "u2"], ["i0", "i1", "i2", "i3", "i4"]
PRIME = 2**31 - 1
events = st.lists(
    st.tuples(st.sampled_from(USERS), st.sampled_from(ITEMS), st.integers(1, 5), st.integers(0, 6)),
    min_size=1,
    max_size=40,
    unique_by=lambda e: e[:2],
)
tenths = st.tuples(st.integers(0, 4), st.integers(0, 4))


def dataset(rows, card=CARD, has_times=True):
    """What a split needs of a data set, with the events in the order of a snapshot: by person, time, item."""
    stored = sorted(rows, key=lambda e: (USERS.index(e[0]), e[3], ITEMS.index(e[1])))

    def connect():
        connection = duckdb.connect()
        connection.execute(
            "CREATE TABLE coded_events (user_code INT, item_code INT, value DOUBLE, timestamp BIGINT, event VARCHAR, place BIGINT)"
        )
        coded = [(USERS.index(u), ITEMS.index(i), v, t if has_times else None, None, n) for n, (u, i, v, t) in enumerate(stored)]
        connection.executemany("INSERT INTO coded_events VALUES (?, ?, ?, ?, ?, ?)", coded)
        return connection

    sizes = {"users": 3, "items": 5}
    snapshot = SimpleNamespace(id="made@0", name="made", has_times=has_times, rows=sizes.__getitem__, folder=Path("made", "0"))
    return SimpleNamespace(card=card, snapshot=snapshot, connect=connect, item_ids=ITEMS)


def mixers(seed):
    digest = hashlib.sha256(str(seed).encode()).digest()
    return [1 + int.from_bytes(digest[n : n + 8], "big") % (PRIME - 1) for n in (0, 8, 16)]


def tie(seed, user, item):
    a, b, c = mixers(seed)
    return pow((a * USERS.index(user) + c + b * ITEMS.index(item)) % PRIME, 5, PRIME)


def timeline(rows, seed):
    return sorted(rows, key=lambda e: (USERS.index(e[0]), e[3], tie(seed, *e[:2])))


def by_share(own, valid, test):
    n_valid, n_test = (len(own) * tenths // 10 for tenths in (valid, test))
    n_train = len(own) - n_valid - n_test
    return {"train": own[:n_train], "valid": own[n_train : n_train + n_valid], "test": own[n_train + n_valid :]}


def user_time(rows, seed, valid, test):
    parts = {"train": [], "valid": [], "test": []}
    for user in USERS:
        shares = by_share([row for row in timeline(rows, seed) if row[0] == user], valid, test)
        for name, share in shares.items():
            parts[name] += share
    return parts


def global_time(rows, seed, valid, test):
    times = sorted(row[3] for row in rows)
    n_valid, n_test = (len(rows) * tenths // 10 for tenths in (valid, test))
    first_test = times[len(rows) - n_test] if n_test else math.inf
    first_valid = times[len(rows) - n_test - n_valid] if n_valid + n_test else math.inf
    parts = {"train": [], "valid": [], "test": []}
    for row in timeline(rows, seed):
        parts["test" if row[3] >= first_test else "valid" if row[3] >= first_valid else "train"].append(row)
    return parts


def dealt_places(rows, seed):
    """Events in the order of the fifth power of their place in the snapshot."""
    a, _, c = mixers(seed)
    stored = sorted(rows, key=lambda e: (USERS.index(e[0]), e[3], ITEMS.index(e[1])))
    return [row for _, row in sorted((pow((a * place + c) % PRIME, 5, PRIME), row) for place, row in enumerate(stored))]


def in_order(parts, rows, seed):
    return {name: [row for row in timeline(rows, seed) if row in part] for name, part in parts.items()}


def random(rows, seed, valid, test):
    return in_order(by_share(dealt_places(rows, seed), valid, test), rows, seed)


def user_random(rows, seed, valid, test):
    parts = {"train": [], "valid": [], "test": []}
    for user in USERS:
        for name, share in by_share([row for row in dealt_places(rows, seed) if row[0] == user], valid, test).items():
            parts[name] += share
    return in_order(parts, rows, seed)


def dealt_codes(codes, factor, offset):
    return [code for _, code in sorted((pow((factor * code + offset) % PRIME, 5, PRIME), code) for code in codes)]


def new_item(rows, seed, valid, test):
    _, b, _ = mixers(seed)
    items = by_share(dealt_codes({ITEMS.index(row[1]) for row in rows}, b, 0), valid, test)
    return {name: [row for row in timeline(rows, seed) if ITEMS.index(row[1]) in held] for name, held in items.items()}


def new_user(rows, seed, valid, test):
    a, _, c = mixers(seed)
    people = by_share(dealt_codes({USERS.index(row[0]) for row in rows}, a, c), valid, test)
    parts = {"train": [], "valid": [], "test": [], "known": []}
    for name, held in people.items():
        for user in sorted(held):
            own = [row for row in timeline(rows, seed) if USERS.index(row[0]) == user]
            known = 0 if name == "train" else len(own) // 2
            parts["known"] += own[:known]
            parts[name] += own[known:]
    return in_order(parts, rows, seed)


def decoded(part):
    columns = (part.users.tolist(), part.items.tolist(), part.values.tolist(), part.timestamps.tolist())
    return [(USERS[u], ITEMS[i], value, time) for u, i, value, time in zip(*columns, strict=True)]


@pytest.mark.parametrize("oracle", [user_time, global_time, random, user_random, new_item, new_user])
@settings(max_examples=40, deadline=None)
@given(rows=events, seed=st.integers(0, 3), shares=tenths)
def test_a_split_is_what_its_rule_says(oracle, rows, seed, shares):
    valid, test = shares
    parts = split(dataset(rows), oracle.__name__, seed, fractions=((10 - valid - test) / 10, valid / 10, test / 10))
    for name, expected in oracle(rows, seed, valid, test).items():
        assert decoded(getattr(parts, name)) == expected, name
    assert all(finding.ok for finding in audit(parts))
    assert parts.n_discarded == 0


@settings(max_examples=40, deadline=None)
@given(rows=events, seed=st.integers(0, 3), n=st.integers(1, 3))
def test_leave_last_n_judges_the_last_n_of_whoever_has_enough(rows, seed, n):
    parts = split(dataset(rows), "leave_last_n", seed, n=n)
    for user in USERS:
        own = [row for row in timeline(rows, seed) if row[0] == user]
        cuts = (len(own) - 2 * n, len(own) - n) if len(own) > 2 * n else (len(own), len(own))
        expected = {"train": own[: cuts[0]], "valid": own[cuts[0] : cuts[1]], "test": own[cuts[1] :]}
        for name, rows_of_part in expected.items():
            assert [row for row in decoded(getattr(parts, name)) if row[0] == user] == rows_of_part


@settings(max_examples=40, deadline=None)
@given(rows=events, seed=st.integers(0, 3), windows=st.integers(1, 4))
@pytest.mark.slow
def test_the_windows_of_a_rolling_origin_follow_one_another(rows, seed, windows):
    every = rolling_origin(dataset(rows), seed, windows=windows, share=0.2 if windows < 4 else 0.1)
    assert len(every) == windows
    for earlier, later in itertools.pairwise(every):
        assert decoded(later.valid) == decoded(earlier.test), "what is judged in one window chooses in the next"
        known = {*decoded(earlier.train), *decoded(earlier.valid)}
        assert set(decoded(later.train)) == known
    for parts in every:
        assert sum(len(part) for part in parts.parts().values()) + parts.n_discarded == len(rows)
        assert all(finding.ok for finding in audit(parts))
    assert every[-1].n_discarded == 0


def test_dates_cut_where_they_say():
    day = 86_400_000_000
    log = dataset([("u1", item, 5, n * day) for n, item in enumerate(ITEMS)])
    parts = split(log, "global_time", valid_from="1970-01-03", test_from="1970-01-04 12:00")
    assert [len(getattr(parts, name)) for name in ("train", "valid", "test")] == [2, 2, 1]
    assert "test from 1970-01-04 12:00 (UTC)" in parts.summary()


def test_the_order_of_the_file_does_not_matter_and_the_seed_decides_ties():
    rows = [("u1", item, 5, 0) for item in ITEMS] + [("u2", item, 5, 0) for item in ITEMS]
    fractions = (0.6, 0.2, 0.2)
    once = decoded(split(dataset(rows), "user_time", 0, fractions=fractions).test)
    assert decoded(split(dataset(rows[::-1]), "user_time", 0, fractions=fractions).test) == once
    others = {tuple(decoded(split(dataset(rows), "user_time", seed, fractions=fractions).test)) for seed in range(8)}
    assert len(others) > 1


def test_ties_favour_no_item():
    """300 people with 30 items each at one moment: over four seeds each item is the last one about as often as any other."""

    def connect():
        connection = duckdb.connect()
        codes = "CAST(r // 30 AS INT) AS user_code, CAST(r % 30 AS INT) AS item_code"
        columns = f"{codes}, 5.0 AS value, 0 AS timestamp, NULL::VARCHAR AS event, r AS place"
        connection.execute(f"CREATE TABLE coded_events AS SELECT {columns} FROM range(9000) AS t(r)")
        return connection

    sizes = {"users": 300, "items": 30}
    snapshot = SimpleNamespace(id="made@0", name="made", has_times=True, folder=Path("made", "0"), rows=sizes.__getitem__)
    log = SimpleNamespace(card=CARD, snapshot=snapshot, connect=connect, item_ids=[f"{n:02d}" for n in range(30)])
    counts = Counter(item for seed in range(4) for item in split(log, "leave_last_n", seed).test.items.tolist())
    expected = 4 * 300 / 30
    chi_square = sum((counts[item] - expected) ** 2 / expected for item in range(30))
    assert chi_square < 52.3, "99.5 % of a chi-square with 29 degrees of freedom"


def test_positives_are_what_the_card_says():
    parts = split(dataset([("u1", item, value, 0) for value, item in enumerate(ITEMS, start=1)]), "user_time", fractions=(1.0, 0.0, 0.0))
    assert sorted(parts.train.positives().values.tolist()) == [4.0, 5.0]


def test_grades_are_what_the_card_says_in_every_part_and_in_the_truth():
    """ML-100k's card: liked from 4, and 5 is grade 2. u1 rates its five items 1, 2, 3, 4, 5 in that order."""
    log = dataset([("u1", item, value, value) for value, item in enumerate(ITEMS, start=1)])
    parts = split(log, "user_time", fractions=(0.6, 0.0, 0.4))
    assert CARD.meaning.grades == (4, 5)
    assert (parts.train.grades.tolist(), parts.test.grades.tolist()) == ([0, 0, 0], [1, 2])
    assert parts.holdout("test").truth.grades.tolist() == [1, 2]
    assert parts.train.grades.dtype == torch.int8
    ungraded = CARD.model_copy(update={"meaning": CARD.meaning.model_copy(update={"grades": ()})})
    log = dataset([("u1", item, value, value) for value, item in enumerate(ITEMS, start=1)], ungraded)
    assert split(log, "user_time", fractions=(0.6, 0.0, 0.4)).test.grades.tolist() == [1, 1]


def test_exposures_are_in_no_part_and_counted():
    meaning = CARD.meaning.model_copy(update={"exposure": (Rule(column="value", max=2),)})
    card = CARD.model_copy(update={"meaning": meaning})
    parts = split(
        dataset([("u1", item, value, 0) for value, item in enumerate(ITEMS, start=1)], card), "user_time", fractions=(1.0, 0.0, 0.0)
    )
    assert sorted(parts.train.values.tolist()) == [3, 4, 5]
    assert (parts.n_exposures, parts.n_discarded, parts.n_events) == (2, 0, 3)
    assert "2 events that only say what was shown are not split." in parts.summary()


@pytest.mark.parametrize("name", RULES)
def test_without_times_a_split_that_needs_them_says_so(name):
    log = dataset([(user, item, 5, 0) for user in USERS for item in ITEMS], has_times=False)
    if RULES[name].needs_time:
        with pytest.raises(NotApplicable, match=f"the split {name} needs times, and made has none; choose one of user_random"):
            split(log, name)
    else:
        parts = split(log, name)
        assert len(parts.train) + len(parts.valid) + len(parts.test) + len(parts.known) == 15
        assert not any("earliest" in finding.what for finding in audit(parts)), "nothing is said of times that are not there"


@pytest.mark.parametrize("name", RULES)
def test_a_split_streamed_to_parquet_is_the_split(ml100k, tmp_path, name):
    parts = ml100k.split(name, seed=3)
    table = pq.read_table(write_split(ml100k, tmp_path / "parts.parquet", name, 3))
    for code, which in enumerate(("train", "valid", "test", "known")):
        of_part = table.filter(table["part"].to_numpy() == code)
        part = getattr(parts, which)
        for column, values in (
            ("user_code", part.users),
            ("item_code", part.items),
            ("timestamp", part.timestamps),
            ("grade", part.grades),
        ):
            assert of_part[column].to_pylist() == values.tolist(), (which, column)


def test_the_refit_policy_is_what_models_learn_from_before_test(ml100k):
    once, both = (ml100k.split("global_time", refit=policy) for policy in ("train", "train+valid"))
    assert len(once.fit_on) == len(once.train)
    assert len(both.fit_on) == len(both.train) + len(both.valid)
    assert both.fit_on.order.tolist() == once.train.plus(once.valid).order.tolist()
    assert [parts.parameters["refit"] for parts in (once, both)] == ["train", "train+valid"]
    trained = [int(parts.holdout("test").trained[parts.holdout("test").users].sum()) for parts in (once, both)]
    assert trained == [57, 77]
    assert torch.equal(once.holdout("valid").trained, both.holdout("valid").trained), "validation never sees what is learnt after it"
    with pytest.raises(RequestError, match=r'there is no refit policy "both"'):
        ml100k.split(refit="both")


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
    described = parts.describe()
    judged = [len(parts.holdout(part).users) for part in ("valid", "test")]
    assert described["judged"].tolist() == described["with a history"].tolist() == judged
    assert all(800 < n < 943 for n in judged)
    expected = [(1.959964 + 0.841621) * PLANNING_SD / n**0.5 for n in judged]  # (z(97.5 %) + z(80 %)) · sd / √n
    assert described["detectable NDCG"].tolist() == pytest.approx(expected, rel=1e-5)


def test_new_people_are_judged_on_what_is_not_revealed(ml100k):
    parts = ml100k.split("new_user", revealed=0.25)
    assert not (parts.train.events_per_user > 0)[parts.test.users].any()
    holdout = parts.holdout()
    own = parts.known.events_per_user + parts.test.events_per_user
    assert torch.equal(holdout.history_lengths, (own[holdout.users] * 0.25).floor().long())
    assert len(ml100k.split("new_user", revealed=0.0).known) == 0


def test_the_cards_split_has_the_cards_parameters():
    card = CARD.model_copy(update={"split": CARD.split.model_copy(update={"default": "leave_last_n", "parameters": {"n": 2}})})
    log = dataset([("u1", item, 5, n) for n, item in enumerate(ITEMS)], card)
    assert split(log).options == split(log, "leave_last_n").options == {"n": 2}
    assert split(log, "leave_last_n", n=1).options == {"n": 1}


def test_a_data_set_and_its_split_print_in_a_line(ml100k):
    assert repr(ml100k) == f"Dataset({ml100k.snapshot.id}: 943 people, 1,682 items)"
    assert repr(ml100k.split()) == f"Split({ml100k.snapshot.id} by user_time: 80,808 train, 9,596 valid, 9,596 test)"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("user_time", {"fractions": (0.8, 0.1, 0.2)}, "three shares that add up to 1"),
        ("user_time", {"fractions": (0.0, 0.5, 0.5)}, "three shares that add up to 1"),
        ("global_time", {"fractions": (1.1, -0.1, 0.0)}, "three shares that add up to 1"),
        ("leave_last_n", {"n": 0}, "n = 0: input should be greater than or equal to 1"),
        ("leave_last_n", {"m": 1}, r'no parameter of the split leave_last_n "m"'),
        ("global_time", {"test_from": "2020-01-01"}, "valid_from and test_from go together"),
        ("global_time", {"valid_from": "2021-01-01", "test_from": "2020-01-01"}, "valid_from 2021-01-01 should be before"),
        ("global_time", {"valid_from": "soon", "test_from": "2020-01-01"}, "Invalid isoformat"),
        ("rolling_origin", {"windows": 9, "share": 0.1}, "leave nothing to train on"),
        ("rolling_origin", {"window": 5}, "window 5 should be between 1 and 4"),
        ("new_user", {"revealed": 1.0}, "revealed = 1.0"),
    ],
)
def test_parameters_no_split_can_have_are_refused(ml100k, name, options, message):
    with pytest.raises(RequestError, match=f"(?i){message}"):
        ml100k.split(name, **options)


def test_an_unknown_split_or_part_names_the_nearest(ml100k):
    with pytest.raises(RequestError, match=r'no split "user-time"\. Did you mean "user_time"'):
        ml100k.split("user-time")
    with pytest.raises(RequestError, match='no part to judge on "train"'):
        ml100k.split().holdout("train")


def test_a_holdout_is_named_after_what_decides_who_is_judged_on_what(ml100k):
    labels = {
        ml100k.split(name, seed, **options).holdout(part).label
        for name, seed, options, part in (
            ("user_time", 0, {}, "test"),
            ("user_time", 0, {}, "valid"),
            ("user_time", 1, {}, "test"),
            ("user_time", 0, {"fractions": (0.6, 0.2, 0.2)}, "test"),
            ("leave_last_n", 0, {}, "test"),
            ("leave_last_n", 0, {"n": 2}, "test"),
        )
    }
    assert len(labels) == 6
    parts = ml100k.split()
    assert dataclasses.replace(parts, refit="train+valid").holdout().label == parts.holdout().label, "the same people, the same truth"
