"""The candidates of each person: what they have not had and do not like, to hold one relevant item at a time against."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from workbench.data import Holdout


@dataclass(frozen=True, eq=False)
class Candidates:
    """Of a person neither the items that may not be shown to them nor, but for the one at hand, the items relevant to them."""

    holdout: Holdout

    @cached_property
    def others(self) -> Tensor:
        """int64 (n_users,): candidates besides the relevant item."""
        return self.holdout.n_items - self._starts.diff()

    @cached_property
    def _out(self) -> Tensor:
        """int64, ascending: person · n_items + item of what is no candidate."""
        parts = [part for part in (self.holdout.truth, self.holdout.seen) if part is not None]
        keys: Tensor = torch.cat([part.users * self.holdout.n_items + part.items for part in parts]).unique()
        return keys

    @cached_property
    def _starts(self) -> Tensor:
        """int64 (n_users + 1,): where a person's part of `_out` begins."""
        return torch.searchsorted(self._out, torch.arange(self.holdout.truth.n_users + 1) * self.holdout.n_items)

    @cached_property
    def _below(self) -> Tensor:
        """int64, ascending: person · n_items + the number of candidates before each item of `_out`."""
        return self._out - torch.arange(len(self._out)) + self._starts[self._out // self.holdout.n_items]

    def draw(self, users: Tensor, items: Tensor, m: int, rng: np.random.Generator) -> Tensor:
        """int64 (n, m): for each relevant item m of the person's other candidates, uniformly, with replacement.

        users, items: int64 (n,). Row by row from one stream: drawing the rows in several calls gives the same. Who has no other candidate
        meets the relevant item itself, which is not above itself.
        """
        others = self.others[users][:, None]
        place = torch.from_numpy(rng.integers(0, others.clamp(min=1).numpy(), size=(len(users), m)))
        skipped = torch.searchsorted(self._below, users[:, None] * self.holdout.n_items + place, right=True) - self._starts[users][:, None]
        return torch.where(others > 0, place + skipped, items[:, None])

    def excluded(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Rows and columns, int64, of what is no candidate in a matrix with a row for each of these people, int64 (n,)."""
        starts, lengths = self._starts[users], self._starts.diff()[users]
        rows = torch.arange(len(users)).repeat_interleave(lengths)
        within = torch.arange(len(rows)) - (lengths.cumsum(0) - lengths)[rows]
        return rows, self._out[starts[rows] + within] % self.holdout.n_items


def ranks(own: Tensor, own_ties: Tensor, scores: Tensor, ties: Tensor) -> Tensor:
    """int64 (n,): the rank of an item among others, 1 the best: a higher score comes first, of equal scores the lower tie rank.

    own: float (n,), own_ties: int64 (n,), of the item; scores: float (n, m), ties: int64 (n, m) or (m,), of the others.
    """
    own, own_ties = own[:, None], own_ties[:, None]
    return 1 + ((scores > own) | ((scores == own) & (ties < own_ties))).sum(1)
