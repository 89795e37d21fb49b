"""What may be learnt from: groupings that the card names, of people none that it calls sensitive unless asked for by name."""

from types import SimpleNamespace

import pytest
import torch

from tests.evaluation.made import tables
from workbench.data import Side, groups, item_vectors, side_information
from workbench.errors import RequestError

CELLS = {"users": {"gender": ["F", "M", ""], "plan": ["free", "paid", "free"]}, "items": {"class": ["drama noir", "war", None]}}
GENDER, PLAN = {"table": "users", "column": "gender"}, {"table": "users", "column": "plan"}
GENRE = {"table": "items", "column": "class", "separator": " "}


def card(privacy=(), **slices):
    data = tables(**CELLS, **slices)
    data.card.privacy = {"gender": "sensitive", "plan": "behavioural", "class": "public", **dict(privacy)}
    return data


def test_of_ml_100k_nothing_of_people_is_learnt_from_unasked(ml100k):
    side = side_information(ml100k)
    assert side.users is None
    assert torch.equal(side.items, item_vectors(ml100k))
    assert side.texts is None
    assert repr(side) == f"Side(items {tuple(item_vectors(ml100k).shape)})"


def test_sensitive_columns_are_allowed_by_name(ml100k):
    """One column for each group; the card's grouping says what the groups are: age in bins."""
    gender = side_information(ml100k, sensitive=["gender"]).users
    assert gender.shape == (943, 2)
    men = groups(ml100k, ml100k.card.slices["gender"])["M"]
    assert gender.sum(0).tolist() == [len(men), 943 - len(men)], "the largest group first"
    assert torch.equal(torch.nonzero(gender[:, 0])[:, 0], men)
    age = side_information(ml100k, sensitive=("age",)).users
    assert age.shape == (943, 6)
    assert age.sum(1).tolist() == [1.0] * 943
    assert torch.equal(side_information(ml100k, sensitive=("age", "gender")).users, torch.cat([gender, age], 1))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("gendr", 'there is no sensitive column that a grouping uses "gendr". Did you mean "gender"?  (age, gender)'),
        ("occupation", 'there is no sensitive column that a grouping uses "occupation". (age, gender)'),
        ("Age", 'there is no sensitive column that a grouping uses "Age". Did you mean "age"?  (age, gender)'),
        ("class", 'there is no sensitive column that a grouping uses "class". (age, gender)'),
    ],
)
def test_a_name_that_allows_nothing_is_refused(ml100k, name, line):
    with pytest.raises(RequestError) as caught:
        side_information(ml100k, sensitive=[name])
    assert str(caught.value) == line


def test_what_is_not_sensitive_is_learnt_from_and_who_is_in_no_group_is_nothing():
    data = card(gender=GENDER, plan=PLAN, genre=GENRE)
    assert side_information(data).users.tolist() == [[1, 0], [0, 1], [1, 0]]  # free, paid
    assert side_information(data).items.tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert side_information(data, sensitive=["gender"]).users.tolist() == [[1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]]
    assert repr(side_information(data)) == "Side(users (3, 2), items (3, 3))"


def test_without_groupings_there_is_nothing():
    for data in (card(), card(gender=GENDER)):
        side = side_information(data)
        assert side.tables() == {}
        assert repr(side) == "Side(nothing)"
    side.check(SimpleNamespace(n_users=3, n_items=3))


@pytest.mark.parametrize("table", ["users", "items", "texts"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e39])
def test_a_cell_that_is_no_finite_number_is_named(table, value):
    cells = torch.zeros(4, 3, dtype=torch.float64)
    cells[2, 1] = cells[3, 0] = value
    with pytest.raises(RequestError) as caught:
        Side(**{table: cells})
    assert str(caught.value) == f"features of {table}, row 2, column 1: {value} is not a finite number in 32 bits."


@pytest.mark.parametrize("shape", [(4,), (4, 3, 2), (4, 0), ()])
def test_features_are_tables(shape):
    with pytest.raises(RequestError) as caught:
        Side(items=torch.full(shape, float("nan")))
    assert str(caught.value) == f"features of items have shape {shape}; a table has rows and columns."


def test_each_table_is_held_against_its_own_rows():
    log = SimpleNamespace(n_users=2, n_items=3)
    Side(users=torch.ones(2, 1), items=torch.ones(3, 1), texts=torch.ones(3, 4)).check(log)
    with pytest.raises(RequestError, match=r"features of users have shape \(3, 1\); the log needs 2 rows\."):
        Side(users=torch.ones(3, 1)).check(log)
    with pytest.raises(RequestError, match=r"features of texts have shape \(2, 4\); the log needs 3 rows\."):
        Side(items=torch.ones(3, 1), texts=torch.ones(2, 4)).check(log)
