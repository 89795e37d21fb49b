"""EASE: item-item regression in closed form (Steck, WWW 2019, eq. 8)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from workbench.data import Holdout, Interactions, UserBatch
from workbench.models.space import Range
from workbench.models.storage import load_model, save_model


@dataclass(frozen=True, kw_only=True)
class EaseConfig:
    l2: Annotated[float, Field(gt=0)] = 250.0
    """Ridge penalty on the item-item weights, in people; larger shrinks more."""


class Ease:
    """Scores every item for anyone who has a history; learns nothing about single people."""

    title = "EASE"
    inductive = True
    personal = True
    grid: ClassVar = {"l2": (50.0, 100.0, 250.0, 500.0, 1000.0)}
    space: ClassVar = {"l2": Range(10.0, 100_000.0, log=True)}

    weights: Tensor
    """float32 (n_items, n_items)."""

    def __init__(self, config: EaseConfig = EaseConfig()) -> None:
        self.config = config

    def fit(self, train: Interactions, valid: Holdout | None = None) -> Self:  # noqa: ARG002
        x = train.csr()  # float32: a narrower type would overflow in x.T @ x
        gram = torch.from_numpy((x.T @ x).toarray()).double()
        gram.diagonal().add_(self.config.l2)
        precision = torch.linalg.inv(gram)  # (n_items, n_items)
        weights = precision / -precision.diagonal()  # column j predicts item j …
        weights.fill_diagonal_(0.0)  # … never from itself
        self.weights = weights.float()
        return self

    def score(self, batch: UserBatch) -> Tensor:
        """float32 (batch, n_items)."""
        return batch.history_matrix() @ self.weights.to(batch.device)

    def save(self, directory: Path) -> None:
        save_model(directory, "ease", self.config, {"weights": self.weights})

    @classmethod
    def load(cls, directory: Path) -> Self:
        config, tensors = load_model(directory, "ease", EaseConfig)
        model = cls(config)
        model.weights = tensors["weights"]
        return model
