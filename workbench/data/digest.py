"""The canonical digest of a table: the same whatever program wrote the Parquet file, in whatever row groups."""

import hashlib
import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workbench.data.engine import file_literal

BATCH = 100_000
"""Rows held at once."""


def content_digest(connection: duckdb.DuckDBPyConnection, path: Path) -> str:
    """sha256 over names, types and every cell of a Parquet file whose rows stand in their canonical order, in one streaming pass.

    Each column is hashed on its own: cells of fixed width as their bytes, texts as lengths and bytes, and which cells are NULL. A column of
    a log is canonical because the rows are sorted by all columns, codes follow the order of ids, and -0.0 is stored as 0.0.
    """
    relation = connection.sql(f"SELECT * FROM read_parquet({file_literal(path)})")
    reader = relation.to_arrow_reader(BATCH)
    hashes: list[dict[str, Any]] = [{} for _ in reader.schema]
    for batch in reader:
        for column, parts in zip(batch.columns, hashes, strict=True):
            for part, content in _parts(column).items():
                parts.setdefault(part, hashlib.sha256()).update(content)
    described = [
        [field.name, str(field.type), {part: h.hexdigest() for part, h in parts.items()}]
        for field, parts in zip(reader.schema, hashes, strict=True)
    ]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _parts(column: pa.Array) -> dict[str, Any]:
    nulls = {"nulls": pc.is_null(column).to_numpy(zero_copy_only=False).tobytes()}
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        lengths = pc.fill_null(pc.binary_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
        return {**nulls, "lengths": lengths.tobytes(), "text": _text(column)}
    return {**nulls, "cells": pc.fill_null(column, 0).to_numpy(zero_copy_only=False).tobytes()}


def _text(column: pa.Array) -> memoryview:
    """The bytes of all texts one after another."""
    column = pc.fill_null(column, "")
    width = np.int32 if pa.types.is_string(column.type) else np.int64
    offsets = np.frombuffer(column.buffers()[1], dtype=width)[column.offset : column.offset + len(column) + 1]
    return memoryview(column.buffers()[2] or b"")[offsets[0] : offsets[-1]]
