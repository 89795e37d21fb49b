"""Session-kNN: sessions that share what somebody did last vote for what else is in them (V-SkNN: Ludewig and Jannach, UMUAI 2018)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from workbench.data import Holdout, Interactions, UserBatch
from workbench.models.space import Range
from workbench.models.sparse import sparse, vote
from workbench.models.storage import load_model, save_model

CELLS = 2**22
"""Requests times sessions whose likeness is in memory at once."""


@dataclass(frozen=True, kw_only=True)
class SessionKnnConfig:
    k: Annotated[int, Field(ge=1)] = 100
    """Sessions that each request listens to."""
    length: Annotated[int, Field(ge=1)] = 20
    """Last events of the history that are compared with the sessions."""
    gap: Annotated[float, Field(gt=0)] = 30.0
    """Minutes without an event after which a training session has ended."""


class SessionKnn:
    """A session is like a request by the sum of the weights of the events they share, divided by the root of the session's length. Weights
    fall linearly from the latest event, 1, to the oldest of `length`. The `k` likest vote with that for each of their items; of equally
    like sessions the later one is kept.

    Serves sessions of nobody in particular. The paper's further weights (of an item's rarity, of shared items by place) are left out.
    """

    title = "Session-kNN"
    inductive = True
    personal = True
    grid: ClassVar = {"k": (50, 100, 200, 500), "length": (5, 20, 50)}
    space: ClassVar = {"k": Range(20, 2000, log=True), "length": Range(1, 100, log=True)}

    sessions: Tensor
    """float32 sparse (n_sessions, n_items): 1.0 where the session has the item; the earliest session first."""

    def __init__(self, config: SessionKnnConfig = SessionKnnConfig()) -> None:
        self.config = config

    def fit(self, train: Interactions, valid: Holdout | None = None) -> Self:  # noqa: ARG002
        numbers = train.sessions(self.config.gap)
        n_sessions = int(numbers[-1]) + 1 if len(numbers) else 0
        ends = torch.zeros(n_sessions, dtype=torch.int64).scatter_reduce_(0, numbers, train.timestamps, "amax", include_self=False)
        place = ends.argsort(stable=True).argsort()
        pairs = torch.stack([place[numbers], train.items]).unique(dim=1)
        self.sessions = sparse(pairs, torch.ones(pairs.shape[1]), (n_sessions, train.n_items))
        return self

    def score(self, batch: UserBatch) -> Tensor:
        """float32 (batch, n_items): likeness summed over the nearest sessions that have the item."""
        sessions, scores = self.sessions.to(batch.device), torch.zeros(len(batch), batch.n_items, device=batch.device)
        n_sessions = len(sessions)
        if not n_sessions:
            return scores
        items, sizes = sessions.T.coalesce(), torch.sparse.sum(sessions, 1).to_dense().clamp(min=1)
        later_first = torch.arange(n_sessions - 1, -1, -1, device=batch.device)
        asked = self._weights(batch)
        for rows in torch.arange(len(batch), device=batch.device).split(max(1, CELLS // n_sessions)):
            likeness = torch.sparse.mm(sessions, asked[rows].T.contiguous()).T / (self.config.length * sizes.sqrt())
            scores[rows] = vote(likeness, self.config.k, later_first, items)
        return scores

    def _weights(self, batch: UserBatch) -> Tensor:
        """float32 (batch, n_items): of the last events, times `length`, so that they are whole and equal sums are equal, in whatever order;
        of an item that is there twice the later one's.
        """
        back = batch.offsets[1:].repeat_interleave(batch.lengths) - 1 - torch.arange(len(batch.items), device=batch.device)
        weight = (self.config.length - back).clamp(min=0).float()
        asked = torch.zeros(len(batch) * batch.n_items, device=batch.device)
        asked.scatter_reduce_(0, batch.rows * batch.n_items + batch.items, weight, "amax")
        return asked.view(len(batch), batch.n_items)

    def save(self, directory: Path) -> None:
        size = torch.tensor(self.sessions.shape)
        save_model(directory, "session_knn", self.config, {"indices": self.sessions.indices(), "size": size})

    @classmethod
    def load(cls, directory: Path) -> Self:
        config, tensors = load_model(directory, "session_knn", SessionKnnConfig)
        model = cls(config)
        n_sessions, n_items = tensors["size"].tolist()
        model.sessions = sparse(tensors["indices"], torch.ones(tensors["indices"].shape[1]), (n_sessions, n_items))
        return model
