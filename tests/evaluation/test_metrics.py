from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from workbench.evaluation import METRICS, label
from workbench.evaluation.metrics import hit_rate, mrr, ndcg, precision, recall

HITS = tensor([[0, 1, 0, 1], [1, 0, 1, 0], [0, 0, 0, 0]]).bool()
N_RELEVANT = tensor([4, 2, 1])


def test_recall_counts_only_the_first_k_and_divides_by_all_relevant():
    assert recall(HITS, N_RELEVANT, k=3).tolist() == [1 / 4, 2 / 2, 0]  # divided by min(k, relevant), the first would be 1 / 3


def test_precision_divides_by_k_whatever_is_relevant():
    assert precision(HITS, N_RELEVANT, k=4).tolist() == [2 / 4, 2 / 4, 0]


def test_hit_rate_is_one_or_nothing():
    assert hit_rate(HITS, N_RELEVANT, k=1).tolist() == [0, 1, 0]
    assert hit_rate(HITS, N_RELEVANT, k=2).tolist() == [1, 1, 0]


def test_mrr_is_the_inverse_rank_of_the_first_hit():
    assert mrr(HITS, N_RELEVANT, k=4).tolist() == [1 / 2, 1 / 1, 0]
    assert mrr(HITS, N_RELEVANT, k=1).tolist() == [0, 1, 0]


def test_ndcg_discounts_by_rank_and_divides_by_an_ideal_list():
    ideal_of_4, ideal_of_2 = (sum(1 / log2(rank + 1) for rank in range(1, n + 1)) for n in (4, 2))
    expected = [(1 / log2(3) + 1 / log2(5)) / ideal_of_4, (1 / log2(2) + 1 / log2(4)) / ideal_of_2, 0]
    assert ndcg(HITS, N_RELEVANT, k=4).tolist() == pytest.approx(expected)


def test_the_ideal_list_of_ndcg_is_no_longer_than_k():
    assert ndcg(tensor([[1, 1, 0]]).bool(), tensor([7]), k=2).tolist() == pytest.approx([1.0])


@pytest.mark.parametrize("name", METRICS)
@given(data=st.data())
def test_metrics_stay_in_bounds_and_a_better_list_is_never_worse(name, data):
    depth = data.draw(st.integers(1, 8))
    k = data.draw(st.integers(1, depth))
    hits = tensor([data.draw(st.lists(st.booleans(), min_size=depth, max_size=depth))])
    n_relevant = tensor([data.draw(st.integers(max(1, int(hits.sum())), 10))])
    value = METRICS[name].function(hits, n_relevant, k).item()
    assert 0 <= value <= 1 + 1e-12
    place = data.draw(st.integers(0, depth - 1))
    if place > 0 and hits[0, place] and not hits[0, place - 1]:
        better = hits.clone()
        better[0, place - 1], better[0, place] = True, False
        assert METRICS[name].function(better, n_relevant, k).item() >= value - 1e-12


def test_definitions_and_labels_are_for_readers():
    assert METRICS["recall"].definition == "Share of a person's relevant items found in the first `k`."
    assert all(metric.definition.endswith(".") for metric in METRICS.values())
    assert label("hit_rate@5") == "Hit rate@5"
