"""Lists of items that differ: maximal marginal relevance, and the most probable set of a determinantal point process."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from workbench.policy.facts import Facts
from workbench.policy.greedy import fill
from workbench.policy.pool import Pool
from workbench.policy.step import Step

Weight = Annotated[float, Field(ge=0, le=1)]


class Mmr(Step):
    """Each place takes argmax weight · relevance - (1 - weight) · the largest cosine with what is above it (Carbonell and Goldstein, SIGIR
    1998); the first one by relevance alone.
    """

    kind: Literal["mmr"]
    weight: Weight = 0.7
    """Of relevance; 1 leaves the order by score."""

    @property
    def text(self) -> str:
        return f"MMR, relevance {self.weight:g}"

    def apply(self, pool: Pool, facts: Facts) -> Pool:
        vectors = facts.vectors
        return fill(pool, lambda block: _Marginal(block, vectors, self.weight))


class _Marginal:
    def __init__(self, pool: Pool, vectors: Tensor, weight: float) -> None:
        self.relevance, self.weight = weight * pool.relevance, weight
        self.vectors = vectors[pool.items]
        self.likest: Tensor | None = None
        self.rows = torch.arange(len(pool))

    def values(self) -> Tensor:
        return self.relevance if self.likest is None else self.relevance - (1 - self.weight) * self.likest

    def take(self, places: Tensor) -> None:
        like = torch.bmm(self.vectors, self.vectors[self.rows, places][:, :, None])[:, :, 0]
        self.likest = like if self.likest is None else torch.maximum(self.likest, like)


class Dpp(Step):
    """Greedy search for the most probable set: each place takes argmax weight · relevance + (1 - weight) · log of what the candidate adds
    to the determinant of the likeness of what is above it, by Chen, Zhang and Zhou's incremental factor (NeurIPS 2018, algorithm 1 and
    eq. 13).

    Likeness is `likeness` · cosine, and 1 of an item with itself, so that two items of the same groups may both be shown.
    """

    kind: Literal["dpp"]
    weight: Weight = 0.7
    likeness: Annotated[float, Field(ge=0, lt=1)] = 0.9

    @property
    def text(self) -> str:
        return f"DPP, relevance {self.weight:g}"

    def apply(self, pool: Pool, facts: Facts) -> Pool:
        vectors = facts.vectors * self.likeness**0.5
        return fill(pool, lambda block: _Volume(block, vectors, self.weight))


class _Volume:
    """Row by row the Cholesky factor of the chosen items' likeness; `left`: the squared diagonal that each candidate would have."""

    def __init__(self, pool: Pool, vectors: Tensor, weight: float) -> None:
        n, m = pool.items.shape
        self.relevance, self.weight = weight * pool.relevance, weight
        self.vectors, self.rows = vectors[pool.items], torch.arange(n)
        self.factors = torch.zeros(n, m, min(pool.k, m), dtype=torch.float64)
        self.left, self.taken = torch.ones(n, m, dtype=torch.float64), 0

    def values(self) -> Tensor:
        return self.relevance + (1 - self.weight) * self.left.clamp(min=1e-12).log()

    def take(self, places: Tensor) -> None:
        like = torch.bmm(self.vectors, self.vectors[self.rows, places][:, :, None])[:, :, 0]
        known = self.factors[:, :, : self.taken]
        shared = torch.bmm(known, known[self.rows, places][:, :, None])[:, :, 0]
        new = (like - shared) / self.left[self.rows, places].clamp(min=1e-12).sqrt()[:, None]
        self.factors[:, :, self.taken] = new
        self.left = self.left - new.square()
        self.taken += 1
