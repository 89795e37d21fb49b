"""Where candidates come from: a model that scores the catalogue, or an index of its vectors. Both answer requests with lists."""

from typing import Protocol

import torch
from torch import Tensor

from workbench.evaluation import Scorer
from workbench.evaluation.ranking import NOTHING
from workbench.evaluation.scoring import SCORE_BYTES, rank
from workbench.models import HasVectors
from workbench.retrieval.index import VectorIndex
from workbench.retrieval.tasks import Requests


class Source(Protocol):
    name: str

    def candidates(self, requests: Requests, k: int) -> Tensor:
        """int64 (n, k): for each request items that may be shown, best first, none twice; NOTHING after the last. All NOTHING for whom the
        source cannot serve.
        """
        ...


class ScorerSource:
    """Anything that scores the catalogue: a model, a rule."""

    def __init__(self, name: str, scorer: Scorer, ties: Tensor, floor: float | None = None) -> None:
        """ties: int64 (n_items,), the order among equal scores, as `Split.ties` has it. floor: scores that say nothing, at or below it: a
        list ends before them. None: every score says something.
        """
        self.name, self.scorer, self.ties, self.floor = name, scorer, ties, floor

    def candidates(self, requests: Requests, k: int) -> Tensor:
        found = torch.full((len(requests), k), NOTHING)
        served = torch.nonzero(servable(self.scorer, requests))[:, 0]
        depth = min(k, requests.asked.n_items)
        for rows in served.split(max(1, SCORE_BYTES // (4 * requests.asked.n_items))):
            some = requests.select(rows)
            found[rows, :depth] = rank(self.scorer, some.asked, some.seen, depth, self.ties, self.floor)[0]
        return found


class PersonVectors:
    """The items whose vectors are nearest to the person's, out of an index."""

    def __init__(self, name: str, model: HasVectors, index: VectorIndex) -> None:
        self.name, self.model, self.index = name, model, index

    def candidates(self, requests: Requests, k: int) -> Tensor:
        found = torch.full((len(requests), k), NOTHING)
        rows = torch.nonzero(servable(self.model, requests))[:, 0]
        if len(rows):
            some = requests.select(rows)
            _look_up(found, self.index, self.model.person_vectors(some.asked), rows, some)
        return found


class ItemVectors:
    """The items whose vectors are nearest to that of the last item, out of an index; cosine is the usual measure."""

    def __init__(self, name: str, vectors: Tensor, index: VectorIndex) -> None:
        """vectors: float (n_items, d), by code."""
        self.name, self.vectors, self.index = name, vectors, index

    def candidates(self, requests: Requests, k: int) -> Tensor:
        found = torch.full((len(requests), k), NOTHING)
        rows = torch.nonzero(requests.asked.lengths)[:, 0]
        if len(rows):
            some = requests.select(rows)
            _look_up(found, self.index, self.vectors[some.asked.items[some.asked.offsets[1:] - 1]], rows, some)
        return found


def _look_up(found: Tensor, index: VectorIndex, queries: Tensor, rows: Tensor, requests: Requests) -> None:
    """Fill these rows of `found`; a query of nothing but zeros, of an item nobody had, say, is like every item alike, and gets none."""
    some = torch.nonzero(queries.any(1))[:, 0]
    seen = None if requests.seen is None else requests.seen.select(some)
    found[rows[some]] = index.search(queries[some], found.shape[1], seen)[0]


def servable(model: Scorer | HasVectors, requests: Requests) -> Tensor:
    """bool (n,): whom the model can serve, see `Scorer`."""
    if not model.personal:
        return torch.ones(len(requests), dtype=torch.bool)
    return requests.asked.lengths > 0 if model.inductive else requests.trained
