"""Certify the harness: on RecBole's own split of ML-100k, our models and metrics beside RecBole's, computed in the same run.

`python -m benchmarks.anchors` prints the table and writes benchmarks/results/anchors.json. RecBole's defaults: each person's events at
random 8:1:1, seed 2020, full ranking, all ratings are truth, training and validation masked;
item-kNN with k = 100 and shrink 0, EASE with l2 = 250, SLIM with alpha = 0.2 and an l1 ratio of 0.02.

Three things of RecBole's are shown and are no anchors. Its popularity counts an item once a batch; ours counts each event. Its item-kNN
keeps whichever of several neighbours at equal similarity NumPy's argpartition leaves in front, which changes with the processor, and its
numbers change with that in the fourth digit. Its SLIM stops coordinate descent, in float32 and in random order, at a duality gap of 1e-4 of
the target's square, short of the optimum by as much as moves the fourth digit. So two of its classes run a second time, item-kNN with our
order of ties in that one place, SLIM in float64 to a gap of 1e-6, and these are the anchors.
"""

import contextlib
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from sklearn.linear_model import ElasticNet
from torch import Tensor

from benchmarks.report import Row, write
from workbench.data import Holdout, Interactions, tie_ranks
from workbench.data.source import source_folder
from workbench.evaluation import evaluate
from workbench.models import create
from workbench.models.recbole.library import (
    Trainer,
    create_dataset,
    data_preparation,
    get_model,
    init_seed,
    itemknn,
    recbole_config,
    slimelastic,
)
from workbench.testing import interactions

METRICS = {"recall": "recall", "mrr": "mrr", "ndcg": "ndcg", "hit_rate": "hit", "precision": "precision"}
OURS = {
    "item_knn": {"k": 100, "shrink": 0.0},
    "ease": {"l2": 250.0},
    "slim": {"alpha": 0.2 * 944 / 943, "l1_ratio": 0.02},  # RecBole's matrix has a row more, for nobody, and averages over it
    "popularity": {},
}
PEERS = (  # ours, RecBole's class, with one place mended, an anchor
    ("ease", "EASE", False, True),
    ("item_knn", "ItemKNN", True, True),
    ("item_knn", "ItemKNN", False, False),
    ("slim", "SLIMElastic", True, True),
    ("slim", "SLIMElastic", False, False),
    ("popularity", "Pop", False, False),
)
MENDED = {"ItemKNN": "our ties", "SLIMElastic": "to the end"}
DIGITS = 4


class _StableTies(np.ndarray):
    """Partitions by a full sort: of equal values the item with more people comes first, then the lower index. As our item-kNN does."""

    people: Any

    def __array_finalize__(self, parent: Any) -> None:
        self.people = getattr(parent, "people", None)

    def argpartition(self, *_: Any, **__: Any) -> Any:
        return np.lexsort((-self.people, np.asarray(self)))


class _StableMatrix:
    """What RecBole's similarity asks of its data matrix, with products whose ties are stable."""

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix

    def __getattr__(self, name: str) -> Any:
        return getattr(self.matrix, name)

    def __getitem__(self, key: Any) -> Any:
        return self.matrix[key]

    def astype(self, dtype: Any) -> "_StableMatrix":
        return _StableMatrix(self.matrix.astype(dtype))

    @property
    def T(self) -> "_StableMatrix":  # noqa: N802, scipy's name
        return _StableMatrix(self.matrix.T)

    def dot(self, other: Any) -> Any:
        product = self.matrix.dot(other).view(_StableTies)
        product.people = np.asarray(self.matrix.sum(1)).ravel()  # the matrix is transposed here: one row an item
        return product


def _stable_similarity(self: Any, *arguments: Any) -> Any:
    self.dataMatrix = _StableMatrix(self.dataMatrix)
    return _compute_similarity(self, *arguments)


_compute_similarity = itemknn.ComputeSimilarity.compute_similarity


class _ToTheEnd(ElasticNet):
    """Takes what RecBole asks for, but for when to stop."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "tol": 1e-6, "max_iter": 100_000})

    def fit(self, x: Any, y: Any) -> Any:
        return super().fit(x.astype(np.float64), y.astype(np.float64))


@contextlib.contextmanager
def _mended() -> Iterator[None]:
    with (
        mock.patch.object(itemknn.ComputeSimilarity, "compute_similarity", _stable_similarity),
        mock.patch.object(slimelastic, "ElasticNet", _ToTheEnd),
    ):
        yield


def recbole_run(model: str, mended: bool, folder: str) -> tuple[dict[str, float], Any]:
    """RecBole's metrics at 10 by its own trainer and evaluator, and its three data loaders."""
    warnings.simplefilter("ignore")  # RecBole's own, about pandas and torch
    data = source_folder("package:recbole==1.2.1/dataset_example/ml-100k").parent
    settings = {"data_path": str(data), "seed": 2020, "checkpoint_dir": folder, "show_progress": False, "epochs": 1, "device": "cpu"}
    settings |= {"metrics": ["Recall", "MRR", "NDCG", "Hit", "Precision"], "topk": [10], "metric_decimal_place": 8}
    config = recbole_config(model, "ml-100k", settings)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    loaders = data_preparation(config, dataset)
    init_seed(config["seed"], config["reproducibility"])
    with _mended() if mended else contextlib.nullcontext():
        instance = get_model(model)(config, loaders[0].dataset)
    with contextlib.chdir(folder):  # the trainer logs into the working directory
        trainer = Trainer(config, instance)
        if model == "Pop":  # the others are complete when they are made
            trainer.fit(loaders[0], saved=False, show_progress=False)
        result = trainer.evaluate(loaders[2], load_best_model=False, show_progress=False)
    return {ours: float(result[f"{theirs}@10"]) for ours, theirs in METRICS.items()}, loaders


def our_parts(loaders: Any) -> tuple[Interactions, Interactions, Interactions, Tensor]:
    """RecBole's parts in our codes (ids sorted as text), and the order among equal scores."""
    tokens = []
    for loader in loaders:
        dataset = loader.dataset
        columns = (dataset.uid_field, dataset.iid_field)
        tokens.append([dataset.id2token(field, dataset.inter_feat[field].numpy()) for field in columns])
    fields = (loaders[0].dataset.uid_field, loaders[0].dataset.iid_field)
    users, items = ([str(token) for token in loaders[0].dataset.field2id_token[field][1:]] for field in fields)
    user_codes, item_codes = ({token: code for code, token in enumerate(ids)} for ids in (users, items))
    train, valid, test = (
        interactions([(user_codes[u], item_codes[i]) for u, i in zip(*part, strict=True)], len(users), len(items)) for part in tokens
    )
    return train, valid, test, tie_ranks(items, seed=0)


def our_run(name: str, parts: tuple[Interactions, Interactions, Interactions, Tensor]) -> dict[str, float]:
    train, valid, test, ties = parts
    holdout = Holdout.build(
        label="recbole 2020",
        truth=test,
        people=test.events_per_user > 0,
        history=train,
        seen=train.plus(valid),
        trained=train.events_per_user > 0,
        ties=ties,
    )
    result = evaluate(create(name, **OURS[name]).fit(train), holdout, name=name, ks=(10,))
    return {metric: result.mean(f"{metric}@10") for metric in METRICS}


def rows(names: Sequence[str] = tuple(OURS)) -> list[Row]:
    """One row for each of these models, peer and metric; the goal of an anchor is equality to four digits."""
    table: list[Row] = []
    parts = None
    with tempfile.TemporaryDirectory() as folder:
        for name, theirs, mended, anchor in PEERS:
            if name not in names:
                continue
            peer, loaders = recbole_run(theirs, mended, folder)
            parts = parts or our_parts(loaders)
            ours = our_run(name, parts)
            for metric in METRICS:
                equal = round(ours[metric], DIGITS) == round(peer[metric], DIGITS)
                table.append(
                    Row(
                        work=f"{name} {metric}@10",
                        size="ml-100k, RecBole's split, seed 2020",
                        ours=ours[metric],
                        peer=f"RecBole {theirs}{f', {MENDED[theirs]}' if mended else ''}",
                        peer_value=peer[metric],
                        goal=f"equal to {DIGITS} digits" if anchor else "no anchor",
                        met=equal if anchor else None,
                    )
                )
    return table


if __name__ == "__main__":
    write(Path(__file__).stem, rows())
