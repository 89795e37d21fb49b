"""Bundles, written: what a system needs to answer without torch, and what says where it comes from."""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from workbench.data import Dataset, Interactions, Split
from workbench.environment import code_state, packages_hash
from workbench.files import sha256_of, write_json
from workbench.policy import Facts
from workbench.promotion.export import OPSET, RetrieverGraph, VectorGraph, export_ranker, export_retriever
from workbench.promotion.features import write_state
from workbench.promotion.golden import answered, golden_requests, write_golden
from workbench.promotion.graphs import Vectors, graph_of
from workbench.promotion.policy import check_servable, write_policy
from workbench.promotion.system import System
from workbench.ranking import AnyRanker, Calibrated, Platt, Trees
from workbench.retrieval import PersonVectors
from workbench.retrieval.config import KNOBS
from workbench.serving import Bundle
from workbench.serving.manifest import MANIFEST, SCHEMA
from workbench.serving.retrieve import session
from workbench.serving.verify import GOLDEN


def write_bundle(folder: Path, system: System, data: Dataset, parts: Split, *, surface: str, run: str = "") -> Bundle:
    """Into `folder`, which is made: everything but the decision, the card and what else is known later; see `finish`. Opened, to be tried.

    Raises NotApplicable or RequestError, with the reason, for a part that no bundle can hold, before anything is written; WorkError when a
    graph cannot be exported.
    """
    check_servable(system.spec.policy)
    graphs = [graph_of(_model_of(source)) for source in system.made.sources]
    folder.mkdir(parents=True)
    log = parts.train.plus(parts.valid).plus(parts.known).plus(parts.test)
    as_of = int(log.timestamps.max()) + 1 if len(log) else 0
    facts = Facts.of(data, parts.holdout("test"))
    _write_ids(folder, system, data, parts)
    _write_histories(folder, log, parts)
    told = {
        "schema": SCHEMA,
        "name": f"{data.name}/{surface}",
        "surface": surface,
        "items": data.n_items,
        "lists": {
            "k": system.spec.k,
            "repeats": parts.repeats,
            "served_by": system.title,
            "fallback": "popularity, the fallback",
        },
        "retriever": _write_retriever(folder, system, graphs),
        "ranker": _write_ranker(folder, system, as_of),
        "policy": bool(system.spec.policy.steps),
        "made": _origin(system, data, parts, as_of, run),
    }
    if told["policy"]:
        write_policy(folder / "policy", system.spec.policy, system.spec.policy_text, facts)
    told["inputs"] = {path.name: _inputs(path) for path in sorted(folder.glob("*.onnx"))}
    bundle = Bundle(folder, told)  # nothing to check it against yet
    requests = golden_requests(data, parts.fit_on, as_of, parts.seed)
    listed = answered(system, bundle, requests, facts, parts.fit_on.events_per_user > 0)
    write_golden(folder / GOLDEN, requests, listed, data.item_ids)
    write_manifest(folder, told)
    return Bundle.open(folder)


def write_manifest(folder: Path, told: Mapping[str, Any]) -> None:
    """With the hashes of all files as they are now."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    write_json(folder / MANIFEST, {**told, "sha256": {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}})


def _inputs(path: Path) -> list[dict[str, Any]]:
    found = session(path.read_bytes())
    return [
        {"name": each.name, "shape": [size if isinstance(size, int) else str(size or "any") for size in each.shape], "type": each.type}
        for each in found.get_inputs()
    ]


def _model_of(source: Any) -> Any:
    return source.model if isinstance(source, PersonVectors) else getattr(source, "scorer", None)


def _origin(system: System, data: Dataset, parts: Split, as_of: int, run: str) -> dict[str, Any]:
    return {
        "system": system.title,
        "run": run,
        "dataset": data.name,
        "snapshot": data.snapshot.id,
        "split": {**parts.parameters, "rule": parts.rule.text},
        "as_of": as_of,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "code": code_state(),
        "environment": packages_hash(),
        "opset": OPSET,
    }


def _write_ids(folder: Path, system: System, data: Dataset, parts: Split) -> None:
    counts = parts.fit_on.events_per_item
    order = parts.ties.argsort()
    popular = order[counts[order].argsort(descending=True, stable=True)].argsort()
    items = {"item_id": data.item_ids, "tie": system.ties.numpy(), "popularity_rank": popular.numpy()}
    pq.write_table(pa.table(items), folder / "items.parquet")
    users = {"user_id": data.user_ids, "trained": (parts.fit_on.events_per_user > 0).numpy()}
    pq.write_table(pa.table(users), folder / "users.parquet")


def _write_histories(folder: Path, log: Interactions, parts: Split) -> None:
    """learnt: the event taught a model, or had a say in a choice."""
    learnt = torch.isin(log.order, torch.cat([parts.train.order, parts.valid.order]))
    told = {
        "user_code": log.users.numpy(),
        "item_code": log.items.numpy(),
        "timestamp": log.timestamps.numpy(),
        "liked": log.positive.numpy(),
        "learnt": learnt.numpy(),
    }
    pq.write_table(pa.table(told), folder / "histories.parquet")


def _write_retriever(folder: Path, system: System, graphs: Sequence[nn.Module]) -> dict[str, Any]:
    sources = system.made.sources
    models = [_model_of(source) for source in sources]
    floors = [getattr(source, "floor", None) for source in sources]
    index = _write_index(folder, sources[0]) if isinstance(sources[0], PersonVectors) else None
    if index:
        assert isinstance(graphs[0], Vectors)
        export_retriever(folder / "retriever.onnx", VectorGraph(graphs[0]).eval())
    else:
        graph = RetrieverGraph(graphs, floors, system.ties, system.spec.candidates, scores=system.ranker is not None)
        export_retriever(folder / "retriever.onnx", graph.eval())
    told = [
        {"name": source.name, "title": getattr(model, "title", source.name), "personal": model.personal, "inductive": model.inductive}
        for source, model in zip(sources, models, strict=True)
    ]
    return {
        "file": "retriever.onnx",
        "sources": told,
        "depth": min(system.spec.candidates, len(system.ties)),
        "fallbacks": list(system.made.fusion().fallback),
        "together": True,
        "scores": system.ranker is not None,
        "index": index,
    }


def _write_index(folder: Path, source: PersonVectors) -> dict[str, Any]:
    index = source.index
    (folder / "index.faiss").write_bytes(faiss.serialize_index(index.index).tobytes())
    parameters = {KNOBS[name][0]: value for name, value in index.config.knobs.items()}
    return {"file": "index.faiss", "factory": index.config.factory, "metric": index.config.metric, "parameters": parameters}


def _write_ranker(folder: Path, system: System, as_of: int) -> dict[str, Any] | None:
    ranker = system.ranker
    if ranker is None:
        return None
    assert system.tables is not None
    names = [each.name for each in system.definitions]
    kind = export_ranker(folder / "ranker.onnx", ranker, list(ranker.names) if isinstance(ranker, Trees) else names)
    told: dict[str, Any] = {"since": as_of, "codes": _codes_of(ranker), "allowed": system.spec.sensitive}
    write_state(folder / "features", system.definitions, system.tables, **told)
    return {
        "file": "ranker.onnx",
        "title": ranker.title,
        "dtype": kind,
        "features": names,
        "calibration": _calibration(system.calibrated),
    }


def _codes_of(ranker: AnyRanker) -> dict[str, dict[str, float]]:
    """By feature that is a category: what its names are to the ranker."""
    categories, first = (ranker.categories, 0) if isinstance(ranker, Trees) else (ranker.inputs.categories, 1)
    return {name: {each: float(code) for code, each in enumerate(known, start=first)} for name, known in categories.items()}


def _calibration(found: Calibrated | None) -> dict[str, Any] | None:
    if found is None:
        return None
    if isinstance(found.scale, Platt):
        return {"method": "platt", "slope": found.scale.slope, "offset": found.scale.offset}
    return {"method": "isotonic", "scores": np.asarray(found.scale.scores).tolist(), "chances": np.asarray(found.scale.chances).tolist()}
