"""Matrix factorisation: a vector for each person and item, whose inner product is the score; learnt by BPR, softmax or cross-entropy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from workbench.data import Holdout, Interactions, UserBatch
from workbench.models.protocol import check_trained
from workbench.models.space import Choices, Range
from workbench.models.storage import load_model, save_model
from workbench.training import Engine, Learning, Negatives, Objective, Training
from workbench.training.losses import in_batch_softmax_loss
from workbench.training.negatives import log_expected
from workbench.training.objective import draw_weights
from workbench.training.pairs import pair_loss, rows


@dataclass(frozen=True, kw_only=True)
class MfConfig(Learning):
    batch_size: Annotated[int, Field(ge=1)] = 512
    """Events for each step."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.003
    """Of Adam, at its highest."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Share of each weight taken away a step, times the learning rate."""
    dimensions: Annotated[int, Field(ge=1)] = 64
    """Numbers that describe a person or an item."""
    loss: Literal["bpr", "softmax", "bce"] = "softmax"
    """bpr: the item above each of its negatives. softmax: the item among those of the batch and the negatives, corrected for how often
    each is there. bce: the item yes, its negatives no."""
    negatives: Annotated[int, Field(ge=1)] = 1
    """Unseen items drawn for each event, by bpr and bce."""
    shared_negatives: Annotated[int, Field(ge=1)] = 256
    """Items drawn for each batch, whoever has seen them, by softmax."""
    drawn_by: Literal["uniform", "popularity"] = "uniform"
    """Of the negatives; popularity: in proportion to events^0.75."""


class Mf:
    """Serves whom it was trained on: a person's vector is learnt, not made from the history.

    BPR is Rendle et al. (UAI 2009); the softmax over the batch and further items Yi et al. (RecSys 2019) and Yang et al. (WWW 2020).
    """

    title = "Matrix factorisation"
    inductive = False
    personal = True
    space: ClassVar = {
        "loss": Choices("bpr", "softmax", "bce"),
        "dimensions": Choices(32, 64, 128),
        "learning_rate": Range(3e-4, 1e-2, log=True),
        "weight_decay": Range(1e-3, 3.0, log=True),
        "negatives": Choices(1, 4, 16),
    }

    network: "_Factors"
    training: Training | None = None

    def __init__(self, config: MfConfig = MfConfig()) -> None:
        self.config = config

    def fit(self, train: Interactions, valid: Holdout | None = None, engine: Engine | None = None) -> Self:
        self.network = _Factors(train.n_users, train.n_items, self.config)
        self.network.trained.copy_(train.events_per_user > 0)
        objective = _Factorise(self.network, train, self.config)
        self.training = (engine or Engine()).train(objective, self.config, model=self, kind="mf", train=train, valid=valid)
        return self

    def score(self, batch: UserBatch) -> Tensor:
        """float32 (batch, n_items): inner products. Raises RequestError for somebody it was not trained on."""
        return self.person_vectors(batch) @ self.item_vectors(batch.device).T

    def person_vectors(self, batch: UserBatch) -> Tensor:
        """float32 (batch, dimensions). Raises RequestError for somebody it was not trained on."""
        network = self.network.to(batch.device)
        check_trained(self.title, batch.users, network.trained)
        return network.vectors.detach()[batch.users]

    def item_vectors(self, device: torch.device | str = "cpu") -> Tensor:
        """float32 (n_items, dimensions)."""
        network = self.network.to(device)
        return network.vectors.detach()[len(network.trained) :]

    def save(self, directory: Path) -> None:
        save_model(directory, "mf", self.config, self.network.state_dict())

    @classmethod
    def load(cls, directory: Path) -> Self:
        config, tensors = load_model(directory, "mf", MfConfig)
        model = cls(config)
        n_users = len(tensors["trained"])
        model.network = _Factors(n_users, len(tensors["vectors"]) - n_users, config)
        model.network.load_state_dict(tensors)
        return model


class _Factors(nn.Module):
    vectors: nn.Parameter
    """float (n_users + n_items, dimensions): the people, then the items; one table, so that a step has one gradient."""
    trained: Tensor
    """bool (n_users,)."""

    def __init__(self, n_users: int, n_items: int, config: MfConfig) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.empty(n_users + n_items, config.dimensions))
        self.register_buffer("trained", torch.zeros(n_users, dtype=torch.bool))
        draw_weights(self, config.seed, lambda table: 0.1 / table.shape[1] ** 0.5)


class _Factorise(Objective):
    """An example is an event."""

    def __init__(self, network: _Factors, train: Interactions, config: MfConfig) -> None:
        super().__init__()
        self.network, self.config = network, config
        self.users, self.items, self.n_examples = train.users, train.items, len(train)
        self.negatives = Negatives.of(train, config.drawn_by, seen=config.loss != "softmax")
        self.popularity = Negatives.of(train, "popularity", alpha=1.0).log_q if config.loss == "softmax" else torch.empty(0)

    def place(self, device: torch.device) -> None:
        self.users, self.items = self.users.to(device), self.items.to(device)
        self.popularity = self.popularity.to(device)
        self.negatives.to(device)

    def draw(self, places: Tensor, generator: Generator) -> tuple[Tensor, ...]:
        users, items = self.users.index_select(0, places), self.items.index_select(0, places)
        if self.config.loss == "softmax":
            return users, items
        return users, torch.cat([items[:, None], self.negatives.draw_for(users, self.config.negatives, generator)], dim=1)

    def loss(self, *drawn: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        users, items = drawn
        vectors, first = self.network.vectors, len(self.network.trained)
        count = torch.full((), len(users), device=users.device)
        if self.config.loss != "softmax":
            return pair_loss(self.config.loss, vectors, users, first + items), count
        candidates = torch.cat([items, more := self.negatives.draw(self.config.shared_negatives, generator)])
        log_q = log_expected(self.popularity, len(items), self.negatives.log_q, len(more))
        people, them = rows(vectors, torch.cat([users, first + candidates])).split([len(users), len(candidates)])
        return in_batch_softmax_loss(people, them, candidates, log_q[candidates]), count
