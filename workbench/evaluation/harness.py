"""Full-ranking evaluation in one streaming pass: score a batch, mask the seen, keep the top k; all metrics at all k from what was kept."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workbench.data import Holdout
from workbench.errors import NotApplicable, RequestError, WorkError, unknown
from workbench.evaluation.contrast import Contrast
from workbench.evaluation.exposure import set_interval
from workbench.evaluation.intervals import Interval
from workbench.evaluation.lists import Lists, check_lists
from workbench.evaluation.metrics import METRICS, split_name
from workbench.evaluation.ranking import NOTHING
from workbench.evaluation.scoring import SCORE_BYTES, Scorer, look, name_of, rank, served_by
from workbench.evaluation.slices import Slice


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Evaluation:
    """One model on one holdout: per-person values first, everything else follows from them."""

    model: str
    title: str
    """The model's name as a reader knows it."""
    ks: tuple[int, ...]
    """Cut-offs, ascending."""
    lists: Lists
    """What everyone was shown, held against what they liked."""
    per_user: dict[str, Tensor]
    """"ndcg@10" and so on: float64 (n,); NaN where there is nothing to measure."""
    fallback: str
    """Who serves whom the model cannot."""
    tied_share: float
    """Share of the recommended places that a tie-break decided."""
    trainings: tuple["Evaluation", ...] = ()
    """Where this is the mean over several trainings of one model, each of them; see `pool`."""

    def __repr__(self) -> str:
        metric = f"ndcg@{self.ks[0]}"
        return f"Evaluation({self.title} on {self.label}: {metric} {self.mean(metric):.3f}, {len(self.users):,} people)"

    @property
    def holdout(self) -> Holdout:
        return self.lists.holdout

    @property
    def label(self) -> str:
        """The holdout's label."""
        return self.holdout.label

    @property
    def users(self) -> Tensor:
        """int64 (n,): codes of the people judged."""
        return self.lists.users

    @property
    def top(self) -> Tensor:
        """int64 (n, depth): recommended items, best first; -1 where a list is shorter. Of several trainings the first one's."""
        return self.lists.items

    @property
    def n_items(self) -> int:
        return self.holdout.n_items

    @property
    def served_by_fallback(self) -> Tensor:
        """bool (n,): the model could not serve the person, the fallback did."""
        return ~self.lists.served

    def values(self, metric: str, of: Slice | None = None) -> Tensor:
        """float64 (n,): the metric of each person; of a slice, with what is relevant restricted to it and NaN for whoever is not in it."""
        if of is None:
            return self.per_user[metric]
        values = self.per_user[metric]
        name, k = split_name(metric)
        if of.truth is not None and METRICS[name].of_truth:
            if self.trainings:
                return torch.stack([each.values(metric, of) for each in self.trainings]).mean(0)
            values = torch.cat([METRICS[name].values(block, k) for block in self.lists.within(of.truth).blocks()])
        return values.masked_fill(~of.members(self.holdout), torch.nan)

    def mean(self, metric: str, of: Slice | None = None) -> float:
        """Over the people who have a value; NaN where nobody has."""
        return self.values(metric, of).nanmean().item()

    def interval(self, metric: str) -> Interval:
        """The mean with its 95 % bootstrap interval over people, and over trainings where there are several."""
        return Contrast.of([self.training_values(metric)]).intervals()[0]

    def training_values(self, metric: str, of: Slice | None = None) -> Tensor:
        """float64 (S, n): `values` of each training; of a single one (1, n)."""
        return torch.stack([each.values(metric, of) for each in self.trainings or (self,)])

    def covered(self, k: int) -> int:
        """Number of catalogue items that are in the first `k` of at least one person."""
        shown = self.top[:, :k]
        return len(shown[shown != NOTHING].unique())

    def of_the_set(self, metric: str, k: int) -> Interval:
        """ "coverage", "gini" or "entropy" of everybody's first `k` together, with its jackknife interval; of several trainings the first
        one's.
        """
        return set_interval(metric, self.top[:, :k], self.n_items)


def evaluate(
    model: Scorer,
    holdout: Holdout,
    *,
    name: str | None = None,
    ks: Sequence[int] = (5, 10, 20),
    fallback: Scorer | None = None,
    fallback_name: str = "popularity",
    vectors: Tensor | None = None,
    device: str = "cpu",
) -> Evaluation:
    """Rank the whole catalogue for everyone in `holdout` and compare with their truth.

    `name` is what records call the model; its title where none is given. People the model cannot serve (no history for a model that works
    from histories; no place in training for one that is not inductive) are served by `fallback` and marked. `vectors`, float (n_items, d),
    are what diversity measures likeness on. A look at a sealed part is written into its ledger first.

    Memory: a batch of scores, at most SCORE_BYTES or one person's, and what top-k makes of it; lists and values of everyone. A batch that
    does not fit into memory is halved, with a warning.

    Raises NotApplicable for a k outside [1, n_items] and for an empty holdout, RequestError when a fallback is needed and there is none;
    ValueError when the scores have the wrong shape or are not finite.
    """
    name = name_of(model, name)
    title = str(getattr(model, "title", name))
    for k in ks:
        check_cutoff(k, holdout.n_items)
    check_judged(holdout)
    served = served_by(model, holdout, holdout.users, name, fallback)
    look(model, holdout, name)
    top, tied = rank_everyone(model, holdout, served, max(ks), fallback, device)
    lists = Lists.build(holdout, top, served, vectors)
    return _judged(lists, ks, model=name, title=title, fallback=fallback_name, tied_share=tied / max(1, int((top != NOTHING).sum())))


def evaluate_lists(
    items: Tensor,
    holdout: Holdout,
    *,
    name: str,
    title: str = "",
    ks: Sequence[int] = (5, 10, 20),
    served: Tensor | None = None,
    fallback_name: str = "",
    settings: dict[str, Any] | None = None,
    vectors: Tensor | None = None,
) -> Evaluation:
    """Judge lists that were made elsewhere, by an index, a blend, a policy, with the metrics and conventions of `evaluate`.

    items: int64 (n, depth), a row for each of the holdout's people, best first, `NOTHING` after a list's end; depth at least the largest k.
    served: bool (n,), False where `fallback_name` made the list; None: nowhere. settings: what tells this maker of lists from others of the
    name, for the ledger. The other arguments are those of `evaluate`, and so is the note in the ledger.

    Raises NotApplicable as `evaluate` does; ValueError, naming the person, for lists of the wrong shape, codes of no item, an item twice, a
    gap, and an item that may not be shown.
    """
    for k in ks:
        check_cutoff(k, holdout.n_items)
    check_judged(holdout)
    if items.shape[:1] != holdout.users.shape or items.dim() != 2 or items.shape[1] < max(ks):
        raise ValueError(f"lists of {name} have shape {tuple(items.shape)}, expected {len(holdout.users)} rows of at least {max(ks)}.")
    check_lists(items, holdout, name)
    holdout.look(name, settings or {})
    lists = Lists.build(holdout, items, torch.ones(len(items), dtype=torch.bool) if served is None else served, vectors)
    return _judged(lists, ks, model=name, title=title or name, fallback=fallback_name, tied_share=0.0)


def _judged(lists: Lists, ks: Sequence[int], **told: Any) -> Evaluation:
    wanted = sorted(set(ks))
    return Evaluation(ks=tuple(wanted), lists=lists, per_user=_per_user(lists, wanted), **told)


def pool(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Several trainings of one model as one evaluation: each person's mean over them; one training is that training itself.

    Intervals and comparisons then speak of other people and of other trainings. Raises RequestError where they were not all judged alike.
    """
    first = evaluations[0]
    for each in evaluations[1:]:
        if each.label != first.label or not torch.equal(each.users, first.users):
            raise RequestError(f"trainings of {first.model} were judged on {first.label} and on {each.label}: one holdout for all of them.")
    if len(evaluations) == 1:
        return first
    per_user = {metric: torch.stack([each.per_user[metric] for each in evaluations]).mean(0) for metric in first.per_user}
    tied = sum(each.tied_share for each in evaluations) / len(evaluations)
    return Evaluation(**{**vars(first), "per_user": per_user, "tied_share": tied, "trainings": tuple(evaluations)})


def check_cutoff(k: int, n_items: int, of: str = "") -> None:
    """Raises NotApplicable unless 1 <= k <= n_items. of: what the line begins with, where nobody typed the k."""
    if not 1 <= k <= n_items:
        raise NotApplicable(f"{of}k = {k} should be between 1 and {n_items}, the size of the catalogue.")


def check_judged(holdout: Holdout) -> None:
    """Raises NotApplicable when it has nobody."""
    if not len(holdout.users):
        raise NotApplicable(f"nobody is left to judge on the {holdout.label.rsplit('/', 1)[-1]} part; choose another split.")


def check_maximised(metric: str, purpose: str, holdout: Holdout | None = None) -> None:
    """Raises RequestError unless this is "name@k" of a metric that is better when higher and asks for no vectors of items.

    purpose: "to watch", say. With a holdout raises NotApplicable too, where its catalogue or its grades leave nothing to measure.
    """
    found = re.fullmatch(r"([a-z_]+)@([1-9]\d{0,5})", metric)
    if found is None:
        raise RequestError(f'metric = "{metric}" should be a metric at a cut-off, like ndcg@10.')
    better = [name for name, of in METRICS.items() if of.direction == "higher" and of.needs != "vectors"]
    if found[1] not in better:
        raise unknown(f"metric {purpose}", found[1], better)
    if holdout is None:
        return
    check_cutoff(int(found[2]), holdout.n_items, f"{metric} {purpose}: ")
    if not METRICS[found[1]].applies_to(holdout):
        raise NotApplicable(f"{metric} {purpose} needs more than one grade of relevance; here every liked item is liked alike.")


def cutoffs(k: int, n_items: int) -> tuple[int, ...]:
    """The headline's cut-off and the usual ones beside it, ascending, none beyond the catalogue."""
    check_cutoff(k, n_items)
    return tuple(sorted({k, *(usual for usual in (5, 10, 20, 100) if usual <= n_items)}))


def _per_user(lists: Lists, ks: Sequence[int]) -> dict[str, Tensor]:
    wanted = [(name, metric, k) for name, metric in METRICS.items() if metric.applies(lists) for k in ks]
    blocks = [[metric.values(block, k) for _, metric, k in wanted] for block in lists.blocks()]
    return {f"{name}@{k}": torch.cat(parts) for (name, _, k), parts in zip(wanted, zip(*blocks, strict=True), strict=True)}


def rank_everyone(
    model: Scorer, holdout: Holdout, served: Tensor, depth: int, fallback: Scorer | None = None, device: str = "cpu"
) -> tuple[Tensor, int]:
    """int64 (n, depth): the best that may be shown to each of the holdout's people, `NOTHING` after a list's end; and how many places a
    tie-break decided. served: bool (n,), whom the model ranks for; the others are `fallback`'s.
    """
    top, tied = torch.full((len(served), depth), NOTHING), 0
    for scorer, places in ((model, torch.nonzero(served)[:, 0]), (fallback, torch.nonzero(~served)[:, 0])):
        if scorer is not None:
            tied += _rank_into(top, scorer, holdout, places, device)
    return top, tied


def _rank_into(top: Tensor, scorer: Scorer, holdout: Holdout, places: Tensor, device: str) -> int:
    """Fill the rows `places` of `top`; returns how many of their places a tie-break decided."""
    size, start, tied = max(1, SCORE_BYTES // (4 * holdout.n_items)), 0, 0
    ties = holdout.ties.to(device)
    while start < len(places):
        chunk = places[start : start + size]
        try:
            asked, seen = holdout.requests(holdout.users[chunk])
            items, decided = rank(scorer, asked, seen, top.shape[1], ties)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            if len(chunk) == 1:
                raise WorkError(f"the scores of one person for {holdout.n_items:,} items do not fit into memory.") from error
            size = len(chunk) // 2
            warnings.warn(f"out of memory with {len(chunk)} people at once; going on with {size}", RuntimeWarning, stacklevel=4)
            continue
        top[chunk] = items.cpu()
        tied += int(decided.sum())
        start += len(chunk)
    return tied


def _out_of_memory(error: Exception) -> bool:
    """Whether it is about memory: CUDA has a type for that, the CPU's allocator words."""
    return not isinstance(error, RuntimeError) or isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
