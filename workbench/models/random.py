"""Random scores: the floor that every metric is read against."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from workbench.data import Holdout, Interactions, UserBatch
from workbench.models.storage import load_model, save_model


@dataclass(frozen=True, kw_only=True)
class RandomConfig:
    seed: int = 0
    """Another seed, another set of lists."""


class Random:
    """A hash of (seed, person, item): the same for a person whoever else is in the batch."""

    title = "Random"
    inductive = True
    personal = False

    n_items: int

    def __init__(self, config: RandomConfig = RandomConfig()) -> None:
        self.config = config

    def fit(self, train: Interactions, valid: Holdout | None = None) -> Self:  # noqa: ARG002
        self.n_items = train.n_items
        return self

    def score(self, batch: UserBatch) -> Tensor:
        """float32 (batch, n_items), uniform in [0, 1)."""
        items = torch.arange(self.n_items, device=batch.device)
        people = _mix(batch.users + (self.config.seed << 32))
        return (_mix(people[:, None] + items) & 0xFFFFFF).float() / 2**24

    def save(self, directory: Path) -> None:
        save_model(directory, "random", self.config, {"n_items": torch.tensor(self.n_items)})

    @classmethod
    def load(cls, directory: Path) -> Self:
        config, tensors = load_model(directory, "random", RandomConfig)
        model = cls(config)
        model.n_items = int(tensors["n_items"])
        return model


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's finaliser (Steele, Lea and Flood, OOPSLA 2014) on int64, after its golden-ratio step."""
    x = x * -7046029254386353131  # 0x9E3779B97F4A7C15 as int64; products wrap
    x = (x ^ (x >> 30 & 0x3FFFFFFFF)) * -4658895280553007687  # 0xBF58476D1CE4E5B9; the mask makes the shift logical
    x = (x ^ (x >> 27 & 0x1FFFFFFFFF)) * -7723592293110705685  # 0x94D049BB133111EB
    return x ^ (x >> 31 & 0x1FFFFFFFF)
