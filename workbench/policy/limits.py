"""What a list may hold at most of a group of items, counted while lists are filled."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from workbench.evaluation.ranking import NOTHING

BITS = 62
"""Groups in one word."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Limit:
    """At most `most` items of any one group in a list. An item of no group counts nowhere."""

    groups: Tensor
    """bool (n_items, g); or, where an item is in one group at most, int64 (n_items,), its number, -1 for none."""
    most: int

    @cached_property
    def words(self) -> Tensor:
        """int64 (n_items, w): a bit for each group that the item is in."""
        parts = self.groups.long().split(BITS, dim=1)
        words = [(part << torch.arange(part.shape[1])).sum(1) for part in parts]
        return torch.stack(words, dim=1) if words else torch.zeros(len(self.groups), 1, dtype=torch.int64)

    def count(self, items: Tensor) -> "Count":
        """For filling lists from these candidates, int64 (n, m)."""
        return _OfMany(self, items) if self.groups.dim() == 2 else _OfOne(self, items)

    def room(self, listed: Tensor, items: Tensor) -> Tensor:
        """bool (n, m): which of these candidates, int64 (n, m), a list may take beside what it holds, int64 (n, k)."""
        if self.groups.dim() == 2:
            used = (self.groups[listed] & (listed != NOTHING)[:, :, None]).sum(1)
            return ~(self.groups[items] & (used >= self.most)[:, None, :]).any(2)
        codes = torch.where(listed == NOTHING, -1, self.groups[listed])
        own = self.groups[items]
        used = torch.stack([(codes == own[:, place, None]).sum(1) for place in range(own.shape[1])], dim=1)
        return (used < self.most) | (own < 0)

    def holds(self, lists: Tensor) -> Tensor:
        """bool (n,): whether these lists, int64 (n, k), keep to it."""
        shown = lists != NOTHING
        if self.groups.dim() == 2:
            return ((self.groups[lists] & shown[:, :, None]).sum(1) <= self.most).all(1)
        codes = torch.where(shown, self.groups[lists], -1)
        same = (codes[:, :, None] == codes[:, None, :]).sum(2)
        return ((same <= self.most) | (codes < 0)).all(1)


class Count(ABC):
    """How much of a limit is used, for n people with m candidates each."""

    @abstractmethod
    def open(self) -> Tensor:
        """bool (n, m): candidates that the list may still take."""

    @abstractmethod
    def fits(self, place: int) -> Tensor:
        """bool (n,): whether it may take the candidate at this place."""

    @abstractmethod
    def take(self, places: Tensor, taken: Tensor) -> None:
        """The candidate at `places`, int64 (n,), goes into the list of each person at which `taken`, bool (n,), is True."""


def still_open(free: Tensor, counts: Sequence[Count]) -> Tensor:
    """bool (n, m): candidates not taken yet, free: bool (n, m), for which every limit leaves room."""
    for count in counts:
        free = free & count.open()
    return free


class _OfOne(Count):
    def __init__(self, limit: Limit, items: Tensor) -> None:
        self.most, self.codes = limit.most, torch.where(items == NOTHING, -1, limit.groups[items])
        self.chosen: list[Tensor] = []  # of each place filled so far the group, -2 where nothing was taken

    def open(self) -> Tensor:
        used = torch.zeros_like(self.codes)
        for each in self.chosen:
            used += self.codes == each[:, None]
        return (used < self.most) | (self.codes < 0)

    def fits(self, place: int) -> Tensor:
        own = self.codes[:, place]
        used = torch.zeros_like(own)
        for each in self.chosen:
            used += own == each
        return (used < self.most) | (own < 0)

    def take(self, places: Tensor, taken: Tensor) -> None:
        self.chosen.append(torch.where(taken, self.codes.gather(1, places[:, None])[:, 0], -2))


class _OfMany(Count):
    """A counter in unary for each group, a bit of a word: `layers[t]` has those groups of which the list holds more than t items."""

    def __init__(self, limit: Limit, items: Tensor) -> None:
        words = limit.words
        self.words = torch.where((items == NOTHING)[:, :, None], 0, words[items])
        self.layers = [torch.zeros(len(items), words.shape[1], dtype=torch.int64) for _ in range(min(limit.most, items.shape[1] + 1))]

    def open(self) -> Tensor:
        full = self.layers[-1]
        found = (self.words[:, :, 0] & full[:, :1]) == 0
        for word in range(1, full.shape[1]):
            found &= (self.words[:, :, word] & full[:, word, None]) == 0
        return found

    def fits(self, place: int) -> Tensor:
        return ((self.words[:, place] & self.layers[-1]) == 0).all(1)

    def take(self, places: Tensor, taken: Tensor) -> None:
        own = self.words[torch.arange(len(places)), places] * taken[:, None]
        for t in range(len(self.layers) - 1, 0, -1):
            self.layers[t] |= self.layers[t - 1] & own
        self.layers[0] |= own
