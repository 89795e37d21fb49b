"""What each index finds, how long it takes, how much room, and what that costs in the metric that matters; then which one to take."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from workbench.data import Holdout, UserBatch
from workbench.errors import NotApplicable, RequestError, unknown
from workbench.evaluation import Interval, bootstrap_means, evaluate_lists, split_name
from workbench.models import HasVectors
from workbench.retrieval.config import EXACT, IndexConfig, sweep
from workbench.retrieval.index import VectorIndex
from workbench.retrieval.recall import overlap
from workbench.retrieval.sources import servable
from workbench.retrieval.tasks import Requests

BATCH = 256
"""Queries answered together where throughput is measured."""
SINGLES = 500
"""Queries answered one at a time where latency is measured: five of them are beyond the 99th percentile."""
PEOPLE = 10_000
"""Of the holdout, whom an index is measured on at most."""
WORTH = 2.0
"""Times as many queries a second as exact search, below which an approximate index is not worth having."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One index with one setting of its knobs."""

    config: IndexConfig
    recall: float
    """Share of exact search's first k that it gives."""
    p50_ms: float
    """Of queries answered one at a time; and so on."""
    p95_ms: float
    p99_ms: float
    queries_per_second: float
    """In batches of BATCH."""
    build_seconds: float
    bytes_per_item: float
    loss: Interval | None = None
    """The metric of its lists minus that of exact search's, over people; None where nobody asked."""


@dataclass(frozen=True, kw_only=True)
class Pick:
    """What `Frontier.choose` found."""

    measured: Measured
    """The cheapest that keeps to the budget; where none does, the one that comes nearest."""
    missed: Mapping[str, float]
    """By how much it misses which part of the budget, in that part's unit; empty where it keeps to all of it."""
    reason: str
    """A sentence."""


@dataclass(frozen=True, eq=False)
class Frontier:
    measured: tuple[Measured, ...]
    """Exact search first."""
    k: int
    metric: str
    """Of `Measured.loss`; empty where none was asked for."""
    n_items: int
    n_queries: int

    @property
    def exact(self) -> Measured:
        return self.measured[0]

    @property
    def best(self) -> list[bool]:
        """For each whether no other is as good in recall, p99, throughput and bytes, and better in one: the Pareto front."""
        points = np.array([[-m.recall, m.p99_ms, -m.queries_per_second, m.bytes_per_item] for m in self.measured])
        beaten = [bool(((points <= point).all(1) & (points < point).any(1)).any()) for point in points]
        return [not each for each in beaten]

    def frame(self) -> pd.DataFrame:
        """One row for each, in the order measured."""
        rows = [
            {
                "index": str(m.config),
                f"recall@{self.k}": m.recall,
                "p50 ms": m.p50_ms,
                "p95 ms": m.p95_ms,
                "p99 ms": m.p99_ms,
                "queries a second": m.queries_per_second,
                "build s": m.build_seconds,
                "bytes an item": m.bytes_per_item,
                "on the front": best,
            }
            for m, best in zip(self.measured, self.best, strict=True)
        ]
        return pd.DataFrame(rows)

    def choose(
        self, *, recall: float = 0.95, p99_ms: float = float("inf"), bytes_per_item: float = float("inf"), worth: float = WORTH
    ) -> Pick:
        """The cheapest that has this recall or more and needs no more time and room than that. Cheapest is what answers most queries a
        second in batches; of equals, what needs least room. An approximate index that is not `worth` times as quick as exact search is not
        taken while exact search keeps to the budget.
        """
        wanted = {"recall": recall, "p99_ms": p99_ms, "bytes_per_item": bytes_per_item}
        missed = [_missed(each, wanted) for each in self.measured]
        keeping = [m for m, by in zip(self.measured, missed, strict=True) if not by]
        if not keeping:
            nearest = min(range(len(missed)), key=lambda at: max(by / wanted[name] for name, by in missed[at].items()))
            found, by = self.measured[nearest], missed[nearest]
            told = " and ".join(f"{TOLD[name]} by {_size(name, amount)}" for name, amount in by.items())
            return Pick(measured=found, missed=by, reason=f"No index keeps to the budget. The nearest, {found.config}, misses {told}.")
        cheapest = max(keeping, key=lambda m: (m.queries_per_second, -m.bytes_per_item))
        gain = cheapest.queries_per_second / self.exact.queries_per_second
        if self.exact in keeping and gain < worth:
            near = f"; {cheapest.config} would answer {gain:.1f} times as many queries a second" if gain > 1 else ""
            return Pick(
                measured=self.exact, missed={}, reason=f"Exact search keeps to the budget{near}. {worth:g} times would be worth it."
            )
        return Pick(
            measured=cheapest, missed={}, reason=f"{cheapest.config} answers {gain:.1f} times the queries a second of exact search."
        )


def parse_budget(text: str) -> dict[str, float]:
    """What `Frontier.choose` takes, out of "recall 0.95, p99_ms 50, bytes_per_item 2000"; each part may be left out.

    Raises RequestError for a part that does not exist, comes twice or is no such number.
    """
    found: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = part.partition(" ")
        if name not in TOLD:
            raise unknown("part of an index's budget", name, TOLD)
        try:
            value = float(number)
        except ValueError:
            value = float("nan")
        if name in found or not 0 < value < float("inf") or (name == "recall" and value > 1):
            wanted = "above 0, at most 1" if name == "recall" else "above 0"
            raise RequestError(f'budget = "{text}": {name} should be one number {wanted}, as in "recall 0.95, p99_ms 50".')
        found[name] = value
    return found


TOLD = {"recall": "recall", "p99_ms": "p99", "bytes_per_item": "memory"}


def tune(
    model: HasVectors,
    holdout: Holdout,
    configs: Sequence[IndexConfig] | None = None,
    *,
    k: int = 100,
    metric: str = "ndcg@10",
    singles: int = SINGLES,
    people: int = PEOPLE,
    seed: int = 0,
) -> Frontier:
    """Build and measure each index of the model's item vectors for whom it can serve in the holdout.

    configs: exact search is put first where it is not among them; None: `sweep`. k: of recall, at most the catalogue. metric: of the lists
    that each index gives, seen items left out, against exact search's. people: of these at most so many, drawn with the seed.

    Raises NotApplicable when the model can serve nobody there; RequestError as `VectorIndex.build` does.
    """
    some = holdout.select(servable(model, Requests.of(holdout, holdout.users)))
    if len(some.users) > people:
        drawn = torch.randperm(len(some.users), generator=torch.Generator().manual_seed(seed))[:people]
        some = some.select(torch.zeros(len(some.users), dtype=torch.bool).index_fill_(0, drawn, True))
    if not len(some.users):
        raise NotApplicable("the model has a vector for nobody who is judged: there is nothing to search by.")
    vectors, queries = model.item_vectors(), torch.cat([model.person_vectors(some.batch(users)) for users in some.users.split(1024)])
    k, cut = min(k, len(vectors)), split_name(metric)[1]
    configs = list(configs) if configs is not None else sweep(len(vectors), vectors.shape[1], k)
    exact = IndexConfig(metric=configs[0].metric) if configs else EXACT
    if len({config.metric for config in configs}) > 1:
        raise RequestError("inner products and cosines have different answers: tune for one of them.")
    seen, found, judged = some.requests(some.users)[1], [], []
    for index, config, seconds in _built(vectors, [exact, *(each for each in configs if each != exact)]):
        if config == exact:
            wanted = index.search(queries, k, seen)[0]
        found.append(measure(index, queries, wanted, seconds, seen=seen, singles=singles))
        lists = index.search(queries, cut, seen)[0]
        judged.append(evaluate_lists(lists, some, name=str(config), ks=(cut,)).values(metric))
    losses = bootstrap_means({str(place): values - judged[0] for place, values in enumerate(judged)})
    measured = tuple(replace(each, loss=losses[str(place)]) for place, each in enumerate(found))
    return Frontier(measured, k, metric, len(vectors), len(queries))


def measure(
    index: VectorIndex,
    queries: Tensor,
    wanted: Tensor,
    build_seconds: float,
    *,
    seen: UserBatch | None = None,
    singles: int = SINGLES,
) -> Measured:
    """Recall against `wanted`, int64 (n, k), exact search's answers to the queries, float (n, d), less what was `seen` by each. Times are
    of `VectorIndex.search`, ids and masks and all, after a first call that is not counted.
    """
    k = wanted.shape[1]
    found, spent = [], 0.0
    batches = [(queries[rows], _rows(seen, rows)) for rows in torch.arange(len(queries)).split(BATCH)]
    alone = [(queries[rows], _rows(seen, rows)) for rows in (torch.arange(singles) % len(queries)).split(1)]
    index.search(batches[0][0], k, batches[0][1])
    for batch, had in batches:
        start = time.perf_counter()
        found.append(index.search(batch, k, had)[0])
        spent += time.perf_counter() - start
    ms = 1000 * np.array([_timed(partial(index.search, query, k, had)) for query, had in alone])
    p50, p95, p99 = np.percentile(ms, [50, 95, 99])
    return Measured(
        config=index.config,
        recall=overlap(torch.cat(found), wanted),
        p50_ms=float(p50),
        p95_ms=float(p95),
        p99_ms=float(p99),
        queries_per_second=len(queries) / spent,
        build_seconds=build_seconds,
        bytes_per_item=index.bytes_per_item,
    )


def _built(vectors: Tensor, configs: Sequence[IndexConfig]) -> Iterator[tuple[VectorIndex, IndexConfig, float]]:
    """Each config's index; those that differ by knobs alone share one, and go one after another."""
    for build in dict.fromkeys(config.build for config in configs):
        start = time.perf_counter()
        index = VectorIndex.build(vectors, build)
        seconds = time.perf_counter() - start
        for config in configs:
            if config.build == build:
                index.set_knobs(config)
                yield index, config, seconds


def _rows(seen: UserBatch | None, rows: Tensor) -> UserBatch | None:
    return None if seen is None else seen.select(rows)


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _missed(measured: Measured, wanted: Mapping[str, float]) -> dict[str, float]:
    short = {
        "recall": wanted["recall"] - measured.recall,
        "p99_ms": measured.p99_ms - wanted["p99_ms"],
        "bytes_per_item": measured.bytes_per_item - wanted["bytes_per_item"],
    }
    return {name: by for name, by in short.items() if by > 0}


def _size(name: str, amount: float) -> str:
    return {"recall": f"{amount:.3f}", "p99_ms": f"{amount:.2f} ms", "bytes_per_item": f"{amount:.0f} bytes an item"}[name]
