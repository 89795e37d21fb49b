"""Certify the metrics: the numbers that Microsoft's Recommenders publishes for SAR on ML-100k, k = 10, from lists judged by our harness.

`python -m benchmarks.sar` prints the table and writes benchmarks/results/sar.json. A quarter of each person's ratings is held out, all are
truth, what was trained on is masked. SAR is deterministic, and so are their splits, given the order of the file and seed 42. There are two:

- `shuffled`, of the quick start notebook `sar_movielens.ipynb`: each person's rows in a shuffle of their own, all by the same seed;
- `drawn`, of the functional test of `SARSingleNode`: a number drawn for each row, each person's rows in the order of these. The splitter of
  a later release trains on ranks up to 0.75 n, 346 rows fewer; the numbers are those of 0.75 n rounded.

Their MAP divides by all relevant items, as ours does (that of a later release, `map_at_k`, by at most k of them); their NDCG takes natural
logarithms, which cancel out.
"""

from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array
from torch import Tensor

from benchmarks.report import Row, write
from workbench.data import Holdout, Interactions, UserBatch, tie_ranks
from workbench.data.source import source_folder
from workbench.evaluation import evaluate

PUBLISHED = {
    "shuffled": {"map": 0.110591, "ndcg": 0.382461, "precision": 0.330753, "recall": 0.176385},
    "drawn": {"map": 0.106959, "ndcg": 0.379533, "precision": 0.331071, "recall": 0.176837},
}
SEED, SHARE, HALF_LIFE = 42, 0.75, 30.0
DIGITS = 6
SECOND = 1_000_000
DAY = 86_400 * SECOND


class Sar:
    """Items score by their Jaccard similarity to those that a person rated, times the rating, which halves every 30 days.

    As SARSingleNode with time decay. It can normalise scores as well, which changes no order.
    """

    title, inductive, personal = "SAR", False, True

    def fit(self, train: Interactions) -> Self:
        x = train.csr().astype(np.float64)
        both = (x.T @ x).toarray()
        people = both.diagonal()
        jaccard = both / np.maximum(people[:, None] + people - both, 1)  # two items that nobody has: 0, not 0 / 0
        age = (train.timestamps.max() - train.timestamps).double() / DAY
        decayed = (train.values * 0.5 ** (age / HALF_LIFE)).numpy()  # noqa: PD011, a tensor
        affinity = csr_array((decayed, (train.users.numpy(), train.items.numpy())), x.shape)
        self.scores = torch.from_numpy(affinity @ jaccard)
        return self

    def score(self, batch: UserBatch) -> Tensor:
        """float64 (batch, n_items)."""
        return self.scores[batch.users]


def ratings() -> pd.DataFrame:
    """ML-100k in the order of its file."""
    path = source_folder("package:recbole==1.2.1/dataset_example/ml-100k") / "ml-100k.inter"
    return pd.read_csv(path, sep="\t", names=["user", "item", "rating", "time"], skiprows=1, dtype={"user": str, "item": str})


def trained_on(log: pd.DataFrame, split: str) -> "pd.Series[bool]":
    """One value for each row."""
    by_user = log.groupby("user")
    if split == "drawn":
        drawn = pd.Series(np.random.RandomState(SEED).random_sample(len(log)), log.index)
        place = drawn.groupby(log["user"]).rank()
    else:
        shuffled = (rows.sample(frac=1, random_state=SEED).index for _, rows in by_user)
        place = pd.concat([pd.Series(range(1, len(index) + 1), index) for index in shuffled])
    return place.sort_index() <= (SHARE * by_user["user"].transform("size")).round()


def judged(log: pd.DataFrame, trained: "pd.Series[bool]") -> tuple[Interactions, Holdout]:
    """What is trained on, and what is to be found of everyone."""
    (users, user_ids), (items, item_ids) = (pd.factorize(log[column], sort=True) for column in ("user", "item"))
    order = np.lexsort((log["time"], users))
    coded = (users, items, log["time"].to_numpy(np.int64) * SECOND, log["rating"].to_numpy(np.float64), np.ones(len(log), np.int8))
    columns = (torch.from_numpy(column[order]) for column in coded)
    everything = Interactions(len(user_ids), len(item_ids), *columns, torch.arange(len(log)))
    known = torch.from_numpy(trained.to_numpy()[order])
    train, test = everything.select(known), everything.select(~known)
    holdout = Holdout.build(
        label="recommenders",
        truth=test,
        people=test.events_per_user > 0,
        history=train,
        seen=train,
        trained=train.events_per_user > 0,
        ties=tie_ranks(list(item_ids), seed=0),
    )
    return train, holdout


def rows() -> list[Row]:
    """One row for each split and metric; the goal is equality to six digits."""
    table, log = [], ratings()
    for split, published in PUBLISHED.items():
        train, holdout = judged(log, trained_on(log, split))
        result = evaluate(Sar().fit(train), holdout, ks=(10,))
        for metric, value in published.items():
            table.append(
                Row(
                    work=f"SAR {metric}@10",
                    size=f"ml-100k, {len(train):,} ratings trained on",
                    ours=result.mean(f"{metric}@10"),
                    peer=f"Recommenders, {split}",
                    peer_value=value,
                    goal=f"equal to {DIGITS} digits",
                    met=round(result.mean(f"{metric}@10"), DIGITS) == value,
                )
            )
    return table


if __name__ == "__main__":
    write(Path(__file__).stem, rows())
