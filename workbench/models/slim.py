"""SLIM: each item as a sparse, non-negative sum of others (Ning and Karypis, ICDM 2011, eq. 4)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from workbench.data import Holdout, Interactions, UserBatch
from workbench.models.space import Range
from workbench.models.sparse import sparse, sum_over_history
from workbench.models.storage import load_model, save_model

BLOCK = 256
"""Items regressed together."""
CHUNK = 16
"""Linear systems solved together; those of about one size."""
START = 64
"""Weights of an item that are guessed to be above 0 at first."""
PATIENCE = 3
"""Exchanges of all wrong guesses in a row that may fail to leave fewer of them."""
TOLERANCE = 1e-6
"""A weight is left at 0 when it would move by no more than this on its own; those above 0 are solved for exactly."""


@dataclass(frozen=True, kw_only=True)
class SlimConfig:
    alpha: Annotated[float, Field(gt=0)] = 0.2
    """Strength of both penalties beside half the squared error, averaged over people."""
    l1_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Share of the penalty that is on the sum of the weights and makes them sparse; the rest is on their squares, and makes them unique."""


class Slim:
    """Column x_j of the history matrix X is regressed on the other columns: the weights w >= 0 with w_j = 0 that minimise

    ||x_j - X w||² / (2 people) + alpha · l1_ratio · sum(w) + alpha · (1 - l1_ratio) / 2 · ||w||²,

    where `people` have at least one training event. The parameters are those of scikit-learn's ElasticNet, and so of RecBole's SLIMElastic.
    """

    title = "SLIM"
    inductive = True
    personal = True
    grid: ClassVar = {"alpha": (0.1, 0.2), "l1_ratio": (0.02, 0.05)}
    space: ClassVar = {"alpha": Range(0.02, 1.0, log=True), "l1_ratio": Range(0.005, 0.5, log=True)}

    weights: Tensor
    """float32 sparse (n_items, n_items): row j predicts item j."""

    def __init__(self, config: SlimConfig = SlimConfig()) -> None:
        self.config = config

    def fit(self, train: Interactions, valid: Holdout | None = None) -> Self:  # noqa: ARG002
        x = train.csr()
        strength = self.config.alpha * max(1, int((train.events_per_user > 0).sum()))
        ridged = torch.from_numpy((x.T @ x).toarray(order="C")).double()  # the Gram matrix …
        ridged.diagonal().add_(strength * (1 - self.config.l1_ratio))  # … and the penalty on squares
        indices, values = [], []
        for items in torch.arange(train.n_items).split(BLOCK):
            weights = _regress(ridged, items, strength * self.config.l1_ratio)
            rows, columns = weights.nonzero(as_tuple=True)
            indices.append(torch.stack([items[rows], columns]))
            values.append(weights[rows, columns].float())
        self.weights = sparse(torch.cat(indices, 1), torch.cat(values), (train.n_items, train.n_items))
        return self

    def score(self, batch: UserBatch) -> Tensor:
        """float32 (batch, n_items): weights summed over the history."""
        return sum_over_history(self.weights, batch)

    def save(self, directory: Path) -> None:
        tensors = {"indices": self.weights.indices(), "values": self.weights.values(), "n_items": torch.tensor(len(self.weights))}
        save_model(directory, "slim", self.config, tensors)

    @classmethod
    def load(cls, directory: Path) -> Self:
        config, tensors = load_model(directory, "slim", SlimConfig)
        model = cls(config)
        n_items = int(tensors["n_items"])
        model.weights = sparse(tensors["indices"], tensors["values"], (n_items, n_items))
        return model


def _regress(ridged: Tensor, items: Tensor, l1: float) -> Tensor:
    """The weights (len(items), n_items) of these items, by block principal pivoting (Kim and Park, SIAM J. Sci. Comput. 2011).

    A guess says which weights are above 0. They are solved for as if nothing bound them, and where the guess was wrong (a weight came out
    below 0, or one left at 0 would rise) it is turned round. Should that stop leaving fewer wrong guesses, they are turned one at a time,
    which comes to an end. Coordinate descent on the same matrix gets there too; on ML-100k it took three times as long.
    """
    n_items, rows = len(ridged), torch.arange(len(items))
    pull = ridged[items] - l1  # what each weight gains at first, from 0 on
    pull[rows, items] = 0.0
    first = (pull / ridged.diagonal()).topk(min(START, n_items)).indices
    above = torch.zeros_like(pull, dtype=torch.bool).scatter_(1, first, True) & (pull > 0)
    fewest, patience = torch.full_like(rows, n_items + 1), torch.full_like(rows, PATIENCE)
    weights = torch.zeros_like(pull)
    while len(rows):
        solved = _solve(ridged, pull[rows], above[rows])
        rise = (pull[rows] - solved @ ridged) / ridged.diagonal()
        rise[torch.arange(len(rows)), items[rows]] = 0.0  # never from itself
        wrong = torch.where(above[rows], solved < 0, rise > TOLERANCE)
        n_wrong = wrong.sum(1)
        fewer = n_wrong < fewest[rows]
        fewest[rows] = torch.where(fewer, n_wrong, fewest[rows])
        patience[rows] = torch.where(fewer, PATIENCE, patience[rows] - 1)
        last = (wrong * torch.arange(1, n_items + 1)).argmax(1, keepdim=True)
        above[rows] ^= wrong & ((patience[rows, None] >= 0) | (torch.arange(n_items) == last))
        done = n_wrong == 0
        weights[rows[done]] = solved[done]
        rows = rows[~done]
    return weights


def _solve(ridged: Tensor, pull: Tensor, above: Tensor) -> Tensor:
    """For each row the best weights if those `above` 0 may take any value and the others are 0."""
    solved, sizes = torch.zeros_like(pull), above.sum(1)
    for rows in sizes.argsort().split(CHUNK):
        real, items = above[rows].byte().topk(max(1, int(sizes[rows[-1]])))  # rows with fewer are filled up with weights not real …
        both = real[:, :, None] * real[:, None, :]
        cells = items[:, :, None] * len(ridged) + items[:, None, :]
        systems = ridged.view(-1).index_select(0, cells.view(-1)).view_as(cells) * both  # twice as fast as indexing by two tensors
        systems.diagonal(dim1=1, dim2=2).add_(1 - real)  # … and solved by 0
        right = pull[rows].gather(1, items) * real
        solved[rows[:, None], items] = torch.cholesky_solve(right[:, :, None], torch.linalg.cholesky(systems))[:, :, 0]
    return solved
