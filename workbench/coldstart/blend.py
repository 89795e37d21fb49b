"""From what is known of everybody, over what the items are, to what a person did: a blend that moves as evidence grows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from workbench.data import Holdout, UserBatch
from workbench.errors import NotApplicable
from workbench.evaluation import METRICS, Scorer, split_name
from workbench.evaluation.lists import Lists
from workbench.evaluation.ranking import top_k
from workbench.evaluation.scoring import SCORE_BYTES

TRUST_AT = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0, math.inf)
"""Events after which half of the weight has moved; 0: from the first event on, infinite: never."""


@dataclass(frozen=True, kw_only=True)
class Trust:
    content: float
    """Events after which content weighs as much as what is popular."""
    behaviour: float
    """Events after which behaviour weighs as much as both."""

    @property
    def text(self) -> str:
        told = {0.0: "from the first event on", 1.0: "half after 1 event", math.inf: "never"}
        return "; ".join(
            f"{name} {told.get(at, f'half after {at:g} events')}" for name, at in (("content", self.content), ("behaviour", self.behaviour))
        )


def weight(lengths: Tensor, half_at: float) -> Tensor:
    """float64 (n,): n / (n + half_at) of histories of n events, as a posterior mean moves from its prior to the data; 0 for no event."""
    n = lengths.double()
    if math.isinf(half_at):
        return torch.zeros_like(n)
    return torch.where(n > 0, n / (n + half_at), 0.0)


def mixed(parts: Sequence[Tensor], lengths: Tensor, trust: Trust) -> Tensor:
    """float (batch, n_items): (1 - b) · ((1 - c) · prior + c · content) + b · behaviour, c and b the `weight` of each person's events.

    parts: prior, content, behaviour, each standardised, see `standard`. lengths: int64 (batch,).
    """
    prior, content, behaviour = parts
    c, b = (weight(lengths, at).to(prior.dtype)[:, None] for at in (trust.content, trust.behaviour))
    return (1 - b) * ((1 - c) * prior + c * content) + b * behaviour


def standard(scores: Tensor) -> Tensor:
    """float64 (batch, n_items): each person's scores less their mean, over their standard deviation; zeros where all are equal."""
    scores = scores.double()
    centred = scores - scores.mean(1, keepdim=True)
    spread = centred.square().mean(1, keepdim=True).sqrt()
    alike = scores.amax(1, keepdim=True) == scores.amin(1, keepdim=True)
    return torch.where(alike, 0.0, centred / spread)


class EvidenceBlend:
    """Serves everybody: with no event by what is popular, with many by what they did."""

    title = "Evidence blend"
    inductive = True
    personal = False

    def __init__(self, scorers: Sequence[Scorer], trust: Trust) -> None:
        """scorers: prior, content, behaviour."""
        self.scorers, self.config = tuple(scorers), trust

    def score(self, batch: UserBatch) -> Tensor:
        """float64 (batch, n_items)."""
        return mixed(_parts(self.scorers, batch), batch.lengths, self.config)


def _parts(scorers: Sequence[Scorer], batch: UserBatch) -> list[Tensor]:
    """What each scorer says, standardised; zeros of one that needs a history for whom there is none."""
    found = []
    for scorer in scorers:
        scores = standard(scorer.score(batch))
        found.append(scores * (batch.lengths > 0)[:, None] if scorer.personal else scores)
    return found


class HalfAndHalf:
    """Two scorers, each for the people of one half: a blend is judged on people whose half did not teach it."""

    title = EvidenceBlend.title
    inductive = True
    personal = False

    def __init__(self, first: Scorer, second: Scorer, in_first: Tensor) -> None:
        """in_first: bool (n_users,)."""
        self.first, self.second, self.in_first = first, second, in_first

    def score(self, batch: UserBatch) -> Tensor:
        """float64 (batch, n_items)."""
        mine = self.in_first[batch.users.clamp(min=0)]
        return torch.where(mine[:, None], self.first.score(batch), self.second.score(batch))


def learn_trust(scorers: Sequence[Scorer], holdouts: Sequence[Holdout], metric: str, among: Tensor | None = None) -> Trust:
    """The trust with the best mean of `metric` over all depths; of equals the one that trusts behaviour first.

    scorers: prior, content, behaviour, trained on what came before. holdouts: one for each depth. among: bool (n_users,), who is asked;
    None: everybody judged. Raises NotApplicable where nobody is.
    """
    name, k = split_name(metric)
    totals = dict.fromkeys(product(TRUST_AT, TRUST_AT), 0.0)
    for whole in holdouts:
        holdout = whole if among is None else whole.select(among[whole.users])
        if not len(holdout.users):
            raise NotApplicable("nobody is left to learn the blend on")
        for users in holdout.users.split(max(1, SCORE_BYTES // (32 * holdout.n_items))):
            some = holdout.select(torch.isin(holdout.users, users))
            asked, seen = some.requests(some.users)
            parts, served = _parts(scorers, asked), torch.ones(len(asked), dtype=torch.bool)
            masked = None if seen is None else seen.history_matrix().bool()
            for content, behaviour in totals:
                scores = mixed(parts, asked.lengths, Trust(content=content, behaviour=behaviour))
                items, _ = top_k(scores if masked is None else scores.masked_fill(masked, -torch.inf), k, holdout.ties)
                found = METRICS[name].values(Lists.build(some, items, served), k).sum().item()
                totals[content, behaviour] += found / len(holdout.users) / len(holdouts)
    best = max(totals, key=lambda each: (totals[each], -each[1], -each[0]))
    return Trust(content=best[0], behaviour=best[1])
