"""The index of a bundle, searched for one request at a time; imports FAISS."""

from collections.abc import Mapping
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int64]


class Index:
    def __init__(self, content: bytes, told: Mapping[str, Any]) -> None:
        """told: as the manifest has it: the metric, and FAISS's own parameters."""
        self.index = faiss.deserialize_index(np.frombuffer(content, np.uint8))
        self.cosine = told["metric"] == "cosine"
        for name, value in told["parameters"].items():
            faiss.ParameterSpace().set_index_parameter(self.index, name, value)
        faiss.omp_set_num_threads(1)

    def search(self, vector: npt.NDArray[np.float32], k: int, seen: Codes) -> tuple[Codes, npt.NDArray[np.float64]]:
        """The `k` items of highest score that are not among the seen, best first; deeper and through more cells until there are as many, or
        no more."""
        asked = vector[None]
        if self.cosine:
            asked = asked / max(float(np.linalg.norm(asked)), 1e-12)
        depth, cells = min(k + len(seen), self.index.ntotal), faiss.try_extract_index_ivf(self.index)
        probes = cells.nprobe if cells is not None else 0
        try:
            while True:
                scores, items = (each[0] for each in self.index.search(asked, depth))
                kept = (items >= 0) & ~np.isin(items, seen)
                if kept.sum() >= k or (depth == self.index.ntotal and (cells is None or cells.nprobe >= cells.nlist)):
                    return items[kept][:k], scores[kept][:k].astype(np.float64)
                depth = min(4 * depth, self.index.ntotal)
                if cells is not None and items[-1] < 0:
                    cells.nprobe = min(4 * cells.nprobe, cells.nlist)
        finally:
            if cells is not None:
                cells.nprobe = probes
