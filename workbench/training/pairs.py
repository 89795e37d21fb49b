"""Losses over pairs, of a person with an item and with items not chosen, whose gradients go straight into one table of vectors.

Torch's own lookups make a gradient of the whole table for each use of it and add them up, and each small operation between costs as much
as its arithmetic: together longer than all the rest of a step.
"""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus

PairLoss = Literal["bpr", "bce"]


def rows(table: Tensor, places: Tensor) -> Tensor:
    """float (n, d): these rows, int64 (n,), of a table, float (m, d)."""
    found: Tensor = _Rows.apply(table, places)
    return found


def pair_loss(loss: PairLoss, vectors: Tensor, users: Tensor, candidates: Tensor) -> Tensor:
    """The sum of the losses of n examples, a scalar, at least 0. The score s of a pair is the inner product of its two vectors.

    vectors: float (m, d). users: int64 (n,), rows of `vectors`. candidates: int64 (n, 1 + k), rows too: the item chosen, then k that were
    not. bpr: −log σ(s⁺ − s⁻), averaged over an example's negatives (Rendle et al., UAI 2009, eq. 4, without its penalty). bce:
    −log σ(s⁺) − Σₖ log(1 − σ(s⁻)), every item on its own.
    """
    total: Tensor = _PairLoss.apply(vectors, torch.cat([users[None], candidates.T]), loss)
    return total


def _bpr(scores: Tensor) -> tuple[Tensor, Tensor]:
    wrong = scores[1:] - scores[:1]
    k = len(wrong)
    slopes = torch.sigmoid(wrong) / k
    return softplus(wrong).sum() / k, torch.cat([-slopes.sum(0, keepdim=True), slopes])


def _bce(scores: Tensor) -> tuple[Tensor, Tensor]:
    wrong = torch.cat([-scores[:1], scores[1:]])
    slopes = torch.sigmoid(wrong)
    slopes[0].neg_()
    return softplus(wrong).sum(), slopes


class _PairLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, places: Tensor, loss: PairLoss) -> Tensor:
        found = vectors.index_select(0, places.flatten()).view(*places.shape, -1)  # the people, their items, their negatives: (2 + k, n, d)
        total, slopes = {"bpr": _bpr, "bce": _bce}[loss]((found[1:] * found[:1]).sum(2))
        ctx.save_for_backward(found, slopes, places)
        ctx.n_rows = len(vectors)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        found, slopes, places = ctx.saved_tensors
        slopes = (grad * slopes)[:, :, None]
        grads = torch.empty_like(found)
        torch.mul(slopes, found[:1], out=grads[1:])
        torch.mul(slopes[0], found[1], out=grads[0])
        for slope, others in zip(slopes[1:], found[2:], strict=True):
            grads[0].addcmul_(slope, others)
        return _summed(grads.flatten(0, 1), places.flatten(), ctx.n_rows), None, None


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.n_rows = len(table)
        return table.index_select(0, places)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (places,) = ctx.saved_tensors
        return _summed(grad, places, ctx.n_rows), None


def _summed(values: Tensor, places: Tensor, n: int) -> Tensor:
    """float (n, d): the sum of the values, float (m, d), at each place, int64 (m,)."""
    return values.new_zeros(n, values.shape[1]).scatter_add_(0, places[:, None].expand_as(values), values)
