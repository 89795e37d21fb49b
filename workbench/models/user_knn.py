"""User-kNN: an item scores by how similar the people are who have it (Herlocker, Konstan, Borchers and Riedl, SIGIR 1999; for sets)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from workbench.data import Holdout, Interactions, UserBatch
from workbench.models.space import Range
from workbench.models.sparse import larger_first, sparse, vote
from workbench.models.storage import load_model, save_model

CELLS = 2**24
"""Similarities that are dense at once: requests × people, 64 MB."""
EPSILON = 1e-6
"""Keeps the cosine of a person without events at 0."""


@dataclass(frozen=True, kw_only=True)
class UserKnnConfig:
    k: Annotated[int, Field(ge=1)] = 50
    """Neighbours that each request listens to."""
    shrink: Annotated[float, Field(ge=0)] = 0.0
    """Added to the denominator of the cosine, in items: pulls similarities that few items support towards 0."""


class UserKnn:
    """Cosine between a request's history and the set of each training person; the `k` nearest vote with their similarity for what they
    have.

    Of people at equal similarity the one with more items is kept, then the one with the lower code. Nobody is left out by name: whoever
    asks with the very history that was trained on is his own nearest neighbour. He votes for nothing but what he has, so masking the seen
    hides that vote, and it costs him one of his `k` neighbours.
    """

    title = "User-kNN"
    inductive = True
    personal = True
    grid: ClassVar = {"k": (20, 50, 100, 200), "shrink": (0.0, 10.0, 50.0)}
    space: ClassVar = {"k": Range(5, 500, log=True), "shrink": Range(0.0, 100.0)}

    people: Tensor
    """float32 sparse (n_users, n_items): 1.0 where a training person has the item."""

    def __init__(self, config: UserKnnConfig = UserKnnConfig()) -> None:
        self.config = config

    def fit(self, train: Interactions, valid: Holdout | None = None) -> Self:  # noqa: ARG002
        x = train.csr().tocoo()
        indices = torch.stack([torch.from_numpy(codes).long() for codes in x.coords])
        self.people = sparse(indices, torch.ones(indices.shape[1]), (train.n_users, train.n_items))
        return self

    def score(self, batch: UserBatch) -> Tensor:
        """float32 (batch, n_items): similarities summed over the neighbours that have the item."""
        people, histories = self.people.to(batch.device), batch.history_matrix()
        items, sizes = people.T.coalesce(), torch.sparse.sum(people, 1).to_dense()
        ties = larger_first(sizes)
        scores = torch.empty_like(histories)
        for rows in torch.arange(len(batch), device=batch.device).split(max(1, CELLS // len(sizes))):
            history = histories[rows]
            common = torch.sparse.mm(people, history.T.contiguous()).T  # (rows, n_users): items that both have
            similarity = common / ((history.sum(1, keepdim=True) * sizes).sqrt() + self.config.shrink + EPSILON)
            scores[rows] = vote(similarity, self.config.k, ties, items)
        return scores

    def save(self, directory: Path) -> None:
        size = torch.tensor(self.people.shape)
        save_model(directory, "user_knn", self.config, {"indices": self.people.indices(), "size": size})

    @classmethod
    def load(cls, directory: Path) -> Self:
        config, tensors = load_model(directory, "user_knn", UserKnnConfig)
        model = cls(config)
        n_users, n_items = tensors["size"].tolist()
        model.people = sparse(tensors["indices"], torch.ones(tensors["indices"].shape[1]), (n_users, n_items))
        return model
