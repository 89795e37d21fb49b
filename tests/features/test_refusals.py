"""What cannot be made, or may not be, is told before anything is computed, with the name of the feature."""

import math
import re
from types import SimpleNamespace

import pyarrow as pa
import pytest

from tests.features.made import DAY, Event, asks, made, one, some_log
from workbench.data import load_dataset
from workbench.errors import NotApplicable, RequestError
from workbench.features import Feature, OnlineStore, Tables, build_features, feature, standard_features

TABLES = made(some_log())


def refused(text, definitions, tables=TABLES, rows=((0, 0, 1),), allowed=(), online=True, **given):
    with pytest.raises(RequestError, match=text):
        build_features(definitions, tables, asks(rows, **given), allowed=allowed)
    if online:
        with pytest.raises(RequestError, match=text):
            OnlineStore(definitions, tables, allowed=allowed)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"delay": -1}, "delay = -1 looks ahead: an event would count before it happened"),
        ({"delay": -1e-9}, "delay = -1e-09 looks ahead"),
        ({"delay": math.inf}, "delay: "),
        ({"delay": math.nan}, "delay: "),
        ({"window": 0}, "window = 0 looks ahead: it should be days before the moment, above 0"),
        ({"window": -7}, "window = -7 looks ahead"),
        ({"window": math.inf}, "window: "),
        ({"half_life": 1}, "half_life, in days and a microsecond at least, goes with decayed"),
        ({"aggregation": "decayed"}, "half_life, in days and a microsecond at least, goes with decayed"),
        ({"aggregation": "decayed", "half_life": 0}, "half_life, in days and a microsecond at least"),
        ({"aggregation": "decayed", "half_life": -1}, "half_life, in days and a microsecond at least"),
        ({"aggregation": "decayed", "half_life": 1e-12}, "half_life, in days and a microsecond at least"),
        ({"aggregation": "decayed", "half_life": 1, "window": 1}, "a window does not go with decayed"),
        ({"aggregation": "rate"}, "`of` goes with rate, attribute and given, and only there"),
        ({"of": "liked"}, "`of` goes with rate"),
        ({"group": "genre"}, "`group` goes with user_group"),
        ({"entity": "user_group"}, "`group` goes with user_group"),
        ({"category": True}, "a category is an attribute"),
        ({"entity": "context"}, "context has no count; it has hour, weekday"),
        ({"entity": "user_item", "aggregation": "distinct"}, "user_item has no distinct; it has count, mean"),
        ({"entity": "persn"}, "entity: "),
        ({"aggregation": "sum"}, "aggregation: "),
        ({"privacy": "secret"}, "privacy: "),
        ({"wndow": 1}, "wndow: "),
    ],
)
def test_what_is_no_feature_is_told_by_name(told, reason):
    with pytest.raises(RequestError, match=rf"^the feature clicks, {re.escape(reason)}"):
        feature("clicks", **{"entity": "user", "aggregation": "count", **told})


def test_a_feature_is_data_and_stays_as_it_is():
    each = one("user", "rate", of="liked", window=7.0, delay=0.5)
    assert Feature.model_validate_json(each.model_dump_json()) == each
    assert each.text == "the person: liked events for each event (all) of the last 7 days, known 0.5 days later"
    assert (each.kinds, feature("h", "context", "hour").kinds) == (("all", "liked"), ())


@pytest.mark.parametrize(
    ("each", "text"),
    [
        (
            one("user", "count", events="viewed"),
            r'there is no kind of events \(feature user_count_viewed\) "viewed"\. Did you mean "view"\?',
        ),
        (one("user", "rate", of="lked"), r'\(feature user_rate_lked\) "lked"\. Did you mean "liked"\?  \(all, disliked, liked, view\)'),
        (
            feature("a", "user", "attribute", of="aeg"),
            r'there is no column of users \(feature a\) "aeg"\. Did you mean "age"\?  \(age, city\)',
        ),
        (feature("a", "item", "attribute", of="age"), r'there is no column of items \(feature a\) "age"'),
        (feature("a", "item", "attribute", of="item_code"), r'there is no column of items \(feature a\) "item_code"'),
        (feature("g", "user_group", "count", group="gnre"), r'there is no grouping of items \(feature g\) "gnre"\. Did you mean "genre"\?'),
    ],
)
def test_what_the_tables_have_not_is_told_with_what_they_have(each, text):
    refused(text, [one("item", "count"), each])


def test_a_column_not_handed_over_is_told_with_those_that_are():
    each = feature("s", "candidate", "given", of="scre")
    refused(r'\(feature s\) "scre"\. Did you mean "score"\?  \(rank, score\)', [each], online=False, score=[1.0], rank=[1.0])
    refused(r"the feature r: rank is infinite for a candidate; hand over NaN where there is nothing", online=False, rank=[-math.inf],
            definitions=[feature("r", "candidate", "given", of="rank")])  # fmt: skip


def test_tables_of_events_alone_have_no_columns():
    refused(r'there is no column of users \(feature a\) "age"', [feature("a", "user", "attribute", of="age")], Tables(TABLES.events))


def test_a_sensitive_column_is_refused_unless_allowed_by_name():
    each = feature("person_city", "user", "attribute", of="city", category=True)
    for allowed in ((), ("age", "person"), ("City",), ("person_city",)):
        refused("the feature person_city: city is sensitive and no model input; allow it by its name", [each], allowed=allowed)
    assert build_features([each], TABLES, asks([(0, 0, 1)]), allowed=["city"]).values.item() == 1


def test_a_feature_that_calls_itself_sensitive_is_refused_too():
    each = feature("s", "candidate", "given", of="score", privacy="sensitive")
    refused("the feature s: s is sensitive", [each], score=[1.0])
    assert build_features([each], TABLES, asks([(0, 0, 1)], score=[3]), allowed=["s"]).values.item() == 3


def test_an_identifier_is_refused_whatever_is_allowed():
    each = feature("who", "user", "attribute", of="user_id", category=True)
    for allowed in ((), ("user_id", "who")):
        refused("the feature who: user_id is an identifier, which says who and not what; leave it out", [each], allowed=allowed)
    refused("s is an identifier", [feature("s", "candidate", "given", of="score", privacy="identifier")], allowed=["s"], score=[1.0])


def test_two_features_of_one_name_are_told():
    refused("two features are called n: each needs a name of its own", [feature("n", "user", "count"), feature("n", "item", "count")])


def test_another_engine_is_told():
    with pytest.raises(RequestError, match=r'engine = "sprak" should be one of duckdb, spark\.'):
        build_features([one("user", "count")], TABLES, asks([(0, 0, 1)]), engine="sprak")


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_an_infinite_value_of_an_event_is_told(value):
    with pytest.raises(RequestError, match=r"2 events have an infinite value: set them apart before features are made"):
        made([Event(0, 0, 0, value), Event(0, 0, 1, None), Event(0, 0, 2, value), Event(0, 0, 3, 1.0)])


@pytest.mark.parametrize("name", ["user_code", "item_code", "timestamp"])
def test_a_key_that_is_missing_is_told(name):
    events = made([Event(0, 0, 0), Event(0, 0, 1)]).events
    place = events.column_names.index(name)
    with pytest.raises(RequestError, match=rf"1 events have no {name}: set them apart before features are made"):
        Tables(events.set_column(place, name, pa.array([None, 1], pa.int64())))


def test_a_log_without_times_has_no_features(tiny):
    card = tiny()
    lines = [line for line in card.read_text().splitlines() if not line.startswith("timestamp")]
    card.write_text("\n".join(lines).replace("user_time", "user_random"))
    with pytest.raises(NotApplicable, match="features need times, and tiny has none"):
        Tables.of(load_dataset("tiny"))
    with pytest.raises(NotApplicable, match="features need times, and made has none"):
        Tables.of(SimpleNamespace(name="made", snapshot=SimpleNamespace(has_times=False)))


def test_tables_say_what_the_card_means(tiny):
    """Likes from 4 on, as the card has it; what says no more than that it was shown counts for nothing but itself."""
    card = tiny([("ann", "i1", 5.0, 10.0), ("ann", "i2", 3.0, 20.0), ("bob", "i1", 1.0, 30.5)])
    text = card.read_text().replace(
        "repeats", 'negative = { column = "value", max = 1 }\nexposure = { column = "value", min = 3, max = 3 }\nrepeats'
    )
    card.write_text(text + '[slices]\nname = { table = "items", column = "title", separator = " " }\n')
    tables = Tables.of(load_dataset("tiny"))
    rows = sorted(tables.events.to_pylist(), key=lambda row: row["timestamp"])
    assert [row["timestamp"] for row in rows] == [10_000_000, 20_000_000, 30_500_000]
    assert [(row["acted"], row["liked"], row["disliked"]) for row in rows] == [
        (True, True, False),
        (False, False, False),
        (True, False, True),
    ]
    assert tables.attributes["item"].column_names == ["item_code", "title"]
    assert tables.attributes["user"].column_names == ["user_code"]
    assert tables.attributes["item"]["title"].to_pylist() == ["Film i1", "Film i2"]
    assert sorted(tables.groups["name"]["item_code"].to_pylist()) == [0, 0, 1, 1]
    assert tables.groups["name"].schema.types == [pa.int64(), pa.int64()]
    assert tables.privacy["user_id"] == "identifier"
    definitions = [one("user", "count"), feature("words", "user_group", "count", group="name")]
    found = build_features(definitions, tables, asks([(0, 0, DAY), (0, 1, DAY), (1, 1, DAY)]))
    assert found.values.tolist() == [[1, 1], [1, 0.5], [1, 0.5]]  # "Film" is of both, "i1" and "i2" of one


def test_a_grouping_of_a_sensitive_column_is_refused_unless_allowed_and_is_not_standard(tiny):
    """What a person had of each title says the title."""
    card = tiny()
    text = card.read_text().replace('title = "public"', 'title = "sensitive"')
    card.write_text(text + '[slices]\nname = { table = "items", column = "title" }\n')
    tables = Tables.of(load_dataset("tiny"))
    each = feature("words", "user_group", "count", group="name")
    refused("the feature words: name is sensitive and no model input; allow it by its name", [each], tables)
    assert build_features([each], tables, asks([(0, 0, DAY)]), allowed=["name"]).values.shape == (1, 1)
    assert not [each for each in standard_features(tables) if each.group]
