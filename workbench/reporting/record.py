"""The record of a run: a notebook's last cell hands over what it found, the runner adds how the run went and writes run.json."""

import functools
import hmac
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import fastjsonschema
import numpy as np
import pandas as pd

from workbench.data import Dataset, Split
from workbench.evaluation import METRICS, SET_METRICS, Comparison, Evaluation, Interval, Slice, split_name
from workbench.evaluation.contrast import Contrast
from workbench.files import whole_file, write_json
from workbench.paths import RUN_FOLDER
from workbench.reporting.verdict import Verdict

FOUND = "found.json"


def record(
    *,
    dataset: Dataset,
    split: Split | None,
    seed: int,
    verdict: Verdict,
    metrics: Sequence[Mapping[str, Any]],
    evaluations: Mapping[str, Evaluation] | None = None,
    comparisons: Sequence[Comparison] = (),
    chosen: str | None = None,
    trainings: Sequence[Mapping[str, Any]] = (),
    failed: Mapping[str, str] | None = None,
) -> str:
    """Hand the findings of a notebook over to its run. Returns a sentence that says what became of them.

    `chosen`: the model that the verdict is about. `trainings`: what learning by gradient cost, see `training_rows`. `failed`: models that
    could not be judged, and why. Under the runner:
    `found.json`, `metrics.parquet` (one row for each person, model and training, people under pseudonyms) and `slices.csv` in the run's
    folder. Opened by hand or under nbval there is no run, and nothing is written.
    """
    found = {
        "dataset": dataset.snapshot.origin,
        "split": {**split.parameters, "rule": split.rule.text} if split else None,
        "seed": seed,
        "chosen": chosen,
        "trainings": list(trainings),
        "failed": [{"model": name, "reason": why} for name, why in (failed or {}).items()],
        "metrics": list(metrics),
        "verdict": verdict.as_json(),
    }
    if RUN_FOLDER not in os.environ:
        return "Not recorded: this notebook was opened by hand. `workbench run` records."
    folder = Path(os.environ[RUN_FOLDER])
    if evaluations:
        with whole_file(folder / "metrics.parquet") as path:
            per_user_frame(dataset, evaluations).to_parquet(path, index=False)
    if comparisons:
        with whole_file(folder / "slices.csv") as path:
            slices_frame(comparisons).to_csv(path, index=False)
    with whole_file(folder / FOUND) as path:
        write_json(path, found)
    return f"Recorded: {len(metrics)} numbers and the verdict."


def metric_rows(evaluations: Mapping[str, Evaluation], slices: Sequence[Slice] = (), of_slices: str = "") -> list[dict[str, Any]]:
    """One row for each model, metric and cut-off: the mean over people with its 95 % bootstrap interval, set metrics with the jackknife's.

    Of the metric `of_slices` a row for each slice too.
    """
    rows: list[dict[str, Any]] = []
    for name, result in evaluations.items():
        overall = [(metric, None) for metric in result.per_user]
        rows += [_row(name, metric, "everyone", interval) for metric, interval in _intervals(result, overall) if interval.n]
        rows += _set_rows(name, result)
        told = zip(slices, _intervals(result, [(of_slices, each) for each in slices]), strict=True)
        rows += [_row(name, of_slices, each.label, interval) for each, (_, interval) in told if interval.n]
    return rows


def _set_rows(model: str, result: Evaluation) -> list[dict[str, Any]]:
    """What is true of all lists together: set metrics, and the share of places that ties decided."""
    rows = []
    for which, each in SET_METRICS.items():
        described = {"direction": each.direction, "definition": each.definition}
        found = [(k, result.of_the_set(which, k)) for k in result.ks]
        rows += [_spread(model, which, k, "everyone", interval) | described for k, interval in found if not math.isnan(interval.value)]
    ties = Interval(result.tied_share, math.nan, math.nan, len(result.users))
    described = {"direction": "none", "definition": "Share of the recommended places that the order among equal scores decided."}
    return [*rows, _spread(model, "tied_share", max(result.ks), "everyone", ties) | described]


def _intervals(result: Evaluation, asked: Sequence[tuple[str, Slice | None]]) -> list[tuple[str, Interval]]:
    """Of each metric, in a slice or in all, each on its own; over people, and over trainings where there are several."""
    if not asked:
        return []
    found = Contrast.of([result.training_values(metric, each) for metric, each in asked]).intervals(together=False)
    return list(zip((metric for metric, _ in asked), found, strict=True))


def _row(model: str, metric: str, where: str, interval: Interval) -> dict[str, Any]:
    name, k = split_name(metric)
    return _spread(model, name, k, where, interval) | {"direction": METRICS[name].direction, "definition": METRICS[name].definition}


def _spread(model: str, name: str, k: int, where: str, interval: Interval) -> dict[str, Any]:
    low, high = (interval.low, interval.high) if interval.known else (None, None)
    return {"model": model, "name": name, "k": k, "slice": where, "value": interval.value, "ci_low": low, "ci_high": high, "n": interval.n}


def per_user_frame(dataset: Dataset, evaluations: Mapping[str, Evaluation]) -> pd.DataFrame:
    """One row for each person, model and training: pseudonym, model, training, served_by, one column for each metric."""
    frames = []
    pseudonyms: dict[int, str] = {}
    for name, result in evaluations.items():
        for code in result.users.tolist():
            pseudonyms.setdefault(code, pseudonym(dataset, dataset.user_ids[code]))
        people = [pseudonyms[code] for code in result.users.tolist()]
        served = np.where(result.served_by_fallback.numpy(), result.fallback, name)
        for training, each in enumerate(result.trainings or (result,)):
            columns = {metric: values.numpy() for metric, values in each.per_user.items()}
            frames.append(pd.DataFrame({"person": people, "model": name, "training": training, "served_by": served, **columns}))
    return pd.concat(frames, ignore_index=True)


def pseudonym(dataset: Dataset, user_id: str) -> str:
    """16 hex of HMAC-SHA256 under the data set's secret key: stable per snapshot, so that runs pair; not to be undone by trying ids."""
    return hmac.new(dataset.snapshot.pseudonym_key(), f"{dataset.snapshot.id}\x1f{user_id}".encode(), "sha256").hexdigest()[:16]


def slices_frame(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """One row for each comparison, as it goes into slices.csv."""
    rows = []
    for comparison in comparisons:
        row = asdict(comparison)
        interval = row.pop("difference")
        rows.append({**row, "difference": interval.pop("value"), **interval})
    return pd.DataFrame(rows)


@functools.cache
def _schema() -> Callable[[Any], Any]:
    schema = json.loads(files("workbench.reporting").joinpath("run.schema.json").read_text(encoding="utf-8"))
    return cast("Callable[[Any], Any]", fastjsonschema.compile(schema))


def validate_run(run: dict[str, Any]) -> None:
    """Raises ValueError, naming the place, for a run that run.schema.json does not allow."""
    _schema()(run)


def write_run(folder: Path, run: dict[str, Any]) -> None:
    """Validate and write run.json. Raises ValueError for a run that is not one."""
    validate_run(run)
    write_json(folder / "run.json", run)


def read_run(folder: Path) -> dict[str, Any]:
    """Raises ValueError (not JSON, or not the schema's) for a run.json that is damaged, OSError when there is none."""
    run: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    validate_run(run)
    return run
