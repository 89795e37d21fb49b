"""What a policy works on: for each person the candidates in their present order, and what no list may break."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from workbench.data import Holdout
from workbench.evaluation import Scorer
from workbench.evaluation.harness import rank_everyone
from workbench.evaluation.ranking import NOTHING
from workbench.evaluation.scoring import name_of, score_pairs, served_by
from workbench.policy.limits import Limit


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Pool:
    users: Tensor
    """int64 (n,)."""
    items: Tensor
    """int64 (n, m): candidates in their present order, best first, none twice; NOTHING after the last."""
    scores: Tensor
    """float64 (n, m): how good a candidate is for the person, whatever its place; higher is better. Not read where there is no item."""
    k: int
    """Places of a list."""
    limits: tuple[Limit, ...] = ()
    """What the first `k` keep to from here on, whoever orders them."""
    listed: Tensor | None = None
    """int64 (n,): how many of the first `k` a list has, where limits leave no room for more; None: as many as there are."""
    kept: Tensor | None = None
    """bool (n_items,): of groups that were given a floor; no later floor takes them out."""
    chances: Tensor | None = None
    """float64 (n, k): of each item of the lists at its place, given those above it, where the order was drawn; None where it was not."""

    @classmethod
    def of(cls, users: Tensor, items: Tensor, scores: Tensor, k: int) -> Self:
        """Candidates by falling score, equals in the order given. Raises ValueError for shapes that do not fit, a score that is not finite,
        an item twice, and k below 1.
        """
        if items.shape != scores.shape or items.dim() != 2 or len(users) != len(items) or not items.shape[1]:
            raise ValueError(f"candidates {tuple(items.shape)} and scores {tuple(scores.shape)} of {len(users)} people do not fit.")
        if k < 1:
            raise ValueError(f"k = {k} should be at least 1.")
        there = items != NOTHING
        if not scores[there].isfinite().all():
            raise ValueError("a candidate's score is not finite.")
        ordered = items.sort(1).values
        if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != NOTHING)).any():
            raise ValueError("a candidate is there twice for one person.")
        order = scores.double().masked_fill(~there, -torch.inf).argsort(dim=1, descending=True, stable=True)
        return cls(users=users, items=items.gather(1, order), scores=scores.double().gather(1, order), k=k)

    def __len__(self) -> int:
        return len(self.users)

    def __repr__(self) -> str:
        return f"Pool({len(self):,} people, up to {self.items.shape[1]} candidates each, lists of {self.k})"

    @cached_property
    def there(self) -> Tensor:
        """bool (n, m): a candidate, not an empty place."""
        return self.items != NOTHING

    @cached_property
    def relevance(self) -> Tensor:
        """float64 (n, m) in [0, 1]: the score between the lowest and the highest of the person's candidates; 1 where all are equal, 0 where
        there is no item. What is traded against diversity is on one scale for everyone.
        """
        low = self.scores.masked_fill(~self.there, torch.inf).amin(1, keepdim=True) / 2  # halves: the spread of doubles is none
        high = self.scores.masked_fill(~self.there, -torch.inf).amax(1, keepdim=True) / 2
        spread = high - low
        scaled = torch.where(spread > 0, (self.scores / 2 - low) / spread, torch.ones_like(self.scores))
        return torch.where(self.there, scaled, 0.0)

    @cached_property
    def in_list(self) -> Tensor:
        """bool (n, m): the candidate is in the list."""
        room = self.k if self.listed is None else self.listed[:, None]
        return self.there & (torch.arange(self.items.shape[1]) < room)

    @property
    def lists(self) -> Tensor:
        """int64 (n, k): what is in the list; NOTHING after its end."""
        short, shown = self.k - self.items.shape[1], self.items.masked_fill(~self.in_list, NOTHING)
        return torch.nn.functional.pad(shown[:, : self.k], (0, max(0, short)), value=NOTHING)

    def ordered(self, order: Tensor) -> Self:
        """In this order of places, int64 (n, m)."""
        return replace(self, items=self.items.gather(1, order), scores=self.scores.gather(1, order))

    def without(self, refused: Tensor) -> Self:
        """Without these candidates, bool (n, m); the others keep their order."""
        order = (refused | ~self.there).long().argsort(dim=1, stable=True)
        return replace(self, items=self.items.masked_fill(refused, NOTHING)).ordered(order)

    def limited(self, limit: Limit) -> Self:
        return replace(self, limits=(*self.limits, limit))

    def blocks(self, size: int) -> list[Self]:
        """The same, so many people at a time."""
        parts = zip(self.users.split(size), self.items.split(size), self.scores.split(size), strict=True)
        return [replace(self, users=users, items=items, scores=scores, listed=None) for users, items, scores in parts]

    def some(self, rows: Tensor) -> Self:
        """These people, int64 (r,), as often as they are named."""
        return replace(self, users=self.users[rows], items=self.items[rows], scores=self.scores[rows], listed=None)


def fresh(after: Tensor, before: Tensor) -> Tensor:
    """bool (n, k): places of lists whose item was not in the person's list before. after, before: int64 (n, k)."""
    return (after != NOTHING) & ~(after[:, :, None] == before[:, None, :]).any(2)


def candidates(scorer: Scorer, holdout: Holdout, m: int, k: int, fallback: Scorer | None = None) -> Pool:
    """The `m` best items for everyone in the holdout that may be shown to them, for lists of `k`. Raises as `evaluate` does."""
    users, depth = holdout.users, min(m, holdout.n_items)
    served = served_by(scorer, holdout, users, name_of(scorer), fallback)
    items, _ = rank_everyone(scorer, holdout, served, depth, fallback)
    scores = torch.zeros(items.shape, dtype=torch.float64)
    for model, whose in ((scorer, served), (fallback, ~served)):
        row, column = torch.nonzero((items != NOTHING) & whose[:, None], as_tuple=True)
        if model is not None and len(row):
            scores[row, column] = score_pairs(model, holdout, users[row], items[row, column], name=name_of(model), device="cpu")
    return Pool(users=users, items=items, scores=scores, k=k)
