"""How fast lists become evidence: the bootstrap, full ranking, and the metrics alone, beside SciPy, RecBole, rectools and pytrec_eval.

`python -m benchmarks.evaluation` prints the table and writes benchmarks/results/evaluation.json. Times are the best of several turns, ours
and theirs taking turns, one thread each unless the row says two. ML-1M is fetched on first use; so are two peers that need another NumPy,
into .venv-peers.

- Bootstrap: intervals of 10 metrics in 20 slices for 100,000 people, every person in 5 of the slices, from 1,000 resamples. Ours: one
  `bootstrap_means` over 200 columns, NaN outside the slice. SciPy: `bootstrap` once a slice with its people's 10 values, percentile method,
  `np.mean` along the people, the quickest of four batch sizes; it has one thread, ours may have two. Both resample once for all metrics of
  a slice. The ends of the two intervals are apart by what 1,000 random draws leave open: about 0.025 of the interval's width.
- Engine: ours is `evaluate` from vectors of 64 numbers to the values of all metrics at 5, 10 and 20 with vectors for diversity: 20,000
  people with 100 seen and 10 relevant items each, 20,000 items, nothing computed before. The floor is the product of the vectors into one
  buffer and `topk` of 20, the quickest of four batch sizes; it masks nothing, keeps nothing and measures nothing. Ours can come out below
  it: where there are many items, `workbench.evaluation.ranking` looks for the best groups of items first.
- Full ranking: BPR after one epoch of RecBole's training, on its own split of ML-1M (8:1:1 at random for each person, seed 2020), all
  ratings are truth. RecBole: `Trainer.evaluate` for recall and NDCG at 10, the quickest of three batch sizes (its default scores one
  person at a time). Ours: `evaluate` for all metrics at 10, from the same embeddings.
- Metrics alone: 20,000 lists of 20 out of 20,000 items, 10 relevant items each, at 5, 10 and 20. Ours starts with lists and truth in
  tensors, theirs in data frames (rectools: recall, precision, hit rate, MRR, MAP, NDCG, novelty as MeanInvUserFreq, serendipity) or in
  dictionaries (pytrec_eval: recall, P, success, map_cut, ndcg_cut, recip_rank); these are made before the clock starts. A second row holds
  all of our metrics against the same time. The largest difference is that of the means. Serendipity is not compared: rectools weighs a hit
  by how few people know the item, ours counts hits that the popular list lacks. rectools' NDCG is asked to divide by what is achievable;
  its MAP divides by all relevant items, as ours and map_cut do. recip_rank has no cut-off but the list's end.
"""

import contextlib
import json
import os
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from torch import Tensor

from benchmarks.anchors import DIGITS, our_parts
from benchmarks.peers import peers_python
from benchmarks.report import Row, write
from benchmarks.timing import seconds, taking_turns
from workbench.data import Holdout, Interactions, UserBatch, load_card, prepare
from workbench.data.source import source_files
from workbench.evaluation import METRICS, Interval, bootstrap_means, evaluate
from workbench.evaluation.lists import Lists
from workbench.models.recbole.library import Trainer, create_dataset, data_preparation, get_model, init_seed, recbole_config
from workbench.testing.synthetic import holdout, interactions
from workbench.training.device import threads

TURNS = 3
KS = (5, 10, 20)
PEOPLE = ITEMS = 20_000
DEPTH, WIDTH, SEEN, RELEVANT = 20, 64, 100, 10
RESAMPLES, MANY, N_METRICS, DIMENSIONS, GROUPS = 1000, 100_000, 10, 5, 4
MEASURED = {
    "rectools": ("recall", "precision", "hit_rate", "mrr", "map", "ndcg", "novelty", "serendipity"),
    "pytrec_eval": ("recall", "precision", "hit_rate", "mrr", "map", "ndcg"),
}
TOLERANCE = 1e-9

Array = npt.NDArray[Any]


class Dot:
    """Scores by the inner product of a person's and an item's vector."""

    title, inductive, personal = "dot product", False, True

    def __init__(self, people: Tensor, items: Tensor) -> None:
        self.people, self.items = people, items

    def score(self, batch: UserBatch) -> Tensor:
        return self.people[batch.users] @ self.items.T


def fresh(judged: Holdout) -> Holdout:
    """The same with nothing computed yet."""
    history = replace(judged.history)
    assert judged.seen is not None
    seen = history if judged.seen is judged.history else replace(judged.seen)
    return replace(judged, truth=replace(judged.truth), history=history, seen=seen)


def world(rng: np.random.Generator) -> tuple[Holdout, Tensor]:
    """People with a history and a truth, and for everyone a list in which what is relevant comes early more often than not.

    A person has one item of each of 150 strata, which are narrow where the popular items are: no item twice, some items for many people.
    """
    edges = (ITEMS * np.linspace(0, 1, SEEN + 5 * RELEVANT + 1) ** 1.5).astype(int)
    drawn = edges[:-1] + (rng.random((PEOPLE, len(edges) - 1)) * np.diff(edges)).astype(int)
    known, truth, others = np.split(rng.permuted(drawn, axis=1), [SEEN, SEEN + RELEVANT], axis=1)
    shown = np.hstack([truth, others])
    liking = rng.normal(size=shown.shape) + (np.arange(shown.shape[1]) < RELEVANT)
    items = np.take_along_axis(shown, np.argsort(-liking, axis=1)[:, :DEPTH], axis=1)
    return holdout(_log(known), _log(truth)), torch.from_numpy(items)


def _log(items: Array) -> Interactions:
    users = np.repeat(np.arange(len(items)), items.shape[1])
    return interactions(np.stack([users, items.ravel()], axis=1).tolist(), PEOPLE, ITEMS)


def bootstrap() -> list[Row]:
    columns, samples = _slices(np.random.default_rng(0))
    batch = min((1, 4, 16, 64), key=lambda size: min(seconds(lambda: _scipy(samples[0], size)) for _ in range(TURNS)))

    def ours(n_threads: int) -> float:
        with threads(n_threads):
            return seconds(lambda: bootstrap_means(columns, resamples=RESAMPLES))

    def theirs() -> float:
        return seconds(lambda: [_scipy(sample, batch) for sample in samples])

    *best, least = taking_turns(partial(ours, 1), partial(ours, 2), theirs, turns=TURNS)
    size = f"{RESAMPLES:,} × {MANY:,} people × {N_METRICS} metrics × {len(samples)} slices"
    peer, goal = f"scipy.stats.bootstrap by {batch}", "at most 1/20"
    rows = [
        Row(work=f"bootstrap, {_threads(n)}, seconds", size=size, ours=own, peer=peer, peer_value=least, goal=goal, met=own <= least / 20)
        for n, own in enumerate(best, start=1)
    ]
    apart = _apart(bootstrap_means(columns, resamples=RESAMPLES), [_scipy(sample, batch) for sample in samples])
    work, size, peer = "bootstrap, ends apart", "mean over 400 ends, of the interval's width", "twice what chance leaves"
    return [*rows, Row(work=work, size=size, ours=apart, peer=peer, peer_value=0.05, goal="below 1", met=apart < 0.05)]


def _threads(n: int) -> str:
    return f"{n} thread{'s' * (n > 1)}"


def _slices(rng: np.random.Generator) -> tuple[dict[str, Tensor], list[Array]]:
    """Each metric in each slice as a column over everyone, NaN for who is not in it; for each slice its people's values of all metrics."""
    values = rng.beta(0.5, 2.0, size=(MANY, N_METRICS))
    groups = rng.integers(GROUPS, size=(DIMENSIONS, MANY))
    members = [groups[dimension] == group for dimension in range(DIMENSIONS) for group in range(GROUPS)]
    columns = [np.where(slice_, values[:, metric], np.nan) for slice_ in members for metric in range(N_METRICS)]
    return {str(place): torch.from_numpy(column) for place, column in enumerate(columns)}, [values[slice_] for slice_ in members]


def _scipy(sample: Array, batch: int) -> Any:
    return stats.bootstrap(
        (sample,), np.mean, axis=0, vectorized=True, n_resamples=RESAMPLES, batch=batch, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval


def _apart(ours: dict[str, Interval], theirs: Sequence[Any]) -> float:
    lows, highs = (np.concatenate([getattr(interval, end) for interval in theirs]) for end in ("low", "high"))
    ends = np.array([(interval.low, interval.high) for interval in ours.values()])
    return float((np.abs(ends - np.stack([lows, highs], axis=1)) / (highs - lows)[:, None]).mean())


def engine(judged: Holdout, n_threads: int) -> Row:
    rng = torch.Generator().manual_seed(0)
    people, items = (torch.randn(n, WIDTH, generator=rng) for n in (PEOPLE, ITEMS))
    model = Dot(people, items)

    def ours() -> float:
        unseen = fresh(judged)
        return seconds(lambda: evaluate(model, unseen, ks=KS, vectors=items))

    with threads(n_threads):
        best, *floors = taking_turns(ours, *(partial(_floor, people, items, size) for size in (128, 256, 512, 1024)), turns=TURNS)
    floor = min(floors)
    return Row(
        work=f"engine, {_threads(n_threads)}, seconds",
        size=f"{PEOPLE:,} people × {ITEMS:,} items, d = {WIDTH}, k = {DEPTH}",
        ours=best,
        peer="product and top-k alone",
        peer_value=floor,
        goal="at most 1.3" if n_threads == 1 else "shown",
        met=best <= 1.3 * floor if n_threads == 1 else None,
    )


def _floor(people: Tensor, items: Tensor, size: int) -> float:
    buffer = torch.empty(size, len(items))

    def work() -> None:
        for some in people.split(size):
            torch.mm(some, items.T, out=buffer[: len(some)]).topk(DEPTH)

    return seconds(work)


def full_ranking() -> list[Row]:
    prepare("ml-1m")
    atomic = source_files(load_card("ml-1m"))["events"]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # RecBole logs into the working directory
        trainer, loaders, config = recbole_bpr(Path(folder), atomic)
        model, judged = _ours_of(trainer.model, loaders)
        batches = [people * loaders[2].dataset.item_num for people in (32, 256, 2048)]
        ours, *theirs = taking_turns(
            lambda: _evaluate_fresh(model, judged),
            *(partial(_recbole_evaluate, trainer, loaders[2], config, batch) for batch in batches),
            turns=TURNS,
        )
        peer = trainer.evaluate(loaders[2], load_best_model=False, show_progress=False)
    result = evaluate(model, judged, ks=(10,))
    size = f"ml-1m, RecBole's split, {len(judged.users):,} people × {judged.n_items:,} items"
    rows = []
    for metric in ("recall", "ndcg"):
        value, theirs_value = result.mean(f"{metric}@10"), float(peer[f"{metric}@10"])
        equal = round(value, DIGITS) == round(theirs_value, DIGITS)
        goal = f"equal to {DIGITS} digits"
        rows.append(Row(work=f"BPR {metric}@10", size=size, ours=value, peer="RecBole", peer_value=theirs_value, goal=goal, met=equal))
    best, work = min(theirs), "full ranking, seconds"
    rows.append(Row(work=work, size=size, ours=ours, peer="RecBole", peer_value=best, goal="at most 1/4", met=ours <= best / 4))
    return rows


def recbole_bpr(folder: Path, atomic: Path) -> tuple[Any, Any, Any]:
    """RecBole's trainer after one epoch of its BPR, its loaders and configuration."""
    (folder / "ml-1m").mkdir()
    (folder / "ml-1m" / "ml-1m.inter").symlink_to(atomic)
    settings = {"data_path": str(folder), "checkpoint_dir": str(folder), "device": "cpu", "seed": 2020, "show_progress": False, "epochs": 1}
    settings |= {"metrics": ["Recall", "NDCG"], "topk": [10], "valid_metric": "NDCG@10", "metric_decimal_place": 8}
    config = recbole_config("BPR", "ml-1m", settings | {"load_col": {"inter": ["user_id", "item_id"]}})
    init_seed(config["seed"], config["reproducibility"])
    loaders = data_preparation(config, create_dataset(config))
    trainer = Trainer(config, get_model("BPR")(config, loaders[0].dataset))
    trainer.fit(loaders[0], saved=False, show_progress=False)
    return trainer, loaders, config


def _ours_of(theirs: Any, loaders: Any) -> tuple[Dot, Holdout]:
    """The same embeddings and split; RecBole's code 0 is padding."""
    train, valid, test, ties = our_parts(loaders)
    people, trained = test.events_per_user > 0, train.events_per_user > 0
    seen = train.plus(valid)
    judged = Holdout.build(label="recbole 2020", truth=test, people=people, history=train, seen=seen, trained=trained, ties=ties)
    return Dot(*(table.weight.detach()[1:].clone() for table in (theirs.user_embedding, theirs.item_embedding))), judged


def _evaluate_fresh(model: Dot, judged: Holdout) -> float:
    unseen = fresh(judged)
    return seconds(lambda: evaluate(model, unseen, ks=(10,)))


def _recbole_evaluate(trainer: Any, loader: Any, config: Any, batch: int) -> float:
    config["eval_batch_size"] = batch
    loader.update_config(config)
    return seconds(lambda: trainer.evaluate(loader, load_best_model=False, show_progress=False))


def metrics_alone(judged: Holdout, items: Tensor) -> list[Row]:
    vectors = torch.randn(ITEMS, WIDTH, generator=torch.Generator().manual_seed(0))
    python = peers_python()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lists.npz"
        parts = {"truth": judged.truth, "known": judged.history}
        logs = {f"{name}_{column}": getattr(part, column).numpy() for name, part in parts.items() for column in ("users", "items")}
        np.savez(path, items=items.numpy(), n_items=ITEMS, **logs)
        for peer, names in MEASURED.items():
            means: dict[str, float] = {}
            best = taking_turns(
                partial(_peer, python, peer, path, means),
                partial(_measure, judged, items, names, None),
                partial(_measure, judged, items, tuple(METRICS), vectors),
                turns=TURNS,
            )
            rows += _metric_rows(peer, best, means, measured(judged, items, names))
    return rows


def _metric_rows(peer: str, best: Sequence[float], theirs: dict[str, float], ours: dict[str, Tensor]) -> list[Row]:
    size = f"{PEOPLE:,} lists of {DEPTH}, {len(theirs)} means"
    common = [name for name in ours if name in theirs and not name.startswith("serendipity")]
    difference = max(abs(ours[name].mean().item() - theirs[name]) for name in common)
    return [
        Row(work="metrics, seconds", size=size, ours=best[1], peer=peer, peer_value=best[0], goal="at most 1", met=best[1] <= best[0]),
        Row(work="all of ours, seconds", size=size, ours=best[2], peer=peer, peer_value=best[0], goal="shown", met=None),
        Row(
            work="largest difference",
            size=f"{len(common)} means of {peer}",
            ours=difference,
            peer=f"{peer}, rounding",
            peer_value=TOLERANCE,
            goal="below 1",
            met=difference < TOLERANCE,
        ),
    ]


def measured(judged: Holdout, items: Tensor, names: Sequence[str], vectors: Tensor | None = None) -> dict[str, Tensor]:
    """Each of these metrics that applies, for everyone, from the lists on."""
    lists = Lists.build(judged, items, torch.ones(len(items), dtype=torch.bool), vectors)
    wanted = [(name, k) for name in names if METRICS[name].applies(lists) for k in KS]
    blocks = [[METRICS[name].values(block, k) for name, k in wanted] for block in lists.blocks()]
    return {f"{name}@{k}": torch.cat(parts) for (name, k), parts in zip(wanted, zip(*blocks, strict=True), strict=True)}


def _measure(judged: Holdout, items: Tensor, names: Sequence[str], vectors: Tensor | None) -> float:
    unseen = fresh(judged)
    return seconds(lambda: measured(unseen, items, names, vectors))


def _peer(python: Path, peer: str, lists: Path, means: dict[str, float]) -> float:
    """Its seconds; its means are put into `means`."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    script = Path(__file__).with_name("peers.py")
    done = subprocess.run([python, "-W", "ignore", script, peer, lists], capture_output=True, text=True, check=True, env=environment)
    found = json.loads(done.stdout)
    means.update(found["means"])
    return float(found["seconds"])


def rows() -> list[Row]:
    warnings.simplefilter("ignore")  # RecBole's own, about pandas and torch
    judged, items = world(np.random.default_rng(0))
    with threads(1):
        table = [*bootstrap(), engine(judged, 1), engine(judged, 2)]
        return [*table, *full_ranking(), *metrics_alone(judged, items)]


if __name__ == "__main__":
    write(Path(__file__).stem, rows())
