"""Lists filled place by place, for many people at once: each place takes the candidate with the largest gain that no limit forbids."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

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

    Where limits leave fewer than `k`, a list is shorter: what is left of its places holds nothing, and the candidates that no list may
    take are dropped.
    """
    blocks = pool.blocks(BLOCK)
    order, n_chosen = zip(*(_fill_block(block, gain(block)) for block in blocks), strict=True)
    ordered = pool.ordered(torch.cat(order))
    return _without_the_rest(ordered, torch.cat(n_chosen)) if pool.limits else ordered


def _fill_block(pool: Pool, gain: Gain) -> tuple[Tensor, Tensor]:
    """int64 (n, m): places, those chosen first; int64 (n,): how many were chosen."""
    n, m = pool.items.shape
    free, counts = pool.there.clone(), [limit.count(pool.items) for limit in pool.limits]
    rank = torch.full((n, m), pool.k)
    rows = torch.arange(n)
    n_chosen = torch.zeros(n, dtype=torch.int64)
    for place in range(min(pool.k, m)):
        open_ = free
        for count in counts:
            open_ = open_ & count.open()
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
    """The pool in the order it has, but for candidates for which a list has no room: those come after its first `k`, or, where fewer than
    `k` are left, are dropped. A candidate at a time, so that everybody's are looked at at once.
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
    ordered = pool.ordered((~chosen).long().argsort(dim=1, stable=True))
    return _without_the_rest(ordered, size)


def _without_the_rest(ordered: Pool, n_chosen: Tensor) -> Pool:
    """What comes after the chosen ones is dropped where these are fewer than `k`: no list may take it."""
    beyond = torch.arange(ordered.items.shape[1]) >= n_chosen[:, None]
    return ordered.without(beyond & (n_chosen < ordered.k)[:, None])
