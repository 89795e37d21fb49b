"""Randomness in a known amount, with the chance of everything that was shown: what the evaluation of other policies on its log needs."""

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from workbench.evaluation.ranking import NOTHING
from workbench.policy.facts import Facts
from workbench.policy.greedy import BLOCK, fill, keep_to_limits
from workbench.policy.limits import still_open
from workbench.policy.pool import Pool, fresh
from workbench.policy.step import Step

HALVINGS = 20
LEARNT_ON = 4000
COLDEST, HOTTEST = 1e-3, 1e3


class Randomise(Step):
    """The order drawn from a Plackett-Luce model in which the candidate at place r weighs r^(-1/T): Gumbel noise, T times, on -log r. T is
    found so that the share of everybody's first `k` places whose item was not among the first `k` before is `share`, as nearly as can be.
    """

    kind: Literal["randomise"]
    share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Of places, over everyone."""
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)] = 0

    @property
    def text(self) -> str:
        return f"{self.share:.0%} of places at random"

    def apply(self, pool: Pool, facts: Facts) -> Pool:  # noqa: ARG002
        return draw(pool, self.share, self.seed)


def draw(pool: Pool, share: float, seed: int) -> Pool:
    """The pool in an order drawn as `Randomise` says, with the chances of what its lists hold."""
    heat = temperature(pool, share, seed)
    drawn = fill(pool, lambda block: _Noisy(utility(block) / heat + _noise(block, seed)))
    return replace(drawn, chances=chances(pool, drawn.lists, heat))


def temperature(pool: Pool, share: float, seed: int) -> float:
    """T, by bisection over its logarithm, on draws of their own of LEARNT_ON people spread over the pool, again and again where there are
    fewer: what is then shown has no part in it. The hottest there is where even that moves too little.
    """
    if not len(pool):
        return 1.0
    people = pool.some(torch.linspace(0, len(pool) - 1, LEARNT_ON).round().long())
    noise = torch.from_numpy(np.random.default_rng([seed, 0]).gumbel(size=people.items.shape))
    low, high = np.log(COLDEST), np.log(HOTTEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _moved(people, utility(people) / np.exp(middle) + noise) > share else (middle, high)
    return float(np.exp(low))


def _noise(pool: Pool, seed: int) -> Tensor:
    """float64 (n, m): Gumbel draws, a person's own whoever else is asked."""
    rows = [np.random.default_rng([seed, 1, int(user) + 1]).gumbel(size=pool.items.shape[1]) for user in pool.users]
    return torch.from_numpy(np.stack(rows)) if rows else torch.zeros(pool.items.shape, dtype=torch.float64)


def utility(pool: Pool) -> Tensor:
    """float64 (n, m): -log of the place."""
    return -torch.arange(1, pool.items.shape[1] + 1).double().log().expand(pool.items.shape)


def chances(pool: Pool, lists: Tensor, heat: float) -> Tensor:
    """float64 (n, k): the chance of each item at its place given those above it, under the pool's limits; NaN where there is none.

    lists: int64 (n, k), drawn from the pool. Gumbel noise has no memory, so what is left at a place is a Plackett-Luce draw of its own.
    """
    log_weight = utility(pool) / heat
    free, counts = pool.there.clone(), [limit.count(pool.items) for limit in pool.limits]
    found = torch.full(lists.shape, torch.nan, dtype=torch.float64)
    for place in range(lists.shape[1]):
        there = lists[:, place] != NOTHING
        if not there.any():
            break
        open_ = still_open(free, counts)
        at = (pool.items == lists[:, place, None]).long().argmax(1)
        logs = log_weight.masked_fill(~open_, -torch.inf).log_softmax(1).gather(1, at[:, None])[:, 0]
        found[:, place] = torch.where(there, logs.exp(), torch.nan)
        free = free.scatter(1, at[:, None], free.gather(1, at[:, None]) & ~there[:, None])
        for count in counts:
            count.take(at, there)
    return found


class _Noisy:
    def __init__(self, gains: Tensor) -> None:
        self.gains = gains

    def values(self) -> Tensor:
        return self.gains

    def take(self, places: Tensor) -> None:
        """Nothing changes."""


def _moved(pool: Pool, gains: Tensor) -> float:
    """Share of the filled places that hold another item than one of the list before."""
    if pool.limits:
        parts = iter(gains.split(BLOCK))
        shown, before = fill(pool, lambda _: _Noisy(next(parts))).lists, keep_to_limits(pool).lists
        return float(fresh(shown, before).sum() / (shown != NOTHING).sum().clamp(min=1))
    k = min(pool.k, gains.shape[1])
    first = gains.masked_fill(~pool.there, -torch.inf).topk(k, dim=1).indices
    filled = pool.there.sum(1).clamp(max=k)
    return float(((first >= k) & (torch.arange(k) < filled[:, None])).sum() / filled.sum().clamp(min=1))
