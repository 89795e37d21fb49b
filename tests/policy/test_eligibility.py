"""Hard rules on single items: what each refuses, with empty cells, junk and boundaries."""

import time

import pytest
from torch import tensor

from tests.policy.made import HAD, ITEMS, N_ITEMS, facts, listed, pool
from workbench.errors import RequestError
from workbench.policy import Policy
from workbench.policy.eligibility import Available, Block, Require, Unseen

EVERYTHING = list(range(N_ITEMS))


def left(step, known=None, items=None):
    """Codes that one person may still be shown, in the order of the table."""
    known = known or facts(items)
    return listed(step.apply(pool([list(range(known.data.n_items))], k=4), known).items)[0]


def require(**more):
    return Require(kind="require", **more)


def available(**more):
    return Available(kind="available", **more)


def refuse(step, reason):
    with pytest.raises(RequestError, match=reason) as error:
        Policy((step,))
    assert "\n" not in str(error.value)


def test_blocked_items_are_gone_and_ids_of_nothing_are_nobodys():
    assert left(Block(kind="block", items=("i2", "i11", "i99", "2", "i2"))) == [item for item in EVERYTHING if item not in (2, 11)]


def test_the_last_item_is_blocked_where_it_is_and_not_where_places_are_empty():
    """The code of an empty place, -1, is also that of the last item of the table."""
    found = Block(kind="block", items=("i11",)).apply(pool([[11, 4, 11 - 1], [5]], k=3), facts())
    assert listed(found.items) == [[4, 10], [5]]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"among": ("acme",)}, [0, 1, 2, 6]),
        ({"among": ("acme", "cody", "nobody")}, [0, 1, 2, 6, 7, 10]),
        ({"among": ("nobody",)}, []),
        ({"among": ("ACME", "acm")}, []),
        ({"among": ("acme",), "empty": "allow"}, [0, 1, 2, 5, 6, 8, 11]),
        ({"among": ("",)}, []),
    ],
)
def test_a_text_is_one_of_those_asked_for_and_empty_cells_are_refused_unless_they_are_allowed(rule, expected):
    """Of the providers "", None and three spaces are empty."""
    assert left(require(column="provider", **rule)) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"at_least": 3}, [0, 1, 5, 6, 9, 11]),
        ({"at_least": 3.0001}, [0, 5, 6, 11]),
        ({"at_most": 3}, [1, 2, 9, 10]),
        ({"at_least": 3, "at_most": 3}, [1, 9]),
        ({"at_least": -1, "at_most": 4}, [1, 2, 9, 10, 11]),
        ({"at_least": 3, "at_most": 3, "empty": "allow"}, [1, 3, 4, 7, 8, 9]),
        ({"at_least": float("inf")}, []),
    ],
)
def test_a_number_lies_within_bounds_that_belong_to_it_and_junk_is_as_good_as_empty(rule, expected):
    """Ratings: "1e1" is 10, " 4 " is 4, "3.0" is 3; "n/a", "nan", "" and None are no numbers."""
    assert left(require(column="rating", **rule)) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"among": ("comedy",)}, [0, 1, 5, 7, 11]),
        ({"among": ("comedy", "war")}, [0, 1, 3, 5, 6, 7, 8, 11]),
        ({"among": ("comedy|drama",)}, []),
        ({"among": ("com",), "empty": "allow"}, [4, 9]),
    ],
)
def test_of_a_cell_that_names_several_groups_one_that_is_asked_for_is_enough(rule, expected):
    assert left(require(column="genre", **rule)) == expected


def test_a_cell_names_several_groups_where_the_card_says_what_is_between_them():
    tags, rule = {"tags": ["a | b", "b", "a|b", " a ", "ab"]}, require(column="tags", among=("a",))
    assert left(rule, facts(tags, tags={"table": "items", "column": "tags", "separator": "|"})) == [0, 2, 3]
    assert left(rule, facts(tags)) == [3]
    assert left(require(column="tags", among=("a|b",)), facts(tags)) == [2]


def test_texts_are_compared_as_texts_even_where_they_look_like_numbers():
    assert left(require(column="rating", among=("3", "4", "nan"))) == [1, 7, 11]


def test_endless_is_no_number():
    assert left(require(column="pages", at_least=5), items={"pages": ["inf", "6", "-inf"]}) == [1]


@pytest.mark.parametrize(
    "rule",
    [{}, {"among": ()}, {"among": ("a",), "at_least": 1}, {"at_least": 2, "at_most": 1}, {"at_least": float("nan"), "at_most": 1}],
)
def test_a_requirement_is_either_some_texts_or_bounds_the_right_way_round(rule):
    refuse(require(column="rating", **rule), 'either "among" or bounds')


def test_a_column_that_is_not_there_is_refused_with_the_nearest_one():
    with pytest.raises(RequestError, match=r'no grouping or column "ratings"\. Did you mean "rating"\?'):
        left(require(column="ratings", at_least=1))


@pytest.mark.parametrize("rule", [require(column="town", among=("x",)), available(at=1, since="town"), available(at=1, until="town")])
def test_a_column_of_people_says_nothing_of_items(rule):
    with pytest.raises(RequestError, match='"town" is a column of people'):
        left(rule)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"at": 20, "since": "since"}, [0, 1, 6, 7, 8, 10]),
        ({"at": 19.999, "since": "since"}, [0, 6, 7, 10]),
        ({"at": "20.5", "since": "since"}, [0, 1, 5, 6, 7, 8, 10]),
        ({"at": 20, "until": "until"}, [1, 2, 3, 4, 5, 7, 8, 11]),
        ({"at": 19.999, "until": "until"}, [0, 1, 2, 3, 4, 5, 7, 8, 9, 11]),
        ({"at": 20, "since": "since", "until": "until"}, [1, 7, 8]),
    ],
)
def test_an_item_is_on_offer_from_its_first_moment_until_just_before_the_last(rule, expected):
    """Who has no beginning, or one that cannot be read, is not on offer; who has no end always is, but for an end that cannot be read."""
    assert left(available(**rule)) == expected


DATES = {"since": ["2020-01-01", "2020-01-01T02:00:00+02:00", "2020-01-01T00:00:01", "1969-12-31", "2020-13-1", "1577836800", "1577836801"]}


@pytest.mark.parametrize("at", ["2020-01-01", "2020-01-01T00:00:00Z", "2020-01-01 01:00+01:00"])
def test_dates_are_moments_in_utc_and_numbers_beside_them_are_none(at):
    assert left(available(at=at, since="since"), items=DATES) == [0, 1, 3]


@pytest.mark.parametrize("at", [1577836800, "1577836800", 1577836800.5])
def test_where_a_number_is_asked_for_dates_beside_numbers_are_no_moments(at):
    """1577836800 is the first second of 2020, but nobody says that the numbers of a table are seconds."""
    assert left(available(at=at, since="since"), items=DATES) == [5]


def test_a_date_without_dashes_is_a_number():
    days = {"since": ["20240101", "20240102", "2024-01-01", "20231231"]}
    assert left(available(at="20240101", since="since"), items=days) == [0, 3]
    assert left(available(at="2024-01-01", since="since"), items=days) == [2]


def test_an_end_of_another_kind_has_come():
    ends = {"until": ["2020-01-02", "1577836801", "", "2020-01-01T00:00:01"]}
    assert left(available(at="2020-01-01", until="until"), items=ends) == [0, 2, 3]
    assert left(available(at=1577836800, until="until"), items=ends) == [1, 2]


@pytest.mark.parametrize(
    ("at", "column", "cells", "kind"),
    [
        ("2020-01-01", "since", ["20200101", "", None], "a date in ISO 8601"),
        ("2020-01-01", "until", ["1577836800"], "a date in ISO 8601"),
        (20200101, "since", ["2020-01-01", "soon"], "a number"),
        ("20200101", "until", ["2020-01-01"], "a number"),
    ],
)
def test_a_column_without_any_moment_of_the_kind_asked_for_is_refused(at, column, cells, kind):
    with pytest.raises(RequestError, match=f"no cell of {column} is {kind}") as error:
        left(available(at=at, **{column: column}), items={column: cells})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("cells", [["", None], ["  ", ""], ["   "]])
def test_a_column_of_empty_cells_is_of_no_kind(cells):
    """Nothing has begun, and nothing ends."""
    assert left(available(at=20, since="since"), items={"since": cells}) == []
    assert left(available(at="2020-01-01", until="until"), items={"until": cells}) == list(range(len(cells)))


def test_dates_are_in_utc_wherever_the_machine_stands(monkeypatch):
    """Midnight of Tokyo is nine hours before that of UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        assert left(available(at="2020-01-01T00:00:00Z", since="since"), items=DATES) == [0, 1, 3]
        assert left(available(at="2019-12-31T23:59:59Z", since="since"), items=DATES) == [3]
        assert left(available(at="2020-01-01", since="since"), items=DATES) == [0, 1, 3]
    time.tzset()


def test_an_offer_that_ends_on_a_date_has_ended_when_the_day_begins():
    ends = {"until": ["2020-01-01", "2020-01-02", " 2020-01-02 ", "   ", "2020-02-30"]}
    assert left(available(at="2020-01-01", until="until"), items=ends) == [1, 2, 3]


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"at": 1}, 'needs a column "since" or "until"'),
        ({"at": "yesterday", "since": "since"}, "'yesterday' is neither a number nor a date"),
        ({"at": "", "until": "until"}, "'' is neither a number nor a date"),
        ({"at": float("nan"), "until": "until"}, "nan is neither a number nor a date"),
        ({"at": "2020-02-30", "until": "until"}, "'2020-02-30' is neither a number nor a date"),
    ],
)
def test_without_a_moment_or_a_column_nothing_is_on_offer(rule, reason):
    refuse(available(**rule), reason)


def test_what_a_person_had_is_gone_for_them_alone():
    """Person 2 had item 2 twice."""
    found = Unseen(kind="unseen").apply(pool([EVERYTHING] * 4, users=[0, 1, 2, 3], k=4), facts())
    gone = [[item for user, item in HAD if user == row] for row in range(4)]
    assert listed(found.items) == [[item for item in EVERYTHING if item not in own] for own in gone]


def test_somebody_unknown_had_nothing_nor_has_an_empty_place():
    """Code -1, as a request has of people that the snapshot does not know. An empty place of person 1 has the key of person 0's item 11."""
    known = facts(had=[(0, 0), (0, 11)])
    found = Unseen(kind="unseen").apply(pool([EVERYTHING, [3], [0, 11, 4]], users=[-1, 1, 0], k=4), known)
    assert listed(found.items) == [EVERYTHING, [3], [4]]
    step = Unseen(kind="unseen")
    assert not step.refused(pool([[0, 11]], users=[-1]), facts(had=[(3, 11), (0, 0)])).any()


def test_every_rule_leaves_the_others_in_their_order_with_their_scores():
    start = pool([[5, 0, 3, 1]], [[9.0, 7.0, 7.0, 2.0]])
    found = require(column="provider", among=("acme", "bolt")).apply(start, facts())
    assert found.items.tolist() == [[0, 3, 1, -1]]
    assert found.scores[found.there].tolist() == [7, 7, 2]
    assert found.lists.tolist() == [[0, 3, 1]]


def test_who_may_be_shown_nothing_has_an_empty_list():
    found = Block(kind="block", items=tuple(f"i{item}" for item in EVERYTHING)).apply(pool([[1, 2], []]), facts())
    assert found.lists.tolist() == [[-1, -1, -1]] * 2


def test_each_says_in_a_few_words_what_it_does():
    assert require(column="rating", at_least=3, at_most=4.5).title == "rating is at least 3 and at most 4.5"
    assert require(column="rating", at_most=4.5).title == "rating is at most 4.5"
    assert require(column="provider", among=("acme", "bolt")).title == "provider is acme or bolt"
    assert available(at="2020-01-01", since="since").title == "on offer at 2020-01-01"
    assert Unseen(kind="unseen").title == "not had before"
    assert Unseen(kind="unseen", name="new to them").title == "new to them"
    assert "2" in Block(kind="block", items=("a", "b")).title


def test_the_made_up_items_are_what_these_tests_say_of_them():
    assert {len(column) for column in ITEMS.values()} == {N_ITEMS}
    assert tensor(HAD).amax(0).tolist() == [2, 11]
