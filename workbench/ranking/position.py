"""Clicks say what was seen and liked: how often each position is looked at, out of a log, and weights that undo it.

A slot at position p is examined with probability e(p), whoever asks and whatever stands there; a click then needs that the item is liked.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from workbench.errors import NotApplicable, RequestError
from workbench.ranking.examples import Examples


def examination(items: Tensor, positions: Tensor, clicks: Tensor, *, rounds: int = 100) -> Tensor:
    """float64 (p,): how often each position 1 … p is examined, relative to the first.

    items, positions: int64 (n,), what stood where, positions from 1; clicks: bool (n,). Maximum likelihood of Poisson clicks with a rate
    for each item and each position, e(p) · r(i), by alternating: the same item seen at several positions tells them apart, so this needs a
    log in which items move (Agarwal et al., WSDM 2019, "intervention harvesting").

    Raises NotApplicable where there are no clicks at the first position or no item was at two positions.
    """
    if not len(items) == len(positions) == len(clicks) or (len(positions) and int(positions.min()) < 1):
        raise RequestError("items, positions from 1 and clicks should be one of each for each show.")
    _, item = items.unique(return_inverse=True)
    p, n = int(positions.max()) if len(positions) else 0, int(item.max()) + 1 if len(item) else 0
    cells = item * (p + 1) + positions
    shown = torch.bincount(cells, minlength=n * (p + 1)).view(n, p + 1).double()[:, 1:]
    clicked = torch.bincount(cells, clicks.double(), minlength=n * (p + 1)).view(n, p + 1)[:, 1:]
    if not n or clicked[:, 0].sum() == 0 or not ((shown > 0).sum(1) > 1).any():
        raise NotApplicable("how often positions are looked at needs clicks at the first one, and items that stood at several.")
    looked = torch.ones(p, dtype=torch.float64)
    for _ in range(rounds):
        liked = clicked.sum(1) / (shown * looked).sum(1).clamp(min=1e-12)
        new = clicked.sum(0) / (shown * liked[:, None]).sum(0).clamp(min=1e-12)
        new = new / new[0]
        moved = (new - looked).abs().max().item()
        looked = new
        if moved < 1e-9:
            break
    return looked


def debiased(examples: Examples, looked: Tensor, positions: Tensor, *, most: float = 20.0) -> Examples:
    """The examples with inverse propensity weights: what came of a candidate counts 1 / e(position), at most `most` times; what nothing
    came of counts once (Joachims et al., WSDM 2017, for pairs and lists of our networks; LightGBM weighs each row of a pair by its own
    weight; for single chances these are no propensities and it does not apply).

    looked: float (p,), as `examination` gives it; positions: int64 (n,), from 1.
    """
    if len(positions) != len(examples.items) or (len(positions) and not 1 <= int(positions.min()) <= int(positions.max()) <= len(looked)):
        raise RequestError(f"there should be a position from 1 to {len(looked)} for each candidate.")
    if not most >= 1 or math.isnan(most):
        raise RequestError(f"most = {most:g} should be at least 1.")
    weights = (1 / looked.clamp(min=1e-12))[positions - 1].clamp(max=most)
    return replace(examples, weights=torch.where(examples.label, weights, 1.0).double())
