"""Which item is in which group: weights shared out, and groups as numbers for what counts them."""

import pytest
import torch
from torch import tensor

from tests.evaluation.made import tables
from workbench.data.groups import Membership, groups, item_membership
from workbench.errors import RequestError

GENRE = {"table": "items", "column": "class", "separator": "|"}
DATA = tables({"gender": ["F", "M"]}, {"class": ["noir", "drama|noir", None, "drama"], "year": ["1990", "", "1991", "1990"]}, genre=GENRE)


def test_an_item_is_in_each_group_that_its_cell_names():
    found = item_membership(DATA, "genre")
    assert found.names == ("noir", "drama", "unknown")
    assert found.member.tolist() == [[True, False, False], [True, True, False], [False, False, True], [False, True, False]]


def test_every_item_is_in_one_group_at_least_and_the_groups_are_those_of_the_grouping():
    for name in ("genre", "class", "year"):
        found = item_membership(DATA, name)
        assert found.member.any(1).all()
        by = DATA.card.slices.get(name)
        codes = [torch.nonzero(inside)[:, 0].tolist() for inside in found.member.T]
        assert by is None or codes == [each.tolist() for each in groups(DATA, by).values()]
    assert item_membership(DATA, "year").names == ("1990", "1991", "unknown")


def test_an_items_weight_is_shared_out_among_its_groups():
    shares = item_membership(DATA, "genre").shares
    assert shares.dtype == torch.float64
    assert shares.tolist() == [[1, 0, 0], [1 / 2, 1 / 2, 0], [0, 0, 1], [0, 1, 0]]
    thirds = Membership(names=("a", "b", "c", "d"), member=tensor([[True, True, False, True], [False, True, False, False]])).shares
    assert thirds.tolist() == [[1 / 3, 1 / 3, 0, 1 / 3], [0, 1, 0, 0]]
    assert thirds.sum(1).tolist() == pytest.approx([1, 1])


def test_where_no_item_is_in_two_groups_they_are_counted_by_number_and_the_unknown_is_none():
    counted = item_membership(DATA, "year").counted
    assert counted.dtype == torch.int64
    assert counted.tolist() == [0, -1, 1, 0]


def test_where_an_item_is_in_two_groups_they_are_counted_by_column_without_the_unknown():
    counted = item_membership(DATA, "genre").counted
    assert counted.dtype == torch.bool
    assert counted.tolist() == [[True, False], [True, True], [False, False], [False, True]]


def test_the_unknown_is_no_group_wherever_it_stands():
    first = Membership(names=("unknown", "a", "b"), member=tensor([[True, False, False], [False, False, True], [False, True, False]]))
    assert first.counted.tolist() == [-1, 1, 0]
    also = Membership(names=("a", "unknown"), member=tensor([[True, True], [True, False]]))  # in one that counts, and in none twice
    assert also.counted.tolist() == [0, 0]


def test_where_nothing_is_known_of_any_item_there_is_nothing_to_count():
    found = item_membership(tables(items={"class": [None, "", None]}), "class")
    assert found.names == ("unknown",)
    assert found.counted.shape == (3, 0)
    assert found.shares.tolist() == [[1], [1], [1]]


def test_a_grouping_of_people_and_a_name_of_nothing_are_refused():
    with pytest.raises(RequestError, match='"gender" groups people, and items are to be grouped'):
        item_membership(DATA, "gender")
    with pytest.raises(RequestError, match=r'no grouping or column "gener"\. Did you mean "gen'):
        item_membership(DATA, "gener")


def test_the_genres_of_ml_100k(ml100k):
    found = item_membership(ml100k, "genre")
    assert found.member.shape == (ml100k.n_items, len(found.names))
    assert found.shares.sum(1).numpy() == pytest.approx(1)
    assert found.counted.dtype == torch.bool  # many films are of several
    assert found.counted.shape[1] == len([name for name in found.names if name != "unknown"])
    assert 1 < found.member.sum(1).double().mean() < 3
