"""Lists in which each group has the share that it has of what the person liked (Steck, RecSys 2018)."""

from typing import Literal

import torch
from torch import Tensor

from workbench.evaluation.item_groups import SMOOTHING, liked_shares
from workbench.policy.diversify import Weight
from workbench.policy.facts import Facts
from workbench.policy.greedy import fill
from workbench.policy.pool import Pool
from workbench.policy.step import Step


class Calibrate(Step):
    """Each place takes argmax (1 - weight) · relevance - weight · KL(liked ‖ list with the candidate), eq. 6 by its greedy search. Whose
    history has nothing liked keeps the order.
    """

    kind: Literal["calibrate"]
    by: str
    """A grouping of the card, a column of the item table, or "popularity"."""
    weight: Weight = 0.5
    """Of calibration; 0 leaves the order by score."""

    @property
    def text(self) -> str:
        return f"calibrated by {self.by}, {self.weight:g}"

    def apply(self, pool: Pool, facts: Facts) -> Pool:
        groups = facts.membership(self.by)
        shares, history = groups.shares, facts.history
        return fill(pool, lambda block: _Calibration(block, shares, liked_shares(history, block.users, groups), self.weight))


class _Calibration:
    def __init__(self, pool: Pool, shares: Tensor, target: Tensor, weight: float) -> None:
        """shares: float64 (n_items, g); target: float64 (n, g)."""
        self.told = (target > 0).any(1)
        by_place = -torch.arange(pool.items.shape[1]).double()
        self.kept = torch.where(self.told[:, None], (1 - weight) * pool.relevance, by_place)
        self.weight, self.target = weight, target
        self.shares = shares[pool.items]
        self.sums, self.taken, self.rows = torch.zeros_like(target), 0, torch.arange(len(pool))

    def values(self) -> Tensor:
        added = (self.sums[:, None, :] + self.shares) / (self.taken + 1)
        added = added.mul_(1 - SMOOTHING).add_(SMOOTHING * self.target[:, None, :]).clamp_(min=1e-300).log_()
        # KL without Σ p log p, which is the same for all candidates
        agreement = torch.bmm(added, self.target[:, :, None])[:, :, 0]
        return self.kept + self.weight * agreement

    def take(self, places: Tensor) -> None:
        self.sums = self.sums + self.shares[self.rows, places]
        self.taken += 1
