"""The sentences, tables and figures of the retrieval notebook, from numbers with a known answer."""

from dataclasses import replace

import pytest

from workbench.data import item_vectors, load_dataset, rolling_origin
from workbench.evaluation import all_slices, compare, decide
from workbench.models import create
from workbench.reporting import (
    activity_table,
    against_strongest,
    beside_table,
    checked_lines,
    field_figure,
    field_table,
    over_time,
    retrieval_verdict,
    slices_figure,
    slices_table,
    tradeoff_figure,
    trials_table,
)
from workbench.selection import judge_over_windows, search

METRIC = "ndcg@10"


def retrieval(data, split, names, ks=(10,), trainings=1):
    parts = data.split(split)
    judged, vectors = parts.holdout(), item_vectors(data)
    how = {"ks": ks, "vectors": vectors, "fallback": create("popularity").fit(parts.train)}
    choices = {name: search(name, parts, METRIC, tuned=False, trainings=trainings, **how) for name in names}
    results = {name: choice.judge(judged, **how) for name, choice in choices.items()}
    validation = {name: choice.validation for name, choice in choices.items()}
    return parts, decide(validation, results, METRIC, all_slices(data, judged), effect=0.01), results, choices


@pytest.fixture(scope="module")
def by_user_time(ml100k):
    return retrieval(ml100k, "user_time", ["random", "popularity", "item_knn", "ease"], ks=(10, 50), trainings=2)


def test_on_ml_100k_the_report_says_what_is_so(by_user_time):
    parts, decision, results, _ = by_user_time
    verdict = retrieval_verdict(decision, parts, results, (10, 50), {})
    assert verdict.headline.startswith("EASE ranks what people like next higher than Item-kNN: NDCG@10 up 0.02")
    assert [(rail.state, rail.text) for rail in verdict.guardrails[:2]] == [
        ("pass", "the split keeps its promises"),
        ("pass", "beats popularity"),
    ]
    left_out = retrieval_verdict(decision, parts, results, (10, 50), {"recbole:X": "needs more."})
    assert left_out.limits == ["recbole:X was asked for and could not be judged: needs more.", *verdict.limits]
    assert any("112 of 943 people with test events are not in the numbers" in limit for limit in verdict.limits)
    assert any("earliest test event of anybody" in limit for limit in verdict.limits)
    assert any("Random 2 times" in limit for limit in verdict.limits)
    assert any(f"has had {parts.looks()}" in limit for limit in verdict.limits)
    assert parts.looks().models >= 5, "each training with a seed of its own is a look"


def test_the_field_is_in_order_with_letters_and_says_how_many_were_tried(by_user_time):
    _, _, results, choices = by_user_time
    table = field_table(results, METRIC, (10, 50), dict.fromkeys(results, 2.0), {})
    assert table.frame["model"].tolist() == ["EASE", "Item-kNN", "Popularity", "Random"]
    assert table.frame["alike"].tolist() == ["a", "b", "c", "d"]
    assert table.frame["trainings"].tolist() == [1, 1, 1, 2]
    assert "The best of 4 models on test is partly the luckiest" in table.caption
    left_out = field_table(results, METRIC, (10, 50), dict.fromkeys(results, 2.0), {"recbole:X": "needs <more>."})
    last = left_out.frame.iloc[-1]
    assert (last["model"], last["NDCG@10"], last["trainings"], last["why"]) == ("recbole:X", "not judged", 0, "needs <more>.")
    assert "needs &lt;more&gt;." in left_out._repr_html_()
    assert ">nan<" not in left_out._repr_html_().lower()
    assert trials_table(choices, METRIC).frame["model"].tolist() == table.frame["model"].tolist()


def test_everyone_is_held_against_the_strongest_of_validation(by_user_time):
    _, _, results, _ = by_user_time
    table = against_strongest(results, "ease", METRIC, 0.01)
    assert table.frame["model"].tolist() == ["Item-kNN", "Popularity", "Random"]
    alone = compare(results["item_knn"], results["ease"], METRIC)
    assert table.frame["won, tied, lost"][0] == f"{alone.wins}, {alone.ties}, {alone.losses}"
    assert set(table.frame[""]) == {"worse"}
    assert against_strongest({"ease": results["ease"]}, "ease", METRIC, 0.01).text.startswith("Not applicable")


def test_what_the_lists_are_like_is_told_beside_accuracy(by_user_time):
    _, _, results, _ = by_user_time
    rows = beside_table(results, METRIC).frame.set_index("model")
    assert rows.loc["EASE", "Coverage"].startswith(f"{results['ease'].covered(10) / 1682:.2f} (")
    assert rows.loc["Random", "Gini of exposure"] < rows.loc["EASE", "Gini of exposure"] < rows.loc["Popularity", "Gini of exposure"]
    assert rows.loc["Random", "Novelty"] == pytest.approx(results["random"].mean("novelty@10"))
    assert rows.loc["Popularity", "tied"] != "0.0%"
    alt = tradeoff_figure(results, METRIC).alt
    assert "Nobody is ahead in both of EASE, Random." in alt


def test_activity_is_put_on_one_scale(by_user_time):
    """NDCG rises with activity and recall falls, by construction; with one thing to find NDCG falls too."""
    _, decision, _, _ = by_user_time
    rows = activity_table(decision.chosen, METRIC).frame
    assert rows["n"].sum() == 831
    assert (rows["Recall@10"] <= rows["its ceiling"]).all()
    assert rows["NDCG@10"].iloc[-1] > rows["NDCG@10"].iloc[1]
    one = [float(text.split()[0]) for text in rows["NDCG@10, one to find"]]
    assert one[-1] < one[1]
    assert rows["not told"].sum() == 0


def test_slices_are_drawn_and_told(by_user_time):
    _, decision, _, _ = by_user_time
    table = slices_table(decision).frame
    assert list(dict.fromkeys(table["by"])) == ["activity", "popularity", "time", "gender", "age_band", "genre"]
    assert len(table) == len(decision.slices) == 37
    assert f"{(table[''] == 'better').sum()} better" in slices_figure(decision).alt


def test_earlier_windows_are_pooled_and_their_trend_is_told(ml100k, by_user_time):
    _, decision, _, choices = by_user_time
    windows = rolling_origin(ml100k, windows=2)
    pair = [judge_over_windows(choices[each.model], windows, ks=(10,)) for each in (decision.chosen, decision.rival)]
    assert "all windows: +0.0" in over_time(windows, pair, METRIC).alt
    assert "fewer than two windows" in over_time(windows, [each[:1] for each in pair], METRIC).text
    assert "only one model" in over_time(windows, pair[:1], METRIC).text
    assert "no backtest was asked for" in over_time([], pair, METRIC).text


def test_by_global_time_it_says_who_is_missing_and_what_cannot_be_told(ml100k):
    parts, decision, results, _ = retrieval(ml100k, "global_time", ["item_knn", "ease"])
    verdict = retrieval_verdict(decision, parts, results, (10,), {})
    assert verdict.headline.startswith("We cannot tell EASE from Item-kNN: NDCG@10 differs by 0.003")
    assert "with 153 people a difference below 0.023 often goes unseen" in verdict.headline
    assert any("EASE left 76 of 153 people to popularity" in limit for limit in verdict.limits)
    served = {number.label: number for number in verdict.numbers}["Served by the model"]
    assert served.note == "77 of 153 people; the others get popularity"
    told = {(c.dimension, c.group): c.difference.n for c in decision.slices}
    assert told["served by", "the model"] == 77
    assert told["served by", "the fallback"] == 76


def test_a_choice_that_test_does_not_confirm_is_said_to_be_none(ml100k):
    """By global time popularity is the best on validation and loses on test: the honest answer is no answer."""
    parts, decision, results, _ = retrieval(ml100k, "global_time", ["popularity", "item_knn", "ease"])
    headline = retrieval_verdict(decision, parts, results, (10,), {}).headline
    assert headline.startswith("Popularity, the best on validation, lost to EASE on test: NDCG@10 down 0.03")
    assert headline.endswith("Choose neither on this evidence.")


def test_with_one_model_there_is_no_empty_plot(ml100k):
    parts, decision, results, _ = retrieval(ml100k, "user_time", ["popularity"])
    assert slices_figure(decision).text == slices_table(decision).text == "Not applicable, because only one model was tried."
    assert "only model tried" in retrieval_verdict(decision, parts, results, (10,), {}).headline


def test_alt_texts_carry_the_numbers(by_user_time):
    _, _, results, _ = by_user_time
    assert f"EASE: {results['ease'].mean(METRIC):.3f} (" in field_figure(results, METRIC).alt


def test_a_data_set_of_eight_people_has_a_report(tiny):
    tiny()
    parts, decision, results, _ = retrieval(load_dataset("tiny"), "user_time", ["popularity", "ease"])
    assert retrieval_verdict(decision, parts, results, (10,), {}).headline
    assert slices_figure(decision).alt
    assert "too few people to be shown" in repr(activity_table(decision.chosen, METRIC))


def test_the_checked_lines_say_of_what_learns_whether_it_is_above_popularity(by_user_time):
    _, _, results, choices = by_user_time
    learnt = {name: replace(choice, trainings=("a training",) if name in ("random", "ease") else ()) for name, choice in choices.items()}
    assert checked_lines(results, learnt, METRIC) == [
        "random not above popularity",
        f"popularity {results['popularity'].mean(METRIC):.2f}",
        f"item_knn {results['item_knn'].mean(METRIC):.2f}",
        "ease above popularity",
    ]
    alone = {"ease": results["ease"]}
    assert checked_lines(alone, learnt, METRIC) == ["ease not compared"]
