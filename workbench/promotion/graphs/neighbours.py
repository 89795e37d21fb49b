"""Models in which people, or sessions, like the one who asks vote for what they have."""

import torch
from torch import Tensor, nn

from workbench.promotion.graphs.history import Bag, is_real, once_each


class Vote(nn.Module):
    """The `k` likest neighbours vote for their items with their likeness; of equally like ones the first in the table."""

    def __init__(self, has: Tensor, k: int) -> None:
        """has: uint8 (n_items, neighbours), 1 where the neighbour has the item."""
        super().__init__()
        self.bag, self.k = Bag(has), min(k, has.shape[1])

    def common(self, history: Tensor, weights: Tensor) -> Tensor:
        """float32 (batch, neighbours): weights of the items that both have."""
        shared: Tensor = self.bag(history, weights)
        return shared

    def votes(self, likeness: Tensor) -> Tensor:
        """float32 (batch, n_items)."""
        found, nearest = likeness.topk(self.k, dim=1)
        theirs = self.bag.table.index_select(1, nearest.flatten()).float().unflatten(1, (-1, self.k))  # (n_items, batch, k)
        votes: Tensor = (theirs * found).sum(2).T
        return votes


class People(Vote):
    """User-kNN."""

    sizes: Tensor

    def __init__(self, has: Tensor, k: int, shrink: float, epsilon: float) -> None:
        super().__init__(has, k)
        self.shrink, self.epsilon = shrink, epsilon
        self.register_buffer("sizes", has.sum(0).float())

    def forward(self, users: Tensor, history: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002
        weights = once_each(history, lengths, len(self.bag.table))
        common = self.common(history, weights)
        norms = (weights.sum(1, keepdim=True).round() * self.sizes).sqrt()
        return self.votes(common / (norms + self.shrink + self.epsilon))


class Sessions(Vote):
    """Session-kNN."""

    sizes: Tensor

    def __init__(self, has: Tensor, k: int, length: int) -> None:
        super().__init__(has, k)
        self.length = length
        self.register_buffer("sizes", has.sum(0).float().clamp(min=1))

    def forward(self, users: Tensor, history: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002
        back = lengths[:, None] - 1 - torch.arange(history.shape[1])
        weights = (self.length - back).clamp(min=0).float() * is_real(history, lengths)
        highest = torch.zeros(history.shape[0], len(self.bag.table)).scatter_reduce(1, history, weights, "amax")
        latest = weights * (weights == highest.gather(1, history))  # of an item that is there twice the later one counts
        return self.votes(self.common(history, latest) / (self.length * self.sizes.sqrt()))
