"""Two finished runs held against each other, person by person: `workbench compare`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from torch import Tensor

from workbench.errors import RequestError, WorkError, unknown
from workbench.evaluation import Comparison, label
from workbench.evaluation.comparison import Named, compare_values
from workbench.evaluation.metrics import METRICS
from workbench.files import sha256_of
from workbench.paths import home
from workbench.reporting.record import read_run

RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
NOT_VALUES = ("person", "model", "training", "served_by")


@dataclass(frozen=True, eq=False)
class Side:
    """One model of one run."""

    run: dict[str, Any]
    model: str
    frame: pd.DataFrame
    """A row for each person and training, by pseudonym; a column for each metric."""

    @property
    def name(self) -> str:
        return f"{self.model} of {self.run['run_id']}"

    def definition(self, metric: str) -> str | None:
        name, k = metric.split("@")
        found = (row["definition"] for row in self.run["metrics"] if (row["name"], row["k"]) == (name, int(k)))
        return next(found, None)


def compare_runs(one: str, other: str, metrics: Sequence[str] = ()) -> list[Comparison]:
    """The first minus the second, by each metric: p-values Holm-adjusted over the metrics, intervals that hold together.

    one, other: a run's name or folder, with `:model` where it is not the model that its verdict is about. metrics: "ndcg@10" and the like;
    none: every metric of how likes were met, at the headline's cut-off. Raises RequestError, with the reason, when the two cannot be
    compared; WorkError when a file of a run is damaged.
    """
    a, b = side(one), side(other)
    check_alike(a, b)
    metrics = metrics or _headline_metrics(a, b)
    for metric in metrics:
        _check_metric(a, b, metric)
    people = _people(a, b)
    values = [[_matrix(each.frame, metric, people) for metric in metrics] for each in (a, b)]
    return compare_values([Named(a.name, b.name, metric, "metric", label(metric)) for metric in metrics], *values)


def side(text: str) -> Side:
    """A run and one of its models. Raises RequestError when there is no such run or model, or it holds no evaluation."""
    where, colon, model = text.partition(":")
    folder, run = found_run(where)
    path = folder / "metrics.parquet"
    hashes = hashes_of(run)
    if run["status"] != "succeeded" or path.name not in hashes or not path.is_file():
        raise RequestError(f"{folder.name} ({run['notebook']}, {run['status']}) holds no evaluation to compare.")
    check_file(path, hashes[path.name], f"{folder.name}/{path.name}")
    table = pq.read_table(path).to_pandas()
    model = model if colon else run.get("chosen") or ""
    if model not in set(table["model"]):
        raise unknown(f"model in {folder.name}", model, sorted(set(table["model"])))
    return Side(run, model, table[table["model"] == model])


def found_run(text: str) -> tuple[Path, dict[str, Any]]:
    """A run's folder and record. Raises RequestError where there is none, WorkError where its record cannot be read."""
    folder = _folder(text)
    try:
        return folder, read_run(folder)
    except (OSError, ValueError) as error:
        raise WorkError(f"{folder.name}: its run.json cannot be read: {str(error).splitlines()[0]}") from None


def hashes_of(run: Mapping[str, Any]) -> dict[str, str]:
    """The sha256 of each of its files, by path."""
    return {artifact["path"]: artifact["sha256"] for artifact in run["artifacts"]}


def check_file(path: Path, expected: str, called: str) -> None:
    """Raises WorkError, with both hashes, for a file that is not as its run wrote it. called: what the reader is to know it by."""
    if (actual := sha256_of(path)) != expected:
        raise WorkError(f"{called} is damaged: it hashes to {actual[:12]}…, run.json says {expected[:12]}….")


def _folder(text: str) -> Path:
    """Where a run is: a folder, or the name of one under reports/."""
    if RUN_ID.fullmatch(text):
        if found := sorted((home() / "reports").glob(f"*/{text}")):
            return found[0]
    elif (path := Path(text)).is_dir() and RUN_ID.fullmatch(path.resolve().name):
        return path.resolve()
    raise RequestError(f'there is no run "{text}": write the name of a folder in reports/<notebook>/, or its path.')


def check_alike(a: Side, b: Side) -> None:
    """Raises RequestError, naming the first thing in which the two differ, unless both were judged on the same data by the same split."""
    facts = [{"snapshot": each.run["dataset"]["snapshot"], **_of_the_split(each.run["split"])} for each in (a, b)]
    for name in sorted({*facts[0], *facts[1]}, key=lambda name: (name != "snapshot", name)):
        x, y = (each.get(name, "none") for each in facts)
        if x != y:
            raise RequestError(f"{a.name} and {b.name} cannot be compared: the {name} is {x} for the one, {y} for the other.")


def _of_the_split(split: Mapping[str, Any]) -> dict[str, Any]:
    """What decides who is judged on what; what was learnt from may differ."""
    return {f"split's {name}": value for name, value in split.items() if name not in ("refit", "rule")}


def _headline_metrics(a: Side, b: Side) -> list[str]:
    cuts = {each.run["parameters"].get("k") for each in (a, b)}
    both = [metric for metric in a.frame.columns if metric in b.frame.columns and metric not in NOT_VALUES]
    both = [metric for metric in both if METRICS[metric.split("@")[0]].of_truth]
    return [metric for metric in both if int(metric.split("@")[1]) in cuts] or both


def _check_metric(a: Side, b: Side, metric: str) -> None:
    for each in (a, b):
        if metric in NOT_VALUES or metric not in each.frame.columns:
            cut = f"@{each.run['parameters'].get('k')}"
            raise unknown(f"metric in {each.run['run_id']}", metric, [name for name in each.frame.columns if name.endswith(cut)])
    if a.definition(metric) != b.definition(metric):
        raise RequestError(
            f"{a.name} and {b.name} cannot be compared by {metric}: it is defined as “{a.definition(metric)}” in the one, "
            f"“{b.definition(metric)}” in the other."
        )


def _people(a: Side, b: Side) -> list[str]:
    """Pseudonyms of the people judged in both. Raises RequestError when somebody is in one only."""
    one, other = (set(each.frame["person"]) for each in (a, b))
    if lacking := len(one ^ other):
        raise RequestError(
            f"{a.name} and {b.name} cannot be compared: {lacking:,} of {len(one | other):,} people are in one of them only. "
            "Pseudonyms pair runs of one checkout."
        )
    return sorted(one)


def _matrix(frame: pd.DataFrame, metric: str, people: Sequence[str]) -> Tensor:
    """float64 (trainings, people)."""
    rows = [each.set_index("person")[metric].reindex(people).to_numpy(copy=True) for _, each in frame.groupby("training")]
    return torch.from_numpy(np.stack(rows))


def describe_comparisons(comparisons: Sequence[Comparison]) -> list[str]:
    """Lines for a terminal."""
    first = comparisons[0]
    lines = [f"{first.a} minus {first.b}, {first.difference.n:,} people"]
    width = max(len(c.group) for c in comparisons)
    for c in comparisons:
        won = f"{c.wins:,} won, {c.ties:,} tied, {c.losses:,} lost"
        call = {True: "better" if c.difference.value > 0 else "worse", False: "cannot be told apart"}[c.significant]
        lines.append(f"  {c.group:{width}}  {c.difference.text(sign=True)}  p {c.p_value:.4f}  d {c.effect_size:+.2f}  {won}  {call}")
    if len(comparisons) > 1:
        lines.append(f"  p-values are Holm-adjusted over {len(comparisons)} metrics; the intervals hold for all of them together")
    return lines
