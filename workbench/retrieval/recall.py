"""How much of exact search's answers an index gives."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.retrieval.config import IndexConfig
from workbench.retrieval.index import VectorIndex


@dataclass(frozen=True, kw_only=True)
class Recall:
    """Share of exact search's first `k` that the index gave."""

    k: int
    value: float
    queries: int


def recall_against(index: VectorIndex, vectors: Tensor, queries: Tensor, k: int) -> Recall:
    """Of the first `k` among these vectors, float (n_items, d) by code, or of all where there are fewer; queries: float (n, d).

    Raises RequestError as `VectorIndex.search` does.
    """
    k = min(k, len(vectors))
    exact = VectorIndex.build(vectors, IndexConfig(metric=index.config.metric))
    return Recall(k=k, value=overlap(index.search(queries, k)[0], exact.search(queries, k)[0]), queries=len(queries))


def overlap(found: Tensor, wanted: Tensor) -> float:
    """Mean share of the items of a row of `wanted`, int64 (n, k), that are in the same row of `found`; -1 is no item."""
    n_items = int(max(found.max(), wanted.max())) + 1
    rows = torch.arange(len(wanted))[:, None] * n_items
    hits = torch.isin(rows + wanted, (rows + found)[found >= 0]) & (wanted >= 0)
    return (hits.sum(1) / (wanted >= 0).sum(1).clamp(min=1)).mean().item()
