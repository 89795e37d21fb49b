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

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


class Stream:
    """Rows by key and moment."""

    def __init__(self, keys: Codes, times: Codes, columns: Mapping[str, Floats]) -> None:
        """keys, times: int64 (rows,), by key and then by time; columns: float64 (rows,) each, NaN where there is nothing."""
        self.keys, starts = np.unique(keys, return_index=True)
        self.moments = np.unique(times)
        self.starts = np.append(starts, len(keys))
        self.width = len(self.moments) + 1
        number = np.repeat(np.arange(len(self.keys)), np.diff(self.starts))
        self.order = number * self.width + np.searchsorted(self.moments, times)
        self.times, self.columns = times, {name: np.append(column, np.nan) for name, column in columns.items()}

    def before(self, keys: Codes, moment: int) -> Codes:
        """int64 (n,): for each key the last row strictly before the moment; -1, which holds NaN, where there is none."""
        if not len(self.keys):
            return np.full(len(keys), -1)
        place = np.searchsorted(self.keys, keys)
        known = np.minimum(place, len(self.keys) - 1)
        rows: Codes = np.searchsorted(self.order, known * self.width + np.searchsorted(self.moments, moment)) - 1
        return np.where((self.keys[known] == keys) & (rows >= self.starts[known]), rows, -1)


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
        attributes = {}
        for of in ("user", "item"):
            table = pq.read_table(folder / f"attributes_{of}.parquet")
            attributes |= {name: table[name].to_numpy().astype(np.float64) for name in table.column_names}
        return cls(told, streams, groups, attributes)

    def values(self, user: int, items: Codes, moment: int, given: Mapping[str, Floats]) -> Floats:
        """float64 (n, d): a row for each of the items, the features in the plan's order. given: what retrieval hands over, float64 (n,).

        moment: microseconds since 1970 UTC, `since` or later: earlier the tables do not reach.
        """
        found = np.empty((len(items), len(self.features)))
        looked: dict[tuple[int, int], tuple[Stream, Codes]] = {}
        for place, each in enumerate(self.features):
            found[:, place] = self._value(each, user, items, moment, given, looked)
        return found

    def _value(self, each: Any, user: int, items: Codes, moment: int, given: Any, looked: Any) -> Any:
        match each["aggregation"]:
            case "given":
                return given[each["of"]]
            case "hour":
                return moment // HOUR % 24
            case "weekday":
                return (moment // HOUR // 24 + 3) % 7
            case "attribute":
                column = self.attributes[each["name"]]
                return column[items] if each["entity"] == "item" else column[user] if user >= 0 else np.nan
        values = self._of_keys(each, user, items, moment, looked)
        if each["entity"] != "user_group":
            return values
        groups, starts = self.groups[each["group"]]
        lengths = starts[items + 1] - starts[items]
        row = np.repeat(np.arange(len(items)), lengths)
        of_items = values[groups[np.arange(lengths.sum()) + np.repeat(starts[items] - (lengths.cumsum() - lengths), lengths)]]
        told = ~np.isnan(of_items)
        counts = np.bincount(row[told], minlength=len(items))
        with np.errstate(invalid="ignore"):
            return np.bincount(row[told], of_items[told], len(items)) / counts

    def _of_keys(self, each: Any, user: int, items: Codes, moment: int, looked: Any) -> Floats:
        """float64: one value, one for each item, or one for each group."""

        def rows(offset: int) -> tuple[Stream, Codes]:
            at = (each["stream"], offset)
            if at not in looked:
                stream = self.streams[each["stream"]]
                looked[at] = stream, stream.before(self._keys(each, user, items), moment - offset)
            return looked[at]

        def column(name: str, offset: int = 0) -> Floats:
            stream, places = rows(offset)
            return stream.columns[name][places]

        def total(name: str) -> Floats:
            now = np.nan_to_num(column(name))
            return now - np.nan_to_num(column(name, each["offset"])) if each["offset"] else now

        with np.errstate(invalid="ignore", divide="ignore"):
            return self._put_together(each, moment, column, total, rows)

    def _keys(self, each: Any, user: int, items: Codes) -> Codes:
        match each["entity"]:
            case "user":
                return np.array([user])
            case "item":
                return items
            case "user_item":
                return np.where(user < 0, -1, user * self.sizes["items"] + items)
        size = self.sizes["groups"][each["group"]]
        return np.arange(size) + user * size if user >= 0 else np.full(size, -1)

    def _put_together(self, each: Any, moment: int, column: Any, total: Any, rows: Any) -> Floats:
        names = each["columns"]
        match each["aggregation"]:
            case "count":
                return total(names[0])
            case "distinct":
                return np.nan_to_num(column(names[0]))
            case "mean" | "rate":  # the number above, the number below
                below = total(names[1])
                return np.where(below > 0, total(names[0]) / below, np.nan)
            case "recency":
                happened = column(names[0])
                inside = happened + each["delay"] >= moment - each["window"] if each["window"] else True
                return np.where(inside, (moment - happened) / DAY, np.nan)
            case "last":
                stream, places = rows(0)
                inside = np.append(stream.times, 0)[places] >= moment - each["window"] if each["window"] else True
                return np.where(inside & (places >= 0), column(names[0]), np.nan)
        return np.nan_to_num(column(names[1]) * 2.0 ** (-(moment - column(names[0])) / each["half_life"]))
