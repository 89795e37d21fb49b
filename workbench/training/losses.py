"""Losses over scores, each a sum over the examples, so that examples can be counted once wherever they are computed."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import logsigmoid

SCORE_BYTES = 8 * 2**20
"""Upper limit of the scores that `softmax_loss` holds at once."""


def gbce_loss(positive: Tensor, negative: Tensor, beta: float, counted: Tensor | None = None) -> Tensor:
    """Binary cross-entropy with σ(s⁺)^β for the positive (Petrov and Macdonald, RecSys 2023, eq. 13); see `gbce_beta`.

    counted: bool, of the positives' shape, where examples are; None for everywhere.
    """
    losses = -(beta * logsigmoid(positive) + logsigmoid(-negative).sum(-1))
    return losses.sum() if counted is None else torch.where(counted, losses, 0.0).sum()


def gbce_beta(n_negatives: int, n_items: int, calibration: float) -> float:
    """β that undoes what sampling does to probabilities: α (t (1 − 1/α) + 1/α), where α = k / (|I| − 1) is the share sampled (eq. 18).

    calibration: t in [0, 1]; 0 gives β = 1, plain cross-entropy, and 1 gives β = α, probabilities as if nothing had been sampled.
    """
    alpha = min(1.0, n_negatives / max(1, n_items - 1))
    return alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)


def in_batch_softmax_loss(states: Tensor, vectors: Tensor, items: Tensor, log_q: Tensor) -> Tensor:
    """Σ −log softmax of each example's own item among candidates that were sampled with it, corrected for how likely each was to be there.

    states: float (n, d); vectors: float (m, d), of the candidates; candidate r is the own item of example r for r < n. items: int64 (m,),
    which items they are. log_q: float (m,), the log of the expected number of times that a candidate is among the m (Yi et al., RecSys
    2019, eq. 5). The own item is there by choice and not by chance, so it is not corrected; standing there again, it does not count again.
    """
    own, candidates = torch.arange(len(states), device=states.device), torch.arange(len(vectors), device=states.device)
    return softmax_loss(states, vectors, own, candidates, log_q, items)


def softmax_loss(
    states: Tensor,
    items: Tensor,
    targets: Tensor,
    negatives: Tensor | None = None,
    shift: Tensor | None = None,
    names: Tensor | None = None,
    counted: Tensor | None = None,
) -> Tensor:
    """Σ −log softmax(states · itemsᵀ)[target], a block of states at a time; no more than SCORE_BYTES of scores are ever held, or
    the scores of one state where those are more.

    states: float (n, d); items: float (m, d); targets: int64 (n,) in [0, m). Without `negatives` over all items. With them, int64 (k,),
    over the target and these, their scores less `shift`, float (k,): the log of the number of times each is expected among them, so that
    the sum estimates the one over all items. A negative that is the target, or of its name where rows have `names`, int64 (m,), does not
    count. counted: bool (n,), which states are examples; None for all. Scores are at least float32 whatever autocast says; products are in
    its type. Gradients are computed with the loss, in the same pass over the scores.
    """
    loss: Tensor = _SoftmaxLoss.apply(states, items, targets, negatives, shift, names, counted)
    return loss


class _SoftmaxLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        items: Tensor,
        targets: Tensor,
        negatives: Tensor | None,
        shift: Tensor | None,
        names: Tensor | None,
        counted: Tensor | None,
    ) -> Tensor:
        kind = states.device.type
        narrow = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype
        exact = torch.promote_types(narrow, torch.float32)
        with torch.autocast(kind, enabled=False):
            wide, table = states.to(narrow), items.to(narrow)
            called = torch.arange(len(items), device=items.device) if names is None else names
            among = table if negatives is None else table[negatives]
            loss = torch.zeros((), device=states.device, dtype=exact)
            grad_states = torch.empty_like(wide)
            grad_among, grad_items = torch.zeros_like(among, dtype=items.dtype), torch.zeros_like(items)
            for block in torch.arange(len(states), device=states.device).split(max(1, SCORE_BYTES // (exact.itemsize * len(among)))):
                own, at = wide[block], targets[block]
                weights = torch.ones((), device=states.device, dtype=exact) if counted is None else counted[block].to(exact)
                rows = torch.arange(len(block), device=states.device)
                scores = (own @ among.T).to(exact)
                if negatives is None:
                    positive = scores[rows, at]
                    total = _exp_shares(scores)
                    scores[rows, at] -= 1.0
                    scores = scores if counted is None else scores.mul_(weights[:, None])
                    grad_states[block] = (shares := scores.to(narrow)) @ among
                else:
                    scores -= shift if shift is not None else 0.0
                    scores.masked_fill_(called[negatives] == called[at][:, None], -torch.inf)
                    positive = (own.to(exact) * table[at].to(exact)).sum(1)
                    total = _exp_shares(scores, positive)
                    scores = scores if counted is None else scores.mul_(weights[:, None])
                    missing = (weights * ((positive - total).exp() - 1.0)).to(narrow)[:, None]
                    grad_states[block] = (shares := scores.to(narrow)) @ among + missing * table[at]
                    grad_items.index_add_(0, at, (missing * own).to(items.dtype))
                loss += (weights * (total - positive)).sum()
                _add_product(grad_among, shares.T, own)
            if negatives is None:
                grad_items = grad_among
            else:
                grad_items.index_add_(0, negatives, grad_among)
        ctx.save_for_backward(grad_states.to(states.dtype), grad_items)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_states, grad_items = ctx.saved_tensors
        return grad * grad_states, grad * grad_items, None, None, None, None, None


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """In place; where the types are the same, without a second table for the product."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total += (left @ right).to(total.dtype)


def _exp_shares(scores: Tensor, more: Tensor | None = None) -> Tensor:
    """The log of Σ exp over each row, `more` being one further score of each; the scores become their shares of that sum, in place."""
    highest = scores.amax(1) if more is None else torch.maximum(scores.amax(1), more)
    mass = scores.sub_(highest[:, None]).exp_().sum(1)
    if more is not None:
        mass += (more - highest).exp()
    scores.div_(mass[:, None])
    return highest + mass.log()
