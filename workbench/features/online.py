"""The same features for one request at a time, out of a store that holds what is needed of the past and hears of each event as it comes."""

import math
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import torch
from torch import Tensor

from workbench.errors import RequestError, unknown
from workbench.features.build import HOUR, attribute, check_against, check_codes, check_given, streams
from workbench.features.definition import DAY, Feature
from workbench.features.sql import Lookup, Measure, Stream, group_table, half_lives, lookups_of, measures, stream_columns, stream_of
from workbench.features.state import EMPTY, known_at, read_state, unreadable, write_state
from workbench.features.tables import Tables

Key = tuple[int, ...]
NOTHING = float("nan")


@dataclass
class _Series:
    """Of one stream and key: a row for each moment, ascending; columns as the stream's table has them, n and so on."""

    times: list[int] = field(default_factory=list)
    rows: list[dict[str, float]] = field(default_factory=list)

    def before(self, moment: int) -> dict[str, float] | None:
        """The last row strictly before."""
        place = bisect_left(self.times, moment) - 1
        return self.rows[place] if place >= 0 else None


class _Event(NamedTuple):
    timestamp: int
    value: float | None
    kinds: frozenset[str]


class OnlineStore:
    """Features of one request, from the events it was told of; those of a log up to a moment come out of a folder.

    Events come in order of time. What is answered at a moment holds of events strictly before it, told of already or not yet known late.
    """

    def __init__(self, definitions: Sequence[Feature], tables: Tables, allowed: Collection[str] = ()) -> None:
        """tables: attributes and groups are read; events are not, see `of`. Raises RequestError as `build_features` does."""
        check_against(definitions, tables, allowed=allowed)
        self._begin(definitions, tables)

    def _begin(self, definitions: Sequence[Feature], tables: Tables) -> None:
        self.definitions = tuple(definitions)
        self.streams = streams(self.definitions)
        self.measures = {stream: measures(self.definitions, stream) for stream in self.streams}
        self.decays = {stream: half_lives(self.definitions, stream) for stream in self.streams}
        self.series: dict[Stream, dict[Key, _Series]] = {stream: {} for stream in self.streams}
        self.others: dict[Stream, dict[Key, dict[int, list[int]]]] = {stream: {} for stream in self.streams}
        self.tables = tables
        self.attributes = {each.name: attribute(each, tables)[0] for each in self.definitions if each.aggregation == "attribute"}
        self.groups = {name: _by_item(table) for name, table in tables.groups.items() if any(each.group == name for each in definitions)}
        self.since = self.latest = -(2**62)

    @classmethod
    def of(cls, definitions: Sequence[Feature], tables: Tables, cutoff: int, allowed: Collection[str] = ()) -> "OnlineStore":
        """What is known at `cutoff`, microseconds since 1970 UTC, of the events before it: for requests at that moment and later."""
        store = cls(definitions, tables, allowed)
        for stream, (rows, pairs) in known_at(store.definitions, tables, cutoff).items():
            store._take(stream, rows, pairs)
        store.since = store.latest = cutoff
        return store

    def observe(self, user: int, item: int, timestamp: int, kinds: Collection[str], value: float | None = None) -> None:
        """An event as it happens. kinds: of "all", "liked", "disliked" those that it is, and its type.

        Raises RequestError for one that is older than the last, and for a value that is infinite; one that is no number is none.
        """
        if value is not None and math.isinf(value):
            raise RequestError(f"an event's value is {value}: tell of it without one.")
        value = None if value is None or math.isnan(value) else value
        if timestamp < self.latest:
            raise RequestError(f"an event at {timestamp} comes after one at {self.latest}: tell of events in order of time.")
        self.latest = timestamp
        event = _Event(timestamp, value, frozenset(kinds))
        for stream in self.streams:
            if not stream.kind or stream.kind in kinds:
                for key in self._keys(stream, user, item):
                    self._add(stream, key, user if stream.other == "user_code" else item, event)

    def features(self, user: int, items: Sequence[int], timestamp: int, given: Mapping[str, Sequence[float]] | None = None) -> Tensor:
        """float64 (n_items, d): a row for each candidate of one request, NaN where there is nothing to say.

        Raises RequestError for a moment before the store begins, a column not handed over, and codes that are none.
        """
        if timestamp < self.since:
            raise RequestError(f"the store knows what was so at {self.since} and later, not at {timestamp}.")
        found = torch.empty(len(items), len(self.definitions), dtype=torch.float64)
        for place, each in enumerate(self.definitions):
            if each.aggregation == "given":
                if each.of not in (given or {}):
                    raise unknown(f"column handed over with candidates (feature {each.name})", each.of, given or {})
                handed = torch.tensor((given or {})[each.of], dtype=torch.float64)
                check_given(each, handed, len(items))
                found[:, place] = handed
            elif each.entity == "context":
                hours = timestamp // HOUR
                found[:, place] = hours % 24 if each.aggregation == "hour" else (hours // 24 + 3) % 7
            elif each.aggregation == "attribute":
                codes = torch.tensor([user] * len(items) if each.entity == "user" else list(items), dtype=torch.int64)
                check_codes(each, codes, len(self.attributes[each.name]))
                found[:, place] = self.attributes[each.name][codes]
            else:
                found[:, place] = torch.tensor([self._value(each, user, item, timestamp) for item in items], dtype=torch.float64)
        return found

    def save(self, folder: Path) -> Path:
        """The state as a folder of Parquet and JSON, there whole or not at all. Raises RequestError where there is one of the name."""
        read = {(each.entity, each.of) for each in self.definitions if each.aggregation == "attribute"}
        tables = {group_table(name): table for name, table in self.tables.groups.items() if name in self.groups}
        for of, table in self.tables.attributes.items():
            tables[f"attributes_{of}"] = table.select([f"{of}_code", *(name for name in self.tables.columns_of(of) if (of, name) in read)])
        for place, stream in enumerate(self.streams):
            tables[f"stream_{place}"], tables[f"pairs_{place}"] = self._rows(stream)
        definitions = [each.model_dump() for each in self.definitions]
        return write_state(folder, {"since": self.since, "latest": self.latest, "definitions": definitions}, tables)

    @classmethod
    def open(cls, folder: Path) -> "OnlineStore":
        """Raises WorkError for a folder that is none of ours, is damaged, or is of a newer version."""
        told, tables = read_state(folder)
        try:
            definitions = [Feature.model_validate(each) for each in told["definitions"]]
            groups = {name: tables[group_table(name)] for name in {each.group for each in definitions if each.group}}
            attributes = {of: tables[f"attributes_{of}"] for of in ("user", "item") if f"attributes_{of}" in tables}
            store = cls.__new__(cls)
            store._begin(definitions, Tables(EMPTY, attributes, groups))
            for place, stream in enumerate(store.streams):
                store._take(stream, tables[f"stream_{place}"], tables[f"pairs_{place}"])
            store.since, store.latest = int(told["since"]), int(told["latest"])
        except (KeyError, ValueError, TypeError, AttributeError, pa.ArrowException) as error:
            raise unreadable(folder, error) from None
        return store

    def _keys(self, stream: Stream, user: int, item: int) -> list[Key]:
        match stream.entity:
            case "user":
                return [(user,)]
            case "item":
                return [(item,)]
            case "user_item":
                return [(user, item)]
        return [(user, group) for group in self.groups[stream.group].get(item, ())]

    def _add(self, stream: Stream, key: Key, other: int, event: "_Event") -> None:
        new = stream.what == "distinct" and self._is_new(stream, key, other, event.timestamp)
        if stream.window:
            return
        series = self.series[stream].setdefault(key, _Series())
        row = dict(series.rows[-1]) if series.rows else {}
        known = event.timestamp + stream.delay
        same = bool(series.times) and series.times[-1] == known
        (self._totals if stream.what == "totals" else self._of_one_kind)(stream, row, event, same, new)
        row["timestamp"] = float(known)
        if same:
            series.rows[-1] = row
        else:
            series.times.append(known)
            series.rows.append(row)

    def _totals(self, stream: Stream, row: dict[str, float], event: "_Event", *_: bool) -> None:
        """The row of a stream of all kinds with one more event."""
        for each in self.measures[stream]:
            now = row.get(each.column, NOTHING if each.what == "h" else 0.0)
            if each.kind in event.kinds:
                valued = event.value is not None
                now = {"n": now + 1, "v": now + valued, "t": now + (event.value or 0.0), "h": float(event.timestamp)}[each.what]
            row[each.column] = now

    def _of_one_kind(self, stream: Stream, row: dict[str, float], event: "_Event", same: bool, new: bool) -> None:
        age = event.timestamp - row.get("happened", float(event.timestamp))
        for place, half in enumerate(self.decays[stream]):
            row[f"d{place}"] = row.get(f"d{place}", 0.0) * 2.0 ** (-age / half) + 1.0
        earlier = row.get("latest", NOTHING) if same else NOTHING
        row["latest"] = earlier if event.value is None else event.value if math.isnan(earlier) else max(earlier, event.value)
        row |= {"happened": float(event.timestamp), "n": row.get("n", 0.0) + new}

    def _is_new(self, stream: Stream, key: Key, other: int, timestamp: int) -> bool:
        """Whether the other was never there before; of a window every time is kept, else the first."""
        times = self.others[stream].setdefault(key, {}).setdefault(other, [])
        new = not times
        if new or stream.window:
            times.append(timestamp)
        return new

    def _value(self, each: Feature, user: int, item: int, timestamp: int) -> float:
        keys = self._keys(stream_of(each), user, item)
        found = [value for key in keys if (value := self._of_key(each, key, timestamp)) == value]
        return sum(found) / len(found) if found else NOTHING

    def _of_key(self, each: Feature, key: Key, timestamp: int) -> float:
        if each.aggregation == "distinct" and each.window:
            stream = stream_of(each)
            first, last = timestamp - stream.delay - stream.window, timestamp - stream.delay
            seen = self.others[stream].get(key, {}).values()
            return float(sum((place := bisect_left(times, last)) > 0 and times[place - 1] >= first for times in seen))
        now, *then = (self._row(lookup, key, timestamp) for lookup in lookups_of(each))

        def total(what: str, kind: str) -> float:
            column = Measure(what, kind).column
            return now.get(column, 0.0) - sum(row.get(column, 0.0) for row in then)

        begin = timestamp - round(each.window * DAY) if each.window else -math.inf
        match each.aggregation:
            case "count":
                return total("n", each.events)
            case "distinct":
                return now.get("n", 0.0)
            case "mean":
                return total("t", each.events) / valued if (valued := total("v", each.events)) > 0 else NOTHING
            case "rate":
                return total("n", each.of) / shown if (shown := total("n", each.events)) > 0 else NOTHING
            case "recency":
                happened = now.get(Measure("h", each.events).column, NOTHING)
                return (timestamp - happened) / DAY if happened + round(each.delay * DAY) >= begin else NOTHING
            case "last":
                return now["latest"] if now and now["timestamp"] >= begin else NOTHING
        half = round((each.half_life or 0) * DAY)
        decayed = now.get(f"d{self.decays[stream_of(each)].index(half)}", 0.0)
        return decayed * 2.0 ** (-(timestamp - now.get("happened", 0.0)) / half) if now else 0.0

    def _row(self, lookup: Lookup, key: Key, timestamp: int) -> dict[str, float]:
        """Empty where there is nothing before."""
        series = self.series[lookup.stream].get(key)
        return (series.before(timestamp - lookup.offset) if series else None) or {}

    def _take(self, stream: Stream, rows: pa.Table, pairs: pa.Table) -> None:
        """State out of tables, as `known_at` and `_rows` make them."""
        for row in rows.to_pylist():
            series = self.series[stream].setdefault(tuple(row.pop(key) for key in stream.keys), _Series())
            series.times.append(row["timestamp"])
            series.rows.append({name: NOTHING if value is None else float(value) for name, value in row.items()})
        for row in pairs.to_pylist():
            key = tuple(row[name] for name in stream.keys)
            self.others[stream].setdefault(key, {}).setdefault(row["other"], []).append(row["timestamp"])

    def _rows(self, stream: Stream) -> tuple[pa.Table, pa.Table]:
        columns = ["timestamp", *stream_columns(self.definitions, stream)]
        rows: dict[str, list[Any]] = {name: [] for name in (*stream.keys, *columns)}
        for key, series in self.series[stream].items():
            for time, row in zip(series.times, series.rows, strict=True):
                told = dict(zip(stream.keys, key, strict=True)) | {name: row.get(name, 0.0) for name in columns}
                for name, value in (told | {"timestamp": time}).items():
                    rows[name].append(None if value != value else value)
        pairs: dict[str, list[int]] = {name: [] for name in (*stream.keys, "other", "timestamp")}
        for key, seen in self.others[stream].items():
            for other, times in seen.items():
                for time in times:
                    for name, value in zip(pairs, (*key, other, time), strict=True):
                        pairs[name].append(value)
        kinds = {name: pa.int64() if name in (*stream.keys, "timestamp") else pa.float64() for name in rows}
        return (
            pa.table({name: pa.array(values, kinds[name]) for name, values in rows.items()}),
            pa.table({name: pa.array(values, pa.int64()) for name, values in pairs.items()}),
        )


def _by_item(table: pa.Table) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for item, group in zip(table["item_code"].to_pylist(), table["grp"].to_pylist(), strict=True):
        found.setdefault(item, []).append(group)
    return found
