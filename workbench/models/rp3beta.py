"""RP3beta: three random steps from a person, against popularity (Paudel, Christoffel, Newell and Bernstein, ACM TiiS 2017)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field
from scipy.sparse import diags_array
from torch import Tensor

from workbench.data import Holdout, Interactions, UserBatch
from workbench.models.space import Range
from workbench.models.sparse import keep_largest, sparse, sum_over_history
from workbench.models.storage import load_model, save_model


@dataclass(frozen=True, kw_only=True)
class Rp3BetaConfig:
    alpha: Annotated[float, Field(ge=0)] = 0.4
    """Power of each step's probability: 1 is the walk itself, less lets people and items with many events weigh more (Cooper et al.,
    WWW 2014)."""
    beta: Annotated[float, Field(ge=0)] = 0.6
    """Power of an item's number of people that its score is divided by; 0 leaves popularity as it is."""
    k: Annotated[int, Field(ge=1)] = 200
    """Items kept that a walk from each item can end at."""


class Rp3Beta:
    """From each item of the history to a person who has it, to an item he has; the `k` likeliest ends are kept for each start.

    The first step of the paper's three, from the person to one of his items, has the same probability for all of them, so it orders nothing
    and is left out. Of ends at equal weight the one with more people is kept, then the one with the lower code.
    """

    title = "RP3beta"
    inductive = True
    personal = True
    grid: ClassVar = {"alpha": (0.2, 0.4, 0.6, 1.0), "beta": (0.2, 0.4, 0.6), "k": (100, 200)}
    space: ClassVar = {"alpha": Range(0.0, 1.5), "beta": Range(0.0, 1.0), "k": Range(10, 1000, log=True)}

    weights: Tensor
    """float32 sparse (n_items, n_items): column i holds the ends of walks from item i."""

    def __init__(self, config: Rp3BetaConfig = Rp3BetaConfig()) -> None:
        self.config = config

    def fit(self, train: Interactions, valid: Holdout | None = None) -> Self:  # noqa: ARG002
        x, alpha = train.csr(), self.config.alpha
        per_user, per_item = (x.sum(axis).clip(min=1) for axis in (1, 0))  # at least 1: nothing is divided by 0
        to_items = diags_array(per_user**-alpha) @ x  # (n_users, n_items): P_ui ** alpha
        to_people = diags_array(per_item**-alpha) @ x.T  # (n_items, n_users): P_iu ** alpha
        against = torch.from_numpy(per_item**-self.config.beta)

        def walks(items: Tensor) -> Tensor:
            return torch.from_numpy((to_people[items.numpy()] @ to_items).toarray()) * against  # (block, n_items)

        from_to, values = keep_largest(walks, torch.from_numpy(x.sum(0)), self.config.k)
        self.weights = sparse(from_to.flip(0), values, (train.n_items, train.n_items))
        return self

    def score(self, batch: UserBatch) -> Tensor:
        """float32 (batch, n_items): weights summed over the history."""
        return sum_over_history(self.weights, batch)

    def save(self, directory: Path) -> None:
        save_model(directory, "rp3beta", self.config, {"indices": self.weights.indices(), "values": self.weights.values()})

    @classmethod
    def load(cls, directory: Path) -> Self:
        config, tensors = load_model(directory, "rp3beta", Rp3BetaConfig)
        model = cls(config)
        n_items = int(tensors["indices"][1].max()) + 1  # every item has a column of ends
        model.weights = sparse(tensors["indices"], tensors["values"], (n_items, n_items))
        return model
