"""Reading a column of times in SQL: whole microseconds since 1970 UTC, and what can be wrong with a cell."""

import datetime
from typing import NamedTuple

from workbench.data.card import TimeColumn, Unit
from workbench.data.engine import literal
from workbench.data.reading import MEND

FACTOR: dict[Unit, float] = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0.001}
"""Microseconds in a unit."""
NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
MAGNITUDES: dict[Unit, tuple[float, float]] = {"s": (1e8, 1e11), "ms": (1e11, 1e14), "us": (1e14, 1e17), "ns": (1e17, 1e20)}
"""What a moment between 1973 and 5138 looks like in each unit. Below 1e8 nothing can be told: counters start at 0."""
DATE = "[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"
CLOCK = "[0-9]{1,2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?"
OFFSET = "(Z|z|UTC|[+-][0-9]{2}(:?[0-9]{2})?)"
LOCAL, ZONED = f"{DATE}([ T]{CLOCK})?", f"{DATE}[ T]{CLOCK} ?{OFFSET}"
"""ISO 8601 as a whole cell: DuckDB's own reading would pass over words behind the time, "PM" and "EST" among them."""


class Fault(NamedTuple):
    """One way for a cell to be wrong: its name, SQL that is true where it is, what to say of the cell, what to do."""

    name: str
    condition: str
    reason: str
    mend: str = MEND

    @property
    def seen(self) -> str:
        """SQL over the moment alone that is true wherever this fault is, of a cell that counts time in units."""
        return "timestamp IS NULL" if self.name == "empty" else self.condition


def parsed(time: TimeColumn, cell: str) -> str:
    """SQL for the moment in `cell` (SQL for a text), BIGINT; NULL where it cannot be read."""
    if time.unit == "text":
        return _parsed_text(time, f"trim({cell})")
    if time.unit == "ns":
        return f"TRY_CAST({cell} AS BIGINT) // 1000"
    # A double holds every microsecond of the next 250 years; more than 9e18 of them is no moment.
    moment = f"round(TRY_CAST({cell} AS DOUBLE) * {int(FACTOR[time.unit])})"
    return f"CASE WHEN {moment} BETWEEN -9e18 AND 9e18 THEN CAST({moment} AS BIGINT) END"


def _parsed_text(time: TimeColumn, text: str) -> str:
    if time.format and _names_zone(time):
        return f"epoch_us(CAST(try_strptime({text}, {literal(time.format)}) AS TIMESTAMPTZ))"
    local = _local(time, text)
    placed = f"epoch_us(timezone({literal(time.zone)}, {local}))" if time.zone not in (None, "UTC") else f"epoch_us({local})"
    if time.format:
        return placed
    zoned = f"epoch_us(TRY_CAST({text} AS TIMESTAMPTZ))"
    return f"CASE WHEN {_matches(text, ZONED)} THEN {zoned} WHEN {_matches(text, LOCAL)} THEN {placed} END"


def faults(time: TimeColumn, cell: str, moment: str) -> list[Fault]:
    """In the order in which they are looked for. `moment`: SQL for what `parsed` gave."""
    tomorrow = int((datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)).timestamp()) * 1_000_000
    found = [
        Fault("empty", f"{cell} IS NULL OR trim({cell}) = ''", "an empty cell is not a time"),
        *(_zone_faults(time, cell) if time.unit == "text" else ()),
        Fault("not a time", f"{moment} IS NULL", f'"{{value}}" is not a time{_as_read(time)}', _mend(time)),
        Fault("before 1970", f"{moment} < 0", '"{value}" is before 1970'),
    ]
    if time.unit != "text":
        told, low, high = (int(bound * FACTOR[time.unit]) for bound in (1e8, *MAGNITUDES[time.unit]))
        reason = f'"{{value}}" does not look like {NAMES[time.unit]}, which the column is in; one unit goes for all rows'
        found.append(Fault("unit", f"{moment} >= {told} AND ({moment} < {low} OR {moment} >= {high})", reason))
    return [*found, Fault("future", f"{moment} > {tomorrow}", f'"{{value}}" is in the future{_as_read(time)}')]


def _mend(time: TimeColumn) -> str:
    if time.unit == "text" and time.format is None:
        return "Mend the row, pass --quarantine to set such rows apart, or, if all are like that, say --time-format."
    return MEND


def _as_read(time: TimeColumn) -> str:
    if time.format:
        return f" by the format {time.format}"
    return " by ISO 8601" if time.unit == "text" else f", read as {NAMES[time.unit]} since 1970"


def _names_zone(time: TimeColumn) -> bool:
    return time.format is not None and ("%z" in time.format or "%Z" in time.format)


def _local(time: TimeColumn, text: str) -> str:
    return f"try_strptime({text}, {literal(time.format)})" if time.format else f"TRY_CAST({text} AS TIMESTAMP)"


def _matches(text: str, pattern: str) -> str:
    return f"coalesce(regexp_full_match({text}, {literal(pattern)}), FALSE)"


def _zone_faults(time: TimeColumn, cell: str) -> list[Fault]:
    """Of cells that name no zone themselves."""
    text = f"trim({cell})"
    if _names_zone(time) or time.zone == "UTC":
        return []
    local, bare = _local(time, text), "TRUE" if time.format else _matches(text, LOCAL)
    if time.zone is None:
        mend = "Say which one with --zone UTC, or one like Europe/Berlin (timestamp.zone in the card)."
        return [Fault("no zone", f"{bare} AND {local} IS NOT NULL", '"{value}" names no time zone', mend)]
    there, back = f"timezone({literal(time.zone)}, {local})", f"timezone({literal(time.zone)}, "
    twice = " OR ".join(f"{back}{there} {sign} INTERVAL {minutes} MINUTE) = {local}" for sign in "+-" for minutes in (30, 60))
    return [
        Fault("no such time", f"{bare} AND {back}{there}) <> {local}", f'"{{value}}" did not happen in {time.zone}: clocks went forward'),
        Fault("ambiguous time", f"{bare} AND ({twice})", f'"{{value}}" happened twice in {time.zone}: clocks went back'),
    ]
