"""Bring your own log: files in, a card and a snapshot out."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from filelock import FileLock
from pydantic import ValidationError

from workbench.data.add_columns import first_columns, next_columns
from workbench.data.add_meaning import with_meaning
from workbench.data.card import (
    FIRST_CLASS,
    Allowance,
    Card,
    Contract,
    PrivacyClass,
    SourceFile,
    TimeColumn,
    card_path,
    first_mistake,
    load_card,
    refs,
)
from workbench.data.card_text import card_text
from workbench.data.guess import guess_file
from workbench.data.reading import open_source
from workbench.data.request import Request
from workbench.data.snapshot import Snapshot, publish
from workbench.data.tables import Tables, read_tables
from workbench.errors import RequestError, WorkError, unknown
from workbench.files import whole_file
from workbench.paths import checked_name, home

ALLOWANCES: tuple[str, ...] = get_args(Allowance)
ONCE = ("removed", "retyped", "volume", "null share")
"""Allowances of a change between two versions; they hold for that change alone."""
PRIVACY: dict[str, PrivacyClass] = {"user_id": "identifier", "session_id": "identifier", "request_id": "identifier", "item_id": "public"}


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
            return card, snapshot, understood
    except ValidationError as error:
        place, reason = first_mistake(error)
    except OSError as error:
        raise WorkError(f"could not write the data set {name}: {error}") from error
    raise RequestError(f"{place}: {reason}." if place else f"{reason}.")


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
    with read_tables(card, _paths(card), memory_limit=request.memory_limit) as tables:
        card = with_meaning(card, request, tables, first=before is None)
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
        files[role] = guess_file(path, _named(path), options, positions and role == "events")
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
            "columns": first_columns(request, sources),
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
    for role, file in files.items():  # read as before but for what is said, as long as it is the same kind of file
        earlier = getattr(before.files, role)
        if earlier is not None and earlier.format == file.format:
            options = request.reading if role == "events" else ()
            files[role] = earlier.model_copy(update={key: getattr(file, key) for key in ("sha256", "name", *options)})
    said = {key: value for key, value in (("title", request.title), ("licence", request.licence)) if value is not None}
    sources = {role: open_source(file, home() / file.name) for role, file in files.items()}
    changes = {**said, "version": before.version + 1, "files": files, "contract": _contract(request, before.contract)}
    card = Card.model_validate({**before.model_dump(by_alias=True), **changes, "columns": next_columns(request, before, sources)})
    meant = (*request.positive_events, *request.negative_events, *request.exposure_events, request.positive_min, request.negative_max)
    if (
        card.model_copy(update={"version": before.version}) == before
        and request.repeats is None
        and not any(each is not None for each in meant)
    ):
        raise RequestError(f"nothing would change: {request.file.name} is what version {before.version} was made of.")
    return card


def _privacy(tables: Tables) -> dict[str, PrivacyClass]:
    """A cautious class for every column: people's attributes are sensitive, items' are public, what people did is behavioural."""
    usual: dict[str, PrivacyClass] = {"events": "behavioural", "users": "sensitive", "items": "public"}
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
    said = {name: getattr(card.columns, name) for name in FIRST_CLASS}
    read = {name: key.column if isinstance(key, TimeColumn) else key for name, key in said.items() if key is not None}
    used = {events.column(ref) for key in [*read.values(), *card.columns.context.values()] for ref in refs(key)}
    told = ", ".join(f"{name} ← {events.label(key)}{_time_told(card) if name == 'timestamp' else ''}" for name, key in read.items())
    unread = [name for name in events.columns if name not in used]
    lines = [f"file: {events.name}, {file.format}{between}", f"columns: {told}"]
    if card.columns.context:
        lines.append(f"context: {', '.join(card.columns.context)}")
    if unread:
        lines.append(f"not read: {', '.join(unread[:10])}{f' and {len(unread) - 10} more' if len(unread) > 10 else ''}")
    apart = tables.connection.execute('SELECT "check", count(*) FROM quarantine GROUP BY ALL ORDER BY ALL').fetchall()
    lines += [f"set apart: {rows:,} rows, {check}" for check, rows in apart]
    return lines + [f"allowed: {note}" for note in tables.notes]


def _time_told(card: Card) -> str:
    time = card.columns.timestamp
    assert time is not None
    return f" ({time.unit}{f', {time.zone}' if time.zone else ''})"
