"""Indexes on disk: what FAISS writes, a table of items, and a manifest that says what they are and is read first.

The files carry the beginning of their hash in their names, and the manifest, which is replaced in one step, names them. So whoever opens
the folder finds the old index or the new one, whole, whenever the writer was stopped.
"""

import datetime
import hashlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from workbench.errors import RequestError, WorkError
from workbench.files import whole_file, write_json
from workbench.retrieval.config import IndexConfig, mended
from workbench.retrieval.index import VectorIndex, as_table, digests_of
from workbench.retrieval.recall import Recall

MANIFEST = "manifest.json"
OURS = re.compile(r"(index|items)-[0-9a-f]{12}\.bin|\.((index|items)-[0-9a-f]{12}\.bin|manifest\.json)\.\d+\.partial")
WRITTEN = ("index", "items")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    model: str
    """Whose vectors: the model's name, or the id of the run that trained it."""
    snapshot: str
    """The data set whose items they are, as `Snapshot.id` has it."""
    config: IndexConfig
    n_items: int
    dimensions: int
    vectors_sha256: str
    """Of every item's vector; the same vectors, the same hash."""
    recall: Recall | None
    """When cells and codes were learnt; None where it was not measured."""
    last_recall: Recall | None
    """When the index last took in the catalogue."""
    built: str
    """When cells and codes were learnt; ISO 8601, UTC."""
    n_built: int
    """Items there were then."""
    refreshed: str
    """When the index last took in the catalogue; ISO 8601, UTC."""
    sha256: dict[str, str] = field(default_factory=dict)
    """Of the files "index" and "items"."""


@dataclass(frozen=True, eq=False)
class StoredIndex:
    index: VectorIndex
    item_ids: tuple[str, ...]
    """The item's id at each place of the index; "" at a dead place whose item was gone when it was last refreshed."""
    manifest: Manifest


def vectors_sha256(items: Tensor | np.ndarray[Any, Any], digests: np.ndarray[Any, Any]) -> str:
    """items, digests: int64 (n,); in any order."""
    codes = np.asarray(items)
    order = np.argsort(codes)
    return hashlib.sha256(codes[order].astype("<i8").tobytes() + digests[order].astype("<i8").tobytes()).hexdigest()


def save_index(
    folder: Path,
    index: VectorIndex,
    item_ids: Sequence[str],
    *,
    model: str,
    snapshot: str,
    recall: Recall | None = None,
    since: Manifest | None = None,
) -> Manifest:
    """Write the index into `folder`, which is made if need be; what is there is replaced once the new one is whole.

    item_ids: the ids by code. recall: as it is now. since: what the index was when it had these cells and codes before; None: they are new.

    Raises RequestError for an item without an id.
    """
    if len(index.items) and int(index.items.max()) >= len(item_ids):
        raise RequestError(f"item {int(index.items.max())} of the index has no id: there are {len(item_ids):,}.")
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    alive = index.alive
    table = pa.table(
        {
            "item_id": [item_ids[code] if code >= 0 else "" for code in index.items.tolist()],
            "item_code": index.items,
            "alive": alive,
            "digest": index.digests,
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    content = {"index": faiss.serialize_index(index.index).tobytes(), "items": buffer.getvalue()}
    manifest = Manifest(
        model=model,
        snapshot=snapshot,
        config=index.config,
        n_items=len(index),
        dimensions=index.dimensions,
        vectors_sha256=vectors_sha256(index.items[alive], index.digests[alive]),
        recall=since.recall if since else recall,
        last_recall=recall,
        built=since.built if since else now,
        n_built=since.n_built if since else len(index),
        refreshed=now,
        sha256={name: hashlib.sha256(part).hexdigest() for name, part in content.items()},
    )
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        for name, part in content.items():
            with whole_file(folder / _file(name, manifest.sha256[name])) as path:
                path.write_bytes(part)
        with whole_file(folder / MANIFEST) as path:
            write_json(path, asdict(manifest))
        kept = {_file(name, manifest.sha256[name]) for name in WRITTEN}
        for path in folder.iterdir():  # older files, and what writers that were killed had begun
            if OURS.fullmatch(path.name) and path.name not in kept:
                path.unlink()
    return manifest


def open_index(folder: Path, *, snapshot: str | None = None, vectors: Tensor | None = None) -> StoredIndex:
    """The index in `folder`.

    snapshot: what it must have been made for. vectors: float (n_items, d), the model's vectors by code, which it must have been made of.

    Raises RequestError for no index, and one of another snapshot or of other vectors; WorkError for a damaged file, with both hashes.
    """
    manifest, content = _contents(folder, read_manifest(folder))
    if snapshot not in (None, manifest.snapshot):
        raise RequestError(f"{folder} is an index of {manifest.snapshot}, not of {snapshot}: refresh it, or build it anew.")
    table = pq.read_table(io.BytesIO(content["items"]))
    columns = {name: table[name].to_numpy() for name in ("item_code", "alive", "digest")}
    index = VectorIndex(
        manifest.config,
        mended(faiss.deserialize_index(np.frombuffer(content["index"], np.uint8))),
        columns["item_code"],
        columns["alive"],
        columns["digest"],
    )
    stored = StoredIndex(index, tuple(table["item_id"].to_pylist()), manifest)
    if vectors is not None:
        found = digests_of(as_table(vectors, manifest.config, manifest.dimensions))
        if vectors_sha256(np.arange(len(found)), found) != manifest.vectors_sha256:
            raise RequestError(f"{folder} was made of other vectors of {manifest.model} than these: refresh it, or build it anew.")
    return stored


def read_manifest(folder: Path) -> Manifest:
    """Raises RequestError where there is none, WorkError for one that cannot be read."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return TypeAdapter(Manifest).validate_python(found)
    except FileNotFoundError:
        raise RequestError(f"{folder} holds no index: it has no {MANIFEST}.") from None
    except (OSError, ValueError, ValidationError) as error:
        raise WorkError(f"{folder / MANIFEST} cannot be read: {' '.join(str(error).split())}.") from error


def _contents(folder: Path, manifest: Manifest) -> tuple[Manifest, dict[str, bytes]]:
    """The files, and the manifest that names them: another one where an index was replaced in the meantime, however often."""
    while True:
        try:
            return manifest, {name: _whole(folder, name, manifest) for name in WRITTEN}
        except FileNotFoundError as error:
            newer = read_manifest(folder)
            if newer == manifest:
                raise WorkError(f"{error.filename} is lost, and {MANIFEST} names it. Build the index anew.") from None
            manifest = newer


def _file(name: str, sha256: str) -> str:
    return f"{name}-{sha256[:12]}.bin"


def _whole(folder: Path, name: str, manifest: Manifest) -> bytes:
    expected = manifest.sha256.get(name, "")
    path = folder / _file(name, expected)
    content = path.read_bytes()
    if (actual := hashlib.sha256(content).hexdigest()) != expected:
        raise WorkError(f"{path} is damaged: it hashes to {actual[:12]}…, {MANIFEST} says {expected[:12]}…. Build the index anew.")
    return content
