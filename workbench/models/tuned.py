"""Settings that `workbench tune` found, with what they were found on and all that was tried: `datasets/tuned/<data set>/<model>.toml`."""

import datetime
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import tomlkit
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from tomlkit.items import Array, InlineTable

from workbench.errors import WorkError
from workbench.files import whole_file
from workbench.paths import checked_name, home

Setting = bool | int | float | str | list[int | float]
STRICT = ConfigDict(extra="forbid")


@with_config(STRICT)
@dataclass(frozen=True, kw_only=True)
class Tried:
    """One trial of a study."""

    number: int
    """From 0 on; those of killed processes are left out."""
    state: Literal["complete", "pruned", "failed"]
    """pruned: given up after an epoch, being behind the median of the others."""
    value: float | None = None
    """Mean of the study's metric on validation; None where the trial did not get that far."""
    seconds: float
    """To train and judge."""
    settings: dict[str, Setting]
    """Those searched."""
    why: str | None = None
    """What a failed one failed of."""


@with_config(STRICT)
@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The best settings of a study, and the study."""

    settings: dict[str, Setting]
    """What was searched and what was given; of a model that learns by gradient also how long its best training took."""
    found_on: str
    """`Holdout.label` of the validation part: the settings are fit for judging on another part of the same split alone."""
    metric: str
    """Like ndcg@10; higher is better."""
    value: float
    """Of the metric, at these settings."""
    default_value: float | None = None
    """At the model's default settings; None where they failed."""
    trials: int
    """In all, pruned and failed ones too."""
    pruned: int
    failed: int
    seconds: float
    """Of all trials together."""
    date: datetime.date
    """UTC."""
    command: str
    shared: dict[str, Setting]
    """Settings that were the same in every trial: those given and, of a model that learns by gradient, how its training ended."""
    versions: dict[str, str]
    threads: int
    tried: tuple[Tried, ...]


def tuned_path(dataset: str, model: str) -> Path:
    """Raises RequestError for names that are none. Of recbole:LightGCN the file is recbole-LightGCN.toml."""
    named = checked_name("model", model.replace("recbole:", "recbole-", 1))
    return home() / "datasets" / "tuned" / checked_name("data set", dataset) / f"{named}.toml"


def read_tuned(dataset: str, model: str) -> Tuned | None:
    """What was found for `model` on `dataset`, None where nobody searched. Raises WorkError for a file that is damaged or no such thing."""
    return read_tuned_file(tuned_path(dataset, model))


def read_tuned_file(path: Path) -> Tuned | None:
    """As `read_tuned`."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WorkError(f"{_shown(path)} cannot be read: {error}. Restore it, or run `workbench tune` again.") from None
    try:
        study = found.pop("study", {})
        return TypeAdapter(Tuned).validate_python({**found, **study})
    except (ValidationError, TypeError) as error:
        raise WorkError(f"{_shown(path)} {_first(error)}. Restore it, or run `workbench tune` again.") from None


def write_tuned(path: Path, tuned: Tuned) -> None:
    """The file that `read_tuned` reads, whole or not at all."""
    told: dict[str, Any] = {name: value for name, value in asdict(tuned).items() if value is not None}
    document = tomlkit.document()
    document.add(tomlkit.comment("Written by `workbench tune`, from a study on the validation part. The test part had no say."))
    document["settings"] = {name: _listed(value) for name, value in told.pop("settings").items()}
    tried: Array = tomlkit.array().multiline(True)
    for trial in told.pop("tried"):
        tried.append(_inline({name: value for name, value in trial.items() if value is not None}))
    study = tomlkit.table()
    for name, value in told.items():
        study[name] = _inline(value) if isinstance(value, dict) else value
    study["tried"] = tried
    document["study"] = study
    with whole_file(path) as temporary:
        temporary.write_text(tomlkit.dumps(document), encoding="utf-8")


def _inline(values: dict[str, Any]) -> InlineTable:
    table = tomlkit.inline_table()
    for name, value in values.items():
        table[name] = _inline(value) if isinstance(value, dict) else _listed(value)
    return table


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _first(error: ValidationError | TypeError) -> str:
    if isinstance(error, TypeError):
        return "should have a table [study]"
    first = error.errors()[0]
    return f"does not fit: {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"


def _shown(path: Path) -> str:
    return path.relative_to(home()).as_posix() if path.is_relative_to(home()) else path.name
