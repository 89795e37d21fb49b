"""Cells for vectors of unequal length: FAISS's inverted files, learnt and filled so that the long vectors are together."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from workbench.retrieval.config import parts_of

SAMPLE_PER_CELL, LEAST_SAMPLE = 50, 2**16
"""Vectors that cells and codes are learnt from."""


@contextmanager
def by_distance(index: Any) -> Iterator[None]:
    """Vectors go to the cell whose centre is nearest; FAISS has it that they go by inner product, as queries do."""
    quantizers = [faiss.downcast_index(part.quantizer) for part in parts_of(index) if hasattr(part, "quantizer")]
    flat = [each for each in quantizers if isinstance(each, faiss.IndexFlat) and each.metric_type == faiss.METRIC_INNER_PRODUCT]
    try:
        for each in flat:
            each.metric_type = faiss.METRIC_L2
        yield
    finally:
        for each in flat:
            each.metric_type = faiss.METRIC_INNER_PRODUCT


def sampled(table: npt.NDArray[np.float32], index: Any, seed: int) -> npt.NDArray[np.float32]:
    """What cells and codes are learnt from: all of it, or so many for each cell, without repeats, in proportion to the squared length."""
    cells = max((part.nlist for part in parts_of(index) if hasattr(part, "nlist")), default=0)
    wanted = max(LEAST_SAMPLE, SAMPLE_PER_CELL * cells)
    if len(table) <= wanted:
        return table
    rng = np.random.default_rng(seed)
    squares = np.einsum("ij,ij->i", table, table, dtype=np.float64)
    with np.errstate(divide="ignore"):
        keys = np.log(squares) + rng.gumbel(size=len(table))  # Gumbel-max: a draw without repeats
    places = np.sort(np.argpartition(-keys, wanted)[:wanted])
    return table[places]
