"""Groups of people for a fairness page: which ones are asked for by "all", and what is no group of people."""

import pytest
import torch

from tests.evaluation.made import graded, tables
from workbench.errors import RequestError
from workbench.evaluation import named_slices, people_slices
from workbench.testing import interactions
from workbench.testing.synthetic import holdout

USERS = {"gender": ["F", "M", "M", "F"], "age": ["18", "24.5", "old", "30"], "town": ["x", "x", "y", "y"]}
ITEMS = {"genre": ["drama", "drama|war", "war", ""] + [None] * 36}
GENDER = {"table": "users", "column": "gender"}
AGE = {"table": "users", "column": "age", "bins": [18, 25, 200]}
GENRE = {"table": "items", "column": "genre", "separator": "|"}


def world():
    """Four people with 0, 1, 19 and 20 events behind them, each of whom likes the item of their number."""
    known = interactions([(user, 10 + n) for user, size in enumerate((0, 1, 19, 20)) for n in range(size)], 4, 40)
    return holdout(known, graded([(user, user, 1) for user in range(4)], 4, 40))


def dimensions(found):
    return list(dict.fromkeys(each.dimension for each in found))


def members(found, dimension):
    return {each.name: torch.nonzero(each.people)[:, 0].tolist() for each in found if each.dimension == dimension}


def test_all_is_activity_the_cards_groupings_of_people_and_each_two_of_them():
    data = tables(USERS, ITEMS, gender=GENDER, genre=GENRE, age_band=AGE, town={"table": "users", "column": "town"})
    found = people_slices(data, world())
    assert dimensions(found) == ["activity", "gender", "age_band", "town", "gender × age_band", "gender × town", "age_band × town"]
    assert all(each.people is not None and each.truth is None for each in found)
    assert members(found, "activity") == {"no history": [0], "1 to 19 events": [1, 2], "20 to 49 events": [3]}
    assert members(found, "gender × town") == {"F, x": [0], "F, y": [3], "M, x": [1], "M, y": [2]}


def test_of_the_intersections_those_of_nobody_are_not_there():
    """The cell "old" is no number: of four, a man of unknown age."""
    found = people_slices(tables(USERS, gender=GENDER, age_band=AGE), world())
    assert members(found, "gender × age_band") == {"F, 18 to 25": [0], "F, 25 to 200": [3], "M, 18 to 25": [1], "M, unknown": [2]}


def test_without_a_grouping_of_people_in_the_card_all_is_activity():
    """A column that the card does not name is not taken unasked: who is told apart by what is a decision."""
    assert dimensions(people_slices(tables(USERS, ITEMS, genre=GENRE), world())) == ["activity"]
    assert dimensions(people_slices(tables(), world(), " all ")) == ["activity"]


def test_of_one_grouping_there_are_no_pairs():
    assert dimensions(people_slices(tables(USERS, gender=GENDER), world())) == ["activity", "gender"]


def test_dimensions_by_name_are_those_of_named_slices():
    """A grouping of the card, a column that is none, whether there was training, intersections."""
    data, judged, text = tables(USERS, ITEMS, age_band=AGE), world(), "town, returning, age_band x returning, activity"
    found, same = people_slices(data, judged, text), named_slices(data, judged, text)
    assert [each.label for each in found] == [each.label for each in same]
    assert all(torch.equal(a.people, b.people) for a, b in zip(found, same, strict=True))
    assert dimensions(found) == ["town", "returning", "age_band × returning", "activity"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("genre", "genre"),
        ("popularity", "popularity"),
        ("time", "time"),
        ("gender, genre", "genre"),
        ("gender x genre", "gender × genre"),
        ("genre x gender", "genre × gender"),
        ("activity x popularity", "activity × popularity"),
    ],
)
def test_a_dimension_of_items_or_of_time_is_refused_by_name(text, named):
    data = tables(USERS, ITEMS, gender=GENDER, genre=GENRE)
    with pytest.raises(RequestError) as refused:
        people_slices(data, world(), text)
    assert str(refused.value) == f'people = "{text}": {named} is no grouping of people.'


def test_a_name_that_is_nothing_names_the_nearest():
    with pytest.raises(RequestError, match=r'no grouping or column "gendr"\. Did you mean "gender"'):
        people_slices(tables(USERS, gender=GENDER), world(), "gendr")


@pytest.mark.parametrize("text", ["gender,", "gender x "])
def test_a_dimension_without_a_name_is_refused_under_the_name_of_the_parameter_that_has_it(text):
    with pytest.raises(RequestError, match="separated by commas") as refused:
        people_slices(tables(USERS, gender=GENDER), world(), text)
    assert str(refused.value).startswith(f'people = "{text}"')
