"""Ranking metrics, one value for each person.

All take `hits`, bool (n_users, depth): True where the item at that rank, best first, is relevant (False beyond the end of a shorter list);
`n_relevant`, int (n_users,), at least 1; and the cut-off `k`, 1 <= k <= depth. All return float64 (n_users,) in [0, 1]; higher is better.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


def recall(hits: Tensor, n_relevant: Tensor, k: int) -> Tensor:
    """Share of a person's relevant items found in the first `k`.

    Divides by all relevant items, so with more than `k` of them 1.0 is out of reach. Part of the literature divides by min(k, n_relevant)
    under the same name (Liang et al., WWW 2018).
    """
    return hits[:, :k].sum(1).double() / n_relevant


def precision(hits: Tensor, n_relevant: Tensor, k: int) -> Tensor:  # noqa: ARG001, all metrics share one signature
    """Share of the first `k` places that hold a relevant item. Divides by `k`, also when the list is shorter."""
    return hits[:, :k].sum(1).double() / k


def hit_rate(hits: Tensor, n_relevant: Tensor, k: int) -> Tensor:  # noqa: ARG001
    """1.0 where at least one relevant item is in the first `k`, else 0.0."""
    return hits[:, :k].any(1).double()


def mrr(hits: Tensor, n_relevant: Tensor, k: int) -> Tensor:  # noqa: ARG001
    """1 / rank of the first relevant item in the first `k`, 0.0 where there is none (Voorhees, TREC-8 1999)."""
    found, rank = hits[:, :k].max(1)
    return found.double() / (rank + 1)


def ndcg(hits: Tensor, n_relevant: Tensor, k: int) -> Tensor:
    """Discounted gain of the first `k` over that of an ideal list (Järvelin and Kekäläinen, TOIS 2002).

    An item is relevant or it is not: gain 1 or 0, so linear and exponential gain agree. Discount 1 / log2(rank + 1). The ideal list has
    min(k, n_relevant) relevant items at its top.
    """
    discount = 1 / torch.arange(2, k + 2, dtype=torch.float64).log2()
    ideal = discount.cumsum(0)[n_relevant.clamp(max=k) - 1]
    return hits[:, :k].double() @ discount / ideal


@dataclass(frozen=True)
class Metric:
    label: str
    function: Callable[[Tensor, Tensor, int], Tensor]
    direction: Literal["higher", "lower"] = "higher"
    """Which way is better."""

    @property
    def definition(self) -> str:
        """One sentence, for the run record."""
        return (inspect.getdoc(self.function) or "").split("\n")[0]


METRICS = {
    "recall": Metric("Recall", recall),
    "ndcg": Metric("NDCG", ndcg),
    "mrr": Metric("MRR", mrr),
    "hit_rate": Metric("Hit rate", hit_rate),
    "precision": Metric("Precision", precision),
}


def label(metric: str) -> str:
    """The name a reader expects: "NDCG@10" for "ndcg@10"."""
    name, k = metric.split("@")
    return f"{METRICS[name].label}@{k}"
