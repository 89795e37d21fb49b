"""Features of many requests at once, each at its own moment."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from workbench.errors import RequestError, unknown
from workbench.features.definition import KINDS, Feature, check_features
from workbench.features.engines import DuckDb, Engine, opened
from workbench.features.sql import Lookup, Stream, expression, group_table, half_lives, lookups_of, stream_of, stream_sql
from workbench.features.tables import Asked, Tables

HOUR = 3_600_000_000
COLUMNS = ("timestamp", "happened", "n", "total", "valued", "latest", "fresh")


@dataclass(frozen=True, eq=False, repr=False)
class FeatureFrame:
    """A row for each pair asked for, a column for each definition, in their orders."""

    definitions: tuple[Feature, ...]
    values: Tensor
    """float64 (n, d); NaN where there is nothing to say. Of a category the number of its name, see `names`."""
    names: dict[str, tuple[str, ...]]
    """By category: its names, in the order of their numbers."""

    def __repr__(self) -> str:
        return f"FeatureFrame({len(self.values):,} rows, {len(self.definitions)} features)"

    def column(self, name: str) -> Tensor:
        """float64 (n,). Raises RequestError for a feature that is not here."""
        known = [each.name for each in self.definitions]
        if name not in known:
            raise unknown("feature", name, known)
        return self.values[:, known.index(name)]

    def select(self, rows: Tensor) -> "FeatureFrame":
        """These rows, int64 (m,), or bool (n,)."""
        return FeatureFrame(self.definitions, self.values[rows], self.names)

    def only(self, kept: Collection[str]) -> "FeatureFrame":
        """The features of these names, in the order they stand."""
        places = [place for place, each in enumerate(self.definitions) if each.name in kept]
        definitions = tuple(self.definitions[place] for place in places)
        return FeatureFrame(definitions, self.values[:, places], {name: self.names[name] for name in self.names if name in kept})


def build_features(
    definitions: Sequence[Feature],
    tables: Tables,
    asked: Asked,
    *,
    engine: str = "duckdb",
    allowed: Collection[str] = (),
    threads: int | None = None,
) -> FeatureFrame:
    """Each feature of each pair at its moment, made of events strictly before it.

    allowed: sensitive columns that may be learnt from, each named on purpose. Raises RequestError for definitions that cannot be made from
    these tables or look ahead, before anything is computed, and for a column handed over that is infinite.
    """
    check_against(definitions, tables, asked, allowed)
    made = [each for each in definitions if each.kinds]
    columns: dict[str, Tensor] = {}
    if made and len(asked):
        with opened(engine, threads) as running:
            columns = _columns(running.fetch(_query(running, made, tables, asked)), made)
    names: dict[str, tuple[str, ...]] = {}
    for each in definitions:
        if each.name not in columns:
            columns[each.name] = _without_events(each, tables, asked, names)
    found = [columns[each.name] for each in definitions]
    values = torch.stack(found, dim=1) if found else torch.empty(len(asked), 0, dtype=torch.float64)
    return FeatureFrame(tuple(definitions), values, names)


def check_against(definitions: Sequence[Feature], tables: Tables, asked: Asked | None = None, allowed: Collection[str] = ()) -> None:
    """Raises RequestError, naming the feature, for kinds of events, columns and groupings that these tables have not."""
    check_features(definitions, tables.privacy, allowed)
    types = tables.event_types
    for each in definitions:
        for kind in each.kinds:
            if kind not in KINDS and kind not in types:
                raise unknown(f"kind of events (feature {each.name})", kind, [*KINDS, *types])
        if each.group and each.group not in tables.groups:
            raise unknown(f"grouping of items (feature {each.name})", each.group, tables.groups)
        if each.aggregation == "attribute" and each.of not in (known := tables.columns_of(each.entity)):
            raise unknown(f"column of {each.entity}s (feature {each.name})", each.of, known)
        if each.aggregation == "given" and asked is not None:
            if each.of not in asked.given:
                raise unknown(f"column handed over with candidates (feature {each.name})", each.of, asked.given)
            check_given(each, asked.given[each.of], len(asked))


def check_given(each: Feature, values: Tensor, n: int) -> None:
    """Raises RequestError for a column handed over that has not a finite number, or NaN, for each of n candidates."""
    if values.shape != (n,):
        raise RequestError(f"the feature {each.name}: {each.of} has shape {tuple(values.shape)}; there are {n} candidates.")
    if values.isinf().any():
        raise RequestError(f"the feature {each.name}: {each.of} is infinite for a candidate; hand over NaN where there is nothing.")


def streams(definitions: Sequence[Feature]) -> list[Stream]:
    """Those the definitions read, each once."""
    return list(dict.fromkeys(stream_of(each, kind) for each in definitions for kind in each.kinds))


def stream_columns(definitions: Sequence[Feature], stream: Stream) -> list[str]:
    """Of the stream's table, without its keys."""
    if stream.distinct is not None:
        return ["timestamp", "n"]
    return [*COLUMNS, *(f"d{place}" for place in range(len(half_lives(definitions, stream))))]


def make_stream(engine: Engine, name: str, definitions: Sequence[Feature], stream: Stream) -> None:
    fresh = any(each.aggregation == "distinct" and not each.window and stream_of(each) == stream for each in definitions)
    engine.make(name, stream_sql(stream, half_lives(definitions, stream), fresh))


def _query(engine: Engine, definitions: Sequence[Feature], tables: Tables, asked: Asked) -> str:
    """Make what is needed on the way, and return SQL for place and the features, by place."""
    engine.register("events", tables.events)
    engine.register("asked", asked.table())
    for group in {each.group for each in definitions if each.group}:
        engine.register(group_table(group), tables.groups[group])
    named = {stream: f"stream_{place}" for place, stream in enumerate(streams(definitions))}
    for stream, name in named.items():
        make_stream(engine, name, definitions, stream)
    joins, columns = [], []
    for place, (entity, group) in enumerate(dict.fromkeys((each.entity, each.group) for each in definitions)):
        own = [each for each in definitions if (each.entity, each.group) == (entity, group)]
        _make_values(engine, f"values_{place}", own, named, definitions)
        same = ("place",) if entity == "user_group" else (*named_keys(own), "timestamp")
        joins.append(f" LEFT JOIN values_{place} AS v{place} ON {' AND '.join(f'a.{key} = v{place}.{key}' for key in same)}")
        columns += [f"v{place}.f{definitions.index(each)}" for each in own]
    return f"SELECT a.place, {', '.join(columns)} FROM asked AS a{''.join(joins)} ORDER BY a.place"


def named_keys(own: Sequence[Feature]) -> tuple[str, ...]:
    return stream_of(own[0]).keys


def _make_values(engine: Engine, name: str, own: Sequence[Feature], named: dict[Stream, str], definitions: Sequence[Feature]) -> None:
    """A table of the features of one entity: by its keys and the moment; of groups by the place of who asked."""
    first, keys = own[0], named_keys(own)
    grouped = first.entity == "user_group"
    pairs = (
        f"SELECT a.place, a.user_code, g.grp, a.timestamp FROM asked AS a JOIN {group_table(first.group)} AS g ON a.item_code = g.item_code"
    )
    wanted = f"wanted_{name}"
    engine.make(wanted, f"SELECT DISTINCT {', '.join(keys)}, timestamp FROM {f'({pairs}) AS p' if grouped else 'asked'}")
    at: dict[Lookup, str] = {}
    for each in own:
        for lookup in lookups_of(each):
            at.setdefault(lookup, f"l{len(at)}")
    asked = [(prefix, named[lookup.stream], lookup.offset, stream_columns(definitions, lookup.stream)) for lookup, prefix in at.items()]
    told = [f"{expression(each, at, half_lives(definitions, stream_of(each)))} AS f{definitions.index(each)}" for each in own]
    values = f"SELECT {', '.join(keys)}, timestamp, {', '.join(told)} FROM ({engine.as_of(wanted, keys, asked)}) AS l"
    if not grouped:
        engine.make(name, values)
        return
    engine.make(f"each_{name}", values)
    means = ", ".join(f"avg(v.f{definitions.index(each)}) AS f{definitions.index(each)}" for each in own)
    engine.make(
        name,
        f"SELECT p.place, {means} FROM ({pairs}) AS p JOIN each_{name} AS v "
        "ON p.user_code = v.user_code AND p.grp = v.grp AND p.timestamp = v.timestamp GROUP BY p.place",
    )


def _columns(table: pa.Table, definitions: Sequence[Feature]) -> dict[str, Tensor]:
    """By feature: float64, null as NaN."""
    found = {}
    for place, each in enumerate(definitions):
        column = table[f"f{place}"].cast(pa.float64()).combine_chunks().to_numpy(zero_copy_only=False)
        found[each.name] = torch.from_numpy(np.array(column, dtype=np.float64))
    return found


def _without_events(each: Feature, tables: Tables, asked: Asked, names: dict[str, tuple[str, ...]]) -> Tensor:
    """Of the moment, of what retrieval handed over, or of what is known of the person or item whenever."""
    if each.kinds:  # nobody asked
        return torch.empty(0, dtype=torch.float64)
    if each.aggregation == "given":
        return asked.given[each.of].double()
    if each.entity == "context":
        hours = asked.timestamps.div(HOUR, rounding_mode="floor")
        return (hours % 24 if each.aggregation == "hour" else (hours.div(24, rounding_mode="floor") + 3) % 7).double()
    codes = asked.users if each.entity == "user" else asked.items
    table, known = attribute(each, tables)
    if each.category:
        names[each.name] = known
    check_codes(each, codes, len(table))
    return table[codes]


def check_codes(each: Feature, codes: Tensor, n: int) -> None:
    """Raises RequestError for a code without a row of attributes."""
    strange = codes[(codes < 0) | (codes >= n)]
    if len(strange):
        raise RequestError(f"the feature {each.name}: there is no {each.entity} {int(strange[0])}; codes are from 0 to {n - 1}.")


def attribute(each: Feature, tables: Tables) -> tuple[Tensor, tuple[str, ...]]:
    """float64, a row for each person or item: the number in the column, or that of its name; and the names. NaN where there is none."""
    cells = tables.attributes[each.entity][each.of].to_pylist()
    if each.category:
        known = tuple(sorted({cell for cell in cells if cell}))
        numbers = {cell: float(place) for place, cell in enumerate(known)}
        return torch.tensor([numbers.get(cell or "", np.nan) for cell in cells], dtype=torch.float64), known
    return torch.tensor([_number(cell) for cell in cells], dtype=torch.float64), ()


def _number(cell: str | None) -> float:
    try:
        value = float(cell or "")
    except ValueError:
        return float("nan")
    return value if np.isfinite(value) else float("nan")


__all__ = ["DuckDb", "FeatureFrame", "build_features", "check_against"]
