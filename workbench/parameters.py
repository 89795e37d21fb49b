"""Notebook parameters: their names, types and ranges, checked before a kernel starts.

A parameter is a line of the notebook's `parameters` cell: `k: int = 10  # cut-off of the headline`.
"""

import ast
import math
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, StrictBool, StrictFloat, StrictInt, StrictStr, TypeAdapter

from workbench.coldstart import parse_depths, parse_methods
from workbench.data import REFITS, RULES, Card, load_card
from workbench.data.card import FIRST_CLASS
from workbench.data.rules import TIMELESS, make_rule
from workbench.data.snapshot import catalogue_size
from workbench.errors import NotApplicable, RequestError, WorkError, names_in, unknown
from workbench.evaluation import check_cutoff
from workbench.evaluation.item_groups import POPULARITY
from workbench.evaluation.popularity import BANDS
from workbench.evaluation.slices import BUILT_IN, dimensions_in
from workbench.features import parse_columns, parse_groups
from workbench.models import parse_name, parse_names
from workbench.paths import home
from workbench.policy import AIMS, parse_steps, policy_of, policy_text
from workbench.promotion import load_gates, make_spec, parse_ranker, parse_retriever
from workbench.ranking import MOST_PERIODS, parse_rankers
from workbench.retrieval import TEXTS as WAYS
from workbench.retrieval import parse_budget, parse_sources
from workbench.training import choose_device

KINDS = {"int": int, "float": float, "bool": bool, "str": str}
Value = int | float | bool | str


@dataclass(frozen=True)
class Parameter:
    name: str
    kind: str
    default: Value
    help: str


def declared(inspected: Mapping[str, Mapping[str, str]], notebook: str) -> dict[str, Parameter]:
    """Parameters out of papermill's inspection. Raises WorkError for one that has no type or whose default is not a literal of it."""
    parameters = {}
    for name, found in inspected.items():
        kind = found["inferred_type_name"]
        try:
            default = ast.literal_eval(found["default"])
        except (ValueError, SyntaxError):
            default = None
        if kind not in KINDS or type(default) is not KINDS[kind]:
            raise WorkError(f"{notebook}, parameter {name}: write it as `name: type = literal`, the type one of {', '.join(KINDS)}.")
        parameters[name] = Parameter(name, kind, cast(Value, default), found["help"])
    return parameters


def resolve(notebook: str, known: Mapping[str, Parameter], given: Mapping[str, Any]) -> dict[str, Value]:
    """All parameters with their values: the defaults, overridden by `given` (values, or text as typed on a command line).

    Raises RequestError for an unknown name, with the nearest one, and for a value of the wrong type.
    """
    for name in given:
        if name not in known:
            raise unknown(f"parameter of {notebook}", name, known)
    return {name: _converted(parameter, given[name]) if name in given else parameter.default for name, parameter in known.items()}


def _converted(parameter: Parameter, value: Any) -> Value:
    kind = KINDS[parameter.kind]
    if type(value) is kind:
        return cast(Value, value)
    if kind is float and type(value) is int:
        return float(value)
    text = value.strip() if isinstance(value, str) else None
    if text is not None:
        if kind is int and re.fullmatch(r"[+-]?\d{1,18}", text):
            return int(text)
        if kind is bool and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if kind is float and _is_finite_number(text):
            return float(text)
    wanted = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}[parameter.kind]
    raise RequestError(f"{parameter.name} = {value!r} should be {wanted}.")


def _is_finite_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def with_texts_of_files(values: Mapping[str, Value]) -> dict[str, Value]:
    """The same with the text of each file that a parameter names: a kernel has another working directory, and a run is whole by itself."""
    return {name: policy_text(str(value)) if name in FILES and value else value for name, value in values.items()}


def check_ranges(values: Mapping[str, Value], given: Collection[str]) -> None:
    """Raises RequestError for a value no notebook can work with. Each name means the same in every notebook; cheap checks come first.

    given: the parameters that somebody asked for. A default that does not go with a data set is no mistake: the notebook says so.
    """
    for name, value in values.items():
        if isinstance(value, int):
            _check_number(name, value)
        if isinstance(value, float):
            _check_share(name, value)
    _check_texts(values)
    if {"retriever", "surface"} <= set(values):
        _check_promotion(values)
    if {"rankers", "steps"}.intersection(values) and int(values["k"]) > int(values["candidates"]):
        raise RequestError(f"k = {values['k']} should be at most candidates = {values['candidates']}: no list is longer.")
    if "dataset" in values:
        check_against_data(values, given)


TEXTS: Mapping[str, Callable[[str], object]] = {
    "dataset": load_card,
    "models": parse_names,
    "sources": parse_sources,
    "budget": parse_budget,
    "rankers": parse_rankers,
    "features": parse_groups,
    "sensitive": parse_columns,
    "device": choose_device,
    "methods": parse_methods,
    "depths": parse_depths,
    "texts": lambda text: _one_of("way of making vectors of texts", text, WAYS),
    "model": parse_name,
    "steps": parse_steps,
    "aim": lambda text: _one_of("aim", text, AIMS),
    "policy": lambda text: policy_of(text) if text else None,
    "retriever": parse_retriever,
    "ranker": parse_ranker,
    "baselines": parse_names,
}
"""What raises RequestError for a text that no notebook can work with."""
ANY = {"items": "all", "by": "auto"}
"""What each may say in place of a name."""
LEAST: Mapping[str, int] = {"k": 1, "trainings": 1, "candidates": 1, "least": 1, "worlds": 2, "requests": 100, "rounds": 2}
FILES = ("policy",)
"""Parameters that may name a file: a run is handed its text, which decides the result and is kept with it."""


def _check_promotion(values: Mapping[str, Value]) -> None:
    """The surface has gates, and the parts of the challenger go together."""
    try:
        gates = load_gates(str(values["dataset"]), str(values["surface"]))
    except NotApplicable:
        return  # the page says so
    told = {name: str(values[name]) for name in ("ranker", "index", "policy")}
    make_spec(str(values["retriever"]), int(values["candidates"]), periods=int(values["periods"]), k=gates.places, **told)


def _one_of(kind: str, text: str, known: Collection[str]) -> None:
    if text not in known:
        raise unknown(kind, text, known)


def _check_texts(values: Mapping[str, Value]) -> None:
    for name, value in values.items():
        if isinstance(value, str) and name in TEXTS:
            TEXTS[name](value)
        match name, value:
            case "split", str() if value != "default":
                make_rule(value, {})
            case "refit", str() if value not in REFITS:
                raise unknown("refit policy", value, REFITS)
            case "slices" | "people", str() if value.strip() != "all":
                _check_slices(name, value, load_card(str(values["dataset"])) if "dataset" in values else None)
            case "items" | "by" | "group", str() if value.strip() != ANY.get(name) and "dataset" in values:
                _check_item_groupings(name, value, load_card(str(values["dataset"])))


def _check_number(name: str, value: int) -> None:
    if name == "seed" and not 0 <= value < 2**32:
        raise RequestError(f"seed = {value} should be between 0 and {2**32 - 1}.")
    if name == "periods" and not 1 <= value <= MOST_PERIODS:
        raise RequestError(f"periods = {value} should be between 1 and {MOST_PERIODS}.")
    if value < (least := LEAST.get(name, value)):
        raise RequestError(f"{name} = {value} should be at least {least}.")
    if name == "epochs" and value < 0:
        raise RequestError(f"epochs = {value} should be at least 1, or 0 for what each model's settings say.")
    if name == "windows" and (value < 0 or value == 1):
        raise RequestError(f"windows = {value} should be 0, for no backtest, or at least 2.")


def _check_share(name: str, value: float) -> None:
    if name == "most_lost" and not 0 <= value <= 1:
        raise RequestError(f"{name} = {value:g} should be between 0 and 1.")


def _check_slices(parameter: str, text: str, card: Card | None) -> None:
    dimensions = {name for names in dimensions_in(text, parameter) for name in names}
    known = {*BUILT_IN, *card.slices, *(column for column in card.privacy if column not in FIRST_CLASS)} if card else dimensions
    if parameter == "people" and card:
        known -= {"popularity", "time", *(name for name, by in card.slices.items() if by.table == "items")}
    for name in sorted(dimensions - known):
        raise unknown("dimension to slice by" if parameter == "slices" else "grouping of people", name, known)


def _check_item_groupings(parameter: str, text: str, card: Card) -> None:
    """items: "popularity, genre"; by: one of them; group: "popularity: tail". What table a column is of is known when the data are."""
    of, colon, which = (part.strip() for part in text.partition(":"))
    asked = names_in(text) if parameter == "items" else [of if parameter == "group" else text.strip()]
    wanted = {"items": "a grouping of items", "by": "one grouping of items", "group": "a grouping of items and one of its groups"}[
        parameter
    ]
    if not all(asked) or not asked or (parameter == "group" and not (colon and which)):
        raise RequestError(f'{parameter} = "{text}" should name {wanted}{", like popularity: tail" if parameter == "group" else ""}.')
    of_people = {name for name, by in card.slices.items() if by.table == "users"}
    known = {POPULARITY, *card.slices, *(column for column in card.privacy if column not in FIRST_CLASS)} - of_people
    for name in asked:
        if name not in known:
            raise unknown("grouping of items", name, known)
    if parameter == "group" and of == POPULARITY and which not in BANDS:
        raise unknown("group of popularity", which, BANDS)


def check_against_data(values: Mapping[str, Value], given: Collection[str]) -> None:
    """Raises RequestError for a value that somebody asked for and that does not go with the data set; one still to be fetched is let by."""
    name = str(values["dataset"])
    split = str(values.get("split", "default"))
    if "split" in given and split != "default" and RULES[split].needs_time and load_card(name).columns.timestamp is None:
        raise RequestError(f"split = {split} needs times, and {name} has none; choose one of {TIMELESS}.")
    if "sensitive" in given:
        known = [column for column, kind in load_card(name).privacy.items() if kind == "sensitive" and column not in FIRST_CLASS]
        for column in parse_columns(str(values["sensitive"])):
            if column not in known:
                raise unknown("sensitive column of people", column, known)
    for depth in {"k", "candidates"}.intersection(given):
        if (size := catalogue_size(name)) is not None:
            check_cutoff(int(values[depth]), size, "" if depth == "k" else "candidates: ")


class Plan(BaseModel):
    """One notebook's place in the suite."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    needs: tuple[str, ...] = ()
    full: dict[str, StrictInt | StrictFloat | StrictBool | StrictStr] = {}


def load_plans() -> dict[str, Plan]:
    """notebooks/profiles.toml, in an order in which each notebook comes after those it needs.

    Raises WorkError when the file cannot be read or has no such order.
    """
    try:
        raw = tomllib.loads((home() / "notebooks" / "profiles.toml").read_text(encoding="utf-8"))
        plans = TypeAdapter(dict[str, Plan]).validate_python(raw)
    except (OSError, ValueError) as error:
        raise WorkError(f"notebooks/profiles.toml cannot be read: {error}.") from None
    ordered: dict[str, Plan] = {}
    while len(ordered) < len(plans):
        ready = [name for name, plan in plans.items() if name not in ordered and set(plan.needs) <= set(ordered)]
        if not ready:
            stuck = ", ".join(sorted(set(plans) - set(ordered)))
            raise WorkError(f"notebooks/profiles.toml: {stuck} need one another, or a notebook that is not there.")
        ordered |= {name: plans[name] for name in ready}
    return ordered
