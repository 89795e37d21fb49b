"""What was popular when the lists were made: counts over what was known then, the bands head, mid and tail, the surprise of an item."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from workbench.data import Holdout, Interactions

BANDS = ("head", "mid", "tail")
SHARES = (0.5, 0.8)
"""The head holds half of the events, head and mid together four fifths, the tail the rest and everything without an event."""


def popularity_bands(counts: Tensor) -> Tensor:
    """int64 (n_items,): 0 in the head, 1 in the mid, 2 in the tail. counts: int64 (n_items,), events of each item.

    The head is the smallest set of most popular items with half of the events or more; items as popular as its last one belong to it too.
    The mid likewise, up to four fifths. An item without an event is in the tail.
    """
    ordered = counts.sort(descending=True).values
    reached = ordered.cumsum(0).double() / max(1, int(counts.sum()))
    least = [ordered[min(int((reached < share - 1e-12).sum()), len(ordered) - 1)] for share in SHARES]
    return torch.where(counts == 0, 2, sum((counts < at_least).long() for at_least in least))


@dataclass(frozen=True, eq=False)
class Popularity:
    """Of the items, among everything known at the moment of the request: the holdout's history, whoever is judged."""

    holdout: Holdout

    @cached_property
    def events(self) -> Tensor:
        """int64 (n_items,)."""
        return self.holdout.history.events_per_item

    @cached_property
    def information(self) -> Tensor:
        """float64 (n_items,): -log2 of the share of people who have the item, in bits; nobody counts as one person."""
        history = self.holdout.history
        people = torch.bincount(self._known % history.n_items, minlength=history.n_items)[self.place]
        return -(people.clamp(min=1).double() / max(1, int((history.events_per_user > 0).sum()))).log2()

    @cached_property
    def tail(self) -> Tensor:
        """bool (n_items,): in the tail."""
        return popularity_bands(self.events) == BANDS.index("tail")

    @cached_property
    def place(self) -> Tensor:
        """int64 (n_items,): place from 0 in the order of popularity, equals in the holdout's order of ties."""
        by_tie = self.holdout.ties.argsort()
        return by_tie[self.events[by_tie].argsort(descending=True, stable=True)].argsort()

    @cached_property
    def _known(self) -> Tensor:
        """int64, ascending: person · n_items + place of each item that a person is known to have."""
        return self._keys(self.holdout.history)

    @cached_property
    def _seen(self) -> Tensor:
        """The same of what may not be shown."""
        seen = self.holdout.seen
        if seen is None:
            return torch.empty(0, dtype=torch.int64)
        return self._known if seen is self.holdout.history else self._keys(seen)

    def _keys(self, events: Interactions) -> Tensor:
        keys = events.users * events.n_items + self.place.index_select(0, events.items)
        distinct: Tensor = torch.unique_consecutive(torch.from_numpy(np.sort(keys.numpy())))  # several times faster than torch.unique
        return distinct

    def place_for(self, users: Tensor, items: Tensor) -> Tensor:
        """int64 (m,): the place from 0 of each item in the person's own list by popularity, from which what they had is left out.

        Counted, not ranked: the item's place in the whole order, less the person's seen items before it.
        """
        first, place = users * self.holdout.n_items, self.place[items]
        return place - (torch.searchsorted(self._seen, first + place) - torch.searchsorted(self._seen, first))
