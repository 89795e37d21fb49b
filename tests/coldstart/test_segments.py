"""What is popular among people of a kind: shares by hand, strangers, and which kinds may be learnt from."""

from math import log

import pytest
import torch
from torch import tensor

from tests.coldstart.made import people
from workbench.coldstart import SegmentPopularity, person_segments
from workbench.coldstart.segments import SHRINKAGE
from workbench.data import UserBatch
from workbench.errors import NotApplicable, RequestError
from workbench.models import create
from workbench.testing import interactions

LOG = interactions([(0, 0), (0, 1), (1, 0), (2, 2), (3, 2)], 5, 3)
"""Item 0 has two events, item 1 one, item 2 two; nobody of person 4."""
SHARES = [3 / 8, 2 / 8, 3 / 8]
"""With one event more for each item, so that none is impossible."""
TWO = tensor([0, 0, 1, -1, 1])
"""Persons 0 and 1 are of one kind, 2 and 4 of another, of person 3 it is not known."""


def asked(users, n_items=3):
    """Requests without a history."""
    none = torch.empty(0, dtype=torch.int64)
    return UserBatch(
        users=tensor(users), items=none, timestamps=none, offsets=torch.zeros(len(users) + 1, dtype=torch.int64), n_items=n_items
    )


def test_a_share_is_the_groups_own_mixed_with_everybodys():
    """Group 0 has 3 events, of items 0, 0 and 1; group 1 one, of item 2. Shrinkage 4: as many more events, shared as everybody's are.

    The score is log share + log (share in the group / share): the log of the share in the group.
    """
    scores = SegmentPopularity([TWO], LOG, shrinkage=4.0).score(asked([0, 1, 2, 4]))
    zero = [(2 + 4 * 3 / 8) / (3 + 4), (1 + 4 * 2 / 8) / (3 + 4), (0 + 4 * 3 / 8) / (3 + 4)]
    one = [(0 + 4 * 3 / 8) / (1 + 4), (0 + 4 * 2 / 8) / (1 + 4), (1 + 4 * 3 / 8) / (1 + 4)]
    assert sum(zero) == sum(one) == pytest.approx(1)
    for row, own in zip(scores, (zero, zero, one, one), strict=True):
        assert row.tolist() == pytest.approx([log(share) for share in own], abs=1e-6)
    assert scores.dtype == torch.float32
    assert scores[0].argsort(descending=True).tolist() == [0, 1, 2]
    assert scores[2].argmax() == 2


def test_several_groupings_multiply_what_each_says():
    """Naive Bayes: share · (share in the first group / share) · (share in the second / share)."""
    other = tensor([1, 0, 0, 0, 0])
    both, first, second = (SegmentPopularity(each, LOG, 4.0).score(asked([0]))[0] for each in ([TWO, other], [TWO], [other]))
    assert both.tolist() == pytest.approx([a + b - log(share) for a, b, share in zip(first.tolist(), second.tolist(), SHARES, strict=True)])


def test_of_whom_no_group_is_known_what_is_popular_says_all():
    scores = SegmentPopularity([TWO], LOG).score(asked([3, -1]))
    for row in scores:
        assert row.tolist() == pytest.approx([log(share) for share in SHARES])
    nobody = SegmentPopularity([torch.full((5,), -1)], LOG).score(asked([0, 4, -1]))
    assert torch.equal(nobody, scores[:1].repeat(3, 1))
    assert torch.equal(SegmentPopularity([], LOG).score(asked([0])), scores[:1])


def test_without_groups_the_order_is_that_of_popularity():
    log_of_many = interactions([(user, item) for item in range(9) for user in range((item * 7) % 10)], 10, 9)
    scores = SegmentPopularity([torch.full((10,), -1)], log_of_many).score(asked([0], 9))[0]
    popular = create("popularity").fit(log_of_many).score(asked([0], 9))[0]
    assert torch.equal(scores.argsort(descending=True), popular.argsort(descending=True))


def test_a_stranger_who_tells_their_group_gets_what_it_likes():
    """Person 4 has no event, and the group of person 2."""
    model = SegmentPopularity([TWO], LOG)
    assert not (LOG.users == 4).any()
    assert torch.equal(*model.score(asked([2, 4])))
    assert (model.personal, model.inductive) == (False, True)


def test_a_request_of_nobody_known_is_not_taken_for_the_last_person():
    """Code -1 is Python's last place."""
    last = SegmentPopularity([tensor([0, 0, 0, 0, 1])], interactions([(4, 2)] * 50, 5, 3), shrinkage=1.0)
    stranger, person = last.score(asked([-1, 4]))
    assert not torch.allclose(stranger, person)
    assert stranger.tolist() == pytest.approx([log(1 / 53), log(1 / 53), log(51 / 53)])


def test_the_more_it_is_shrunk_the_more_everybody_gets_the_same():
    spreads = []
    for shrinkage in (0.1, 10.0, SHRINKAGE, 1e9):
        scores = SegmentPopularity([TWO], LOG, shrinkage).score(asked([0, 2]))
        spreads.append(float((scores[0] - scores[1]).abs().max()))
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[0] > 1
    assert spreads[-1] < 1e-6


CELLS = {"gender": ["F", "M", "", "M"], "plan": ["paid", "free", "free", None], "age": ["20", "70", "x", "30"]}
GENDER = {"table": "users", "column": "gender"}
PLAN = {"table": "users", "column": "plan"}
AGE = {"table": "users", "column": "age", "bins": [0, 25, 50]}
PRIVACY = {"gender": "sensitive", "age": "sensitive", "plan": "public"}


def codes(found):
    return {name: segment.tolist() for name, segment in found.items()}


def test_people_are_of_the_kinds_that_the_card_names_the_largest_first():
    assert codes(person_segments(people(PRIVACY, CELLS, gender=GENDER, plan=PLAN))) == {"plan": [1, 0, 0, -1]}


def test_a_sensitive_column_is_learnt_from_only_when_it_is_named():
    data = people(PRIVACY, CELLS, gender=GENDER, plan=PLAN, age_band=AGE)
    assert codes(person_segments(data, ["gender"])) == {"gender": [1, 0, -1, 0], "plan": [1, 0, 0, -1]}
    everything = {"gender": [1, 0, -1, 0], "plan": [1, 0, 0, -1], "age_band": [0, -1, -1, 1]}  # 70 and x are in no bin
    assert codes(person_segments(data, ("age", "gender"))) == everything


def test_a_grouping_of_which_somebody_has_two_groups_makes_no_segments():
    """Person 1 is of two clubs; where nobody is, a separator is no harm."""
    several = {**CELLS, "club": ["a", "a|b", "b", ""]}
    club = {"table": "users", "column": "club", "separator": "|"}
    privacy = {**PRIVACY, "club": "public"}
    assert codes(person_segments(people(privacy, several, club=club, plan=PLAN))) == {"plan": [1, 0, 0, -1]}
    with pytest.raises(NotApplicable, match=r"^the card names no grouping of people that may be learnt from$"):
        person_segments(people(privacy, several, club=club))
    single = person_segments(people(privacy, {**CELLS, "club": ["a", "a", "b", ""]}, club=club))
    assert codes(single) == {"club": [0, 0, 1, -1]}


def test_ml_100k_allows_nothing_unasked(ml100k):
    with pytest.raises(NotApplicable) as caught:
        person_segments(ml100k)
    line = "the card names no grouping of people that may be learnt from; age, gender are sensitive and not allowed by name"
    assert str(caught.value) == line
    (gender,) = person_segments(ml100k, ["gender"]).values()
    assert gender.bincount().tolist() == [670, 273]  # men, women


def test_of_one_sensitive_column_it_says_that_it_is():
    with pytest.raises(NotApplicable, match=r"may be learnt from; gender is sensitive and not allowed by name$"):
        person_segments(people(PRIVACY, CELLS, gender=GENDER))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("gendr", 'there is no sensitive column that a grouping uses "gendr". Did you mean "gender"?  (age, gender)'),
        ("plan", 'there is no sensitive column that a grouping uses "plan". (age, gender)'),
        ("Age", 'there is no sensitive column that a grouping uses "Age". Did you mean "age"?  (age, gender)'),
    ],
)
def test_a_name_that_allows_nothing_is_refused(name, line):
    with pytest.raises(RequestError) as caught:
        person_segments(people(PRIVACY, CELLS, gender=GENDER, plan=PLAN, age_band=AGE), ["gender", name])
    assert str(caught.value) == line


@pytest.mark.parametrize("slices", [{}, {"genre": {"table": "items", "column": "class"}}])
def test_without_groupings_of_people_nothing_is_said_of_sensitive_ones(slices):
    with pytest.raises(NotApplicable) as caught:
        person_segments(people(PRIVACY, CELLS, **slices))
    assert str(caught.value) == "the card names no grouping of people that may be learnt from"
