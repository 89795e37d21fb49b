"""P-values by flipping signs, and their correction for many comparisons made at once."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

ALPHA = 0.05
LEAST = 9_999
"""Flips, whatever is asked."""
MOST = 640_000
"""Flips, however undecided the answer is."""
CELLS = 2**24
"""Signs drawn at once."""

Floats = npt.NDArray[np.float64]


def sign_flip_p_values(differences: Tensor, seed: int, alpha: float = ALPHA) -> Floats:
    """P-value, for each of the m columns of float64 (n, m), of "a and b are exchangeable for each person"; NaN is nobody's difference.

    (1 + number of flips with a sum at least as far from zero) / (1 + flips): never 0 (Phipson and Smyth 2010). One draw of signs serves all
    columns. Enough flips for Holm's correction at hand, 20 · m / alpha at least, so that the smallest p-value that can come out is a
    twentieth of the first threshold; doubled, to MOST, while an adjusted p-value is within two standard errors of alpha.
    """
    values = differences.nan_to_num().float()
    observed, slack = values.double().sum(0).abs(), 1e-6 * values.double().abs().sum(0)  # float32 sums of equal size may differ by that
    rng, m = np.random.default_rng(seed), values.shape[1]
    wanted = max(LEAST, math.ceil(20 * m / alpha))
    extreme, flips = torch.zeros(m, dtype=torch.int64), 0
    while flips < wanted:
        signs = _signs(min(wanted - flips, max(1, CELLS // max(1, len(values)))), len(values), rng)
        extreme += ((signs @ values).abs() >= observed - slack).sum(0)
        flips += len(signs)
        if flips == wanted and wanted < MOST and _undecided(extreme.numpy(), flips, alpha):
            wanted = min(MOST, 2 * wanted)
    return ((1 + extreme.numpy()) / (1 + flips)).astype(np.float64)


def _signs(rows: int, n: int, rng: np.random.Generator) -> Tensor:
    """float32 (rows, n) of -1 and 1, a bit each."""
    width = -(-n // 8)
    bits = np.unpackbits(np.frombuffer(rng.bytes(rows * width), dtype=np.uint8).reshape(rows, width), axis=1, count=n)
    return torch.from_numpy(bits).float().mul_(2).sub_(1)


def _undecided(extreme: npt.NDArray[np.int64], flips: int, alpha: float) -> bool:
    p = (1 + extreme) / (1 + flips)
    spread = 2 * np.sqrt(p * (1 - p) / flips)
    return bool(((holm(np.maximum(p - spread, 0)) < alpha) != (holm(np.minimum(p + spread, 1)) < alpha)).any())


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """Holm's step-down adjustment (1979): the smallest of m is multiplied by m, the next by m - 1, …, kept in order and at most 1."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))))
    return adjusted
