"""The top k against a full sort in Python, on scores that are mostly ties."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.evaluation.ranking import NOTHING, top_k


@given(data=st.data())
def test_the_order_is_score_then_tie_rank_exactly(data):
    n_items = data.draw(st.integers(1, 12))
    k = data.draw(st.integers(1, n_items))
    score = st.sampled_from([float("-inf"), 0.0, 1.0, 2.0])
    rows = data.draw(st.lists(st.lists(score, min_size=n_items, max_size=n_items), min_size=1, max_size=4))
    ties = data.draw(st.permutations(range(n_items)))
    top, _ = top_k(torch.tensor(rows), k, torch.tensor(ties))
    for row, found in zip(rows, top.tolist(), strict=True):
        shown = sorted((i for i in range(n_items) if row[i] != float("-inf")), key=lambda i: (-row[i], ties[i]))
        assert found == (shown + [NOTHING] * k)[:k]


def test_large_rows_without_and_with_ties_agree_with_a_full_sort():
    rng = np.random.default_rng(0)
    ties = torch.from_numpy(rng.permutation(500))
    for scores in (rng.normal(size=(50, 500)), rng.integers(0, 4, size=(50, 500)).astype(float)):
        top, _ = top_k(torch.from_numpy(scores).float(), 20, ties)
        expected = np.stack([np.lexsort((ties.numpy(), -row))[:20] for row in scores])
        assert np.array_equal(top.numpy(), expected)


def test_a_place_is_called_tied_when_another_shown_or_next_item_has_its_score():
    _, tied = top_k(torch.tensor([[3.0, 2.0, 2.0, 1.0, 1.0, 0.0]]), 4, torch.arange(6))
    assert tied.tolist() == [[False, True, True, True]]
    _, tied = top_k(torch.tensor([[3.0, -torch.inf, -torch.inf]]), 3, torch.arange(3))
    assert tied.tolist() == [[False, False, False]]


@given(data=st.data())
def test_many_items_in_groups_agree_with_a_full_sort(data):
    """From 256 items for each place on, only the groups with the largest maxima are looked into."""
    k = data.draw(st.integers(1, 4))
    n_items = data.draw(st.integers(256 * (k + 1), 1200 * (k + 1)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    continuous = rng.normal(size=(4, n_items))
    few_values = rng.integers(0, data.draw(st.integers(1, 3000)), size=(4, n_items)).astype(float)
    masked = np.where(rng.random((4, n_items)) < data.draw(st.sampled_from([0.5, 0.999, 1.0])), -np.inf, continuous)
    ties = rng.permutation(n_items)
    scores = np.concatenate([continuous, few_values, masked, np.sort(continuous), -np.sort(continuous)]).astype(np.float32)
    top, _ = top_k(torch.from_numpy(scores), k, torch.from_numpy(ties))
    expected = np.stack([np.lexsort((ties, -row))[:k] for row in scores])
    shown = np.isfinite(np.take_along_axis(scores, expected, axis=1))
    assert np.array_equal(top.numpy(), np.where(shown, expected, NOTHING))
