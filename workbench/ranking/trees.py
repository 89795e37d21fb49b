"""Gradient boosted trees by LightGBM: LambdaRank, or the chance of each candidate by itself, or of a whole list."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import lightgbm
import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from workbench.errors import WorkError
from workbench.features import FeatureFrame
from workbench.files import sha256_of, whole_file, write_json
from workbench.ranking.examples import Examples, check_learnable, judging
from workbench.ranking.inputs import check_finite

OBJECTIVES = {"pairwise": "lambdarank", "pointwise": "binary", "listwise": "rank_xendcg"}


@dataclass(frozen=True, kw_only=True)
class TreesConfig:
    loss: Literal["pairwise", "pointwise", "listwise"] = "pairwise"
    """pairwise: LambdaRank (Burges 2010), pairs weighted by what swapping them does to NDCG. pointwise: log loss. listwise: XE-NDCG (Bruch,
    WWW 2021)."""
    rounds: Annotated[int, Field(ge=1)] = 400
    """Trees, at most."""
    patience: Annotated[int, Field(ge=0)] = 40
    """Trees without a better NDCG on validation after which it is over; 0 takes all."""
    leaves: Annotated[int, Field(ge=2)] = 15
    learning_rate: Annotated[float, Field(gt=0)] = 0.05
    least: Annotated[int, Field(ge=1)] = 50
    """Candidates in a leaf, at least."""
    l2: Annotated[float, Field(ge=0)] = 5.0
    """Penalty on leaf values."""
    columns: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Share of the features that a tree may look at."""
    k: Annotated[int, Field(ge=1)] = 10
    """Cut-off of the NDCG that stops it."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    threads: Annotated[int, Field(ge=0)] = 1
    """0 for all there are: quicker on a quiet machine, many times slower on one where something else runs, because its threads wait by
    spinning."""


class Trees:
    """Missing values are a direction of their own in a tree; a category that was not seen in training goes with the missing ones."""

    probabilistic = False

    booster: lightgbm.Booster
    names: tuple[str, ...]
    """Of the features, in the order of the columns."""
    categories: dict[str, tuple[str, ...]]
    """By feature: the names seen in training."""

    def __init__(self, config: TreesConfig = TreesConfig()) -> None:
        self.config = config
        self.title = {"pairwise": "LambdaRank trees", "pointwise": "Log-loss trees", "listwise": "XE-NDCG trees"}[config.loss]
        self.best_round = 0

    def fit(self, train: Examples, valid: Examples | None = None, ties: Tensor | None = None) -> Self:
        """valid, with ties: int64 (n_items,), stop it by our own NDCG. Raises NotApplicable where there is nothing to learn from."""
        check_learnable(train)
        self.names = tuple(each.name for each in train.features.definitions)
        self.categories = {
            each.name: tuple(train.features.names[each.name][int(code)] for code in column[~column.isnan()].unique())
            for each in train.features.definitions
            if each.category and len(column := train.features.column(each.name))
        }
        config, sets = self.config, []
        callbacks: list[Any] = []
        data = self._data(train)
        if valid is not None and judging(valid) and ties is not None and config.patience:
            sets = [self._data(valid, data)]
            callbacks = [lightgbm.early_stopping(config.patience, first_metric_only=True, verbose=False)]

        def ours(predicted: np.ndarray, _: lightgbm.Dataset) -> tuple[str, float, bool]:
            assert valid is not None
            assert ties is not None
            return "ndcg", valid.ndcg(torch.from_numpy(predicted), ties, config.k).nanmean().item(), True

        told: dict[str, Any] = {
            "objective": OBJECTIVES[config.loss],
            "num_leaves": config.leaves,
            "learning_rate": config.learning_rate,
            "min_data_in_leaf": config.least,
            "lambda_l2": config.l2,
            "feature_fraction": config.columns,
            "seed": config.seed,
            "num_threads": config.threads,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
            "metric": "None",
            "lambdarank_truncation_level": max(30, 3 * config.k),
        }
        self.booster = lightgbm.train(told, data, config.rounds, valid_sets=sets, feval=ours if sets else None, callbacks=callbacks)
        self.best_round = self.booster.best_iteration if sets else config.rounds
        return self

    def score(self, examples: Examples) -> Tensor:
        """float64 (n,): a logit where the loss is pointwise, else what only orders a request's candidates."""
        if not len(examples.items):
            return torch.empty(0, dtype=torch.float64)
        found = self.booster.predict(self._matrix(examples.features), raw_score=True, num_iteration=self.best_round)
        return torch.from_numpy(np.asarray(found, dtype=np.float64))

    def contributions(self, examples: Examples) -> Tensor:
        """float64 (n, d + 1): what each feature adds to a candidate's score, the last column what every candidate has (TreeSHAP, Lundberg
        et al. 2020); a row adds up to the score.
        """
        found = self.booster.predict(self._matrix(examples.features), pred_contrib=True, num_iteration=self.best_round)
        return torch.from_numpy(np.asarray(found, dtype=np.float64))

    def gains(self) -> dict[str, float]:
        """By feature: its share of what all splits gained in training."""
        gains = self.booster.feature_importance("gain", iteration=self.best_round)
        return dict(zip(self.names, (gains / max(gains.sum(), 1e-12)).tolist(), strict=True))

    def save(self, directory: Path) -> None:
        """LightGBM's own text and JSON."""
        directory.mkdir(parents=True, exist_ok=True)
        told = {
            "ranker": "trees",
            "config": asdict(self.config),
            "names": self.names,
            "categories": self.categories,
            "best_round": self.best_round,
        }
        with whole_file(directory / "trees.txt") as path:
            path.write_text(self.booster.model_to_string(num_iteration=-1), encoding="utf-8")
        with whole_file(directory / "ranker.json") as path:
            write_json(path, {**told, "sha256": sha256_of(directory / "trees.txt")})

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Raises WorkError when a file is damaged or of another ranker."""
        try:
            told = json.loads((directory / "ranker.json").read_text(encoding="utf-8"))
            if told["ranker"] != "trees":
                raise WorkError(f"{directory.name} holds {told['ranker']}, not trees.")
            ranker = cls(TreesConfig(**told["config"]))
            ranker.names, ranker.best_round = tuple(told["names"]), told["best_round"]
            ranker.categories = {name: tuple(names) for name, names in told["categories"].items()}
            if (actual := sha256_of(directory / "trees.txt")) != told["sha256"]:  # LightGBM crashes on what was cut short
                raise WorkError(f"{directory.name} is damaged: trees.txt hashes to {actual[:12]}, not {told['sha256'][:12]}.")
            ranker.booster = lightgbm.Booster(model_str=(directory / "trees.txt").read_text(encoding="utf-8"))
        except (OSError, KeyError, ValueError, TypeError, AttributeError, lightgbm.basic.LightGBMError) as error:
            raise WorkError(f"the ranker in {directory.name} cannot be read: {' '.join(str(error).split())}.") from None
        return ranker

    def _data(self, examples: Examples, reference: lightgbm.Dataset | None = None) -> lightgbm.Dataset:
        lengths = examples.offsets.diff()
        group = None if self.config.loss == "pointwise" else lengths[lengths > 0].numpy()
        weights = None if examples.weights is None else examples.weights.numpy()
        label = examples.label.numpy().astype(np.int32)
        matrix = self._matrix(examples.features)
        columns = [place for place, name in enumerate(self.names) if name in self.categories]
        return lightgbm.Dataset(
            matrix, label, weight=weights, group=group, reference=reference, categorical_feature=columns, free_raw_data=True
        )

    def _matrix(self, frame: FeatureFrame) -> np.ndarray:
        """float64 (n, d), of numbers that 32 bits hold: what is exported gets no others. Raises RequestError for an infinite value."""
        check_finite(frame)
        matrix = torch.stack([frame.column(name) for name in self.names], dim=1).numpy().copy()
        for place, name in enumerate(self.names):
            if name in self.categories:
                known = {each: float(code) for code, each in enumerate(self.categories[name])}
                table = np.array([*(known.get(each, np.nan) for each in frame.names[name]), np.nan])
                matrix[:, place] = table[np.nan_to_num(matrix[:, place], nan=len(table) - 1).astype(int)]
        return matrix.astype(np.float32).astype(np.float64)
