"""Events put in at and after the moment of a request change none of its features, and who looks at them is found out."""

import pytest

from tests.features.made import DAY, TYPES, Event, asks, made, one, some_asks, some_log, thorough
from workbench.features import Asked, build_features, feature, standard_features
from workbench.testing.features import check_point_in_time

TABLES = made(some_log(), groups={"genre": {0: (0,), 1: (0, 1), 2: (1, 2), 3: (2,)}})


def build(definitions, ahead=0):
    """`ahead`: microseconds by which it cheats."""

    def of(tables, asked):
        return build_features(definitions, tables, Asked(asked.users, asked.items, asked.timestamps + ahead, asked.given), threads=1).values

    return of


def test_standard_features_see_nothing_of_the_future():
    check_point_in_time(build(standard_features(TABLES)), TABLES, some_asks(), seed=1)


def test_no_aggregation_of_any_entity_sees_anything_of_the_future():
    """Asked at two moments: in the middle of the log and near its end."""
    rows = [(user, item, moment * DAY) for user, item in ((0, 1), (1, 4), (2, 2), (0, 0)) for moment in (3, 12)]
    check_point_in_time(build(thorough(delays=(0.0,))), TABLES, asks(rows), seed=2)


@pytest.mark.parametrize("ahead", [1, 10**15], ids=["the moment itself", "the whole log"])
@pytest.mark.parametrize("aggregation", ["count", "mean", "recency"])
def test_who_looks_ahead_is_found_out(ahead, aggregation):
    definitions = [feature("hour", "context", "hour"), one("user", aggregation)]
    with pytest.raises(AssertionError, match=r"^feature 1 of row \d+ looks ahead: with events at or after its moment .* becomes"):
        check_point_in_time(build(definitions, ahead), TABLES, some_asks(4))


@pytest.mark.parametrize("kind", ["disliked", TYPES[0]])
def test_who_looks_ahead_at_some_kind_of_events_only_is_found_out(kind):
    with pytest.raises(AssertionError, match="looks ahead"):
        check_point_in_time(build([one("user", "count", events=kind)], 1), TABLES, some_asks(4))


def test_events_put_in_are_liked_unless_told_otherwise():
    tables = made([Event(0, 0, 0, 2.0, ("disliked", "view"))]).extended(user_code=[1], item_code=[2], timestamp=[3])
    assert tables.events.to_pylist()[1] == {
        **{"user_code": 1, "item_code": 2, "timestamp": 3, "value": 5.0},
        **{"acted": True, "liked": True, "disliked": False, "event": None},
    }
    assert tables.events.to_pylist()[0]["event"] == "view"
    assert build_features([one("user", "rate", of="liked")], tables, asks([(1, 0, 4)])).values.item() == 1
