"""The k best items of each row of scores, in an order that ties cannot decide by accident."""

import torch
from torch import Tensor

NOTHING = -1
"""Stands where a list has no more items to show."""


def top_k(scores: Tensor, k: int, ties: Tensor) -> tuple[Tensor, Tensor]:
    """The first `k` items by (score, highest first; `ties`, lowest first), exactly.

    scores: float (batch, n_items); -inf is never shown. ties: int64 (n_items,), a permutation. 1 <= k <= n_items.
    Returns int64 (batch, k), `NOTHING` where the list ends early, and bool (batch, k), True where the place was decided by `ties`.
    """
    n_items = scores.shape[1]
    values, items = _largest(scores, min(k + 1, n_items))
    tied = _neighbours_equal(values)[:, :k]
    if k < n_items:
        beyond = values[:, k]
        cut = torch.nonzero((values[:, k - 1] == beyond) & ~beyond.isneginf())[:, 0]
        values, items = values[:, :k], items[:, :k]
        if len(cut):
            items[cut] = _fill_from_tied(scores[cut], values[cut], items[cut], ties)
    rows = torch.nonzero(tied.any(1))[:, 0]
    if len(rows):
        items[rows] = _order(values[rows], items[rows], ties)
    return items.masked_fill(values.isneginf(), NOTHING), tied & ~values.isneginf()


def _largest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """`scores.topk(k)`, in less than half the time where there are many items.

    The items are dealt into groups, at most 16 to each. Whatever is outside the `k` groups with the largest maxima has `k` scores above it
    or equal to it, so the `k` largest are inside. topk is quick on rows 64 times as long as what it looks for, and slow on shorter ones.
    """
    n_items = scores.shape[1]
    size = min(16, n_items // (64 * k))
    if size < 4:
        return scores.topk(k)
    n_groups = n_items // size
    maxima = scores[:, : size * n_groups].unflatten(1, (size, n_groups)).amax(1)
    members = maxima.topk(k).indices[:, None, :] + n_groups * torch.arange(size, device=scores.device)[:, None]
    left_over = torch.arange(size * n_groups, n_items, device=scores.device).expand(len(scores), -1)
    places = torch.cat([members.flatten(1), left_over], dim=1)
    values, which = scores.gather(1, places).topk(k)
    return values, places.gather(1, which)


def _neighbours_equal(values: Tensor) -> Tensor:
    same = values[:, 1:] == values[:, :-1]
    none = torch.zeros_like(same[:, :1])
    return torch.cat([same, none], 1) | torch.cat([none, same], 1) if values.shape[1] > 1 else torch.zeros_like(values, dtype=torch.bool)


def _fill_from_tied(scores: Tensor, values: Tensor, items: Tensor, ties: Tensor) -> Tensor:
    """Rows whose last place is tied with what comes after it: choose who gets the places left at that score."""
    k, last = values.shape[1], values[:, -1:]
    n_above = (values > last).sum(1, keepdim=True)
    claim = torch.where(scores == last, ties, scores.shape[1])  # lower is first; n_items: not at this score
    candidates = claim.topk(k, largest=False).indices
    places = torch.arange(k, device=scores.device) - n_above
    return torch.where(places < 0, items, candidates.gather(1, places.clamp(min=0)))


def _order(values: Tensor, items: Tensor, ties: Tensor) -> Tensor:
    by_tie = ties[items].argsort(1)
    values, items = values.gather(1, by_tie), items.gather(1, by_tie)
    return items.gather(1, values.argsort(dim=1, descending=True, stable=True))
