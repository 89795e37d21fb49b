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
ZONED = r"[0-9]{2}:[0-9]{2}.*(Z|z|UTC|[+-][0-9]{2}(:?[0-9]{2})?)$"


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
        local = _local(time, cell)
        zoned = f"epoch_us(TRY_CAST(trim({cell}) AS TIMESTAMPTZ))"
        placed = f"epoch_us(timezone({literal(time.zone)}, {local}))" if time.zone not in (None, "UTC") else f"epoch_us({local})"
        return f"CASE WHEN {_has_zone(cell)} THEN {zoned} WHEN isfinite({local}) THEN {placed} END"
    if time.unit == "ns":
        return f"TRY_CAST({cell} AS BIGINT) // 1000"
    factor = int(FACTOR[time.unit])
    most = 9_000_000_000_000_000_000 // factor
    whole = f"CASE WHEN TRY_CAST({cell} AS BIGINT) BETWEEN {-most} AND {most} THEN TRY_CAST({cell} AS BIGINT) * {factor} END"
    return f"CASE WHEN contains({cell}, '.') THEN TRY_CAST(TRY_CAST({cell} AS DECIMAL(24, 6)) * {factor} AS BIGINT) ELSE {whole} END"


def faults(time: TimeColumn, cell: str, moment: str) -> list[Fault]:
    """In the order in which they are looked for. `moment`: SQL for what `parsed` gave."""
    tomorrow = int((datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)).timestamp()) * 1_000_000
    found = [
        Fault("empty", f"{cell} IS NULL OR trim({cell}) = ''", "an empty cell is not a time"),
        *(_zone_faults(time, cell) if time.unit == "text" else ()),
        Fault("not a time", f"{moment} IS NULL", f'"{{value}}" is not a time{_as_read(time)}'),
        Fault("before 1970", f"{moment} < 0", '"{value}" is before 1970'),
    ]
    if time.unit != "text":
        told, low, high = (int(bound * FACTOR[time.unit]) for bound in (1e8, *MAGNITUDES[time.unit]))
        reason = f'"{{value}}" does not look like {NAMES[time.unit]}, which the column is in; one unit goes for all rows'
        found.append(Fault("unit", f"{moment} >= {told} AND ({moment} < {low} OR {moment} >= {high})", reason))
    return [*found, Fault("future", f"{moment} > {tomorrow}", f'"{{value}}" is in the future{_as_read(time)}')]


def _as_read(time: TimeColumn) -> str:
    if time.format:
        return f" by the format {time.format}"
    return "" if time.unit == "text" else f", read as {NAMES[time.unit]} since 1970"


def _local(time: TimeColumn, cell: str) -> str:
    return f"try_strptime(trim({cell}), {literal(time.format)})" if time.format else f"TRY_CAST(trim({cell}) AS TIMESTAMP)"


def _has_zone(cell: str) -> str:
    return f"coalesce(regexp_matches(trim({cell}), {literal(ZONED)}), FALSE)"


def _zone_faults(time: TimeColumn, cell: str) -> list[Fault]:
    local, bare = _local(time, cell), f"NOT {_has_zone(cell)}"
    if time.zone is None:
        mend = "Say which one with --zone UTC, or one like Europe/Berlin (timestamp.zone in the card)."
        return [Fault("no zone", f"{bare} AND isfinite({local})", '"{value}" names no time zone', mend)]
    if time.zone == "UTC":
        return []
    there, back = f"timezone({literal(time.zone)}, {local})", f"timezone({literal(time.zone)}, "
    twice = " OR ".join(f"{back}{there} {sign} INTERVAL {minutes} MINUTE) = {local}" for sign in "+-" for minutes in (30, 60))
    return [
        Fault("no such time", f"{bare} AND {back}{there}) <> {local}", f'"{{value}}" did not happen in {time.zone}: clocks went forward'),
        Fault("ambiguous time", f"{bare} AND ({twice})", f'"{{value}}" happened twice in {time.zone}: clocks went back'),
    ]
