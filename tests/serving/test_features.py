"""What a bundle reads off its tables is what the frame computes from the events, at every moment from the tables' first one on."""

import math
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.features.made import DAY, N_ITEMS, N_USERS, NAMED, QUARTER, Event, asks, every, logs, made, moments, one, some_log, thorough
from workbench.errors import RequestError
from workbench.features import build_features, feature
from workbench.promotion.features import write_state
from workbench.serving.features import State

CUT = 5 * QUARTER
ITEMS = np.array([4, 0, 2, 2, 1, 3])
"""In no group, in one, in two, one twice."""
THREE = {"genre": {0: (0, 1, 2), 1: (1,), 3: (2, 0)}}
"""Items 2 and 4 are in no group, item 0 in three."""
BESIDE = [
    feature("age", "user", "attribute", of="age"),
    feature("city", "user", "attribute", of="city", category=True),
    feature("year", "item", "attribute", of="year"),
    feature("of_year", "item", "attribute", of="year", category=True),
    feature("score", "candidate", "given", of="score"),
]
"""What is not made of events."""
GIVEN = np.array([0.5, math.nan, -1.0, 2.0, 0.0, 1e300])


def written(folder, definitions, tables, **told):
    shutil.rmtree(folder, ignore_errors=True)
    write_state(folder, definitions, tables, allowed=["city"], **told)
    return State.read(folder)


def frame(definitions, tables, rows, items=ITEMS):
    """float64 (requests, items, d), by DuckDB. rows: a person and a moment of each request. The frame has no attributes of strangers."""
    pairs = [(user, int(item), moment) for user, moment in rows for item in items]
    score = np.tile(np.resize(GIVEN, len(items)), len(rows)).tolist()
    of_people = [place for place, each in enumerate(definitions) if (each.entity, each.aggregation) == ("user", "attribute")]
    of_events = [each for place, each in enumerate(definitions) if place not in of_people]
    known = asks([(max(user, 0), item, moment) for user, item, moment in pairs], score=score)
    found = np.empty((len(pairs), len(definitions)))
    found[:, of_people] = build_features([definitions[place] for place in of_people], tables, known, allowed=["city"]).values.numpy()
    found[np.ix_([user < 0 for user, _, _ in pairs], of_people)] = math.nan
    others = [place for place in range(len(definitions)) if place not in of_people]
    found[:, others] = build_features(of_events, tables, asks(pairs, score=score)).values.numpy()
    return found.reshape(len(rows), len(items), -1)


def answers(state, rows, items=ITEMS):
    given = {"score": np.resize(GIVEN, len(items))}
    return np.stack([state.values(user, items, moment, given) for user, moment in rows])


def same(found, wanted, definitions, rows, least=1e-12):
    """NaN where there is none, the rest to 1e-9 of it."""
    assert found.shape == wanted.shape
    for place, each in enumerate(definitions):
        own, theirs = found[:, :, place], wanted[:, :, place]
        near = np.isclose(own, theirs, rtol=1e-9, atol=least, equal_nan=True)
        assert near.all(), (each.name, rows, own[~near], theirs[~near])


def check(folder, definitions, tables, rows, cutoff=None):
    """Of tables of everything, and of those that begin at the cut-off."""
    wanted = frame(definitions, tables, rows)
    same(answers(written(folder, definitions, tables), rows), wanted, definitions, rows)
    if cutoff is not None:
        later = [place for place, (_, moment) in enumerate(rows) if moment >= cutoff]
        state = written(folder, definitions, tables, since=cutoff)
        assert state.since == cutoff
        if later:
            own = [rows[place] for place in later]
            same(answers(state, own), wanted[later], definitions, own)


WITHOUT_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
"""An example takes a second, and a smaller one would take hundreds."""
people = st.integers(-1, N_USERS - 1)
requests = st.lists(st.tuples(people, moments), min_size=1, max_size=8)


@settings(max_examples=2, deadline=None, phases=WITHOUT_SHRINKING)
@given(every(), logs(), moments, requests, st.sampled_from([0, 1, QUARTER, DAY]))
def test_tables_of_everything_and_those_from_a_moment_on_say_what_the_frame_says(definitions, events, cutoff, rows, more):
    """Events of several types, some without a value, many at one moment; asked at these moments, beside them, and at the cut-off itself."""
    rows = [*rows, (0, cutoff), (-1, cutoff), (1, cutoff + more)]
    with TemporaryDirectory() as folder:
        check(Path(folder) / "features", [*definitions, *BESIDE], made(events), rows, cutoff)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3, 4))])
def test_every_aggregation_of_everybody_with_and_without_window_and_delay(seed, tmp_path):
    """With items in three groups, and three in none."""
    rng = np.random.default_rng(seed)
    rows = [(int(rng.integers(-1, N_USERS)), int(rng.integers(-20, 64)) * QUARTER + int(rng.integers(-1, 2))) for _ in range(25)]
    definitions = [*thorough(), *BESIDE]
    check(tmp_path / "features", definitions, made(some_log(80, seed), THREE), [*rows, (0, CUT)], CUT)


@pytest.mark.parametrize(("window", "delay"), [(0.25, 0.0), (1.0, 0.25), (40.0, 3.0), (0.25, 3.0)])
def test_a_window_longer_than_all_there_is_and_a_delay_beyond_it(window, delay, tmp_path):
    """What is known late, and of long ago, although the tables begin later."""
    kinds = ("count", "mean", "rate", "recency", "last", "distinct")
    definitions = [
        one(entity, kind, window=window, delay=delay, **({"of": "liked"} if kind == "rate" else {}))
        for entity in ("user", "item", "user_item", "user_group")
        for kind in (kinds if entity in ("user", "item") else kinds[:-1])
    ]
    rows = [(user, CUT + more) for user in (-1, 0, 2) for more in (0, 1, QUARTER, DAY, 3 * DAY, 4 * DAY, 60 * DAY)]
    check(tmp_path / "features", definitions, made(some_log(60, 5)), rows, CUT)


def test_features_of_different_windows_share_a_table_that_reaches_far_enough(tmp_path):
    definitions = [one("user", "count", window=0.25), one("user", "count", window=10.0), one("user", "mean"), one("user", "count")]
    rows = [(user, CUT + more * QUARTER) for user in range(N_USERS) for more in range(12)]
    check(tmp_path / "features", definitions, made(some_log(90, 2)), rows, CUT)


def test_what_happens_at_the_moment_itself_is_not_known_yet(tmp_path):
    """Counts before, at and after two events at one moment."""
    tables = made([Event(0, 1, CUT), Event(0, 1, CUT), *NAMED])
    definitions = [one("user", "count"), one("user_item", "count"), one("item", "recency")]
    state = written(tmp_path / "features", definitions, tables)
    found = [state.values(0, np.array([1]), moment, {})[0].tolist() for moment in (CUT - 1, CUT, CUT + 1)]
    assert [each[:2] for each in found] == [[0, 0], [0, 0], [2, 2]]
    assert [math.isnan(each[2]) for each in found] == [True, True, False]
    assert found[2][2] * DAY == pytest.approx(1)


def test_a_stranger_has_done_nothing_and_is_told_apart_from_the_last_person(tmp_path):
    """Code -1 is nobody's, not that of the last row of a table."""
    log = [Event(N_USERS - 1, N_ITEMS - 1, 0, 5.0, ("all", "liked")), *NAMED]
    definitions = [*(each for each in thorough() if each.entity != "context"), *BESIDE]
    state = written(tmp_path / "features", definitions, made(log, {"genre": dict.fromkeys(range(N_ITEMS), (0, 1))}))
    found = state.values(-1, np.arange(N_ITEMS), CUT, {"score": GIVEN[:N_ITEMS]})
    for place, each in enumerate(definitions):
        if each.entity in ("user", "user_item", "user_group"):
            nothing = 0.0 if each.aggregation in ("count", "distinct", "decayed") else math.nan
            np.testing.assert_array_equal(found[:, place], nothing, err_msg=each.name)


def test_the_clock_is_utc_before_and_after_1970(tmp_path):
    definitions = [feature("hour", "context", "hour"), feature("weekday", "context", "weekday")]
    rows = [(0, moment) for moment in (0, -1, -DAY, DAY * 4 - 1, DAY * 4, 1_700_000_000_000_000, -1_700_000_000_000_001)]
    check(tmp_path / "features", definitions, made([]), rows)


def test_a_log_without_events_is_one(tmp_path):
    definitions = [*(each for each in thorough() if each.events != "view"), *BESIDE]
    check(tmp_path / "features", definitions, made([]), [(0, 0), (-1, CUT), (2, CUT)], CUT)


def test_a_cut_off_after_everything_keeps_what_still_holds(tmp_path):
    definitions, tables = thorough(), made(some_log(80, 4))
    rows = [(user, 90 * DAY + more) for user in range(-1, N_USERS) for more in (0, 1, DAY, 400 * DAY)]
    check(tmp_path / "features", definitions, tables, rows, 90 * DAY)


def test_tables_from_a_moment_on_are_no_larger_and_say_the_same_of_the_plan(tmp_path):
    definitions = [each for each in thorough() if each.window is None]
    whole = written(tmp_path / "whole", definitions, made(some_log(120, 1)))
    late = written(tmp_path / "late", definitions, made(some_log(120, 1)), since=50 * QUARTER)
    rows = [sum(len(stream.times) for stream in state.streams) for state in (whole, late)]
    assert rows[1] < rows[0] / 2
    assert late.names == whole.names == [each.name for each in definitions]
    assert late.told["features"] == whole.told["features"]


def test_categories_are_told_in_the_rankers_codes_and_unknown_ones_are_missing(tmp_path):
    """Cities are Oslo, none, Bonn; the ranker knows Bonn and Rome."""
    codes = {"city": {"Bonn": 7.0, "Rome": 3.0}}
    state = written(tmp_path / "features", BESIDE[:2], made([]), codes=codes)
    found = [state.values(user, np.array([0]), 0, {})[0, 1] for user in (0, 1, 2, -1)]
    np.testing.assert_array_equal(found, [math.nan, math.nan, 7.0, math.nan])
    plain = written(tmp_path / "plain", BESIDE[:2], made([]))
    wanted = frame(BESIDE[:2], made([]), [(0, 0), (1, 0), (2, 0)])
    same(answers(plain, [(0, 0), (1, 0), (2, 0)]), wanted, BESIDE[:2], [])


def test_no_candidates_have_no_features(tmp_path):
    definitions = [*thorough(), *BESIDE]
    state = written(tmp_path / "features", definitions, made(some_log()))
    found = state.values(0, np.empty(0, np.int64), CUT, {"score": np.empty(0)})
    assert found.shape == (0, len(definitions))


def test_asking_again_and_in_another_order_changes_nothing(tmp_path):
    definitions = [*thorough(), *BESIDE]
    state = written(tmp_path / "features", definitions, made(some_log()))
    first = state.values(1, ITEMS, CUT, {"score": GIVEN})
    state.values(-1, ITEMS[:2], CUT + DAY, {"score": GIVEN[:2]})
    back = np.arange(len(ITEMS))[::-1]
    np.testing.assert_array_equal(state.values(1, ITEMS[back], CUT, {"score": GIVEN[back]})[back], first)
    one_by_one = [state.values(1, ITEMS[[place]], CUT, {"score": GIVEN[[place]]})[0] for place in range(len(ITEMS))]
    np.testing.assert_array_equal(np.stack(one_by_one), first)


def test_a_sensitive_column_that_nobody_allowed_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(RequestError, match="city"):
        write_state(tmp_path / "features", BESIDE, made([]))
    assert list(tmp_path.iterdir()) == []


def test_float32_is_not_enough_for_what_these_tables_hold():
    """Times in microseconds need all of 64 bits: what is above would pass by chance with fewer."""
    assert torch.tensor(CUT + 1, dtype=torch.float32).item() != CUT + 1
