"""`workbench compare`: two runs on disk give what their evaluations give in memory, or are refused with the reason."""

import json

import pandas as pd
import pytest

from tests.reporting.test_html import RUN
from workbench.cli import main
from workbench.data import load_dataset
from workbench.errors import RequestError, WorkError
from workbench.evaluation import compare, evaluate, pool
from workbench.files import sha256_of
from workbench.models import create
from workbench.reporting import metric_rows
from workbench.reporting.compare_runs import compare_runs
from workbench.reporting.record import per_user_frame, write_run

ONE, OTHER = "20261124T100000Z-0000000a", "20261124T100000Z-0000000b"
METRIC = "ndcg@3"


@pytest.fixture
def runs(tiny, home):
    """Two runs of one split of eight people; the second has two trainings of a random model."""
    tiny()
    data = load_dataset("tiny")
    parts = data.split(fractions=(0.6, 0.2, 0.2))
    judged = parts.holdout()
    evaluations = {
        "ease": evaluate(create("ease").fit(parts.train), judged, name="ease", ks=(1, 3)),
        "random": pool([evaluate(create("random", seed=s).fit(parts.train), judged, name="random", ks=(1, 3)) for s in (0, 1)]),
    }
    for run_id, chosen in ((ONE, "ease"), (OTHER, "random")):
        folder = home / "reports" / "02_retrieval" / run_id
        folder.mkdir(parents=True)
        per_user_frame(data, evaluations).to_parquet(folder / "metrics.parquet", index=False)
        artifacts = [{"path": "metrics.parquet", "sha256": sha256_of(folder / "metrics.parquet")}]
        described = {"run_id": run_id, "notebook": "02_retrieval", "chosen": chosen, "parameters": {"k": 3}, "artifacts": artifacts}
        where = {"dataset": data.snapshot.origin, "split": {**parts.parameters, "rule": parts.rule.text}}
        write_run(folder, {**RUN, **described, **where, "metrics": metric_rows(evaluations)})
    return home / "reports" / "02_retrieval", evaluations


def change(folder, run_id, how):
    path = folder / run_id / "run.json"
    run = json.loads(path.read_text())
    how(run)
    path.write_text(json.dumps(run))


def test_runs_on_disk_compare_as_their_evaluations_do(runs):
    folder, evaluations = runs
    (found,) = compare_runs(ONE, OTHER, [METRIC])
    expected = compare(evaluations["ease"], evaluations["random"], METRIC)
    assert found.difference.value == pytest.approx(expected.difference.value)
    assert (found.wins, found.ties, found.losses) == (expected.wins, expected.ties, expected.losses)
    assert found.p_value == pytest.approx(expected.p_value), "the two trainings are in metrics.parquet, so their spread counts"
    (turned,) = compare_runs(f"{folder / OTHER}:random", f"{ONE}:ease", [METRIC])
    assert turned.difference.value == pytest.approx(-expected.difference.value)


def test_without_a_metric_all_of_the_headlines_cut_off_are_corrected_together(runs):
    found = compare_runs(ONE, OTHER)
    names = [c.group for c in found]
    assert names[:3] == ["Recall@3", "Truncated recall@3", "NDCG@3"]
    assert not any("Novelty" in name or "@1" in name for name in names)
    (alone,) = compare_runs(ONE, OTHER, ["recall@3"])
    assert found[0].p_value >= alone.p_value


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (lambda run: run["dataset"].update(snapshot="tiny@000000000000"), "the snapshot is tiny@"),
        (lambda run: run["split"].update(name="random"), "the split's name is user_time for the one, random for the other"),
        (lambda run: run["split"].update(seed=7), "the split's seed is 0 for the one, 7 for the other"),
        (lambda run: run["split"].update(fractions=[0.8, 0.1, 0.1]), "the split's fractions is"),
        (lambda run: [row.update(definition="Another.") for row in run["metrics"]], "it is defined as “Discounted gain"),
        (lambda run: run.update(status="failed", error="it broke", verdict=None), "holds no evaluation to compare"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(runs, how, reason, capsys):
    change(runs[0], OTHER, how)
    with pytest.raises(RequestError, match=reason):
        compare_runs(ONE, OTHER, [METRIC])
    assert main(["compare", ONE, OTHER, "--metric", METRIC]) == 2
    assert reason in capsys.readouterr().err


def test_what_was_learnt_from_may_differ(runs):
    change(runs[0], OTHER, lambda run: run["split"].update(refit="train+valid"))
    assert compare_runs(ONE, OTHER, [METRIC])


def test_other_people_are_refused_and_counted(runs):
    folder, _ = runs
    path = folder / OTHER / "metrics.parquet"
    frame = pd.read_parquet(path)
    frame[frame["person"] != frame["person"][0]].to_parquet(path, index=False)
    change(folder, OTHER, lambda run: run["artifacts"][0].update(sha256=sha256_of(path)))
    with pytest.raises(RequestError, match="1 of 8 people are in one of them only"):
        compare_runs(ONE, OTHER, [METRIC])


def test_a_damaged_file_is_found(runs):
    path = runs[0] / OTHER / "metrics.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(WorkError, match=r"metrics.parquet is damaged: it hashes to [0-9a-f]{12}…, run.json says"):
        compare_runs(ONE, OTHER, [METRIC])
    (path.parent / "run.json").write_text("{")
    with pytest.raises(WorkError, match=r"its run.json cannot be read"):
        compare_runs(ONE, OTHER, [METRIC])


@pytest.mark.parametrize(
    ("one", "metric", "reason"),
    [
        ("yesterday", METRIC, 'there is no run "yesterday"'),
        ("../../etc", METRIC, 'there is no run "../../etc"'),
        ("20261124T100000Z-0000000f", METRIC, "there is no run"),
        (f"{ONE}:eese", METRIC, 'Did you mean "ease"'),
        (ONE, "ndgc@3", 'Did you mean "ndcg@3"'),
        (ONE, "person", "there is no metric"),
    ],
)
def test_what_is_not_there_is_named(runs, one, metric, reason, capsys):
    assert main(["compare", one, OTHER, "--metric", metric]) == 2
    assert reason in capsys.readouterr().err


def test_the_command_prints_a_line_for_each_metric(runs, capsys):
    assert main(["compare", ONE, OTHER]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"ease of {ONE} minus random of {OTHER}, 8 people"
    assert lines[1].split()[0] == "Recall@3"
    assert "won" in lines[1]
    assert lines[-1].strip().startswith("p-values are Holm-adjusted over")


def test_a_run_without_a_choice_asks_for_one(runs):
    change(runs[0], ONE, lambda run: run.pop("chosen"))
    with pytest.raises(RequestError, match=r"there is no model in .*\(ease, random\)"):
        compare_runs(ONE, OTHER, [METRIC])
