"""What every model can do, whatever is inside."""

from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from workbench.data import Holdout, Interactions, UserBatch
from workbench.errors import RequestError


class Recommender(Protocol):
    """Fit once, score batches of requests, save without pickle.

    The same protocol serves popularity, matrix factorisation (reads `batch.users`), sequence models and auto-encoders (read the histories,
    oldest event first) and exports (a batch is a handful of tensors).
    """

    inductive: bool
    """Serves people it never trained on, from their history."""
    personal: bool
    """Needs to know something of a person. False: everyone can be served, history or not."""

    def fit(self, train: Interactions, valid: Holdout | None = None) -> Self:
        """Learn from `train`; `valid` is for early stopping only. The same data and seed give the same model.

        A model that learns by gradient takes an `Engine` besides, one that learns from features a `Side`; it does without either.
        """
        ...

    def score(self, batch: UserBatch) -> Tensor:
        """float32 (batch, n_items) on the batch's device, finite, higher is better. Nothing is masked here."""
        ...

    def save(self, directory: Path) -> None:
        """Write `model.json` and `weights.safetensors` into `directory`, which is made if need be."""
        ...

    @classmethod
    def load(cls, directory: Path) -> Self:
        """The saved model. Raises WorkError when a file is damaged or of another model."""
        ...


@runtime_checkable
class HasVectors(Protocol):
    """A model whose score is the inner product of a person's and an item's vector, times a number above 0 that is the same for all."""

    inductive: bool
    personal: bool

    def item_vectors(self, device: torch.device | str = "cpu") -> Tensor:
        """float32 (n_items, d), of the whole catalogue."""
        ...

    def person_vectors(self, batch: UserBatch) -> Tensor:
        """float32 (batch, d), on the batch's device. Raises as the model's `score` does."""
        ...


def check_trained(title: str, users: Tensor, trained: Tensor) -> None:
    """For a model that learnt a vector for each person. users: int64 (n,); trained: bool (n_users,), on the same device.

    Raises RequestError, naming the first, when somebody was not in training.
    """
    strangers = (users < 0) | ~trained[users]
    if strangers.any():
        raise RequestError(f"{title} cannot score person {int(users[strangers][0])}, who was not in training: name a fallback.")
