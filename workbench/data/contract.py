"""What every log must keep: checks of rows, in SQL, and of a snapshot against the one before it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.data import times
from workbench.data.card import Card, Contract, Key
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
    """SQL over a row that was read, true where the row fails."""
    value: str
    """SQL for the text to show."""
    reason: str
    """With {value} in it."""
    mend: str = MEND
    names_record: bool = False
    """{value} is the number of another record, to be shown as its row."""


@dataclass(frozen=True)
class Reading:
    """How a file becomes a table: what is kept of a row, under which names, and the checks it must pass."""

    cells: Mapping[str, str]
    """SQL over the file's columns of text, by the name that `kept` and `checks` use."""
    kept: Mapping[str, str]
    """SQL over `cells`, by the name of the column in the table."""
    checks: list[Check]
    unique: tuple[str, ...]
    """Columns of the table in which no two rows may be equal."""
    twice: Check
    """What is said when they are."""


def event_reading(card: Card, source: Source, tables: Mapping[str, Source]) -> Reading:
    """tables: the sources of `users` and `items`, those there are."""
    columns = card.columns
    cells = {"user_id": source.text(columns.person), "item_id": source.text(columns.item_id)}
    kept = {"user_id": "user_id", "item_id": "item_id"}
    checks = [_id_check(source, "user_id", columns.person), _id_check(source, "item_id", columns.item_id)]
    for table, key, ref in (("users", "user_id", columns.person), ("items", "item_id", columns.item_id)):
        if table in tables:
            absent = f"NOT EXISTS (SELECT 1 FROM {table}_file AS t WHERE t.{key} = cells.{key})"
            reason = f'"{{value}}" is not in {tables[table].name}'
            checks.append(Check("missing from table", source.label(ref), absent, key, reason))
    if columns.timestamp:
        cells["::time"], kept["timestamp"] = source.text(columns.timestamp.column), times.parsed(columns.timestamp, TIME)
        checks += _time_checks(card, source)
    for name, condition, reason, sql in _number_columns(optional=columns.event is not None):
        if (ref := getattr(columns, name)) is not None:
            cells[f"::{name}"], kept[name] = source.text(ref), sql
            checks += [Check(f"bad {name}", source.label(ref), condition, quoted(f"::{name}"), reason)]
    texts: dict[str, Key | None] = {"event": columns.event, "request_id": columns.request_id, "session_id": columns.session_id}
    for name, text in {**texts, **columns.context}.items():
        if text is not None:
            cells[name], kept[name] = source.text(text), quoted(name)
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
    return Reading(cells, kept, checks, tuple(kept), twice)


DUPLICATE_MEND = "Mend the row, pass --quarantine to set such rows apart, or --allow duplicate where they are meant."


def table_reading(source: Source, key: str, ref: Key) -> Reading:
    """Of a table of people or items: its key, and every other column as text under its own name."""
    refs = ref if isinstance(ref, tuple) else (ref,)
    used = {source.column(each) for each in refs}
    names = [name for name in source.columns if name not in used]
    if taken := [name for name in names if name in {"user_id", "item_id", "user_code", "item_code"}]:
        raise RequestError(f'{source.name}: the column "{taken[0]}" has a name that is taken. Give it another.')
    cells = {key: source.text(ref), **{name: source.text(name) for name in names}}
    twice = Check("duplicate", source.label(ref), "FALSE", key, '"{value}" stands there a second time')
    return Reading(cells, {name: quoted(name) for name in cells}, [_id_check(source, key, ref)], (key,), twice)


def _id_check(source: Source, name: str, ref: Key) -> Check:
    names = ", ".join(literal(each) for each in NO_ID)
    return Check("no id", source.label(ref), f"{name} IS NULL OR trim({name}) IN ({names})", name, '"{value}" is no id')


def _time_checks(card: Card, source: Source) -> Iterator[Check]:
    assert card.columns.timestamp is not None
    for fault in times.faults(card.columns.timestamp, TIME, times.parsed(card.columns.timestamp, TIME)):
        yield Check(fault.name, source.label(card.columns.timestamp.column), fault.condition, TIME, fault.reason, fault.mend)


def _number_columns(optional: bool) -> Iterator[tuple[str, str, str, str]]:
    """(column, what is wrong with a cell, what to say, what is kept). A value may be empty where events have types: not all types have
    one."""
    cell = quoted("::value")
    number = f"TRY_CAST({cell} AS DOUBLE)"
    absent = "FALSE" if optional else f"{cell} IS NULL"
    wrong = f"({absent}) OR ({cell} IS NOT NULL AND ({number} IS NULL OR NOT isfinite({number})))"
    yield "value", wrong, '"{value}" is not a finite number' + ("" if optional else "; an empty cell is not a zero"), f"{number} + 0.0"
    cell = quoted("::position")
    number = f"TRY_CAST({cell} AS DOUBLE)"
    wrong = f"{cell} IS NOT NULL AND ({number} IS NULL OR NOT ({number} BETWEEN 0 AND 1e9 AND {number} = floor({number})))"
    yield "position", wrong, '"{value}" is not a place in a list: a whole number from 0 on', f"CAST({number} AS INTEGER)"
    cell = quoted("::propensity")
    number = f"TRY_CAST({cell} AS DOUBLE)"
    wrong = f"{cell} IS NOT NULL AND ({number} IS NULL OR NOT ({number} > 0 AND {number} <= 1))"
    yield "propensity", wrong, '"{value}" is not a probability above 0 and at most 1', number


def against_previous(contract: Contract, tables: Mapping[str, Any], previous: Mapping[str, Any], name: str) -> list[str]:
    """Compare the tables of a manifest with those of the snapshot before it. Returns what is worth a note.

    Raises RequestError for a column that was removed or changed its kind, for a volume outside of `contract.volume`, and for a share of
    empty cells that rose by more than `contract.null_share`, unless the card allows it.
    """
    notes: list[str] = []
    for check, text in _differences(contract, tables, previous):
        if check is not None and check not in contract.allow:
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
