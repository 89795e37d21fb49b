"""Indexes of a million items: what they find, how fast, in how much room, beside exact search, FAISS as it comes, `implicit` and hnswlib.

`python -m benchmarks.retrieval` prints the frontier and the table and writes benchmarks/results/retrieval.json. Two threads. Times are of
one run in which everything takes its turn; a machine that is slower is slower for all. hnswlib, which is compiled, goes into .venv-peers.

- Vectors: 1,000,000 × 64, from a seed. Directions: weakly clustered, 30 % of the variance is that of one of 1,000 centres and 70 % a
  point's own; along 64 rotated axes the variance falls as r^-0.6, of queries as r^-0.8. Lengths: log-normal with σ = 0.7, whose 90th
  percentile is 2.5 times the median as it is of iALS's factors of ML-1M, where lengths follow popularity (`--like` prints what that was
  taken from).
  Queries: 2,048 of the same kind. Inner product, not normalised.
- Exact: the faster of FAISS's Flat and of PyTorch's product with topk over blocks of 50,000 items, for batches and for single queries each.
- The index is chosen by `Frontier.choose` for recall@100 of at least .95 under a cap of 100 bytes an item; the goals are 10 times exact
  search's queries a second in batches of 256 and 30 times for single queries.
- As FAISS builds it: `index_factory`, trained on a uniform sample of the same size, searched with as many probes.
- Wrapper: `VectorIndex.search` for 256 people who had 100 items each, half of them the very best for them, against `index.search` alone,
  to the depth that the former asks for.
- implicit: `implicit.cpu.topk.topk`, exact. hnswlib: inner product, M = 16, ef_construction = 100, two threads.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import torch
from implicit.cpu.topk import topk as implicit_topk
from torch import Tensor

from benchmarks.peers import peers_python
from benchmarks.report import Row, write
from benchmarks.timing import seconds, taking_turns
from workbench.data import UserBatch, load_dataset
from workbench.models.ials import Ials
from workbench.retrieval import Frontier, IndexConfig, Measured, VectorIndex, measure
from workbench.retrieval.recall import overlap
from workbench.training.device import threads

ITEMS, QUERIES, DIMENSIONS, K, BATCH, SINGLES = 1_000_000, 2048, 64, 100, 256, 500
CENTRES, SHARED, SIGMA, FALL_ITEMS, FALL_QUERIES = 1000, 0.3, 0.7, 0.6, 0.8
CELLS = 2048
CAP = 100.0
BLOCK = 50_000
TURNS = 3
Floats = npt.NDArray[np.float32]


def skewed_vectors(n_items: int = ITEMS, n_queries: int = QUERIES, seed: int = 0) -> tuple[Tensor, Tensor]:
    """float32 (n_items, 64) and (n_queries, 64), as the module says."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((DIMENSIONS, DIMENSIONS)))[0].astype(np.float32)
    centres = rng.standard_normal((CENTRES, DIMENSIONS), dtype=np.float32)

    def points(n: int, fall: float) -> Floats:
        own = rng.standard_normal((n, DIMENSIONS), dtype=np.float32)
        mixed = SHARED**0.5 * centres[rng.integers(CENTRES, size=n)] + (1 - SHARED) ** 0.5 * own
        scale = np.arange(1, DIMENSIONS + 1, dtype=np.float32) ** (-fall / 2)
        return (mixed * scale @ axes).astype(np.float32)

    items = points(n_items, FALL_ITEMS)
    lengths = np.exp(SIGMA * rng.standard_normal((n_items, 1), dtype=np.float32))
    items = items / np.linalg.norm(items, axis=1, keepdims=True) * lengths
    return torch.from_numpy(items), torch.from_numpy(points(n_queries, FALL_QUERIES))


def configs() -> list[IndexConfig]:
    kinds = {"Flat": (128, 256, 416, 512), "SQ8": (64, 128, 256, 384, 416, 448, 512), "PQ64x4fs,RFlat": (256, 448)}
    found = [IndexConfig(), IndexConfig(factory="SQ8")]
    for codes, probes in kinds.items():
        refine = 4.0 if codes.endswith("RFlat") else None
        found += [IndexConfig(factory=f"IVF{CELLS},{codes}", probes=each, refine=refine) for each in probes]
    return [*found, *(IndexConfig(factory="HNSW32,SQ8", ef_search=each) for each in (128, 512))]


def by_torch(items: Tensor, queries: Tensor) -> Tensor:
    """int64 (n, K): exact search without FAISS."""
    found = [(queries @ block.T).topk(K) for block in items.split(BLOCK)]
    codes = torch.cat([each.indices + at * BLOCK for at, each in enumerate(found)], dim=1)
    return codes.gather(1, torch.cat([each.values for each in found], dim=1).topk(K).indices)


def exact(flat: Measured, items: Tensor, queries: Tensor) -> tuple[float, float, str]:
    """Queries a second in batches, milliseconds of a single one, and who: of the faster."""
    batches = min(seconds(lambda: by_torch(items, queries[:BATCH])) for _ in range(TURNS))
    single = min(seconds(lambda: by_torch(items, queries[:1])) for _ in range(3 * TURNS))
    quick = BATCH / batches > flat.queries_per_second
    return max(BATCH / batches, flat.queries_per_second), min(1000 * single, flat.p50_ms), "torch, exact" if quick else "FAISS Flat"


def frontier(items: Tensor, queries: Tensor) -> tuple[Frontier, dict[IndexConfig, VectorIndex]]:
    measured, indexes = [], {}
    wanted = by_torch(items, queries)
    for build in dict.fromkeys(config.build for config in configs()):
        spent = seconds(lambda: indexes.__setitem__(build, VectorIndex.build(items, build)))  # noqa: B023
        for config in configs():
            if config.build == build:
                indexes[build].set_knobs(config)
                found = measure(indexes[build], queries, wanted, spent, singles=40 if build.exact else SINGLES)
                measured.append(found)
                print(
                    f"{config!s:42} recall {found.recall:.4f}  {found.queries_per_second:8.0f} a second  p50 {found.p50_ms:6.2f} p95 "
                    f"{found.p95_ms:6.2f} p99 {found.p99_ms:6.2f} ms  {found.bytes_per_item:4.0f} bytes  built in {spent:.0f} s",
                    flush=True,
                )
        if build.factory.startswith("HNSW") or build.exact:
            del indexes[build]
    return Frontier(tuple(measured), K, "", len(items), len(queries)), indexes


def as_faiss_builds_it(config: IndexConfig, items: Tensor, queries: Tensor, wanted: Tensor) -> tuple[float, float]:
    """Recall and queries a second."""
    index = faiss.index_factory(DIMENSIONS, config.factory, faiss.METRIC_INNER_PRODUCT)
    faiss.extract_index_ivf(index).cp.min_points_per_centroid = 1
    sample = np.random.default_rng(0).choice(len(items), 50 * CELLS, replace=False)
    index.train(items.numpy()[sample])
    index.add(items.numpy())
    faiss.extract_index_ivf(index).nprobe = config.probes
    found: list[Any] = []
    blocks = queries.numpy().reshape(-1, BATCH, DIMENSIONS)
    spent = seconds(lambda: found.extend(index.search(block, K)[1] for block in blocks))
    return overlap(torch.from_numpy(np.concatenate(found)), wanted), len(queries) / spent


def wrapper(index: VectorIndex, queries: Tensor) -> Row:
    seen_each = 100
    best = index.search(queries[:BATCH], seen_each // 2)[0]
    others = torch.from_numpy(np.random.default_rng(1).integers(ITEMS, size=(BATCH, seen_each - best.shape[1])))
    items = torch.cat([best, others], dim=1).flatten()
    offsets = torch.arange(BATCH + 1) * seen_each
    seen = UserBatch(users=torch.arange(BATCH), items=items, timestamps=torch.zeros_like(items), offsets=offsets, n_items=ITEMS)
    asked, depth = queries[:BATCH], 2 * K  # K and 100 seen
    bare = asked.numpy()
    ours, theirs = taking_turns(
        lambda: seconds(lambda: index.search(asked, K, seen)), lambda: seconds(lambda: index.index.search(bare, depth)), turns=15
    )
    return Row(
        work="masks and ids",
        size=f"{BATCH} people, {seen_each} seen each, depth {depth}",
        ours=ours,
        peer="index.search alone",
        peer_value=theirs,
        goal="at most 1.15",
        met=ours / theirs <= 1.15,
    )


def peers(items: Tensor, queries: Tensor, wanted: Tensor, chosen: Measured) -> list[Row]:
    users, table = queries[:BATCH].numpy(), items.numpy()
    spent = min(seconds(lambda: implicit_topk(table, users, K, num_threads=2)) for _ in range(2))
    rows = [_second("implicit's topk, exact", chosen, BATCH / spent)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.npz"
        np.savez(path, items=table, queries=queries.numpy(), wanted=wanted.numpy(), batch=BATCH)
        script = Path(__file__).with_name("peers.py")
        done = subprocess.run([peers_python(), script, "hnswlib", path], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)["means"]
    for ef in (100, 400, 1600):
        told = f"hnswlib ef {ef}: recall {found[f'recall ef {ef}']:.3f}, built in {found['build']:.0f} s"
        rows += [_second(told, chosen, found[f"second ef {ef}"]), _single(told, chosen, found[f"single ms ef {ef}"])]
    return rows


def _second(peer: str, chosen: Measured, theirs: float, goal: float | None = None) -> Row:
    ratio = chosen.queries_per_second / theirs
    return Row(
        work="queries a second",
        size=f"batches of {BATCH}; {chosen.config}, recall {chosen.recall:.3f}",
        ours=chosen.queries_per_second,
        peer=peer,
        peer_value=theirs,
        goal=f"at least {goal:g}" if goal else "",
        met=ratio >= goal if goal else None,
    )


def _single(peer: str, chosen: Measured, theirs: float, goal: float | None = None) -> Row:
    return Row(
        work="one query, ms",
        size=f"median; {chosen.config}, recall {chosen.recall:.3f}",
        ours=chosen.p50_ms,
        peer=peer,
        peer_value=theirs,
        goal=f"at most 1/{goal:g}" if goal else "",
        met=theirs / chosen.p50_ms >= goal if goal else None,
    )


def _of(found: Measured, flat: Measured) -> Row:
    return Row(
        work=f"recall@{K}",
        size=f"{found.queries_per_second:,.0f} a second, p50 {found.p50_ms:.2f} p95 {found.p95_ms:.2f} p99 {found.p99_ms:.2f} ms, "
        f"{found.bytes_per_item:.0f} bytes, built in {found.build_seconds:.0f} s",
        ours=found.recall,
        peer=str(found.config),
        peer_value=flat.recall,
        goal="",
        met=None,
    )


def like() -> None:
    """What the generator was taken from."""
    parts = load_dataset("ml-1m").split()
    model = Ials().fit(parts.train)
    lengths, events = model.item_vectors().norm(dim=1), parts.train.events_per_item.float()
    had = events > 0
    quantiles = torch.quantile(lengths[had] / lengths[had].median(), torch.tensor([0.1, 0.5, 0.9, 0.99]))
    slope = np.polyfit(events[had].log(), lengths[had].log(), 1)[0]
    print(f"lengths over their median, at .1 .5 .9 .99: {quantiles.tolist()}; log length by log events: {slope:.2f}")


def rows() -> list[Row]:
    items, queries = skewed_vectors()
    with threads(2):
        faiss.omp_set_num_threads(2)
        found, indexes = frontier(items, queries)
        pick = found.choose(recall=0.95, bytes_per_item=CAP)
        chosen, wanted = pick.measured, by_torch(items, queries)
        print(pick.reason, flush=True)
        batches, single, who = exact(found.exact, items, queries)
        table = [_second(who, chosen, batches, 10), _single(who, chosen, single, 30)]
        table.append(
            Row(work="bytes an item", size=str(chosen.config), ours=chosen.bytes_per_item, peer="cap", peer_value=CAP, goal="at most 1",
                met=chosen.bytes_per_item <= CAP)
        )  # fmt: skip
        recall, second = as_faiss_builds_it(chosen.config, items, queries, wanted)
        told = f"as FAISS builds it, {second:,.0f} a second"
        table.append(Row(work=f"recall@{K}", size=str(chosen.config), ours=chosen.recall, peer=told, peer_value=recall, goal="", met=None))
        indexes[chosen.config.build].set_knobs(chosen.config)
        table.append(wrapper(indexes[chosen.config.build], queries))
        indexes.clear()
        table += peers(items, queries, wanted, chosen)
    return [*table, *(_of(each, found.exact) for each in found.measured)]


if __name__ == "__main__":
    like() if "--like" in sys.argv else write(Path(__file__).stem, rows())
