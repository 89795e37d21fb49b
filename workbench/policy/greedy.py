"""Lists filled place by place, for many people at once: each place takes the candidate with the largest gain that no limit forbids."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from workbench.policy.limits import still_open
from workbench.policy.pool import Pool

BLOCK = 2**8
"""People whose lists are filled at once: what is held of them stays in the processor's cache."""
LEAST = -1e300
"""No gain is below it: a candidate that may be shown is taken before one that may not, however little it adds."""


class Gain(Protocol):
    """What a candidate would add to the lists as they are."""

    def values(self) -> Tensor:
        """float64 (n, m); of equals the one placed higher is taken."""
        ...

    def take(self, places: Tensor) -> None:
        """The candidate at `places`, int64 (n,), has gone into each list; where a list cannot grow it may be any: nobody asks again."""
        ...


def fill(pool: Pool, gain: Callable[[Pool], Gain]) -> Pool:
    """The pool with its first `k` chosen by `gain`, the others after them in the order they had. gain: makes the gains of a block of
    people.

    Where limits leave no room for `k`, a list is shorter, see `Pool.listed`.
    """
    blocks = pool.blocks(BLOCK)
    order, n_chosen = zip(*(_fill_block(block, gain(block)) for block in blocks), strict=True)
    ordered = pool.ordered(torch.cat(order))
    return replace(ordered, listed=torch.cat(n_chosen) if pool.limits else None)


def _fill_block(pool: Pool, gain: Gain) -> tuple[Tensor, Tensor]:
    """int64 (n, m): places, those chosen first; int64 (n,): how many were chosen."""
    n, m = pool.items.shape
    free, counts = pool.there.clone(), [limit.count(pool.items) for limit in pool.limits]
    rank = torch.full((n, m), pool.k)
    rows = torch.arange(n)
    n_chosen = torch.zeros(n, dtype=torch.int64)
    for place in range(min(pool.k, m)):
        open_ = still_open(free, counts)
        some = open_.any(1)
        values = gain.values().clamp(min=LEAST)
        best = values.masked_fill(~open_, -torch.inf).argmax(1)
        rank[rows, best] = torch.where(some, place, rank[rows, best])
        free[rows, best] &= ~some
        n_chosen += some
        for count in counts:
            count.take(best, some)
        gain.take(best)
    return rank.argsort(dim=1, stable=True), n_chosen


def keep_to_limits(pool: Pool) -> Pool:
    """The pool in the order it has, but for candidates for which a list has no room: they come after it. A candidate at a time, everybody's
    at once.
    """
    n, m = pool.items.shape
    counts = [limit.count(pool.items) for limit in pool.limits]
    chosen, size = torch.zeros(n, m, dtype=torch.bool), torch.zeros(n, dtype=torch.int64)
    for place in range(m):
        taken = pool.there[:, place] & (size < pool.k)
        if not taken.any():
            break
        for count in counts:
            taken &= count.fits(place)
        for count in counts:
            count.take(torch.full((n,), place), taken)
        chosen[:, place] = taken
        size += taken
    return replace(pool.ordered((~chosen).long().argsort(dim=1, stable=True)), listed=size)
