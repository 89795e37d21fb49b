"""What a bundle needs to compute features: definitions and the state they are read from, as tables for `workbench.serving.features`."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workbench.features import Feature, Tables
from workbench.features.build import attribute, check_against, streams
from workbench.features.definition import DAY
from workbench.features.engines import opened
from workbench.features.sql import Measure, Stream, group_table, half_lives, lookups_of, stream_columns, stream_of
from workbench.features.state import rows_sql
from workbench.files import write_json
from workbench.serving.features import PLAN


def write_state(
    folder: Path,
    definitions: Sequence[Feature],
    tables: Tables,
    *,
    since: int | None = None,
    codes: Mapping[str, Mapping[str, float]] | None = None,
    allowed: Collection[str] = (),
) -> None:
    """All that requests at `since`, microseconds since 1970 UTC, or later can ask of all events; None: requests at any moment.

    codes: by feature that is a category, what its names are to the ranker; a name that is not there is NaN. Raises RequestError as
    `build_features` does.
    """
    check_against(definitions, tables, allowed=allowed)
    folder.mkdir(parents=True)
    groups = sorted({each.group for each in definitions if each.group})
    n_groups = {name: int(pc.max(tables.groups[name]["grp"]).as_py() or 0) + 1 for name in groups}
    n_items = _codes_of(tables, "item")
    read = streams(definitions)
    with opened("duckdb") as engine:
        engine.register("events", tables.events)
        for name in groups:
            engine.register(group_table(name), tables.groups[name])
            ordered = tables.groups[name].sort_by([("item_code", "ascending"), ("grp", "ascending")])
            pq.write_table(ordered, folder / f"groups_{groups.index(name)}.parquet")
        for number, stream in enumerate(read):
            pq.write_table(_rows(engine, definitions, stream, since, n_items, n_groups), folder / f"stream_{number}.parquet")
    for of in ("user", "item"):
        told = {
            each.name: _attribute(each, tables, codes or {}) for each in definitions if (each.entity, each.aggregation) == (of, "attribute")
        }
        pq.write_table(pa.table(told), folder / f"attributes_{of}.parquet")
    plan = {
        "since": -(2**62) if since is None else since,
        "sizes": {"items": n_items, "users": _codes_of(tables, "user"), "groups": n_groups},
        "groups": groups,
        "streams": [{"columns": stream_columns(definitions, stream)} for stream in read],
        "features": [_planned(each, definitions, read) for each in definitions],
        "definitions": [each.model_dump() for each in definitions],
        "codes": {name: dict(known) for name, known in (codes or {}).items()},
    }
    write_json(folder / PLAN, plan)


def _codes_of(tables: Tables, of: str) -> int:
    if of in tables.attributes:
        return len(tables.attributes[of])
    return int(pc.max(tables.events[f"{of}_code"]).as_py() or 0) + 1


def _planned(each: Feature, definitions: Sequence[Feature], read: Sequence[Stream]) -> dict[str, Any]:
    """The definition, and where its numbers stand."""
    told: dict[str, Any] = {**each.model_dump(), "text": each.text}
    if not each.kinds:
        return told
    stream = stream_of(each)
    match each.aggregation:
        case "count":
            columns = [Measure("n", each.events).column]
        case "mean":
            columns = [Measure("t", each.events).column, Measure("v", each.events).column]
        case "rate":
            columns = [Measure("n", each.of).column, Measure("n", each.events).column]
        case "recency":
            columns = [Measure("h", each.events).column]
        case "decayed":
            half = round((each.half_life or 0) * DAY)
            columns = ["happened", f"d{half_lives(definitions, stream).index(half)}"]
            told["half_life"] = half
        case _:
            columns = stream_columns(definitions, stream)
    then = [lookup.offset for lookup in lookups_of(each)[1:]]
    times = {"window": round((each.window or 0) * DAY), "delay": round(each.delay * DAY)}
    return told | times | {"stream": read.index(stream), "columns": columns, "offset": then[0] if then else 0}


def _rows(
    engine: Any, definitions: Sequence[Feature], stream: Stream, since: int | None, n_items: int, n_groups: Mapping[str, int]
) -> pa.Table:
    """key, timestamp and the stream's columns, see `rows_sql`; the key is one number."""
    table = engine.fetch(rows_sql(definitions, stream, since))
    own_keys = [table[name].to_numpy().astype(np.int64) for name in stream.keys]
    size = n_items if stream.entity == "user_item" else n_groups.get(stream.group, 1)
    key = own_keys[0] if len(own_keys) == 1 else own_keys[0] * size + own_keys[1]
    told = {name: table[name].cast(pa.float64()) for name in stream_columns(definitions, stream)}
    return pa.table({"key": key, "timestamp": table["timestamp"].cast(pa.int64()), **told})


def _attribute(each: Feature, tables: Tables, codes: Mapping[str, Mapping[str, float]]) -> Any:
    """float64, by code of the person or item."""
    values, names = attribute(each, tables)
    if not each.category:
        return values.numpy()
    known = codes.get(each.name, {name: float(place) for place, name in enumerate(names)})
    table = np.array([*(known.get(name, np.nan) for name in names), np.nan])
    return table[np.nan_to_num(values.numpy(), nan=len(names)).astype(int)]
