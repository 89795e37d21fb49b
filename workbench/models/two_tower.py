"""Two towers: one makes a vector of a person, the other of an item, and their inner product is the score (Yi et al., RecSys 2019)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn.functional import embedding_bag, normalize, relu

from workbench.data import Holdout, Interactions, Side, UserBatch
from workbench.errors import RequestError
from workbench.models.space import Choices, Range
from workbench.models.storage import load_model, save_model
from workbench.training import Engine, Learning, Negatives, Objective, Training
from workbench.training.losses import in_batch_softmax_loss
from workbench.training.negatives import log_expected
from workbench.training.objective import draw_weights
from workbench.training.sequences import Dropout, last_events


@dataclass(frozen=True, kw_only=True)
class TwoTowerConfig(Learning):
    batch_size: Annotated[int, Field(ge=1)] = 1024
    dimensions: Annotated[int, Field(ge=1)] = 64
    """Length of the vectors, and width of the towers."""
    length: Annotated[int, Field(ge=1)] = 50
    """Events of the history that a person's vector is made from, the latest ones."""
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """What inner products of vectors of length 1 are divided by."""
    negatives: Annotated[int, Field(ge=1)] = 256
    """Items drawn uniformly for each batch, beside the batch's own (Yang et al., WWW 2020): the tail is never in a batch by itself."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of each tower's input set to zero in training."""
    id_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of items whose own vector is hidden in training where they have features, so that the tower learns to do without, as it must
    for an item that it never met (DropoutNet: Volkovs, Yu and Poutanen, NeurIPS 2017)."""


class TwoTower:
    """A person is the last events, recent ones weighing what was learnt, and their features; an item its own vector and its features.

    Serves strangers, by their history, and items that nobody had in training, by their features. The loss is cross-entropy over the batch's
    items and some drawn uniformly, corrected for how likely each was to be there.
    """

    title = "Two-tower"
    inductive = True
    personal = True
    takes_side = True
    space: ClassVar = {
        "dimensions": Choices(32, 64, 128),
        "length": Choices(20, 50, 100),
        "temperature": Range(0.03, 0.3, log=True),
        "learning_rate": Range(3e-4, 1e-2, log=True),
        "dropout": Range(0.0, 0.4),
        "weight_decay": Range(1e-4, 1.0, log=True),
    }

    network: "_Towers"
    training: Training | None = None

    def __init__(self, config: TwoTowerConfig = TwoTowerConfig()) -> None:
        self.config = config

    def fit(self, train: Interactions, valid: Holdout | None = None, engine: Engine | None = None, side: Side | None = None) -> Self:
        """Raises RequestError for features that do not fit the log."""
        side = side or Side()
        side.check(train)
        self.network = _Towers(train.n_items, side.tables(), self.config)
        self.network.met.copy_((train.events_per_item > 0)[:, None])
        objective = _Retrieve(self.network, train, self.config)
        self.training = (engine or Engine()).train(objective, self.config, model=self, kind="two_tower", train=train, valid=valid)
        return self

    @torch.no_grad()
    def score(self, batch: UserBatch) -> Tensor:
        """float32 (batch, n_items): cosines over the temperature."""
        people: Tensor = self.person_vectors(batch) @ self.item_vectors(batch.device).T / self.config.temperature
        return people

    @torch.no_grad()
    def person_vectors(self, batch: UserBatch) -> Tensor:
        """float32 (batch, dimensions), of length 1."""
        network = self._ready(batch.device)
        items, lengths = last_events(batch, self.config.length, padding=0)
        vectors: Tensor = network.people(batch.users, items, lengths, None)
        return vectors

    @torch.no_grad()
    def item_vectors(self, device: torch.device | str = "cpu") -> Tensor:
        """float32 (n_items, dimensions), of length 1: of the whole catalogue, whether met in training or not."""
        network = self._ready(device)
        if network.catalogue is None or network.catalogue.device != network.own.weight.device:
            network.catalogue = network.items(torch.arange(network.n_items, device=device), None)
        return network.catalogue

    @torch.no_grad()
    def new_item_vectors(self, side: Side) -> Tensor:
        """float32 (n, dimensions): of items that are in no catalogue yet, by their features, made the way those in training were.

        Raises RequestError when training knew other features, and for tables of different lengths.
        """
        tables = {name: table.float() for name, table in side.tables().items() if name != "users"}
        network = self._ready("cpu")
        shapes = {name: table.shape[1] for name, table in tables.items()}
        if not shapes or shapes != network.item_shapes():
            raise RequestError(f"{self.title} was trained on item features of widths {network.item_shapes()}, not {shapes}.")
        rows = {name: len(table) for name, table in tables.items()}
        if len(set(rows.values())) > 1:
            raise RequestError(f"features of new items should have a row for each in every table, not {rows}.")
        blank = torch.zeros(next(iter(rows.values())), self.config.dimensions)
        return network.item_tower_of(blank, network.project(tables))

    def _ready(self, device: torch.device | str) -> "_Towers":
        """The network on this device, not in training; `eval()` alone would forget its vectors of the catalogue."""
        network = self.network.to(device)
        if network.training:
            network.eval()
        return network

    def save(self, directory: Path) -> None:
        tables = {f"side_{name}": table for name, table in self.network.tables().items()}
        save_model(directory, "two_tower", self.config, {**self.network.state_dict(), **tables})

    @classmethod
    def load(cls, directory: Path) -> Self:
        config, tensors = load_model(directory, "two_tower", TwoTowerConfig)
        model = cls(config)
        tables = {name.removeprefix("side_"): tensors.pop(name) for name in list(tensors) if name.startswith("side_")}
        model.network = _Towers(len(tensors["own.weight"]), tables, config)
        model.network.load_state_dict(tensors)
        return model


class _Towers(nn.Module):
    met: Tensor
    """bool (n_items, 1): had by somebody in training. The others have no vector of their own."""
    catalogue: Tensor | None = None
    """What the item tower makes of all items, kept until weights may change: many batches of people are scored against it."""

    def __init__(self, n_items: int, tables: dict[str, Tensor], config: TwoTowerConfig) -> None:
        super().__init__()
        d, self.n_items, self.id_dropout = config.dimensions, n_items, config.id_dropout
        with torch.random.fork_rng(devices=[]):  # torch fills a new layer from the global generator
            self.own = nn.Embedding(n_items, d)
            self.sides = nn.ModuleDict({f"of_{name}": nn.Linear(table.shape[1], d, bias=False) for name, table in tables.items()})
            self.person_tower, self.item_tower = _Tower(d), _Tower(d)
        self.recency = nn.Parameter(torch.zeros(config.length))  # log weight of the latest event, the one before, …
        self.dropout = Dropout(config.dropout)
        self.register_buffer("met", torch.zeros(n_items, 1, dtype=torch.bool))
        for name, table in tables.items():
            self.register_buffer(f"side_{name}", table.float(), persistent=False)  # data, which no checkpoint holds
        draw_weights(self, config.seed, lambda weight: weight.shape[1] ** -0.5)

    def train(self, mode: bool = True) -> Self:
        self.catalogue = None
        return super().train(mode)

    def item_shapes(self) -> dict[str, int]:
        return {name: table.shape[1] for name, table in self.tables().items() if name != "users"}

    def side(self, name: str) -> Tensor:
        table: Tensor = getattr(self, f"side_{name}")
        return table

    def tables(self) -> dict[str, Tensor]:
        return {name: self.side(name) for name in ("users", "items", "texts") if f"of_{name}" in self.sides}

    def project(self, tables: dict[str, Tensor]) -> Tensor:
        """float (n, d): the sum of what the features of these items say; tables: by name, each with n rows."""
        return torch.stack([self.sides[f"of_{name}"](table) for name, table in tables.items()]).sum(0)

    def item_features(self, items: Tensor) -> Tensor | None:
        return self.project({name: self.side(name)[items] for name in self.item_shapes()}) if self.item_shapes() else None

    def items(self, items: Tensor, generator: Generator | None) -> Tensor:
        """float (n, d), of length 1; items: int64 (n,)."""
        own, features = self.own(items) * self.met[items], self.item_features(items)
        if features is not None and self.training and generator is not None:
            shown = torch.rand(len(items), 1, generator=generator, device=items.device) >= self.id_dropout
            own = own * shown
        return self.item_tower_of(own, features, generator)

    def item_tower_of(self, own: Tensor, features: Tensor | None, generator: Generator | None = None) -> Tensor:
        x = own if features is None else own + features
        return normalize(self.item_tower(self.dropout(x, generator)), dim=1)

    def people(self, users: Tensor, items: Tensor, lengths: Tensor, generator: Generator | None) -> Tensor:
        """float (batch, d), of length 1. users: int64 (batch,), -1 for strangers; items: int64 (batch, n), oldest first; lengths."""
        back = lengths[:, None] - 1 - torch.arange(items.shape[1], device=items.device)
        places = back.clamp(0, len(self.recency) - 1)
        weights = self.recency.expand(back.shape[0], -1).gather(1, places)  # indexing has gradients that threads add up in any order
        weights = weights.masked_fill(back < 0, -torch.inf)
        weights = weights.softmax(1).nan_to_num()  # nothing for who has no history
        x = _bag(self.own.weight * self.met, items, weights)
        for name in self.item_shapes():  # a projection of the mean is the mean of projections
            x = x + self.sides[f"of_{name}"](_bag(self.side(name), items, weights))
        if "of_users" in self.sides:
            x = x + self.sides["of_users"](self.side("users")[users.clamp(min=0)]) * (users >= 0)[:, None]
        return normalize(self.person_tower(self.dropout(x, generator)), dim=1)


def _bag(table: Tensor, items: Tensor, weights: Tensor) -> Tensor:
    return embedding_bag(items, table, per_sample_weights=weights, mode="sum")


class _Tower(nn.Module):
    """What was said, and beside it one hidden layer."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.out(relu(self.hidden(x)))
        return x + added


class _Retrieve(Objective):
    """An example is an event with one before it: who had that history took this item."""

    def __init__(self, network: _Towers, train: Interactions, config: TwoTowerConfig) -> None:
        super().__init__()
        self.network, self.config = network, config
        before = torch.arange(len(train)) - train.offsets[train.users]  # events of the person before each
        self.events = torch.nonzero(before > 0)[:, 0]
        if not len(self.events):
            raise RequestError("two_tower needs somebody with two events to learn what follows; nobody has.")
        self.users, self.items, self.before = train.users, train.items, before.clamp(max=config.length)
        self.n_examples = len(self.events)
        self.negatives = Negatives.of(train)
        self.popularity = Negatives.of(train, "popularity", alpha=1.0).log_q

    def place(self, device: torch.device) -> None:
        for name in ("events", "users", "items", "before", "popularity"):
            setattr(self, name, getattr(self, name).to(device))
        self.negatives.to(device)

    def draw(self, places: Tensor, generator: Generator) -> tuple[Tensor, ...]:  # noqa: ARG002, negatives are drawn for the batch
        return (self.events[places],)

    def loss(self, *drawn: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        (events,) = drawn
        lengths = self.before[events]
        steps = torch.arange(self.config.length, device=events.device)
        places = (events - lengths)[:, None] + steps
        history = self.items[torch.where(steps < lengths[:, None], places, events[:, None])]  # past its end any item: it weighs nothing
        people = self.network.people(self.users[events], history, lengths, generator)
        liked, more = self.items[events], self.negatives.draw(self.config.negatives, generator)
        candidates = torch.cat([liked, more])
        log_q = log_expected(self.popularity, len(liked), self.negatives.log_q, len(more))
        vectors, count = self.network.items(candidates, generator), torch.full((), len(events), device=events.device)
        return in_batch_softmax_loss(people / self.config.temperature, vectors, candidates, log_q[candidates]), count
