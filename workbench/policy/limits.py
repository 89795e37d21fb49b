"""What a list may hold at most of a group of items, counted while lists are filled."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.evaluation.ranking import NOTHING


@dataclass(frozen=True, eq=False, kw_only=True)
class Limit:
    """At most `most` items of any one group in a list. An item of no group counts nowhere."""

    groups: Tensor
    """bool (n_items, g); or, where an item is in one group at most, int64 (n_items,), its number, -1 for none."""
    most: int

    def count(self, items: Tensor) -> "Count":
        """For filling lists from these candidates, int64 (n, m)."""
        return _OfMany(self, items) if self.groups.dim() == 2 else _OfOne(self, items)

    def holds(self, lists: Tensor) -> Tensor:
        """bool (n,): whether these lists, int64 (n, k), keep to it."""
        shown = lists != NOTHING
        if self.groups.dim() == 2:
            return ((self.groups[lists] & shown[:, :, None]).sum(1) <= self.most).all(1)
        codes = torch.where(shown, self.groups[lists], -1)
        same = (codes[:, :, None] == codes[:, None, :]).sum(2)
        return ((same <= self.most) | (codes < 0)).all(1)


class Count:
    """How much of each limit is used."""

    def open(self) -> Tensor:
        """bool (n, m): candidates that the list may still take."""
        raise NotImplementedError

    def take(self, places: Tensor, taken: Tensor) -> None:
        """The candidate at `places`, int64 (n,), goes into the list of each person at which `taken`, bool (n,), is True."""
        raise NotImplementedError


class _OfOne(Count):
    def __init__(self, limit: Limit, items: Tensor) -> None:
        self.most, self.codes = limit.most, torch.where(items == NOTHING, -1, limit.groups[items])
        self.used = torch.zeros_like(self.codes)

    def open(self) -> Tensor:
        return (self.used < self.most) | (self.codes < 0)

    def take(self, places: Tensor, taken: Tensor) -> None:
        code = self.codes.gather(1, places[:, None])
        self.used += (self.codes == code) & taken[:, None]


class _OfMany(Count):
    def __init__(self, limit: Limit, items: Tensor) -> None:
        self.most, self.member = limit.most, limit.groups[items] & (items != NOTHING)[:, :, None]
        self.used = torch.zeros(len(items), self.member.shape[2], dtype=torch.int64)

    def open(self) -> Tensor:
        return ~(self.member & (self.used >= self.most)[:, None, :]).any(2)

    def take(self, places: Tensor, taken: Tensor) -> None:
        own = self.member[torch.arange(len(places)), places]
        self.used += own & taken[:, None]
