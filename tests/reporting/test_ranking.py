"""What the ranking page says follows from its numbers."""

import re

import pytest
import torch

from workbench import reporting as report
from workbench.data import side_information
from workbench.evaluation import Calibration, Interval, by_activity, by_popularity, decide
from workbench.ranking import audited_stages, calibrations, judge_funnel, judge_rankers, prepare, single_stage, stages, train_rankers

METRIC, KS, CANDIDATES = "ndcg@10", (5, 10), 20


@pytest.fixture(scope="module")
def page(ml100k):
    """The parts of a page, small: (parts, ready, field, validation, results, funnel)."""
    parts = ml100k.split("user_time", refit="train+valid")
    ready = prepare(audited_stages(stages(parts, 1)), ml100k, ["popularity", "ease"], CANDIDATES, side=side_information(ml100k))
    field = train_rankers(["trees"], ready.train, ready.stop, parts.ties, settings={"trees": {"rounds": 20}})
    validation, results = ({**single_stage(ready, part, KS), **judge_rankers(field, ready, part, KS)} for part in ("validation", "test"))
    return parts, ready, field, validation, results, judge_funnel(ready.test, results["trees"], METRIC, CANDIDATES)


def test_the_parts_of_the_funnel_are_told_and_add_up(page):
    _, _, _, _, results, funnel = page
    slices = [*by_activity(funnel.ranked.holdout), *by_popularity(funnel.ranked.holdout)]
    figure = report.funnel_figure(funnel, slices)
    told = re.findall(r"([^;.]+): (\d\.\d+) in the list, lost (\d\.\d+) by ranking, (\d\.\d+) before", figure.alt)
    assert len(told) == 1 + len(slices)
    assert all(abs(sum(map(float, parts)) - 1) < 0.002 for _, *parts in told)
    assert f"{results['trees'].mean(METRIC):.3f}" == told[0][1]
    rows = report.funnel_table(funnel, 10, CANDIDATES).frame
    assert list(rows["list"]) == ["retrieval's order", "best order of the candidates", "LambdaRank trees"]


def test_features_that_know_the_answer_are_pointed_at(page):
    _, ready, *_ = page
    assert "To be looked at" not in report.features_table(ready).caption
    values = ready.train.features.values.clone()
    values[:, 0] = ready.train.label.double()
    known = ready.train.with_values(type(ready.train.features)(ready.train.features.definitions, values, {}))
    spoiled = type(ready)(**{**vars(ready), "train": known})
    assert "To be looked at: place." in report.features_table(spoiled).caption


def test_lineage_names_every_feature_once_for_each_source(page):
    _, ready, *_ = page
    frame = report.lineage_table(ready, ["trees"]).frame
    named = {name for cell in frame["features"] for name in cell.split(", ")}
    assert named == {each.name for each in ready.train.features.definitions}
    assert set(frame["source"]) >= {"events: all", "events: liked", "items: genre", "retrieval", "the request's moment"}


def calibration(mean, share):
    nothing = Interval(0.1, 0.0, 0.2, 10)
    rest = {"log_loss": nothing, "brier": nothing, "error": 0.0, "chance": 0.0, "normalised_entropy": 0.9, "bins": ()}
    return Calibration(n=100, share=share, mean=mean, **rest)


def test_the_verdict_is_about_the_pair_that_validation_chose_and_fails_wrong_probabilities(page):
    parts, ready, _, validation, results, funnel = page
    pair = ("trees", report.best_of(["popularity", "ease", "blend"], validation, METRIC))
    decision = decide(*({name: each[name] for name in pair} for each in (validation, results)), METRIC, [], effect=0.01)
    found = {"right": calibration(0.105, 0.1), "wrong": calibration(0.12, 0.1)}
    verdict = report.ranking_verdict(decision, parts, results, KS, {"deepfm": "it broke"}, funnel, found, ready)
    states = {each.text.split(":")[0]: each.state for each in verdict.guardrails}
    assert (states["right"], states["wrong"]) == ("pass", "fail")
    assert verdict.headline == decision.headline()
    assert [each.label for each in verdict.numbers] == ["NDCG@10", "Recall@10", "Lost by retrieval", "Served by the model"]
    limits = " ".join(verdict.limits)
    assert "not taken was not rejected" in limits
    assert f"Probabilities hold for the candidates of this retriever ({ready.test.retriever})" in limits
    assert "deepfm was asked for and could not be judged: it broke" in limits


def test_probabilities_are_told_by_method_and_slice(page):
    _, ready, field, *_ = page
    found, by_slice = calibrations(field.rankers["trees"], ready, by_activity(ready.everybody))
    table = report.calibration_table(found, by_slice).frame
    assert list(table[""])[:2] == ["platt", "isotonic"]
    assert set(table[""][2:]) == set(by_slice)
    assert table["candidates"].tolist()[0] == len(ready.test.items)
    assert report.reliability_figure({}).text.startswith("Not applicable")
    assert f"of {found['platt'].bins[0].count:,}" in report.reliability_figure(found).alt


def test_checked_lines_have_no_number_of_a_ranker(page):
    _, ready, field, _, results, _ = page
    lines = report.checked_ranking(results, list(field.rankers), METRIC, ready)
    assert [line for line in lines if line.startswith("trees")] == ["trees above popularity"]
    assert f"{len(ready.train.items):,} candidates to learn from" in lines[-1]


def test_who_gained_and_lost_is_told_under_pseudonyms(page, ml100k):
    *_, ready, field, _, _, funnel = page
    frame = report.errors_table(ml100k, funnel, 10).frame
    gained, lost = (frame[frame[""] == what] for what in ("gained", "lost"))
    assert (gained["after"] > gained["before"]).all()
    assert (lost["after"] < lost["before"]).all()
    assert frame["person"].str.fullmatch(r"[0-9a-f]{16}").all()
    traced = report.trace_of_worst(ml100k, funnel, ready, field.rankers["trees"], ["place"]).frame
    assert traced["list"].tolist() == sorted(traced["list"])
    worst = int((funnel.ranked.values(METRIC) - funnel.retrieval.values(METRIC)).argmin())
    shown = funnel.ranked.top[worst, 0]
    assert traced["item"][0] in ml100k.snapshot.cells("items", "movie_title")[int(shown)]
    assert torch.isfinite(torch.tensor(traced["chance"])).all()
