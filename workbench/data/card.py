"""Data set cards: what no code can guess about a log, declared in `datasets/<name>.toml`."""

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workbench.errors import RequestError, unknown
from workbench.paths import checked_name, home

PrivacyClass = Literal["public", "behavioural", "sensitive", "identifier"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceFile(_Strict):
    name: FileName
    sha256: Sha256


class Files(_Strict):
    events: SourceFile
    items: SourceFile | None = None
    users: SourceFile | None = None


class TimeColumn(_Strict):
    column: str
    unit: Literal["s", "ms", "us"]
    zone: Literal["UTC"]


class Columns(_Strict):
    user_id: str
    item_id: str
    value: str
    timestamp: TimeColumn


class Bounds(_Strict):
    """Events whose column lies in [min, max]; a missing bound is open."""

    column: Literal["value"]
    min: float = float("-inf")
    max: float = float("inf")


class Meaning(_Strict):
    positive: Bounds
    """What counts as liked: rankings are judged on these events."""
    negative: Bounds | None = None
    effect: dict[str, float] = {}
    """The smallest difference anyone would act on, by metric: `{"ndcg_10": 0.01}`."""
    repeats: bool
    """Whether taking the same item again is normal, so that masking the seen would be wrong."""


class DefaultSplit(_Strict):
    default: str
    because: str


class Slice(_Strict):
    """A grouping of people or items by a column of their table."""

    table: Literal["users", "items"]
    column: str
    bins: tuple[float, ...] | None = None
    """Edges of half-open intervals [low, high)."""
    separator: str | None = None
    """Splits a cell that names several groups at once."""


class Card(_Strict):
    title: str
    source: str
    """`package:<distribution>==<version>/<folder in it>`: read in place, without importing the package."""
    licence: str
    version: int
    files: Files
    columns: Columns
    meaning: Meaning
    split: DefaultSplit
    privacy: dict[str, PrivacyClass]
    """The class of every column of the snapshot."""
    slices: dict[str, Slice] = {}

    @property
    def fingerprint(self) -> str:
        """sha256 of what the card says; its comments and layout do not count."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def parse_card(text: str, where: str) -> Card:
    """Raises RequestError with the place and the reason for the first thing that is missing, unknown or of the wrong kind."""
    try:
        return Card.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"{where} is not TOML: {error}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = "no card has such a key" if first["type"] == "extra_forbidden" else first["msg"].lower()
        raise RequestError(f'{where}, "{place}": {reason}.') from None


def card_path(name: str) -> Path:
    return home() / "datasets" / f"{checked_name('data set', name)}.toml"


def list_cards() -> list[str]:
    """Names of the data sets that have a card, sorted."""
    return sorted(path.stem for path in (home() / "datasets").glob("*.toml"))


def load_card(name: str) -> Card:
    """Raises RequestError for a name without a card, and for a card with a mistake in it."""
    path = card_path(name)
    if not path.is_file():
        raise unknown("data set", name, list_cards())
    try:
        return parse_card(path.read_text(encoding="utf-8"), f"datasets/{name}.toml")
    except UnicodeDecodeError as error:
        raise RequestError(f"datasets/{name}.toml is not UTF-8: {error.reason} at byte {error.start}.") from None
