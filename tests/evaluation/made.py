"""Scorers, lists and evaluations made for one test each, and how far chance may carry a rate that is counted."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from workbench.data import Holdout, Interactions
from workbench.data.card import Slice
from workbench.evaluation.harness import Evaluation
from workbench.evaluation.lists import Lists
from workbench.testing import interactions
from workbench.testing.synthetic import holdout

METRIC = "ndcg@10"


class Scores:
    """Fixed scores, by code of the person."""

    def __init__(self, scores, personal: bool = False, inductive: bool = True) -> None:
        self.scores, self.personal, self.inductive = torch.as_tensor(scores, dtype=torch.float32), personal, inductive

    def score(self, batch) -> Tensor:
        return self.scores[batch.users]


def graded(rows: Iterable[tuple[int, int, int]], n_users: int, n_items: int) -> Interactions:
    """Events (user, item, grade)."""
    rows = sorted(rows, key=lambda row: row[0])
    log = interactions([row[:2] for row in rows], n_users, n_items)
    return replace(log, grades=torch.tensor([row[2] for row in rows], dtype=torch.int8))


def listed(judged: Holdout, items, served=None, vectors=None) -> Lists:
    """The lists of the people judged: as many rows of items as there are of them, -1 where a list is shorter."""
    items = torch.as_tensor(items, dtype=torch.int64)
    served = torch.ones(len(items), dtype=torch.bool) if served is None else torch.as_tensor(served)
    return Lists.build(judged, items, served, None if vectors is None else torch.as_tensor(vectors, dtype=torch.float32))


def everyone(n: int, label: str = "synthetic") -> Holdout:
    """n people without a history, each with one item to find."""
    return holdout(interactions([], n, 12), interactions([(user, user % 12) for user in range(n)], n, 12), label=label)


def valued(values, name: str = "a", judged: Holdout | None = None, metric: str = METRIC) -> Evaluation:
    """An evaluation in which each person has this value of the metric."""
    values = torch.as_tensor(values, dtype=torch.float64)
    judged = judged or everyone(len(values))
    lists = listed(judged, torch.full((len(judged.users), 10), -1))
    return Evaluation(model=name, title=name, ks=(10,), lists=lists, per_user={metric: values}, fallback="popularity", tied_share=0.0)


def random_lists(rng: np.random.Generator, n: int, n_items: int, depth: int, shortest: int = 0) -> np.ndarray:
    """int64 (n, depth): items in random order, -1 after a random length of at least `shortest`."""
    items = rng.permuted(np.tile(np.arange(n_items), (n, 1)), axis=1)[:, :depth]
    return np.where(np.arange(depth) < rng.integers(shortest, depth + 1, size=(n, 1)), items, -1)


def tables(users: dict[str, Sequence] | None = None, items: dict[str, Sequence] | None = None, **slices: dict) -> SimpleNamespace:
    """What a grouping needs of a data set: columns of the two tables, and the card's `[slices]`."""
    cells = {"users": users or {}, "items": items or {}}
    sizes = {f"n_{table}": max((len(column) for column in columns.values()), default=0) for table, columns in cells.items()}
    snapshot = SimpleNamespace(columns=cells.__getitem__, cells=lambda table, column: cells[table][column])
    card = SimpleNamespace(slices={name: Slice.model_validate(said) for name, said in slices.items()})
    return SimpleNamespace(snapshot=snapshot, card=card, **sizes)


def chance(rate: float, trials: int, within: float = 0.99) -> tuple[float, float]:
    """Between which shares of so many trials an event of this probability lies, but for `1 - within` of the time."""
    low, high = stats.binom.interval(within, trials, rate)
    return low / trials, high / trials
