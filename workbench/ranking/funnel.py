"""Where in the funnel relevance is lost: what retrieval did not find, and what the ranker put too low, for everyone and by slice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.data import Holdout
from workbench.errors import RequestError
from workbench.evaluation import Comparison, Evaluation, Interval, Slice, compare, evaluate_lists
from workbench.evaluation.contrast import Contrast
from workbench.evaluation.lists import Lists
from workbench.evaluation.metrics import METRICS, split_name
from workbench.evaluation.ranking import NOTHING
from workbench.ranking.examples import Examples


def list_of(examples: Examples, scores: Tensor, holdout: Holdout, k: int) -> Tensor:
    """int64 (n, k): the lists of the holdout's people, in its order; NOTHING for whom there is no request and after a list's end.

    Raises RequestError where somebody judged was not asked.
    """
    asked = torch.full((holdout.truth.n_users,), -1)
    asked[examples.users] = torch.arange(len(examples))
    rows = asked[holdout.users]
    if (rows < 0).any():
        raise RequestError(f"{int((rows < 0).sum()):,} people who are judged made no request.")
    return examples.ranked(scores, holdout.ties, k)[rows]


def judge_ranking(
    examples: Examples,
    scores: Tensor,
    holdout: Holdout,
    *,
    name: str,
    ks: Sequence[int],
    title: str = "",
    settings: Mapping[str, object] | None = None,
) -> Evaluation:
    """The lists that these scores make, by the metrics and conventions of any other; a look at the holdout."""
    lists = list_of(examples, scores, holdout, max(ks))
    served = lists[:, 0] != NOTHING
    return evaluate_lists(
        lists, holdout, name=name, title=title, ks=ks, served=served, fallback_name="nobody", settings=dict(settings or {})
    )


@dataclass(frozen=True, kw_only=True)
class Loss:
    """NDCG that a stage of the funnel costs, in a slice of what people liked or of people."""

    group: str
    n: int
    retrieval: Interval
    """1 minus the NDCG of the best order of the candidates: what no ranker can win back."""
    ranking: Interval
    """That less the ranker's."""
    policy: Interval | None
    """The ranker's less the final list's; None where no policy follows."""
    left: Interval
    """The final list's NDCG; the four add up to 1."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Funnel:
    """One ranker over one retriever's candidates."""

    metric: str
    retrieval: Evaluation
    """The candidates in the order retrieval gives them."""
    ceiling: Evaluation
    """The candidates in the best order there is."""
    ranked: Evaluation
    final: Evaluation
    """After policies; the ranked lists where there are none."""
    pool: Evaluation
    """All candidates, for recall at their number."""
    gain: Comparison
    """The ranked lists minus retrieval's own order."""

    def losses(self, slices: Sequence[Slice] = ()) -> list[Loss]:
        """For everyone, then in each slice with somebody in it; the intervals are each on its own."""
        found = []
        for of in (None, *slices):
            ceiling, ranked, final = self.reachable(of), self.ranked.values(self.metric, of), self.final.values(self.metric, of)
            if ceiling.isnan().all():
                continue
            columns = [1 - ceiling, ceiling - ranked, ranked - final, final]
            parts = Contrast.of([column[None] for column in columns]).intervals(together=False)
            policy = parts[2] if self.final is not self.ranked else None
            found.append(
                Loss(group=of.label if of else "everyone", n=parts[0].n, retrieval=parts[0], ranking=parts[1], policy=policy, left=parts[3])
            )
        return found

    def reachable(self, of: Slice | None = None) -> Tensor:
        """float64 (n,): the metric of the best order of each person's candidates; of a slice of items these first."""
        if of is None or of.truth is None:
            return self.ceiling.values(self.metric, of)
        name, k = split_name(self.metric)
        lists = self.pool.lists.within(of.truth)
        first = (~lists.hits).long().argsort(dim=1, stable=True)
        best = Lists.build(lists.holdout, lists.items.gather(1, first), lists.served).within(of.truth)
        values = torch.cat([METRICS[name].values(block, k) for block in best.blocks()])
        return values.masked_fill(~of.members(lists.holdout), torch.nan)


def judge_funnel(examples: Examples, ranked: Evaluation, metric: str, k: int, final: Evaluation | None = None) -> Funnel:
    """The stages around lists that were judged already. k: candidates for each request. Retrieval's own order, the best order and all
    candidates are three more looks at the holdout.
    """
    holdout, ks = ranked.holdout, ranked.ks
    in_order = -examples.places.double()
    retrieval = judge_ranking(examples, in_order, holdout, name="retrieval", title="Retrieval's order", ks=ks)
    best = judge_ranking(
        examples, examples.label.double() * (len(examples.items) + 1) + in_order, holdout, name="ceiling", title="Best order", ks=ks
    )
    pool = judge_ranking(examples, in_order, holdout, name="candidates", title="All candidates", ks=(k,))
    gain = compare(ranked, retrieval, metric)
    return Funnel(metric=metric, retrieval=retrieval, ceiling=best, ranked=ranked, final=final or ranked, pool=pool, gain=gain)


@dataclass(frozen=True, kw_only=True)
class Changed:
    """How one person fares with one list and with another."""

    user: int
    before: float
    after: float


def gained_and_lost(after: Evaluation, before: Evaluation, metric: str, most: int = 5) -> tuple[list[Changed], list[Changed]]:
    """Who gained most and who lost most; of equals the lower code."""
    gap = after.values(metric) - before.values(metric)
    worst, best = gap.argsort(stable=True).tolist(), (-gap).argsort(stable=True).tolist()

    def told(row: int) -> Changed:
        return Changed(user=int(after.users[row]), before=before.values(metric)[row].item(), after=after.values(metric)[row].item())

    return [told(row) for row in best[:most] if gap[row] > 0], [told(row) for row in worst[:most] if gap[row] < 0]
