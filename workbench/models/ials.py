"""iALS: factors for people and items by alternating least squares over all cells (Hu, Koren and Volinsky, ICDM 2008), by `implicit`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import torch
from implicit.cpu.als import AlternatingLeastSquares
from pydantic import Field
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits
from torch import Tensor

from workbench.data import Interactions, UserBatch
from workbench.models.storage import load_model, save_model

BLOCK = 1024
"""Requests whose normal equations are in memory at once: BLOCK × factors² × 8 bytes."""


@dataclass(frozen=True, kw_only=True)
class IalsConfig:
    factors: Annotated[int, Field(ge=1)] = 64
    """Numbers that describe a person or an item."""
    regularization: Annotated[float, Field(gt=0)] = 0.01
    """Ridge penalty on each person's and each item's factors, however many events they have."""
    alpha: Annotated[float, Field(gt=0)] = 1.0
    """Weight of the squared error where a person has the item; it is 1 where he does not. In the paper's terms 1 + its alpha."""
    iterations: Annotated[int, Field(ge=1)] = 15
    """Rounds over people and items."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the factors that training starts from."""


class Ials:
    """Keeps the factors of items alone: a person's are solved for from the history, which is what training does with them in each round."""

    title = "iALS"
    inductive = True
    personal = True
    grid: ClassVar = {"factors": (32, 64), "regularization": (1.0, 10.0), "alpha": (5.0, 10.0)}

    item_factors: Tensor
    """float32 (n_items, factors)."""

    def __init__(self, config: IalsConfig = IalsConfig()) -> None:
        self.config = config

    def fit(self, train: Interactions, valid: Interactions | None = None) -> Self:  # noqa: ARG002
        config = self.config
        with threadpool_limits(1, "blas"):  # `implicit` brings threads of its own, and warns where BLAS has some too
            model = AlternatingLeastSquares(
                factors=config.factors,
                regularization=config.regularization,
                alpha=config.alpha,
                iterations=config.iterations,
                random_state=config.seed,
                use_cg=False,  # each half-step is solved, not approached: `score` can then repeat one
            )
            model.fit(csr_matrix(train.csr()), show_progress=False)
        self.item_factors = torch.from_numpy(model.item_factors)
        return self

    def score(self, batch: UserBatch) -> Tensor:
        """float32 (batch, n_items): inner products of the items' factors with the person's."""
        items = self.item_factors.to(batch.device)
        return self.fold_in(batch) @ items.T

    def fold_in(self, batch: UserBatch) -> Tensor:
        """float32 (batch, factors): the half-step of eq. 4 in the paper, for the histories of this batch."""
        items, config = self.item_factors.to(batch.device).double(), self.config
        everything = items.T @ items + config.regularization * torch.eye(config.factors, device=batch.device)
        folded = []
        for histories in batch.history_matrix().bool().split(BLOCK):
            own = [items[history] for history in histories]  # each (items in the history, factors)
            left = torch.stack([everything + (config.alpha - 1) * y.T @ y for y in own])
            right = torch.stack([config.alpha * y.sum(0) for y in own])
            folded.append(torch.linalg.solve(left, right))
        return torch.cat(folded).float()

    def save(self, directory: Path) -> None:
        save_model(directory, "ials", self.config, {"item_factors": self.item_factors})

    @classmethod
    def load(cls, directory: Path) -> Self:
        config, tensors = load_model(directory, "ials", IalsConfig)
        model = cls(config)
        model.item_factors = tensors["item_factors"]
        return model
