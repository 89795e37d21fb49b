import copy
import json

import pandas as pd
import pytest

from tests.reporting.test_html import RUN
from workbench.data import load_dataset
from workbench.evaluation import by_activity, compare_slices, evaluate
from workbench.models import create
from workbench.reporting import Verdict, metric_rows, record
from workbench.reporting.record import FOUND, RUN_FOLDER, pseudonym, read_run, write_run


@pytest.mark.parametrize(
    "break_it",
    [
        lambda run: run.pop("code"),
        lambda run: run.update(status="fine"),
        lambda run: run.update(run_id="today"),
        lambda run: run.update(surprise=1),
        lambda run: run.update(verdict=None),  # a success without a verdict
        lambda run: run.update(status="failed"),  # a failure without an error
        lambda run: run["metrics"].append({"name": "ndcg", "value": 0.1}),
        lambda run: run["artifacts"].append({"path": "x", "sha256": "short"}),
    ],
)
def test_a_record_that_breaks_the_schema_is_never_written(tmp_path, break_it):
    run = copy.deepcopy(RUN)
    break_it(run)
    with pytest.raises(ValueError, match="data"):
        write_run(tmp_path, run)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_number_is_missing_and_nan_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Out of range float"):
        write_run(tmp_path, {**RUN, "duration_s": float("inf")})


def test_a_damaged_record_is_found(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match="Expecting"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ValueError, match="must contain"):
        read_run(tmp_path)


@pytest.fixture
def found(tiny, tmp_path, monkeypatch):
    """What a notebook hands over, on a log of eight people."""
    tiny()
    data = load_dataset("tiny")
    parts = data.split(fractions=(0.6, 0.2, 0.2))
    judged = parts.holdout()
    results = {name: evaluate(create(name).fit(parts.train), judged, name=name, ks=(1, 3)) for name in ("popularity", "ease")}
    groups = compare_slices(results["ease"], results["popularity"], "ndcg@3", by_activity(judged))
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setenv(RUN_FOLDER, str(folder))
    record(
        dataset=data,
        split=parts,
        seed=0,
        verdict=Verdict("Yes."),
        metrics=metric_rows(results),
        evaluations=results,
        comparisons=groups,
        failed={"recbole:KGAT": "needs a knowledge graph."},
    )
    return data, results, folder


def test_what_is_recorded_is_what_was_measured(found):
    data, results, folder = found
    handed = json.loads((folder / FOUND).read_text())
    assert handed["dataset"]["snapshot"] == data.snapshot.id
    assert handed["failed"] == [{"model": "recbole:KGAT", "reason": "needs a knowledge graph."}]
    rows = {(row["model"], row["name"], row["k"]): row for row in handed["metrics"]}
    assert len(rows) == 2 * (
        (12 + 3) * 2 + 1
    )  # the share of ties once, models, metrics that need neither grades nor vectors and those of the set, cut-offs
    row = rows["ease", "ndcg", 3]
    assert row["value"] == pytest.approx(results["ease"].mean("ndcg@3"))
    assert row["ci_low"] <= row["value"] <= row["ci_high"]
    covers = rows["ease", "coverage", 3]
    assert covers["value"] == results["ease"].covered(3) / data.n_items
    assert covers["ci_low"] < covers["value"] < covers["ci_high"]
    frame = pd.read_parquet(folder / "metrics.parquet")
    means = frame.groupby("model")["ndcg@3"].mean()
    assert means["popularity"] == pytest.approx(results["popularity"].mean("ndcg@3"))
    assert pd.read_csv(folder / "slices.csv")["n"].sum() == len(results["ease"].users)


def test_people_are_pseudonyms_that_pair_runs_and_reveal_nobody(found):
    data, results, folder = found
    frame = pd.read_parquet(folder / "metrics.parquet")
    by_model = frame.groupby("model")["person"].apply(list)
    assert by_model["ease"] == by_model["popularity"]
    assert frame["person"].nunique() == len(results["ease"].users)
    assert by_model["ease"][0] == pseudonym(load_dataset("tiny"), data.user_ids[results["ease"].users[0]])
    text = (folder / "metrics.parquet").read_bytes() + (folder / FOUND).read_bytes() + (folder / "slices.csv").read_bytes()
    assert not any(user.encode() in text for user in data.user_ids)


def test_opened_by_hand_nothing_is_written(tiny, monkeypatch):
    tiny()
    monkeypatch.delenv(RUN_FOLDER, raising=False)
    data = load_dataset("tiny")
    assert record(dataset=data, split=None, seed=0, verdict=Verdict("Yes."), metrics=[]).startswith("Not recorded")
