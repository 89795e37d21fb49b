"""Features of one request's candidates, out of tables of running totals; what `workbench.features` computes, with NumPy alone.

A stream is a table of a row for each key and moment, holding what is so from that moment on, strictly after it. A lookup is the last row
of a key before a moment.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

DAY = 86_400_000_000
"""In microseconds."""
HOUR = 3_600_000_000
PLAN = "features.json"
COUNTED = "nvt"
"""First letters of the columns of which nothing is 0: `workbench.features.sql` calls numbers of events, of values and their sums so."""

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


class Stream:
    """Rows by key and moment."""

    def __init__(self, keys: Codes, times: Codes, columns: Mapping[str, Floats]) -> None:
        """keys, times: int64 (rows,), by key and then by time; columns: float64 (rows,) each, NaN where there is nothing."""
        self.keys, starts = np.unique(keys, return_index=True)
        self.moments = np.unique(times)
        self.latest = int(self.moments[-1]) if len(self.moments) else 0
        self.starts = np.append(starts, len(keys))
        self.width = len(self.moments) + 1
        number = np.repeat(np.arange(len(self.keys)), np.diff(self.starts))
        self.order = number * self.width + np.searchsorted(self.moments, times)
        self.times = np.append(times, 0)
        self.numbers = {name: number for number, name in enumerate(columns)}
        self.table = np.column_stack([_with_none(name, column) for name, column in columns.items()])
        """float64 (rows + 1, columns); the last row is for no row."""
        self.places, self.lasts = self._places(), self.starts[1:] - 1

    def _places(self) -> Codes | None:
        """int64: the place of each key from 0 on, -1 for one that has no row; None where keys are far apart."""
        if not len(self.keys) or self.keys[0] < 0 or self.keys[-1] > 8 * len(self.keys) + 1024:
            return None
        found = np.full(int(self.keys[-1]) + 1, -1)
        found[self.keys] = np.arange(len(self.keys))
        return found

    def before(self, keys: Codes, moment: int) -> Codes:
        """int64 (n,): for each key the last row strictly before the moment; -1, which holds nothing, where there is none."""
        if not len(self.keys):
            return np.full(len(keys), -1)
        if self.places is not None and len(keys) and keys[0] >= 0 and int(keys.max()) < len(self.places):
            known = self.places[keys]
            there = known >= 0
        else:
            known = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
            there = self.keys[known] == keys
        if moment > self.latest:
            rows: Codes = self.lasts[known]
        else:
            rows = _placed(self.order, known * self.width + np.searchsorted(self.moments, moment)) - 1
            there = there & (rows >= self.starts[known])
        return rows if there.all() else np.where(there, rows, -1)


def _placed(order: Codes, sought: Codes) -> Codes:
    """As searchsorted; asked in ascending order, which goes through a long table once."""
    ascending = sought.argsort()
    found = np.empty_like(sought)
    found[ascending] = np.searchsorted(order, sought[ascending])
    return found


def _with_none(name: str, column: Floats) -> Floats:
    """And at the end what holds where there is no row: nothing was counted, or nothing can be said."""
    if name[0] in COUNTED:
        return np.append(np.nan_to_num(column), 0.0)
    return np.append(column, np.nan)


class State:
    """What features need of the past. People and items by the codes of the data they are of; a person of code -1 is nobody."""

    def __init__(
        self, told: Mapping[str, Any], streams: Sequence[Stream], groups: Mapping[str, tuple[Codes, Codes]], attributes: Any
    ) -> None:
        """groups: by grouping, the groups of the items one after another, and where each item's begin. attributes: by feature, float64."""
        self.told, self.streams, self.groups, self.attributes = told, streams, groups, attributes
        self.features: list[dict[str, Any]] = told["features"]
        self.names = [each["name"] for each in self.features]
        self.since, self.sizes = int(told["since"]), told["sizes"]

    @classmethod
    def read(cls, folder: Path) -> "State":
        told = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        streams = []
        for number, each in enumerate(told["streams"]):
            table = pq.read_table(folder / f"stream_{number}.parquet")
            columns = {name: table[name].to_numpy().astype(np.float64) for name in each["columns"]}
            streams.append(Stream(table["key"].to_numpy(), table["timestamp"].to_numpy(), columns))
        groups = {}
        for number, name in enumerate(told["groups"]):
            table = pq.read_table(folder / f"groups_{number}.parquet")
            counts = np.bincount(table["item_code"].to_numpy(), minlength=told["sizes"]["items"])
            groups[name] = (table["grp"].to_numpy(), np.append(0, counts.cumsum()))
        attributes: dict[str, Floats] = {}
        for of in ("user", "item"):
            table = pq.read_table(folder / f"attributes_{of}.parquet")
            attributes |= {name: table[name].to_numpy().astype(np.float64) for name in table.column_names}
        return cls(told, streams, groups, attributes)

    def values(self, user: int, items: Codes, moment: int, given: Mapping[str, Floats]) -> Floats:
        """float64 (n, d): a row for each of the items, the features in the plan's order. given: what retrieval hands over, float64 (n,).

        moment: microseconds since 1970 UTC, `since` or later: earlier the tables do not reach.
        """
        found = np.empty((len(self.features), len(items)))
        request = _Request(self, user, items, moment)
        with np.errstate(invalid="ignore", divide="ignore"):
            for place, each in enumerate(self.features):
                found[place] = given[each["of"]] if each["aggregation"] == "given" else request.value(each)
        return found.T


class _Request:
    """One request's lookups, each made once."""

    def __init__(self, state: State, user: int, items: Codes, moment: int) -> None:
        self.state, self.user, self.items, self.moment = state, user, items, moment
        self.looked: dict[tuple[int, int], tuple[Codes, Floats]] = {}
        self.spread: dict[str, tuple[Codes, Codes, Codes]] = {}

    def value(self, each: Mapping[str, Any]) -> Any:
        """One number, or one for each item."""
        match each["aggregation"]:
            case "hour":
                return self.moment // HOUR % 24
            case "weekday":
                return (self.moment // HOUR // 24 + 3) % 7
            case "attribute":
                column = self.state.attributes[each["name"]]
                return column[self.items] if each["entity"] == "item" else column[self.user] if self.user >= 0 else np.nan
        values = self._of_events(each)
        return self._over_groups(each["group"], values) if each["entity"] == "user_group" else values

    def _over_groups(self, name: str, values: Floats) -> Floats:
        """Of each item the mean over its groups that have a value. values: float64 (groups,)."""
        if name not in self.spread:
            groups, starts = self.state.groups[name]
            first, lengths = starts[self.items], starts[self.items + 1] - starts[self.items]
            row = np.repeat(np.arange(len(self.items)), lengths)
            self.spread[name] = groups[np.arange(lengths.sum()) + np.repeat(first - (lengths.cumsum() - lengths), lengths)], row, lengths
        groups_of, row, lengths = self.spread[name]
        told = ~np.isnan(values)
        sums = np.bincount(row, np.where(told, values, 0.0)[groups_of], len(lengths))
        return sums / (lengths if told.all() else np.bincount(row, told[groups_of], len(lengths)))

    def _rows(self, each: Mapping[str, Any], offset: int) -> tuple[Codes, Floats]:
        """Of the feature's stream: which rows, and what they say, (n, columns)."""
        at = (each["stream"], offset)
        if at not in self.looked:
            stream = self.state.streams[each["stream"]]
            rows = stream.before(self._keys(each), self.moment - offset)
            self.looked[at] = rows, stream.table[rows]
        return self.looked[at]

    def _keys(self, each: Mapping[str, Any]) -> Codes:
        user, sizes = self.user, self.state.sizes
        match each["entity"]:
            case "user":
                return np.array([user])
            case "item":
                return self.items
            case "user_item":
                return self.items + user * sizes["items"] if user >= 0 else np.full(len(self.items), -1)
        size = sizes["groups"][each["group"]]
        return np.arange(size) + user * size if user >= 0 else np.full(size, -1)

    def _of_events(self, each: Mapping[str, Any]) -> Floats:
        """float64: one value, one for each item, or one for each group."""
        stream, moment = self.state.streams[each["stream"]], self.moment
        rows, table = self._rows(each, 0)
        one, *other = (stream.numbers[name] for name in each["columns"])
        first: Floats = table[:, one]
        match each["aggregation"]:
            case "count" | "distinct":
                return first - self._rows(each, each["offset"])[1][:, one] if each["offset"] else first
            case "mean" | "rate":  # the number above, the number below
                below = table[:, other[0]]
                if each["offset"]:
                    then = self._rows(each, each["offset"])[1]
                    first, below = first - then[:, one], below - then[:, other[0]]
                return np.where(below > 0, first / below, np.nan)
            case "recency":
                found: Floats = (moment - first) / DAY
                return np.where(first + each["delay"] >= moment - each["window"], found, np.nan) if each["window"] else found
            case "last":
                return np.where(stream.times[rows] >= moment - each["window"], first, np.nan) if each["window"] else first
        decayed: Floats = table[:, other[0]] * np.exp2((first - moment) / each["half_life"])
        return np.where(np.isnan(decayed), 0.0, decayed)
