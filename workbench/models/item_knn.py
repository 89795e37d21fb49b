"""Item-kNN: an item scores by its similarity to what a person has (Deshpande and Karypis, TOIS 2004)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from workbench.data import Holdout, Interactions, UserBatch
from workbench.models.space import Range
from workbench.models.sparse import keep_largest, sparse, sum_over_history
from workbench.models.storage import load_model, save_model

EPSILON = 1e-6
"""Keeps the cosine of an item nobody has at 0."""


@dataclass(frozen=True, kw_only=True)
class ItemKnnConfig:
    k: Annotated[int, Field(ge=1)] = 100
    """Neighbours kept for each item."""
    shrink: Annotated[float, Field(ge=0)] = 0.0
    """Added to the denominator of the cosine, in people: pulls similarities that few people support towards 0."""


class ItemKnn:
    """Cosine between the sets of people who have two items; each item keeps its `k` nearest.

    Of neighbours at equal similarity the one with more people is kept, then the one with the lower code.
    """

    title = "Item-kNN"
    inductive = True
    personal = True
    grid: ClassVar = {"k": (20, 50, 100, 200), "shrink": (0.0, 10.0, 50.0)}
    space: ClassVar = {"k": Range(5, 500, log=True), "shrink": Range(0.0, 100.0)}

    weights: Tensor
    """float32 sparse (n_items, n_items): row j holds the neighbours of item j."""

    def __init__(self, config: ItemKnnConfig = ItemKnnConfig()) -> None:
        self.config = config

    def fit(self, train: Interactions, valid: Holdout | None = None) -> Self:  # noqa: ARG002
        x = train.csr()
        people = torch.from_numpy(x.sum(0))
        norms = people.sqrt()

        def similarity(items: Tensor) -> Tensor:
            common = torch.from_numpy((x.T @ x[:, items.numpy()]).toarray().T)  # (block, n_items): people who have both
            return common * (1 / (norms[items, None] * norms + self.config.shrink + EPSILON))

        self.weights = sparse(*keep_largest(similarity, people, self.config.k), (train.n_items, train.n_items))
        return self

    def score(self, batch: UserBatch) -> Tensor:
        """float32 (batch, n_items): similarities summed over the history."""
        return sum_over_history(self.weights, batch)

    def save(self, directory: Path) -> None:
        save_model(directory, "item_knn", self.config, {"indices": self.weights.indices(), "values": self.weights.values()})

    @classmethod
    def load(cls, directory: Path) -> Self:
        config, tensors = load_model(directory, "item_knn", ItemKnnConfig)
        model = cls(config)
        n_items = int(tensors["indices"][0].max()) + 1  # every item has a row of neighbours
        model.weights = sparse(tensors["indices"], tensors["values"], (n_items, n_items))
        return model
