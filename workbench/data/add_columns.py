"""Which columns of a new log are what: as the request says, else as the card before said, else guessed."""

from collections.abc import Mapping
from typing import Any

from workbench.data.card import FIRST_CLASS, Card, Key, refs
from workbench.data.guess import CONTEXT, guess_column, guess_time
from workbench.data.reading import Source
from workbench.data.request import Request
from workbench.errors import RequestError

TABLE_KEYS = (("users", "user_key", "user_id"), ("items", "item_key", "item_id"))
"""A table, what the card calls its key, and the same id in the log."""


def next_columns(request: Request, before: Card, sources: Mapping[str, Source]) -> dict[str, Any]:
    """[columns] of the card before, with the columns, the context and the reading of times that the request names."""
    columns = {**before.columns.model_dump(), **{kind: _key(text) for kind, text in request.columns.items() if kind != "timestamp"}}
    if "timestamp" in request.columns:
        columns["timestamp"] = _time(request, sources["events"], sources["events"].column(request.columns["timestamp"]))
    elif columns["timestamp"] is not None:
        said = {"unit": request.unit, "zone": request.zone, "format": request.time_format}
        columns["timestamp"] |= {key: value for key, value in said.items() if value is not None}
    if request.context is not None:
        columns["context"] = {sources["events"].column(name): sources["events"].column(name) for name in request.context}
    for table, key, events_key in TABLE_KEYS:
        if table in sources and columns[key] is None:
            columns[key] = _table_key(None, sources[table], columns[events_key], key)
    return columns


def first_columns(request: Request, sources: Mapping[str, Source]) -> dict[str, Any]:
    """[columns] of the card: those that were named, and guesses for the others."""
    events = sources["events"]
    found: dict[str, Any] = {kind: _key(text) for kind, text in request.columns.items() if not kind.endswith("_key")}
    taken = {events.column(ref) for key in found.values() for ref in refs(key)}
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
    for table, key, events_key in TABLE_KEYS:
        if table in sources:
            found[key] = _table_key(request.columns.get(key), sources[table], found.get(events_key), key)
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
