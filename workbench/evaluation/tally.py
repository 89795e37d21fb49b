"""Comparisons of pairs labelled 1 with pairs labelled 0, counted for each person: what every AUC and its interval are made of."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.errors import RequestError


@dataclass(frozen=True, eq=False)
class Tally:
    """Sums over the pairs of each person; float64 (n_people,), whole numbers and halves."""

    ones: Tensor
    """Pairs labelled 1."""
    zeros: Tensor
    """Pairs labelled 0."""
    ones_won: Tensor
    """Comparisons that the person's pairs labelled 1 win: their score is the higher one; a tie counts half."""
    zeros_lost: Tensor
    """Comparisons that the person's pairs labelled 0 lose; a tie counts half."""

    @classmethod
    def of(cls, scores: Tensor, labels: Tensor, person: Tensor, *, own: bool) -> "Tally":
        """Compare each pair with all of the other label; `own`: with those of the same person only.

        scores: float (n,), no NaN. labels: (n,), 0 or 1. person: int64 (n,) in [0, n_people). Raises RequestError for anything else.
        """
        positive = check_labels(labels, len(scores))
        if bool(scores.isnan().any()):
            raise RequestError(f"scores[{int(scores.isnan().nonzero()[0])}] is nan: there is no order with it.")
        n_people = int(person.max()) + 1 if len(person) else 0
        won = _won(scores, positive, person if own else torch.zeros_like(person)).double() / 2
        sums = [torch.zeros(n_people, dtype=torch.float64) for _ in range(4)]
        for place, which in enumerate((positive, ~positive)):
            sums[place].index_add_(0, person[which], torch.ones_like(won[which]))
            sums[place + 2].index_add_(0, person[which], won[which])
        return cls(*sums)

    @property
    def pairs(self) -> Tensor:
        """float64 (n_people,): of either label."""
        return self.ones + self.zeros

    @property
    def auc(self) -> Tensor:
        """float64 (n_people,): of who was compared with their own pairs only; NaN where one label is absent."""
        return self.ones_won / (self.ones * self.zeros)


def check_labels(labels: Tensor, n: int) -> Tensor:
    """bool (n,): True where the label is 1. Raises RequestError unless there are n labels, each 0 or 1."""
    if labels.shape != (n,):
        raise RequestError(f"labels have shape {tuple(labels.shape)}; there should be one for each of {n:,} pairs.")
    strange = (labels != 0) & (labels != 1)
    if bool(strange.any()):
        place = int(strange.nonzero()[0])
        raise RequestError(f"labels[{place}] is {labels[place].item()}; labels are 0 or 1.")
    return labels == 1


def no_auc(tally: Tally) -> str:
    """Why there is no AUC over all pairs; empty where there is one."""
    ones, zeros = int(tally.ones.sum()), int(tally.zeros.sum())
    return "" if ones and zeros else f"AUC needs pairs of both labels: {ones:,} are labelled 1 and {zeros:,} are labelled 0."


def no_gauc(tally: Tally) -> str:
    """Why there is no GAUC; empty where there is one."""
    some = bool((tally.ones * tally.zeros).any())
    return "" if some else f"GAUC needs people with pairs of both labels: none of {len(tally.ones):,} has."


def _won(scores: Tensor, positive: Tensor, group: Tensor) -> Tensor:
    """int64 (n,): for each pair, the comparisons within its group that are in the right order, twice, and those that are ties, once."""
    if not len(scores):
        return torch.empty(0, dtype=torch.int64)
    levels, level = scores.unique(return_inverse=True)
    keys, place = (group * len(levels) + level).unique(return_inverse=True)  # by group, then by score
    ones = torch.bincount(place[positive], minlength=len(keys))
    zeros = torch.bincount(place[~positive], minlength=len(keys))
    owner = keys // len(levels)
    zeros_below = _running(zeros, owner) - zeros
    ones_above = torch.bincount(owner, ones).long()[owner] - _running(ones, owner)
    return torch.where(positive, (2 * zeros_below + zeros)[place], (2 * ones_above + ones)[place])


def _running(counts: Tensor, owner: Tensor) -> Tensor:
    """Running sums of int64 counts, begun anew with each owner; owner: int64, ascending."""
    total = counts.cumsum(0)
    first = torch.searchsorted(owner, owner)
    return total - (total - counts)[first]
