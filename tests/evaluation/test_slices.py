"""Slices of people and of what they liked: who is in which, and what a slice of truth does to a metric."""

from dataclasses import replace
from math import log2

import numpy as np
import pytest
import torch
from torch import tensor

from tests.evaluation.made import Scores, graded, tables
from workbench.errors import RequestError
from workbench.evaluation import (
    Slice,
    all_slices,
    by_activity,
    by_column,
    by_popularity,
    by_return,
    by_service,
    by_window,
    evaluate,
    named_slices,
)
from workbench.testing import interactions
from workbench.testing.synthetic import holdout


def world(liked=((0, 0), (0, 1), (1, 1), (2, 2), (3, 3)), sizes=(0, 1, 19, 20), n_items=40):
    """Four people with so many events behind them, of items 10 and up; by default person 3 is the only one to like item 3."""
    known = interactions([(u, 10 + n) for u, size in enumerate(sizes) for n in range(size)], len(sizes), n_items)
    return holdout(known, graded([(u, i, 1) for u, i in liked], len(sizes), n_items))


def people(slices):
    return {each.name: torch.nonzero(each.people)[:, 0].tolist() for each in slices}


def truths(slices, judged):
    return {each.name: sorted(judged.truth.items[each.truth].tolist()) for each in slices}


def test_activity_is_the_number_of_known_events_and_empty_groups_are_not_there():
    assert people(by_activity(world())) == {"no history": [0], "1 to 19 events": [1, 2], "20 to 49 events": [3]}
    many = world(sizes=(49, 50, 199, 200), n_items=250)
    assert people(by_activity(many)) == {
        "20 to 49 events": [0],
        "50 to 99 events": [1],
        "100 to 199 events": [2],
        "200 events and more": [3],
    }
    assert {each.dimension for each in by_activity(many)} == {"activity"}


def test_return_is_a_place_in_training():
    judged = world()
    assert people(by_return(judged)) == {"new people": [0], "returning people": [1, 2, 3]}
    assert people(by_return(replace(judged, trained=torch.ones(4, dtype=torch.bool)))) == {"returning people": [0, 1, 2, 3]}


def test_service_is_by_the_model_or_the_fallback():
    assert people(by_service(tensor([True, False, True]))) == {"the fallback": [1], "the model": [0, 2]}
    assert people(by_service(tensor([True, True]))) == {"the model": [0, 1]}


def test_popularity_is_of_the_liked_items_and_equals_at_the_edge_of_a_band_are_in_one():
    """Events: item 0 four, items 1, 2 and 3 two each. Half of ten is reached with one of the three, so all of them are in the head."""
    counts = {0: 4, 1: 2, 2: 2, 3: 2}
    known = interactions([(4 + n, item) for item, count in counts.items() for n in range(count)], 8, 6)
    judged = holdout(known, graded([(0, 0, 1), (0, 3, 1), (1, 1, 1), (2, 2, 1), (2, 5, 1)], 8, 6))
    assert truths(by_popularity(judged), judged) == {"head items": [0, 1, 2, 3], "tail items": [5]}


def test_windows_hold_about_as_many_events_each_and_name_their_days():
    day = 86_400_000_000
    judged = world(liked=[(u, i) for u in range(4) for i in range(3)])
    timed = replace(judged, truth=replace(judged.truth, timestamps=torch.arange(12) * day))
    found = by_window(timed)
    assert [each.name for each in found] == [
        "1: 01 Jan 1970 to 04 Jan 1970",
        "2: 04 Jan 1970 to 08 Jan 1970",
        "3: 08 Jan 1970 to 12 Jan 1970",
    ]
    assert torch.stack([each.truth for each in found]).sum(0).tolist() == [1] * 12
    assert [int(each.truth.sum()) for each in found] == [3, 4, 5]
    assert by_window(replace(judged, truth=replace(judged.truth, timestamps=torch.zeros(12, dtype=torch.int64)))) == []


USERS = {"gender": ["F", "M", None, "F"], "age": ["18", "24.5", "old", "200"], "many": ["a", "b", "c", "d"]}
ITEMS = {"genre": ["drama | noir", "drama", "", "war"] + [None] * 36, "year": ["1990", "2000", "nan", "1989"] + [None] * 36}
SLICES = {
    "age_band": {"table": "users", "column": "age", "bins": [18, 25, 200]},
    "genre": {"table": "items", "column": "genre", "separator": "|"},
}
DATA = tables(USERS, ITEMS, **SLICES)


def test_a_column_of_people_groups_people_the_largest_group_first_and_the_unknown_last():
    assert list(people(by_column(DATA, world(), "gender")).items()) == [("F", [0, 3]), ("M", [1]), ("unknown", [2])]


def test_bins_are_half_open_and_what_is_in_none_is_unknown():
    assert people(by_column(DATA, world(), "age_band")) == {"18 to 25": [0, 1], "unknown": [2, 3]}  # 200 is no longer in [25, 200)


def test_a_column_of_items_groups_what_was_liked_and_a_cell_may_name_several():
    judged = world()
    found = by_column(DATA, judged, "genre")
    assert truths(found, judged) == {"drama": [0, 1, 1], "noir": [0], "war": [3], "unknown": [2]}
    assert all(each.people is None for each in found)
    assert truths(by_column(DATA, judged, "year"), judged) == {"1990": [0], "2000": [1, 1], "nan": [2], "1989": [3]}  # as it stands


def test_of_too_many_groups_the_smallest_are_one():
    judged = world()
    assert people(by_column(DATA, judged, "many", most=3)) == {"a": [0], "b": [1], "others": [2, 3]}
    assert people(by_column(DATA, judged, "many", most=4)) == {"a": [0], "b": [1], "c": [2], "d": [3]}
    genres = truths(by_column(DATA, judged, "genre", most=2), judged)
    assert genres == {"others": [0, 1, 1, 3]} | {"unknown": [2]}  # 37 of 40 items have none: that is the largest group


def test_a_group_that_is_called_others_is_not_lost():
    data = tables({"kind": ["others", "others", "x", "y"]})
    assert people(by_column(data, world(), "kind", most=2)) == {"x": [2], "others": [0, 1, 3]}


def test_a_name_that_is_neither_grouping_nor_column_names_the_nearest():
    with pytest.raises(RequestError, match=r'there is no grouping or column "agebnd"\. Did you mean "age_band"'):
        by_column(DATA, world(), "agebnd")


def test_an_intersection_is_who_is_in_both_and_what_is_in_both():
    judged = world()
    young, drama = by_column(DATA, judged, "age_band")[0], by_column(DATA, judged, "genre")[0]
    both = young & drama
    assert (both.label, repr(both)) == ("age_band × genre: 18 to 25, drama", "Slice(age_band × genre: 18 to 25, drama)")
    assert both.people is young.people
    assert both.truth is drama.truth
    women = by_column(DATA, judged, "gender")[0]
    assert torch.nonzero((young & women).people)[:, 0].tolist() == [0]
    assert (drama & Slice("x", "item 0", truth=judged.truth.items == 0)).truth.sum() == 1
    assert both.members(judged).tolist() == [True, True, False, False]


def test_slices_by_name():
    judged = world()
    assert [each.label for each in named_slices(DATA, judged, "gender, returning")] == [
        "gender: F",
        "gender: M",
        "gender: unknown",
        "returning: new people",
        "returning: returning people",
    ]
    crossed = {each.name: torch.nonzero(each.people)[:, 0].tolist() for each in named_slices(DATA, judged, "gender x returning")}
    assert crossed == {
        "F, new people": [0],
        "F, returning people": [3],
        "M, returning people": [1],
        "unknown, returning people": [2],
    }  # of six, those with somebody in them
    for wrong in ("gender,,age", "gender x ", ""):
        with pytest.raises(RequestError, match="separated by commas"):
            named_slices(DATA, judged, wrong)


def test_all_slices_leave_out_a_dimension_that_slices_nothing():
    found = all_slices(DATA, world())
    assert {each.dimension for each in found} == {"activity", "returning", "time", "age_band", "genre"}  # all items are in the tail
    assert [each.label for each in found] == [each.label for each in named_slices(DATA, world(), "all")]


def sliced_by_a_loop(scores, judged, wanted, k):
    """NDCG and recall of each person with only these items relevant: the list whole, the ideal list made anew, NaN without truth."""
    values = []
    for user in judged.users.tolist():
        liked = set(judged.truth.items[judged.truth.users == user].tolist()) & wanted
        seen = set(judged.seen.items[judged.seen.users == user].tolist())
        order = sorted(set(range(judged.n_items)) - seen, key=lambda item: (-scores[user][item], judged.ties[item].item()))
        ranks = [rank for rank, item in enumerate(order[:k], start=1) if item in liked]
        ideal = sum(1 / log2(rank + 1) for rank in range(1, min(k, len(liked)) + 1))
        gain = sum(1 / log2(rank + 1) for rank in ranks)
        values.append((gain / ideal, len(ranks) / len(liked)) if liked else (np.nan, np.nan))
    return np.array(values).T


def test_a_slice_of_items_restricts_the_truth_and_nothing_else():
    rng = np.random.default_rng(0)
    known = interactions([(u, int(i)) for u in range(30) for i in rng.permutation(10)[:4]], 30, 20)
    judged = holdout(known, graded([(u, int(10 + i), 1) for u in range(30) for i in rng.permutation(10)[: rng.integers(1, 6)]], 30, 20))
    scores = rng.integers(0, 6, size=(30, 20)).astype(float)
    result, wanted = evaluate(Scores(scores), judged, ks=(5,)), {10, 11, 12, 13}
    of = Slice("genre", "drama", truth=torch.isin(judged.truth.items, tensor(sorted(wanted))))
    ndcg, recall = sliced_by_a_loop(scores, judged, wanted, 5)
    np.testing.assert_allclose(result.values("ndcg@5", of), ndcg)
    np.testing.assert_allclose(result.values("recall@5", of), recall)
    assert np.isnan(ndcg).any()
    assert torch.equal(~result.values("ndcg@5", of).isnan(), of.members(judged))
    assert result.mean("ndcg@5", of) == pytest.approx(np.nanmean(ndcg))
    blind = result.values("mean_popularity@5", of)  # a metric of the list alone: the same value, for whoever is in the slice
    assert torch.equal(blind[of.members(judged)], result.values("mean_popularity@5")[of.members(judged)])
    assert blind[~of.members(judged)].isnan().all()


def test_graded_truth_in_a_slice_has_the_ideal_list_of_the_slice():
    """Person 0 likes item 0 with grade 3 and item 1 with grade 1; the list has item 1 first. Without item 0 that is perfect."""
    judged = holdout(interactions([], 2, 3), graded([(0, 0, 3), (0, 1, 1), (1, 0, 2)], 2, 3))
    result = evaluate(Scores([[1.0, 2, 0]] * 2), judged, ks=(2,))
    assert result.values("ndcg_linear@2")[0] == pytest.approx((1 + 3 / log2(3)) / (3 + 1 / log2(3)))
    only = result.values("ndcg_linear@2", Slice("item", "1", truth=judged.truth.items == 1))
    assert only[0] == 1
    assert only[1].isnan()


def test_a_slice_of_people_keeps_their_values():
    judged = world()
    result = evaluate(Scores(np.random.default_rng(0).random((4, 40))), judged, ks=(5,))
    some = by_return(judged)[1]
    expected = result.values("ndcg@5").masked_fill(~some.people, torch.nan)
    assert torch.equal(result.values("ndcg@5", some).nan_to_num(), expected.nan_to_num())
