"""Models whose scores are products of a person's and an item's vector."""

from abc import ABC, abstractmethod
from typing import cast

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan

from workbench.promotion.graphs.history import last_of, once_each


class Vectors(nn.Module, ABC):
    """Base: a person's vector, and with the items' the scores."""

    catalogue: Tensor
    scale: float = 1.0
    """What products are multiplied with."""

    def __init__(self, items: Tensor) -> None:
        """items: float32 (n_items, d)."""
        super().__init__()
        self.register_buffer("catalogue", items.contiguous())

    @abstractmethod
    def person(self, users: Tensor, history: Tensor, lengths: Tensor) -> Tensor:
        """float32 (batch, d)."""

    def forward(self, users: Tensor, history: Tensor, lengths: Tensor) -> Tensor:
        return self.person(users, history, lengths) @ self.catalogue.T * self.scale


class Learnt(Vectors):
    """A vector for each person, learnt or worked out once."""

    people: Tensor

    def __init__(self, people: Tensor, items: Tensor) -> None:
        """people: float32 (n_users, d)."""
        super().__init__(items)
        self.register_buffer("people", people.contiguous())

    def person(self, users: Tensor, history: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002
        return self.people[users.clamp(min=0)]


class FoldIn(Vectors):
    """iALS: a person's factors solved for from the history, in double precision, by elimination; the matrix is positive definite."""

    everything: Tensor

    def __init__(self, items: Tensor, regularization: float, alpha: float) -> None:
        super().__init__(items)
        self.alpha = alpha
        self.register_buffer("everything", items.double().T @ items.double() + regularization * torch.eye(items.shape[1]).double())

    def person(self, users: Tensor, history: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002
        weights = once_each(history, lengths, len(self.catalogue)).double()
        own = self.catalogue[history].double()
        left = self.everything + (self.alpha - 1) * (own * weights[:, :, None]).transpose(1, 2) @ own
        right = self.alpha * torch.bmm(weights[:, None, :], own).transpose(1, 2)
        return solved(torch.cat([left, right], dim=2)).float()


def solved(system: Tensor) -> Tensor:
    """float (batch, n): x of A x = b by Gauss and Jordan, without exchanges; system: (batch, n, n + 1), A positive definite and b beside
    it.

    A scan over the pivots is one node of a graph, where a loop in Python would be hundreds.
    """
    n = system.shape[1]

    def eliminate(left: Tensor, pivot: Tensor) -> tuple[Tensor, Tensor]:
        """pivot: (n,), 1 at the row's place."""
        row, column = (left * pivot[:, None]).sum(1), (left[:, :, :n] * pivot).sum(2)
        row = row / (row[:, :n] * pivot).sum(1, keepdim=True)
        return left - (column - pivot)[:, :, None] * row[:, None, :], pivot.clone()

    found, _ = scan(eliminate, system, torch.eye(n, dtype=system.dtype))
    return cast(Tensor, found)[:, :, n]


class Transformer(Vectors):
    """SASRec: the state after the last event; zeros for who has none."""

    def __init__(self, network: nn.Module, items: Tensor, length: int) -> None:
        super().__init__(items)
        self.network, self.length = network, length

    def person(self, users: Tensor, history: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002
        last, kept = last_of(history, lengths, self.length, padding=len(self.catalogue))
        states = self.network(last, kept)
        place = (kept - 1).clamp(min=0)[:, None, None].expand(-1, 1, states.shape[2])
        state: Tensor = states.gather(1, place)[:, 0] * (kept > 0)[:, None]
        return state


class Tower(Vectors):
    """Two-tower: the person's tower over the last events and the person's features; those of strangers are nothing."""

    def __init__(self, network: nn.Module, items: Tensor, length: int, scale: float) -> None:
        super().__init__(items)
        self.network, self.length, self.scale = network, length, scale

    def person(self, users: Tensor, history: Tensor, lengths: Tensor) -> Tensor:
        last, kept = last_of(history, lengths, self.length, padding=0)
        vectors: Tensor = self.network.people(users, last, kept, None)  # type: ignore[operator]
        return vectors
