import duckdb
import pytest

from tests.conftest import CARD
from workbench.data import list_cards, load_card
from workbench.data.card import parse_card
from workbench.errors import RequestError

GOOD = CARD.format(events="0" * 64, items="1" * 64)


def test_the_shipped_cards_are_valid_and_every_one_is_read():
    cards = {name: load_card(name) for name in list_cards()}
    assert set(cards) == {"ml-100k", "ml-1m", "open-bandit-sample"}
    assert cards["ml-100k"].meaning.positive[0].min == 4
    assert cards["open-bandit-sample"].columns.user_id == tuple(f"user_feature_{n}" for n in range(4))
    assert cards["ml-100k"].slices["age_band"].bins == (0, 18, 25, 35, 45, 56, 200)


@pytest.mark.parametrize(
    ("change", "place", "reason"),
    [
        (('version = 1', 'version = 1\nverson = 2'), '"verson"', "no card has such a key"),
        (('repeats = false', ''), '"meaning.repeats"', "required"),
        (('user_id = "identifier"', 'user_id = "secret"'), '"privacy.user_id"', "'public', 'behavioural', 'sensitive' or 'identifier'"),
        (('unit = "s"', 'unit = "h"'), '"columns.timestamp.unit"', "'s', 'ms', 'us', 'ns' or 'text'"),
        (('name = "tiny.inter"', 'name = "../tiny.inter"'), '"../tiny.inter"', "plain name of a file"),
        (('user_id = "user_id:token"', ''), '"columns"', "user_id or session_id"),
        (('zone = "UTC"', 'zone = "Mars"'), '"columns.timestamp.zone"', "there is no time zone \"Mars\""),
        (('positive = { column = "value", min = 4 }', 'positive = { column = "event" }'), '"meaning.positive.0"', '"is" lists event types'),
        (('{ column = "value", min = 4 }', '{ column = "value", min = nan }'), '"meaning.positive.0"', "min not above max"),
        (('default = "user_time"', 'default = "user-time"'), '"split"', 'there is no split "user-time"'),
        (('default = "user_time"', 'default = "leave_last_n"\nparameters = { n = 0 }'), '"split"', "n = 0"),
        (('value = "rating:float"', 'value = 1.5'), '"columns.value', "valid"),
        (('version = 1', 'version = "one"'), '"version"', "integer"),
        (('repeats = false', 'repeats = false\ngrades = [5, 4]'), '"meaning.grades"', "at most 20 rising values, or event types"),
        (('repeats = false', 'repeats = false\ngrades = [4, 4]'), '"meaning.grades"', "rising values"),
        (('repeats = false', 'repeats = false\ngrades = [4, nan]'), '"meaning.grades"', "rising values"),
        (('repeats = false', 'repeats = false\ngrades = [inf]'), '"meaning.grades"', "rising values"),
        (('repeats = false', 'repeats = false\ngrades = ["buy", "buy"]'), '"meaning.grades"', "event types, each once"),
        (('repeats = false', f'repeats = false\ngrades = {list(range(21))}'), '"meaning.grades"', "at most 20"),
        (('repeats = false', 'repeats = false\ngrades = [4, "buy"]'), '"meaning.grades', "valid"),
        (('title = "Tiny"', 'title = "Tiny'), "not TOML", "line 2"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_card_is_one_line_with_place_and_reason(change, place, reason):
    with pytest.raises(RequestError) as caught:
        parse_card(GOOD.replace(*change), "datasets/tiny.toml")
    message = str(caught.value)
    assert message.startswith("datasets/tiny.toml")
    assert place in message
    assert reason in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("meaning", "events", "grades"),
    [
        ("grades = [4, 5]", [(3, "view"), (4, "view"), (4.5, "view"), (5, "view"), (None, "view")], [0, 1, 1, 2, 0]),
        ("grades = [2, 4.5]", [(4, "view"), (5, "view")], [1, 2]),  # below the first value too a liked event has grade 1
        ("", [(3, "view"), (4, "view"), (5, "view")], [0, 1, 1]),
        ('grades = ["view", "cart", "buy"]', [(5, "view"), (5, "buy"), (1, "buy"), (4, "wish"), (4, None)], [1, 3, 0, 1, 1]),
        ('grades = ["it\'s"]', [(5, "it's")], [1]),
    ],
    ids=["ratings", "liked from 4", "none", "event types", "a quote"],
)
def test_the_grade_of_an_event_is_0_where_it_is_not_liked_and_1_at_least_where_it_is(meaning, events, grades):
    card = parse_card(GOOD.replace("repeats = false", f"repeats = false\n{meaning}"), "")
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE events (value DOUBLE, event VARCHAR)")
        connection.executemany("INSERT INTO events VALUES (?, ?)", events)
        found = connection.execute(f"SELECT {card.meaning.grade_sql} AS grade FROM events").fetchnumpy()["grade"]
    assert found.tolist() == grades
    assert found.dtype == "int8"


def test_twenty_grades_are_no_too_many():
    card = parse_card(GOOD.replace("repeats = false", f"repeats = false\ngrades = {list(range(20))}"), "")
    assert len(card.meaning.grades) == 20


def test_comments_do_not_change_a_card_and_meanings_do():
    card = parse_card(GOOD, "")
    assert parse_card(GOOD + "\n# a remark\n", "").fingerprint == card.fingerprint
    assert parse_card(GOOD.replace("min = 4", "min = 3"), "").fingerprint != card.fingerprint


@pytest.mark.parametrize("name", ["../ml-100k", "a/b", "", ".hidden", "x" * 65, "ml-100k\n"])
def test_a_name_that_is_no_file_name_is_refused_before_any_path_is_built(home, name):
    with pytest.raises(RequestError, match="cannot be the name of a data set"):
        load_card(name)


def test_an_unknown_data_set_names_the_nearest():
    with pytest.raises(RequestError, match=r'there is no data set "ml100k"\. Did you mean "ml-100k"'):
        load_card("ml100k")
