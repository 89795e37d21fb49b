"""Lists made elsewhere are judged as `evaluate` judges its own, and refused where they are none."""

import json
from dataclasses import replace

import pytest
import torch

from tests.evaluation.made import Scores, everyone
from workbench.data.ledger import Ledger
from workbench.errors import NotApplicable
from workbench.evaluation import evaluate, evaluate_lists
from workbench.evaluation.ranking import NOTHING
from workbench.models import create
from workbench.testing import interactions, latent_log
from workbench.testing.synthetic import holdout

KS = (1, 3, 10)


@pytest.fixture
def judged():
    """People 2, 5 and 6 of 7 have something to find among 9 items; they had 0 and 1, nothing, and 8."""
    known, liked = interactions([(2, 0), (2, 1), (6, 8)], 7, 9), interactions([(2, 4), (5, 0), (6, 2), (6, 3)], 7, 9)
    return holdout(known, liked)


def lists(*rows):
    return torch.tensor(rows, dtype=torch.int64)


GOOD = [[4, 5, 6], [0, 1, NOTHING], [NOTHING] * 3]


def same(one, other):
    assert one.per_user.keys() == other.per_user.keys()
    for metric, values in one.per_user.items():
        assert torch.equal(values.nan_to_num(-1), other.per_user[metric].nan_to_num(-1)), metric


def test_the_lists_that_evaluate_made_are_judged_as_it_judged_them():
    train, judged = latent_log(n_users=60, n_items=50, events_each=20)
    vectors = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    own = evaluate(create("item_knn").fit(train), judged, ks=KS, vectors=vectors)
    ours = evaluate_lists(own.top, judged, name=own.model, title=own.title, ks=(10, 3, 1, 3), vectors=vectors)
    same(ours, own)
    assert any(metric.startswith("diversity") for metric in ours.per_user)
    assert (ours.model, ours.title, ours.ks, ours.label) == (own.model, own.title, own.ks, own.label)
    assert torch.equal(ours.top, own.top)
    assert not ours.served_by_fallback.any()
    assert ours.covered(3) == own.covered(3)


def test_lists_that_a_fallback_made_are_marked_as_such():
    train, judged = latent_log(n_users=60, n_items=50, events_each=20)
    known = train.select(train.users % 3 > 0)
    judged = replace(judged, history=known, trained=known.events_per_user > 0)
    knn, popularity = (create(name).fit(known) for name in ("item_knn", "popularity"))
    own = evaluate(knn, judged, ks=KS, fallback=popularity)
    ours = evaluate_lists(own.top, judged, name="knn", ks=KS, served=own.lists.served, fallback_name="popularity")
    same(ours, own)
    assert torch.equal(ours.served_by_fallback, own.served_by_fallback)
    assert int(ours.served_by_fallback.sum()) == 20
    assert ours.fallback == own.fallback


def test_short_and_empty_lists_are_lists(judged):
    found = evaluate_lists(lists(*GOOD), judged, name="made", ks=(1, 2))
    assert found.per_user["recall@2"].tolist() == [1, 1, 0]
    assert found.title == "made"
    assert found.tied_share == 0.0


def test_what_is_beyond_the_largest_cutoff_does_not_count(judged):
    deep, shallow = (evaluate_lists(lists(*GOOD)[:, :depth], judged, name="made", ks=(1, 2)) for depth in (3, 2))
    same(deep, shallow)


def test_a_person_may_be_shown_what_another_had(judged):
    evaluate_lists(lists([8, 4, 5], [0, 1, 8], [0, 1, 7]), judged, name="made", ks=(3,))


@pytest.mark.parametrize(
    ("row", "wrong", "line"),
    [
        (0, [4, 5, 4], "the list of made for person 2 has an item twice."),
        (1, [4, 4, NOTHING], "the list of made for person 5 has an item twice."),
        (1, [NOTHING, 4, 5], "the list of made for person 5 has a gap before an item."),
        (2, [4, NOTHING, 5], "the list of made for person 6 has a gap before an item."),
        (0, [4, 5, 1], "the list of made for person 2 has an item that may not be shown."),
        (2, [8, NOTHING, NOTHING], "the list of made for person 6 has an item that may not be shown."),
        (0, [4, 5, 9], "the list of made for person 2 has a code of no item."),
        (2, [-2, 4, 5], "the list of made for person 6 has a code of no item."),
    ],
)
def test_what_is_no_list_is_refused_by_the_name_of_the_person(judged, row, wrong, line):
    rows = [*GOOD]
    rows[row] = wrong
    with pytest.raises(ValueError) as caught:  # noqa: PT011, the line is compared below
        evaluate_lists(lists(*rows), judged, name="made", ks=(1,))
    assert str(caught.value) == line


def test_the_first_person_whose_list_is_none_is_named(judged):
    with pytest.raises(ValueError, match="for person 5 has an item twice"):
        evaluate_lists(lists([4, 5, 6], [7, 7, 1], [3, 3, 3]), judged, name="made", ks=(1,))


def test_where_repeats_are_legitimate_everything_may_be_shown(judged):
    again = replace(judged, seen=None)
    found = evaluate_lists(lists([0, 1, 4], *GOOD[1:]), again, name="made", ks=(3,))
    assert found.per_user["recall@3"].tolist() == [1, 1, 0]
    with pytest.raises(ValueError, match="for person 2 has an item twice"):
        evaluate_lists(lists([0, 0, 4], *GOOD[1:]), again, name="made", ks=(3,))


@pytest.mark.parametrize("shape", [(2, 3), (4, 3), (3, 2), (3,), (3, 3, 1), ()], ids=str)
def test_lists_of_the_wrong_shape_are_refused(judged, shape):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        evaluate_lists(torch.full(shape, NOTHING), judged, name="made", ks=(1, 3))
    assert str(caught.value) == f"lists of made have shape {shape}, expected 3 rows of at least 3."


@pytest.mark.parametrize("k", [0, -1, 10])
def test_a_cutoff_outside_the_catalogue_has_no_answer(judged, k):
    with pytest.raises(NotApplicable, match=f"k = {k} should be between 1 and 9"):
        evaluate_lists(torch.full((3, 12), NOTHING), judged, name="made", ks=(1, k))


def test_nobody_to_judge_has_no_answer(judged):
    with pytest.raises(NotApplicable, match="nobody is left to judge"):
        evaluate_lists(lists(*GOOD)[:0], judged.select(torch.zeros(3, dtype=torch.bool)), name="made", ks=(1,))


def test_a_look_is_written_down_and_what_is_refused_is_none(tmp_path):
    judged = replace(everyone(3, "made@1/user_time/{}/0/test:related"), ledger=Ledger(tmp_path / "looks.jsonl"))
    for wrong in (torch.zeros(3, 4, dtype=torch.int64), torch.zeros(2, 4, dtype=torch.int64)):
        with pytest.raises(ValueError, match="of made"):
            evaluate_lists(wrong, judged, name="made", ks=(1,))
    assert not judged.ledger.path.exists()
    evaluate_lists(torch.full((3, 1), NOTHING), judged, name="made", ks=(1,))
    (entry,) = [json.loads(line) for line in judged.ledger.path.read_text().splitlines()]
    assert (entry["part"], entry["model"], entry["settings"]) == ("made@1/user_time/{}/test", "made", {})


def test_evaluate_and_lists_look_alike_to_the_ledger(tmp_path):
    judged = replace(everyone(3, "made@1/user_time/{}/0/test"), ledger=Ledger(tmp_path / "looks.jsonl"))
    own = evaluate(Scores(torch.rand(3, 12)), judged, name="made", ks=(2,))
    evaluate_lists(own.top, judged, name="made", ks=(2,))
    looks = judged.ledger.looks("made@1/user_time/{}/test")
    assert (looks.total, looks.models) == (2, 1)
