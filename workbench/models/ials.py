"""iALS: factors for people and items by alternating least squares over all cells (Hu, Koren and Volinsky, ICDM 2008), by `implicit`."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits
from torch import Tensor

from workbench.data import Holdout, Interactions, UserBatch
from workbench.models.space import Choices, Range
from workbench.models.storage import load_model, save_model

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # tqdm's, in a notebook, about widgets for bars that are switched off
    from implicit.cpu.als import AlternatingLeastSquares

BLOCK = 1024
"""Requests whose normal equations are in memory at once: BLOCK × factors² × 8 bytes."""


@dataclass(frozen=True, kw_only=True)
class IalsConfig:
    factors: Annotated[int, Field(ge=1)] = 64
    """Numbers that describe a person or an item."""
    regularization: Annotated[float, Field(gt=0)] = 10.0
    """Ridge penalty on each person's and each item's factors, however many events they have."""
    alpha: Annotated[float, Field(gt=0)] = 2.0
    """Weight of the squared error where a person has the item; it is 1 where he does not. In the paper's terms 1 + its alpha."""
    iterations: Annotated[int, Field(ge=1)] = 15
    """Rounds over people and items."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the factors that training starts from."""


class Ials:
    """Keeps the factors of items alone; a person's are solved for from the history, as in every half-step of training.

    `implicit` approaches each half-step by three conjugate gradients (Takács, Pilászy and Tikk, RecSys 2011); the one taken here is exact.
    """

    title = "iALS"
    inductive = True
    personal = True
    grid: ClassVar = {"factors": (32, 64), "regularization": (5.0, 10.0, 20.0), "alpha": (1.0, 2.0, 5.0)}
    space: ClassVar = {
        "factors": Choices(32, 64, 128),
        "regularization": Range(0.1, 200.0, log=True),
        "alpha": Range(1.0, 50.0, log=True),
        "iterations": Range(5, 30),
    }

    item_factors: Tensor
    """float32 (n_items, factors)."""

    def __init__(self, config: IalsConfig = IalsConfig()) -> None:
        self.config = config

    def fit(self, train: Interactions, valid: Holdout | None = None) -> Self:  # noqa: ARG002
        config = self.config
        with threadpool_limits(1, "blas"):  # `implicit` brings threads of its own, and warns where BLAS has some too
            model = AlternatingLeastSquares(
                factors=config.factors,
                regularization=config.regularization,
                alpha=config.alpha,
                iterations=config.iterations,
                random_state=config.seed,
            )
            model.fit(csr_matrix(train.csr()), show_progress=False)
        self.item_factors = torch.from_numpy(model.item_factors)
        return self

    def score(self, batch: UserBatch) -> Tensor:
        """float32 (batch, n_items): inner products of the items' factors with the person's."""
        return self.person_vectors(batch) @ self.item_vectors(batch.device).T

    def item_vectors(self, device: torch.device | str = "cpu") -> Tensor:
        """float32 (n_items, factors)."""
        return self.item_factors.to(device)

    def person_vectors(self, batch: UserBatch) -> Tensor:
        """float32 (batch, factors): the half-step of eq. 4 in the paper, for the histories of this batch."""
        items, config = self.item_factors.to(batch.device).double(), self.config
        histories = batch.history_matrix().bool()
        everything = items.T @ items + config.regularization * torch.eye(config.factors, device=batch.device)
        folded = torch.empty(len(batch), config.factors, device=batch.device)
        for rows in torch.arange(len(batch), device=batch.device).split(BLOCK):
            left, right = everything.repeat(len(rows), 1, 1), items.new_zeros(len(rows), config.factors)
            for place, history in enumerate(histories[rows]):
                own = items[history]  # (items in the history, factors)
                left[place] += (config.alpha - 1) * own.T @ own
                right[place] = config.alpha * own.sum(0)
            folded[rows] = torch.linalg.solve(left, right).float()
        return folded

    def save(self, directory: Path) -> None:
        save_model(directory, "ials", self.config, {"item_factors": self.item_factors})

    @classmethod
    def load(cls, directory: Path) -> Self:
        config, tensors = load_model(directory, "ials", IalsConfig)
        model = cls(config)
        model.item_factors = tensors["item_factors"]
        return model
