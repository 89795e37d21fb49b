"""Networks over a request's candidates: RecBole's deep rankers and our own multi-task one, trained by the same engine and losses."""

import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn

from workbench.errors import NotApplicable, WorkError
from workbench.files import whole_file, write_json
from workbench.ranking.examples import Examples, check_learnable, judging
from workbench.ranking.inputs import Inputs
from workbench.ranking.losses import Loss, ranking_loss
from workbench.training import Engine, Learning, Objective, Training
from workbench.training.judge import JudgeCall

SCORED = 2**16
"""Candidates that a network scores at once."""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Learning):
    epochs: Annotated[int, Field(ge=1)] = 30
    patience: Annotated[int, Field(ge=0)] = 5
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Requests for each step, with all their candidates."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.002
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    loss: Literal["pointwise", "pairwise", "listwise"] = "listwise"
    """Of single candidates, of pairs, of a request's whole list; the last task's where there are several and they are no chain."""


class Network(ABC):
    """Base of the rankers that learn by gradient."""

    kind: str
    title: str
    config: Any
    inputs: Inputs
    tasks: tuple[str, ...]
    network: nn.Module
    training: Training | None = None

    def __init__(self, config: Any) -> None:
        self.config = config

    @property
    def outputs(self) -> int:
        """Tasks that the network scores, the last ones."""
        return len(self.tasks)

    @abstractmethod
    def build(self) -> nn.Module:
        """An untrained network, float (n, width) and int64 (n, categories) → logits, float (n, tasks), the last ones of the tasks."""

    def log_chances(self, logits: Tensor) -> Tensor:
        """float (n, tasks): what candidates are scored by for each task, a logit, out of the network's."""
        return logits

    def fit(
        self,
        train: Examples,
        valid: Examples | None = None,
        ties: Tensor | None = None,
        engine: Engine | None = None,
        judge: JudgeCall | None = None,
    ) -> Self:
        """valid, with ties: int64 (n_items,), choose the epoch by NDCG; judge: in place of both, what says how good it is after one.

        Raises NotApplicable where there is nothing to learn from.
        """
        self.inputs, self.tasks = Inputs.of(train.features), train.tasks
        check_learnable(train, self.outputs)
        if not self.inputs.width and not self.inputs.sizes:
            raise NotApplicable("every feature is the same everywhere: there is nothing to tell candidates apart by.")
        if judge is None and valid is not None and judging(valid) and ties is not None:
            judge = _judge(self, valid, ties, self.config)
        with torch.random.fork_rng():  # what the networks are made of, and their dropout, are drawn from torch's global generator
            torch.manual_seed(self.config.seed)
            self.network = self.build()
            objective = _Rank(self, train)
            self.training = (engine or Engine()).train(objective, self.config, model=self, kind=self.kind, judge=judge)
        return self

    def score(self, examples: Examples) -> Tensor:
        """float64 (n,): the logit of the last task."""
        return self.scores(examples)[:, -1]

    @torch.no_grad()
    def scores(self, examples: Examples, device: torch.device | str = "cpu") -> Tensor:
        """float64 (n, tasks), logits."""
        if not len(examples.items):
            return torch.empty(0, self.outputs, dtype=torch.float64)
        numbers, codes = self.inputs.encoded(examples.features)
        network = self.network.to(device).eval()
        parts = zip(numbers.split(SCORED), codes.split(SCORED), strict=True)
        found = [self.log_chances(network(a.to(device), b.to(device))).double().cpu() for a, b in parts]
        return torch.cat(found)

    def save(self, directory: Path) -> None:
        """Weights as safetensors, the rest as JSON."""
        directory.mkdir(parents=True, exist_ok=True)
        inputs = {"numbers": self.inputs.numbers, "missing": self.inputs.missing, "categories": self.inputs.categories}
        told = {"ranker": self.kind, "config": asdict(self.config), "tasks": self.tasks, "inputs": inputs}
        with whole_file(directory / "ranker.json") as path:
            write_json(path, told)
        weights = {f"network.{name}": tensor.contiguous() for name, tensor in self.network.state_dict().items()}
        with whole_file(directory / "weights.safetensors") as path:
            save_file({**weights, "mean": self.inputs.mean, "spread": self.inputs.spread}, path)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Raises WorkError when a file is damaged or of another ranker."""
        try:
            told = json.loads((directory / "ranker.json").read_text(encoding="utf-8"))
            ranker = cls(_config_of(cls)(**{name: _tupled(value) for name, value in told["config"].items()}))
            if told["ranker"] != ranker.kind:
                raise WorkError(f"{directory.name} holds {told['ranker']}, not {ranker.kind}.")
            tensors = load_file(directory / "weights.safetensors")
            ranker.tasks, given = tuple(told["tasks"]), told["inputs"]
            ranker.inputs = Inputs(
                numbers=tuple(given["numbers"]),
                missing=tuple(given["missing"]),
                mean=tensors.pop("mean"),
                spread=tensors.pop("spread"),
                categories={name: tuple(names) for name, names in given["categories"].items()},
            )
            ranker.network = ranker.build()
            ranker.network.load_state_dict({name.removeprefix("network."): tensor for name, tensor in tensors.items()})
        except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
            if isinstance(error, WorkError):
                raise
            raise WorkError(f"the ranker in {directory.name} cannot be read: {' '.join(str(error).split())}.") from None
        return ranker


def _config_of(kind: Any) -> Any:
    return kind.__init__.__annotations__["config"]


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _judge(ranker: Network, valid: Examples, ties: Tensor, config: Learning) -> JudgeCall:
    k = int(config.watch.split("@")[1])

    def judge(device: str, rank: int = 0, world: int = 1, total: Any = None) -> float:  # noqa: ARG001, each process judges all
        return valid.ndcg(ranker.scores(valid, device)[:, -1], ties, k).nanmean().item()

    return judge


class _Rank(Objective):
    """An example is a request with all its candidates, padded to the longest."""

    def __init__(self, ranker: Network, train: Examples) -> None:
        super().__init__()
        self.network, self.ranker = ranker.network, ranker
        self.loss_name: Loss = ranker.config.loss
        numbers, codes = ranker.inputs.encoded(train.features)
        weights = torch.ones(len(train.items)) if train.weights is None else train.weights.float()
        self.columns = [numbers, codes, train.labels, weights]
        lengths = train.offsets.diff()
        self.some = torch.nonzero(lengths)[:, 0]
        self.starts, self.lengths, self.n_examples = train.offsets[:-1][self.some], lengths[self.some], len(self.some)
        self.longest = int(lengths.max())

    def place(self, device: torch.device) -> None:
        self.columns = [each.to(device) for each in self.columns]
        self.starts, self.lengths = self.starts.to(device), self.lengths.to(device)

    def plan(self, batch_size: int, generator: Generator) -> list[Tensor]:
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator, device=generator.device)))  # the epoch's dropout
        return super().plan(batch_size, generator)

    def draw(self, places: Tensor, generator: Generator) -> tuple[Tensor, ...]:  # noqa: ARG002
        return self.starts[places], self.lengths[places]

    def loss(self, *drawn: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        starts, lengths = drawn
        steps = torch.arange(int(self.longest), device=starts.device)
        real = steps < lengths[:, None]
        places = torch.where(real, starts[:, None] + steps, starts[:, None])
        numbers, codes, labels, weights = (each[places.flatten()] for each in self.columns)
        logits = self.ranker.log_chances(self.network(numbers, codes)).view(*places.shape, -1)
        labels, weights = labels.view(*places.shape, -1), weights.view(places.shape)
        learnt = logits.shape[-1] if self.loss_name == "pointwise" else 1
        total, count = torch.zeros((), device=logits.device), torch.zeros((), dtype=torch.int64, device=logits.device)
        for back in range(1, learnt + 1):  # the last task first
            losses, n = ranking_loss(self.loss_name, logits[:, :, -back], labels[:, :, -back], weights, real)
            total, count = total + losses, count + n
        return total, count.clamp(min=1)
