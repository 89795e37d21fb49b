"""What the report says of indexes, sources and blends, from numbers made by hand."""

from dataclasses import replace

import pytest
import torch

import workbench.reporting as report
from workbench.evaluation import Interval, compare
from workbench.models import create
from workbench.reporting.candidates import TASK
from workbench.retrieval import Frontier, Fusion, IndexConfig, Made, Measured, ScorerSource, TaskWorth, gather, judge_blend
from workbench.testing import latent_log


def measured(factory="Flat", recall=1.0, ms=2.0, second=100.0, room=256.0, lost=0.0):
    loss = Interval(value=-lost, low=-lost - 0.01, high=-lost + 0.01, n=50)
    return Measured(
        config=IndexConfig(factory=factory),
        recall=recall,
        p50_ms=ms,
        p95_ms=2 * ms,
        p99_ms=3 * ms,
        queries_per_second=second,
        build_seconds=1.0,
        bytes_per_item=room,
        loss=loss,
    )


INDEXES = (measured(), measured("SQ8", 0.97, 0.5, 900.0, 64.0, 0.002), measured("HNSW32", 0.9, 3.0, 90.0, 500.0))
FRONTIER = Frontier(INDEXES, 100, "ndcg@10", 5000, 50)


@pytest.fixture(scope="module")
def judged():
    train, holdout = latent_log()
    models = {name: create(name).fit(train) for name in ("popularity", "item_knn", "ease")}
    made = Made(sources=[ScorerSource(name, model, holdout.ties) for name, model in models.items()], absent={"lexical": "no <words>"})
    lists = gather(made.sources, holdout, 20)
    worth = judge_blend(lists, ("ease", "item_knn", "popularity"), holdout, 20, Fusion(fallback=("popularity",)))
    gain = compare(worth.blend, worth.sources["ease"].alone, "recall@20")
    return worth, made, {"home": TaskWorth(worth=worth, best="ease", gain=gain)}


def test_without_vectors_a_sentence_stands_for_figure_and_table():
    for shown in (report.frontier_figure(None, None), report.frontier_table(None, None)):
        assert str(shown) == "Not applicable, because no model that was judged has vectors of items."


def test_the_table_of_indexes_says_what_is_lost_who_is_on_the_front_and_which_is_taken():
    frame = report.frontier_table(FRONTIER, FRONTIER.choose(recall=0.95)).frame
    assert frame["index"].tolist() == ["Flat", "SQ8 ← taken", "HNSW32"]
    assert frame["on the front"].tolist() == ["yes", "yes", ""]
    assert frame["NDCG@10 lost"].tolist()[:2] == ["+0.0000 (-0.0100 to +0.0100)", "+0.0020 (-0.0080 to +0.0120)"]
    assert frame["queries a second"].tolist() == ["100", "900", "90"]


def test_the_figure_tells_its_numbers_to_who_cannot_see_it():
    shown = report.frontier_figure(FRONTIER, FRONTIER.choose(recall=0.95))
    assert "SQ8: recall 0.970, 0.50 ms, p99 1.50 ms, 64 bytes an item" in shown.alt
    assert "Blue: SQ8, the one taken." in shown.caption
    assert "HNSW32:" not in shown.alt, "those behind in everything are in the table"


def test_an_index_within_the_budget_passes_and_one_that_misses_it_fails():
    kept, missed = FRONTIER.choose(recall=0.95), FRONTIER.choose(recall=0.95, bytes_per_item=50)
    (good,) = report.shipping_guardrails(kept, FRONTIER, {})
    assert good.state == "pass"
    assert good.text == "index, on validation: SQ8, recall@100 0.970 of exact search, NDCG@10 lost +0.0020 (-0.0080 to +0.0120)"
    (bad,) = report.shipping_guardrails(missed, FRONTIER, {})
    assert bad.state == "fail"
    assert "misses memory by 14 bytes an item" in bad.text
    (exact,) = report.shipping_guardrails(FRONTIER.choose(recall=1.0), FRONTIER, {})
    assert exact.text == "index, on validation: Flat, recall@100 1.000 of exact search, no loss"


def test_sources_are_told_best_first_with_what_they_add_and_why_one_is_missing(judged):
    worth, made, _ = judged
    frame = report.sources_table(worth, made).frame
    assert frame["source"].tolist()[-1] == "lexical"
    assert frame.iloc[-1, 1] == "not made: no <words>"
    recalls = [float(text.split()[0]) for text in frame.iloc[:-1, 1]]
    assert recalls == sorted(recalls, reverse=True)
    row = frame.set_index("source").loc["ease"]
    assert row["adds"] == worth.sources["ease"].adds.difference.text(sign=True)
    assert row["in the blend"] == "yes"
    assert frame.set_index("source").loc["popularity", "adds"] == "", "a fallback adds nothing where nobody is short"
    assert "no &lt;words&gt;" in report.sources_table(worth, made)._repr_html_()


def test_tasks_are_told_with_the_gain_and_a_request_left_short_is_a_failure(judged):
    worth, _, tasks = judged
    frame = report.tasks_table(tasks).frame
    assert frame["task"].tolist() == ["home feed"]
    assert frame["filled"].tolist() == ["100.0%"]
    states = {guardrail.text.split(":")[0]: guardrail.state for guardrail in report.shipping_guardrails(None, None, tasks)}
    assert states["home feed"] == "pass"
    short = type(worth)(**{**vars(worth), "filled": 0.98})
    found = report.shipping_guardrails(None, None, {"related": TaskWorth(worth=short, best="ease", gain=tasks["home"].gain)})
    assert [(guardrail.state, guardrail.text) for guardrail in found] == [
        ("fail", "related items: 98.0% of requests get all 20 candidates")
    ]


@pytest.mark.parametrize(("low", "high", "state"), [(0.001, 0.03, "pass"), (-0.001, 0.03, "unknown"), (-0.03, -0.001, "fail")])
def test_a_blend_passes_where_its_gain_is_above_zero_and_fails_below(low, high, state, judged):
    home = judged[2]["home"]
    gap = Interval(value=(low + high) / 2, low=low, high=high, n=50)
    changed = TaskWorth(worth=home.worth, best="ease", gain=replace(home.gain, difference=gap))
    (blend,) = (each for each in report.shipping_guardrails(None, None, {"home": changed}) if each.text.startswith("blend"))
    assert blend.state == state
    assert blend.text == f"blend: ease + item_knn + popularity; recall@20 {gap.text(sign=True)} on ease alone"


def test_no_task_is_a_sentence():
    assert "none of the tasks has anybody to judge" in str(report.tasks_table({}))


def test_what_nbval_holds_can_fail(judged):
    home = judged[2]["home"]
    behind = TaskWorth(worth=home.worth, best="ease", gain=replace(home.gain, difference=Interval(value=-0.1, low=-0.2, high=0.0, n=5)))
    short = TaskWorth(worth=replace(home.worth, filled=0.5), best="ease", gain=behind.gain)
    assert report.checked_candidates(FRONTIER, {"home": behind, "related": short}) == [
        "SQ8: recall 1.0",
        "home feed: not ahead, 100% filled",
        "related items: not ahead, 50% filled",
    ]
    worse = replace(FRONTIER, measured=(measured(), measured("SQ8", 0.9)))
    assert report.checked_candidates(worse, {}) == ["SQ8: recall 0.9"]
    assert report.checked_candidates(None, {}) == []


def test_the_record_keeps_the_blend_as_a_model_of_each_task(judged):
    worth, _, tasks = judged
    rows = report.candidate_rows(tasks)
    (recall,) = (row for row in rows if row["name"] == "recall")
    assert (recall["model"], recall["k"], recall["n"]) == ("blend: home feed", 20, len(worth.blend.users))
    assert recall["value"] == pytest.approx(worth.blend.mean("recall@20"))
    assert set(TASK) == {"home", "related", "session"}
    assert torch.equal(worth.blend.served_by_fallback, torch.zeros(len(worth.blend.users), dtype=torch.bool))
