"""Whether probabilities can be trusted: of what is given 20 %, does one in five come true? docs/metrics.md has formulas and sources."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from workbench.errors import NotApplicable, RequestError
from workbench.evaluation.clusters import ratio_interval
from workbench.evaluation.intervals import Interval
from workbench.evaluation.pairs import log_loss
from workbench.evaluation.tally import check_labels

BINS = 10
DRAWS = 200
"""Of labels out of the probabilities themselves, to see what error chance alone leaves."""


def brier(probabilities: Tensor, labels: Tensor) -> Tensor:
    """(p − y)², float64 (n,) in [0, 1]; the mean is the Brier score, lower is better (Brier, Monthly Weather Review 1950).

    probabilities: float (n,) in [0, 1]; labels: (n,), 0 or 1.
    """
    return (probabilities.double() - check_labels(labels, len(probabilities)).double()).square()


def normalised_entropy(probabilities: Tensor, labels: Tensor) -> float:
    """Mean log loss over that of always saying the share of ones: below 1 is better than knowing the share alone (He et al., ADKDD 2014).

    Raises NotApplicable where all labels are alike: the share alone is then always right.
    """
    share = check_labels(labels, len(probabilities)).double().mean().item() if len(labels) else 0.0
    if not 0 < share < 1:
        raise NotApplicable("normalised entropy needs labels of both kinds.")
    return log_loss(probabilities, labels).mean().item() / -(share * math.log(share) + (1 - share) * math.log(1 - share))


def equal_bins(probabilities: Tensor, bins: int = BINS) -> Tensor:
    """int64 (n,): the bin of each, about as many in each bin, equal probabilities in one: so there may be fewer bins than asked for."""
    if not len(probabilities):
        return torch.empty(0, dtype=torch.int64)
    p = probabilities.double().numpy()
    edges = np.unique(np.quantile(p, np.linspace(0, 1, bins + 1)[1:-1], method="lower"))
    _, which = np.unique(np.searchsorted(edges, p, side="left"), return_inverse=True)
    return torch.from_numpy(which.astype(np.int64))


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Σ over bins of their share times |mean of y − mean of p|: the expected calibration error, in [0, 1], lower is better (Naeini et al.,
    AAAI 2015; with bins of equal size, as Nguyen and O'Connor, EMNLP 2015). See `equal_bins`; NaN where there is nothing.
    """
    which, positive = equal_bins(probabilities, bins), check_labels(labels, len(probabilities)).double()
    gaps = torch.zeros(int(which.max()) + 1 if len(which) else 0, dtype=torch.float64).index_add_(
        0, which, positive - probabilities.double()
    )
    return (gaps.abs().sum() / len(which)).item() if len(which) else math.nan


@dataclass(frozen=True)
class Bin:
    """Some of the probabilities, the ones next to each other in size."""

    mean: float
    """Of the probabilities."""
    share: Interval
    """Of what came true, with its interval over people."""
    count: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Calibration:
    """Of probabilities of one label. Intervals speak of other people like these."""

    n: int
    share: float
    """Of ones."""
    mean: float
    """Of the probabilities."""
    log_loss: Interval
    brier: Interval
    error: float
    """See `calibration_error`."""
    chance: float
    """The error that labels drawn from the probabilities themselves would show: what is left of it where they are right."""
    normalised_entropy: float
    """NaN where all labels are alike."""
    bins: tuple[Bin, ...]


def evaluate_calibration(probabilities: Tensor, labels: Tensor, users: Tensor, *, bins: int = BINS, seed: int = 0) -> Calibration:
    """users: int64 (n,), whose each is; probabilities, labels: as in `brier`.

    Raises NotApplicable where there is nothing to judge, RequestError for probabilities outside [0, 1] and labels that are none.
    """
    if not len(probabilities):
        raise NotApplicable("there are no probabilities to judge.")
    if not len(probabilities) == len(labels) == len(users):
        raise RequestError(
            f"there are {len(probabilities):,} probabilities, {len(labels):,} labels and {len(users):,} people: one of each."
        )
    losses, squares = log_loss(probabilities, labels), brier(probabilities, labels)
    positive = check_labels(labels, len(probabilities)).double()
    which = equal_bins(probabilities, bins)
    found = []
    for place in range(int(which.max()) + 1):
        inside = which == place
        mean = probabilities[inside].double().mean().item()
        found.append(Bin(mean, _over_people(positive[inside], users[inside], seed), int(inside.sum())))
    share = positive.mean().item()
    return Calibration(
        n=len(labels),
        share=share,
        mean=probabilities.double().mean().item(),
        log_loss=_over_people(losses, users, seed),
        brier=_over_people(squares, users, seed),
        error=calibration_error(probabilities, labels, bins),
        chance=_chance(probabilities, which, seed),
        normalised_entropy=normalised_entropy(probabilities, labels) if 0 < share < 1 else math.nan,
        bins=tuple(found),
    )


def calibration_by(
    probabilities: Tensor, labels: Tensor, users: Tensor, groups: Mapping[str, Tensor], **how: int
) -> dict[str, Calibration]:
    """`evaluate_calibration` of each of these groups of rows, bool (n,), that has any."""
    return {
        name: evaluate_calibration(probabilities[rows], labels[rows], users[rows], **how) for name, rows in groups.items() if rows.any()
    }


def _over_people(values: Tensor, users: Tensor, seed: int) -> Interval:
    people, person = users.unique(return_inverse=True)
    sums = torch.zeros(len(people), dtype=torch.float64).index_add_(0, person, values.double())
    return ratio_interval(sums, torch.bincount(person, minlength=len(people)).double(), seed=seed)


def _chance(probabilities: Tensor, which: Tensor, seed: int) -> float:
    """Mean calibration error of labels drawn from the probabilities: of a bin's sum the normal approximation, which needs no labels."""
    p = probabilities.double()
    spread = torch.zeros(int(which.max()) + 1, dtype=torch.float64).index_add_(0, which, p * (1 - p)).sqrt()
    noise = torch.from_numpy(np.random.default_rng(seed).normal(size=(DRAWS, len(spread))))
    return ((noise * spread).abs().sum(1) / len(p)).mean().item()
