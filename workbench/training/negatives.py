"""Items that a person did not choose: drawn uniformly or by popularity, exactly, never a seen one when asked, with their probabilities."""

import math
from typing import Literal, Self

import torch
from torch import Generator, Tensor

from workbench.data import Interactions

TOTAL = 2**31
"""About what the weights of popularity add up to; a draw below their sum is then uniform to 2⁻³⁰."""
DRAWS = 2**62

Kind = Literal["uniform", "popularity"]


class Negatives:
    """Draws item i with probability weight_i / Σ weights; where `seen` is given, restricted to what a person has not seen.

    Weights are whole numbers and every draw is a place on the line of their sums, from which the person's seen intervals are cut out:
    x-th unit of weight outside of them = x + the seen weight before it. So there is no rejection, no repetition and no round trip to the
    host; what has been seen is never drawn. Who has seen everything gets any item.
    """

    def __init__(self, weights: Tensor, seen: Interactions | None = None) -> None:
        """weights: int64 (n_items,), at least 0, not all 0, with a sum below 2**32."""
        self.n_items = len(weights)
        self.upto = weights.cumsum(0)
        """int64 (n_items,): the sum of the weights up to and with each item."""
        self.total = int(self.upto[-1])
        self.uniform = bool((weights == 1).all())
        self.log_q = (weights.double() / self.total).log().float()
        """float32 (n_items,): log probability of each item in a draw that excludes nothing."""
        self.seen = None if seen is None else _Seen.of(seen, weights, self.upto)

    @classmethod
    def of(cls, train: Interactions, kind: Kind = "uniform", alpha: float = 0.75, seen: bool = False) -> Self:
        """Over the whole catalogue: an item that is never drawn is never told that it was not chosen, and ends above all that were.

        kind: "uniform", or "popularity" for ∝ (events + 1)^`alpha` (0.75 in Mikolov et al., 2013). seen: exclude what the person has in
        `train`.
        """
        weights = torch.ones(train.n_items, dtype=torch.int64)
        if kind == "popularity":
            counts = (train.events_per_item + 1).double()
            powers = (counts / counts.max()) ** alpha  # at most 1, whatever alpha is
            weights = (powers / powers.sum() * TOTAL).round().long().clamp(min=1)
        return cls(weights, train if seen else None)

    def to(self, device: torch.device | str) -> Self:
        """In place."""
        self.upto, self.log_q = self.upto.to(device), self.log_q.to(device)
        if self.seen is not None:
            self.seen.to(device)
        return self

    def draw(self, n: int, generator: Generator) -> Tensor:
        """int64 (n,), with replacement, whoever has seen what."""
        return self._at(torch.randint(self.total, (n,), generator=generator, device=self.upto.device))

    def draw_for(self, users: Tensor, n: int, generator: Generator) -> Tensor:
        """int64 (len(users), n): `n` items for each of these people, int64, with replacement; unseen ones where `seen` was given."""
        if self.seen is None:
            return self.draw(len(users) * n, generator).view(len(users), n)
        draws = torch.randint(DRAWS, (len(users), n), generator=generator, device=self.upto.device)
        by_user, order = users.sort()  # neighbours search in the same place: twice as fast
        found = self._at(self.seen.skip(by_user, draws[order] % self.seen.left[by_user, None]))
        return torch.empty_like(found).index_copy_(0, order, found)

    def _at(self, places: Tensor) -> Tensor:
        return places if self.uniform else torch.searchsorted(self.upto, places, right=True)


def log_expected(in_batch: Tensor, n_batch: int, drawn: Tensor, n_drawn: int) -> Tensor:
    """float (n_items,): the log of how often each item is expected among `n_batch` items of events and `n_drawn` drawn ones.

    in_batch, drawn: float (n_items,), the log of each item's share of events, and of its probability in a draw.
    """
    return torch.logaddexp(in_batch + math.log(n_batch), drawn + math.log(n_drawn))


class _Seen:
    """Each person's seen items as intervals on the line of weights, cut out."""

    def __init__(self, starts: Tensor, skipped: Tensor, left: Tensor, first: Tensor, total: int) -> None:
        self.starts = starts
        """int64 (pairs,), ascending: person · total + the unseen weight before the item."""
        self.skipped = skipped
        """int64 (pairs + 1,): seen weight of all pairs up to each."""
        self.left = left
        """int64 (n_users,): weight a person has not seen; the whole where that is nothing."""
        self.first = first
        """int64 (n_users,): a person's first pair."""
        self.total = total

    @classmethod
    def of(cls, seen: Interactions, weights: Tensor, upto: Tensor) -> Self:
        pairs = (seen.users * seen.n_items + seen.items).unique()
        users, items = pairs // seen.n_items, pairs % seen.n_items
        total, own = int(upto[-1]), weights[items]
        mass = torch.zeros(seen.n_users, dtype=torch.int64).index_add_(0, users, own)
        whole = mass[users] < total  # who has seen everything is not held to it
        users, items, own = users[whole], items[whole], own[whole]
        left = torch.where(mass < total, total - mass, total)
        skipped = torch.cat([torch.zeros(1, dtype=torch.int64), own.cumsum(0)])
        first = torch.cat([torch.zeros(1, dtype=torch.int64), torch.bincount(users, minlength=seen.n_users).cumsum(0)])
        within = skipped[:-1] - skipped[first[users]]  # seen weight of the same person before this item
        starts = users * total + upto[items] - own - within
        return cls(starts, skipped, left, first[:-1], total)

    def to(self, device: torch.device | str) -> None:
        self.starts, self.skipped = self.starts.to(device), self.skipped.to(device)
        self.left, self.first = self.left.to(device), self.first.to(device)

    def skip(self, users: Tensor, draws: Tensor) -> Tensor:
        """Places on the whole line for places on each person's line, int64 (n, k) in [0, left)."""
        pairs = torch.searchsorted(self.starts, users[:, None] * self.total + draws, right=True)
        return draws + self.skipped[pairs] - self.skipped[self.first[users]][:, None]
