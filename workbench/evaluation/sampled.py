"""Sampled metrics: each relevant item against a few random others instead of the whole catalogue; their bias stated, and a correction.

Sampled metrics do not estimate the metric they are named after, and can put two models in the wrong order, in expectation and however many
people there are (Krichene and Rendle, KDD 2020). They are here to be compared with papers that have no others. Rank the catalogue, with
`evaluate`, wherever it can be ranked.

One truth each: a person's relevant items are ranked one at a time, among the candidates: what the person has not had and does not like.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from workbench.data import Holdout
from workbench.errors import NotApplicable, RequestError, unknown
from workbench.evaluation.candidates import Candidates, ranks
from workbench.evaluation.correction import check_correction, corrected_gains
from workbench.evaluation.harness import check_judged
from workbench.evaluation.scoring import Scorer, look, name_of, score_batches, served_by

GAMMA = 0.1
"""What a unit of variance weighs beside one of squared bias: bias first."""
CELLS = 2**22
"""Items that relevant items are compared with at once."""

GAINS: dict[str, Callable[[Tensor], Tensor]] = {
    "recall": torch.ones_like,
    "hit_rate": torch.ones_like,
    "ndcg": lambda ranks: 1 / (ranks + 1).log2(),
    "mrr": lambda ranks: 1 / ranks,
}
"""What a single relevant item counts at each rank up to the cut-off, float64; beyond it 0. Recall and hit rate are then the same."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class SampledEvaluation:
    """One model on one holdout. Values of people are means over their relevant items; float64 (n,)."""

    model: str
    label: str
    """The holdout's."""
    metric: str
    """"ndcg@10" and so on."""
    negatives: int
    gamma: float
    """How much the correction cares for variance, see `corrected_gains`."""
    seed: int
    users: Tensor
    """int64 (n,): codes of the people judged."""
    candidates: Tensor
    """int64 (n,): items that each relevant item is ranked among, itself included."""
    naive: Tensor
    """In [0, 1]: the metric of the rank among the sampled items."""
    corrected: Tensor
    """Any real number: one person's may be below 0 or above 1. Only means over many people are to be read."""
    full: Tensor | None
    """In [0, 1]: the metric of the rank among all candidates, which the other two are to estimate; None unless it was asked for."""

    def __repr__(self) -> str:
        values = f"{self.naive.mean():.3f}, corrected {self.corrected.mean():.3f}"
        return f"SampledEvaluation({self.model} on {self.label}: {self.metric} {values}, {len(self.users):,} people)"

    @property
    def bias(self) -> str:
        """What a reader has to know of these numbers, in words."""
        k, n = int(self.metric.partition("@")[2]), self.candidates.double().median().item()
        naive, corrected = self.naive.mean().item(), self.corrected.mean().item()
        text = (
            f"Against {self.negatives:,} sampled items the {self.metric} of {self.model} is {naive:.3f}. That is not its {self.metric}: "
            f"rank {k} there is like rank {1 + (k - 1) * (n - 1) / self.negatives:,.0f} among {n:,.0f} candidates. "
            f"Corrected it is {corrected:.3f}"
        )
        if self.full is None:
            return f"{text}; all candidates were not ranked."
        full = self.full.mean().item()
        left = f"the bias is {naive - full:+.3f}, and {corrected - full:+.3f} after correction."
        return f"{text}; among all candidates it is {full:.3f}: {left}"


def sampled_evaluation(
    model: Scorer,
    holdout: Holdout,
    metric: str,
    negatives: int,
    *,
    seed: int,
    gamma: float = GAMMA,
    full: bool = False,
    fallback: Scorer | None = None,
    name: str | None = None,
    device: str = "cpu",
) -> SampledEvaluation:
    """Rank each relevant item among `negatives` items drawn uniformly with replacement from the person's other candidates.

    metric: "recall@k", "hit_rate@k", "ndcg@k" or "mrr@k". Equal scores rank by the holdout's `ties`, lower first. The draws follow from the
    holdout, `negatives` and `seed` alone: all models meet the same items. `full` ranks among all candidates too. Whom the model cannot
    serve is scored by `fallback`. A person with nobody left to draw has rank 1. A look at a sealed part is written into its ledger first.

    The correction is made for each person's own number of candidates, once for each different number.

    Memory: a batch of scores, CELLS comparisons, (negatives + 1)² for the correction, and some numbers for each event known or to be found.

    Raises NotApplicable for an empty holdout; RequestError for an unknown metric, a cut-off below 1, `negatives` outside
    [1, MOST_NEGATIVES], a gamma outside (0, 1], and where a fallback is needed and there is none; ValueError when scores have the wrong
    shape or are not finite.
    """
    gains = rank_gains(metric, holdout.n_items)
    check_correction(negatives, gamma)
    check_judged(holdout)
    called = name_of(model, name)
    served_by(model, holdout, holdout.users, called, fallback)
    look(model, holdout, called)
    candidates, rng = Candidates(holdout), np.random.default_rng(seed)
    among_sampled, among_all = [], []
    for place, scores in score_batches(model, holdout, holdout.users, name=called, device=device, fallback=fallback):
        among_sampled.append(_sampled_ranks(scores, holdout.users[place], candidates, negatives, rng))
        if full:
            among_all.append(_full_ranks(scores, holdout.users[place], candidates))
    sampled = torch.cat(among_sampled)
    n = candidates.others[holdout.users] + 1
    sizes, which = n.unique(return_inverse=True)
    corrected = torch.stack([corrected_gains(gains, size, negatives, gamma) for size in sizes.tolist()])
    return SampledEvaluation(
        model=called,
        label=holdout.label,
        metric=metric,
        negatives=negatives,
        gamma=gamma,
        seed=seed,
        users=holdout.users,
        candidates=n,
        naive=_means(_counted(gains, sampled), holdout),
        corrected=_means(corrected[which.repeat_interleave(holdout.n_relevant), sampled - 1], holdout),
        full=_means(_counted(gains, torch.cat(among_all)), holdout) if full else None,
    )


def rank_gains(metric: str, n_items: int) -> Tensor:
    """What each rank up to the cut-off counts: float64 (k,); see GAINS. Raises RequestError for a metric that is none."""
    name, _, cutoff = metric.partition("@")
    if name not in GAINS:
        raise unknown("sampled metric", name, GAINS)
    if not cutoff.removeprefix("-").isdecimal():
        raise RequestError(f'the metric "{metric}" should end in a cut-off, as "{name}@10" does.')
    if not 1 <= int(cutoff) <= n_items:
        raise NotApplicable(f"k = {cutoff} should be between 1 and {n_items}, the size of the catalogue.")
    return GAINS[name](torch.arange(1, int(cutoff) + 1, dtype=torch.float64))


def _sampled_ranks(scores: Tensor, users: Tensor, candidates: Candidates, negatives: int, rng: np.random.Generator) -> Tensor:
    """int64, for each relevant item of these people, int64 (n,); scores: float (n, n_items)."""
    ties, relevant, found = candidates.holdout.ties.to(scores.device), candidates.holdout.truth.batch(users), []
    step = max(1, CELLS // negatives)
    for rows, items in zip(relevant.rows.split(step), relevant.items.split(step), strict=True):
        others = candidates.draw(users[rows], items, negatives, rng).to(scores.device)
        rows, items = rows.to(scores.device), items.to(scores.device)
        found.append(ranks(scores[rows, items], ties[items], scores[rows[:, None], others], ties[others]).cpu())
    return torch.cat(found)


def _full_ranks(scores: Tensor, users: Tensor, candidates: Candidates) -> Tensor:
    """As `_sampled_ranks`, among all candidates."""
    ties, relevant, found = candidates.holdout.ties.to(scores.device), candidates.holdout.truth.batch(users).to(scores.device), []
    step = max(1, CELLS // scores.shape[1])
    left = scores.clone()
    left[tuple(each.to(scores.device) for each in candidates.excluded(users))] = -torch.inf
    for rows, items in zip(relevant.rows.split(step), relevant.items.split(step), strict=True):
        found.append(ranks(scores[rows, items], ties[items], left[rows], ties).cpu())
    return torch.cat(found)


def _counted(gains: Tensor, found: Tensor) -> Tensor:
    """float64 (n,): what each rank, int64 (n,), counts."""
    return torch.where(found <= len(gains), gains[(found - 1).clamp(max=len(gains) - 1)], 0.0)


def _means(values: Tensor, holdout: Holdout) -> Tensor:
    """float64 (n,): each person's mean of values, float64, one for each relevant item of the people judged."""
    person = torch.arange(len(holdout.users)).repeat_interleave(holdout.n_relevant)
    return torch.zeros(len(holdout.users), dtype=torch.float64).index_add_(0, person, values) / holdout.n_relevant
