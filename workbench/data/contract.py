"""What every log must keep: checks of rows, in SQL, and of a snapshot against the one before it."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.data import times
from workbench.data.card import Card, Contract, Key, refs
from workbench.data.engine import literal, quoted
from workbench.data.reading import MEND, Source
from workbench.errors import RequestError

TIME = '"::time"'
"""Cells as they were read have names with "::", which no column of a file is likely to have."""
NO_ID = ("", "\\N", "NULL", "null", "NaN", "nan", "None", "<NA>")
"""What programs write for an id that is not there."""


@dataclass(frozen=True)
class Check:
    name: str
    """As the card's `contract.allow` and the quarantine call it."""
    column: str
    """As the file calls it."""
    condition: str
    """SQL over a row's cells and what was parsed of them, true where the row fails."""
    value: str
    """SQL for the text to show."""
    reason: str
    """With {value} in it."""
    mend: str = MEND
    names_record: bool = False
    """{value} is the number of another record, to be shown as its row."""
    seen: str | None = None
    """SQL over the finished table alone, true wherever the check fails, at the least: cheaper to look through than the cells, which are
    looked at only when there is something. None: only the cells tell."""
    distinct: str | None = None
    """The one column that `seen` is about, when its distinct values are few."""


@dataclass(frozen=True)
class Reading:
    """How a file becomes a table: what is kept of a row, under which names, and the checks it must pass."""

    cells: Mapping[str, str]
    """SQL over the file's columns of text, by the name that the others use."""
    parsed: Mapping[str, str]
    """SQL over `cells`, by the name of what comes out."""
    kept: tuple[str, ...]
    """What goes into the table, of `cells` and `parsed`."""
    checks: list[Check]
    unique: tuple[str, ...]
    """Columns of the table in which no two rows may be equal."""
    twice: Check
    """What is said when they are."""


def event_reading(card: Card, source: Source, tables: Mapping[str, Source]) -> Reading:
    """tables: the sources of `users` and `items`, those there are."""
    columns = card.columns
    cells = {"user_id": _whole_key(source, columns.person), "item_id": _whole_key(source, columns.item_id)}
    parsed: dict[str, str] = {}
    checks = [_id_check(source, "user_id", columns.person), _id_check(source, "item_id", columns.item_id)]
    for table, key, ref in (("users", "user_id", columns.person), ("items", "item_id", columns.item_id)):
        if table in tables:
            absent = f"NOT EXISTS (SELECT 1 FROM {table}_file AS t WHERE t.{key} = cells.{key})"
            reason = f'"{{value}}" is not in {tables[table].name}'
            checks.append(Check("missing from table", source.label(ref), absent, key, reason, seen=absent, distinct=key))
    if columns.timestamp:
        cells["::time"], parsed["timestamp"] = source.text(columns.timestamp.column), times.parsed(columns.timestamp, TIME)
        checks += _time_checks(card, source)
    for name, condition, reason, sql, seen in _number_columns(optional=columns.event is not None):
        if (ref := getattr(columns, name)) is not None:
            cells[f"::{name}"], parsed[name] = source.text(ref), sql
            checks += [Check(f"bad {name}", source.label(ref), condition, quoted(f"::{name}"), reason, seen=seen)]
    texts: dict[str, Key | None] = {"event": columns.event, "request_id": columns.request_id, "session_id": columns.session_id}
    for name, text in {**texts, **columns.context}.items():
        if text is not None:
            cells[name] = source.text(text)
    if columns.event is not None:
        empty = "event IS NULL OR trim(event) = ''"
        checks.append(Check("empty", source.label(columns.event), empty, "event", "an empty cell is no event type"))
    whole = ", ".join(source.columns[:4]) + (" …" if len(source.columns) > 4 else "")
    twice = Check(
        "duplicate",
        whole,
        "FALSE",
        'CAST(first_value("::ordinal") OVER same AS VARCHAR)',
        "the same event as in row {value}",
        DUPLICATE_MEND,
        True,
    )
    kept = ("user_id", "item_id", *parsed, *(name for name in cells if not name.startswith(("::", "user_id", "item_id"))))
    return Reading(cells, parsed, kept, checks, kept, twice)


DUPLICATE_MEND = "Mend the row, pass --quarantine to set such rows apart, or --allow duplicate where they are meant."


def table_reading(source: Source, key: str, ref: Key) -> Reading:
    """Of a table of people or items: its key, and every other column as text under its own name."""
    used = {source.column(each) for each in refs(ref)}
    names = [name for name in source.columns if name not in used]
    if taken := [name for name in names if name.casefold() in {"user_id", "item_id", "user_code", "item_code"}]:
        raise RequestError(f'{source.name}: the column "{taken[0]}" has a name that is taken. Give it another.')
    cells = {key: _whole_key(source, ref), **{name: source.text(name) for name in names}}
    twice = Check("duplicate", source.label(ref), "FALSE", key, '"{value}" stands there a second time')
    return Reading(cells, {}, tuple(cells), [_id_check(source, key, ref)], (key,), twice)


def _absent(id_: str) -> str:
    return f"({id_} IS NULL OR trim({id_}) IN ({', '.join(literal(each) for each in NO_ID)}))"


def _whole_key(source: Source, key: Key) -> str:
    """SQL for an id; one of several columns is none when one of them is none."""
    if not isinstance(key, tuple):
        return source.text(key)
    return f"CASE WHEN NOT ({' OR '.join(map(_absent, source.parts(key)))}) THEN {source.text(key)} END"


def _id_check(source: Source, name: str, ref: Key) -> Check:
    absent = _absent(name)
    return Check("no id", source.label(ref), absent, name, '"{value}" is no id', seen=absent, distinct=name)


def _time_checks(card: Card, source: Source) -> Iterator[Check]:
    assert card.columns.timestamp is not None
    for fault in times.faults(card.columns.timestamp, TIME, "timestamp"):
        label = source.label(card.columns.timestamp.column)
        seen = fault.seen if card.columns.timestamp.unit != "text" else None
        yield Check(fault.name, label, fault.condition, TIME, fault.reason, fault.mend, seen=seen)


def _number_columns(optional: bool) -> Iterator[tuple[str, str, str, str, str | None]]:
    """(column, what is wrong with a cell, what to say, what is kept, how that shows in the table).

    A value may be empty where events have types: not all types have one.
    """
    cell, number = quoted("::value"), 'TRY_CAST("::value" AS DOUBLE) + 0.0'  # -0.0 becomes 0.0
    wrong = "value IS NULL OR NOT isfinite(value)"
    if optional:
        yield "value", f"{cell} IS NOT NULL AND ({wrong})", '"{value}" is not a finite number', number, None
    else:
        yield "value", wrong, '"{value}" is not a finite number; an empty cell is not a zero', number, wrong
    cell, number = quoted("::position"), 'TRY_CAST("::position" AS DOUBLE)'
    wrong = f"{cell} IS NOT NULL AND ({number} IS NULL OR NOT ({number} BETWEEN 0 AND 1e9 AND {number} = floor({number})))"
    whole = f"CASE WHEN {number} BETWEEN 0 AND 1e9 THEN CAST({number} AS INTEGER) END"
    yield "position", wrong, '"{value}" is not a place in a list: a whole number from 0 on', whole, None
    cell, number = quoted("::propensity"), 'TRY_CAST("::propensity" AS DOUBLE)'
    wrong = f"{cell} IS NOT NULL AND (propensity IS NULL OR NOT (propensity > 0 AND propensity <= 1))"
    yield "propensity", wrong, '"{value}" is not a probability above 0 and at most 1', number, None


def against_previous(
    contract: Contract, allow: Collection[str], tables: Mapping[str, Any], previous: Mapping[str, Any], name: str
) -> list[str]:
    """Compare the tables of a manifest with those of the snapshot before it. Returns what is worth a note.

    Raises RequestError for a column that was removed or changed its kind, for a volume outside of `contract.volume`, and for a share of
    empty cells that rose by more than `contract.null_share`, unless the card allows it.
    """
    notes: list[str] = []
    for check, text in _differences(contract, tables, previous):
        if check is not None and check not in contract.allow and check not in allow:
            raise RequestError(
                f"{name}, against its previous snapshot: {text}. If that is meant, pass --allow {check!r} (contract.allow in the card)."
            )
        notes.append(text)
    return notes


def _differences(contract: Contract, tables: Mapping[str, Any], previous: Mapping[str, Any]) -> Iterator[tuple[str | None, str]]:
    """(check, what happened); no check: a mere note."""
    for table, now in tables.items():
        before = previous[table]
        for column in before["statistics"]:
            if column not in now["statistics"]:
                yield "removed", f"{table} has lost the column {column}"
        for column, found in now["statistics"].items():
            if column not in before["statistics"]:
                yield None, f"{table} has a new column, {column}"
                continue
            earlier = before["statistics"][column]
            if found["kind"] != earlier["kind"] and "empty" not in (found["kind"], earlier["kind"]):
                widened = (earlier["kind"], found["kind"]) == ("whole number", "number")
                yield None if widened else "retyped", f"{column} of {table} was {earlier['kind']} and is {found['kind']}"
            rise = _share(found["nulls"], now["rows"]) - _share(earlier["nulls"], before["rows"])
            if rise > contract.null_share:
                yield (
                    "null share",
                    f"{column} of {table} is empty in {_share(found['nulls'], now['rows']):.0%} of rows, {rise:.0%} more than before",
                )
    ratio = tables["events"]["rows"] / previous["events"]["rows"]
    low, high = contract.volume
    if not low <= ratio <= high:
        yield (
            "volume",
            f"{tables['events']['rows']:,} events are {ratio:.2f} times the {previous['events']['rows']:,} before, "
            f"outside {low:g} to {high:g}",
        )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
