"""Rankers by the names that a notebook types, each trained, chosen and judged like the others."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from workbench.errors import NotApplicable, RequestError, WorkError, check_once, names_in, reason, unknown
from workbench.ranking.deep import Deep, DeepConfig
from workbench.ranking.examples import Examples
from workbench.ranking.multitask import MultiTask, MultiTaskConfig
from workbench.ranking.networks import Network
from workbench.ranking.trees import Trees, TreesConfig
from workbench.training import Engine

AnyRanker = Trees | Network
RANKERS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "trees": (Trees, TreesConfig, {}),
    "log_loss_trees": (Trees, TreesConfig, {"loss": "pointwise"}),
    "deepfm": (Deep, DeepConfig, {"network": "DeepFM"}),
    "dcnv2": (Deep, DeepConfig, {"network": "DCNV2"}),
    "autoint": (Deep, DeepConfig, {"network": "AutoInt"}),
    "multi_task": (MultiTask, MultiTaskConfig, {}),
    "shared_bottom": (MultiTask, MultiTaskConfig, {"experts": 1}),
}


def create_ranker(name: str, **settings: Any) -> AnyRanker:
    """The untrained ranker of this name. Raises RequestError for a name or setting that does not exist and a value it cannot have."""
    if name not in RANKERS:
        raise unknown("ranker", name, RANKERS)
    kind, config, given = RANKERS[name]
    for setting in settings:
        if setting not in config.__dataclass_fields__:
            raise unknown(f"setting of {name}", setting, config.__dataclass_fields__)
    try:
        return kind(TypeAdapter(config).validate_python({**given, **settings}))  # type: ignore[no-any-return]
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestError(f"{name}: {first['loc'][0]} = {first['input']!r}: {first['msg'][:1].lower()}{first['msg'][1:]}.") from None


def parse_rankers(text: str) -> list[str]:
    """Names out of "trees, deepfm". Raises RequestError for an unknown one, a repeated one or none at all."""
    names = names_in(text)
    for name in names:
        if name not in RANKERS:
            raise unknown("ranker", name, RANKERS)
    check_once(names, f'rankers = "{text}"', "ranker", RANKERS)
    return names


@dataclass(eq=False)
class RankerField:
    """Rankers that were trained, and why the others were not."""

    rankers: dict[str, AnyRanker]
    seconds: dict[str, float]
    failed: dict[str, str]

    def scores(self, examples: Examples) -> dict[str, Tensor]:
        """float64 (n,) of each ranker."""
        return {name: ranker.score(examples) for name, ranker in self.rankers.items()}


def train_rankers(
    names: Sequence[str],
    train: Examples,
    valid: Examples,
    ties: Tensor,
    *,
    k: int = 10,
    epochs: int = 0,
    engine: Engine | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> RankerField:
    """Each of these, stopped by NDCG@k on `valid`. epochs: at most, of those that learn by gradient; 0 for what their settings say.

    One that fails is left out with its reason. Raises NotApplicable when none of them has an answer on this data, WorkError when all fail
    otherwise.
    """
    field = RankerField({}, {}, {})
    errors: list[Exception] = []
    for name in names:
        start = time.perf_counter()
        try:
            ranker: Any = create_ranker(name, **(settings or {}).get(name, {}))
            if isinstance(ranker, Trees):
                ranker.config = replace(ranker.config, k=k)
                ranker.fit(train, valid, ties)
            else:
                at_most = min(epochs, ranker.config.epochs) if epochs else ranker.config.epochs
                ranker.config = replace(ranker.config, watch=f"ndcg@{k}", epochs=at_most)
                ranker.fit(train, valid, ties, engine)
        except Exception as error:
            errors.append(error)
            field.failed[name] = reason(error)
            continue
        field.rankers[name], field.seconds[name] = ranker, time.perf_counter() - start
    if not field.rankers:
        kind = NotApplicable if all(isinstance(error, NotApplicable) for error in errors) else WorkError
        raise kind("none of the rankers could be trained. " + "; ".join(f"{name}: {why}" for name, why in field.failed.items()))
    return field
