"""Losses over requests with a list of candidates each, padded to one length: what is learnt of single chances, of pairs, of whole lists."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax, softplus

Loss = Literal["pointwise", "pairwise", "listwise"]
LOSSES: tuple[Loss, ...] = ("pointwise", "pairwise", "listwise")


def ranking_loss(loss: Loss, scores: Tensor, labels: Tensor, weights: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of the losses, a scalar, and how many losses that is, an int64 scalar: candidates of the pointwise one, else requests.

    scores: float (requests, k), logits; labels: bool; weights: float, at least 0; real: bool, False where the list is over. A request that
    has candidates of one label only says nothing of pairs and lists: it counts for nothing there.
    """
    return {"pointwise": pointwise, "pairwise": pairwise, "listwise": listwise}[loss](scores, labels, weights, real)


def pointwise(scores: Tensor, labels: Tensor, weights: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Σ w (−log σ(s)) where the label is true, Σ w (−log σ(−s)) where it is not: probabilities, if nothing is left out."""
    losses = binary_cross_entropy_with_logits(scores, labels.to(scores.dtype), reduction="none")
    return (losses * weights * real).sum(), real.sum()


def pairwise(scores: Tensor, labels: Tensor, weights: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the pairs of a request of log(1 + exp(s⁻ − s⁺)), each weighted by its candidate with a true label (RankNet: Burges et al.,
    ICML 2005; propensity weights as Joachims et al., WSDM 2017).
    """
    pairs = (labels & real)[:, :, None] & (~labels & real)[:, None, :]
    losses = softplus(scores[:, None, :] - scores[:, :, None]) * weights[:, :, None]
    n = pairs.sum((1, 2))
    return (torch.where(pairs, losses, 0.0).sum((1, 2)) / n.clamp(min=1)).sum(), (n > 0).sum()


def listwise(scores: Tensor, labels: Tensor, weights: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Σ w y (−log softmax(s)) over a request's candidates, over Σ y (ListNet's top one, Cao et al., ICML 2007)."""
    gains = weights * labels * real
    total = (labels & real).sum(1)
    counted = (total > 0) & (~labels & real).any(1)
    logs = log_softmax(scores.masked_fill(~real, -torch.inf), dim=1).masked_fill(~real, 0.0)
    losses = -(gains * logs).sum(1) / total.clamp(min=1)
    return torch.where(counted, losses, 0.0).sum(), counted.sum()
