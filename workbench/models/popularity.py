"""Popularity: everyone gets what most people took."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from torch import Tensor

from workbench.data import Holdout, Interactions, UserBatch
from workbench.models.storage import load_model, save_model


@dataclass(frozen=True, kw_only=True)
class PopularityConfig:
    """Popularity has no settings."""


class Popularity:
    """An item's score is its number of training events: each event counts once, repeats too."""

    title = "Popularity"
    inductive = True
    personal = False

    counts: Tensor
    """float32 (n_items,)."""

    def __init__(self, config: PopularityConfig = PopularityConfig()) -> None:
        self.config = config

    def fit(self, train: Interactions, valid: Holdout | None = None) -> Self:  # noqa: ARG002
        self.counts = train.events_per_item.float()  # exact up to 2**24 events an item
        return self

    def score(self, batch: UserBatch) -> Tensor:
        """float32 (batch, n_items): the counts, the same row for everyone."""
        return self.counts.to(batch.device).repeat(len(batch), 1)

    def save(self, directory: Path) -> None:
        save_model(directory, "popularity", self.config, {"counts": self.counts})

    @classmethod
    def load(cls, directory: Path) -> Self:
        config, tensors = load_model(directory, "popularity", PopularityConfig)
        model = cls(config)
        model.counts = tensors["counts"]
        return model
