"""What features are made of, as Arrow tables: events, what is known of people and items, which item is in which group."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from workbench.data import Dataset, grouping, groups
from workbench.data.card import any_of
from workbench.errors import NotApplicable, RequestError

COLUMNS = ("user_code", "item_code", "timestamp", "value", "acted", "liked", "disliked", "event")


@dataclass(frozen=True, eq=False)
class Tables:
    events: pa.Table
    """user_code, item_code, timestamp: int64, microseconds since 1970 UTC; value: float64 or null; acted, liked, disliked: bool; event:
    text or null."""
    attributes: Mapping[str, pa.Table] = field(default_factory=dict)
    """Of "user" and "item": the code and columns of text; one row each, for every code from 0 on."""
    groups: Mapping[str, pa.Table] = field(default_factory=dict)
    """By grouping of items: item_code, grp, int64; a row for each group an item is in."""
    privacy: Mapping[str, str] = field(default_factory=dict)
    """The class of each column and grouping."""

    def __post_init__(self) -> None:
        """Raises RequestError for a key or moment that is missing, a value that is infinite, and attributes that are not of codes from 0
        on. A value that is no number is none.
        """
        values = self.events["value"]
        missing = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
        object.__setattr__(self, "events", self.events.set_column(self.events.column_names.index("value"), "value", missing))
        object.__setattr__(self, "attributes", {of: _by_code(of, table) for of, table in self.attributes.items()})
        for name in ("user_code", "item_code", "timestamp"):
            if self.events[name].null_count:
                raise RequestError(f"{self.events[name].null_count:,} events have no {name}: set them apart before features are made.")
        infinite = pc.sum(pc.is_inf(self.events["value"])).as_py() or 0
        if infinite:
            raise RequestError(f"{infinite:,} events have an infinite value: set them apart before features are made.")

    @classmethod
    def of(cls, data: Dataset) -> "Tables":
        """All of a data set, every event of it: what is later than a request is left out when features are made.

        Raises NotApplicable for a log without times.
        """
        if not data.snapshot.has_times:
            raise NotApplicable(f"features need times, and {data.name} has none.")
        meaning = data.card.meaning
        query = f"""
            SELECT CAST(user_code AS BIGINT) AS user_code, CAST(item_code AS BIGINT) AS item_code, timestamp, value,
                   NOT {any_of(meaning.exposure)} AS acted,
                   {any_of(meaning.positive)} AS liked,
                   {any_of(meaning.negative)} AS disliked,
                   event
            FROM coded_events"""
        with data.connect() as connection:
            events = connection.sql(query).to_arrow_table()
        return cls(
            events=events,
            attributes={of: _attributes(data, f"{of}s") for of in ("user", "item")},
            groups={name: item_groups(data, name) for name, by in data.card.slices.items() if by.table == "items"},
            privacy={**{name: data.card.privacy.get(by.column, "public") for name, by in data.card.slices.items()}, **data.card.privacy},
        )

    def columns_of(self, entity: str) -> list[str]:
        """Attributes of users or items."""
        return [name for name in self.attributes[entity].column_names if name != f"{entity}_code"] if entity in self.attributes else []

    @property
    def event_types(self) -> list[str]:
        return sorted(kind for kind in pc.unique(self.events["event"]).to_pylist() if kind is not None)

    def extended(self, **columns: Any) -> "Tables":
        """With these events too; each column one value an event, `value`, flags and `event` as if somebody liked it where none is given."""
        n = len(columns["timestamp"])
        usual: dict[str, Any] = {"value": np.full(n, 5.0), "acted": [True] * n, "liked": [True] * n, "disliked": [False] * n}
        more = pa.table({**usual, "event": pa.nulls(n, pa.string()), **columns}).select(COLUMNS).cast(self.events.schema)
        return Tables(pa.concat_tables([self.events, more]), self.attributes, self.groups, self.privacy)


def _by_code(entity: str, table: pa.Table) -> pa.Table:
    code = f"{entity}_code"
    ordered = table.sort_by(code)
    if ordered[code].to_pylist() != list(range(len(ordered))):
        raise RequestError(f"the attributes of {entity}s should have one row for each code from 0 on.")
    return ordered


def _attributes(data: Dataset, table: str) -> pa.Table:
    code = f"{table[:-1]}_code"
    names = [name for name in data.snapshot.columns(table) if name not in (code, f"{table[:-1]}_id")]
    rows = range(data.snapshot.rows(table))
    return pa.table({code: pa.array(rows, pa.int64()), **{name: pa.array(data.snapshot.cells(table, name), pa.string()) for name in names}})


def item_groups(data: Dataset, name: str) -> pa.Table:
    """item_code, grp: which groups of this grouping each item is in."""
    found = list(groups(data, grouping(data, name)).values())
    number = [torch.full_like(codes, place) for place, codes in enumerate(found)]
    return pa.table({"item_code": torch.cat(found).numpy(), "grp": torch.cat(number).numpy()})


@dataclass(frozen=True, eq=False)
class Asked:
    """n pairs of a request's person and a candidate, at the moment of the request."""

    users: Tensor
    """int64 (n,), codes."""
    items: Tensor
    """int64 (n,), codes."""
    timestamps: Tensor
    """int64 (n,), microseconds since 1970 UTC."""
    given: Mapping[str, Tensor] = field(default_factory=dict)
    """Columns that retrieval hands over, float (n,); NaN where there is none."""

    def __len__(self) -> int:
        return len(self.users)
