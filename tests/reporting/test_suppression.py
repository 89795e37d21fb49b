"""Groups too small to be shown: what else is hidden with them, held against exact algebra and a solver of integer programs."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from tests.evaluation.made import graded
from workbench.evaluation import Slice, all_slices, people_slices
from workbench.evaluation.slices import LEAST
from workbench.reporting import suppress, suppress_slices, suppression
from workbench.reporting.suppression import Shown
from workbench.testing import interactions
from workbench.testing.synthetic import holdout


def group(dimension, name, people, n):
    """Of these people, codes below n."""
    inside = torch.zeros(n, dtype=torch.bool)
    inside[list(people)] = True
    return Slice(dimension, name, inside)


def partition(dimension, *sizes):
    """Everybody in one of these groups, called a, b, c and so on: (groups, n)."""
    n, ends = sum(sizes), np.cumsum(sizes)
    named = zip("abcdefghij", ends - sizes, ends, strict=False)
    return [group(dimension, name, range(low, high), n) for name, low, high in named], n


def two_way(*rows):
    """Both margins of a table of people and its cells, as a page shows them: gender by age, say. (groups, n)"""
    n, place = sum(map(sum, rows)), 0
    cells: dict[tuple[int, int], range] = {}
    for at in product(range(len(rows)), range(len(rows[0]))):
        cells[at] = range(place, place + rows[at[0]][at[1]])
        place += len(cells[at])
    down = [group("gender", "FMX"[r], [p for at, who in cells.items() if at[0] == r for p in who], n) for r in range(len(rows))]
    across = [group("age", "abcdef"[c], [p for at, who in cells.items() if at[1] == c for p in who], n) for c in range(len(rows[0]))]
    return [*down, *across, *(a & b for a in down for b in across)], n


def labels(groups):
    return [each.label for each in groups]


def size(each):
    return int(each.people.sum())


def columns(groups: Sequence[Slice], n: int) -> np.ndarray:
    """bool (n, 1 + groups): everybody, whose total is always shown, then each group."""
    return np.stack([np.ones(n, dtype=bool), *(each.people.numpy() for each in groups)], axis=1)


def spanned(shown: Sequence[Slice], target: Slice, n: int) -> bool:
    """Whether a group is a sum of multiples of everybody and the shown ones: Gaussian elimination over the rational numbers."""
    kinds = np.unique(np.column_stack([columns(shown, n), target.people.numpy()]), axis=0)
    rows, pivot = [[Fraction(int(cell)) for cell in row] for row in kinds], 0
    for column in range(len(shown) + 1):
        found = next((i for i in range(pivot, len(rows)) if rows[i][column]), None)
        if found is None:
            continue
        rows[pivot], rows[found] = rows[found], rows[pivot]
        for i, row in enumerate(rows):
            if i != pivot and row[column]:
                by = row[column] / rows[pivot][column]
                rows[i] = [a - by * b for a, b in zip(row, rows[pivot], strict=True)]
        pivot += 1
    return not any(row[-1] for row in rows[pivot:])


def by_adding_and_taking_away(shown: Sequence[Slice], target: Slice, n: int) -> bool:
    """The same by trying every sum of everybody and the shown ones, each once at most, added or taken away."""
    table, wanted = columns(shown, n).astype(int), target.people.numpy().astype(int)
    return any((table @ np.array(signs) == wanted).all() for signs in product((-1, 0, 1), repeat=table.shape[1]))


def few_given_away(shown: Sequence[Slice], asked: Sequence[Slice], n: int, least: int) -> int:
    """Of how many people, fewer than `least`, the sum follows from the shown groups; 0 where there are none. By an integer program: find 0
    or 1 for each kind of people that `asked` tells apart, and a multiple for each shown group, so that both say the same of everybody.
    """
    _, first, counts = np.unique(columns(asked, n), axis=0, return_index=True, return_counts=True)
    table = columns(shown, n)[first].astype(float)
    m, g = table.shape
    same = LinearConstraint(np.hstack([np.eye(m), -table]), 0, 0)
    few = LinearConstraint(np.concatenate([counts, np.zeros(g)])[None], 1, least - 1)
    bounds = Bounds(np.repeat([0, -20], [m, g]), np.repeat([1, 20], [m, g]))
    found = milp(np.zeros(m + g), constraints=[same, few], integrality=np.repeat([1, 0], [m, g]), bounds=bounds)
    return 0 if found.x is None else int(counts @ found.x[:m].round())


def check(found: Shown, groups: Sequence[Slice], n: int, least: int = 10) -> None:
    """What holds of everything that is shown: nothing small, nothing small by algebra, no handful between two of them."""
    there = [each for each in groups if size(each)]
    assert sorted(labels([*found.groups, *found.small, *found.beside])) == sorted(labels(there))
    assert labels(found.groups) == [label for label in labels(there) if label in labels(found.groups)], "in the order given"
    assert sorted(labels(found.small)) == sorted(each.label for each in there if size(each) < least)
    for each in found.small:
        assert not spanned(found.groups, each, n), f"{each} follows from {found.groups}"
    everybody = group("all", "everyone", range(n), n)
    for a, b in product([everybody, *found.groups], found.groups):
        if bool((b.people & ~a.people).sum() == 0):
            assert (size(a) - size(b)) not in range(1, least), f"{a} and {b} differ by {size(a) - size(b)} people"


# one dimension


def test_where_no_group_is_small_nothing_is_hidden_and_nothing_is_said():
    groups, n = partition("town", 10, 11, 40)
    found = suppress(groups, n)
    assert found.groups == groups
    assert (found.small, found.beside, found.text) == ([], [], "")


@pytest.mark.parametrize(("least", "hidden"), [(10, []), (11, ["town: a"]), (12, ["town: a", "town: b"])])
def test_a_group_is_small_where_it_has_fewer_people_than_the_least(least, hidden):
    """11 + 10 people are enough together, so that nothing else has to go; 10 alone are not: see the test below."""
    groups, n = partition("town", 10, 11, 40, 50)
    assert labels(suppress(groups, n, least).small) == hidden


def test_a_single_small_group_of_a_partition_takes_the_smallest_other_with_it():
    """Everybody less b and c would be the three of a."""
    groups, n = partition("gender", 3, 60, 50)
    found = suppress(groups, n)
    assert (labels(found.groups), labels(found.small), labels(found.beside)) == (["gender: b"], ["gender: a"], ["gender: c"])
    check(found, groups, n)


def test_two_small_groups_that_are_few_together_take_another_with_them():
    """Everybody less c and d would be 3 + 4 people: neither group, but a handful all the same."""
    groups, n = partition("gender", 3, 4, 60, 50)
    found = suppress(groups, n)
    assert (labels(found.groups), labels(found.beside)) == (["gender: c"], ["gender: d"])
    assert few_given_away(found.groups, groups, n, 10) == 0


def test_small_groups_that_are_enough_together_hide_nothing_else():
    """Everybody less c and d are 6 + 7 people, of whom nobody can say which is which."""
    groups, n = partition("gender", 6, 7, 60, 50)
    found = suppress(groups, n)
    assert (labels(found.groups), found.beside) == (["gender: c", "gender: d"], [])
    check(found, groups, n)


def test_of_two_groups_of_which_one_is_small_neither_is_shown():
    groups, n = partition("gender", 3, 60)
    found = suppress(groups, n)
    assert (found.groups, labels(found.small), labels(found.beside)) == ([], ["gender: a"], ["gender: b"])


def test_where_everything_is_small_nothing_is_shown():
    groups, n = partition("town", *[4] * 8)
    found = suppress(groups, n)
    assert (found.groups, found.small, found.beside) == ([], groups, [])
    assert found.text == "8 groups of fewer than 10 people are not shown (town)."


@pytest.mark.parametrize("sizes", [(3, 2), (4, 4), (5,), (9,)])
def test_of_fewer_people_than_the_least_no_group_is_shown(sizes):
    """Eight people in all: their total is on the page, and none of their groups can be."""
    groups, n = partition("gender", *sizes)
    found = suppress(groups, n)
    assert (found.groups, found.small) == ([], groups)


def test_groups_of_nobody_are_left_out_and_slices_of_what_was_liked_stay_and_neither_is_counted():
    groups, n = partition("town", 3, 4, 60, 50)
    nobody, liked = group("town", "empty", [], n), Slice("genre", "war", truth=torch.ones(5, dtype=torch.bool))
    found = suppress([nobody, *groups, liked], n)
    plain = suppress(groups, n)
    assert (labels(found.groups), labels(found.small), found.text) == (
        [*labels(plain.groups), "genre: war"],
        labels(plain.small),
        plain.text,
    )


def test_where_there_are_no_groups_there_is_nothing_to_hide():
    for groups in ([], [group("town", "empty", [], 20)]):
        found = suppress(groups, 20)
        assert (found.groups, found.small, found.beside, found.text) == ([], [], [], "")


def test_a_least_of_one_hides_nothing():
    groups, n = two_way([1, 2, 0], [5, 1, 1])
    assert labels(suppress(groups, n, 1).groups) == [each.label for each in groups if size(each)]


# tables and nested groups

TABLES = {
    "one small cell": ([3, 40, 50], [30, 40, 50]),
    "two in a row": ([3, 4, 50], [30, 40, 50]),
    "two in a column": ([3, 40, 50], [4, 40, 50]),
    "a diagonal": ([3, 40], [40, 4]),
    "a small row": ([3, 2, 1], [30, 40, 50]),
    "a small column": ([3, 30, 40], [2, 40, 50]),
    "most of it": ([3, 2, 1], [2, 3, 40]),
    "an empty cell": ([0, 3, 40], [30, 40, 50]),
    "three rows": ([3, 20, 30], [20, 30, 40], [30, 40, 5]),
    "all but small": ([10, 11], [12, 13]),
}


@pytest.mark.parametrize("name", TABLES)
def test_no_hidden_cell_of_a_table_with_its_margins_can_be_worked_out(name):
    groups, n = two_way(*TABLES[name])
    found = suppress(groups, n)
    check(found, groups, n)
    for each in found.small:
        assert not (len(found.groups) < 8 and by_adding_and_taking_away(found.groups, each, n))
    assert few_given_away(found.groups, groups, n, 10) == 0


def test_the_check_itself_sees_what_would_follow_were_the_small_cell_alone_hidden():
    """Women less those of b and c are the three of a; so are those of a less the men among them."""
    groups, n = two_way([3, 40, 50], [30, 40, 50])
    shown = [each for each in groups if size(each) >= 10]
    (small,) = (each for each in groups if size(each) < 10)
    assert spanned(shown, small, n)
    assert few_given_away(shown, groups, n, 10) == 3
    without = [each for each in shown if each.label in ("gender: F", "gender × age: F, b", "gender × age: F, c")]
    assert by_adding_and_taking_away(without, small, n)
    assert not by_adding_and_taking_away(without[:2], small, n)


def test_of_two_groups_that_differ_by_a_handful_the_smaller_is_hidden():
    """Of 200 people 100 live in town and 96 of those in its centre: the four of the outskirts would follow."""
    groups = [group("town", "all of it", range(100), 200), group("part", "centre", range(96), 200)]
    found = suppress(groups, 200)
    assert labels(found.groups) == ["town: all of it"]
    assert labels(suppress([groups[0], group("part", "centre", range(90), 200)], 200).groups) == ["town: all of it", "part: centre"]


def test_a_group_of_all_but_a_handful_is_hidden_and_it_is_said():
    """95 of a hundred, the others in no group: nothing is small, and one is hidden."""
    found = suppress([group("club", "members", range(95), 100)], 100)
    assert (found.groups, labels(found.beside)) == ([], ["club: members"])
    assert "(club)" in found.text


def test_two_groups_of_the_same_people_do_not_differ_by_a_handful():
    groups = [group("town", "a", range(50), 100), group("club", "b", range(50), 100)]
    assert suppress(groups, 100).groups == groups


def test_a_handful_between_two_groups_does_not_follow_from_the_other_side_of_one_of_them():
    """Fifty people do little, 47 of them are new: three are neither. "new" is hidden, but everybody less "returning" is the new people."""
    groups = [
        group("activity", "little", range(50), 100),
        group("activity", "much", range(50, 100), 100),
        group("returning", "new", range(47), 100),
        group("returning", "returning", range(47, 100), 100),
    ]
    found = suppress(groups, 100)
    assert few_given_away(found.groups, groups, 100, 10) == 0, f"three people follow from {found.groups}"


def test_two_hidden_cells_of_a_row_do_not_follow_together():
    """Women less those of c and d are the 3 + 4 of a and b; that more cells of the table are hidden is no help to them."""
    groups, n = two_way([3, 4, 50, 60], [30, 40, 50, 60], [3, 4, 20, 20])
    found = suppress(groups, n)
    assert few_given_away(found.groups, groups, n, 10) == 0, f"seven people follow from {labels(found.groups)}"


@pytest.mark.parametrize("least", [10, 20])
def test_on_ml_100k_nobody_follows_from_the_groups_of_the_notebook(ml100k, least):
    judged = ml100k.split().holdout("test")
    groups, n = people_slices(ml100k, judged, "all"), len(judged.users)
    found = suppress(groups, n, least)
    check(found, groups, n, least)
    assert len(found.groups) > 10
    assert few_given_away(found.groups, groups, n, least) == 0


# whatever the groups

ROWS = st.integers(2, 4).flatmap(
    lambda width: st.lists(
        st.lists(st.sampled_from([0, 2, 3, 4, 9, 20, 25, 30, 41]), min_size=width, max_size=width), min_size=2, max_size=3
    )
)
"""People in the cells of a table of two partitions."""
ACROSS = st.sets(st.integers(0, 11), max_size=6)
"""Cells of which a group lies across the table."""


def asked_for(rows, across, inside):
    """The margins of the table, its cells where `inside` says so, the group across it where it has a cell. (groups, n)"""
    groups, n = two_way(*rows)
    cells = groups[len(rows) + len(rows[0]) :]
    assume(n >= 12)
    some = [cells[place].people for place in sorted(across) if place < len(cells)]
    loose = [Slice("loose", "some", torch.stack(some).any(0))] if some else []
    return [*(groups if inside else groups[: -len(cells)]), *loose], n


@settings(max_examples=50, deadline=None, derandomize=True)
@given(ROWS, ACROSS, st.booleans(), st.integers(2, 12))
def test_whatever_the_groups_nothing_small_and_no_handful_between_two_is_given_away(rows, across, inside, least):
    groups, n = asked_for(rows, across, inside)
    check(suppress(groups, n, least), groups, n, least)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(ROWS, ACROSS, st.booleans(), st.integers(2, 12))
def test_whatever_the_groups_no_few_people_follow_from_what_is_shown(rows, across, inside, least):
    groups, n = asked_for(rows, across, inside)
    found = suppress(groups, n, least)
    assert few_given_away(found.groups, groups, n, least) == 0


@settings(max_examples=50, deadline=None, derandomize=True)
@given(ROWS, ACROSS, st.booleans(), st.integers(1, 12))
def test_whatever_is_hidden_it_is_said_how_many_groups(rows, across, inside, least):
    groups, n = asked_for(rows, across, inside)
    found = suppress(groups, n, least)
    assert bool(found.text) == bool(found.small or found.beside)
    if found.small:
        told = "A group" if len(found.small) == 1 else f"{len(found.small)} groups"
        assert found.text.startswith(f"{told} of fewer than {least} people ")
        assert (f"nor {len(found.beside)} more " in found.text) == bool(found.beside)


def test_the_same_groups_are_hidden_every_time():
    groups, n = two_way([3, 20, 30], [20, 30, 40], [30, 40, 5])
    once, again = suppress(groups, n), suppress(groups, n)
    assert labels(once.groups) == labels(again.groups)
    assert labels(once.beside) == labels(again.beside)
    assert once.text == again.text
    assert sum(map(size, groups)) == 3 * n, "and are what they were"


# slices of what was liked

WAR, LOVE = 0, 1
"""Items."""


def liking(*likes):
    """People who like these items each, and a holdout of them all; item 2 is liked by everybody. (holdout, truth slice by item)"""
    rows = [(user, item, 1) for user, own in enumerate(likes) for item in (*own, 2)]
    judged = holdout(interactions([], len(likes), 4), graded(rows, len(likes), 4))
    return judged, lambda name, item: Slice("genre", name, truth=judged.truth.items == item)


def women(n, m):
    """The first n of so many people are women."""
    return group("gender", "F", range(n), n + m), group("gender", "M", range(n, n + m), n + m)


def test_a_slice_of_people_and_what_they_liked_is_of_who_has_something_of_it_to_find():
    """Forty women, of whom two liked a war film; forty men, of whom thirty did, so that these follow from neither."""
    judged, of = liking(*[[WAR] if user < 2 else [] for user in range(40)], *[[WAR] if user < 30 else [] for user in range(40)])
    female, male = women(40, 40)
    asked = [female, male, female & of("War", WAR)]
    found = suppress_slices(asked, judged)
    assert labels(found.groups) == ["gender: F", "gender: M"]
    assert found.small == [asked[2]], "as it was asked for"
    assert found.text == "A group of fewer than 10 people is not shown (gender × genre)."


def test_slices_of_the_same_truth_are_held_against_one_another():
    """Of war films 32 people have one to find, thirty of them men: the two women would be the difference."""
    judged, of = liking(*[[WAR] if user < 2 else [] for user in range(40)], *[[WAR] if user < 30 else [] for user in range(40)])
    female, male = women(40, 40)
    war = of("War", WAR)
    found = suppress_slices([female, male, war, female & war, male & war], judged)
    assert labels(found.small) == ["gender × genre: F, War"]
    assert labels(found.beside) == ["gender × genre: M, War"]
    assert labels(found.groups) == ["gender: F", "gender: M", "genre: War"]


def test_slices_of_other_truths_do_not_give_one_another_away():
    """War and love are liked by 30 and 32 people: of two metrics the difference is of nobody."""
    judged, of = liking(*[[LOVE, WAR] if user < 30 else [LOVE] if user < 32 else [] for user in range(80)])
    asked = [of("War", WAR), of("Love", LOVE)]
    assert suppress_slices(asked, judged).groups == asked
    alike = [Slice("genre", "War", group("", "", range(30), 80).people), Slice("genre", "Love", group("", "", range(32), 80).people)]
    assert labels(suppress_slices(alike, judged).groups) == ["genre: Love"], "as groups of people two would follow"


@pytest.mark.parametrize(("least", "shown"), [(3, ["genre: War"]), (4, [])])
def test_a_slice_of_what_few_people_liked_is_hidden(least, shown):
    """Three people, one of whom liked it twice as much as can be: people are counted, not events."""
    judged, of = liking(*[[WAR, WAR] if user == 0 else [WAR] if user < 3 else [] for user in range(40)])
    assert labels(suppress_slices([of("War", WAR)], judged, least).groups) == shown


def test_a_slice_of_what_nobody_liked_is_neither_shown_nor_counted():
    judged, of = liking(*[[WAR]] * 20)
    found = suppress_slices([of("Love", LOVE), of("War", WAR)], judged)
    assert (labels(found.groups), found.text) == (["genre: War"], "")


def test_of_people_alone_slices_are_hidden_as_groups_are():
    groups, n = two_way(*TABLES["a diagonal"])
    judged, _ = liking(*[[]] * n)
    found, plain = suppress_slices(groups, judged), suppress(groups, n)
    assert (found.groups, found.small, found.beside, found.least) == (plain.groups, plain.small, plain.beside, LEAST)


def test_slices_stay_in_the_order_given_and_what_is_hidden_is_what_was_given():
    judged, of = liking(*[[WAR, LOVE] if user < 40 else [LOVE] if user < 43 else [] for user in range(80)])
    female, male = women(40, 40)
    war, love = of("War", WAR), of("Love", LOVE)
    asked = [love, female, war, male & love, male]
    found = suppress_slices(asked, judged)
    assert found.small == [asked[3]]
    assert found.groups == [each for each in asked if each in found.groups]
    assert {female, male, war} <= set(found.groups)


def test_without_slices_nothing_is_hidden():
    judged, _ = liking(*[[]] * 20)
    found = suppress_slices([], judged)
    assert (found.groups, found.small, found.beside, found.text) == ([], [], [], "")


def test_of_every_slice_of_ml_100k_that_is_shown_enough_people_have_something_to_find(ml100k):
    judged = ml100k.split().holdout("test")
    slices = all_slices(ml100k, judged)
    found = suppress_slices(slices, judged)
    assert min(int(each.members(judged).sum()) for each in found.groups) >= 10
    assert {each.label for each in slices if int(each.members(judged).sum()) < 10} <= {each.label for each in found.small}
    assert {"popularity", "genre", "gender"} <= {each.dimension for each in found.groups}


# what cannot be told in time


def test_what_cannot_be_told_in_time_is_not_shown(monkeypatch):
    """Of no group it is known that nobody follows from it: none is shown."""
    groups, n = partition("town", 10, 11, 40)
    assert suppress(groups, n).groups == groups
    monkeypatch.setattr(suppression, "SECONDS", 0)
    found = suppress(groups, n)
    assert (found.groups, found.small, found.beside) == ([], [], groups)
    assert found.text.startswith("3 groups are not shown, ")
    assert found.text.endswith("(town).")


def test_in_no_time_small_groups_are_still_told_from_the_others(monkeypatch):
    monkeypatch.setattr(suppression, "SECONDS", 0)
    groups, n = partition("gender", 3, 60, 50)
    found = suppress(groups, n)
    assert (found.groups, labels(found.small), labels(found.beside)) == ([], ["gender: a"], ["gender: b", "gender: c"])
    judged, of = liking(*[[WAR]] * n)
    found = suppress_slices([*groups, of("War", WAR)], judged)
    assert (found.groups, labels(found.small)) == ([], ["gender: a"])


# the sentence


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ((3, 60, 50, 40), "A group of fewer than 10 people is not shown, nor 1 more that would give "),
        ((6, 7, 60), "2 groups of fewer than 10 people are not shown (gender)."),
        ((3, 4, 60, 50), "2 groups of fewer than 10 people are not shown, nor 1 more that would give them away (gender)."),
        ((1, 2, 3, 60), "3 groups of fewer than 10 people are not shown, nor 1 more that would give them away (gender)."),
    ],
)
def test_the_sentence_counts_what_is_hidden(sizes, text):
    groups, n = partition("gender", *sizes)
    assert suppress(groups, n).text.startswith(text)


def test_the_sentence_names_each_dimension_once_and_no_group():
    small, beside = ([group(dimension, "secret", [0], 20) for dimension in names] for names in (("age", "town", "age"), ("town", "gender")))
    text = Shown(groups=[], small=small, beside=beside, least=7).text
    assert text == "3 groups of fewer than 7 people are not shown, nor 2 more that would give them away (age, town, gender)."
