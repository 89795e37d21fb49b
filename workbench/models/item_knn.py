"""Item-kNN: an item scores by its similarity to what a person has (Deshpande and Karypis, TOIS 2004)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from workbench.data import Interactions, UserBatch
from workbench.evaluation.ranking import top_k
from workbench.models.storage import load_model, save_model

BLOCK = 1024
"""Items whose similarities are dense at once; bounds memory at BLOCK × n_items × 4 bytes."""
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

    weights: Tensor
    """float32 sparse (n_items, n_items): row j holds the neighbours of item j."""

    def __init__(self, config: ItemKnnConfig = ItemKnnConfig()) -> None:
        self.config = config

    def fit(self, train: Interactions, valid: Interactions | None = None) -> Self:  # noqa: ARG002
        x = train.csr()
        people, neighbours = torch.from_numpy(x.sum(0)), min(self.config.k, train.n_items)
        ties = people.argsort(descending=True, stable=True).argsort()
        norms = people.sqrt()
        rows, columns, values = [], [], []
        for items in torch.arange(train.n_items).split(BLOCK):
            common = torch.from_numpy((x.T @ x[:, items.numpy()]).toarray().T)  # (block, n_items): people who have both
            similarity = common * (1 / (norms[items, None] * norms + self.config.shrink + EPSILON))
            similarity[torch.arange(len(items)), items] = 0.0
            nearest, _ = top_k(similarity, neighbours, ties)
            rows.append(items.repeat_interleave(neighbours))
            columns.append(nearest.ravel())
            values.append(similarity.gather(1, nearest).ravel())
        indices, size = torch.stack([torch.cat(rows), torch.cat(columns)]), (train.n_items, train.n_items)
        self.weights = torch.sparse_coo_tensor(indices, torch.cat(values), size, check_invariants=True).coalesce()
        return self

    def score(self, batch: UserBatch) -> Tensor:
        """float32 (batch, n_items): similarities summed over the history."""
        scores: Tensor = torch.sparse.mm(self.weights.to(batch.device), batch.history_matrix().T.contiguous())
        return scores.T

    def save(self, directory: Path) -> None:
        save_model(directory, "item_knn", self.config, {"indices": self.weights.indices(), "values": self.weights.values()})

    @classmethod
    def load(cls, directory: Path) -> Self:
        config, tensors = load_model(directory, "item_knn", ItemKnnConfig)
        model = cls(config)
        n_items = int(tensors["indices"][0].max()) + 1  # every item has a row of neighbours
        model.weights = torch.sparse_coo_tensor(
            tensors["indices"], tensors["values"], (n_items, n_items), check_invariants=True, is_coalesced=True
        )
        return model
