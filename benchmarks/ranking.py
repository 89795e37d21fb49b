"""Features of a moment beside pandas' `merge_asof`, two stages beside one, RecBole's deep rankers under our engine beside its own trainer.

`python -m benchmarks.ranking [features] [stages] [deep]` prints the table and, with all three, writes benchmarks/results/ranking.json. Two
threads. The first call fetches ML-1M.

- features: 5 million events of 200,000 people and 20,000 items, few of either having most of them, and 2 million requests at random moments
  of the same 400 days. Ten features: of people number, mean value, share liked, days since the last, number in a week; of items number,
  mean value, share liked, number in a month, number fading by half in 30 days. pandas: a frame for each feature, as one writes it: events
  sorted by time, a running total by key, `merge_asof` strictly before, twice where there is a window; the fading one is left out of
  pandas' mean, for which there is no running total. Requests and events are sorted by time before the clock starts. Both processes' peaks
  of memory are their own.
- stages: ML-1M by one moment for everyone, retrievers trained on training and validation parts before test. One stage: every model that is
  made in closed form or by alternating squares, and their blend. Two: LambdaRank trees on the blend's 200 candidates, three periods. Both
  are chosen on validation.
- deep: ML-100k, ratings of 4 and more labelled 1, at random 8:1:1 (RecBole's `RS`), seed 2020; features are the person, the item, age,
  gender, occupation, release year: without the columns of several words, on which RecBole's loader fails with pandas 3. 10 epochs at most,
  ended by AUC on validation; three seeds of the training, one split. RecBole's default sizes; DCNV2 without the penalty on its cross
  layers, which our ranker does not have.
"""

import contextlib
import statistics
import subprocess
import sys
import tempfile
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor

from benchmarks.report import Row, peak_memory, show, write
from benchmarks.timing import seconds
from workbench.data import load_dataset, side_information
from workbench.evaluation import auc, by_mean, compare
from workbench.features import Asked, Feature, FeatureFrame, Tables, build_features, feature
from workbench.ranking import (
    Deep,
    DeepConfig,
    Examples,
    audited_stages,
    judge_rankers,
    prepare,
    single_stage,
    stages,
    train_rankers,
)

EVENTS, REQUESTS, PEOPLE, ITEMS, DAYS, SECOND = 5_000_000, 2_000_000, 200_000, 20_000, 400, 1_000_000
SINGLE = ("popularity", "recent_popularity", "item_knn", "user_knn", "session_knn", "rp3beta", "ease", "ials")
CANDIDATES, K = 200, 10
NETWORKS = {"DeepFM": {}, "DCNV2": {"reg_weight": 0.0}, "AutoInt": {}}
SIZES: dict[str, dict[str, Any]] = {
    "DeepFM": {"embedding_size": 10, "hidden": (128, 128, 128), "dropout": 0.2},
    "DCNV2": {"embedding_size": 16, "hidden": (768, 768), "dropout": 0.2},
    "AutoInt": {"embedding_size": 10, "hidden": (128, 128), "dropout": 0.2},
}
SEEDS, EPOCHS, PATIENCE = 3, 10, 5
OF_PEOPLE = ["age", "gender", "occupation"]
FIELDS = {"inter": ["user_id", "item_id", "rating"], "user": ["user_id", *OF_PEOPLE], "item": ["item_id", "release_year"]}


def few(rng: np.random.Generator, n: int, of: int) -> np.ndarray:
    return np.minimum((of * rng.random(n) ** 3).astype(np.int64), of - 1)


def made_log() -> tuple[Tables, Asked]:
    rng = np.random.default_rng(0)
    moments = [rng.integers(0, DAYS * 86_400, n) * SECOND for n in (EVENTS, REQUESTS)]
    events = pa.table(
        {
            "user_code": few(rng, EVENTS, PEOPLE),
            "item_code": few(rng, EVENTS, ITEMS),
            "timestamp": moments[0],
            "value": rng.integers(1, 6, EVENTS).astype(float),
            "acted": np.ones(EVENTS, dtype=bool),
            "liked": rng.random(EVENTS) < 0.5,
            "disliked": np.zeros(EVENTS, dtype=bool),
            "event": pa.nulls(EVENTS, pa.string()),
        }
    )
    asked = Asked(*(torch.from_numpy(column) for column in (few(rng, REQUESTS, PEOPLE), few(rng, REQUESTS, ITEMS), moments[1])))
    return Tables(events), asked


DEFINITIONS = [
    feature("person_events", "user", "count"),
    feature("person_mean", "user", "mean"),
    feature("person_liked", "user", "rate", of="liked"),
    feature("person_recency", "user", "recency"),
    feature("person_events_week", "user", "count", window=7),
    feature("item_events", "item", "count"),
    feature("item_mean", "item", "mean"),
    feature("item_liked", "item", "rate", of="liked"),
    feature("item_events_month", "item", "count", window=30),
    feature("item_events_fading", "item", "decayed", half_life=30),
]


def by_pandas(log: pd.DataFrame, each: Feature, requests: pd.DataFrame) -> np.ndarray:
    """One feature of every request, in the order of `requests`."""
    key = f"{each.entity}_code"
    columns = [key, "timestamp", *(["value"] if each.aggregation == "mean" else ["liked"] if each.aggregation == "rate" else [])]
    events = log[columns].copy()
    group = events.groupby(key, sort=False)
    events["n"] = group.cumcount() + 1
    if each.aggregation in ("mean", "rate"):
        events["total"] = group[columns[-1]].cumsum()
    events["happened"] = events["timestamp"]
    found = pd.merge_asof(requests, events, on="timestamp", by=key, allow_exact_matches=False)
    if each.aggregation == "recency":
        return ((found["timestamp"] - found["happened"]) / 86_400e6).to_numpy()
    if each.aggregation in ("mean", "rate"):
        return (found["total"] / found["n"]).to_numpy()
    counts = found["n"].fillna(0).to_numpy()
    if each.window:
        earlier = requests.assign(timestamp=requests["timestamp"] - int(each.window * 86_400 * SECOND))
        counts = counts - pd.merge_asof(earlier, events, on="timestamp", by=key, allow_exact_matches=False)["n"].fillna(0).to_numpy()
    return counts


def measured(which: str) -> None:
    """In a process of its own: seconds, and its peak of memory."""
    tables, asked = made_log()
    if which == "ours":
        taken = seconds(lambda: build_features(DEFINITIONS, tables, asked, threads=2))
        peak = peak_memory() / 1000
    else:
        asking = {"user_code": asked.users.numpy(), "item_code": asked.items.numpy(), "timestamp": asked.timestamps.numpy()}
        requests = pd.DataFrame(asking).sort_values("timestamp")
        order = torch.from_numpy(requests.index.to_numpy().copy())
        log = tables.events.select(["user_code", "item_code", "timestamp", "value", "liked"]).to_pandas().sort_values("timestamp")
        taken = seconds(lambda: [by_pandas(log, each, requests) for each in DEFINITIONS[:-1]])
        peak = peak_memory() / 1000
        some = DEFINITIONS[:-1:2]
        ours = build_features(some, tables, asked, threads=2)
        for each in some:  # both say the same
            theirs = torch.from_numpy(by_pandas(log, each, requests))
            torch.testing.assert_close(ours.column(each.name)[order], theirs, rtol=1e-9, atol=1e-9, equal_nan=True)
    print(taken, peak)


def feature_rows() -> list[Row]:
    found = {}
    for which in ("ours", "pandas"):
        command = [sys.executable, "-m", "benchmarks.ranking", f"--measure={which}"]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        found[which] = float(told[0]), float(told[1])
    ours, theirs = found["ours"][0] / len(DEFINITIONS), found["pandas"][0] / (len(DEFINITIONS) - 1)
    of: dict[str, Any] = {"size": f"{EVENTS:,} events, {REQUESTS:,} requests", "peer": "pandas merge_asof"}
    fast = Row(work="a feature, seconds", **of, ours=ours, peer_value=theirs, goal="10 times as fast", met=ours <= theirs / 10)
    return [fast, Row(work="peak memory, GB", **of, ours=found["ours"][1], peer_value=found["pandas"][1], goal="", met=None)]


def stage_rows() -> list[Row]:
    data = load_dataset("ml-1m")
    parts = data.split("global_time", seed=0, refit="train+valid")
    ready = prepare(audited_stages(stages(parts, periods=3, share=0.08)), data, SINGLE, CANDIDATES, side=side_information(data))
    field = train_rankers(["trees"], ready.train, ready.stop, parts.ties, k=K)
    metric = f"ndcg@{K}"
    validation, test = ({**single_stage(ready, part, (K,)), **judge_rankers(field, ready, part, (K,))} for part in ("validation", "test"))
    one = by_mean({name: each for name, each in validation.items() if name not in field.rankers}, metric)[0]
    gap = compare(test["trees"], test[one], metric)
    for name in by_mean(test, metric):
        print(f"{name:20} validation {validation[name].interval(metric).text():26} test {test[name].interval(metric).text()}")
    print(f"two stages minus one: {gap.difference.text(sign=True)}, p {gap.p_value:.4f}, {gap.difference.n:,} people")
    told = f"ML-1M, {gap.difference.n:,} people; the difference is {gap.difference.text(sign=True)}"
    two, single = test["trees"].mean(metric), test[one].mean(metric)
    of = {"work": f"two stages, {metric}", "size": told, "peer": f"one stage, {one}", "goal": "above"}
    return [Row(**of, ours=two, peer_value=single, met=gap.difference.low > 0)]


class _Theirs:
    """RecBole's own loader and split, and its trainer where that is asked for."""

    def __init__(self, name: str, folder: str, seed: int) -> None:
        from workbench.data.source import source_folder
        from workbench.models.recbole.library import create_dataset, data_preparation, init_seed, recbole_config

        source = source_folder("package:recbole==1.2.1/dataset_example/ml-100k")
        settings = {"data_path": str(source.parent), "checkpoint_dir": folder, "device": "cpu", "show_progress": False, "load_col": FIELDS}
        settings |= {"threshold": {"rating": 4}, "train_neg_sample_args": None, "metrics": ["AUC"], "valid_metric": "AUC", "seed": 2020}
        settings |= {"eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "mode": "labeled", "group_by": None}}
        settings |= {"epochs": EPOCHS, "stopping_step": PATIENCE, "train_batch_size": 2048, "eval_batch_size": 20480, **NETWORKS[name]}
        self.config = recbole_config(name, "ml-100k", settings)
        init_seed(2020, True)
        self.dataset = create_dataset(self.config)
        self.loaders = data_preparation(self.config, self.dataset)
        init_seed(seed, True)
        self.name = name

    def auc(self) -> float:
        from workbench.models.recbole.library import get_model, get_trainer

        model = get_model(self.name)(self.config, self.loaders[0].dataset)
        trainer = get_trainer(self.config["MODEL_TYPE"], self.name)(self.config, model)
        best: dict[str, Tensor] = {}
        trainer._save_checkpoint = lambda *_, **__: best.update({key: value.clone() for key, value in model.state_dict().items()})
        trainer.fit(self.loaders[0], self.loaders[1], verbose=False, show_progress=False)
        model.load_state_dict(best)
        return float(trainer.evaluate(self.loaders[2], load_best_model=False, show_progress=False)["auc"])

    def examples(self, part: int) -> Examples:
        """The rows of a loader, one request each."""
        rows = self.loaders[part].dataset.inter_feat
        people, items = self.dataset.get_user_feature(), self.dataset.get_item_feature()
        users, codes = rows["user_id"], rows["item_id"]
        told = {"user_id": users, "item_id": codes}
        told |= {name: people[name][users] for name in OF_PEOPLE} | {"release_year": items["release_year"][codes]}
        definitions = tuple(feature(name, "user", "attribute", of=name, category=True, privacy="public") for name in told)
        names = {name: tuple(map(str, range(self.dataset.num(name)))) for name in told}
        frame = FeatureFrame(definitions, torch.stack([column.double() for column in told.values()], dim=1), names)
        n = len(users)
        return Examples(
            users=users,
            moments=torch.zeros_like(users),
            offsets=torch.arange(n + 1),
            items=codes,
            features=frame,
            labels=rows["label"].bool()[:, None],
            tasks=("liked",),
            n_relevant=rows["label"].long(),
            given_by=torch.zeros_like(users),
        )


def our_auc(name: str, parts: list[Examples], seed: int) -> float:
    learning = {"epochs": EPOCHS, "patience": PATIENCE, "batch_size": 2048, "learning_rate": 0.001, "weight_decay": 0.0}
    config = DeepConfig(network=name, loss="pointwise", **learning)
    ranker = Deep(replace(config, seed=seed, **SIZES[name]))

    def judge(*_: Any) -> float:
        return auc(ranker.score(parts[1]), parts[1].label.long())

    ranker.fit(parts[0], judge=judge)
    return auc(ranker.score(parts[2]), parts[2].label.long())


def deep_rows() -> list[Row]:
    rows = []
    for name in NETWORKS:
        ours, theirs = [], []
        for seed in range(SEEDS):
            with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), contextlib.chdir(folder):
                warnings.simplefilter("ignore")
                peer = _Theirs(name, folder, seed)
                ours.append(our_auc(name, [peer.examples(part) for part in range(3)], seed))
                theirs.append(_Theirs(name, folder, seed).auc())
            print(f"{name}, seed {seed}: ours {ours[-1]:.4f}, RecBole's own {theirs[-1]:.4f}", flush=True)
        spread = (statistics.variance(ours) + statistics.variance(theirs)) ** 0.5
        gap = abs(statistics.mean(ours) - statistics.mean(theirs))
        size = f"ML-100k, {SEEDS} seeds, spread {spread:.4f}"
        one, other = statistics.mean(ours), statistics.mean(theirs)
        rows.append(
            Row(
                work=f"{name}, AUC",
                size=size,
                ours=one,
                peer="RecBole's trainer",
                peer_value=other,
                goal="within the spread",
                met=gap <= spread,
            )
        )
    return rows


PARTS = {"features": feature_rows, "stages": stage_rows, "deep": deep_rows}


def main(asked: list[str]) -> None:
    torch.set_num_threads(2)
    found = [row for name, part in PARTS.items() if not asked or name in asked for row in part()]
    (show if asked else lambda rows: write("ranking", rows))(found)


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].startswith("--measure="):
        measured(sys.argv[1].removeprefix("--measure="))
    else:
        main(sys.argv[1:])
