"""Histories as a graph is given them, and what every graph makes of them.

users: int64 (batch,), codes, 0 for strangers. history: int64 (batch, length), items oldest first, then anything that is an item. lengths:
int64 (batch,), how many of these are real.
"""

from typing import cast

import torch
from torch import Tensor, nn


def is_real(history: Tensor, lengths: Tensor) -> Tensor:
    """bool (batch, length)."""
    return torch.arange(history.shape[1]) < lengths[:, None]


def once_each(history: Tensor, lengths: Tensor, n_items: int) -> Tensor:
    """float32 (batch, length): weights that add up to 1 for each item of a history, however often it is there."""
    real = is_real(history, lengths).float()
    counts = torch.zeros(history.shape[0], n_items).scatter_add(1, history, real).gather(1, history)
    return real / counts.clamp(min=1.0)


def last_of(history: Tensor, lengths: Tensor, most: int, padding: int) -> tuple[Tensor, Tensor]:
    """int64 (batch, most): the last items of each history, oldest first, then `padding`; int64 (batch,): how many there are."""
    kept = lengths.clamp(max=most)
    steps = torch.arange(most)
    places = ((lengths - kept)[:, None] + steps).clamp(max=history.shape[1] - 1)
    return torch.where(steps < kept[:, None], history.gather(1, places), padding), kept


class Bag(nn.Module):
    """Weighted sums of a table's rows. Few items read their rows alone, so that never more is held than the table has; many are one
    product."""

    table: Tensor

    def __init__(self, table: Tensor) -> None:
        """table: (n, width), a float, or uint8 to save room."""
        super().__init__()
        self.register_buffer("table", table.contiguous())

    def forward(self, places: Tensor, weights: Tensor) -> Tensor:
        """float32 (batch, width). places: int64 (batch, m), rows of the table; weights: float32 (batch, m)."""

        def few(table: Tensor, places: Tensor, weights: Tensor) -> Tensor:
            return torch.bmm(weights[:, None, :], table[places].float())[:, 0]

        def many(table: Tensor, places: Tensor, weights: Tensor) -> Tensor:
            return torch.zeros(places.shape[0], table.shape[0]).scatter_add(1, places, weights) @ table.float()

        return cast(Tensor, torch.cond(places.shape[0] * places.shape[1] < self.table.shape[0], few, many, (self.table, places, weights)))
