"""Paired comparison of evaluations over the same people: difference, interval, p-value, and what could not have been seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from string import ascii_letters
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from workbench.errors import NotApplicable, RequestError
from workbench.evaluation.contrast import Contrast
from workbench.evaluation.harness import Evaluation
from workbench.evaluation.intervals import Interval
from workbench.evaluation.permutation import ALPHA, holm
from workbench.evaluation.slices import Slice

MIN_PEOPLE = 30
"""Below this an interval is too narrow to exclude anything by."""
Call = Literal["better", "worse", "no difference", "too few to say"]
EVERYONE = Slice("all", "everyone")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`a` minus `b`, person by person."""

    a: str
    b: str
    metric: str
    dimension: str
    """What the slice is one of: "activity", "gender"; "all" for everyone."""
    group: str
    """The slice's name."""
    difference: Interval
    """Of several slices compared at once, the intervals hold for all of them together: 95 % of the time every one covers."""
    p_value: float
    """Sign-flip permutation test of no difference, two-sided; Holm-adjusted over the comparisons made at once. With several trainings,
    the p-value that belongs to the interval."""
    effect_size: float
    """Mean over standard deviation of the differences, Cohen's d for pairs; 0 where nobody differs, NaN for one person."""
    wins: int
    ties: int
    losses: int
    detectable: float
    """The smallest true difference that this many people show with 80 % power, as one of the comparisons made at once. Where nobody
    differs, 3 / n: so many people like these may still differ (the rule of three, Hanley and Lippman-Hand, JAMA 1983), each by 1 at most.
    """

    @property
    def significant(self) -> bool:
        return self.p_value < ALPHA

    def verdict(self, effect: float) -> Call:
        """ "no difference": not significant, of at least MIN_PEOPLE people, who would have shown a difference of `effect`, and the whole
        interval lies within `effect` of zero. "too few to say": everything else that is not significant.
        """
        if self.significant:
            return "better" if self.difference.value > 0 else "worse"
        within = max(-self.difference.low, self.difference.high) < effect  # an interval that is not known is within nothing
        enough = self.difference.n >= MIN_PEOPLE and self.detectable <= effect
        return "no difference" if within and enough else "too few to say"


def compare(a: Evaluation, b: Evaluation, metric: str, *, seed: int = 0) -> Comparison:
    """Compare two models on the same holdout.

    Raises RequestError, with the reason, when snapshot, split or people differ, or the metric is not to be had; NotApplicable when it has
    no value for anybody: diversity of lists of one item.
    """
    found = compare_slices(a, b, metric, [EVERYONE], seed=seed)
    if not found:
        raise NotApplicable(f"{metric} has a value of both {a.model} and {b.model} for nobody.")
    return found[0]


def compare_slices(a: Evaluation, b: Evaluation, metric: str, slices: Sequence[Slice], *, seed: int = 0) -> list[Comparison]:
    """The comparison in each slice that has somebody in it: p-values Holm-adjusted over them, intervals that hold together."""
    check_comparable(a, b, metric)
    sides = [([a.training_values(metric, each), b.training_values(metric, each)], each) for each in slices]
    kept = [(both, each) for both, each in sides if not (both[0][0] - both[1][0]).isnan().all()]
    named = [Named(a.model, b.model, metric, each.dimension, each.name) for _, each in kept]
    return compare_values(named, [both[0] for both, _ in kept], [both[1] for both, _ in kept], seed=seed)


def compare_models(others: Mapping[str, Evaluation], reference: Evaluation, metric: str, *, seed: int = 0) -> list[Comparison]:
    """Each of the others against one and the same, in the order given: p-values Holm-adjusted over them, intervals that hold together."""
    for other in others.values():
        check_comparable(other, reference, metric)
    named = [Named(each.model, reference.model, metric, "model", each.title) for each in others.values()]
    values = [each.training_values(metric) for each in others.values()]
    return compare_values(named, values, [reference.training_values(metric)] * len(values), seed=seed)


class Named(NamedTuple):
    """What a comparison is of."""

    a: str
    b: str
    metric: str
    dimension: str
    group: str


def compare_values(named: Sequence[Named], a: Sequence[Tensor], b: Sequence[Tensor], *, seed: int = 0) -> list[Comparison]:
    """Comparisons made at once. a, b: for each float64 (trainings, n), NaN for who is not in it; the same people in the same order."""
    if not named:
        return []
    contrast = Contrast.of(a, b)
    adjusted, intervals = holm(contrast.p_values(seed)), contrast.intervals(seed=seed)
    smallest = contrast.detectable(1 - ALPHA / len(named))
    return [
        Comparison(
            **each._asdict(),
            difference=interval,
            p_value=float(p_value),
            effect_size=_effect_size(column),
            wins=int((column > 0).sum()),
            ties=int((column == 0).sum()),
            losses=int((column < 0).sum()),
            detectable=float(detectable),
        )
        for each, interval, p_value, detectable, column in zip(named, intervals, adjusted, smallest, contrast.columns(), strict=True)
    ]


def mean_less_error(a: Evaluation, b: Evaluation, metric: str) -> float:
    """The mean of a minus b over the same people, less its standard error: the best of many looks better than it is, and a choice that
    allows for that asks for a standard error (Breiman et al., Classification and Regression Trees, 1984). NaN for one person.
    """
    contrast = Contrast.of([a.training_values(metric)], [b.training_values(metric)])
    return float(contrast.means[0] - contrast.parts[0][0].sum() ** 0.5)


def check_comparable(a: Evaluation, b: Evaluation, metric: str) -> None:
    """Raises RequestError, naming the first thing in which they differ."""
    for each in (a, b):
        if metric not in each.per_user:
            raise RequestError(f'{each.model} was not judged by "{metric}". ({", ".join(each.per_user)})')
    if difference := _difference(a.label, b.label):
        raise RequestError(f"{a.model} and {b.model} cannot be compared: {difference}.")
    if not torch.equal(a.users, b.users):
        n = int((~torch.isin(a.users, b.users)).sum() + (~torch.isin(b.users, a.users)).sum())
        raise RequestError(f"{a.model} and {b.model} cannot be compared: {n:,} people were judged for one of them only.")


def _difference(one: str, other: str) -> str:
    kinds = ("snapshot is", "split is", "split's parameters are", "seed is", "part is")
    for kind, x, y in zip(kinds, one.split("/"), other.split("/"), strict=False):
        if x != y:
            return f"the {kind} {x} for the one, {y} for the other"
    return "" if one == other else f"the one was judged on {one}, the other on {other}"


def _effect_size(differences: Tensor) -> float:
    if len(differences) < 2:
        return float("nan")
    spread, mean = differences.std().item(), differences.mean().item()
    if spread == 0:
        return 0.0 if mean == 0 else float("inf") if mean > 0 else float("-inf")
    return mean / spread


def by_mean(evaluations: Mapping[str, Evaluation], metric: str) -> list[str]:
    """Names by falling mean; of equals, in the order given."""
    return sorted(evaluations, key=lambda name: -evaluations[name].mean(metric))


def letters(evaluations: Mapping[str, Evaluation], metric: str, *, seed: int = 0) -> dict[str, str]:
    """Models that share a letter cannot be told apart: all pairs compared, Holm-adjusted; letters by falling mean.

    Compact letter display by insert and absorb (Piepho 2004).
    """
    names = by_mean(evaluations, metric)
    pairs = list(combinations(names, 2))
    groups = [set(names)]
    for (x, y), p_value in zip(pairs, _pairwise(evaluations, pairs, metric, seed), strict=True):
        if p_value < ALPHA:
            split = [part for group in groups for part in ((group - {x}, group - {y}) if {x, y} <= group else (group,))]
            groups = [g for i, g in enumerate(split) if not any(g < other or (g == other and j < i) for j, other in enumerate(split))]
    groups.sort(key=lambda group: min(names.index(name) for name in group))
    return {name: "".join(ascii_letters[i % 52] for i, group in enumerate(groups) if name in group) for name in names}


def _pairwise(evaluations: Mapping[str, Evaluation], pairs: Sequence[tuple[str, str]], metric: str, seed: int) -> list[float]:
    """Holm-adjusted p-value of each pair."""
    if not pairs:
        return []
    for x, y in pairs:
        check_comparable(evaluations[x], evaluations[y], metric)
    sides = [[evaluations[pair[side]].training_values(metric) for pair in pairs] for side in (0, 1)]
    return [float(p) for p in holm(Contrast.of(*sides).p_values(seed))]
