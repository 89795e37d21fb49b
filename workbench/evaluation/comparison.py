"""Paired comparison of evaluations over the same people: difference, interval, p-value, and what could not have been seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from string import ascii_letters
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workbench.data import detectable_difference
from workbench.errors import RequestError
from workbench.evaluation.harness import Evaluation
from workbench.evaluation.intervals import Interval, bootstrap_mean

ALPHA = 0.05
PERMUTATIONS = 9_999
MIN_PEOPLE = 30
"""Below this an interval is too narrow to exclude anything by."""
Call = Literal["better", "worse", "no difference", "too few to say"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`a` minus `b`, person by person."""

    a: str
    b: str
    metric: str
    group: str
    difference: Interval
    """Its level is 1 - ALPHA / m where m groups are compared at once (Bonferroni)."""
    p_value: float
    """Sign-flip permutation test of no difference, two-sided; Holm-adjusted over the comparisons made at once."""
    wins: int
    losses: int
    detectable: float
    """The smallest true difference that this many people show with 80 % power at the level of the interval."""

    @property
    def significant(self) -> bool:
        return self.p_value < ALPHA

    def verdict(self, effect: float) -> Call:
        """ "no difference": not significant, and the whole interval of at least MIN_PEOPLE people lies within `effect` of zero."""
        if self.significant:
            return "better" if self.difference.value > 0 else "worse"
        within = max(-self.difference.low, self.difference.high) < effect
        return "no difference" if within and self.difference.n >= MIN_PEOPLE else "too few to say"


def compare(a: Evaluation, b: Evaluation, metric: str, *, seed: int = 0) -> Comparison:
    """Compare two models on the same holdout.

    Raises RequestError when the two were not judged on the same snapshot, split and people.
    """
    return compare_groups(a, b, metric, {"everyone": torch.ones(len(a.users), dtype=torch.bool)}, seed=seed)[0]


def compare_groups(a: Evaluation, b: Evaluation, metric: str, groups: Mapping[str, Tensor], *, seed: int = 0) -> list[Comparison]:
    """The comparison in each group, bool (n,) over the people judged; empty groups are left out, p-values Holm-adjusted over the rest."""
    difference = paired_difference(a, b, metric)
    groups = {name: members for name, members in groups.items() if members.any()}
    raw = [sign_flip_p_value(difference[members], seed) for members in groups.values()]
    return [
        _comparison(a.model, b.model, metric, name, difference[members], p_value, len(groups), seed)
        for (name, members), p_value in zip(groups.items(), holm(raw), strict=True)
    ]


def paired_difference(a: Evaluation, b: Evaluation, metric: str) -> Tensor:
    """float64 (n,): a's value minus b's for each person."""
    if a.label != b.label or not torch.equal(a.users, b.users):
        raise RequestError(
            f"{a.model} was judged on {a.label}, {b.model} on {b.label}: only evaluations on the same people can be compared."
        )
    return a.per_user[metric] - b.per_user[metric]


def _comparison(a: str, b: str, metric: str, group: str, difference: Tensor, p_value: float, m: int, seed: int) -> Comparison:
    level = 1 - ALPHA / m
    return Comparison(
        a=a,
        b=b,
        metric=metric,
        group=group,
        difference=bootstrap_mean(difference, level=level, seed=seed, resamples=2000 * m),
        p_value=float(p_value),
        wins=int((difference > 0).sum()),
        losses=int((difference < 0).sum()),
        detectable=detectable_difference(len(difference), difference.std().item() if len(difference) > 1 else 0.0, level),
    )


def sign_flip_p_value(difference: Tensor, seed: int, permutations: int = PERMUTATIONS) -> float:
    """P-value of "a and b are exchangeable for each person", from random sign flips of the differences, float64 (n,).

    (1 + number of flips with a mean at least as far from zero) / (1 + permutations): never 0 (Phipson and Smyth 2010).
    """
    values, rng = difference.numpy(), np.random.default_rng(seed)
    observed, extreme = abs(values.sum()) * (1 - 1e-9), 0
    for start in range(0, permutations, 1024):
        signs = rng.integers(2, size=(min(1024, permutations - start), len(values)), dtype=np.int8).astype(np.float64) * 2 - 1
        extreme += int((np.abs(signs @ values) >= observed).sum())
    return (1 + extreme) / (1 + permutations)


def holm(p_values: Sequence[float]) -> npt.NDArray[np.float64]:
    """Holm's step-down adjustment (1979): the smallest of m is multiplied by m, the next by m - 1, …, kept in order and at most 1."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))))
    return adjusted


def by_mean(evaluations: Mapping[str, Evaluation], metric: str) -> list[str]:
    """Names by falling mean; of equals, in the order given."""
    return sorted(evaluations, key=lambda name: -evaluations[name].mean(metric))


def letters(evaluations: Mapping[str, Evaluation], metric: str, *, seed: int = 0) -> dict[str, str]:
    """Models that share a letter cannot be told apart: all pairs compared, Holm-adjusted; letters by falling mean.

    Compact letter display by insert and absorb (Piepho 2004).
    """
    names = by_mean(evaluations, metric)
    pairs = list(combinations(names, 2))
    p_values = holm([sign_flip_p_value(paired_difference(evaluations[x], evaluations[y], metric), seed) for x, y in pairs])
    groups = [set(names)]
    for (x, y), p_value in zip(pairs, p_values, strict=True):
        if p_value < ALPHA:
            split = [part for group in groups for part in ((group - {x}, group - {y}) if {x, y} <= group else (group,))]
            groups = [g for i, g in enumerate(split) if not any(g < other or (g == other and j < i) for j, other in enumerate(split))]
    groups.sort(key=lambda group: min(names.index(name) for name in group))
    return {name: "".join(ascii_letters[i % 52] for i, group in enumerate(groups) if name in group) for name in names}
