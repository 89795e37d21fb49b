"""Which items get the attention: exposure of groups beside their share of the catalogue and of what was liked; lists beside tastes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from workbench.data import Dataset, Interactions
from workbench.data.groups import Membership, item_membership
from workbench.evaluation.exposure import jackknife
from workbench.evaluation.harness import Evaluation
from workbench.evaluation.intervals import RESAMPLES, Interval, percentile_interval, poisson_weights
from workbench.evaluation.popularity import BANDS, popularity_bands
from workbench.evaluation.ranking import NOTHING

POPULARITY = "popularity"
"""Groups that every data set has: head, mid and tail, by what is known at the moment of the request."""
SMOOTHING = 0.01
"""How much of what the person liked is mixed into what the list has, so that no group is missing altogether: Steck's α."""


def membership(data: Dataset, history: Interactions, by: str) -> Membership:
    """The items' groups by a grouping of the card, a column of the item table, or "popularity" in the history. Raises RequestError for any
    other name, and for groups of people.
    """
    if by == POPULARITY:
        bands = popularity_bands(history.events_per_item)
        return Membership(names=BANDS, member=torch.nn.functional.one_hot(bands, len(BANDS)).bool())
    return item_membership(data, by)


@dataclass(frozen=True, kw_only=True)
class ItemGroup:
    """A group of items in everybody's first `k` places. An item of several groups is shared out among them."""

    group: str
    n_items: int
    catalogue: float
    """Its share of the catalogue."""
    exposure: Interval
    """Its share of the attention: a place at rank r weighs 1 / log2(r + 1)."""
    merit: Interval
    """Its share of what people then liked (Singh and Joachims, KDD 2018, with the truth for relevance)."""
    difference: Interval
    """Exposure minus merit."""
    covered: Interval
    """Share of its items that are in somebody's list, with the jackknife's interval."""

    @property
    def ratio(self) -> float:
        """Exposure over merit; NaN where nobody liked any of it."""
        return self.exposure.value / self.merit.value if self.merit.value else math.nan


def group_exposure(result: Evaluation, groups: Membership, k: int, *, seed: int = 0) -> list[ItemGroup]:
    """Each group's exposure, with intervals over people, each on its own; other lists of the same model for as many other people."""
    shares, lists, truth = groups.shares, result.top[:, :k], result.holdout.truth
    shown = (lists != NOTHING).double()
    weight = shown / torch.arange(2, k + 2).double().log2()
    exposure = torch.einsum("nk,nkg->ng", weight, shares[lists])
    place = torch.full((truth.n_users,), -1)
    place[result.users] = torch.arange(len(result.users))
    liked = torch.zeros_like(exposure).index_add_(0, place[truth.users], shares[truth.items])
    intervals = _shares(exposure, weight.sum(1, keepdim=True), liked, liked.sum(1, keepdim=True), seed)
    found = []
    for i, name in enumerate(groups.names):
        found.append(
            ItemGroup(
                group=name,
                n_items=int(groups.member[:, i].sum()),
                catalogue=shares[:, i].sum().item() / len(shares),
                exposure=intervals[0][i],
                merit=intervals[1][i],
                difference=intervals[2][i],
                covered=_covered(lists, groups.member[:, i]),
            )
        )
    return found


def _shares(exposure: Tensor, weight: Tensor, liked: Tensor, events: Tensor, seed: int) -> tuple[list[Interval], ...]:
    """Of each group the interval of Σ exposure / Σ weight, of Σ liked / Σ events, and of their difference."""
    n, g = exposure.shape
    columns = torch.cat([exposure, weight, liked, events], dim=1)
    sums = torch.cat([each.double() @ columns for each in poisson_weights(n, RESAMPLES, np.random.default_rng(seed))])

    def of(total: Tensor) -> tuple[Tensor, ...]:
        a, b = total[:, :g] / total[:, g : g + 1], total[:, g + 1 : 2 * g + 1] / total[:, 2 * g + 1 :]
        return a, b, a - b

    point, drawn = of(columns.sum(0, keepdim=True)), of(sums)

    def interval(value: float, each: Tensor) -> Interval:
        if each.isnan().all():  # nobody was shown, or liked, anything
            return Interval(value, math.nan, math.nan, n)
        return percentile_interval(each.numpy(), value, n, 0.95, df=n - 1)

    return tuple([interval(value[0, i].item(), each[:, i]) for i in range(g)] for value, each in zip(point, drawn, strict=True))


def _covered(lists: Tensor, inside: Tensor) -> Interval:
    """Share of a group's items in at least one list, each person left out in turn."""
    shown = (lists != NOTHING) & inside[lists]
    counts = torch.bincount(lists[shown], minlength=len(inside))
    size, covered = int(inside.sum()), int((counts > 0).sum())
    alone = (shown & (counts[lists] == 1)).sum(1)
    return jackknife(covered / max(1, size), (covered - alone).double() / max(1, size))


def liked_shares(history: Interactions, users: Tensor, groups: Membership) -> Tensor:
    """float64 (n, g): what share of a person's liked history each group has, an item's weight shared among its groups; zeros where nothing
    is known. p(g|u) of Steck (RecSys 2018), eq. 2, every event weighing alike. users: int64 (n,), -1 for strangers.
    """
    asked = history.positives().batch(users.clamp(min=0))
    sums = torch.zeros(len(users), len(groups.names), dtype=torch.float64)
    sums.index_add_(0, asked.rows, groups.shares[asked.items] * (users >= 0)[asked.rows, None])
    return sums / sums.sum(1, keepdim=True).clamp(min=1e-300)


def miscalibration(items: Tensor, groups: Membership, target: Tensor) -> Tensor:
    """KL(liked ‖ list) of each person, float64 (n,), at least 0, lower is better; NaN for who liked nothing or has no list. Steck (RecSys
    2018), eq. 3 to 5, every place weighing alike.

    items: int64 (n, k); target: float64 (n, g), of `liked_shares`.
    """
    shown = items != NOTHING
    listed = (groups.shares[items] * shown[:, :, None]).sum(1) / shown.sum(1, keepdim=True)
    mixed = (1 - SMOOTHING) * listed + SMOOTHING * target
    found = (torch.special.xlogy(target, target) - torch.special.xlogy(target, mixed)).sum(1)
    return torch.where((target > 0).any(1) & shown.any(1), found.clamp(min=0), torch.nan)


def popularity_lift(result: Evaluation, k: int) -> Tensor:
    """How much more popular a person's first `k` are than what they liked before: mean events of an item of the list over that of the liked
    history, less 1; 0 where both are alike. float64 (n,), NaN for who liked nothing or has no list (Abdollahpouri et al., RecSys 2020).
    """
    history = result.holdout.history
    events = history.events_per_item.double()
    asked = history.positives().batch(result.users)
    had = torch.zeros(len(result.users), dtype=torch.float64).index_add_(0, asked.rows, events[asked.items]) / asked.lengths
    lists = result.top[:, :k]
    shown = lists != NOTHING
    listed = (events[lists] * shown).sum(1) / shown.sum(1)
    return torch.where((asked.lengths > 0) & shown.any(1), listed / had - 1, torch.nan)


def lorenz(lists: Tensor, n_items: int, ranks: Sequence[float] = ()) -> list[tuple[float, float]]:
    """Points (share of the catalogue, least shown first; share of the places): the Lorenz curve of exposure. ranks: shares of the catalogue
    to be told; none: a hundred and one of them.
    """
    counts = np.sort(torch.bincount(lists[lists != NOTHING], minlength=n_items).numpy())
    held = np.concatenate([[0.0], counts.cumsum() / max(1, counts.sum())])
    at = np.asarray(ranks if len(ranks) else np.linspace(0, 1, 101))
    return list(zip(at.tolist(), np.interp(at, np.linspace(0, 1, len(held)), held).tolist(), strict=True))
