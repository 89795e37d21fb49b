"""Inner products of rows of two tables, whose gradients go straight into the tables."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def pair_scores(people: Tensor, items: Tensor, users: Tensor, candidates: Tensor) -> Tensor:
    """float (n, k): of each of these people with each of their candidates.

    people: float (n_users, d); items: float (n_items, d); users: int64 (n,); candidates: int64 (n, k). Torch's own lookups make a
    gradient of the whole table for each use of it and add them up, which takes longer than all the rest of a step.
    """
    scores: Tensor = _PairScores.apply(people, items, users, candidates)
    return scores


class _PairScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, people: Tensor, items: Tensor, users: Tensor, candidates: Tensor) -> Tensor:
        own = people.index_select(0, users)
        theirs = items.index_select(0, candidates.flatten()).view(*candidates.shape, -1)
        ctx.save_for_backward(own, theirs, users, candidates)
        ctx.rows = len(people), len(items)
        return (theirs * own[:, None]).sum(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        own, theirs, users, candidates = ctx.saved_tensors
        n_users, n_items = ctx.rows
        to_people = (grad[:, :, None] * theirs).sum(1)
        to_items = (grad[:, :, None] * own[:, None]).flatten(0, 1)
        return _rows_into(n_users, users, to_people), _rows_into(n_items, candidates.flatten(), to_items), None, None


def _rows_into(n: int, places: Tensor, rows: Tensor) -> Tensor:
    """float (n, d): the sum of the rows, float (m, d), at each place, int64 (m,)."""
    return rows.new_zeros(n, rows.shape[1]).scatter_add_(0, places[:, None].expand_as(rows), rows)
