"""How far a feature moved and how much it says alone, by hand; and what is said of each feature."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from tests.features.made import one, thorough
from workbench.features import FeatureFrame, feature, feature_docs, feature_report, lineage, stability_index, suspicion

NAN = math.nan
numbers = st.lists(st.floats(-1e6, 1e6) | st.just(NAN), min_size=1, max_size=40).map(lambda told: tensor(told, dtype=torch.float64))


def shift(*shares):
    """Σ (q − p) ln(q / p) of pairs (p, q)."""
    return sum((q - p) * math.log(q / p) for p, q in shares)


@given(numbers, st.booleans())
def test_what_stays_alike_did_not_move(values, category):
    assert stability_index(values, values.flip(0), category) == 0


@given(numbers, numbers, st.booleans())
def test_the_index_is_finite_and_at_least_0(before, after, category):
    assert 0 <= stability_index(before, after, category) < math.inf


def test_of_two_bins_it_is_the_sum_by_hand():
    """Of 0 and 1, half and half, every tenth but those two is empty; a fifth of ones is left."""
    before, after = tensor([0.0, 1.0] * 10), tensor([0.0] * 16 + [1.0] * 4)
    assert stability_index(before, after) == pytest.approx(shift((0.5, 0.8), (0.5, 0.2)))
    assert stability_index(before, after, category=True) == pytest.approx(shift((0.5, 0.8), (0.5, 0.2)))


def test_what_is_missing_is_a_bin_of_its_own():
    before, after = tensor([NAN] * 2 + [1.0] * 8), tensor([NAN] * 5 + [1.0] * 5)
    for category in (False, True):
        assert stability_index(before, after, category) == pytest.approx(shift((0.2, 0.5), (0.8, 0.5)))
    assert stability_index(tensor([NAN] * 3), tensor([NAN] * 4)) == 0
    assert stability_index(tensor([NAN] * 3), tensor([1.0] * 4)) == pytest.approx(2 * (1 - 1e-4) * math.log(1e4))


def test_a_bin_without_anybody_is_taken_for_one_in_ten_thousand():
    found = stability_index(tensor([0.0, 1.0]), tensor([0.0, 0.0]), category=True)
    assert found == pytest.approx(shift((0.5, 1), (0.5, 1e-4)))


def test_tenths_are_those_of_before():
    """A hundred even numbers; after, the lower half of them is gone."""
    before = torch.arange(100.0)
    assert stability_index(before, before[50:]) == pytest.approx(5 * shift((0.1, 0.2)) + 5 * shift((0.1, 1e-4)))


@pytest.mark.parametrize("empty", [(0, 3), (3, 0), (0, 0)])
def test_nobody_does_not_move(empty):
    assert math.isnan(stability_index(*(torch.ones(n) for n in empty)))


def test_a_name_that_is_new_is_a_shift():
    assert stability_index(tensor([0.0] * 9), tensor([1.0] * 9), category=True) > 1
    assert stability_index(tensor([0.0, 2.0]), tensor([1.0, 2.0]), category=True) > 1


def test_what_was_always_the_same_and_is_another_number_has_moved():
    assert stability_index(tensor([1.0] * 9), tensor([5.0] * 9)) > 1
    assert stability_index(tensor([1.0] * 9), tensor([0.0] * 9)) > 1


def test_a_count_that_was_nearly_always_0_and_never_is_any_more_has_moved():
    assert stability_index(tensor([0.0] * 95 + [1.0, 2.0, 3.0, 4.0, 5.0]), tensor([1.0, 2.0, 3.0, 4.0, 5.0])) > 1


LABELS = tensor([True, False, True, False])


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([4, 1, 3, 2], 1.0),
        ([1, 3, 2, 4], 1.0),
        ([7, 7, 7, 7], 0.5),
        ([4, 3, 2, 1], 0.75),  # of four comparisons 4 > 3, 4 > 1 and 2 > 1 are won
        ([NAN, 1, NAN, 2], 1.0),
        ([3, NAN, 2, -1e300], 1.0),
        ([NAN] * 4, 0.5),
    ],
)
def test_a_feature_alone_knows_as_much_as_its_auc_says_either_way_round(values, wanted):
    assert suspicion(tensor(values, dtype=torch.float64), LABELS) == wanted


@pytest.mark.parametrize("labels", [[True, True], [False, False], []])
def test_where_all_labels_are_alike_nothing_is_said(labels):
    assert math.isnan(suspicion(torch.arange(float(len(labels))), tensor(labels, dtype=torch.bool)))


DEFINITIONS = (
    one("user", "count"),
    feature("city", "user", "attribute", of="city", category=True, privacy="sensitive"),
    feature("score", "candidate", "given", of="bm25"),
    one("user_group", "rate", of="liked", window=7.0),
    feature("hour", "context", "hour"),
)


def test_the_report_has_a_row_for_each_feature():
    columns = [[4, 1, 3, 2], [0, 0, 1, 1], [4, 3, 2, NAN], [NAN] * 4, [5, 5, 5, 5]]
    train = FeatureFrame(DEFINITIONS, tensor(columns, dtype=torch.float64).T, {"city": ("Bonn", "Oslo")})
    report = feature_report(train, LABELS)
    assert list(report["feature"]) == [each.name for each in DEFINITIONS]
    assert list(report["group"]) == ["person", "person", "retrieval", "match", "moment"]
    assert list(report["there"]) == [1, 1, 0.75, 0, 1]
    assert list(report["different"]) == [4, 2, 3, 0, 1]
    assert list(report["AUC alone"]) == [1, 0.5, 0.75, 0.5, 0.5]
    assert list(report["suspicious"]) == ["knows the answer?", "", "", "never there", ""]
    assert report["drift"].isna().all()
    moved = feature_report(train, LABELS, train.select(tensor([0, 1])))
    assert moved["drift"][1] == pytest.approx(shift((0.5, 1), (0.5, 1e-4)))
    assert (moved["drift"][3], moved["drift"][4]) == (0, 0)
    empty = feature_report(train.select(tensor([], dtype=torch.int64)), LABELS[:0])
    assert list(empty["suspicious"]) == ["never there"] * 5


def test_the_docs_list_every_feature_once():
    definitions = thorough()
    lines = feature_docs(definitions).splitlines()
    assert len(lines) == 2 + len(definitions)
    for each, line in zip(definitions, lines[2:], strict=True):
        assert line.startswith(f"| `{each.name}` | {each.entity} | {each.text} | {', '.join(each.kinds) or '–'} | ")
        assert line.count("|") == lines[0].count("|") == 7


def test_lineage_names_what_each_feature_is_made_of():
    found = lineage(DEFINITIONS, ["logistic", "trees"])
    assert set(found["models"]) == {"logistic, trees"}
    sources = {name: set(rows["source"]) for name, rows in found.groupby("feature")}
    assert sources == {
        "user_count": {"events: all"},
        "city": {"users: city"},
        "score": {"retrieval: bm25"},
        DEFINITIONS[3].name: {"events: all", "events: liked", "items: genre"},
        "hour": {"the request's moment"},
    }
    assert lineage([], ["trees"]).empty
