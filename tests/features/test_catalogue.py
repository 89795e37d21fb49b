"""What the catalogue has for data that is rich and for data that is poor."""

import pytest

from tests.features.made import Event, asks, made, one, some_log
from workbench.errors import NotApplicable, RequestError
from workbench.features import GROUPS, Tables, build_features, check_features, chosen_features, group_of, parse_groups, standard_features

PLAIN = {"user": {}, "item": {}}


def names(tables, **told):
    definitions = standard_features(tables, **told)
    check_features(definitions, tables.privacy, told.get("sensitive", ()))
    return [each.name for each in definitions]


def test_rich_data_has_a_feature_of_each_group_and_all_can_be_made():
    attributes = {"user": {"city": ["Oslo", None, "Bonn"]}, "item": {"year": ["1999", "2001", "", None, "-7"]}}
    tables = made([*some_log(), Event(0, 0, 0, 1.0, ("all", "it's"))], attributes=attributes)
    definitions = standard_features(tables, given=["bm 25"], sensitive=["city"])
    assert {group_of(each) for each in definitions} == set(GROUPS)
    wanted = {"bm_25", "their_city", "its_year", "with_genre_liked", "person_events_views", "item_events_it'ss"}
    assert wanted <= {each.name for each in definitions}
    found = build_features(definitions, tables, asks([(0, 1, 10**12)], **{"bm 25": [1.0]}), allowed=["city"])
    assert found.values.shape == (1, len(definitions))


def test_without_values_there_are_no_means():
    poor = names(made([Event(0, 0, 0), Event(0, 1, 1)]))
    rich = names(made([Event(0, 0, 0), Event(0, 1, 1, 3.0)]))
    assert set(rich) - set(poor) == {"person_mean", "item_mean", "with_genre_mean"}
    assert "person_mean" not in names(made([]))


def test_without_groups_there_is_nothing_of_them():
    assert not [name for name in names(made([Event(0, 0, 0)], groups={})) if name.startswith("with_")]
    several = names(made([Event(0, 0, 0)], groups={"genre": {0: (0,)}, "decade": {}}))
    assert [name for name in several if name.endswith("_recency")] == [
        "person_recency",
        "item_recency",
        "with_genre_recency",
        "with_decade_recency",
    ]


def test_types_of_events_are_counted_of_people_and_items():
    found = names(made([Event(0, 0, 0, None, ("all", "view")), Event(0, 0, 1, None, ("cart",))]))
    assert {"person_events_carts", "item_events_carts", "person_events_views", "item_events_views"} <= set(found)


def test_of_items_only_public_numbers_are_taken_and_of_people_nothing_unless_named():
    columns = {name: ["1", "2", "-3.5", "", None] for name in ("year", "price", "weight", "length")} | {"title": ["a", "1", "2", "3", "4"]}
    privacy = {
        "year": "public",
        "price": "sensitive",
        "weight": "behavioural",
        "title": "public",
        "city": "sensitive",
        "age": "behavioural",
    }
    tables = made([Event(0, 0, 0)], attributes={"user": {"age": ["1"] * 3, "city": ["x"] * 3}, "item": columns}, privacy=privacy)
    known = {f"its_{name}" for name in columns} | {"their_age", "their_city"}
    assert known & set(names(tables)) == {"its_year"}
    assert known & set(names(tables, sensitive=["city"])) == {"its_year", "their_city"}
    for name in ("age", "cty"):
        with pytest.raises(RequestError, match=f'there is no sensitive column of people "{name}"'):
            standard_features(tables, sensitive=[name])


def test_tables_of_events_alone_are_enough():
    assert "person_events" in names(Tables(made([Event(0, 0, 0)]).events))


@pytest.mark.parametrize("column", ["mean", "events", "recency"])
def test_a_column_called_as_a_feature_does_not_stand_in_its_way(column):
    assert names(made([Event(0, 0, 0, 1.0)], attributes={"user": {}, "item": {column: ["1"] * 5}}, privacy={column: "public"}))


@pytest.mark.parametrize("group", ["person", "item"])
def test_a_grouping_called_as_an_entity_does_not_stand_in_its_way(group):
    assert names(made([Event(0, 0, 0, 1.0)], groups={group: {0: (0,)}}))


@pytest.mark.parametrize(("text", "wanted"), [("all", list(GROUPS)), (" item ,person,", ["item", "person"]), ("moment", ["moment"])])
def test_groups_are_read_from_a_text(text, wanted):
    assert parse_groups(text) == wanted


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("itme", r'there is no group of features "itme"\. Did you mean "item"\?'),
        ("item, all", r'there is no group of features "all"\.'),
        ("", r'features = "" should name each group of features once, at least one\. \(retrieval, person, item, match, moment\)'),
        (" , ", "should name each group of features once, at least one"),
        ("item, person, item", "should name each group of features once"),
    ],
)
def test_what_names_no_groups_is_told(text, told):
    with pytest.raises(RequestError, match=told):
        parse_groups(text)


def test_features_are_chosen_by_group_and_none_is_told():
    definitions = [one("user", "count"), one("item", "count"), one("user_item", "count"), one("user_group", "count")]
    assert [each.entity for each in chosen_features(definitions, ["match", "person"])] == ["user", "user_item", "user_group"]
    with pytest.raises(NotApplicable, match=r"this data has no features of retrieval, moment\."):
        chosen_features(definitions, ["retrieval", "moment"])
