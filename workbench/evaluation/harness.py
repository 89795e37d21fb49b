"""Full-ranking evaluation in one streaming pass: score a batch, mask the seen, keep the top k; all metrics at all k from what was kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from workbench.data import Holdout, UserBatch
from workbench.errors import NotApplicable, RequestError
from workbench.evaluation.metrics import METRICS
from workbench.evaluation.ranking import NOTHING, top_k

SCORE_BYTES = 2**26
"""Upper limit of one batch of scores."""


class Scorer(Protocol):
    """Anything that scores the catalogue for a batch of people."""

    inductive: bool
    """Serves people it never trained on, from their history."""
    personal: bool
    """Needs to know something of a person: a history, or a place in training. False for popularity."""

    def score(self, batch: UserBatch) -> Tensor: ...


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Evaluation:
    """One model on one holdout: per-person values first, everything else follows from them."""

    model: str
    title: str
    """The model's name as a reader knows it."""
    label: str
    """The holdout's label."""
    ks: tuple[int, ...]
    """Cut-offs, ascending."""
    users: Tensor
    """int64 (n,): codes of the people judged."""
    per_user: dict[str, Tensor]
    """"ndcg@10" and so on: float64 (n,)."""
    top: Tensor
    """int64 (n, depth): recommended items, best first; -1 where a list is shorter."""
    n_items: int
    served_by_fallback: Tensor
    """bool (n,): the model could not serve the person, the fallback did."""
    fallback: str
    tied_share: float
    """Share of the recommended places that a tie-break decided."""

    def __repr__(self) -> str:
        metric = f"ndcg@{self.ks[0]}"
        return f"Evaluation({self.title} on {self.label}: {metric} {self.mean(metric):.3f}, {len(self.users):,} people)"

    def mean(self, metric: str) -> float:
        return self.per_user[metric].mean().item()

    def covered(self, k: int) -> int:
        """Number of catalogue items that are in the first `k` of at least one person."""
        shown = self.top[:, :k]
        return len(shown[shown != NOTHING].unique())

    def coverage(self, k: int) -> float:
        """Catalogue coverage: `covered` over the catalogue, in [0, 1]. A property of the set of lists, not a mean over people."""
        return self.covered(k) / self.n_items


def evaluate(
    model: Scorer,
    holdout: Holdout,
    *,
    name: str | None = None,
    ks: Sequence[int] = (5, 10, 20),
    fallback: Scorer | None = None,
    fallback_name: str = "popularity",
    device: str = "cpu",
) -> Evaluation:
    """Rank the whole catalogue for everyone in `holdout` and compare with their truth.

    `name` is what records call the model; its title where none is given. People the model cannot serve (no history for a model that works
    from histories; no place in training for one that is not inductive) are served by `fallback` and marked.

    Raises NotApplicable for a k outside [1, n_items] and for an empty holdout, RequestError when a fallback is needed and there is none;
    ValueError when the scores have the wrong shape or are not finite.
    """
    title = str(getattr(model, "title", name or type(model).__name__))
    name = name or title
    for k in ks:
        check_cutoff(k, holdout.n_items)
    if not len(holdout.users):
        raise NotApplicable(f"nobody is left to judge on the {holdout.label.rsplit('/', 1)[-1]} part; choose another split.")
    left_out = ~servable(model, holdout)
    if left_out.any() and fallback is None:
        raise RequestError(
            f"{name} cannot serve {int(left_out.sum())} of {len(left_out)} people (no history or not in training): name a fallback."
        )
    depth = max(ks)
    top = torch.full((len(left_out), depth), NOTHING)
    tied = 0
    for scorer, places in ((model, torch.nonzero(~left_out)[:, 0]), (fallback, torch.nonzero(left_out)[:, 0])):
        for chunk in places.split(max(1, SCORE_BYTES // (4 * holdout.n_items))):
            if scorer is not None and len(chunk):
                top[chunk], decided = _rank(scorer, holdout, holdout.users[chunk], depth, device)
                tied += int(decided.sum())
    hits = _hits(top, holdout)
    return Evaluation(
        model=name,
        title=title,
        label=holdout.label,
        ks=tuple(sorted(set(ks))),
        users=holdout.users,
        per_user={f"{metric}@{k}": METRICS[metric].function(hits, holdout.n_relevant, k) for metric in METRICS for k in ks},
        top=top,
        n_items=holdout.n_items,
        served_by_fallback=left_out,
        fallback=fallback_name,
        tied_share=tied / max(1, int((top != NOTHING).sum())),
    )


def check_cutoff(k: int, n_items: int) -> None:
    """Raises NotApplicable unless 1 <= k <= n_items."""
    if not 1 <= k <= n_items:
        raise NotApplicable(f"k = {k} should be between 1 and {n_items}, the size of the catalogue.")


def cutoffs(k: int, n_items: int) -> tuple[int, ...]:
    """The headline's cut-off and the usual ones beside it, ascending, none beyond the catalogue."""
    check_cutoff(k, n_items)
    return tuple(sorted({k, *(usual for usual in (5, 10, 20, 100) if usual <= n_items)}))


def servable(model: Scorer, holdout: Holdout) -> Tensor:
    """bool (n,): whom of the people judged the model can serve itself."""
    if not model.personal:
        return torch.ones(len(holdout.users), dtype=torch.bool)
    return holdout.history_lengths > 0 if model.inductive else holdout.trained[holdout.users]


def _rank(scorer: Scorer, holdout: Holdout, users: Tensor, depth: int, device: str) -> tuple[Tensor, Tensor]:
    scores = scorer.score(holdout.batch(users).to(device))
    if scores.shape != (len(users), holdout.n_items):
        raise ValueError(f"scores have shape {tuple(scores.shape)}, expected {(len(users), holdout.n_items)}.")
    if not scores.isfinite().all():
        raise ValueError(f"the scores of {type(scorer).__name__} are not all finite.")
    if holdout.seen is not None:
        seen = holdout.seen.batch(users).to(device)
        scores = scores.index_put((seen.rows, seen.items), torch.tensor(-torch.inf, device=device, dtype=scores.dtype))
    top, tied = top_k(scores, depth, holdout.ties.to(device))
    return top.cpu(), tied.cpu()


def _hits(top: Tensor, holdout: Holdout) -> Tensor:
    """bool (n, depth): the recommended item is one of the person's truth."""
    truth = (holdout.truth.users * holdout.n_items + holdout.truth.items).sort().values
    shown = holdout.users[:, None] * holdout.n_items + top
    place = torch.searchsorted(truth, shown).clamp(max=len(truth) - 1)
    return (truth[place] == shown) & (top != NOTHING)
