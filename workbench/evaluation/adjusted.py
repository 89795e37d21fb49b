"""Whether a gap between groups of people is a gap in how much they do: the same difference among people of like activity."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from workbench.evaluation.gaps import moderated
from workbench.evaluation.harness import Evaluation
from workbench.evaluation.intervals import Interval
from workbench.evaluation.slices import Slice

STRATA = 10
"""Groups of like activity, at most."""


@dataclass(frozen=True, kw_only=True)
class Adjusted:
    """A gap among people of like activity."""

    dimension: str
    group: str
    plain: float
    """The difference as it is, of those who are covered."""
    adjusted: Interval
    """The difference within strata, weighed as the group's people lie in them."""
    covered: float
    """Share of the group in strata with at least two people of either side."""
    strata: int


def adjusted_gap(
    result: Evaluation, group: Slice, metric: str, activity: Tensor | None = None, *, level: float = 0.95, least: int = 2
) -> Adjusted | None:
    """The group against everybody else of like activity: direct standardisation to the group's own people. None where fewer than
    `least` of either side are in strata with two of both, and where fewer than that, but somebody, are left out.

    activity: (n,), of the people judged; None: events known of them. Strata are its quantiles, at most STRATA and as many as ten people of
    the group each would fill. The interval is Welch's, on its own, with variances as in `group_gaps`; it takes the strata as given. Raises
    ValueError as `group_gaps` does.
    """
    values = result.values(metric)
    if group.people is None or group.truth is not None:
        raise ValueError(f"{group.label} is no group of people.")
    told = ~values.isnan()
    values, inside = values[told], group.people[told]
    by = (result.holdout.history_lengths if activity is None else activity)[told].double()
    which = _strata(by, max(2, min(STRATA, int(inside.sum()) // 10)))
    counts = [torch.bincount(which[side], minlength=len(which.unique())) for side in (inside, ~inside)]
    both = torch.stack(counts).amin(0) > 1
    if not both.any():
        return None
    kept = both[which]
    covered, left_out = (torch.stack([(side & where).sum() for side in (inside, ~inside)]) for where in (kept, ~kept))
    if (covered < least).any() or ((left_out > 0) & (left_out < least)).any():
        return None
    sides = [(values[(which == each) & inside], values[(which == each) & ~inside]) for each in torch.nonzero(both)[:, 0]]
    share = np.array([len(a) for a, _ in sides]) / sum(len(a) for a, _ in sides)
    sizes = np.array([[float(len(side)) for side in pair] for pair in sides])
    errors = moderated(np.array([[side.var().item() for side in pair] for pair in sides]), sizes, values.var().item()) / sizes
    freedom = sizes - 1
    parts = share[:, None] ** 2 * errors
    error, value = parts.sum(), float(share @ np.array([(a.mean() - b.mean()).item() for a, b in sides]))
    df = error**2 / (parts**2 / freedom).sum() if error > 0 else 1.0
    half = float(stats.t.ppf((1 + level) / 2, df) * math.sqrt(error))
    return Adjusted(
        dimension=group.dimension,
        group=group.name,
        plain=(values[inside & kept].mean() - values[~inside & kept].mean()).item(),
        adjusted=Interval(value, value - half, value + half, int((inside & kept).sum()), level),
        covered=int((inside & kept).sum()) / int(inside.sum()),
        strata=len(sides),
    )


def _strata(by: Tensor, n: int) -> Tensor:
    """int64 (people,): which of at most `n` groups of about as many people, by rising value, two at least where there are two values;
    equals are together.
    """
    levels, which, counts = by.unique(return_inverse=True, return_counts=True)
    middle = (counts.cumsum(0) - counts / 2) / max(1, len(by))
    band = (middle * n).floor().clamp(max=n - 1).long()
    if len(levels) > 1 and len(band.unique()) == 1:
        band = (torch.arange(len(levels)) > 0).long()
    numbered: Tensor = band.unique(return_inverse=True)[1]
    return numbered[which]
