"""A share of all places for a group of items, at the least cost in relevance."""

import math
from dataclasses import replace
from fractions import Fraction
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from workbench.errors import unknown
from workbench.evaluation.ranking import NOTHING
from workbench.policy.facts import Facts
from workbench.policy.pool import Pool
from workbench.policy.step import Step


class Floor(Step):
    """The items of a group, a provider's say, get at least `share` of everybody's places together, whatever the places are worth.

    Greedy: of all people's swaps of an item outside of the group for a candidate inside that limits allow, the cheapest in relevance first;
    the new item takes the place of the old one. Without limits that is exact: a person's next swap is never cheaper than the one before.
    """

    kind: Literal["floor"]
    by: str
    """A grouping of the card, a column of the item table, or "popularity"."""
    group: str
    share: Annotated[float, Field(gt=0, le=1)]
    """Of the places that are filled."""

    @property
    def text(self) -> str:
        return f"{self.group} ({self.by}) in {self.share:.0%} of places at least"

    def promised(self, pool: Pool, facts: Facts) -> tuple[float, float]:
        """The group's share of the places that are filled; 0 where none is."""
        shown = pool.lists[pool.lists != NOTHING]
        return self.share, float(self._inside(facts)[shown].double().mean()) if len(shown) else 0.0

    def _inside(self, facts: Facts) -> Tensor:
        """bool (n_items,)."""
        groups = facts.membership(self.by)
        if self.group not in groups.names:
            raise unknown(f"group of {self.by}", self.group, groups.names)
        return groups.member[:, groups.names.index(self.group)]

    def apply(self, pool: Pool, facts: Facts) -> Pool:
        inside = self._inside(facts)
        kept = inside if pool.kept is None else inside | pool.kept
        listed, filled = pool.lists, pool.lists != NOTHING
        wanted = math.ceil(Fraction(self.share).limit_denominator(1_000_000) * int(filled.sum())) - int((inside[listed] & filled).sum())
        found = _swaps(pool, inside, kept, wanted) if wanted > 0 else pool
        return replace(found, kept=kept)


def _swaps(pool: Pool, inside: Tensor, kept: Tensor, wanted: int) -> Pool:
    """The pool after the `wanted` cheapest swaps, or as many as there are."""
    order = torch.arange(pool.items.shape[1]).repeat(len(pool), 1)
    rounds: list[tuple[Tensor, Tensor, Tensor]] = []
    dearest = torch.full((len(pool),), -torch.inf, dtype=torch.float64)
    for _ in range(min(pool.k, pool.items.shape[1])):
        out, into, loss = _cheapest(pool, order, inside, kept)
        possible = loss.isfinite()
        if not possible.any():
            break
        dearest = torch.where(possible, torch.maximum(dearest, loss), torch.inf)  # within a person in the order they are found
        rounds.append((out, into, dearest))
        order = _swapped(order, out, into, possible)
    if not rounds:
        return pool
    cost = torch.stack([each[2] for each in rounds], dim=1)
    chosen = cost.flatten().argsort(stable=True)[:wanted]
    taken = torch.zeros(cost.numel(), dtype=torch.bool).index_fill_(0, chosen, value=True).view(cost.shape) & cost.isfinite()
    order = torch.arange(pool.items.shape[1]).repeat(len(pool), 1)
    for place, (out, into, _) in enumerate(rounds):
        order = _swapped(order, out, into, taken[:, place])
    return pool.ordered(order)


def _cheapest(pool: Pool, order: Tensor, inside: Tensor, kept: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each person the place to give up, the place to take from, and the relevance lost; infinite where no swap is left.

    order: int64 (n, m), of the pool's places so far; lists are as long as they were.
    """
    now = replace(pool.ordered(order), listed=pool.in_list.sum(1))
    relevance = pool.relevance.gather(1, order)
    outward, inward = now.in_list & ~kept[now.items], now.there & ~now.in_list & inside[now.items]
    given = torch.where(outward, relevance, torch.inf)
    if not pool.limits:
        out = now.items.shape[1] - 1 - given.flip(1).argmin(1)  # of equals the lowest place
        into = torch.where(inward, relevance, -torch.inf).argmax(1)
        rows = torch.arange(len(pool))
        loss = given[rows, out] - relevance[rows, into]
        return out, into, torch.where(inward.any(1), loss, torch.inf)
    best = torch.full((len(pool),), torch.inf, dtype=torch.float64)
    out, into = torch.zeros(2, len(pool), dtype=torch.int64)
    for place in range(min(pool.k, now.items.shape[1]) - 1, -1, -1):
        fitting, others = inward.clone(), now.items.masked_fill(~now.in_list, NOTHING)[:, : pool.k].clone()
        others[:, place] = NOTHING
        for limit in pool.limits:
            fitting &= limit.room(others, now.items)
        found, which = torch.where(fitting, relevance, -torch.inf).max(1)
        better = given[:, place] - found < best
        best = torch.where(better, given[:, place] - found, best)
        out, into = torch.where(better, place, out), torch.where(better, which, into)
    return out, into, best


def _swapped(order: Tensor, out: Tensor, into: Tensor, where: Tensor) -> Tensor:
    rows = torch.nonzero(where)[:, 0]
    a, b = out[rows], into[rows]
    changed = order.clone()
    changed[rows, a], changed[rows, b] = order[rows, b], order[rows, a]
    return changed
