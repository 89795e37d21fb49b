"""Groups of people and items by a column of their table, and the vectors that diversity measures likeness on."""

import pytest

from tests.evaluation.made import tables
from workbench.data import groups
from workbench.data.card import Slice
from workbench.data.groups import grouping, item_vectors
from workbench.errors import RequestError


def found(cells, table="users", **said):
    by = Slice.model_validate({"table": table, "column": "c", **said})
    return [(group, codes.tolist()) for group, codes in groups(tables(**{table: {"c": cells}}), by).items()]


def test_cells_are_groups_the_largest_first_and_the_empty_last():
    assert found(["b", "a", None, "b", "", " a ", "b"]) == [("b", [0, 3, 6]), ("a", [1, 5]), ("unknown", [2, 4])]


def test_a_cell_may_name_several_groups_each_once():
    cells = ["drama|noir", "noir", "|", "drama | drama", "war|"]
    assert found(cells, "items", separator="|") == [("drama", [0, 3]), ("noir", [0, 1]), ("war", [4]), ("unknown", [2])]


def test_bins_are_half_open_in_order_and_what_lies_in_none_is_unknown():
    cells = ["18", "17.99", "0", "-1", "40", "39.9", "old", "nan", "inf", None]
    assert found(cells, bins=[0, 18, 40]) == [("0 to 18", [1, 2]), ("18 to 40", [0, 5]), ("unknown", [3, 4, 6, 7, 8, 9])]


def test_an_empty_bin_is_no_group():
    assert found(["1", "25"], bins=[0, 10, 20, 30]) == [("0 to 10", [0]), ("20 to 30", [1])]


DATA = {"users": {"gender": ["F", "M"]}, "items": {"class": ["drama noir", "war", None]}}
GENRE = {"table": "items", "column": "class", "separator": " "}


def test_the_cards_grouping_comes_before_a_column_and_any_column_will_do():
    data = tables(**DATA, genre=GENRE)
    assert grouping(data, "genre").separator == " "
    assert (grouping(data, "class").separator, grouping(data, "class").table) == (None, "items")
    assert grouping(data, "gender").table == "users"
    with pytest.raises(RequestError, match=r'no grouping or column "gnder"\. Did you mean "gender"\?  \(class, gender, genre\)'):
        grouping(data, "gnder")


def test_the_vector_of_an_item_says_which_groups_it_is_in():
    data = tables(**DATA, genre=GENRE, gender={"table": "users", "column": "gender"})
    assert item_vectors(data).tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]  # nothing is known of the last: it is like nothing
    assert item_vectors(tables(**DATA, gender={"table": "users", "column": "gender"})) is None


def test_ages_and_genres_of_ml_100k(ml100k):
    ages = groups(ml100k, ml100k.card.slices["age_band"])
    assert list(ages) == ["0 to 18", "18 to 25", "25 to 35", "35 to 45", "45 to 56", "56 to 200"]
    assert sum(len(codes) for codes in ages.values()) == ml100k.n_users == 943
    genres = groups(ml100k, ml100k.card.slices["genre"])
    assert list(genres)[:2] == ["Drama", "Comedy"]
    vectors = item_vectors(ml100k)
    assert vectors.shape[0] == ml100k.n_items
    assert vectors.sum() >= ml100k.n_items - len(genres.get("unknown", []))
