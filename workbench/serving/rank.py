"""The ranker of a bundle, and its scores as probabilities."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.serving.retrieve import session

Floats = npt.NDArray[np.float64]


class Ranker:
    def __init__(self, content: bytes, told: Mapping[str, Any]) -> None:
        """told: as the manifest has it."""
        self.session = session(content)
        self.input = self.session.get_inputs()[0].name
        self.kind = np.dtype(told["dtype"])
        self.calibration = told["calibration"]

    def scores(self, features: Floats) -> Floats:
        """float64 (n,): of candidates by their features, (n, d). Raises ValueError for a score that is no number."""
        if not len(features):
            return np.empty(0)
        found: Floats = self.session.run(None, {self.input: features.astype(self.kind)})[0].reshape(-1).astype(np.float64)
        if not np.isfinite(found).all():
            raise ValueError("the ranker gave a score that is not finite.")
        return found

    def chances(self, scores: Floats) -> Floats | None:
        """float64 (n,) in [0, 1]; None where there is no calibration."""
        told = self.calibration
        if told is None:
            return None
        if told["method"] == "platt":
            return np.asarray(1 / (1 + np.exp(-np.clip(told["slope"] * scores + told["offset"], -700, 700))))
        found: Floats = np.interp(scores, told["scores"], told["chances"])
        return found
