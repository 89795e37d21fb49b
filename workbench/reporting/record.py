"""The record of a run: a notebook's last cell hands over what it found, the runner adds how the run went and writes run.json."""

import functools
import hmac
import json
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
from workbench.evaluation import METRICS, Comparison, Evaluation, bootstrap_means
from workbench.files import whole_file, write_json
from workbench.reporting.verdict import Verdict

RUN_FOLDER = "WORKBENCH_RUN_FOLDER"
"""Environment variable by which the runner tells a kernel where its run is being put together."""
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
) -> str:
    """Hand the findings of a notebook over to its run. Returns a sentence that says what became of them.

    Under the runner: `found.json`, `metrics.parquet` (one row for each person and model, people under pseudonyms) and `slices.csv` in the
    run's folder. Opened by hand or under nbval there is no run, and nothing is written.
    """
    found = {
        "dataset": dataset.snapshot.origin,
        "split": {**split.parameters, "rule": split.rule.text} if split else None,
        "seed": seed,
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


def metric_rows(evaluations: Mapping[str, Evaluation]) -> list[dict[str, Any]]:
    """One row for each model, metric and cut-off: mean over people with its 95 % bootstrap interval; coverage without one."""
    rows: list[dict[str, Any]] = []
    for name, result in evaluations.items():
        for metric, interval in bootstrap_means(result.per_user).items():
            kind, k = metric.split("@")
            described = {"direction": METRICS[kind].direction, "definition": METRICS[kind].definition}
            spread = {"value": interval.value, "ci_low": interval.low, "ci_high": interval.high, "n": interval.n}
            rows.append({"model": name, "name": kind, "k": int(k), "slice": "everyone", **spread, **described})
        rows += [_coverage_row(name, result, k) for k in result.ks]
    return rows


def _coverage_row(name: str, result: Evaluation, k: int) -> dict[str, Any]:
    definition = "Share of the catalogue in anybody's first `k`; not a mean over people, so without a bootstrap interval."
    spread = {"value": result.coverage(k), "ci_low": None, "ci_high": None, "n": len(result.users)}
    return {"model": name, "name": "coverage", "k": k, "slice": "everyone", **spread, "direction": "higher", "definition": definition}


def per_user_frame(dataset: Dataset, evaluations: Mapping[str, Evaluation]) -> pd.DataFrame:
    """One row for each person and model: pseudonym, model, served_by, one column for each metric."""
    frames = []
    for name, result in evaluations.items():
        people = [pseudonym(dataset, dataset.user_ids[code]) for code in result.users.tolist()]
        served = np.where(result.served_by_fallback.numpy(), result.fallback, name)
        columns = {metric: values.numpy() for metric, values in result.per_user.items()}
        frames.append(pd.DataFrame({"person": people, "model": name, "served_by": served, **columns}))
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
