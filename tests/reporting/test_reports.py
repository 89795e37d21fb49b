"""The sentences and tables of the two notebooks, from numbers with a known answer."""

import torch

from workbench.data import load_dataset
from workbench.evaluation import by_activity, decide, evaluate
from workbench.models import create
from workbench.reporting import (
    audit_metrics,
    audit_verdict,
    by_group,
    field_figure,
    field_table,
    retrieval_verdict,
    tail_figure,
    timeline_figure,
)
from workbench.training import search


def retrieval(data, split, names):
    parts = data.split(split)
    judged, fallback = parts.holdout(), create("popularity").fit(parts.train)
    choices = {name: search(name, parts, "ndcg@10", ks=(10,), tuned=False, fallback=fallback) for name in names}
    results = {name: evaluate(c.model, judged, name=name, ks=(10,), fallback=fallback) for name, c in choices.items()}
    decision = decide({n: c.validation for n, c in choices.items()}, results, "ndcg@10", by_activity(judged), effect=0.01)
    return parts, decision, results


def test_on_ml_100k_the_report_says_what_is_so(ml100k):
    parts, decision, results = retrieval(ml100k, "user_time", ["popularity", "item_knn", "ease"])
    verdict = retrieval_verdict(decision, parts, results, (10,))
    assert verdict.headline.startswith("EASE ranks what people like next higher than Item-kNN: NDCG@10 up 0.02")
    assert [(rail.state, rail.text) for rail in verdict.guardrails[:2]] == [
        ("pass", "the split keeps its promises"),
        ("pass", "beats popularity"),
    ]
    assert any("108 of 943 people with test events are not in the numbers" in limit for limit in verdict.limits)
    assert any("earliest test event of anybody" in limit for limit in verdict.limits)
    assert field_table(results, "ndcg@10", (10,), dict.fromkeys(results, 2.0)).frame["alike"].tolist() == ["a", "b", "c"]


def test_by_global_time_it_says_who_is_missing_and_what_cannot_be_told(ml100k):
    parts, decision, results = retrieval(ml100k, "global_time", ["item_knn", "ease"])
    verdict = retrieval_verdict(decision, parts, results, (10,))
    assert verdict.headline.startswith("We cannot tell EASE from Item-kNN: NDCG@10 differs by 0.003")
    assert "with 153 people a difference below 0.022 often goes unseen" in verdict.headline
    assert any("EASE left 76 of 153 people to popularity" in limit for limit in verdict.limits)
    served = {number.label: number for number in verdict.numbers}["Served by the model"]
    assert served.note == "77 of 153 people; the others get popularity"


def test_a_choice_that_test_does_not_confirm_is_said_to_be_none(ml100k):
    """By global time popularity is the best on validation and loses on test: the honest answer is no answer."""
    parts, decision, results = retrieval(ml100k, "global_time", ["popularity", "item_knn", "ease"])
    headline = retrieval_verdict(decision, parts, results, (10,)).headline
    assert headline.startswith("Popularity, the best on validation, lost to EASE on test: NDCG@10 down 0.03")
    assert headline.endswith("Choose neither on this evidence.")


def test_with_one_model_there_is_no_empty_plot(ml100k):
    parts, decision, results = retrieval(ml100k, "user_time", ["popularity"])
    assert by_group(decision).text == "Not applicable, because only one model was tried."
    assert "only model tried" in retrieval_verdict(decision, parts, results, (10,)).headline


def test_the_audit_recommends_the_split_that_leaves_most_people_with_a_history(ml100k):
    splits = {name: ml100k.split(name) for name in ("user_time", "global_time")}
    verdict = audit_verdict(ml100k, splits)
    assert verdict.headline == (
        "Judge models on MovieLens 100k by user_time, as the card recommends: people left to judge are "
        "user_time 835, 835 of them with a history; global_time 153, 77 of them with a history."
    )
    values = {(row["name"], row["slice"]): row["value"] for row in audit_metrics(splits)}
    assert values["judged", "global_time"] == 153
    assert values["judged_with_history", "global_time"] == 77


def test_alt_texts_carry_the_numbers(ml100k):
    splits = {"global_time": ml100k.split("global_time")}
    counts = torch.sort(
        splits["global_time"].train.plus(splits["global_time"].valid).plus(splits["global_time"].test).events_per_item
    ).values
    top_tenth = counts.flip(0)[:168].sum().item() / 100_000
    assert f"most popular tenth of the items holds {top_tenth:.0%} of the events" in tail_figure(ml100k).alt
    assert "validation on day 168; test on day" in timeline_figure(ml100k, splits["global_time"]).alt
    _, decision, results = retrieval(ml100k, "user_time", ["popularity", "ease"])
    assert f"EASE: {results['ease'].mean('ndcg@10'):.3f} (" in field_figure(results, "ndcg@10").alt
    assert "200 events and more" in by_group(decision).alt


def test_no_split_is_recommended_that_can_judge_nobody(tiny):
    tiny([("a", "x", 1, 1), ("b", "y", 1, 2), ("b", "x", 1, 3)])
    data = load_dataset("tiny")
    splits = {name: data.split(name) for name in ("user_time", "global_time")}
    assert audit_verdict(data, splits).headline.startswith("Neither split can judge a model on Tiny")


def test_a_data_set_of_eight_people_has_a_report(tiny):
    tiny()
    parts, decision, results = retrieval(load_dataset("tiny"), "user_time", ["popularity", "ease"])
    assert retrieval_verdict(decision, parts, results, (10,)).headline
    assert by_group(decision).alt
