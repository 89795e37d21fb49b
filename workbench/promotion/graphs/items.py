"""Models that say of every item what it is worth, whoever asks or by the items of the history."""

import torch
from torch import Tensor, nn

from workbench.promotion.graphs.history import Bag, once_each


class Same(nn.Module):
    """The same scores for everyone."""

    counts: Tensor

    def __init__(self, counts: Tensor) -> None:
        """counts: float32 (n_items,)."""
        super().__init__()
        self.register_buffer("counts", counts)

    def forward(self, users: Tensor, history: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002
        return self.counts.expand(users.shape[0], -1)


class Dense(nn.Module):
    """Rows of weights summed over the history."""

    def __init__(self, weights: Tensor) -> None:
        """weights: float32 (n_items, n_items); row i is what having item i says of every item."""
        super().__init__()
        self.bag = Bag(weights)

    def forward(self, users: Tensor, history: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002
        scores: Tensor = self.bag(history, once_each(history, lengths, len(self.bag.table)))
        return scores


class Kept(nn.Module):
    """Few weights of each item, summed over the history: for each item whose having is known, what it says of some others."""

    others: Tensor
    weights: Tensor

    def __init__(self, others: Tensor, weights: Tensor) -> None:
        """others: int64 (n_items, m), weights: float32 (n_items, m), 0 where there are fewer than m."""
        super().__init__()
        self.register_buffer("others", others.int())
        self.register_buffer("weights", weights)

    def forward(self, users: Tensor, history: Tensor, lengths: Tensor) -> Tensor:
        n_items = len(self.others)
        told = self.weights[history] * once_each(history, lengths, n_items)[:, :, None]
        return torch.zeros(users.shape[0], n_items).scatter_add(1, self.others[history].long().flatten(1), told.flatten(1))


def from_sparse(weights: Tensor) -> nn.Module:
    """weights: sparse (n_items, n_items), row j what predicts item j. The smaller of both ways to hold it."""
    n_items = len(weights)
    to, of = weights.coalesce().indices()
    order = of.argsort(stable=True)
    counts = torch.bincount(of, minlength=n_items)
    widest = max(1, int(counts.max()))
    if 2 * widest >= n_items:
        return Dense(weights.to_dense().T.contiguous())
    place = torch.arange(len(of)) - (counts.cumsum(0) - counts)[of[order]]
    others, kept = torch.zeros(n_items, widest, dtype=torch.int64), torch.zeros(n_items, widest)
    others[of[order], place], kept[of[order], place] = to[order], weights.coalesce().values()[order]
    return Kept(others, kept)
