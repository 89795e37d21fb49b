"""Features of many requests at once against loops in plain Python, and what they are where there is little to say."""

import math

import pytest
import torch
from hypothesis import given, settings
from torch import tensor

from tests.features import oracle
from tests.features.made import DAY, N_ITEMS, N_USERS, Event, asks, every, logs, made, one, pairs, some_asks, some_log, thorough
from workbench.errors import RequestError
from workbench.features import FeatureFrame, Tables, build_features, feature

NAN = math.nan


def built(definitions, events, rows, **told):
    return build_features(definitions, made(events), asks(rows), threads=1, **told).values


def same(found, wanted):
    return torch.equal(found.nan_to_num(nan=-99.0), torch.as_tensor(wanted, dtype=torch.float64).nan_to_num(nan=-99.0))


@settings(max_examples=6, deadline=None)
@given(every(), logs(), pairs)
def test_every_feature_is_what_a_loop_over_the_past_says(definitions, events, rows):
    oracle.check(built(definitions, events, rows), definitions, events, asks(rows))


def test_many_features_that_share_their_events_do_not_disturb_each_other():
    log, asked = some_log(80, seed=5), some_asks(40, seed=6)
    oracle.check(build_features(thorough(), made(log), asked, threads=1).values, thorough(), log, asked)


def test_an_event_counts_from_the_next_microsecond_on_to_the_end_of_the_window():
    definitions = [
        one("user", "count"),
        one("user", "count", window=1.0),
        one("user", "distinct", window=1.0),
        one("user", "last", window=1.0),
    ]
    definitions.append(one("user", "count", window=1.0, delay=1.0))
    found = built(definitions, [Event(0, 0, 0, 2.0)], [(0, 1, moment) for moment in (0, 1, DAY, DAY + 1, 2 * DAY, 2 * DAY + 1)])
    assert same(found, [[0, 0, 0, NAN, 0], [1, 1, 1, 2, 0], [1, 1, 1, 2, 0], [1, 0, 0, NAN, 1], [1, 0, 0, NAN, 1], [1, 0, 0, NAN, 0]])


def test_of_events_at_one_moment_the_largest_value_is_the_last():
    events = [Event(0, 0, 0, 3.0), Event(0, 1, 5, 4.0), Event(0, 2, 5, None), Event(0, 3, 5, 1.0), Event(0, 0, 9, None)]
    assert same(built([one("user", "last")], events, [(0, 0, 5), (0, 0, 9), (0, 0, 10)])[:, 0], [3, 4, NAN])


def test_an_item_of_two_groups_has_their_mean_and_one_of_none_has_nothing():
    """Person 0 had three events of genre 0 and one of genre 1 (item 1 is of both)."""
    events = [Event(0, 0, 0), Event(0, 0, 1), Event(0, 1, 2), Event(1, 2, 3)]
    assert same(built([one("user_group", "count")], events, [(0, item, 9) for item in range(N_ITEMS)])[:, 0], [3, 2, 0.5, 0, NAN])


def test_rows_stand_as_asked_whatever_their_order_and_however_often():
    rows = [(user, item, moment * DAY) for user in range(N_USERS) for item in range(N_ITEMS) for moment in (7, -2, 3)]
    log, definitions = some_log(), [one(entity, "mean") for entity in ("user", "item", "user_item", "user_group")]
    found, backwards = built(definitions, log, rows * 2), built(definitions, log, rows[::-1])
    assert same(found[: len(rows)], backwards.flip(0))
    assert same(found[len(rows) :], backwards.flip(0))


HALF = 0.01
LONG = [Event(0, 0, day * DAY + more) for day in (-90, -89, -1, 0, 1, 2, 3, 50, 51, 100) for more in (0, 1, 500_000_000, 20_000_000_000)]


@pytest.mark.parametrize("half_life", [1e-5, HALF, 1.0, 1e4])
def test_decayed_sums_span_thousands_of_half_lives(half_life):
    """190 days: 19,000 of the second, 19,000,000 of the first; blocks of 256 begin and end anywhere."""
    width = round(256 * half_life * DAY)
    edges = [Event(0, 0, block * width + more) for block in (-3, -1, 0, 1, 2) for more in (-1, 0, 1) if abs(block * width) < 90 * DAY]
    events = LONG + edges
    definitions = [one(entity, "decayed", half_life=half_life, delay=delay) for entity in ("user", "item") for delay in (0, 0.25)]
    rows = [(0, 0, event.time + more) for event in events for more in (0, 1, 10_000_000)]
    found = built(definitions, events, rows)
    assert found.isfinite().all()
    oracle.check(found, definitions, events, asks(rows))


def test_events_thousands_of_half_lives_old_weigh_nothing():
    rows = [(0, 0, 5000 * DAY), (0, 0, 10**7 * DAY), (2, 4, 0)]
    assert built([one("user", "decayed", half_life=1.0), one("user_item", "decayed", half_life=0.001)], LONG, rows).eq(0).all()


def test_with_a_half_life_of_ages_every_event_counts():
    found = built([one("user", "decayed", half_life=1e8)], LONG, [(0, 0, 200 * DAY)])
    assert found.item() == pytest.approx(len(LONG), rel=1e-5)


@pytest.mark.parametrize("aggregation", ["count", "distinct", "recency"])
def test_a_window_may_be_as_long_as_one_likes(aggregation):
    whole, long = built([one("user", aggregation), one("user", aggregation, window=1e9)], LONG, [(0, 0, 200 * DAY)])[0]
    assert whole == long


@pytest.mark.parametrize("old", [1e3, 1e6, -1e9, 1e12])
def test_a_mean_of_a_window_is_exact_to_rounding_of_the_totals_before_it(old):
    """A value a year ago: the window holds 0.1 and 2, and their mean is 1.05 to within a few roundings of the total, 2^-53 of it each."""
    events = [Event(0, 0, -365 * DAY, old), Event(0, 0, 0, 0.1), Event(0, 0, 1, 2.0)]
    definitions = [one("user", "mean", window=1.0), one("user_group", "mean", window=1.0)]
    found = built(definitions, events, [(0, 0, DAY)])[0].tolist()
    assert found == pytest.approx([1.05, 1.05], abs=max(1e-15, 4 * 2**-53 * abs(old)), rel=0)
    if abs(old) <= 1e6:
        assert found == pytest.approx([1.05, 1.05], abs=1e-9, rel=0)


def test_a_value_that_is_no_number_is_refused_or_missing():
    """As an infinite one is: else no mean of the person is one ever again."""
    try:
        found = built(
            [one("user", "mean"), one("user", "mean", window=1.0)], [Event(0, 0, 0, NAN), Event(0, 0, 9 * DAY, 2.0)], [(0, 0, 9 * DAY + 1)]
        )
    except RequestError:
        return
    assert same(found, [[2, 2]])


def test_attributes_are_numbers_or_the_places_of_names_and_nan_where_they_are_neither():
    definitions = [
        feature("age", "user", "attribute", of="age"),
        feature("city", "user", "attribute", of="city", category=True),
        feature("year", "item", "attribute", of="year"),
    ]
    frame = build_features(definitions, made([]), asks([(0, 0, 1), (1, 1, 1), (2, 2, 1), (0, 3, 1), (1, 4, 1)]), allowed=["city"])
    assert same(frame.column("age"), [20, NAN, NAN, 20, NAN])
    assert same(frame.column("city"), [1, NAN, 0, 1, NAN])
    assert same(frame.column("year"), [1999, NAN, NAN, -3.5, NAN])
    assert frame.names == {"city": ("Bonn", "Oslo")}


def test_attributes_are_found_by_code():
    tables = made([])
    turned = Tables(tables.events, {of: table.take(list(range(len(table)))[::-1]) for of, table in tables.attributes.items()})
    found = build_features([feature("year", "item", "attribute", of="year")], turned, asks([(0, 0, 1), (0, 3, 1)]))
    assert same(found.values[:, 0], [1999, -3.5])


def test_a_feature_that_is_never_there_is_nan_all_over():
    found = built(
        [one("user", "mean"), one("item", "last"), one("user", "count")], [Event(0, 0, 0), Event(1, 1, 1)], [(0, 0, 9), (1, 1, 9)]
    )
    assert same(found, [[NAN, NAN, 1], [NAN, NAN, 1]])


def test_without_events_there_are_zeros_or_nothing():
    definitions = thorough(delays=(0.0,))[2:]
    for each, value in zip(definitions, built(definitions, [Event(0, 0, DAY, None, ("view",))], [(0, 0, 0)])[0].tolist(), strict=True):
        assert value == 0 if each.aggregation in ("count", "distinct", "decayed") else math.isnan(value)


def test_nobody_asked_is_a_frame_without_rows():
    every_way = [*thorough(), feature("score", "candidate", "given", of="score"), feature("year", "item", "attribute", of="year")]
    every_way.append(feature("city", "user", "attribute", of="city", category=True))
    frame = build_features(every_way, made(some_log()), asks([], score=[]), allowed=["city"])
    assert frame.values.shape == (0, len(every_way))
    assert frame.values.dtype == torch.float64
    assert frame.names == {"city": ("Bonn", "Oslo")}


def test_without_features_a_frame_has_no_columns():
    assert built([], some_log(), [(0, 0, 1), (0, 0, 2)]).shape == (2, 0)


def test_what_retrieval_hands_over_stands_as_it_is():
    frame = build_features([feature("s", "candidate", "given", of="score")], made([]), asks([(0, 0, 1)] * 3, score=[0.5, NAN, -2]))
    assert same(frame.values[:, 0], [0.5, NAN, -2])


def test_a_frame_is_cut_by_rows_and_by_features():
    definitions = (one("user", "count"), feature("city", "user", "attribute", of="city", category=True), one("item", "count"))
    frame = FeatureFrame(definitions, torch.arange(6.0).view(2, 3), {"city": ("Bonn",)})
    assert frame.only(["item_count", "city"]).values.tolist() == [[1, 2], [4, 5]]
    assert frame.only(["item_count"]).names == {}
    assert frame.only(["city"]).names == frame.names
    assert frame.select(tensor([1])).column("item_count").tolist() == [5]
    assert frame.select(tensor([False, False])).values.shape == (0, 3)
    assert repr(frame) == "FeatureFrame(2 rows, 3 features)"
    with pytest.raises(RequestError, match=r'there is no feature "user_cuont"\. Did you mean "user_count"\?'):
        frame.column("user_cuont")


@pytest.mark.parametrize("name", ["film genre", "film-genre", "order"])
def test_a_grouping_may_be_called_as_its_card_likes(name):
    tables = made([Event(0, 0, 0)], groups={name: {0: [0]}})
    assert build_features([feature("n", "user_group", "count", group=name)], tables, asks([(0, 0, 1)])).values.item() == 1
