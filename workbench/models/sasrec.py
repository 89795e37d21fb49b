"""SASRec: what a person did, in order, through causal self-attention (Kang and McAuley, ICDM 2018), with the losses that came since."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from workbench.data import Holdout, Interactions, UserBatch
from workbench.errors import RequestError
from workbench.models.space import Choices, Range
from workbench.models.storage import load_model, save_model
from workbench.training import Engine, Learning, Negatives, Objective, Training
from workbench.training.losses import gbce_beta, gbce_loss, softmax_loss
from workbench.training.objective import draw_weights
from workbench.training.sequences import Dropout, Windows, last_events

SCORED = 256
"""Histories encoded together when scoring."""


@dataclass(frozen=True, kw_only=True)
class SasRecConfig(Learning):
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Windows for each step, and of short ones as many more as have together as many targets, up to four times as many."""
    dimensions: Annotated[int, Field(ge=1)] = 64
    """Width of the network; a multiple of `heads`."""
    layers: Annotated[int, Field(ge=1)] = 2
    heads: Annotated[int, Field(ge=1)] = 2
    """Of attention."""
    expansion: Annotated[int, Field(ge=1)] = 1
    """Width of the layer that each position passes on its own, in `dimensions`: 1 in the paper, 4 in most transformers."""
    length: Annotated[int, Field(ge=1)] = 50
    """Events looked back on."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of the embeddings and of each layer's output set to zero in training."""
    loss: Literal["softmax", "sampled_softmax", "gbce"] = "softmax"
    """softmax: cross-entropy over the whole catalogue. sampled_softmax: over the target and `negatives` items drawn for the batch. gbce:
    each target against `negatives` drawn for its window, with gSASRec's calibration."""
    negatives: Annotated[int, Field(ge=1)] = 256
    drawn_by: Literal["uniform", "popularity"] = "uniform"
    """Of the negatives; popularity: in proportion to events^0.75."""
    calibration: Annotated[float, Field(ge=0, le=1)] = 0.75
    """gSASRec's t: 0 leaves probabilities inflated by sampling, 1 undoes that in full."""
    whole: bool = True
    """Learn from all of a person's sequence, cut into windows; False: from the last window alone, as the paper does."""


class SasRec:
    """Works from histories alone, so it serves strangers and sessions. One loss for every position of a window, in one pass.

    As the original but for what its successors agree on: layers are normalised before attention (and once at the end), and the loss is one
    over many items: cross-entropy (Klenitskiy and Vasilev, RecSys 2023) or gBCE (Petrov and Macdonald, RecSys 2023). Positions count from
    the latest event back.
    """

    title = "SASRec"
    inductive = True
    personal = True
    space: ClassVar = {
        "loss": Choices("softmax", "gbce"),
        "dimensions": Choices(32, 64, 128),
        "layers": Choices(1, 2),
        "length": Choices(50, 100, 200),
        "dropout": Range(0.05, 0.5),
        "learning_rate": Range(3e-4, 5e-3, log=True),
        "batch_size": Choices(8, 16, 32),
    }

    network: "_Network"
    training: Training | None = None

    def __init__(self, config: SasRecConfig = SasRecConfig()) -> None:
        if config.dimensions % config.heads:
            raise RequestError(f"sasrec: dimensions = {config.dimensions} should be a multiple of heads = {config.heads}.")
        self.config = config

    def fit(self, train: Interactions, valid: Holdout | None = None, engine: Engine | None = None) -> Self:
        self.network = _Network(train.n_items, self.config)
        objective = _NextItem(self.network, train, self.config)
        self.training = (engine or Engine()).train(objective, self.config, model=self, kind="sasrec", train=train, valid=valid)
        return self

    def score(self, batch: UserBatch) -> Tensor:
        """float32 (batch, n_items): inner products of the state after the last event with the items' vectors."""
        return self.person_vectors(batch) @ self.item_vectors(batch.device).T

    def item_vectors(self, device: torch.device | str = "cpu") -> Tensor:
        """float32 (n_items, dimensions)."""
        return self.network.to(device).items.weight.detach()[:-1]

    @torch.no_grad()
    def person_vectors(self, batch: UserBatch) -> Tensor:
        """float32 (batch, dimensions): where a person is after the last event of the history; zeros where there is none."""
        network = self.network.to(batch.device).eval()
        items, lengths = last_events(batch, self.config.length, padding=network.n_items)
        states = torch.zeros(len(batch), self.config.dimensions, device=batch.device)
        for rows in lengths.argsort().split(SCORED):
            longest = int(lengths[rows].max()) if len(rows) else 0
            if longest:
                found = network(items[rows, :longest], lengths[rows])
                states[rows] = found[torch.arange(len(rows), device=batch.device), (lengths[rows] - 1).clamp(min=0)]
        return states * (lengths > 0)[:, None]

    def save(self, directory: Path) -> None:
        save_model(directory, "sasrec", self.config, self.network.state_dict())

    @classmethod
    def load(cls, directory: Path) -> Self:
        config, tensors = load_model(directory, "sasrec", SasRecConfig)
        model = cls(config)
        model.network = _Network(len(tensors["items.weight"]) - 1, config)
        model.network.load_state_dict(tensors)
        model.network.eval()
        return model


class _Network(nn.Module):
    def __init__(self, n_items: int, config: SasRecConfig) -> None:
        super().__init__()
        self.n_items = n_items
        with torch.random.fork_rng(devices=[]):  # torch fills a new layer from the global generator
            self.items = nn.Embedding(n_items + 1, config.dimensions)  # the last one is padding
            self.positions = nn.Embedding(config.length, config.dimensions)  # 0: the latest event
            self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dimensions)
        self.dropout = Dropout(config.dropout)
        draw_weights(self, config.seed, lambda _: 0.02)

    def forward(self, items: Tensor, lengths: Tensor, generator: Generator | None = None) -> Tensor:
        """float (batch, n, dimensions), the state after each event. items: int64 (batch, n), padded at the end; lengths: int64 (batch,)."""
        back = lengths[:, None] - 1 - torch.arange(items.shape[1], device=items.device)
        x = self.items(items) * self.items.embedding_dim**0.5 + self.positions(back.clamp(min=0))
        x = self.dropout(x, generator)
        for layer in self.layers:
            x = layer(x, generator)
        states: Tensor = self.norm(x)
        return states


class _Layer(nn.Module):
    """Attention to what came before, then each position on its own; padding comes last, so that no real position attends to it."""

    def __init__(self, config: SasRecConfig) -> None:
        super().__init__()
        d = config.dimensions
        self.heads = config.heads
        self.norm_attention, self.norm_feed = nn.LayerNorm(d), nn.LayerNorm(d)
        self.project, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.feed, self.back = nn.Linear(d, config.expansion * d), nn.Linear(config.expansion * d, d)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, generator: Generator | None) -> Tensor:
        batch, n, d = x.shape
        parts = self.project(self.norm_attention(x)).view(batch, n, 3, self.heads, d // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each (batch, heads, n, d / heads)
        attended = scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.dropout(self.out(attended.transpose(1, 2).reshape(batch, n, d)), generator)
        x = x + self.dropout(self.back(gelu(self.feed(self.norm_feed(x)))), generator)
        return x


class _NextItem(Objective):
    """An example is a window; every position of it is asked for the next item."""

    def __init__(self, network: _Network, train: Interactions, config: SasRecConfig) -> None:
        super().__init__()
        self.network, self.config = network, config
        self.windows = Windows.of(train, config.length, config.whole)
        self.n_examples = len(self.windows)
        if not self.n_examples:
            raise RequestError("sasrec needs somebody with two events to learn what follows; nobody has.")
        self.negatives = Negatives.of(train, config.drawn_by)

    def place(self, device: torch.device) -> None:
        self.windows.to(device)
        self.negatives.to(device)

    def plan(self, batch_size: int, generator: Generator) -> list[Tensor]:
        return self.windows.plan(batch_size, generator)

    def draw(self, places: Tensor, generator: Generator) -> tuple[Tensor, ...]:  # noqa: ARG002, negatives are drawn for the batch
        return self.windows.starts[places], self.windows.lengths[places]

    def loss(self, *drawn: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        starts, lengths = drawn
        config, items = self.config, self.network.items.weight[:-1]
        inputs, targets, real = self.windows.gather(starts, lengths, padding=self.network.n_items)
        states, count = self.network(inputs, lengths, generator), real.sum()
        if config.loss == "gbce":
            negatives = self.negatives.draw(len(starts) * config.negatives, generator).view(len(starts), -1)
            positive = (states * self.network.items(targets)).sum(2)
            negative = states @ self.network.items(negatives).transpose(1, 2)  # an index's gradients are added up in any order
            return gbce_loss(positive, negative, gbce_beta(config.negatives, self.network.n_items, config.calibration), real), count
        flat, targets, real = states.flatten(0, 1), targets.clamp(max=self.network.n_items - 1).flatten(), real.flatten()
        if config.loss == "softmax":
            return softmax_loss(flat, items, targets, counted=real), count
        negatives = self.negatives.draw(config.negatives, generator)
        shift = self.negatives.log_q[negatives] + math.log(config.negatives)
        return softmax_loss(flat, items, targets, negatives, shift, counted=real), count
