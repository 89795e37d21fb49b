"""Item-kNN: an item scores by its similarity to what a person has (Deshpande and Karypis, TOIS 2004)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from workbench.data import Interactions, UserBatch
from workbench.models.storage import load_model, save_model

BLOCK = 1024
"""Items whose similarities are dense at once; bounds memory at BLOCK × n_items × 8 bytes."""


@dataclass(frozen=True, kw_only=True)
class ItemKnnConfig:
    k: Annotated[int, Field(ge=1)] = 100
    """Neighbours kept for each item."""
    shrink: Annotated[float, Field(ge=0)] = 0.0
    """Added to the denominator of the cosine, in people: pulls similarities that few people support towards 0."""


class ItemKnn:
    """Cosine between the sets of people who have two items; each item keeps its `k` nearest."""

    title = "Item-kNN"
    inductive = True
    personal = True
    grid = {"k": (20, 50, 100, 200), "shrink": (0.0, 10.0, 50.0)}

    def __init__(self, config: ItemKnnConfig = ItemKnnConfig()) -> None:
        self.config = config

    def fit(self, train: Interactions, valid: Interactions | None = None) -> Self:  # noqa: ARG002
        x = train.csr().astype(np.float64)
        norms = torch.from_numpy(np.sqrt(x.sum(0)))
        neighbours = min(self.config.k, train.n_items)
        indices, values = [], []
        for start in range(0, train.n_items, BLOCK):
            common = torch.from_numpy((x.T @ x[:, start : start + BLOCK]).toarray().T)  # (block, n_items): people who have both
            items = torch.arange(start, start + len(common))
            denominator = norms[items, None] * norms + self.config.shrink
            similarity = torch.where(common > 0, common / denominator, 0.0)
            similarity[torch.arange(len(items)), items] = 0.0
            best = similarity.topk(neighbours)
            indices.append(torch.stack([items.repeat_interleave(neighbours), best.indices.ravel()]))
            values.append(best.values.ravel())
        self.weights = torch.sparse_coo_tensor(
            torch.cat(indices, 1), torch.cat(values).float(), (train.n_items, train.n_items), check_invariants=True
        ).coalesce()  # row j: the neighbours of item j
        return self

    def score(self, batch: UserBatch) -> Tensor:
        """float32 (batch, n_items): similarities summed over the history."""
        return torch.sparse.mm(self.weights.to(batch.device), batch.history_matrix().T).T

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
