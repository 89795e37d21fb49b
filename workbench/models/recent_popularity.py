"""Recent popularity: everyone gets what most people took lately."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from workbench.data import Holdout, Interactions, UserBatch
from workbench.models.space import Range
from workbench.models.storage import load_model, save_model

DAY = 86_400_000_000
"""In microseconds."""


@dataclass(frozen=True, kw_only=True)
class RecentPopularityConfig:
    half_life: Annotated[float, Field(gt=0)] = 30.0
    """Days before the latest training event at which an event counts half."""


class RecentPopularity:
    """An item's score is the sum over its training events of 0.5 ** (age / half-life); without times it equals popularity."""

    title = "Recent popularity"
    inductive = True
    personal = False
    grid: ClassVar = {"half_life": (7.0, 14.0, 30.0, 60.0, 120.0, 365.0)}
    space: ClassVar = {"half_life": Range(1.0, 1000.0, log=True)}

    counts: Tensor
    """float32 (n_items,)."""

    def __init__(self, config: RecentPopularityConfig = RecentPopularityConfig()) -> None:
        self.config = config

    def fit(self, train: Interactions, valid: Holdout | None = None) -> Self:  # noqa: ARG002
        latest = train.timestamps.max() if len(train) else 0
        age = (latest - train.timestamps).double() / DAY
        self.counts = torch.bincount(train.items, 0.5 ** (age / self.config.half_life), train.n_items).float()
        return self

    def score(self, batch: UserBatch) -> Tensor:
        """float32 (batch, n_items): the counts, the same row for everyone."""
        return self.counts.to(batch.device).repeat(len(batch), 1)

    def save(self, directory: Path) -> None:
        save_model(directory, "recent_popularity", self.config, {"counts": self.counts})

    @classmethod
    def load(cls, directory: Path) -> Self:
        config, tensors = load_model(directory, "recent_popularity", RecentPopularityConfig)
        model = cls(config)
        model.counts = tensors["counts"]
        return model
