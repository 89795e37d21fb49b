"""A small objective with a closed form, and trainings of it."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Generator, Tensor, nn

from workbench.data import Holdout, Interactions
from workbench.testing import interactions
from workbench.training import Engine, Learning, Objective, Training

EVENTS = interactions([(0, 0), (0, 1), (1, 1)], n_users=2, n_items=3)


class Line(Objective):
    """Least squares, y = x · w: an example is a row of x. `drawn` keeps the places of every batch, as they come."""

    def __init__(self, n: int = 100, spoil: Callable[[int], float] | None = None) -> None:
        """spoil: what the loss of the s-th step, from 0, is multiplied by."""
        super().__init__()
        generator = Generator().manual_seed(1)
        self.x = torch.randn(n, 3, generator=generator)
        self.y = self.x @ torch.tensor([1.0, -2.0, 3.0]) + 0.1 * torch.randn(n, generator=generator)
        self.weight = nn.Parameter(torch.zeros(3))
        self.n_examples, self.spoil = n, spoil
        self.steps, self.batches, self.random = 0, [], []

    def place(self, device: torch.device) -> None:
        self.x, self.y = self.x.to(device), self.y.to(device)

    def draw(self, places: Tensor, generator: Generator) -> tuple[Tensor, ...]:
        return self.x[places], self.y[places], places

    def loss(self, *drawn: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        x, y, places = drawn
        self.batches.append(places.tolist())
        self.random.append(torch.rand((), generator=generator, device=x.device).item())
        factor = self.spoil(self.steps) if self.spoil else 1.0
        self.steps += 1
        return factor * (x @ self.weight - y).square().sum(), torch.full((), len(x), device=x.device)


@dataclass(frozen=True, kw_only=True)
class LineConfig(Learning):
    epochs: int = 2
    batch_size: int = 10
    learning_rate: float = 0.1


def train_line(objective: Objective, engine: Engine | None = None, train: Interactions = EVENTS, **learning) -> Training:
    config = LineConfig(**learning)
    model = SimpleNamespace(config=config, title="Line")
    return (engine or Engine(device="cpu")).train(objective, config, model=model, kind="line", train=train)


class Judged:
    """A model whose quality in each epoch is given: it puts a person's one true item first in a share of people of that size."""

    inductive, personal, title = True, True, "Judged"

    def __init__(self, holdout: Holdout, qualities: list[float], **learning) -> None:
        self.holdout, self.qualities, self.asked = holdout, qualities, 0
        self.config = LineConfig(**{"epochs": len(qualities), "watch": "hit_rate@1", **learning})
        self.objective = Line()
        self.weights: list[Tensor] = []

    def score(self, batch) -> Tensor:
        self.weights.append(self.objective.weight.detach().clone())
        quality = self.qualities[self.asked]
        self.asked += 1
        truth = self.holdout.truth
        scores = torch.zeros(len(batch), batch.n_items)
        right = truth.items[truth.offsets[batch.users]]
        scores[torch.arange(len(batch)), right] = torch.where(torch.arange(len(batch)) < quality * len(batch), 1.0, -1.0)
        return scores

    def train(self, engine: Engine | None = None) -> Training:
        engine = engine or Engine(device="cpu")
        return engine.train(self.objective, self.config, model=self, kind="judged", train=EVENTS, valid=self.holdout)


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(module.state_dict())


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def told(training: Training) -> list[tuple[int, float, float | None]]:
    """The curve without its seconds, which no two trainings share."""
    return [(epoch.number, epoch.loss, epoch.value) for epoch in training.curve]


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
