"""Vectors, histories and stored indexes, small and made up."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from workbench.data import UserBatch
from workbench.retrieval import IndexConfig, Recall, VectorIndex, save_index
from workbench.retrieval.config import EXACT

KINDS = ("Flat", "SQ8", "IVF8,Flat", "IVF8,SQ8", "IVF8,PQ4x4fs", "IVF8,PQ4x4fs,RFlat", "HNSW16")
DIMENSIONS = 16


def some_vectors(n: int = 200, seed: int = 0, dimensions: int = DIMENSIONS) -> Tensor:
    return torch.randn(n, dimensions, generator=torch.Generator().manual_seed(seed))


def names(n: int) -> list[str]:
    return [f"i{code:03d}" for code in range(n)]


def had(histories: Sequence[Sequence[int]], n_items: int = 1000) -> UserBatch:
    """Requests of people who had these items, in this order."""
    items = torch.tensor([item for history in histories for item in history], dtype=torch.int64)
    offsets = torch.tensor([0, *(len(history) for history in histories)]).cumsum(0)
    return UserBatch(users=torch.arange(len(histories)), items=items, timestamps=torch.zeros_like(items), offsets=offsets, n_items=n_items)


def stored(
    folder: Path,
    vectors: Tensor,
    ids: Sequence[str] | None = None,
    *,
    config: IndexConfig = EXACT,
    recall: Recall | None = None,
    built: str | None = None,
) -> VectorIndex:
    """An index of these vectors, saved."""
    index = VectorIndex.build(vectors, config)
    of = {"item_ids": ids or names(len(vectors)), "model": "mf", "snapshot": "tiny@1", "recall": recall}
    manifest = save_index(folder, index, **of)
    if built:
        save_index(folder, index, **of, since=replace(manifest, built=built))
    return index
