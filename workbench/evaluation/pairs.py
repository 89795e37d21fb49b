"""Metrics of labelled pairs: a person, an item, and a label that says whether it was clicked, liked, bought. No list, no cut-off.

`auc` asks whether the scores put all pairs in order, whoever's they are; `gauc` whether they put each person's own pairs in order;
`log_loss` whether they are good probabilities. docs/metrics.md has formulas, sources and worked examples.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.errors import NotApplicable, RequestError
from workbench.evaluation.clusters import auc_interval, ratio_interval
from workbench.evaluation.intervals import Interval
from workbench.evaluation.scoring import Scorer, Source, history_of, look, name_of, score_pairs, served_by
from workbench.evaluation.tally import Tally, check_labels, no_auc, no_gauc

EPSILON = torch.finfo(torch.float64).eps
"""Probabilities are clipped to [EPSILON, 1 - EPSILON], so a pair costs 36.04 nats at most."""


def auc(scores: Tensor, labels: Tensor) -> float:
    """Chance that a pair labelled 1 has a higher score than a pair labelled 0, a tie counting half: Mann-Whitney's U / (n1 · n0).

    scores: float (n,), no NaN. labels: (n,), 0 or 1. Returns a float in [0, 1]; higher is better, and equal scores get 0.5. By sorting, in
    O(n log n); counts are exact. Source: Hanley and McNeil, Radiology 1982.

    Raises NotApplicable where one of the labels is absent, RequestError for labels that are none and scores that are NaN.

    >>> auc(torch.tensor([0.1, 0.4, 0.4, 0.8]), torch.tensor([0, 0, 1, 1]))  # of 4 comparisons 3 are won and 1 is tied
    0.875
    """
    tally = Tally.of(scores, labels, torch.zeros(len(scores), dtype=torch.int64), own=False)
    if reason := no_auc(tally):
        raise NotApplicable(reason)
    return tally.auc.item()


def auc_by_person(users: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The AUC among each person's own pairs.

    users: int64 (n,), in any order; scores, labels: as in `auc`. Returns the people, int64 (n_people,), ascending, and their AUC, float64
    (n_people,) in [0, 1], NaN where a person's pairs have one label only. Raises RequestError as `auc` does.
    """
    people, tally = _own(users, scores, labels)
    return people, tally.auc


def gauc(users: Tensor, scores: Tensor, labels: Tensor) -> tuple[float, int]:
    """Mean of the people's own AUC, each weighted by their number of pairs; and the number of people left out of it.

    Arguments as in `auc_by_person`. People whose pairs have one label only have no AUC; they are left out, and so is their weight. The mean
    is in [0, 1]; higher is better. Source: Zhu et al., KDD 2017; Zhou et al., KDD 2018, who weight by impressions as here. RecBole
    weights by the pairs labelled 1.

    Raises NotApplicable where nobody's pairs have both labels, RequestError as `auc` does.

    >>> users, labels = torch.tensor([7, 7, 7, 7, 9, 9, 4]), torch.tensor([0, 0, 1, 1, 1, 0, 1])
    >>> gauc(users, torch.tensor([0.1, 0.4, 0.4, 0.8, 0.2, 0.6, 0.5]), labels)  # (4 · 0.875 + 2 · 0) / (4 + 2); person 4 is left out
    (0.5833333333333334, 1)
    """
    _, tally = _own(users, scores, labels)
    if reason := no_gauc(tally):
        raise NotApplicable(reason)
    kept = ~tally.auc.isnan()
    return ((tally.auc * tally.pairs)[kept].sum() / tally.pairs[kept].sum()).item(), int((~kept).sum())


def log_loss(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Negative log-likelihood of each label, in nats: -log p where it is 1, -log(1 - p) where it is 0. The mean is the log loss.

    probabilities: float (n,) in [0, 1], of the label 1; clipped in float64, see EPSILON, so that no certain error outweighs all else.
    labels: (n,), 0 or 1. Returns float64 (n,) in [2e-16, 36.05]; lower is better. Source: Good, JRSS B 1952.

    Raises RequestError for probabilities outside [0, 1] and labels that are none.

    >>> log_loss(torch.tensor([0.5, 0.75, 0.0]), torch.tensor([1, 0, 1])).tolist()  # -log 0.5, -log 0.25, -log EPSILON
    [0.6931471805599453, 1.3862943611198906, 36.04365338911715]
    """
    positive = check_labels(labels, len(probabilities))
    outside = torch.nonzero(~((probabilities >= 0) & (probabilities <= 1)))[:, 0]  # NaN too
    if len(outside):
        first = int(outside[0])
        raise RequestError(f"{len(outside):,} probabilities are outside [0, 1], the first: {probabilities[first].item()} of pair {first}.")
    p = probabilities.double().clamp(EPSILON, 1 - EPSILON)
    return -torch.where(positive, p.log(), (-p).log1p())


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class PairEvaluation:
    """One model on labelled pairs. The intervals speak of other people like these, not of another training of the model."""

    model: str
    n_pairs: int
    n_positive: int
    """Pairs labelled 1."""
    n_people: int
    n_left_out: int
    """People whose pairs have one label only: they are in AUC and log loss, and have no part in GAUC."""
    auc: Interval | None
    gauc: Interval | None
    log_loss: Interval | None
    """Mean over pairs, in nats."""
    not_applicable: dict[str, str]
    """For each of the three that is None, why."""
    users: Tensor
    """int64 (n_people,): codes of the people, ascending."""
    per_user: dict[str, Tensor]
    """Each person's "pairs", their number; "auc", NaN where there is none; "log_loss", their mean, if asked for: float64 (n_people,)."""

    def __repr__(self) -> str:
        named = (("AUC", self.auc), ("GAUC", self.gauc), ("log loss", self.log_loss))
        values = "".join(f"{label} {interval.value:.3f}, " for label, interval in named if interval)
        return f"PairEvaluation({self.model}: {values}{self.n_pairs:,} pairs of {self.n_people:,} people)"


def evaluate_pairs(
    model: Scorer,
    source: Source,
    users: Tensor,
    items: Tensor,
    labels: Tensor,
    *,
    probabilities: bool = False,
    name: str | None = None,
    device: str = "cpu",
    seed: int = 0,
) -> PairEvaluation:
    """Score labelled pairs, and judge the scores by AUC, GAUC and, if they are `probabilities` of the label 1, by log loss.

    source: the holdout, or the log, with the histories that the model may know. users, items: int64 (n,), codes, in any order; the same
    pair may come more than once. labels: (n,), 0 or 1. seed: of the bootstrap. A look at a sealed part is written into its ledger first. A
    metric that these pairs do not allow is None, and `not_applicable` says why.

    Memory: a batch of scores, at most SCORE_BYTES or one person's, and some tensors with an entry for each pair.

    Raises NotApplicable where there are no pairs; RequestError for lengths that differ, unknown codes, labels that are none, people whom
    the model cannot serve, probabilities outside [0, 1]; ValueError when scores have the wrong shape or are not finite.
    """
    called = name_of(model, name)
    _check_pairs(source, users, items, labels)
    people, person = users.unique(return_inverse=True)
    served_by(model, source, people, called)
    look(model, source, called)
    scores = score_pairs(model, source, users, items, name=called, device=device)
    everybody, own = (Tally.of(scores, labels, person, own=own) for own in (False, True))
    kept, per_user = ~own.auc.isnan(), {"pairs": own.pairs, "auc": own.auc}
    reasons = {"auc": no_auc(everybody), "gauc": no_gauc(own)}
    if probabilities:
        losses = torch.zeros_like(own.pairs).index_add_(0, person, _losses(scores, labels, called))
        per_user["log_loss"] = losses / own.pairs
    else:
        reasons["log_loss"] = "log loss needs probabilities, and the scores were not said to be any."
    return PairEvaluation(
        model=called,
        n_pairs=len(users),
        n_positive=int(own.ones.sum()),
        n_people=len(people),
        n_left_out=int((~kept).sum()),
        auc=None if reasons["auc"] else auc_interval(everybody),
        gauc=None if reasons["gauc"] else ratio_interval((own.auc * own.pairs)[kept], own.pairs[kept], seed=seed),
        log_loss=ratio_interval(losses, own.pairs, seed=seed) if probabilities else None,
        not_applicable={metric: reason for metric, reason in reasons.items() if reason},
        users=people,
        per_user=per_user,
    )


def _own(users: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tally]:
    if users.shape != scores.shape:
        raise RequestError(f"there are {len(users):,} users and {len(scores):,} scores; there should be one of each for each pair.")
    people, person = users.unique(return_inverse=True)
    return people, Tally.of(scores, labels, person, own=True)


def _check_pairs(source: Source, users: Tensor, items: Tensor, labels: Tensor) -> None:
    if not len(users) == len(items) == len(labels):
        raise RequestError(
            f"there are {len(users):,} users, {len(items):,} items and {len(labels):,} labels; each pair should have one of each."
        )
    if not len(users):
        raise NotApplicable("there are no pairs to judge.")
    check_labels(labels, len(users))
    for kind, codes, n in (("users", users, history_of(source).n_users), ("items", items, source.n_items)):
        unknown = torch.nonzero((codes < 0) | (codes >= n))[:, 0]
        if len(unknown):
            first = int(unknown[0])
            raise RequestError(f"{kind}[{first}] is {int(codes[first])}; codes of {kind} are from 0 to {n - 1}.")


def _losses(scores: Tensor, labels: Tensor, name: str) -> Tensor:
    try:
        return log_loss(scores, labels)
    except RequestError as error:
        raise RequestError(f"the scores of {name} are no probabilities: {error}") from None
