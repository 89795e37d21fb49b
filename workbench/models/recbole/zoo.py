"""A model of RecBole as one of ours: its class, our data, our training, our evaluation."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn.functional import pad

from workbench.data import Holdout, Interactions, Side, UserBatch
from workbench.errors import NotApplicable, RequestError, unknown
from workbench.models.recbole.dataset import ITEM, LABEL, LENGTH, NEGATIVE, SEQUENCE, USER, VALUE, Data
from workbench.models.recbole.defaults import SPACES
from workbench.models.recbole.examples import all_pairs, sequences, with_features
from workbench.models.recbole.families import (
    CLOSED_FORM,
    FAMILY,
    FROM_HISTORY,
    FROM_ITEM_FEATURES,
    IMPOSSIBLE,
    WITH_PEOPLE,
)
from workbench.models.recbole.faster import fast_dropout, with_fast_graphs
from workbench.models.recbole.learn import forget, move, objective_for, one_line, seeded, silent
from workbench.models.recbole.library import get_model, interaction
from workbench.models.recbole.settings import for_recbole, settings_of
from workbench.models.space import Choices, Range
from workbench.models.storage import load_model, save_model
from workbench.training import Engine, Training

PAIRS = 2**16
"""Pairs of a person and an item that a model without a faster way scores at once; of sequences so many of their events."""
PEOPLE = 256
"""Sequences scored at once."""
COLUMNS = ("users", "items", "timestamps", "values", "grades", "order")
NAMES = {
    "USER_ID_FIELD": USER,
    "ITEM_ID_FIELD": ITEM,
    "LABEL_FIELD": LABEL,
    "RATING_FIELD": VALUE,
    "NEG_PREFIX": NEGATIVE.removesuffix(ITEM),
    "LIST_SUFFIX": SEQUENCE.removeprefix(ITEM),
    "ITEM_LIST_LENGTH_FIELD": LENGTH,
    "MASK_ITEM_SEQ": f"Mask_{SEQUENCE}",
    "POS_ITEMS": f"Pos_{ITEM}",
    "NEG_ITEMS": f"Neg_{ITEM}",
    "MASK_INDEX": "MASK_INDEX",
    "INVERSE_ITEM_SEQ": f"Inverse_{SEQUENCE}",
    "ENTITY_ID_FIELD": "entity_id",
    "RELATION_ID_FIELD": "relation_id",
    "HEAD_ENTITY_ID_FIELD": "head_id",
    "TAIL_ENTITY_ID_FIELD": "tail_id",
}


class Zoo:
    """Base of one class a model; `zoo_model("LightGCN")` makes it.

    What is saved is the weights, the log and the features: RecBole builds a model out of its data, graphs and histories among it.
    """

    name: str
    title: str
    inductive: bool
    personal = True
    takes_side = True
    space: ClassVar[dict[str, Range | Choices]] = {}

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
            self._build(train, side or Side())
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
        if not self.inductive:
            self._check_known(batch)
        if next(self.model.parameters()).device != batch.device:
            move(self.model, batch.device)
            forget(self.model)
        self.model.eval()
        with silent():
            if FAMILY[self.name] == "sequential":
                return self._by_sequence(batch)
            return self._whole(batch) if _has_fast_way(self.model) else self._by_pairs(batch)

    def save(self, directory: Path) -> None:
        weights = {name: weight.clone() for name, weight in self.model.state_dict().items()}  # some are one tensor under several names
        save_model(directory, f"recbole:{self.name}", self.config, {**_packed(self.data), **weights})

    @classmethod
    def load(cls, directory: Path) -> Self:
        config: Any
        config, tensors = load_model(directory, f"recbole:{cls.name}", settings_of(cls.name))
        model = cls(config)
        with seeded(getattr(config, "seed", 0)):
            model._build(*_unpacked(tensors))
        model.model.load_state_dict(tensors)
        model._settle()
        return model

    def _build(self, log: Interactions, side: Side) -> None:
        side.check(log)
        name, given = self.name, _Given(NAMES)
        given.update(for_recbole(name, self.config))
        negatives = {"sample_num": getattr(self.config, "negatives", 1)}
        given.update(
            device=torch.device("cpu"),
            MAX_ITEM_LIST_LENGTH=getattr(self.config, "length", 50),
            train_batch_size=getattr(self.config, "batch_size", 2048),
            train_neg_sample_args=negatives,
            seed=getattr(self.config, "seed", 0),
            double_tower=name == "DSSM",
            train_method="no_pretrain",
            train_stage="actor_pretrain" if name == "RaCT" else "pretrain",
            teacher="CrossNet",
        )
        self.data = Data(name, log, side, given)
        features = self.data.item_fields
        if name in FROM_ITEM_FEATURES and not set(features) - set(self.data.numerical):
            raise NotApplicable(f"recbole:{name} needs groups of items as features, and this data has none.")
        if FAMILY[name] == "sequential" and len(log) > 1 and (log.timestamps == log.timestamps[0]).all():
            raise NotApplicable(f"recbole:{name} learns from the order of events, and this data has no times.")
        numbers = [] if name == "FwFM" else self.data.numerical
        groups = [field for field in features if field not in numbers]
        given.update(numerical_features=numbers, selected_features=groups, item_attribute=next(iter(groups), None))
        try:
            with redirect_stdout(io.StringIO()):  # some print what they are made of
                self.model = get_model(name)(given, self.data)
        except RequestError:
            raise
        except Exception as error:
            raise RequestError(f"recbole:{name} cannot be made with these settings and this data: {one_line(error)}.") from error
        with_fast_graphs(name, self.model)
        if name == "S3Rec":  # without what it would learn before, which RecBole keeps in a pickle
            self.model.train_stage, self.model.loss_fct = "finetune", torch.nn.CrossEntropyLoss()
        if name == "Pop":  # RecBole's counts an item once a batch
            self.model.item_cnt[1:, 0] = log.events_per_item
            self.model.max_cnt = self.model.item_cnt.max()

    def _told_of_people(self) -> bool:
        """Whether settings make a model that works from histories need those it was trained on."""
        return getattr(self.config, "knn_method", "item") == "user" or bool(getattr(self.config, "time_aware", False))

    def _settle(self) -> None:
        """As it is when it scores, whether trained here or loaded."""
        vars(self.model).pop("get_rating_matrix", None)
        self.model.requires_grad_(False)
        move(self.model, torch.device("cpu"))
        forget(self.model)
        self.model.eval()

    def _check_known(self, batch: UserBatch) -> None:
        known = (self.data.log.events_per_user > 0).to(batch.device)
        strangers = (batch.users < 0) | ~known[batch.users]
        if strangers.any():
            person = int(batch.users[strangers][0])
            raise RequestError(f"{self.title} cannot score person {person}, who was not in training: name a fallback.")

    def _whole(self, batch: UserBatch) -> Tensor:
        with self._told(batch) if self.inductive else nullcontext(batch.users + 1) as users:
            scores: Tensor = self.model.full_sort_predict(interaction({USER: users}))
        return scores.view(len(batch), -1)[:, 1 : batch.n_items + 1].float().to(batch.device)

    @contextmanager
    def _told(self, batch: UserBatch) -> Iterator[Tensor]:
        """The model told of these histories instead of those it was trained on, and the rows at which it finds them: int64 (batch,)."""
        told: Any
        if hasattr(self.model, "get_rating_matrix"):
            name, told = "get_rating_matrix", partial(torch.Tensor.index_select, pad(batch.history_matrix(), (1, 0)), 0)
        else:
            pairs = (batch.rows.cpu().numpy(), batch.items.cpu().numpy() + 1)
            name, told = "interaction_matrix", csr_matrix((torch.ones(len(batch.items)), pairs), shape=(len(batch), batch.n_items + 1))
            told.data[:] = 1.0
            if self.name == "ItemKNN":
                name, told = "pred_mat", told.dot(self.model.w).tolil()
        before = vars(self.model).get(name)
        setattr(self.model, name, told)
        try:
            yield torch.arange(len(batch), device=batch.device)
        finally:
            if before is None:
                delattr(self.model, name)
            else:
                setattr(self.model, name, before)

    def _by_sequence(self, batch: UserBatch) -> Tensor:
        told, found = sequences(batch, self.config.length), []
        size = PEOPLE if _has_fast_way(self.model) else max(1, PAIRS // (batch.n_items * self.config.length))
        for rows in torch.arange(len(batch), device=batch.device).split(size):
            columns = {name: column[rows] for name, column in told.items()}
            if _has_fast_way(self.model):
                scores = self.model.full_sort_predict(interaction(columns)).view(len(rows), -1)[:, 1 : batch.n_items + 1]
            else:
                repeated = {name: column.repeat_interleave(batch.n_items, 0) for name, column in columns.items()}
                repeated[ITEM] = torch.arange(1, batch.n_items + 1, device=batch.device).repeat(len(rows))
                scores = self.model.predict(interaction(repeated)).view(len(rows), -1)
            found.append(scores.float())
        return torch.cat(found) * (batch.lengths > 0)[:, None]

    def _by_pairs(self, batch: UserBatch) -> Tensor:
        """Context models before their sigmoid, which in 32 bits makes equals of all that is likely."""
        score = self.model.forward if FAMILY[self.name] == "context" else self.model.predict
        found = []
        for users in batch.users.split(max(1, PAIRS // batch.n_items)):
            columns = with_features(all_pairs(users, batch.n_items), self.data)
            found.append(score(interaction(columns)).view(len(users), -1).float())
        return torch.cat(found)


class _Given(dict[str, Any]):
    """RecBole's `Config`, without its files, its command line and its evaluation of texts; what is not set is None."""

    def __missing__(self, _: str) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what copying asks for
            raise AttributeError(name)
        return self if name == "final_config_dict" else self[name]


@cache
def zoo_model(name: str) -> tuple[type[Zoo], type]:
    """The class and its settings of a model, by RecBole's name. Raises RequestError for a name that is none, with the nearest."""
    if name not in FAMILY:
        raise unknown("model of RecBole", name, FAMILY)
    inductive = name in FROM_HISTORY if FAMILY[name] != "sequential" else name not in WITH_PEOPLE
    facts = {"name": name, "title": f"{name} (RecBole)", "inductive": inductive, "space": SPACES.get(name, {})}
    return type(name, (Zoo,), facts), settings_of(name)


def _has_fast_way(model: Any) -> bool:
    """Whether the model scores the whole catalogue at once."""
    return not type(model).full_sort_predict.__qualname__.startswith("AbstractRecommender")


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
