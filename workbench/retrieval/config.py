"""What an index is built as, in FAISS's own words, and what it is searched with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self

import faiss
from pydantic import Field, TypeAdapter, ValidationError

from workbench.errors import RequestError, unknown

KNOBS = {"probes": ("nprobe", 1), "ef_search": ("efSearch", 16), "refine": ("k_factor_rf", 1)}
"""Ours; what FAISS calls them, and what it takes where none is given."""
FLAT = "Flat"
"""The factory of exact search."""


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    factory: str = FLAT
    """Of `faiss.index_factory`: Flat is exact; SQ8 keeps a byte a number; IVF1024,Flat searches some of 1,024 cells; IVF1024,PQ32x4fs half
    a byte for every other number; HNSW32 walks a graph. With ",RFlat" at the end the best found are ordered anew by their exact scores."""
    metric: Literal["inner_product", "cosine"] = "inner_product"
    """cosine: the inner product of vectors made of length 1, on both sides."""
    probes: Annotated[int, Field(ge=1)] | None = None
    """Cells searched, of IVF; None: FAISS's 1."""
    ef_search: Annotated[int, Field(ge=1)] | None = None
    """Nodes of the graph kept in view, of HNSW; None: FAISS's 16."""
    refine: Annotated[float, Field(ge=1)] | None = None
    """Found for each place asked for, to be ordered anew, where the factory ends in RFlat; None: FAISS's 1."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the cells' and the codes' k-means."""

    @classmethod
    def checked(cls, **settings: Any) -> Self:
        """Raises RequestError, naming the setting, for one that does not exist or has a value of the wrong type or range."""
        known = list(cls.__dataclass_fields__)
        for name in settings:
            if name not in known:
                raise unknown("setting of an index", name, known)
        try:
            return TypeAdapter(cls).validate_python(settings)
        except ValidationError as error:
            first = error.errors()[0]
            raise RequestError(f"index: {first['loc'][0]} = {first['input']!r}: {first['msg'][:1].lower()}{first['msg'][1:]}.") from None

    @property
    def exact(self) -> bool:
        """Whether a search compares the query with every vector as it is."""
        return self.factory == FLAT

    @property
    def build(self) -> Self:
        """The same without what a search alone depends on: configs that share it share an index."""
        return replace(self, probes=None, ef_search=None, refine=None)

    @property
    def knobs(self) -> dict[str, float]:
        """Those that are given, by our names."""
        return {name: getattr(self, name) for name in KNOBS if getattr(self, name) is not None}

    def __str__(self) -> str:
        told = {"probes": "probes", "ef_search": "ef", "refine": "refine"}
        return ", ".join([self.factory, *(f"{told[name]} {value:g}" for name, value in self.knobs.items())])


EXACT = IndexConfig()


def empty_index(config: IndexConfig, dimensions: int) -> Any:
    """An untrained FAISS index. Raises RequestError for a factory that FAISS cannot make of vectors of this length."""
    try:
        index = faiss.index_factory(dimensions, config.factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        why = str(error).rsplit(":", 1)[-1].strip()
        raise RequestError(f'factory = "{config.factory}" is no index of vectors of {dimensions} numbers to FAISS ({why}).') from None
    for part in parts_of(index):
        for learnt in (getattr(part, "cp", None), getattr(getattr(part, "pq", None), "cp", None)):
            if learnt is not None:
                learnt.seed, learnt.min_points_per_centroid = config.seed + 1, 1  # or it warns; a seed of 0 is no seed to it
                learnt.max_points_per_centroid = 2**30  # the sample is ours to take
        if hasattr(part, "cp"):
            part.cp.spherical = False
    return index


def parts_of(index: Any) -> list[Any]:
    """The index and those it is made of, each as what it is."""
    found = [faiss.downcast_index(index)]
    for part in found:
        found += [
            faiss.downcast_index(each) for name in ("index", "base_index", "storage") if (each := getattr(part, name, None)) is not None
        ]
    return found


def mended(index: Any) -> Any:
    """An index as FAISS 1.15 reads it, less a fault: cells with 4-bit codes come without what decodes them, and decoding crashes."""
    for part in parts_of(index):
        if hasattr(part, "fine_quantizer") and part.fine_quantizer is None:
            part.fine_quantizer = part.pq
    return index


def set_knobs(index: Any, config: IndexConfig) -> None:
    """Those that are given, and FAISS's own for the others. Raises RequestError for a knob that this kind of index does not have."""
    space = faiss.GpuParameterSpace() if type(index).__name__.startswith("Gpu") else faiss.ParameterSpace()
    for name, (theirs, default) in KNOBS.items():
        given = getattr(config, name)
        try:
            space.set_index_parameter(index, theirs, default if given is None else given)
        except RuntimeError:
            if given is not None:
                raise RequestError(f'{name} = {given:g} means nothing to the factory "{config.factory}".') from None


def check_enough(index: Any, n: int, factory: str) -> None:
    """Raises RequestError when there are fewer vectors than the index has centroids, of its cells or of its codes."""
    parts = parts_of(index)
    cells = max((part.nlist for part in parts if hasattr(part, "nlist")), default=0)
    codes = max((part.pq.ksub for part in parts if hasattr(part, "pq")), default=0)
    most, what = max((cells, "cells"), (codes, "codes"))
    if n < most:
        raise RequestError(
            f'factory = "{factory}" has {most:,} {what} to learn, and there are {n:,} vectors: fewer cells, or another kind.'
        )


def sweep(
    n_items: int, dimensions: int, k: int = 100, metric: Literal["inner_product", "cosine"] = "inner_product"
) -> Sequence[IndexConfig]:
    """What is worth trying for a catalogue of this size and answers of this length, exact search first: each kind with its knobs from quick
    to thorough.
    """
    cells = 1
    while 2 * cells <= min(4 * n_items**0.5, n_items / 39):  # four times the root, and vectors enough to learn each from
        cells *= 2
    probes = [cells // share for share in (16, 8, 4, 2) if n_items * (cells // share) >= 2 * k * cells] or [cells]
    found = [IndexConfig(metric=metric), IndexConfig(factory="SQ8", metric=metric)]
    kinds = [f"IVF{cells},Flat", f"IVF{cells},SQ8"]
    found += [IndexConfig(factory=kind, metric=metric, probes=each) for kind in kinds for each in probes]
    found += [IndexConfig(factory="HNSW32", metric=metric, ef_search=each) for each in (k, 2 * k, 4 * k)]
    if dimensions % 2 == 0 and n_items >= 16:
        pq = f"IVF{cells},PQ{dimensions // 2}x4fs"
        found += [IndexConfig(factory=pq, metric=metric, probes=probes[-1])]
        found += [IndexConfig(factory=f"{pq},RFlat", metric=metric, probes=each, refine=4) for each in probes]
    return found
