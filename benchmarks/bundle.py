"""A bundle's requests, from end to end, beside the bare calls inside them.

`python -m benchmarks.bundle` prints the table and writes benchmarks/results/bundle.json. One thread.

Two bundles of ML-1M (fetched by the first call), split as its card says. "trees": retrieval of 500 candidates by popularity, recent
popularity, item-kNN and EASE, 30-odd features of each at the moment of the request, LambdaRank trees, a policy (no more than 5 films of a
genre, then MMR), 20 places. "index": iALS's vectors in a flat FAISS index, 500 candidates, the same policy. A request is a person of the
log, at a moment of its own. Bare: the very same inputs handed to ONNX Runtime, and the very same vector to FAISS, nothing else done. Each
request is asked and its bare calls are made in turn, so that a machine that slows down slows both; the ratio is of the medians.

Cold: a new process opens the bundle and answers one request; another one imports torch, loads the same models out of what `save` wrote,
and nothing more. Peak memory is the process's own.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Row, write

REQUESTS, WARM, CANDIDATES, GOAL = 1000, 50, 500, 1.5
POLICY = '[[step]]\nkind = "cap"\nby = "genre"\nmost = 5\n\n[[step]]\nkind = "mmr"\nweight = 0.8\n'
SOURCES = "popularity, recent_popularity, item_knn, ease"
SYSTEMS: dict[str, dict[str, Any]] = {
    "trees": {"retriever": SOURCES, "ranker": "trees", "periods": 2, "policy": POLICY},
    "index": {"retriever": "ials", "index": "Flat", "policy": POLICY},
}
COLD_BUNDLE = """
import sys, time
start = time.perf_counter()
from workbench.serving import Bundle, Request
bundle = Bundle.open(sys.argv[1])
loaded = time.perf_counter() - start
bundle.recommend(Request(user_id=bundle.user_ids[0]))
from benchmarks.report import peak_memory
print(loaded, peak_memory())
"""
COLD_TORCH = """
import sys, time
from pathlib import Path
start = time.perf_counter()
import torch
from workbench.models import MODELS
from workbench.ranking import Trees
folder = Path(sys.argv[1])
models = [MODELS[path.name][0].load(path) for path in sorted(folder.iterdir()) if path.name in MODELS]
ranker = Trees.load(folder / "trees") if (folder / "trees").exists() else None
loaded = time.perf_counter() - start
from benchmarks.report import peak_memory
print(loaded, peak_memory())
"""


def main() -> None:
    os.environ.update({"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"})
    from workbench.data import load_dataset
    from workbench.data.snapshot import prepare
    from workbench.promotion import make_spec, train_system, write_bundle

    prepare("ml-1m")
    data = load_dataset("ml-1m")
    parts = data.split("default", seed=0)
    rows: list[Row] = []
    for name, told in SYSTEMS.items():
        trained = train_system(make_spec(candidates=CANDIDATES, **told), data, parts)
        with tempfile.TemporaryDirectory() as folder:
            write_bundle(Path(folder) / "bundle", trained.late, data, parts, surface="home_feed")
            for source in trained.late.made.sources:
                model = getattr(source, "scorer", getattr(source, "model", None))
                model.save(Path(folder) / "torch" / (source.name if told.get("ranker") else told["retriever"]))
            if trained.late.ranker is not None:
                trained.late.ranker.save(Path(folder) / "torch" / "trees")
            rows += _rows(name, Path(folder))
    write("bundle", rows)


def _rows(name: str, folder: Path) -> list[Row]:
    own = subprocess.run([sys.executable, "-m", "benchmarks.bundle", str(folder / "bundle")], check=True, capture_output=True, text=True)
    found = json.loads(own.stdout.splitlines()[-1])
    cold = {kind: _cold(code, folder / which) for kind, code, which in (("bundle", COLD_BUNDLE, "bundle"), ("torch", COLD_TORCH, "torch"))}
    size = f"ML-1M, {CANDIDATES} candidates, {name}"
    shown = {"goal": "", "met": None, "size": size}
    ratio = found["p50"] / found["bare"]
    return [
        Row(
            work="a request, p50, ms",
            ours=found["p50"],
            peer="its bare calls",
            peer_value=found["bare"],
            goal=f"at most {GOAL:g} times",
            met=ratio <= GOAL,
            size=size,
        ),
        Row(work="a request, p95, ms", ours=found["p95"], peer="the bare calls' p95", peer_value=found["bare_p95"], **shown),
        Row(work="a request, p99, ms", ours=found["p99"], peer="the bare calls' p99", peer_value=found["bare_p99"], **shown),
        Row(work="requests a second", ours=found["per_second"], peer="", peer_value=None, **shown),
        Row(work="CPU seconds, 1,000 requests", ours=found["cpu_per_1000"], peer="", peer_value=None, **shown),
        Row(work="cold load, s", ours=cold["bundle"][0], peer="torch, the same models", peer_value=cold["torch"][0], **shown),
        Row(work="peak memory after load, MB", ours=cold["bundle"][1], peer="torch, the same models", peer_value=cold["torch"][1], **shown),
    ]


def _cold(code: str, folder: Path) -> list[float]:
    done = subprocess.run([sys.executable, "-c", code, str(folder)], check=True, capture_output=True, text=True)
    return [float(each) for each in done.stdout.split()[-2:]]


def measure(folder: Path) -> dict[str, float]:
    """In a process without torch."""
    from workbench.serving import Bundle, Request

    bundle = Bundle.open(folder)
    draw = np.random.default_rng(0)
    as_of = int(bundle.manifest["made"]["as_of"])
    people = draw.integers(0, len(bundle.user_ids), REQUESTS + WARM)
    requests = [
        Request(user_id=bundle.user_ids[person], timestamp=as_of + int(after))
        for person, after in zip(people, draw.integers(0, 30 * 86_400_000_000, len(people)), strict=True)
    ]
    whole, bare, cpu = [], [], 0.0
    for number, request in enumerate(requests):
        if number % 2:  # what comes second finds this person's rows in the processor's cache: each comes first as often
            bare.append(_bare(bundle, bundle.encode(request)))
        start, busy = time.perf_counter(), time.process_time()
        bundle.recommend(request)
        end = time.perf_counter()
        cpu += (time.process_time() - busy) * (number >= WARM)
        whole.append(end - start)
        if not number % 2:
            bare.append(_bare(bundle, bundle.encode(request)))
    taken, inside = 1000 * np.array(whole[WARM:]), 1000 * np.array(bare[WARM:])
    p50, p95, p99 = np.quantile(taken, [0.5, 0.95, 0.99])
    return {
        "p50": p50,
        "p95": p95,
        "p99": p99,
        **dict(zip(("bare", "bare_p95", "bare_p99"), np.quantile(inside, [0.5, 0.95, 0.99]).tolist(), strict=True)),
        "per_second": 1000 / taken.mean(),
        "cpu_per_1000": 1000 * cpu / REQUESTS,
    }


def _bare(bundle: Any, asked: Any) -> float:
    """Seconds of ONNX Runtime's and FAISS's own calls for this request."""
    retriever, total = bundle.retriever, 0.0
    fed = retriever.fed([asked])
    start = time.perf_counter()
    found = retriever.session.run(None, fed)
    total += time.perf_counter() - start
    if retriever.index is not None:
        vector, depth = found[0], min(retriever.index.size, CANDIDATES + len(asked.seen))
        start = time.perf_counter()
        retriever.index.index.search(vector, depth)
        total += time.perf_counter() - start
    if bundle.ranker is not None:
        features = bundle.features(asked, retriever.candidates([asked])[0]).astype(bundle.ranker.kind)
        start = time.perf_counter()
        bundle.ranker.session.run(None, {bundle.ranker.input: features})
        total += time.perf_counter() - start
    return total


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(Path(sys.argv[1]))))
    else:
        main()
