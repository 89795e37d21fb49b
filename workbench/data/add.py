"""Bring your own log: files in, a card and a snapshot out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tomlkit
import tomlkit.items
from pydantic import ValidationError

from workbench.data.card import FIRST_CLASS, Card, Key, Rule, SourceFile, card_path, load_card
from workbench.data.engine import MEMORY_LIMIT
from workbench.data.guess import CONTEXT, guess_column, guess_file, guess_meanings, guess_split, guess_unit
from workbench.data.reading import Source, open_source
from workbench.data.snapshot import Snapshot, publish
from workbench.data.source import sha256_of
from workbench.data.tables import Tables, read_tables
from workbench.errors import RequestError, WorkError
from workbench.files import whole_file
from workbench.paths import checked_name, home

OPTIONS = ("delimiter", "quote", "encoding", "header")
Privacy = Literal["public", "behavioural", "sensitive", "identifier"]
PRIVACY: dict[str, Privacy] = {"user_id": "identifier", "session_id": "identifier", "request_id": "identifier", "item_id": "public"}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `workbench data add` is told; what is left out is guessed. Columns go by name, or by place counted from 0."""

    file: Path
    name: str
    item_table: Path | None = None
    user_table: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    """Names of `workbench.data.card.Columns` (user_id, item_id, timestamp, value …), without context; an id of several columns has
    commas."""
    context: tuple[str, ...] | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)
    """delimiter, quote, encoding, header."""
    unit: Literal["s", "ms", "us", "ns", "text"] | None = None
    zone: str | None = None
    time_format: str | None = None
    positive_min: float | None = None
    positive_events: tuple[str, ...] = ()
    negative_max: float | None = None
    negative_events: tuple[str, ...] = ()
    exposure_events: tuple[str, ...] = ()
    repeats: bool | None = None
    title: str | None = None
    licence: str = "not stated"
    allow: tuple[str, ...] = ()
    quarantine: bool = False
    update: bool = False
    """Take the file as the next version of a data set that was added before."""
    memory_limit: str = MEMORY_LIMIT


def add(request: Request) -> tuple[Card, Snapshot, list[str]]:
    """Write a card and a snapshot; return them with what was understood, a line for each thing.

    Raises RequestError, with nothing written, for a name that is taken or no name, and for a file that cannot be understood or breaks the
    contract; WorkError when the disk is full. The card comes last: a data set that is listed is whole.
    """
    name = checked_name("data set", request.name)
    before = _before(request, name)
    try:
        card = _next_version(request, before) if before else _first_card(request)
        with read_tables(card, _paths(card), quarantine=request.quarantine, memory_limit=request.memory_limit) as tables:
            if before is None:
                card = _with_meaning(card, request, tables)
            card = card.model_copy(update={"privacy": {**_privacy(tables), **card.privacy}})
            understood = _understood(card, tables)
            snapshot = publish(name, card, tables)
    except ValidationError as error:
        first = error.errors()[0]
        reason = first["msg"].removeprefix("Value error, ")
        raise RequestError(f"{'.'.join(map(str, first['loc']))}: {reason[:1].lower()}{reason[1:]}.") from None
    try:
        with whole_file(card_path(name)) as path:
            path.write_text(_text(card, card_path(name) if before else None), encoding="utf-8")
    except OSError as error:
        raise WorkError(f"could not write the card of {name}: {error}") from error
    return card, snapshot, understood


def _before(request: Request, name: str) -> Card | None:
    """The card that this file is a new version of. Raises RequestError when there is one and there should be none, or the other way
    round."""
    if not card_path(name).exists():
        if request.update:
            raise RequestError(f'there is no data set "{name}" to update; leave --update out.')
        return None
    card = load_card(name)
    if card.source != "files":
        raise RequestError(f'the name "{name}" is taken by {card.title}, which comes with the workbench. Choose another.')
    if not request.update:
        raise RequestError(
            f'there is a data set "{name}" already (datasets/{name}.toml). Choose another name, or pass --update for its next version.'
        )
    return card


def _files(request: Request) -> dict[str, SourceFile]:
    given = {"events": request.file, "items": request.item_table, "users": request.user_table}
    files = {}
    for role, path in given.items():
        if path is None:
            continue
        options = request.reading if role == "events" else {key: value for key, value in request.reading.items() if key != "header"}
        positions = bool(request.columns) and all(each.isdigit() for text in request.columns.values() for each in text.split(","))
        if role != "events" and "delimiter" in options and not _has(path, str(options["delimiter"])):
            options = {key: value for key, value in options.items() if key not in ("delimiter", "quote")}
        file = guess_file(path, "0" * 64, _named(path), options, positions and role == "events")
        files[role] = file.model_copy(update={"sha256": sha256_of(path)})
    return files


def _has(path: Path, delimiter: str) -> bool:
    with path.open("rb") as file:
        return delimiter.replace("\\t", "\t").encode() in file.read(4096)


def _named(path: Path) -> str:
    """From the project's root where it is inside, else absolute."""
    whole = path.resolve()
    return whole.relative_to(home()).as_posix() if whole.is_relative_to(home()) else str(whole)


def _paths(card: Card) -> dict[str, Path]:
    return {role: home() / file.name for role, file in card.files if file is not None}


def _first_card(request: Request) -> Card:
    """A card with everything but the meaning, which needs a look at the events."""
    files = _files(request)
    sources = {role: open_source(file, home() / file.name) for role, file in files.items()}
    return Card.model_validate(
        {
            "title": request.title or request.name,
            "source": "files",
            "licence": request.licence,
            "version": 1,
            "files": files,
            "columns": _columns(request, sources),
            "meaning": {"positive": {"column": "any"}, "repeats": bool(request.repeats)},
            "split": {"default": "user_random", "because": ""},
            "contract": {"allow": _allowed(request)},
            "privacy": {},
        }
    )


def _allowed(request: Request) -> list[str]:
    """A log without times in which repeats are normal may have equal rows: they are repeats."""
    meant = request.repeats and "timestamp" not in request.columns
    return sorted({*request.allow, *(("duplicate",) if meant else ())})


def _next_version(request: Request, before: Card) -> Card:
    """The card of before, for other files; what it says of their meaning stays."""
    files = {**{role: file for role, file in before.files if file is not None}, **_files(request)}
    options = {"sha256", "name"}
    if not request.reading:  # read as before, as long as it is the same kind of file
        for role, file in files.items():
            earlier = getattr(before.files, role)
            if earlier is not None and earlier.format == file.format:
                files[role] = earlier.model_copy(update={key: getattr(file, key) for key in options})
    contract = before.contract.model_copy(update={"allow": tuple(sorted({*before.contract.allow, *request.allow}))})
    changes = {"version": before.version + 1, "files": files, "contract": contract.model_dump()}
    if request.columns:
        sources = {role: open_source(file, home() / file.name) for role, file in files.items()}
        changes["columns"] = _columns(request, sources)
    return Card.model_validate({**before.model_dump(by_alias=True), **changes})


def _columns(request: Request, sources: Mapping[str, Source]) -> dict[str, Any]:
    """[columns] of the card: those that were named, and guesses for the others."""
    events = sources["events"]
    found: dict[str, Any] = {kind: _key(text) for kind, text in request.columns.items() if not kind.endswith("_key")}
    taken = {events.column(ref) for key in found.values() for ref in (key if isinstance(key, tuple) else (key,))}
    for kind in FIRST_CLASS:
        if kind not in found and (guessed := guess_column(kind, events.columns, taken)):
            found[kind] = guessed
            taken.add(guessed)
    if "user_id" not in found and "session_id" not in found:
        raise _nothing_called("user", events)
    if "item_id" not in found:
        raise _nothing_called("item", events)
    context = (
        request.context
        if request.context is not None
        else [name for name in events.columns if name.casefold() in CONTEXT and name not in taken]
    )
    time = found.pop("timestamp", None)
    if time is not None:
        if isinstance(time, tuple):
            raise RequestError(f"--time {','.join(map(str, time))} should name one column.")
        found["timestamp"] = _time(request, events, events.column(time))
    found |= {"context": {name: name for name in (events.column(name) for name in context)}}
    for table, key, flag in (("users", "user_key", "person"), ("items", "item_key", "item_id")):
        if table in sources:
            found[key] = _table_key(request.columns.get(key), sources[table], found.get("user_id" if flag == "person" else "item_id"), key)
    return found


def _key(text: str) -> Key:
    parts = tuple(int(part) if part.isdigit() else part for part in text.split(","))
    return parts[0] if len(parts) == 1 else parts


def _nothing_called(kind: str, source: Source) -> RequestError:
    return RequestError(
        f"{source.name}: no column is called like {'a user' if kind == 'user' else 'an item'}. Name it with --{kind}, "
        f"by name or, where there is no header, by place from 0  ({', '.join(source.columns[:20])}).{source.delimiter_hint()}"
    )


def _table_key(given: str | None, source: Source, events_key: Any, kind: str) -> Any:
    """The key of a table: as given, else as in the log, else what is called like one."""
    if given:
        return _key(given)
    if isinstance(events_key, str) and (bare := events_key.rsplit(":", 1)[0]) in source.columns:
        return bare
    if guessed := guess_column(f"{kind.removesuffix('_key')}_id", source.columns, set()):
        return guessed
    raise RequestError(f"{source.name}: no column is its key. Name it with --{kind.replace('_', '-')}  ({', '.join(source.columns[:20])})")


def _time(request: Request, events: Source, column: str) -> dict[str, Any]:
    place = events.columns.index(column)
    cells = [row[place] for row in events.sample if row[place].strip()]
    unit = request.unit or ("text" if request.time_format else guess_unit(cells))
    zone = request.zone or (None if unit == "text" else "UTC")
    return {"column": column, "unit": unit, "zone": zone, "format": request.time_format}


def _with_meaning(card: Card, request: Request, tables: Tables) -> Card:
    guessed = guess_meanings(tables)
    rules = {
        "positive": _rules(request.positive_min, None, request.positive_events) or guessed.positive,
        "negative": _rules(None, request.negative_max, request.negative_events) or guessed.negative,
        "exposure": _rules(None, None, request.exposure_events) or guessed.exposure,
    }
    repeats = guessed.repeats if request.repeats is None else request.repeats
    default, because = guess_split(tables, card.columns.timestamp is not None)
    has_names = sorted(tables.columns("events"))
    for rule in (each for listed in rules.values() for each in listed):
        if rule.column != "any" and rule.column not in has_names:
            raise RequestError(f"{rule.text}: {request.file.name} has no column for that. Name one with --{rule.column}.")
    return Card.model_validate(
        {
            **card.model_dump(by_alias=True),
            "meaning": {
                **{kind: [rule.model_dump(by_alias=True) for rule in listed] for kind, listed in rules.items()},
                "repeats": repeats,
            },
            "split": {"default": default, "because": because},
        }
    )


def _rules(least: float | None, most: float | None, events: tuple[str, ...]) -> tuple[Rule, ...]:
    rules = []
    if least is not None:
        rules.append(Rule(column="value", min=least))
    if most is not None:
        rules.append(Rule(column="value", max=most))
    if events:
        rules.append(Rule.model_validate({"column": "event", "is": events}))
    return tuple(rules)


def _privacy(tables: Tables) -> dict[str, Privacy]:
    """A cautious class for every column: people's attributes are sensitive, items' are public, what people did is behavioural."""
    usual: dict[str, Privacy] = {"events": "behavioural", "users": "sensitive", "items": "public"}
    return {
        name: PRIVACY.get(name, usual[table])
        for table in ("items", "events", "users")
        for name in tables.columns(table)
        if name not in ("user_code", "item_code")
    }


def _understood(card: Card, tables: Tables) -> list[str]:
    """What was read as what, for a person to check."""
    events = tables.sources["events"]
    file = card.files.events
    between = (
        f", {file.delimiter!r} between columns, {'first line is the header' if file.header else 'no header'}"
        if file.format == "delimited"
        else ""
    )
    read = {name: getattr(card.columns, name) for name in FIRST_CLASS if getattr(card.columns, name) is not None}
    used = {events.column(ref) for key in [*read.values(), *card.columns.context.values()] for ref in _refs(key)}
    told = ", ".join(
        f"{name} ← {events.label(tuple(_refs(key)))}{_time_told(card) if name == 'timestamp' else ''}" for name, key in read.items()
    )
    unread = [name for name in events.columns if name not in used]
    lines = [f"file: {events.name}, {file.format}{between}", f"columns: {told}"]
    if card.columns.context:
        lines.append(f"context: {', '.join(card.columns.context)}")
    if unread:
        lines.append(f"not read: {', '.join(unread[:10])}{f' and {len(unread) - 10} more' if len(unread) > 10 else ''}")
    apart = tables.connection.execute('SELECT "check", count(*) FROM quarantine GROUP BY ALL ORDER BY ALL').fetchall()
    lines += [f"set apart: {rows:,} rows, {check}" for check, rows in apart]
    return lines + [f"allowed: {note}" for note in tables.notes]


def _refs(key: Any) -> tuple[Any, ...]:
    if hasattr(key, "column"):
        return (key.column,)
    return key if isinstance(key, tuple) else (key,)


def _time_told(card: Card) -> str:
    time = card.columns.timestamp
    assert time is not None
    return f" ({time.unit}{f', {time.zone}' if time.zone else ''})"


def _text(card: Card, existing: Path | None) -> str:
    """The card as TOML; over an existing one, whose comments and order stay."""
    said = card.model_dump(mode="python", by_alias=True, exclude_none=True, exclude_defaults=True)
    said["meaning"].update(
        {
            kind: [_finite(rule) for rule in said["meaning"][kind]]
            for kind in ("positive", "negative", "exposure")
            if said["meaning"].get(kind)
        }
    )
    said = {key: said[key] for key in Card.model_fields if key in said}
    if existing is not None:
        document = tomlkit.parse(existing.read_text(encoding="utf-8"))
        for key in ("version", "files", "columns", "contract", "privacy"):
            if key in said:
                _merge(document, key, said[key])
        return tomlkit.dumps(document)
    document = tomlkit.document()
    document.add(tomlkit.comment("Made by `workbench data add`; guesses are for you to check. What changes here is another snapshot."))
    for key, value in said.items():
        document[key] = _plain(value)
    return tomlkit.dumps(document)


def _merge(table: Any, key: str, value: Any) -> None:
    """Put a value into a TOML table, touching only what differs, so that comments stay."""
    present = table.get(key)
    if isinstance(value, dict) and isinstance(present, dict) and not isinstance(present, tomlkit.items.InlineTable):
        for gone in [each for each in present if each not in value]:
            del present[gone]
        for each, inner in value.items():
            _merge(present, each, inner)
    elif present is None or present.unwrap() != tomlkit.item(_plain(value)).unwrap():
        table[key] = _plain(value)


def _finite(rule: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in rule.items() if value not in (float("inf"), float("-inf"), ())}


def _plain(value: Any) -> Any:
    """As TOML has it: lists for tuples, small tables in one line."""
    if isinstance(value, dict):
        flat = all(not isinstance(each, dict) for each in value.values())
        table = (
            tomlkit.inline_table() if flat and len(value) <= 8 and value and ("column" in value or "sha256" in value) else tomlkit.table()
        )
        for key, each in value.items():
            table[key] = _plain(each)
        return table
    if isinstance(value, list | tuple):
        array = tomlkit.array()
        for each in value:
            array.append(_plain(each))
        return array
    return value
