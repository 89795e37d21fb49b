"""Models by name. A new one is a file of its own and a line in `MODELS`."""

from typing import Any

from pydantic import TypeAdapter, ValidationError

from workbench.errors import RequestError, unknown
from workbench.models.ease import Ease, EaseConfig
from workbench.models.ials import Ials, IalsConfig
from workbench.models.item_knn import ItemKnn, ItemKnnConfig
from workbench.models.mf import Mf, MfConfig
from workbench.models.popularity import Popularity, PopularityConfig
from workbench.models.protocol import Recommender
from workbench.models.random import Random, RandomConfig
from workbench.models.recent_popularity import RecentPopularity, RecentPopularityConfig
from workbench.models.rp3beta import Rp3Beta, Rp3BetaConfig
from workbench.models.sasrec import SasRec, SasRecConfig
from workbench.models.slim import Slim, SlimConfig
from workbench.models.user_knn import UserKnn, UserKnnConfig

MODELS: dict[str, tuple[Any, type]] = {
    "random": (Random, RandomConfig),
    "popularity": (Popularity, PopularityConfig),
    "recent_popularity": (RecentPopularity, RecentPopularityConfig),
    "item_knn": (ItemKnn, ItemKnnConfig),
    "user_knn": (UserKnn, UserKnnConfig),
    "rp3beta": (Rp3Beta, Rp3BetaConfig),
    "slim": (Slim, SlimConfig),
    "ease": (Ease, EaseConfig),
    "ials": (Ials, IalsConfig),
    "mf": (Mf, MfConfig),
    "sasrec": (SasRec, SasRecConfig),
}


def create(name: str, **settings: Any) -> Recommender:
    """The untrained model `name` with these settings: `create("ease", l2=250)`.

    Raises RequestError for a model or setting that does not exist, with the nearest name, and for a value of the wrong type or range.
    """
    model, config = _entry(name)
    known = list(config.__dataclass_fields__)
    for setting in settings:
        if setting not in known:
            raise unknown(f"setting of {name}", setting, known)
    try:
        return model(TypeAdapter(config).validate_python(settings))  # type: ignore[no-any-return]
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestError(f"{name}: {first['loc'][0]} = {first['input']!r}: {first['msg'].lower()}.") from None


def grid(name: str) -> dict[str, tuple[Any, ...]]:
    """The settings worth trying on validation, by name; empty for a model that has none."""
    return dict(getattr(_entry(name)[0], "grid", {}))


def draws_at_random(name: str) -> bool:
    """Whether two trainings of the model differ by its setting `seed`."""
    return "seed" in _entry(name)[1].__dataclass_fields__


def parse_names(text: str) -> list[str]:
    """Model names out of "ease, popularity". Raises RequestError for an unknown one, a repeated one or none at all."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        _entry(name)
    if not names or len(set(names)) < len(names):
        raise RequestError(f'models = "{text}" should name each model once, at least one. ({", ".join(sorted(MODELS))})')
    return names


def _entry(name: str) -> tuple[Any, Any]:
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    return MODELS[name]


__all__ = ["MODELS", "Recommender", "create", "draws_at_random", "grid", "parse_names"]
