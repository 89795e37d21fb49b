"""Vectors of items in a FAISS index, searched so that what a person has had is never among the answers, and nothing is missing for it."""

from typing import Any, Self

import faiss
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize

from workbench.data import UserBatch
from workbench.errors import RequestError
from workbench.evaluation.ranking import NOTHING
from workbench.retrieval.cells import by_distance, sampled
from workbench.retrieval.config import EXACT, IndexConfig, check_enough, empty_index, set_knobs
from workbench.retrieval.masked import Codes, Masked

Floats = npt.NDArray[np.float32]


class VectorIndex:
    """Items by their codes, each at one place of a FAISS index. A place whose item was removed or got another vector is dead: it stays in
    the index, where no kind of index forgets cheaply, and is left out of every answer.

    For one thread at a time: a search that looks further, and one that adds, set FAISS's own index for that while.
    """

    def __init__(self, config: IndexConfig, index: Any, items: Codes, alive: npt.NDArray[np.bool_], digests: Codes) -> None:
        self.config = config
        self.index = index
        self.items = items
        """int64 (places,): the item at each place."""
        self.alive = alive
        """bool (places,)."""
        self.digests = digests
        """int64 (places,): of each vector as it was before the index made codes of it; see `digests_of`."""
        self._settle()
        set_knobs(index, config)

    def _settle(self) -> None:
        """How many items there are, and whether places are codes, so that neither has to be looked up."""
        self._n = int(self.alive.sum())
        self._plain = bool(self.alive.all()) and np.array_equal(self.items, np.arange(len(self.items)))

    @classmethod
    def build(cls, vectors: Tensor, config: IndexConfig = EXACT, items: Tensor | None = None) -> Self:
        """An index of these vectors, float (n, d). items: int64 (n,), their codes; None: their rows.

        Cells and codes are learnt by k-means from a sample, the same under one seed. Answers to inner products are mostly long vectors, so
        the sample has them in proportion to their squared length, and an item goes to the cell whose centre is nearest, not to the one of
        largest product: that takes the long ones together, and a search, which does go by products, finds them in few cells. A graph (HNSW)
        depends on the order in which threads get to link it.

        Raises RequestError for a vector that is not finite, codes that repeat, fewer vectors than centroids, and for settings that FAISS
        cannot build or that mean nothing to the index.
        """
        table = as_table(vectors, config)
        index = empty_index(config, table.shape[1])
        check_enough(index, len(table), config.factory)
        with by_distance(index):
            index.train(sampled(table, index, config.seed))
        nothing = np.empty(0, np.int64)
        built = cls(config, index, nothing, nothing.astype(bool), nothing)
        built._append(torch.arange(len(table)) if items is None else items, table)
        return built

    def __repr__(self) -> str:
        return f"VectorIndex({self.config}: {len(self):,} items, {self.dimensions} numbers each)"

    def __len__(self) -> int:
        """Items that can be found."""
        return self._n

    @property
    def dimensions(self) -> int:
        return int(self.index.d)

    @property
    def dead_share(self) -> float:
        """Of the places, those that no answer can come from."""
        return 1.0 - len(self) / max(1, len(self.items))

    @property
    def bytes_per_item(self) -> float:
        """Of the index as FAISS writes it, and 17 for code, flag and digest; dead places are on the items' account."""
        return (len(faiss.serialize_index(self.index)) + 17 * len(self.items)) / max(1, len(self))

    def set_knobs(self, config: IndexConfig) -> None:
        """From now on searched with the knobs of `config`. Raises RequestError for one that was built as something else."""
        if config.build != self.config.build:
            raise RequestError(f"this index was built as {self.config.build}, not as {config.build}.")
        try:
            set_knobs(self.index, config)
        except RequestError:
            set_knobs(self.index, self.config)
            raise
        self.config = config

    def search(self, queries: Tensor, k: int, seen: UserBatch | None = None) -> tuple[Tensor, Tensor]:
        """The `k` items of highest score for each query, those left out that are in its row of `seen`.

        queries: float (n, d); seen: n rows. Returns int64 (n, k), best first, and float32 (n, k), the index's own scores. Everyone gets
        `k`, or all that is left where that is less; NOTHING and -inf follow. Where a search of an approximate index comes back with too
        few, more cells are searched for these people, and at last every vector, as the index holds it.

        Raises RequestError for k below 1, another length of vectors or number of rows, and a query that is not finite.
        """
        if k < 1:
            raise RequestError(f"k = {k} should be at least 1.")
        asked = as_table(queries, self.config, self.dimensions, ("query", "queries"))
        if seen is not None and len(seen) != len(asked):
            raise RequestError(f"there are {len(asked)} queries, and {len(seen)} rows of what was seen.")
        items = np.full((len(asked), k), NOTHING, np.int64)
        scores = np.full((len(asked), k), -np.inf, np.float32)
        masked = Masked.of(seen)
        places = len(self.items)
        needed = self._depths(len(asked), k, masked)
        for depth in np.unique(needed):
            rows = np.flatnonzero(needed == depth)
            while len(rows):
                rows, exhausted = self._fill(items, scores, asked, rows, int(depth), masked)
                self._look_further(items, scores, asked, rows[exhausted], masked)
                rows, depth = rows[~exhausted], min(4 * depth, places)
        return torch.from_numpy(items), torch.from_numpy(scores)

    def add(self, items: Tensor, vectors: Tensor) -> None:
        """Items that are not in the index yet; int64 (n,) and float (n, d). Cells and codes stay as they were learnt.

        Raises RequestError as `build` does, and for an item that is there.
        """
        table = as_table(vectors, self.config, self.dimensions)
        present = np.isin(items.numpy(), self.items[self.alive])
        if present.any():
            raise RequestError(f"item {int(items[present.argmax()])} is in the index already: update it.")
        self._append(items, table)

    def update(self, items: Tensor, vectors: Tensor) -> None:
        """New vectors for items that are in the index. Raises RequestError as `add` does, and for an item that is not there."""
        table = as_table(vectors, self.config, self.dimensions)
        _check_one_each(items, table)
        self.remove(items)
        self._append(items, table)

    def remove(self, items: Tensor) -> None:
        """Raises RequestError for an item that is not in the index."""
        codes = items.numpy()
        missing = ~np.isin(codes, self.items[self.alive])
        if missing.any():
            raise RequestError(f"item {int(codes[missing.argmax()])} is not in the index.")
        self.alive = self.alive & ~np.isin(self.items, codes)
        self._settle()

    def on_gpu(self, device: int = 0) -> Self:
        """A copy on a GPU, where this build of FAISS has one. Raises RequestError where it has not."""
        if not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() <= device:
            raise RequestError(f"this FAISS sees no GPU {device}: faiss-cpu is installed, or no device is there.")
        copy = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), device, self.index)
        return type(self)(self.config, copy, self.items, self.alive, self.digests)

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Codes, int64 (n,), and vectors, float32 (n, d), of the items that can be found, as the index holds them: what its codes say."""
        places = np.flatnonzero(self.alive)
        return torch.from_numpy(self.items[places]), torch.from_numpy(self.decoded()[places])

    def _append(self, items: Tensor, table: Floats) -> None:
        _check_one_each(items, table)
        codes = items.numpy().astype(np.int64)
        with by_distance(self.index):
            self.index.add(table)
        self.items = np.concatenate([self.items, codes])
        self.alive = np.concatenate([self.alive, np.ones(len(codes), bool)])
        self.digests = np.concatenate([self.digests, digests_of(table)])
        self._settle()

    def _depths(self, n: int, k: int, masked: Masked | None) -> Codes:
        """int64 (n,): how deep to search for each row, so that `k` are left if what is dead or may not be shown comes first."""
        if masked is None and self._plain:
            return np.full(n, min(k, len(self.items)))
        lengths = masked.lengths if masked else np.zeros(n, np.int64)
        return _rounded((k + lengths) * (len(self.items) / max(1, len(self))), k, len(self.items))

    def _fill(
        self, items: Codes, scores: Floats, asked: Floats, rows: Codes, depth: int, masked: Masked | None
    ) -> tuple[Codes, npt.NDArray[np.bool_]]:
        """The best of the first `depth` places for these rows; returns the rows that got fewer than they might, and for which of them
        looking deeper finds no more.
        """
        k = items.shape[1]
        found, places = self.index.search(asked if len(rows) == len(asked) else asked[rows], depth)
        codes = places if self._plain else self.items[places]  # -1 is for nothing, whatever code it takes
        kept = places >= 0
        if not self._plain:
            kept &= self.alive[places]
        if masked is not None:
            kept &= ~masked.holds(rows, codes)
        if depth == k and kept.all():
            items[rows], scores[rows] = codes, found
            return rows[:0], np.empty(0, bool)
        rank = kept.cumsum(1, dtype=np.int32)
        row, column = np.nonzero(kept & (rank <= k))
        to = rank[row, column] - 1
        items[rows[row], to], scores[rows[row], to] = codes[row, column], found[row, column]
        short = np.flatnonzero(rank[:, -1] < k)
        if len(short):
            short = short[self._left(rows[short], masked) > rank[short, -1]]
        return rows[short], (places[short, -1] < 0) | (depth >= len(self.items))

    def _left(self, rows: Codes, masked: Masked | None) -> Codes:
        """How many items of the index each of these rows may be shown."""
        if masked is None:
            return np.full(len(rows), len(self))
        there = self.items[self.alive]
        return np.array([len(self) - int(np.isin(np.unique(masked.row(row)), there).sum()) for row in rows])

    def _look_further(self, items: Codes, scores: Floats, asked: Floats, rows: Codes, masked: Masked | None) -> None:
        """For rows that got too few although the search went as deep as it could: four times the cells, all of them, everything."""
        ivf = faiss.try_extract_index_ivf(self.index)
        probes = ivf.nprobe if ivf is not None else 0
        try:
            while len(rows) and ivf is not None and ivf.nprobe < ivf.nlist:
                ivf.nprobe = min(4 * ivf.nprobe, ivf.nlist)
                depth = int(
                    _rounded(np.array([items.shape[1] + (masked.lengths[rows].max() if masked else 0)]), items.shape[1], len(self.items))[0]
                )
                rows = self._fill(items, scores, asked, rows, depth, masked)[0]
        finally:
            if ivf is not None:
                ivf.nprobe = probes
        self._fill_by_all(items, scores, asked, rows, masked)

    def _fill_by_all(self, items: Codes, scores: Floats, asked: Floats, rows: Codes, masked: Masked | None) -> None:
        if not len(rows):
            return
        table = self.decoded()
        for row in rows:
            found = np.where(self.alive, table @ asked[row], -np.inf).astype(np.float32)
            if masked is not None:
                found[np.isin(self.items, masked.row(row))] = -np.inf
            best, places = torch.from_numpy(found).topk(min(items.shape[1], len(found)))
            there = best.numpy() > -np.inf
            items[row], scores[row] = NOTHING, -np.inf
            items[row, : there.sum()], scores[row, : there.sum()] = self.items[places.numpy()[there]], best.numpy()[there]

    def decoded(self) -> Floats:
        decoded: Floats = self.index.reconstruct_n(0, len(self.items))
        return decoded


def _check_one_each(items: Tensor, table: Floats) -> None:
    if items.shape != (len(table),):
        raise RequestError(f"there are {len(table):,} vectors for items of shape {tuple(items.shape)}; there should be one for each.")
    if len(items) and int(items.min()) < 0:
        raise RequestError(f"item {int(items.min())} is no code: codes are at least 0.")
    codes, counts = items.unique(return_counts=True)
    if len(codes) < len(items):
        raise RequestError(f"item {int(codes[counts.argmax()])} has more than one vector.")


def _rounded(least: npt.NDArray[Any], k: int, most: int) -> Codes:
    """How deep to search for each row: `k` doubled until it is enough, so that rows that need about as much go together."""
    depth: Codes = np.minimum(most, k * 2 ** np.ceil(np.log2(np.maximum(1.0, least / k)))).astype(np.int64)
    return depth


def digests_of(vectors: Floats) -> Codes:
    """int64 (n,): a number for each row of float32 (n, d), the same for the same bits; for others another, but for about one in 2^64.

    Each cell goes through splitmix64's mixer (Steele, Lea and Flood, OOPSLA 2014) with its place, and a row's numbers are added up.
    """
    digests = np.zeros(len(vectors), np.uint64)
    for place, column in enumerate(np.ascontiguousarray(vectors).view(np.uint32).T):
        mixed = column.astype(np.uint64) | np.uint64(place << 32)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        digests += mixed ^ (mixed >> np.uint64(31))
    return digests.view(np.int64)


def as_table(vectors: Tensor, config: IndexConfig, dimensions: int | None = None, what: tuple[str, str] = ("vector", "vectors")) -> Floats:
    """float32 (n, d), contiguous, of length 1 where the metric is cosine: what FAISS is given.

    Raises RequestError for another width and for what is not finite.
    """
    if vectors.dim() != 2 or not len(vectors) * vectors.shape[1] or dimensions not in (None, vectors.shape[1]):
        wanted = "rows and columns" if dimensions is None else f"(n, {dimensions})"
        if not (vectors.dim() == 2 and vectors.shape[1] == dimensions):  # no queries at all are fine
            raise RequestError(f"the {what[1]} have shape {tuple(vectors.shape)}, expected {wanted}.")
    table: Floats = np.ascontiguousarray(vectors.detach().float().cpu().numpy())
    with np.errstate(all="ignore"):
        doubtful = not np.isfinite(table.sum())  # a quick look first: a single query takes less time than a careful one
    if doubtful:
        broken = np.flatnonzero(~np.isfinite(table).all(1))
        if len(broken):
            raise RequestError(f"{what[0]} {int(broken[0])} holds a number that is not finite.")
    return normalize(torch.from_numpy(table), dim=1).numpy() if config.metric == "cosine" else table
