"""The lists that were shown, held against what people then liked: everything a metric can ask for, under the names the metrics use."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from workbench.data import Holdout, Interactions
from workbench.evaluation.popularity import Popularity
from workbench.evaluation.ranking import NOTHING

BLOCK = 2**10
"""People whose metrics are computed at once: what is held beside the lists and the values then stays in the processor's cache."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Lists:
    """One row for each of n people; columns are ranks, best first."""

    holdout: Holdout
    popularity: Popularity
    users: Tensor
    """int64 (n,)."""
    items: Tensor
    """int64 (n, depth): what was recommended; NOTHING where a list is shorter."""
    found: Tensor
    """int64 (n, depth): which event of the truth the item is, by its place there; -1 where it is none."""
    served: Tensor
    """bool (n,): by the model itself, not by the fallback."""
    vectors: Tensor | None = None
    """float32 (n_items, d), rows of length 1 or 0: what likeness between items is measured on; None: nothing to measure it on."""
    wanted: Tensor | None = None
    """bool, one for each event of the truth: what counts as relevant; None: all of it."""

    @classmethod
    def build(cls, holdout: Holdout, items: Tensor, served: Tensor, vectors: Tensor | None = None) -> "Lists":
        """Of everyone in the holdout. vectors: float (n_items, d), of any length."""
        if vectors is not None:
            vectors = torch.nn.functional.normalize(vectors.float(), dim=1)
        users, popularity = holdout.users, Popularity(holdout)
        found = _found(holdout, users, items)
        return cls(holdout=holdout, popularity=popularity, users=users, items=items, found=found, served=served, vectors=vectors)

    def within(self, wanted: Tensor | None) -> "Lists":
        """The same lists with only these events of the truth as relevant; what else was liked counts as any other item."""
        return replace(self, wanted=wanted)

    def blocks(self) -> Iterator["Lists"]:
        """The same, a block of people at a time."""
        columns = [getattr(self, name).split(BLOCK) for name in ("users", "items", "found", "served")]
        for users, items, found, served in zip(*columns, strict=True):
            yield replace(self, users=users, items=items, found=found, served=served)

    @cached_property
    def hits(self) -> Tensor:
        """bool (n, depth): the item is relevant to the person."""
        hit = self.found >= 0
        return (
            hit if self.wanted is None else hit & self.wanted[self.found]
        )  # where nothing was found, -1 asks for the last event: no matter

    @cached_property
    def shown(self) -> Tensor:
        """bool (n, depth): there is an item at that rank."""
        return self.items != NOTHING

    @cached_property
    def n_relevant(self) -> Tensor:
        """int64 (n,)."""
        return self._relevant.events_per_user[self.users]

    @cached_property
    def grades(self) -> Tensor:
        """float64 (n, depth): the item's grade of relevance, 0 where it is not relevant."""
        return self.holdout.truth.grades[self.found].double() * self.hits

    @cached_property
    def ideal_grades(self) -> Tensor:
        """float64 (n, depth): the grades of a person's relevant items, the highest first, then zeros; no longer than the lists."""
        lengths, ends = self.n_relevant, self.n_relevant.cumsum(0)
        row = torch.arange(len(lengths)).repeat_interleave(lengths)
        rank = torch.arange(len(row)) - (ends - lengths)[row]
        grades = self._relevant.grades[rank + self._relevant.offsets[self.users][row]].long()
        grades = grades[torch.argsort(row * 256 - grades)]
        kept = rank < self.items.shape[1]
        ideal = torch.zeros(self.items.shape, dtype=torch.float64)
        ideal[row[kept], rank[kept]] = grades[kept].double()
        return ideal

    @cached_property
    def _relevant(self) -> Interactions:
        truth = self.holdout.truth
        return truth if self.wanted is None else truth.select(self.wanted)

    @cached_property
    def information(self) -> Tensor:
        """float64 (n, depth): the item's self-information in bits, 0 where there is no item."""
        return self.popularity.information[self.items] * self.shown

    @cached_property
    def events(self) -> Tensor:
        """float64 (n, depth): events of the item in what was known, 0 where there is no item."""
        return self.popularity.events[self.items].double() * self.shown

    @cached_property
    def tail(self) -> Tensor:
        """bool (n, depth): an item of the tail."""
        return self.popularity.tail[self.items] & self.shown

    @cached_property
    def popular_place(self) -> Tensor:
        """int64 (n, depth): for each hit its place from 0 in the person's list by popularity; 0 elsewhere."""
        row, rank = torch.nonzero(self.hits, as_tuple=True)
        place = torch.zeros_like(self.items)
        place[row, rank] = self.popularity.place_for(self.users[row], self.items[row, rank])
        return place

    @cached_property
    def list_vectors(self) -> Tensor:
        """float32 (n, depth, d): the items' vectors, zeros where there is no item."""
        assert self.vectors is not None
        vectors = self.vectors.index_select(0, self.items.clamp(min=0).flatten()).view(*self.items.shape, -1)
        return vectors if self.shown.all() else vectors * self.shown[:, :, None]


def _found(holdout: Holdout, users: Tensor, items: Tensor) -> Tensor:
    keys, event = (holdout.truth.users * holdout.n_items + holdout.truth.items).sort()
    shown = users[:, None] * holdout.n_items + items
    place = torch.searchsorted(keys, shown).clamp(max=len(keys) - 1)
    return torch.where((keys[place] == shown) & (items != NOTHING), event[place], -1)


def check_lists(items: Tensor, holdout: Holdout, name: str) -> None:
    """Raises ValueError, naming the person, for codes of no item, an item twice, a gap, and an item that may not be shown.

    items: int64 (n, depth), one row for each of the holdout's people.
    """
    shown = items != NOTHING
    ordered = items.sort(1).values
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != NOTHING)
    wrong = {
        "a code of no item": (items < NOTHING) | (items >= holdout.n_items),
        "an item twice": twice,
        "a gap before an item": shown[:, 1:] & ~shown[:, :-1],
        "an item that may not be shown": _not_to_be_shown(items, holdout) & shown,
    }
    for what, where in wrong.items():
        if where.any():
            raise ValueError(f"the list of {name} for person {int(holdout.users[where.any(1)][0])} has {what}.")


def _not_to_be_shown(items: Tensor, holdout: Holdout) -> Tensor:
    if holdout.seen is None:
        return torch.zeros_like(items, dtype=torch.bool)
    return torch.isin(holdout.users[:, None] * holdout.n_items + items, holdout.seen.users * holdout.n_items + holdout.seen.items)
