"""What a ranker learns from and is judged on: requests with their candidates, what is known of each, and what came of it.

A candidate that was not taken was not rejected: most were never seen. So labels say what followed, not what was thought, and probabilities
made of them hold for the candidates of this very retriever.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from torch import Generator, Tensor

from workbench.data.interactions import offsets_of, runs
from workbench.errors import NotApplicable, RequestError, unknown
from workbench.evaluation.metrics import ndcg
from workbench.evaluation.ranking import NOTHING
from workbench.features import FeatureFrame


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Examples:
    """r requests, and their n candidates one after another, in the order retrieval gave them."""

    users: Tensor
    """int64 (r,), codes."""
    moments: Tensor
    """int64 (r,): when each was asked, microseconds since 1970 UTC."""
    offsets: Tensor
    """int64 (r + 1,): the candidates of request r are [offsets[r], offsets[r + 1]). A request may have none."""
    items: Tensor
    """int64 (n,), codes."""
    features: FeatureFrame
    """n rows."""
    labels: Tensor
    """bool (n, tasks)."""
    tasks: tuple[str, ...]
    """Kinds of events, each meant given the one before: watched, then liked. The last one is what lists are ranked for."""
    n_relevant: Tensor
    """int64 (r,): what each person then liked and could be shown, among the candidates or not; lists are judged against it."""
    given_by: Tensor
    """int64 (n,): a bit for each source that gave the candidate."""
    sources: tuple[str, ...] = ()
    retriever: str = ""
    """Which retriever's candidates these are; probabilities do not carry over to another's."""
    weights: Tensor | None = None
    """float64 (n,): how much each counts in learning; None: all alike."""
    kept: float = 1.0
    """Share of the candidates that the last task is not true of that was kept; see `thinned`."""

    def __len__(self) -> int:
        return len(self.users)

    def __repr__(self) -> str:
        told = ", ".join(f"{int(self.labels[:, place].sum()):,} {task}" for place, task in enumerate(self.tasks))
        return f"Examples({len(self):,} requests, {len(self.items):,} candidates, {told})"

    @cached_property
    def rows(self) -> Tensor:
        """int64 (n,): the request each candidate belongs to."""
        return torch.arange(len(self)).repeat_interleave(self.offsets.diff())

    @property
    def places(self) -> Tensor:
        """int64 (n,): the candidate's place among its request's, from 0."""
        return torch.arange(len(self.items)) - self.offsets[self.rows]

    @property
    def label(self) -> Tensor:
        """bool (n,): of the last task."""
        return self.labels[:, -1]

    def select(self, requests: Tensor) -> Self:
        """These requests, int64 (m,) or bool (r,), with their candidates."""
        which = torch.nonzero(requests)[:, 0] if requests.dtype == torch.bool else requests
        offsets, places = runs(self.offsets[which], self.offsets.diff()[which])
        kept = self._candidates(places)
        return replace(kept, users=self.users[which], moments=self.moments[which], offsets=offsets, n_relevant=self.n_relevant[which])

    def thinned(self, kept: float, generator: Generator) -> Self:
        """Without some of the candidates that the last task is not true of: of these the share `kept` stays, at random. What is learnt from
        fewer overstates the last task's chance; `corrected` undoes that. Raises RequestError for a share outside (0, 1].
        """
        if not 0 < kept <= 1:
            raise RequestError(f"kept = {kept:g} should be above 0 and at most 1.")
        stays = self.label | (torch.rand(len(self.items), generator=generator) < kept)
        lengths = torch.bincount(self.rows[stays], minlength=len(self))
        left = self._candidates(torch.nonzero(stays)[:, 0])
        return replace(left, offsets=offsets_of(lengths), kept=self.kept * kept)

    def with_features(self, names: Collection[str]) -> Self:
        """With these features alone."""
        return replace(self, features=self.features.only(names))

    def with_values(self, frame: FeatureFrame) -> Self:
        """With other values of the features."""
        return replace(self, features=frame)

    def ranked(self, scores: Tensor, ties: Tensor, k: int) -> Tensor:
        """int64 (r, k): each request's candidates, the highest score first; NOTHING after the last.

        scores: float (n,), finite; ties: int64 (n_items,), the order among equal scores. Raises ValueError for scores that are no numbers.
        """
        best, at = self._first(scores, ties, k)
        lists = torch.full((len(self), k), NOTHING)
        lists[at] = self.items[best]
        return lists

    def order(self, scores: Tensor, ties: Tensor) -> Tensor:
        """int64 (n,): the candidates, request by request, the best first."""
        if scores.shape != self.items.shape or not scores.isfinite().all():
            raise ValueError(f"{len(self.items):,} candidates need as many finite scores.")
        return torch.from_numpy(np.lexsort((ties[self.items].numpy(), -scores.double().numpy(), self.rows.numpy())))

    def ndcg(self, scores: Tensor, ties: Tensor, k: int) -> Tensor:
        """float64 (r,): NDCG@k of each request's list, against all that was then liked; NaN where nothing was. scores, ties: as
        `ranked`."""
        best, at = self._first(scores, ties, k)
        hits = torch.zeros(len(self), k, dtype=torch.bool)
        hits[at] = self.label[best]
        return torch.where(self.n_relevant > 0, ndcg(hits, self.n_relevant, k), torch.nan)

    def task(self, name: str) -> Tensor:
        """bool (n,): what came of each candidate. Raises RequestError for a task that is not here."""
        if name not in self.tasks:
            raise unknown("task", name, self.tasks)
        return self.labels[:, self.tasks.index(name)]

    def _first(self, scores: Tensor, ties: Tensor, k: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """int64 (m,): the candidates among the first `k` of their request; and where each stands, request and place."""
        order = self.order(scores, ties)
        rows = self.rows[order]
        place = torch.arange(len(order)) - self.offsets[rows]
        shown = place < k
        return order[shown], (rows[shown], place[shown])

    def _candidates(self, places: Tensor) -> Self:
        weights = None if self.weights is None else self.weights[places]
        columns = {name: getattr(self, name)[places] for name in ("items", "labels", "given_by")}
        return replace(self, features=self.features.select(places), weights=weights, **columns)


def check_learnable(examples: Examples, outputs: int = 1) -> None:
    """Raises NotApplicable where there is nothing to learn from: no candidates, or nothing that came of any, or something of all. outputs:
    of so many tasks, the last ones.
    """
    if not len(examples.items):
        raise NotApplicable("there are no candidates to learn from: no request of the period got any.")
    for task in examples.tasks[-outputs:]:
        labels = examples.task(task)
        if not labels.any() or labels.all():
            raise NotApplicable(
                f"{int(labels.sum()):,} of {len(labels):,} candidates are {task}: a ranker needs some that are and some that are not."
            )


def judging(valid: Examples | None) -> bool:
    """Whether somebody liked something there that could be shown: else it can neither stop nor choose."""
    return valid is not None and bool((valid.n_relevant > 0).any()) and len(valid.items) > 0


def joined(several: Sequence[Examples]) -> Examples:
    """One after another: the same features, tasks and sources. Raises RequestError where they differ."""
    first = several[0]
    for each in several[1:]:
        if each.features.definitions != first.features.definitions or each.tasks != first.tasks or each.sources != first.sources:
            raise RequestError("examples of different features, tasks or sources cannot be put together.")
        if (each.kept, each.retriever, each.features.names) != (first.kept, first.retriever, first.features.names):
            raise RequestError("examples of another retriever, with other shares kept or other codes cannot be put together.")
    lengths = torch.cat([each.offsets.diff() for each in several])
    names = ("users", "moments", "items", "labels", "n_relevant", "given_by")
    columns: dict[str, Any] = {name: torch.cat([getattr(each, name) for each in several]) for name in names}
    values = torch.cat([each.features.values for each in several])
    frame = FeatureFrame(first.features.definitions, values, first.features.names)
    if any(each.weights is not None for each in several):
        ones = [torch.ones(len(each.items), dtype=torch.float64) if each.weights is None else each.weights for each in several]
        columns["weights"] = torch.cat(ones)
    return replace(first, **columns, offsets=offsets_of(lengths), features=frame)
