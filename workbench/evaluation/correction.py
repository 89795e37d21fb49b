"""What a rank among sampled items says of the rank among all of them (Krichene and Rendle, KDD 2020).

One relevant item has rank r among n candidates. Against m of the other n - 1, drawn uniformly with replacement, it has rank s, and s - 1
is binomial: m trials, (r - 1) / (n - 1) the chance of each. Where a metric counts f(r), f(s) counts something else, and the order of two
models may be another, unless f is linear, as it is for the AUC. What s should count instead is chosen here so that bias and variance are
small over all ranks.
"""

import torch
from torch import Tensor

from workbench.errors import RequestError

CELLS = 2**22
"""Probabilities held at once, beside the (m + 1)² of the system that is solved."""
MOST_NEGATIVES = 4096
"""Beyond, that system takes longer than to rank everything."""


def check_correction(negatives: int, gamma: float) -> None:
    """Raises RequestError for numbers of negatives and gammas that no correction can have."""
    if not 1 <= negatives <= MOST_NEGATIVES:
        raise RequestError(f"negatives = {negatives} should be between 1 and {MOST_NEGATIVES}; to use more, rank the whole catalogue.")
    if not 0 < gamma <= 1:
        raise RequestError(
            f"gamma = {gamma:g} should be above 0, where only bias counts, and at most 1, where bias and variance count alike."
        )


def rank_probabilities(ranks: Tensor, n: int, negatives: int) -> Tensor:
    """P(s | r), the chance of each rank s = 1 … negatives + 1 against sampled items.

    ranks: int64 (rows,), r among n candidates, 1 <= r <= n. Returns float64 (rows, negatives + 1); rows sum to 1.
    """
    above = torch.arange(negatives + 1, dtype=torch.float64)  # sampled items above the relevant one: s - 1
    counts = torch.stack([above, negatives - above])
    share = (ranks - 1).double() / max(1, n - 1)
    logs = torch.stack([share.log(), (-share).log1p()], dim=1).clamp(min=-1e5)  # e^-100000 is 0, and 0 · -100000, unlike 0 · -inf, too
    return (logs @ counts + _log_ways(negatives)).exp_()


def corrected_gains(gains: Tensor, n: int, negatives: int, gamma: float) -> Tensor:
    """f̂(s): what rank s = 1 … negatives + 1 against sampled items should count, float64 (negatives + 1,); any real number.

    gains: float64 (k,), f(r), what the ranks r = 1 … k count; those beyond count 0. n: candidates, the relevant item among them. f̂
    minimises Σ_r p(r) (bias(r)² + gamma · variance(r)), p uniform over the n ranks: with A = P(s | r), P = diag(p), c = Aᵀ p,

        f̂ = ((1 - gamma) Aᵀ P A + gamma diag(c))⁻¹ Aᵀ P f.

    At gamma = 1 it is the mean of f(r) over the ranks that s may come from, weighted by their chance. As gamma falls to 0, bias falls and
    variance rises. What can never be drawn counts 0. Source: Krichene and Rendle, KDD 2020, the bias-variance estimator.
    """
    check_correction(negatives, gamma)
    both = _chance_of_both(n, negatives)  # Aᵀ P A
    chance, gains = both.sum(1), gains[:n]
    target = gains @ rank_probabilities(torch.arange(1, len(gains) + 1), n, negatives) / n  # Aᵀ P f
    scale = chance.clamp(min=1e-300).rsqrt()  # in units of √c the system's eigenvalues are in [gamma, 1], whatever n and m are
    system = (1 - gamma) * scale[:, None] * both * scale + gamma * torch.eye(negatives + 1, dtype=torch.float64)
    solved: Tensor = torch.linalg.solve(system, scale * target)
    return scale * solved


def _chance_of_both(n: int, negatives: int) -> Tensor:
    """The chance that an item of random rank has rank s in one draw of negatives and rank t in another: float64, both negatives + 1 long.

    The two draws are one of twice as many with s + t - 2 items above, of which the first draw has s - 1, which is hypergeometric. So the n
    ranks are summed for each s + t, not for each s and t.
    """
    twice = torch.zeros(2 * negatives + 1, dtype=torch.float64)
    for ranks in torch.arange(1, n + 1).split(max(1, CELLS // len(twice))):
        twice += rank_probabilities(ranks, n, 2 * negatives).sum(0) / n
    above = torch.arange(negatives + 1)
    together, ways = above[:, None] + above, _log_ways(negatives)
    return (ways[:, None] + ways - _log_ways(2 * negatives)[together]).exp() * twice[together]


def _log_ways(n: int) -> Tensor:
    """Log of n over x, for x = 0 … n: float64 (n + 1,)."""
    x = torch.arange(n + 1, dtype=torch.float64)
    factorial = torch.lgamma(x + 1)
    return factorial[-1] - factorial - factorial.flip(0)
