"""What a store of features needs of the past, and how that stands on disk."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workbench.errors import RequestError, WorkError
from workbench.features.build import streams
from workbench.features.definition import DAY, Feature
from workbench.features.engines import opened
from workbench.features.sql import Stream, group_table, source, stream_columns, stream_of, stream_sql
from workbench.features.tables import Tables
from workbench.files import publish_folder, sha256_of, write_json
from workbench.paths import checked_name

VERSION = 1
EMPTY = pa.table(
    {
        **{name: pa.array([], pa.int64()) for name in ("user_code", "item_code", "timestamp")},
        "value": pa.array([], pa.float64()),
        **{name: pa.array([], pa.bool_()) for name in ("acted", "liked", "disliked")},
        "event": pa.array([], pa.string()),
    }
)


def known_at(definitions: Sequence[Feature], tables: Tables, cutoff: int) -> dict[Stream, tuple[pa.Table, pa.Table]]:
    """For each stream what requests at `cutoff` or later can ask of the events before it: the rows that a window may begin after, and the
    last one before them; and who or what was there, where different ones are counted."""
    found = {}
    with opened("duckdb") as engine:
        engine.register("events", tables.events.filter(pc.less(tables.events["timestamp"], cutoff)))
        for name, table in tables.groups.items():
            engine.register(group_table(name), table)
        for stream in streams(definitions):
            keys = ", ".join(stream.keys)
            rows = EMPTY if stream.window else engine.fetch(rows_sql(definitions, stream, cutoff))
            counted = stream.what == "distinct"
            wanted = f"timestamp + {stream.delay} >= {cutoff - stream.window}" if stream.window else "TRUE"
            moments = "timestamp" if stream.window else "min(timestamp) AS timestamp"
            grouped = "" if stream.window else f" GROUP BY {keys}, {stream.other}"
            listed = ", ".join(dict.fromkeys((*stream.keys, f"{stream.other} AS other")))
            query = f"SELECT DISTINCT {listed}, {moments} FROM {source(stream)} WHERE {wanted if counted else 'FALSE'}{grouped}"
            found[stream] = (rows, engine.fetch(f"{query} ORDER BY {keys}, other, timestamp"))
    return found


def rows_sql(definitions: Sequence[Feature], stream: Stream, since: int | None) -> str:
    """SQL for a stream's rows, by key and time: those that requests at `since` or later may look up, which a window may begin after, and
    the last one before them; None: all.
    """
    keys, columns = ", ".join(stream.keys), ", ".join(["timestamp", *stream_columns(definitions, stream)])
    query = f"SELECT DISTINCT {keys}, {columns} FROM ({stream_sql(definitions, stream)}) AS d"
    if since is not None:
        own = [each for each in definitions if each.kinds and stream_of(each) == stream]
        first = since - max((round((each.window or 0) * DAY) for each in own), default=0)
        later = f"lead(timestamp) OVER (PARTITION BY {keys} ORDER BY timestamp)"
        marked = f"SELECT *, {later} AS later FROM ({query}) AS u"
        query = f"SELECT {keys}, {columns} FROM ({marked}) AS s WHERE coalesce(later, {first}) >= {first}"
    return f"{query} ORDER BY {keys}, timestamp"


def write_state(folder: Path, told: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> Path:
    """A folder of `features.json` and Parquet, there whole or not at all. Raises RequestError where there is one of the name."""
    if folder.exists():
        raise RequestError(f"there is a folder {folder.name} already: features are written to a new one.")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        for name, table in tables.items():
            pq.write_table(table, partial / f"{name}.parquet")
        files = {path.name: sha256_of(path) for path in sorted(partial.iterdir())}
        write_json(partial / "features.json", {"version": VERSION, "files": files, **told})
        publish_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def read_state(folder: Path) -> tuple[dict[str, Any], dict[str, pa.Table]]:
    """What `write_state` was told, and its tables. Raises WorkError for a folder that is none of ours, is damaged, or is of a newer
    version."""
    try:
        told: dict[str, Any] = json.loads((folder / "features.json").read_text(encoding="utf-8"))
        if told["version"] != VERSION:
            raise WorkError(f"{folder.name} has features of version {told['version']}; this workbench reads {VERSION}.")
        tables = {}
        for file, expected in told["files"].items():
            name = checked_name("file", file.removesuffix(".parquet"))
            if (actual := sha256_of(folder / f"{name}.parquet")) != expected:
                raise WorkError(f"the features in {folder.name} are damaged: {file} hashes to {actual[:12]}, not {expected[:12]}.")
            tables[name] = pq.read_table(folder / f"{name}.parquet")
    except (OSError, KeyError, ValueError, TypeError, AttributeError, pa.ArrowException) as error:
        raise unreadable(folder, error) from None
    return told, tables


def unreadable(folder: Path, error: Exception) -> WorkError:
    return WorkError(f"the features in {folder.name} cannot be read: {' '.join(str(error).split())}.")
