"""Bring your own log: files in, a card and a snapshot out."""

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from filelock import FileLock
from pydantic import ValidationError

from workbench.data.card import FIRST_CLASS, Allowance, Card, Contract, DefaultSplit, Key, Rule, SourceFile, any_of, card_path, load_card
from workbench.data.card_text import card_text
from workbench.data.engine import MEMORY_LIMIT
from workbench.data.guess import CONTEXT, guess_column, guess_file, guess_meanings, guess_split, guess_time
from workbench.data.reading import Source, open_source
from workbench.data.snapshot import Snapshot, publish
from workbench.data.source import sha256_of
from workbench.data.tables import Tables, read_tables
from workbench.errors import RequestError, WorkError, unknown
from workbench.files import whole_file
from workbench.paths import checked_name, home

ALLOWANCES: tuple[str, ...] = get_args(Allowance)
ONCE = ("removed", "retyped", "volume", "null share")
"""Allowances of a change between two versions; they hold for that change alone."""
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
    licence: str | None = None
    allow: tuple[str, ...] = ()
    quarantine: bool = False
    update: bool = False
    """Take the file as the next version of a data set that was added before."""
    memory_limit: str = MEMORY_LIMIT


def add(request: Request) -> tuple[Card, Snapshot, list[str]]:
    """Write a card and a snapshot; return them with what was understood, a line for each thing.

    Raises RequestError, with nothing written, for a name that is taken or no name, and for a file that cannot be understood or breaks the
    contract; WorkError when the disk is full. The card comes last: a data set that is listed is whole. Two processes that take one name at
    once: one has it, the other is told so.
    """
    name = checked_name("data set", request.name)
    try:
        with _name_taken(name):
            before = _before(request, name)
            card, snapshot, understood = _added(request, name, before)
            with whole_file(card_path(name)) as path:
                path.write_text(card_text(card, card_path(name) if before else None), encoding="utf-8")
    except ValidationError as error:
        first = error.errors()[0]
        reason = first["msg"].removeprefix("Value error, ")
        raise RequestError(f"{'.'.join(map(str, first['loc']))}: {reason[:1].lower()}{reason[1:]}.") from None
    except OSError as error:
        raise WorkError(f"could not write the data set {name}: {error}") from error
    return card, snapshot, understood


@contextlib.contextmanager
def _name_taken(name: str) -> Iterator[None]:
    """One process at a time has a name to itself; the lock's file goes with it."""
    lock = FileLock(home() / "datasets" / f".{name}.lock")
    with lock:
        try:
            yield
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)  # while it is held: filelock doesn't take a lock whose file has no name any more


def _added(request: Request, name: str, before: Card | None) -> tuple[Card, Snapshot, list[str]]:
    card = _next_version(request, before) if before else _first_card(request)
    with read_tables(card, _paths(card), quarantine=request.quarantine, memory_limit=request.memory_limit) as tables:
        card = _with_meaning(card, request, tables, first=before is None)
        card = card.model_copy(update={"privacy": {**_privacy(tables), **card.privacy}})
        understood = _understood(card, tables)
        return card, publish(name, card, tables, allow=request.allow), understood


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
        positions = bool(request.columns) and all(each.isdecimal() for text in request.columns.values() for each in text.split(","))
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
            "licence": request.licence or "not stated",
            "version": 1,
            "files": files,
            "columns": _columns(request, sources),
            "meaning": {"positive": {"column": "any"}, "repeats": bool(request.repeats)},
            "split": {"default": "user_random", "because": ""},
            "contract": _contract(request, Contract()),
            "privacy": {},
        }
    )


def _contract(request: Request, before: Contract) -> dict[str, Any]:
    """What is allowed of rows stays in the card, because it decides the content; what is allowed of a change holds this once.

    A log without times in which repeats are normal may have equal rows: they are repeats.
    """
    for check in request.allow:
        if check not in ALLOWANCES:
            raise unknown("check to --allow", check, ALLOWANCES)
    meant = ("duplicate",) if request.repeats and "timestamp" not in request.columns and not before.allow else ()
    lasting = {check for check in (*before.allow, *request.allow, *meant) if check not in ONCE}
    return {**before.model_dump(), "allow": sorted(lasting), "quarantine": request.quarantine or before.quarantine}


def _next_version(request: Request, before: Card) -> Card:
    """The card of before, for other files; what it says stays, but for what the request says."""
    files = {**{role: file for role, file in before.files if file is not None}, **_files(request)}
    if not request.reading:  # read as before, as long as it is the same kind of file
        for role, file in files.items():
            earlier = getattr(before.files, role)
            if earlier is not None and earlier.format == file.format:
                files[role] = earlier.model_copy(update={"sha256": file.sha256, "name": file.name})
    said = {key: value for key, value in (("title", request.title), ("licence", request.licence)) if value is not None}
    sources = {role: open_source(file, home() / file.name) for role, file in files.items()}
    changes = {**said, "version": before.version + 1, "files": files, "contract": _contract(request, before.contract)}
    return Card.model_validate({**before.model_dump(by_alias=True), **changes, "columns": _next_columns(request, before, sources)})


def _next_columns(request: Request, before: Card, sources: Mapping[str, Source]) -> dict[str, Any]:
    """[columns] of the card before, with the columns, the context and the reading of times that the request names."""
    columns = {**before.columns.model_dump(), **{kind: _key(text) for kind, text in request.columns.items() if kind != "timestamp"}}
    if "timestamp" in request.columns:
        columns["timestamp"] = _time(request, sources["events"], sources["events"].column(request.columns["timestamp"]))
    elif columns["timestamp"] is not None:
        said = {"unit": request.unit, "zone": request.zone, "format": request.time_format}
        columns["timestamp"] |= {key: value for key, value in said.items() if value is not None}
    if request.context is not None:
        columns["context"] = {sources["events"].column(name): sources["events"].column(name) for name in request.context}
    return columns


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
    parts = tuple(int(part) if part.isdecimal() else part for part in text.split(","))
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
    unit, format_ = guess_time(cells)
    unit, format_ = request.unit or ("text" if request.time_format else unit), request.time_format or (None if request.unit else format_)
    zone = request.zone or (None if unit == "text" else "UTC")
    return {"column": column, "unit": unit, "zone": zone, "format": format_}


def _with_meaning(card: Card, request: Request, tables: Tables, first: bool) -> Card:
    """The card with what the request says of the events' meaning, and, of a first version, with guesses for what it does not say."""
    said = {
        "positive": _rules(request.positive_min, None, request.positive_events),
        "negative": _rules(None, request.negative_max, request.negative_events),
        "exposure": _rules(None, None, request.exposure_events),
    }
    repeats = request.repeats
    if first:
        guessed = guess_meanings(tables)
        others = [rule for listed in said.values() for rule in listed]
        said = {kind: listed or _without(getattr(guessed, kind), others) for kind, listed in said.items()}
        repeats = guessed.repeats if repeats is None else repeats
    rules = {kind: [rule.model_dump(by_alias=True) for rule in listed] for kind, listed in said.items() if listed or first}
    meaning = {**card.meaning.model_dump(by_alias=True), **rules, **({} if repeats is None else {"repeats": repeats})}
    card = Card.model_validate({**card.model_dump(by_alias=True), "meaning": meaning})
    _check_meaning(card, request, tables)
    if not first:
        return card
    default, because = guess_split(tables, card.columns.timestamp is not None, any_of(card.meaning.exposure))
    return card.model_copy(update={"split": DefaultSplit(default=default, because=because)})


def _without(guessed: tuple[Rule, ...], said: list[Rule]) -> tuple[Rule, ...]:
    """Guesses, less the event types and the columns of which something else was said."""
    taken = {name for rule in said for name in rule.is_}
    named = (rule.model_copy(update={"is_": tuple(name for name in rule.is_ if name not in taken)}) for rule in guessed)
    return tuple(rule for rule in named if rule.is_ or (rule.column != "event" and not said))


def _check_meaning(card: Card, request: Request, tables: Tables) -> None:
    """Raises RequestError for a rule over a column or an event type that is not there, and where two meanings have events in common."""
    columns = tables.columns("events")
    types = (
        {str(row[0]) for row in tables.connection.execute("SELECT DISTINCT event FROM events").fetchall()} if "event" in columns else set()
    )
    meaning = card.meaning
    for rule in (*meaning.positive, *meaning.negative, *meaning.exposure):
        if rule.column != "any" and rule.column not in columns:
            raise RequestError(f"{rule.text}: {request.file.name} has no column for that. Name one with --{rule.column}.")
        if not request.update and (strange := [name for name in (*rule.is_, *rule.events) if name not in types]):
            raise unknown(f"event type in {request.file.name}", strange[0], types)
    listed = {"positive": meaning.positive, "negative": meaning.negative, "exposure": meaning.exposure}
    absent = "".join(f", NULL::{kind} AS {name}" for name, kind in (("value", "DOUBLE"), ("event", "VARCHAR")) if name not in columns)
    for one, other in itertools.combinations(listed, 2):
        if both := tables.count(f"(SELECT *{absent} FROM events) AS e WHERE {any_of(listed[one])} AND {any_of(listed[other])}"):
            raise RequestError(
                f"{both:,} events are {one} and {other} at once ({_told(listed[one])}; {_told(listed[other])}). Say which they are."
            )


def _told(rules: tuple[Rule, ...]) -> str:
    return " or ".join(rule.text for rule in rules)


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
