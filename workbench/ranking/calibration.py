"""Scores into probabilities, learnt on requests that neither trained nor chose the ranker, of people who had no part in choosing.

They hold for the candidates of the retriever whose candidates they were learnt on. Another retriever asks for another calibration.
"""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import isotonic_regression
from scipy.special import expit
from torch import Tensor

from workbench.errors import NotApplicable, RequestError
from workbench.ranking.examples import Examples

Method = Literal["platt", "isotonic"]
METHODS: tuple[Method, ...] = ("platt", "isotonic")
STEPS = 100


@dataclass(frozen=True)
class Platt:
    """σ(slope · score + offset), by maximum likelihood (Platt 1999), with his targets (n₁ + 1) / (n₁ + 2) and 1 / (n₀ + 2)."""

    slope: float
    offset: float

    @classmethod
    def fit(cls, scores: Tensor, labels: Tensor) -> Self:
        """scores: float (n,), finite; labels: bool (n,). Raises NotApplicable where all labels are alike."""
        s, y = _checked(scores, labels)
        ones = y.sum()
        targets = np.where(y, (ones + 1) / (ones + 2), 1 / (len(y) - ones + 2))
        centre, spread = s.mean(), max(s.std(), 1e-12)
        x = np.stack([(s - centre) / spread, np.ones_like(s)], axis=1)
        weights = np.array([0.0, np.log(targets.mean() / (1 - targets.mean()))])
        loss = _deviance(x @ weights, targets)
        for _ in range(STEPS):  # Newton's method, its step halved where it overshoots
            p = expit(x @ weights)
            curvature = (x * (p * (1 - p))[:, None]).T @ x + 1e-10 * np.eye(2)
            step = np.linalg.solve(curvature, x.T @ (targets - p))
            while (new := _deviance(x @ (weights + step), targets)) > loss and np.abs(step).max() > 1e-12:
                step = step / 2
            weights, gained, loss = weights + step, loss - new, new
            if gained < 1e-12 * max(1.0, abs(loss)):
                break
        return cls(slope=float(weights[0] / spread), offset=float(weights[1] - weights[0] * centre / spread))

    def __call__(self, scores: Tensor) -> Tensor:
        """float64 (n,) in (0, 1)."""
        return torch.sigmoid(self.slope * scores.double() + self.offset)


@dataclass(frozen=True, eq=False)
class Isotonic:
    """The rising steps nearest to the labels (Zadrozny and Elkan, KDD 2002), straight lines between them."""

    scores: Tensor
    """float64 (m,), ascending."""
    chances: Tensor
    """float64 (m,) in [0, 1], ascending."""

    @classmethod
    def fit(cls, scores: Tensor, labels: Tensor) -> Self:
        """scores: float (n,), finite; labels: bool (n,). Raises NotApplicable where all labels are alike."""
        s, y = _checked(scores, labels)
        values, place, counts = np.unique(s, return_inverse=True, return_counts=True)
        means = np.bincount(place, y) / counts
        rising = isotonic_regression(means, weights=counts).x
        edges = np.ones(len(rising), dtype=bool)  # the ends of each step say all
        edges[1:-1] = (rising[1:-1] != rising[:-2]) | (rising[1:-1] != rising[2:])
        return cls(torch.from_numpy(values[edges]), torch.from_numpy(np.clip(rising[edges], 0, 1)))

    def __call__(self, scores: Tensor) -> Tensor:
        """float64 (n,) in [0, 1]."""
        return torch.from_numpy(np.interp(scores.double().numpy(), self.scores.numpy(), self.chances.numpy()))


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A calibration, and the retriever it holds for."""

    method: Method
    scale: Platt | Isotonic
    retriever: str

    @classmethod
    def fit(cls, method: Method, scores: Tensor, examples: Examples) -> Self:
        """scores: of the examples' candidates, which were not thinned. Raises NotApplicable where all labels are alike, RequestError for a
        method that is none and for thinned examples."""
        if method not in METHODS:
            raise RequestError(f'calibration = "{method}" should be one of {", ".join(METHODS)}.')
        if examples.kept < 1:
            raise RequestError("chances are learnt of all candidates, and some of these were left out.")
        scale = Platt.fit(scores, examples.label) if method == "platt" else Isotonic.fit(scores, examples.label)
        return cls(method, scale, examples.retriever)

    def __call__(self, scores: Tensor, examples: Examples) -> Tensor:
        """float64 (n,) in [0, 1]: the chance of each candidate. Raises RequestError for the candidates of another retriever."""
        if examples.retriever != self.retriever:
            raise RequestError(
                f"chances were learnt for candidates of ({self.retriever}), and these are of ({examples.retriever}): calibrate anew."
            )
        return self.scale(scores)


def corrected(probabilities: Tensor, kept: float) -> Tensor:
    """What a chance learnt from all positives and the share `kept` of the others is without that: p / (p + (1 − p) / kept) (He et al.,
    ADKDD 2014, section 6.3). float (n,) in [0, 1].
    """
    if not 0 < kept <= 1:
        raise RequestError(f"kept = {kept:g} should be above 0 and at most 1.")
    return probabilities / (probabilities + (1 - probabilities) / kept)


def _checked(scores: Tensor, labels: Tensor) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    if scores.shape != labels.shape or not scores.isfinite().all():
        raise RequestError(f"{len(labels):,} labels need as many finite scores.")
    if not labels.any() or labels.all():
        raise NotApplicable("a calibration needs labels of both kinds.")
    return scores.double().numpy(), labels.numpy().astype(bool)


def _deviance(logits: npt.NDArray[np.float64], targets: npt.NDArray[np.float64]) -> float:
    return float((np.logaddexp(0, logits) - targets * logits).sum())
