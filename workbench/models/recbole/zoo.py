"""A model of RecBole as one of ours: its class, our data, our training, our evaluation."""

from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from workbench.data import Holdout, Interactions, Side, UserBatch
from workbench.errors import NotApplicable, RequestError, unknown
from workbench.models.protocol import check_trained
from workbench.models.recbole.build import build
from workbench.models.recbole.dataset import Data
from workbench.models.recbole.defaults import SPACES
from workbench.models.recbole.families import CLOSED_FORM, FAMILY, FROM_HISTORY, IMPERSONAL, IMPOSSIBLE, WITH_PEOPLE
from workbench.models.recbole.faster import fast_dropout
from workbench.models.recbole.learn import forget, move, objective_for, seeded, silent
from workbench.models.recbole.score import PRODUCTS, last_products, scores_of
from workbench.models.recbole.settings import settings_of
from workbench.models.space import Choices, Range
from workbench.models.storage import load_model, save_model
from workbench.training import Engine, Training

COLUMNS = ("users", "items", "timestamps", "values", "grades", "order")


class Zoo:
    """Base of one class a model; `zoo_model("LightGCN")` makes it.

    What is saved is the weights, the log and the features: RecBole builds a model out of its data, graphs and histories among it.
    """

    name: str
    title: str
    inductive: bool
    personal: bool
    takes_side = True
    space: ClassVar[dict[str, Range | Choices]] = {}

    model: Any
    """Of RecBole's class."""
    data: Data
    training: Training | None = None

    def __init__(self, config: Any = None) -> None:
        if self.name in IMPOSSIBLE:
            raise NotApplicable(f"recbole:{self.name} {IMPOSSIBLE[self.name]}.")
        self.config = config or settings_of(self.name)()
        self.inductive = self.inductive and not self._told_of_people()

    def fit(self, train: Interactions, valid: Holdout | None = None, engine: Engine | None = None, side: Side | None = None) -> Self:
        """Raises NotApplicable when the model needs what the data lacks, RequestError for settings that RecBole refuses."""
        engine = engine or Engine()
        if engine.devices * engine.num_nodes > 1:
            raise RequestError(f"recbole:{self.name} trains in one process: give an engine with one device.")
        with seeded(getattr(self.config, "seed", 0)):
            self.model, self.data = build(self.name, self.config, train, side or Side())
            if self.name not in CLOSED_FORM:
                objective = objective_for(self.name, self.model, self.data, train, self.config)
                kind = f"recbole:{self.name}"
                with fast_dropout():
                    self.training = engine.train(objective, self.config, model=self, kind=kind, train=train, valid=valid)
        self._settle()
        return self

    @torch.no_grad()
    def score(self, batch: UserBatch) -> Tensor:
        """float32 (batch, n_items). Raises RequestError for somebody it was not trained on, if it is not inductive."""
        if not len(batch):
            return torch.zeros(0, batch.n_items, device=batch.device)
        if self.personal and not self.inductive:
            check_trained(self.title, batch.users, (self.data.log.events_per_user > 0).to(batch.device))
        if next(self.model.parameters()).device != batch.device:
            move(self.model, batch.device)
            self.data.to(batch.device)
            forget(self.model)
        self.model.eval()
        with silent():
            return scores_of(self.model, self.data, self.inductive, getattr(self.config, "length", 0), batch)

    def save(self, directory: Path) -> None:
        weights = {name: weight.clone() for name, weight in self.model.state_dict().items()}  # some are one tensor under several names
        save_model(directory, f"recbole:{self.name}", self.config, {**_packed(self.data), **weights})

    @classmethod
    def load(cls, directory: Path) -> Self:
        config: Any
        config, tensors = load_model(directory, f"recbole:{cls.name}", settings_of(cls.name))
        model = cls(config)
        with seeded(getattr(config, "seed", 0)):
            model.model, model.data = build(cls.name, config, *_unpacked(tensors))
        model.model.load_state_dict(tensors)
        model._settle()
        return model

    def _told_of_people(self) -> bool:
        """Whether settings make a model that works from histories need those it was trained on."""
        return getattr(self.config, "knn_method", "item") == "user" or bool(getattr(self.config, "time_aware", False))

    def _settle(self) -> None:
        """As it is when it scores, whether trained here or loaded."""
        vars(self.model).pop("get_rating_matrix", None)
        self.model.requires_grad_(False)
        move(self.model, torch.device("cpu"))
        self.data.to(torch.device("cpu"))
        forget(self.model)
        self.model.eval()


class WithVectors(Zoo):
    """A model whose scores are products of vectors of people and of items. RecBole has no name for them; it multiplies them last."""

    def person_vectors(self, batch: UserBatch) -> Tensor:
        """float32 (batch, d), on the batch's device. Raises as `score` does."""
        if not len(batch):
            return self.item_vectors(batch.device)[:0]
        with last_products(self.data.log.n_items + 1) as found:
            self.score(batch)
        return torch.cat([people for people, _ in found])

    def item_vectors(self, device: torch.device | str = "cpu") -> Tensor:
        """float32 (n_items, d)."""
        somebody = self.data.log.users[:1]
        with last_products(self.data.log.n_items + 1) as found:
            self.score(self.data.log.batch(somebody).to(device))
        return found[-1][1].T[1:]


@cache
def zoo_model(name: str) -> tuple[type[Zoo], type]:
    """The class and its settings of a model, by RecBole's name. Raises RequestError for a name that is none, with the nearest."""
    if name not in FAMILY:
        raise unknown("model of RecBole", name, FAMILY)
    inductive = name in FROM_HISTORY if FAMILY[name] != "sequential" else name not in WITH_PEOPLE
    facts = {"name": name, "title": f"{name} (RecBole)", "inductive": inductive, "personal": name not in IMPERSONAL}
    facts["space"] = SPACES.get(name, {})
    base = WithVectors if name in PRODUCTS else Zoo
    return type(name, (base,), facts), settings_of(name)


def _packed(data: Data) -> dict[str, Tensor]:
    log, side = data.log, data.side
    told = {f"log.{column}": getattr(log, column) for column in COLUMNS}
    for table, fields in (("users", side.user_fields), ("items", side.item_fields)):
        if (features := side.tables().get(table)) is not None:
            parts = features.split([width for _, width in fields] or features.shape[1], dim=1)
            names = [f".{place:03}.{name}" for place, (name, _) in enumerate(fields)] or [""]
            told |= {f"side.{table}{name}": part for name, part in zip(names, parts, strict=True)}
    return {**told, "log.size": torch.tensor([log.n_users, log.n_items])}


def _unpacked(tensors: dict[str, Tensor]) -> tuple[Interactions, Side]:
    """What `_packed` told, taken out of the tensors."""
    n_users, n_items = tensors.pop("log.size").tolist()
    log = Interactions(n_users, n_items, *(tensors.pop(f"log.{column}") for column in COLUMNS))
    found: dict[str, Any] = {}
    for table in ("users", "items"):
        parts = {name: tensors.pop(name) for name in sorted(tensors) if name.startswith(f"side.{table}")}
        if parts:
            found[table] = torch.cat(list(parts.values()), dim=1)
            named = [(name.split(".", 3)[3], part.shape[1]) for name, part in parts.items() if name.count(".") > 1]
            found[f"{table[:-1]}_fields"] = tuple(named)
    return log, Side(**found)
