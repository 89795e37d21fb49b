"""Models by name. A new one is a file of its own and a line in `MODELS`."""

from typing import Any

from pydantic import TypeAdapter, ValidationError

from workbench.data import Holdout, Interactions, Side
from workbench.errors import RequestError, check_once, names_in, unknown
from workbench.models.ease import Ease, EaseConfig
from workbench.models.ials import Ials, IalsConfig
from workbench.models.item_knn import ItemKnn, ItemKnnConfig
from workbench.models.mf import Mf, MfConfig
from workbench.models.popularity import Popularity, PopularityConfig
from workbench.models.protocol import HasVectors, Recommender
from workbench.models.random import Random, RandomConfig
from workbench.models.recent_popularity import RecentPopularity, RecentPopularityConfig
from workbench.models.rp3beta import Rp3Beta, Rp3BetaConfig
from workbench.models.sasrec import SasRec, SasRecConfig
from workbench.models.session_knn import SessionKnn, SessionKnnConfig
from workbench.models.slim import Slim, SlimConfig
from workbench.models.space import Choices, Range
from workbench.models.tuned import read_tuned
from workbench.models.two_tower import TwoTower, TwoTowerConfig
from workbench.models.user_knn import UserKnn, UserKnnConfig
from workbench.training import Engine, Learning

MODELS: dict[str, tuple[Any, type]] = {
    "random": (Random, RandomConfig),
    "popularity": (Popularity, PopularityConfig),
    "recent_popularity": (RecentPopularity, RecentPopularityConfig),
    "item_knn": (ItemKnn, ItemKnnConfig),
    "user_knn": (UserKnn, UserKnnConfig),
    "session_knn": (SessionKnn, SessionKnnConfig),
    "rp3beta": (Rp3Beta, Rp3BetaConfig),
    "slim": (Slim, SlimConfig),
    "ease": (Ease, EaseConfig),
    "ials": (Ials, IalsConfig),
    "mf": (Mf, MfConfig),
    "sasrec": (SasRec, SasRecConfig),
    "two_tower": (TwoTower, TwoTowerConfig),
}

ZOO = "recbole:"
"""What RecBole's models are called by, before RecBole's own name of them: recbole:LightGCN. See `docs/zoo.md`."""


def create(name: str, *, tuned_for: str | None = None, **settings: Any) -> Recommender:
    """The untrained model `name` with these settings: `create("ease", l2=250)`.

    tuned_for: a data set; settings that are not given are then those that `workbench tune` found for it.

    Raises RequestError for a model or setting that does not exist, with the nearest name, for a value of the wrong type or range, and when
    nobody has tuned the model for that data set; WorkError when the file that says what was found is damaged.
    """
    model, config = _entry(name)
    if tuned_for is not None:
        settings = {**_found(name, tuned_for), **settings}
    known = list(config.__dataclass_fields__)
    for setting in settings:
        if setting not in known:
            raise unknown(f"setting of {name}", setting, known)
    try:
        checked = TypeAdapter(config).validate_python(settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestError(f"{name}: {first['loc'][0]} = {first['input']!r}: {first['msg'][:1].lower()}{first['msg'][1:]}.") from None
    for setting, value in settings.items():
        if isinstance(value, bool) and not isinstance(getattr(checked, setting), bool):  # True is 1 to Python
            raise RequestError(f"{name}: {setting} = {value}: input should be a number or a text.")
    return model(checked)  # type: ignore[no-any-return]


def grid(name: str) -> dict[str, tuple[Any, ...]]:
    """The settings worth trying on validation, by name; empty for a model that has none."""
    return dict(getattr(_entry(name)[0], "grid", {}))


def search_space(name: str) -> dict[str, Range | Choices]:
    """What `workbench tune` may give to which setting; empty for a model that has none worth it."""
    return dict(getattr(_entry(name)[0], "space", {}))


def draws_at_random(name: str) -> bool:
    """Whether two trainings of the model differ by its setting `seed`."""
    return "seed" in _entry(name)[1].__dataclass_fields__


def learns(name: str) -> bool:
    """Whether the model learns by gradient: its `fit` then takes a holdout to judge on after each epoch, and an `Engine`."""
    return issubclass(_entry(name)[1], Learning)


def takes_side(name: str) -> bool:
    """Whether the model learns from features too: its `fit` then takes a `Side`."""
    return bool(getattr(_entry(name)[0], "takes_side", False))


def fit(
    name: str,
    model: Any,
    train: Interactions,
    valid: Holdout | None = None,
    *,
    engine: Engine | None = None,
    side: Side | None = None,
) -> None:
    """Train a model of this name with what it takes: `valid` and `engine` if it learns by gradient, `side` if it learns from features."""
    if not learns(name):
        model.fit(train)
        return
    model.fit(train, valid, engine=engine, **({"side": side} if takes_side(name) else {}))


def parse_names(text: str) -> list[str]:
    """Model names out of "ease, popularity". Raises RequestError for an unknown one, a repeated one or none at all."""
    names = names_in(text)
    for name in names:
        _entry(name)
    check_once(names, f'models = "{text}"', "model", sorted(MODELS))
    return names


def parse_name(text: str) -> str:
    """The one model that a text names. Raises RequestError for an unknown one, and for several."""
    names = parse_names(text)
    if len(names) > 1:
        raise RequestError(f'model = "{text}" should name one model.')
    return names[0]


def _found(name: str, dataset: str) -> dict[str, Any]:
    tuned = read_tuned(dataset, name)
    if tuned is None:
        command = f"workbench tune {name} --dataset {dataset} --budget 50"
        raise RequestError(f"nobody has tuned {name} for {dataset} yet: run `{command}`.")
    return dict(tuned.settings)


def _entry(name: str) -> tuple[Any, Any]:
    if name.startswith(ZOO):
        from workbench.models.recbole import zoo_model  # takes three seconds, and changes what NumPy and SciPy have

        return zoo_model(name.removeprefix(ZOO))
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    return MODELS[name]


__all__ = [
    "MODELS",
    "HasVectors",
    "Recommender",
    "create",
    "draws_at_random",
    "fit",
    "grid",
    "learns",
    "parse_name",
    "parse_names",
    "read_tuned",
    "search_space",
    "takes_side",
]
