"""Sparse weights, for the models that keep few of many: how the largest are chosen, how they are held, what they say of a history."""

from collections.abc import Callable

import torch
from torch import Tensor

from workbench.data import UserBatch
from workbench.evaluation.ranking import top_k

BLOCK = 1024
"""Items whose weights are dense at once; bounds memory at BLOCK × n_items × 4 bytes."""


def sparse(indices: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """Coalesced; indices: int64 (2, n), rows and columns; values: (n,)."""
    return torch.sparse_coo_tensor(indices, values, size, check_invariants=True).coalesce()


def larger_first(sizes: Tensor) -> Tensor:
    """int64 (n,), an order of ties for `top_k`: the larger of `sizes`, (n,), first, of equals the lower code."""
    return sizes.argsort(descending=True, stable=True).argsort()


def keep_largest(weigh: Callable[[Tensor], Tensor], people: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """For each item the `k` others with the largest weights: int64 (2, n_items · k), the items and the others; and the weights.

    weigh: takes items, int64 (block,), returns their weights with every item, float (block, n_items), which are written to. people:
    (n_items,), how many have the item; of others at equal weight the one with more people is kept, then the one with the lower code. An
    item has weight 0 with itself. All of them where there are no more than `k`.
    """
    n_items, ties = len(people), larger_first(people)
    kept, found, values = min(k, n_items), [], []
    for items in torch.arange(n_items).split(BLOCK):
        weights = weigh(items)
        weights[torch.arange(len(items)), items] = 0.0
        largest, _ = top_k(weights, kept, ties)
        found.append(largest.ravel())
        values.append(weights.gather(1, largest).ravel())
    return torch.stack([torch.arange(n_items).repeat_interleave(kept), torch.cat(found)]), torch.cat(values)


def sum_over_history(weights: Tensor, batch: UserBatch) -> Tensor:
    """float32 (batch, n_items): for item j the sum of row j of `weights`, sparse (n_items, n_items), over the items of the history."""
    scores: Tensor = torch.sparse.mm(weights.to(batch.device), batch.history_matrix().T.contiguous())  # a view takes seven times as long
    return scores.T


def vote(likeness: Tensor, k: int, ties: Tensor, items: Tensor) -> Tensor:
    """float32 (batch, n_items): for each request the likeness of its `k` likest neighbours, summed over those that have the item.

    likeness: float32 (batch, neighbours); ties: int64 (neighbours,), which of equally like ones is kept, lowest first; items: sparse
    (n_items, neighbours), 1.0 where the neighbour has the item.
    """
    nearest, _ = top_k(likeness, min(k, likeness.shape[1]), ties)
    votes = torch.zeros_like(likeness).scatter_(1, nearest, likeness.gather(1, nearest))
    scores: Tensor = torch.sparse.mm(items, votes.T.contiguous())
    return scores.T
