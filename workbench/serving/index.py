"""The index of a bundle, searched for one request at a time; imports FAISS."""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class Index:
    """Looks as deep, and where that finds too few as much further, as `workbench.retrieval.VectorIndex` does."""

    def __init__(self, content: bytes, told: Mapping[str, Any]) -> None:
        """told: as the manifest has it: the metric, and FAISS's own parameters."""
        self.index = faiss.deserialize_index(np.frombuffer(content, np.uint8))
        self.cosine, self.size = told["metric"] == "cosine", int(self.index.ntotal)
        for name, value in told["parameters"].items():
            faiss.ParameterSpace().set_index_parameter(self.index, name, value)
        self.cells = faiss.try_extract_index_ivf(self.index)
        faiss.omp_set_num_threads(1)

    def search(self, vector: Floats, k: int, seen: Codes) -> tuple[Codes, Floats]:
        """The `k` items of highest score that are not among the seen, best first, or all there are; and their scores. A vector of nothing
        but zeros is like every item alike, and gets none.
        """
        if not vector.any():
            return np.empty(0, np.int64), np.empty(0, np.float32)
        asked = vector / max(float(np.linalg.norm(vector)), 1e-12) if self.cosine else vector
        wanted = min(k, self.size - len(np.unique(seen)))
        first = min(self.size, k * 2 ** math.ceil(math.log2((k + len(seen)) / k)))
        depth = first
        while True:
            items, scores, exhausted = self._look(asked, depth, seen)
            if len(items) >= wanted:
                return items[:k], scores[:k]
            if exhausted:
                return self._look_further(asked, k, wanted, first, seen)
            depth = min(4 * depth, self.size)

    def _look(self, asked: Floats, depth: int, seen: Codes) -> tuple[Codes, Floats, bool]:
        """And whether looking deeper finds no more."""
        scores, items = (each[0] for each in self.index.search(asked[None], depth))
        hidden = np.zeros(self.size + 1, bool)
        hidden[seen] = hidden[-1] = True  # the last one is for nothing, -1
        kept = ~hidden[items]
        return items[kept], scores[kept], bool(items[-1] < 0) or depth >= self.size

    def _look_further(self, asked: Floats, k: int, wanted: int, depth: int, seen: Codes) -> tuple[Codes, Floats]:
        """Through more cells, and at last through every vector."""
        probes = self.cells.nprobe if self.cells is not None else 0
        try:
            while self.cells is not None and self.cells.nprobe < self.cells.nlist:
                self.cells.nprobe = min(4 * self.cells.nprobe, self.cells.nlist)
                items, scores, _ = self._look(asked, depth, seen)
                if len(items) >= wanted:
                    return items[:k], scores[:k]
        finally:
            if self.cells is not None:
                self.cells.nprobe = probes
        scores = self._vectors @ asked
        scores[seen] = -np.inf
        best = np.argsort(-scores, kind="stable")[:wanted]
        return best, scores[best]

    @cached_property
    def _vectors(self) -> Floats:
        found: Floats = self.index.reconstruct_n(0, self.size)
        return found
