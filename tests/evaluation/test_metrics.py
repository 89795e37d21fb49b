"""Every metric of people on lists small enough to check by eye: the tests show their arithmetic."""

from math import log2

import pytest
import torch
from torch import tensor

from tests.evaluation.made import graded, listed
from workbench.evaluation import METRICS, SET_METRICS, label, one_truth_ndcg, recall_ceiling, split_name
from workbench.evaluation.metrics import (
    average_precision,
    diversity,
    hit_rate,
    long_tail_share,
    mean_popularity,
    mrr,
    ndcg,
    ndcg_exponential,
    ndcg_linear,
    novelty,
    precision,
    recall,
    serendipity,
    truncated_recall,
    user_coverage,
)
from workbench.testing import interactions
from workbench.testing.synthetic import holdout

HITS = tensor([[0, 1, 0, 1], [1, 0, 1, 0], [0, 0, 0, 0]]).bool()
N_RELEVANT = tensor([4, 2, 1])
NAN = pytest.approx(float("nan"), nan_ok=True)
SHORT = tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]]).bool()  # lists of three items, two, one, none


def test_recall_counts_only_the_first_k_and_divides_by_all_relevant():
    assert recall(HITS, N_RELEVANT, k=3).tolist() == [1 / 4, 2 / 2, 0 / 1]


def test_truncated_recall_divides_by_what_k_places_can_hold():
    assert truncated_recall(HITS, N_RELEVANT, k=3).tolist() == [1 / 3, 2 / 2, 0 / 1]
    assert truncated_recall(HITS, N_RELEVANT, k=1).tolist() == [0 / 1, 1 / 1, 0 / 1]


def test_precision_divides_by_k_whatever_is_relevant():
    assert precision(HITS, k=4).tolist() == [2 / 4, 2 / 4, 0 / 4]
    assert precision(HITS, k=3).tolist() == [1 / 3, 2 / 3, 0 / 3]


def test_hit_rate_is_one_or_nothing():
    assert hit_rate(HITS, k=1).tolist() == [0, 1, 0]
    assert hit_rate(HITS, k=2).tolist() == [1, 1, 0]


def test_mrr_is_the_inverse_rank_of_the_first_hit():
    assert mrr(HITS, k=4).tolist() == [1 / 2, 1 / 1, 0]
    assert mrr(HITS, k=1).tolist() == [0, 1 / 1, 0]


def test_average_precision_sums_the_precision_at_each_hit_and_divides_by_all_relevant():
    assert average_precision(HITS, N_RELEVANT, k=4).tolist() == pytest.approx([(1 / 2 + 2 / 4) / 4, (1 / 1 + 2 / 3) / 2, 0])
    assert average_precision(HITS, N_RELEVANT, k=2).tolist() == pytest.approx([1 / 4 * (1 / 2), 1 / 2 * (1 / 1), 0])


def test_ndcg_discounts_by_rank_and_divides_by_an_ideal_list():
    ideal_of_4, ideal_of_2 = (sum(1 / log2(rank + 1) for rank in range(1, n + 1)) for n in (4, 2))
    expected = [(1 / log2(3) + 1 / log2(5)) / ideal_of_4, (1 / log2(2) + 1 / log2(4)) / ideal_of_2, 0]
    assert ndcg(HITS, N_RELEVANT, k=4).tolist() == pytest.approx(expected)


def test_the_ideal_list_of_ndcg_is_no_longer_than_k():
    assert ndcg(tensor([[1, 1, 0]]).bool(), tensor([7]), k=2).tolist() == pytest.approx([1.0])


def test_graded_ndcg_gains_the_grade_or_two_to_the_grade_less_one():
    """Relevant: an item of grade 3, never shown, one of grade 2 at rank 2, one of grade 1 at rank 3."""
    grades, ideal = tensor([[0, 2, 1]]).double(), tensor([[3, 2, 1]]).double()
    linear = (2 / log2(3) + 1 / log2(4)) / (3 / log2(2) + 2 / log2(3) + 1 / log2(4))
    assert ndcg_linear(grades, ideal, k=3).tolist() == pytest.approx([linear])
    exponential = (3 / log2(3) + 1 / log2(4)) / (7 / log2(2) + 3 / log2(3) + 1 / log2(4))  # 2^2 - 1 = 3, 2^3 - 1 = 7
    assert ndcg_exponential(grades, ideal, k=3).tolist() == pytest.approx([exponential])
    assert ndcg_linear(grades, ideal, k=2).tolist() == pytest.approx([2 / log2(3) / (3 / log2(2) + 2 / log2(3))])


def test_where_all_grades_are_one_every_gain_gives_the_same():
    grades, ideal = HITS.double(), (torch.arange(4) < N_RELEVANT[:, None]).double()
    for graded_ndcg in (ndcg_linear, ndcg_exponential):
        assert graded_ndcg(grades, ideal, k=4).tolist() == pytest.approx(ndcg(HITS, N_RELEVANT, k=4).tolist())


def test_the_ceiling_of_recall_is_what_k_places_can_hold():
    assert recall_ceiling(tensor([1, 4, 8]), k=4).tolist() == [1 / 1, 4 / 4, 4 / 8]


def test_one_truth_ndcg_takes_the_other_hits_out_of_the_list():
    """The second hit, at rank 4, is at rank 3 once the first is away; the first stays at rank 2 without the second."""
    shown = torch.ones(1, 4, dtype=torch.bool)
    assert one_truth_ndcg(HITS[:1], shown, tensor([2]), k=3).tolist() == pytest.approx([(1 / log2(2 + 1) + 1 / log2(3 + 1)) / 2])
    assert one_truth_ndcg(HITS[:1], shown, tensor([2]), k=2).tolist() == pytest.approx([(1 / log2(2 + 1) + 0) / 2])


def test_one_truth_ndcg_says_so_when_the_list_is_too_short_to_tell():
    """Two of three relevant items are found. With two places the third has two others above it: 0. With three it may be third."""
    shown = torch.ones(1, 4, dtype=torch.bool)
    assert one_truth_ndcg(HITS[:1], shown, tensor([3]), k=2).tolist() == pytest.approx([(1 / log2(2 + 1) + 0 + 0) / 3])
    assert one_truth_ndcg(HITS[:1], shown, tensor([3]), k=3).tolist() == [NAN]


def test_user_coverage_wants_k_items_from_the_model_itself():
    assert user_coverage(SHORT, tensor([True, True, True, True]), k=2).tolist() == [1, 1, 0, 0]
    assert user_coverage(SHORT, tensor([True, False, True, False]), k=1).tolist() == [1, 0, 1, 0]


def test_means_over_the_items_shown_divide_by_how_many_there_are():
    bits = tensor([[1, 3, 5], [1, 3, 0], [1, 0, 0], [0, 0, 0]]).double()
    assert novelty(bits, SHORT, k=3).tolist() == [(1 + 3 + 5) / 3, (1 + 3) / 2, 1 / 1, NAN]
    assert mean_popularity(10 * bits, SHORT, k=2).tolist() == [(10 + 30) / 2, (10 + 30) / 2, 10 / 1, NAN]
    tail = tensor([[1, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 0]]).bool()
    assert long_tail_share(tail, SHORT, k=3).tolist() == [2 / 3, 1 / 2, 1 / 1, NAN]


def test_serendipity_wants_a_hit_that_popularity_would_not_have_shown():
    place = tensor([[0, 1, 0, 2], [7, 0, 1, 0], [0, 0, 0, 0]])  # of each hit in the person's list by popularity, from 0
    assert serendipity(HITS, place, k=4).tolist() == [0 / 4, 1 / 4, 0 / 4]
    assert serendipity(HITS, place, k=2).tolist() == [0 / 2, 1 / 2, 0 / 2]
    assert serendipity(HITS, place, k=1).tolist() == [0 / 1, 1 / 1, 0 / 1]


def test_diversity_is_one_less_the_mean_cosine_of_all_pairs():
    """Three vectors: two equal, one at right angles to them; then an item without a vector, which is like nothing."""
    vectors = tensor([[[1, 0], [1, 0], [0, 1]], [[1, 0], [1, 0], [0, 0]], [[1, 0], [0, 0], [0, 0]], [[0, 0]] * 3]).float()
    shown = tensor([[1, 1, 1], [1, 1, 1], [1, 0, 0], [0, 0, 0]]).bool()
    pairs = [1 - (1 + 0 + 0) / 3, 1 - (1 + 0 + 0) / 3, NAN, NAN]
    assert diversity(vectors, shown, k=3).tolist() == pytest.approx(pairs, abs=1e-6, nan_ok=True)  # vectors are float32
    assert diversity(vectors, shown, k=2).tolist() == pytest.approx([1 - 1 / 1, 1 - 1 / 1, NAN, NAN], abs=1e-6, nan_ok=True)
    at_45_degrees = tensor([[[1, 0], [2**-0.5, 2**-0.5]]])
    assert diversity(at_45_degrees, shown[:1, :2], k=2).tolist() == pytest.approx([1 - 2**-0.5], abs=1e-6)


def test_a_metric_of_grades_is_there_only_where_the_data_has_grades():
    judged = holdout(interactions([], 1, 3), graded([(0, 0, 1), (0, 1, 1)], 1, 3))
    more = holdout(interactions([], 1, 3), graded([(0, 0, 1), (0, 1, 2)], 1, 3))
    lists, graded_lists = listed(judged, [[0, 1]]), listed(more, [[0, 1]], vectors=torch.eye(3))
    of_grades, of_vectors = {"ndcg_linear", "ndcg_exponential"}, {"diversity"}
    assert {name for name, metric in METRICS.items() if not metric.applies(lists)} == of_grades | of_vectors
    assert all(metric.applies(graded_lists) for metric in METRICS.values())
    assert METRICS["ndcg_linear"].values(graded_lists, 2).tolist() == pytest.approx([(1 + 2 / log2(3)) / (2 + 1 / log2(3))])


def test_which_metrics_know_the_truth():
    blind = {"novelty", "mean_popularity", "long_tail_share", "diversity", "user_coverage"}
    assert {name for name, metric in METRICS.items() if not metric.of_truth} == blind
    assert len(METRICS) == 15


def test_definitions_and_labels_are_for_readers():
    assert METRICS["recall"].definition == "Share of a person's relevant items found in the first `k`."
    assert METRICS["mean_popularity"].direction == "lower"
    assert all(metric.definition.endswith(".") for metric in (*METRICS.values(), *SET_METRICS.values()))
    assert label("hit_rate@5") == "Hit rate@5"
    assert label("ndcg_linear@10") == "NDCG@10, linear gain"
    assert split_name("ndcg@10") == ("ndcg", 10)
