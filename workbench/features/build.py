"""Features of many requests at once, each at its own moment."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from workbench.errors import RequestError, unknown
from workbench.features.definition import KINDS, Feature, check_features
from workbench.features.engines import Engine, opened
from workbench.features.sql import Lookup, Stream, expression, group_table, half_lives, lookups_of, stream_columns, stream_of, stream_sql
from workbench.features.tables import Asked, Tables

HOUR = 3_600_000_000


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
            columns = _made(running, made, tables, asked)
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
    return list(dict.fromkeys(stream_of(each) for each in definitions if each.kinds))


def _made(engine: Engine, definitions: Sequence[Feature], tables: Tables, asked: Asked) -> dict[str, Tensor]:
    """By feature made of events: float64 (n,). Each entity's are asked for once for each person and moment, or each pair."""
    engine.register("events", tables.events)
    for group in {each.group for each in definitions if each.group}:
        engine.register(group_table(group), tables.groups[group])
    named = {stream: f"stream_{place}" for place, stream in enumerate(streams(definitions))}
    for stream, name in named.items():
        engine.make(name, stream_sql(definitions, stream))
    run = _runs(asked)
    first = torch.nonzero(torch.diff(run, prepend=torch.tensor([-1])))[:, 0]
    engine.register("pairs", _asked_table(asked, torch.arange(len(asked)), run))
    engine.register("people", _asked_table(asked, first, run))
    found: dict[str, Tensor] = {}
    for place, (entity, group) in enumerate(dict.fromkeys((each.entity, each.group) for each in definitions)):
        own = [each for each in definitions if (each.entity, each.group) == (entity, group)]
        values = _values(engine, f"{place}", own, named, definitions, len(first) if entity == "user" else len(asked))
        found |= {each.name: column[run] if entity == "user" else column for each, column in zip(own, values, strict=True)}
    return found


def _runs(asked: Asked) -> Tensor:
    """int64 (n,): numbers of the stretches of one person at one moment, which a request's candidates are."""
    new = torch.ones(len(asked), dtype=torch.bool)
    new[1:] = (asked.users[1:] != asked.users[:-1]) | (asked.timestamps[1:] != asked.timestamps[:-1])
    return new.cumsum(0) - 1


def _asked_table(asked: Asked, rows: Tensor, run: Tensor) -> pa.Table:
    told = {"user_code": asked.users, "item_code": asked.items, "timestamp": asked.timestamps, "run": run}
    return pa.table({"place": np.arange(len(rows)), **{name: column[rows].numpy() for name, column in told.items()}})


def _values(
    engine: Engine, name: str, own: Sequence[Feature], named: dict[Stream, str], definitions: Sequence[Feature], n: int
) -> list[Tensor]:
    """float64 (n,) of each feature of one entity: a value for each person and moment, or for each pair."""
    keys, group = stream_of(own[0]).keys, own[0].group
    at: dict[Lookup, str] = {}
    for each in own:
        for lookup in lookups_of(each):
            at.setdefault(lookup, f"l{len(at)}")
    asked = []
    for lookup, prefix in at.items():
        columns = ["timestamp", *stream_columns(definitions, lookup.stream)]
        asked.append((prefix, named[lookup.stream], lookup.offset, columns))
    told = [f"{expression(each, at, half_lives(definitions, stream_of(each)))} AS f{place}" for place, each in enumerate(own)]
    wanted = "people" if own[0].entity == "user" else "pairs"
    if group:
        wanted = f"wanted_{name}"
        joined = f"pairs AS p JOIN {group_table(group)} AS g ON p.item_code = g.item_code"
        both = f"SELECT p.place, p.run, p.user_code, p.timestamp, g.grp FROM {joined}"
        engine.make(wanted, f"SELECT DISTINCT run AS place, user_code, timestamp, grp FROM ({both}) AS b")
    query = f"SELECT place{', grp' if group else ''}, {', '.join(told)} FROM ({engine.as_of(wanted, keys, asked)}) AS l"
    if group:
        engine.make(f"values_{name}", query)
        means = ", ".join(f"avg(v.f{place}) AS f{place}" for place in range(len(own)))
        query = f"SELECT b.place, {means} FROM ({both}) AS b JOIN values_{name} AS v ON b.run = v.place AND b.grp = v.grp GROUP BY b.place"
    table = engine.fetch(query)
    places = torch.from_numpy(table["place"].to_numpy().copy())
    found = []
    for place in range(len(own)):
        column = table[f"f{place}"].cast(pa.float64()).combine_chunks().to_numpy(zero_copy_only=False)
        found.append(torch.full((n,), torch.nan, dtype=torch.float64).index_copy_(0, places, torch.from_numpy(np.array(column))))
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
    return torch.tensor([number(cell) for cell in cells], dtype=torch.float64), ()


def number(cell: str | None) -> float:
    """NaN for a cell that is no finite number."""
    try:
        value = float(cell or "")
    except ValueError:
        return float("nan")
    return value if np.isfinite(value) else float("nan")
