"""Metrics of ranked lists, one value for each person.

Each takes tensors by the names that `Lists` gives them, a row for each of n people, a column for each rank, best first: `hits`, bool
(n, depth), True where the item at that rank is relevant; `n_relevant`, int64 (n,), how many items are relevant to the person, at least 1;
and so on; and the cut-off `k`, 1 <= k <= depth. Each returns float64 (n,), NaN where a person's list leaves nothing to measure.
docs/metrics.md has the formulas, sources and worked examples.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from workbench.data import Holdout
from workbench.evaluation.lists import Lists


def recall(hits: Tensor, n_relevant: Tensor, k: int) -> Tensor:
    """Share of a person's relevant items found in the first `k`.

    Divides by all relevant items, so with more than `k` of them 1.0 is out of reach; `truncated_recall` divides by min(k, n_relevant).
    """
    return hits[:, :k].sum(1).double() / n_relevant


def truncated_recall(hits: Tensor, n_relevant: Tensor, k: int) -> Tensor:
    """Relevant items in the first `k`, over as many as could be there: min(k, n_relevant).

    Part of the literature calls this recall (Liang et al., WWW 2018, eq. 6 and after).
    """
    return hits[:, :k].sum(1).double() / n_relevant.clamp(max=k)


def precision(hits: Tensor, k: int) -> Tensor:
    """Share of the first `k` places that hold a relevant item. Divides by `k`, also when the list is shorter."""
    return hits[:, :k].sum(1).double() / k


def hit_rate(hits: Tensor, k: int) -> Tensor:
    """1.0 where at least one relevant item is in the first `k`, else 0.0."""
    return hits[:, :k].any(1).double()


def mrr(hits: Tensor, k: int) -> Tensor:
    """1 / rank of the first relevant item in the first `k`, 0.0 where there is none (Voorhees, TREC-8 1999)."""
    found, rank = hits[:, :k].max(1)
    return found.double() / (rank + 1)


def average_precision(hits: Tensor, n_relevant: Tensor, k: int) -> Tensor:
    """Precision at each relevant item's rank, summed over those in the first `k`, over all relevant items; its mean is MAP.

    As trec_eval's map_cut has it (Buckley and Voorhees 2005); some libraries divide by min(k, n_relevant).
    """
    hits = hits[:, :k].double()
    precisions = hits.cumsum(1) / torch.arange(1, k + 1)
    return (hits * precisions).sum(1) / n_relevant


def ndcg(hits: Tensor, n_relevant: Tensor, k: int) -> Tensor:
    """Discounted gain of the first `k` over that of an ideal list, every relevant item counting 1 (Järvelin and Kekäläinen, TOIS 2002).

    Discount 1 / log2(rank + 1). The ideal list has min(k, n_relevant) relevant items at its top.
    """
    discount = _discount(k)
    return hits[:, :k].double() @ discount / discount.cumsum(0)[n_relevant.clamp(min=1, max=k) - 1]


def ndcg_linear(grades: Tensor, ideal_grades: Tensor, k: int) -> Tensor:
    """NDCG in which a relevant item's gain is its grade (Järvelin and Kekäläinen, TOIS 2002)."""
    return grades[:, :k] @ _discount(k) / (ideal_grades[:, :k] @ _discount(k))


def ndcg_exponential(grades: Tensor, ideal_grades: Tensor, k: int) -> Tensor:
    """NDCG in which a relevant item's gain is 2^grade - 1 (Burges et al., ICML 2005)."""
    return ndcg_linear(grades.exp2() - 1, ideal_grades.exp2() - 1, k)


def recall_ceiling(n_relevant: Tensor, k: int) -> Tensor:
    """What recall cannot exceed with `k` places: min(k, n_relevant) / n_relevant. It falls with activity, whatever the model."""
    return n_relevant.clamp(max=k).double() / n_relevant


def one_truth_ndcg(hits: Tensor, shown: Tensor, n_relevant: Tensor, k: int) -> Tensor:
    """NDCG if one relevant item, any of them with equal chance, were the only one: 1 / log2(rank + 1), the others out of the list.

    People with many relevant items and people with few are then on one scale. NaN where a list of `depth` places cannot tell: it must have
    `k` places without a relevant item, so that a relevant item further down has `k` others above it, or hold all of the relevant ones.
    """
    above = hits.cumsum(1)
    rank = torch.arange(1, hits.shape[1] + 1) - above + 1  # of a hit, without the hits above it
    gain = torch.where(hits & (rank <= k), 1 / (rank + 1).double().log2(), 0.0).sum(1) / n_relevant
    told = ((shown & ~hits).sum(1) >= k) | (above[:, -1] == n_relevant) | ~shown[:, -1]
    return torch.where(told, gain, torch.nan)


def user_coverage(shown: Tensor, served: Tensor, k: int) -> Tensor:
    """1.0 where the model itself, not its fallback, fills the first `k` places, else 0.0."""
    return (shown[:, k - 1] & served).double()


def novelty(information: Tensor, shown: Tensor, k: int) -> Tensor:
    """Mean self-information of the items in the first `k`, -log2 of the share of people who have the item (Zhou et al., PNAS 2010)."""
    return _mean_shown(information, shown, k)


def mean_popularity(events: Tensor, shown: Tensor, k: int) -> Tensor:
    """Mean number of known events of the items in the first `k`: average recommendation popularity (Yin et al., VLDB 2012)."""
    return _mean_shown(events, shown, k)


def long_tail_share(tail: Tensor, shown: Tensor, k: int) -> Tensor:
    """Share of the items in the first `k` that are of the tail, the least popular items with a fifth of the events."""
    return _mean_shown(tail.double(), shown, k)


def serendipity(hits: Tensor, popular_place: Tensor, k: int) -> Tensor:
    """Share of the first `k` places with a relevant item that the person's first `k` by popularity lack (Ge et al., RecSys 2010)."""
    return (hits & (popular_place >= k))[:, :k].sum(1).double() / k


def diversity(list_vectors: Tensor, shown: Tensor, k: int) -> Tensor:
    """Intra-list diversity: mean of 1 - cosine over all pairs of items in the first `k` (Ziegler et al., WWW 2005).

    The sum over pairs of the cosine is (|Σ v|² - Σ |v|²) / 2. An item without a vector is like nothing. NaN for fewer than two items.
    """
    vectors, n = list_vectors[:, :k], shown[:, :k].sum(1).double()
    alike = vectors.sum(1).double().square().sum(1) - vectors.square().sum((1, 2)).double()
    return torch.where(n > 1, 1 - alike / (n * (n - 1)), torch.nan)


def _mean_shown(values: Tensor, shown: Tensor, k: int) -> Tensor:
    return values[:, :k].sum(1) / shown[:, :k].sum(1)  # 0 / 0, an empty list, is NaN


def _discount(k: int) -> Tensor:
    """float64 (k,)."""
    return 1 / torch.arange(2, k + 2, dtype=torch.float64).log2()


@dataclass(frozen=True)
class Metric:
    label: str
    function: Callable[..., Tensor]
    direction: Literal["higher", "lower"] = "higher"
    """Which way is better; of the metrics that no truth enters, which way is called more of it."""
    needs: Literal["nothing", "grades", "vectors"] = "nothing"
    """What the data must have: more than one grade of relevance, vectors of the items."""
    takes: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "takes", tuple(name for name in inspect.signature(self.function).parameters if name != "k"))

    @property
    def definition(self) -> str:
        """One sentence, for the run record; two runs whose definitions differ are not compared."""
        return (inspect.getdoc(self.function) or "").split("\n")[0]

    @property
    def of_truth(self) -> bool:
        """Whether it says how well people's likes were met; the others describe the lists alone."""
        return bool({"hits", "grades"} & set(self.takes))

    def applies(self, lists: Lists) -> bool:
        return self.applies_to(lists.holdout) and (self.needs != "vectors" or lists.vectors is not None)

    def applies_to(self, holdout: Holdout) -> bool:
        """Whether its grades say enough."""
        return self.needs != "grades" or bool((holdout.truth.grades > 1).any())

    def values(self, lists: Lists, k: int) -> Tensor:
        """float64 (n,)."""
        return self.function(**{name: getattr(lists, name) for name in self.takes}, k=k)


METRICS = {
    "recall": Metric("Recall", recall),
    "truncated_recall": Metric("Truncated recall", truncated_recall),
    "ndcg": Metric("NDCG", ndcg),
    "ndcg_linear": Metric("NDCG, linear gain", ndcg_linear, needs="grades"),
    "ndcg_exponential": Metric("NDCG, exponential gain", ndcg_exponential, needs="grades"),
    "map": Metric("MAP", average_precision),
    "mrr": Metric("MRR", mrr),
    "hit_rate": Metric("Hit rate", hit_rate),
    "precision": Metric("Precision", precision),
    "serendipity": Metric("Serendipity", serendipity),
    "novelty": Metric("Novelty", novelty),
    "mean_popularity": Metric("Mean popularity", mean_popularity, "lower"),
    "long_tail_share": Metric("Long-tail share", long_tail_share),
    "diversity": Metric("Diversity", diversity, needs="vectors"),
    "user_coverage": Metric("User coverage", user_coverage),
}


def split_name(metric: str) -> tuple[str, int]:
    """("ndcg", 10) for "ndcg@10"."""
    name, _, k = metric.partition("@")
    return name, int(k)


def label(metric: str) -> str:
    """The name a reader expects: "NDCG@10" for "ndcg@10", "NDCG@10, linear gain" for "ndcg_linear@10"."""
    name, k = split_name(metric)
    first, *rest = METRICS[name].label.split(",", 1)
    return ",".join([f"{first}@{k}", *rest])
