"""Events as tensors, and the people of one request batch with their histories."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

MINUTE = 60_000_000
"""In microseconds."""


@dataclass(frozen=True, eq=False, repr=False)
class Interactions:
    """Events of a log, ordered by person, then time, ties by the split's stated rule.

    All tensors have one entry for each event. Codes are row numbers in the snapshot's sorted id tables, the same in every part of a split.
    """

    n_users: int
    n_items: int
    users: Tensor
    """int64 in [0, n_users), ascending."""
    items: Tensor
    """int64 in [0, n_items)."""
    timestamps: Tensor
    """int64, microseconds since 1970 UTC; ascending for each person."""
    values: Tensor
    """float64, as logged (a rating, say)."""
    grades: Tensor
    """int8: 0 where the event does not count as liked, else its grade of relevance, at least 1; the card says which."""
    order: Tensor
    """int64: the event's place in the whole log under the order above, so that parts can be put together again."""

    def __len__(self) -> int:
        return len(self.users)

    def __repr__(self) -> str:
        return f"Interactions({len(self):,} events of {int((self.events_per_user > 0).sum()):,} people, {self.n_items:,} items)"

    def select(self, mask: Tensor) -> Self:
        """The events at which `mask` (bool, one for each event) is True, or the events at these places (int64)."""
        columns = (self.users, self.items, self.timestamps, self.values, self.grades, self.order)
        return type(self)(self.n_users, self.n_items, *(column[mask] for column in columns))

    @property
    def positive(self) -> Tensor:
        """bool: the event counts as liked."""
        return self.grades > 0

    def positives(self) -> Self:
        return self.select(self.positive)

    def plus(self, other: Self) -> Self:
        """Both parts' events, by person and then by `order`."""
        names = ("users", "items", "timestamps", "values", "grades", "order")
        both = type(self)(self.n_users, self.n_items, *(torch.cat([getattr(self, n), getattr(other, n)]) for n in names))
        by_order = torch.argsort(both.order, stable=True)
        return both.select(by_order[torch.argsort(both.users[by_order], stable=True)])

    @cached_property
    def offsets(self) -> Tensor:
        """int64 (n_users + 1,): the events of person u are [offsets[u], offsets[u + 1])."""
        return offsets_of(torch.bincount(self.users, minlength=self.n_users))

    def first_moments(self, users: Tensor) -> Tensor:
        """int64 (n,), microseconds since 1970 UTC: of each of these people, int64 (n,), the first event; each has one."""
        return self.timestamps[self.offsets[users]]

    @cached_property
    def events_per_user(self) -> Tensor:
        """int64 (n_users,)."""
        return self.offsets.diff()

    @cached_property
    def events_per_item(self) -> Tensor:
        """int64 (n_items,): every event counts, repeats too."""
        return torch.bincount(self.items, minlength=self.n_items)

    def sessions(self, gap: float) -> Tensor:
        """int64, one for each event: the number of its session, from 0. A person's next session begins `gap` minutes or more after the
        last event of the one before; without times each person has one.
        """
        begins = torch.ones(len(self), dtype=torch.bool)
        begins[1:] = (self.users[1:] != self.users[:-1]) | (self.timestamps.diff() >= math.ceil(gap * MINUTE))
        return begins.cumsum(0) - 1

    def csr(self) -> csr_array:
        """float32 (n_users, n_items), 1.0 where a person has the item at least once."""
        ones = np.ones(len(self), dtype=np.float32)
        matrix = csr_array((ones, (self.users.numpy(), self.items.numpy())), shape=(self.n_users, self.n_items))
        matrix.sum_duplicates()
        matrix.data[:] = 1.0
        return matrix

    def batch(self, users: Tensor) -> "UserBatch":
        """Requests of these people (int64 codes) whose histories are the events held here."""
        offsets, places = runs(self.offsets[users], self.events_per_user[users])
        items, timestamps = self.items.index_select(0, places), self.timestamps.index_select(0, places)
        return UserBatch(users=users, items=items, timestamps=timestamps, offsets=offsets, n_items=self.n_items)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class UserBatch:
    """Requests to score: who asks, and what each of them did before, oldest first.

    A model that learnt a vector for each person reads `users`; one that works from behaviour reads the histories and so serves people it
    never trained on. People unknown to the snapshot have code -1.
    """

    users: Tensor
    """int64 (batch,)."""
    items: Tensor
    """int64 (events,): the histories one after another."""
    timestamps: Tensor
    """int64 (events,), microseconds since 1970 UTC."""
    offsets: Tensor
    """int64 (batch + 1,): the history of request r is items[offsets[r]:offsets[r + 1]]."""
    n_items: int

    def __len__(self) -> int:
        return len(self.users)

    def __repr__(self) -> str:
        return f"UserBatch({len(self):,} requests, {len(self.items):,} events of history, {self.n_items:,} items)"

    @property
    def device(self) -> torch.device:
        return self.users.device

    @property
    def lengths(self) -> Tensor:
        """int64 (batch,): events in each history."""
        return self.offsets.diff()

    @property
    def rows(self) -> Tensor:
        """int64 (events,): the request each event belongs to."""
        return torch.arange(len(self), device=self.device).repeat_interleave(self.lengths)

    def to(self, device: torch.device | str) -> Self:
        moved = (t.to(device) for t in (self.users, self.items, self.timestamps, self.offsets))
        return type(self)(**dict(zip(("users", "items", "timestamps", "offsets"), moved, strict=True)), n_items=self.n_items)

    def select(self, rows: Tensor) -> Self:
        """These requests, rows: int64 (m,), with their histories."""
        offsets, places = runs(self.offsets[rows], self.lengths[rows])
        columns = {"items": self.items[places], "timestamps": self.timestamps[places]}
        return type(self)(users=self.users[rows], offsets=offsets, n_items=self.n_items, **columns)

    def history_matrix(self) -> Tensor:
        """float32 (batch, n_items), 1.0 where the item is in the history."""
        matrix = torch.zeros(len(self), self.n_items, device=self.device)
        matrix[self.rows, self.items] = 1.0
        return matrix


def offsets_of(lengths: Tensor) -> Tensor:
    """int64 (n + 1,): where each of n runs, lengths: int64 (n,), begins when they stand one after another, and where the last ends."""
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def runs(starts: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """int64 (n + 1,): where each of n runs of events begins when they stand one after another; and the places they are taken from, run r
    from starts[r] on.
    """
    offsets = offsets_of(lengths)
    return offsets, torch.arange(int(offsets[-1]), device=lengths.device) + (starts - offsets[:-1]).repeat_interleave(lengths)
