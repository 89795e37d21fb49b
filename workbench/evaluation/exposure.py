"""What the lists of everybody together show of the catalogue: coverage, Gini, entropy. Properties of a set of lists, not means over people.

People drawn with replacement show fewer different items than as many people drawn anew, so the bootstrap is biased here: its interval can
lie wholly beside the value. The jackknife asks instead what the value would be without each person in turn. Its variance is never too
small on average (Efron and Stein, Annals of Statistics 1981), so the interval is, if anything, wide. It speaks of as many other people
like these.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from scipy import stats
from torch import Tensor

from workbench.evaluation.intervals import Interval
from workbench.evaluation.ranking import NOTHING


@dataclass(frozen=True, eq=False)
class Exposure:
    """How often each item is in somebody's list, and how that would be without each person."""

    items: Tensor
    """int64 (n, k): the lists, NOTHING where one is shorter; no item twice in one."""
    n_items: int

    @cached_property
    def shown(self) -> Tensor:
        """bool (n, k)."""
        return self.items != NOTHING

    @cached_property
    def counts(self) -> Tensor:
        """int64 (n_items,): lists that hold the item."""
        return torch.bincount(self.items[self.shown], minlength=self.n_items)

    @cached_property
    def list_counts(self) -> Tensor:
        """int64 (n, k): the count of each item shown; 0 where there is none."""
        return self.counts[self.items] * self.shown

    @cached_property
    def total(self) -> Tensor:
        """int64 (): places filled."""
        return self.counts.sum()

    @cached_property
    def totals_without(self) -> Tensor:
        """int64 (n,): places filled by everyone but the person."""
        return self.total - self.shown.sum(1)


def coverage(exposure: Exposure) -> tuple[Tensor, Tensor]:
    """Share of the catalogue in at least one list.

    Returns the value, float64 (), and its values without each person, float64 (n,), in [0, 1]: a person takes along the items that only
    they were shown.
    """
    covered = (exposure.counts > 0).sum()
    return covered.double() / exposure.n_items, (covered - (exposure.list_counts == 1).sum(1)).double() / exposure.n_items


def gini(exposure: Exposure) -> tuple[Tensor, Tensor]:
    """Gini index of exposure over the whole catalogue: 0 where every item is shown equally often, towards 1 where one item takes all.

    Half of the mean absolute difference of two items' counts over the mean count: Σ_t N(t) (M - N(t)) / (M T), where N(t) of the M items
    are shown at most t times and T places are filled. Returns as `coverage` does. Without a person who was shown m(t) items of count t + 1,
    N(t) is larger by m(t), so the sum changes by Σ_t m(t) (M - 2 N(t)) - m(t)².
    """
    size = exposure.n_items
    at_most = torch.bincount(exposure.counts).cumsum(0)  # N(t), t = 0 … the largest count
    whole = (at_most * (size - at_most)).sum().double()
    below = at_most[(exposure.list_counts - 1).clamp(min=0)]
    change = ((size - 2 * below) * exposure.shown).sum(1) - _pairs_of_equals(exposure)
    return whole / (size * exposure.total), (whole + change) / (size * exposure.totals_without)


def _pairs_of_equals(exposure: Exposure) -> Tensor:
    """int64 (n,): Σ_t m(t)², the pairs of places of a list whose items have equal counts, a place with itself included."""
    ordered = torch.where(exposure.shown, exposure.list_counts, -1).sort(1).values
    run = torch.ones_like(ordered)
    for rank in range(1, ordered.shape[1]):  # the place of each item within its run of equals
        run[:, rank] += run[:, rank - 1] * (ordered[:, rank] == ordered[:, rank - 1])
    return ((2 * run - 1) * (ordered >= 0)).sum(1)  # 1 + 3 + 5 + … to m terms is m²


def entropy(exposure: Exposure) -> tuple[Tensor, Tensor]:
    """Shannon entropy, in bits, of which item a filled place holds: from 0 (one item takes all) to log2(n_items) (all equal).

    log2 T - Σ x log2 x / T. Returns as `coverage` does.
    """
    weighted = _x_log_x(exposure.counts.double()).sum()
    own = exposure.list_counts.double()
    without = weighted + (_x_log_x((own - 1).clamp(min=0)) - _x_log_x(own)).sum(1)
    totals = exposure.totals_without.double()
    return exposure.total.double().log2() - weighted / exposure.total, totals.log2() - without / totals


def _x_log_x(x: Tensor) -> Tensor:
    logs: Tensor = torch.special.xlogy(x, x) / math.log(2)
    return logs


@dataclass(frozen=True)
class SetMetric:
    label: str
    function: Callable[[Exposure], tuple[Tensor, Tensor]]
    direction: Literal["higher", "lower"] = "higher"

    @property
    def definition(self) -> str:
        return (self.function.__doc__ or "").split("\n")[0]


SET_METRICS = {
    "coverage": SetMetric("Catalogue coverage", coverage),
    "gini": SetMetric("Gini of exposure", gini, "lower"),
    "entropy": SetMetric("Entropy of exposure", entropy),
}


def set_interval(metric: str, items: Tensor, n_items: int, level: float = 0.95) -> Interval:
    """A set metric of the lists int64 (n, k), with its jackknife interval; see `jackknife`."""
    value, without = SET_METRICS[metric].function(Exposure(items, n_items))
    return jackknife(value.item(), without, level)


def set_difference(metric: str, a: Tensor, b: Tensor, n_items: int, level: float = 0.95) -> Interval:
    """A set metric of `a` minus that of `b`, lists of the same people in the same order; each person is left out of both at once."""
    (value, without), (other, other_without) = (SET_METRICS[metric].function(Exposure(items, n_items)) for items in (a, b))
    return jackknife((value - other).item(), without - other_without, level)


def jackknife(value: float, without: Tensor, level: float = 0.95) -> Interval:
    """value ± t · s, s² = (n - 1) / n · Σ (without - its mean)², t of n - 1 degrees of freedom (Tukey 1958).

    without: float64 (n,), the value without each person. Fewer than three people leave no interval.
    """
    n = len(without)
    if n < 3 or not without.isfinite().all():
        return Interval(value, math.nan, math.nan, n, level)
    half = stats.t.ppf((1 + level) / 2, n - 1) * math.sqrt((n - 1) * without.var(correction=0).item())
    return Interval(value, value - half, value + half, n, level)
