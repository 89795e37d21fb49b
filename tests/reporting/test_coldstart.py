"""What the cold start page says follows from its numbers: curves, worlds and loops made by hand."""

import re
from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
import torch
from scipy import stats

from tests.evaluation.made import everyone, graded, valued
from workbench import reporting as report
from workbench.coldstart import Curve, Explored, Methods, Newcomers, NewItems, Round, Trust, against_floor, switch
from workbench.data.rules import make_rule
from workbench.data.splits import Split
from workbench.reporting.exploration import over_worlds
from workbench.testing import interactions
from workbench.testing.synthetic import holdout

METRIC, N, DEPTHS = "ndcg@10", 60, (0, 1, 5)
WAVE = torch.linspace(-0.05, 0.05, N, dtype=torch.float64)
"""What people differ by: their mean is 0."""
EVERYBODY = everyone(N)
REGULARS = EVERYBODY.select(torch.arange(N) < 40)
"""Forty of them have a history long enough."""


def evaluation(mean, name, judged=EVERYBODY, served=True):
    """A mean, or a value for each person; of recall twice as much."""
    values = WAVE[: len(judged.users)] + mean if isinstance(mean, float) else torch.as_tensor(mean, dtype=torch.float64)
    found = valued(values, name, judged)
    lists = replace(found.lists, served=torch.full((len(values),), served))
    return replace(found, title=name.title(), lists=lists, per_user={METRIC: values, "recall@10": 2 * values})


def curve(name, *means, warm=None, served=True):
    """A mean at each of the depths."""
    by_depth = {depth: evaluation(mean, name, served=served or depth > 0) for depth, mean in zip(DEPTHS, means, strict=True)}
    return Curve(name=name, by_depth=by_depth, warm=None if warm is None else evaluation(warm, name, REGULARS))


def curves(*made):
    return {each.name: each for each in made}


POPULAR, EASE = (0.2, 0.2, 0.2), (0.1, 0.3, 0.6)


def both(warm=None):
    return curves(curve("popularity", *POPULAR, warm=warm), curve("ease", *EASE, warm=warm))


def cells(table):
    """By row, its cells as text."""
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", table._repr_html_())[1:]]


# who is judged


def people(part="test", found=(0, 1, 5), regulars=40):
    """Sixty people with one to three items to find each, forty of them regulars with one."""
    liked = graded([(user, (user + n) % 12, 1) for user in range(N) for n in range(1 + user % 3)], N, 12)
    judged = holdout(interactions([], N, 12), liked)
    warm = EVERYBODY.select(torch.arange(N) < regulars)
    return Newcomers(part=part, depths=dict.fromkeys(found, judged), warm=warm, n_people=75)


def test_who_is_judged_is_told_by_part():
    """One, two and three items to find, each of twenty people: two on average; as regulars one."""
    table = report.newcomers_table({"validation": people("valid"), "test": people()}, made_split())
    assert cells(table) == [[part, "75", "60", "40", "2.0", "1.0"] for part in ("validation", "test")]
    assert "Their first 0, 1, 5 events are revealed" in table.caption
    assert "no times" not in table.caption


def test_of_a_log_without_times_it_is_said_what_first_and_last_are():
    table = report.newcomers_table({"test": people()}, replace(made_split(), has_times=False))
    assert table.caption.endswith(" The log has no times: first and last are as the split's seed deals them, and depths are amounts.")


def test_where_nobody_is_a_regular_what_they_have_to_find_is_left_blank():
    assert cells(report.newcomers_table({"test": people(regulars=0)}, made_split())) == [["test", "75", "60", "0", "2.0", ""]]


# curves


def test_arrows_mark_what_validation_chose_for_a_depth_whatever_test_says():
    """Validation has ease ahead from one event on; on test it is ahead only with five."""
    test = curves(curve("popularity", 0.2, 0.4, 0.2), curve("ease", *EASE))
    table = report.curves_table(test, switch(both(), test, METRIC), Methods())
    assert cells(table) == [
        ["Ease", "0.100", "0.300 ←", "0.600 ←", ""],
        ["Popularity", "0.200 ←", "0.400", "0.200", ""],
    ]
    assert table.caption.startswith(f"NDCG@10 on test, {N} new people. Arrows: what validation chose")


def test_methods_come_best_first_with_what_they_get_of_regulars():
    made = curves(curve("low", 0.1, 0.1, 0.1, warm=0.15), curve("high", 0.3, 0.3, 0.3, warm=0.5), curve("mid", 0.2, 0.2, 0.2, warm=0.25))
    rows = cells(report.curves_table(made, switch(made, made, METRIC), Methods()))
    regular = [f"{made[name].warm.mean(METRIC):.3f}" for name in ("high", "mid", "low")]
    assert [row[0] for row in rows] == ["High", "Mid", "Low"]
    assert [row[-1] for row in rows] == regular


def test_the_table_says_what_a_blend_is_made_of_and_what_could_not_be_judged():
    trust = Trust(content=0.0, behaviour=10.0)
    made = Methods(failed={"content": "there are <no> texts"}, trust=trust, made_of=("popularity", "same_groups", "ease"))
    caption = report.curves_table(both(), switch(both(), both(), METRIC), made).caption
    blend = "The blend moves from popularity over same_groups to ease, content from the first event on; behaviour half after 10 events."
    assert caption.endswith(f"{blend} Not judged: content, because there are <no> texts.")
    plain = report.curves_table(both(), switch(both(), both(), METRIC), Methods()).caption
    assert "blend moves" not in plain
    assert "Not judged" not in plain


def test_a_reason_that_ends_with_a_full_stop_gets_no_second_one():
    """Reasons are messages of errors, which end with one."""
    made = Methods(failed={"content": "there are no texts."})
    assert ".." not in report.curves_table(both(), switch(both(), both(), METRIC), made).caption
    assert ".." not in str(report.new_items_table({}, METRIC, 0, {"new items": "nobody liked a new item in the test part of made."}))


def test_the_figure_of_curves_tells_its_numbers_to_who_cannot_see_it():
    figure = report.curves_figure(both(0.4), METRIC)
    assert figure.alt.endswith(
        "Ease: 0 known 0.100, 1 known 0.300, 5 known 0.600; Popularity: 0 known 0.200, 1 known 0.200, 5 known 0.200."
    )
    (axes,) = figure.figure.axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1", "5", "regulars"]
    assert figure._repr_mimebundle_()[0]["image/png"]


def test_without_regulars_the_figure_has_no_place_for_them():
    (axes,) = report.curves_figure(both(), METRIC).figure.axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1", "5"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["Ease", "Popularity"]


def test_only_the_best_methods_are_drawn():
    made = curves(*(curve(f"m{place}", *[0.1 * place] * 3) for place in range(1, 9)))
    figure = report.curves_figure(made, METRIC)
    assert re.findall(r"(M\d): 0 known", figure.alt) == ["M8", "M7", "M6", "M5", "M4", "M3"]
    assert "the 6 methods with the highest means" in figure.caption


# regulars


def test_the_distance_to_regulars_is_of_the_same_people():
    """Of the forty regulars the first of `WAVE`: as regulars they have 0.3 more of popularity, 0.1 more of ease than with five known."""
    made = curves(curve("popularity", *POPULAR, warm=0.5), curve("ease", *EASE, warm=0.7))
    table = report.regulars_table(made, ["ease", "popularity"], METRIC, "popularity")
    rows = cells(table)
    assert [row[:3] for row in rows] == [
        ["Ease", "new minus regular", "40"],
        ["Ease", "of what it adds to popularity", "40"],
        ["Popularity", "new minus regular", "40"],
    ]
    ease, added, popularity = ([float(cell.split()[0]) for cell in row[3:]] for row in rows)
    assert ease == pytest.approx([0.1 - 0.7, 0.3 - 0.7, 0.6 - 0.7])
    assert popularity == pytest.approx([0.2 - 0.5] * 3)
    assert added == pytest.approx([(a - 0.2) - (0.7 - 0.5) for a in EASE])


def test_without_the_method_that_knows_nothing_of_people_there_is_nothing_to_add_to():
    made = curves(curve("ease", *EASE, warm=0.7))
    assert [row[1] for row in cells(report.regulars_table(made, ["ease"], METRIC, "popularity"))] == ["new minus regular"]


def test_where_nobody_is_a_regular_a_sentence_stands_for_the_table():
    note = report.regulars_table(both(), ["ease", "popularity"], METRIC, "popularity")
    assert str(note) == "Not applicable, because no new person has a history long enough to be judged as a regular too."


# which method


def test_where_one_method_is_the_best_throughout_there_is_nothing_to_switch():
    made = curves(curve("popularity", *POPULAR), curve("ease", 0.3, 0.4, 0.5))
    switching = switch(made, made, METRIC)
    note = report.switching_table(switching, made, 0.01)
    assert str(note) == "Ease is the best on validation at every depth: there is nothing to switch."
    headline = verdict(made, switching).headline
    assert headline == f"Use Ease however much is known: it is the best on validation at every depth, NDCG@10 on test {0.4:.3f} on average."


def switched(popularity, ease):
    """As validation chose: popularity with nothing known, ease from one event on, which is the single best. (test, switching)"""
    test = curves(curve("popularity", *popularity), curve("ease", *ease))
    return test, switch(both(), test, METRIC)


def test_what_switching_is_worth_on_test_is_told_by_depth():
    test, switching = switched((0.3, 0.2, 0.2), EASE)
    (row,) = cells(report.switching_table(switching, test, 0.01))
    (gain,) = switching.gains
    assert row == ["0", "Popularity", "+0.200 (+0.200 to +0.200)", f"{gain.p_value:.4f}", f"{gain.detectable:.3f}", "better"]
    assert list(report.switching_table(switching, test, 0.01).frame.columns)[2] == "minus Ease"


@pytest.mark.parametrize(("popularity", "told"), [(0.3, "+0.200 (+0.200 to +0.200)"), (0.05, "-0.050 (-0.050 to -0.050)")])
def test_the_headline_says_what_test_shows_of_the_switch_better_or_worse(popularity, told):
    test, switching = switched((popularity, 0.2, 0.2), EASE)
    assert verdict(test, switching).headline == (
        f"Validation would use Popularity with 0 events known, Ease with 1 to 5 events known; against Ease throughout, test shows with 0 "
        f"known {told}."
    )


def test_the_headline_says_where_test_does_not_tell_the_switch_from_one_method():
    """Every second person is better off by as much as the others are worse off."""
    swing = torch.tensor([0.3, -0.3] * (N // 2))
    test, switching = switched((0.1 + WAVE + swing, 0.2, 0.2), EASE)
    (gain,) = switching.gains
    assert gain.verdict(0.01) == "too few to say"
    assert verdict(test, switching).headline == (
        "Use Ease throughout: test does not tell from it what validation would switch to (Popularity with 0 events known), and differences "
        f"below {gain.detectable:.3f} often go unseen."
    )


FOUR = {"a": [evaluation(mean, "a") for mean in (0.5, 0.5, 0.1, 0.5)], "b": [evaluation(mean, "b") for mean in (0.1, 0.1, 0.4, 0.1)]}


def test_stretches_of_one_method_are_told_as_one():
    """Of four depths the first two are one method's, then another's, then the first one's again."""
    made = curves(*(Curve(name=name, by_depth=dict(zip((0, 2, 3, 9), found, strict=True)), warm=None) for name, found in FOUR.items()))
    headline = verdict(made, switch(made, made, METRIC)).headline
    assert headline.startswith("Validation would use A with 0 to 2 events known, B with 3 events known, A with 9 events known; against A ")


def test_a_single_event_is_told_in_the_singular():
    made = curves(curve("a", 0.5, 0.1, 0.5), curve("b", 0.1, 0.4, 0.1))
    assert "1 events" not in verdict(made, switch(made, made, METRIC)).headline


# the verdict


def made_split():
    known = interactions([(user, 1) for user in range(N)], N, 12)
    found = interactions([(user, 2) for user in range(N)], N, 12)
    nothing, rule = known.select(torch.arange(0)), make_rule("user_random", {})
    told = {"name": "made", "rule": rule, "seed": 0, "snapshot_id": "made@0", "repeats": False, "ties": torch.arange(12)}
    return Split(**told, train=known, valid=nothing, test=found, known=nothing)


def verdict(made, switching, methods=None, items=None, loops=None, effect=0.01, floor="popularity"):
    items = items or NewItems(results={}, chosen="", n_new=0, failed={})
    return report.coldstart_verdict(switching, made, methods or Methods(), made_split(), effect, items, loops or {}, floor)


def test_the_numbers_are_of_what_validation_chose_with_the_fewest_and_the_most_known_and_of_regulars():
    made = curves(curve("popularity", *POPULAR, warm=0.5), curve("ease", *EASE, warm=0.7))
    numbers = verdict(made, switch(made, made, METRIC), items=of_items("content")).numbers
    regular = made["ease"].warm.mean(METRIC)
    assert [(each.label, each.value) for each in numbers] == [
        ("0 events known", "0.200"),
        ("5 events known", "0.600"),
        ("As regulars", f"{regular:.3f}"),
        ("New items", "0.400"),
    ]
    assert numbers[0].note.startswith("NDCG@10 of Popularity · 0.1")
    assert numbers[0].note.endswith(f" · n {N}")
    assert numbers[2].note.startswith("NDCG@10 of Ease · ")
    assert numbers[2].note.endswith(" · n 40")
    assert numbers[3].note.startswith("Recall@100 of Content, chosen on validation · ")


def test_of_new_items_the_one_that_validation_chose_is_shown_though_another_is_better_on_test():
    made = curves(curve("ease", *EASE))
    (*_, number) = verdict(made, switch(made, made, METRIC), items=of_items("random")).numbers
    assert (number.label, number.value) == ("New items", "0.100")
    assert number.note.startswith("Recall@100 of Random, chosen on validation · ")


def test_where_validation_chose_nothing_for_new_items_no_number_is_shown():
    made = curves(curve("ease", *EASE))
    assert "New items" not in [each.label for each in verdict(made, switch(made, made, METRIC), items=of_items("")).numbers]


def test_with_one_depth_no_regulars_and_no_new_items_there_is_one_number():
    single = {"ease": Curve(name="ease", by_depth={3: evaluation(0.5, "ease")}, warm=None)}
    numbers = verdict(single, switch(single, single, METRIC)).numbers
    assert [(each.label, each.value) for each in numbers] == [("3 events known", "0.500")]


@pytest.mark.parametrize(
    ("gain", "state"), [(WAVE + 0.4, "pass"), (0.2, "fail"), (0.1, "fail"), (0.2 + torch.tensor([0.3, -0.3] * (N // 2)) + WAVE, "unknown")]
)
def test_what_is_chosen_is_held_against_what_is_popular(gain, state):
    """Popularity has 0.2: a method with 0.4 passes, with as much or less fails, with now more and now less is not told apart. Of sixty
    people who are all alike 3 / 60 may still differ, less than the 0.1 that matters here.
    """
    chosen = curves(curve("popularity", *[0.0] * 3), curve("ease", *[0.5] * 3))
    test = curves(curve("popularity", *POPULAR), curve("ease", *[gain] * 3))
    rails = verdict(test, switch(chosen, test, METRIC), effect=0.1).guardrails
    assert (rails[0].state, rails[0].text) == ("pass", "the split keeps its promises")
    told = 3 if isinstance(gain, float) and gain < 0.2 else 2  # in between it is said only where it is worse
    first_is_same = isinstance(gain, float) and gain == 0.2  # with nothing known that is no finding
    assert [rail.state for rail in rails[1:]] == [state] * told
    assert rails[1].text.startswith(f"Ease against popularity with {'1 event' if first_is_same else '0 events'} known: ")
    assert rails[-1].text.startswith("Ease against popularity with 5 events known: ")


def test_what_is_told_of_popularity_comes_out_of_one_family():
    """Three depths at once: each interval is wider than it would be of its depth alone."""
    shaken = torch.rand(3, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    made = curves(curve("popularity", *POPULAR), curve("ease", *(0.5 + shaken)))
    switching = switch(made, made, METRIC)
    family = against_floor(made, switching.chosen, "popularity", METRIC)
    rails = verdict(made, switching).guardrails[1:]
    assert [rail.text.split("known: ")[1] for rail in rails] == [family[place].difference.text(sign=True) for place in (0, -1)]
    (alone,) = against_floor(made, {0: "ease"}, "popularity", METRIC)
    assert family[0].difference.low < alone.difference.low


def test_a_depth_in_between_is_told_where_it_is_worse_than_popularity():
    made = curves(curve("popularity", *POPULAR), curve("ease", 0.6, 0.6, 0.6))
    switching = switch(made, made, METRIC)
    test = curves(curve("popularity", *POPULAR), curve("ease", 0.6 + WAVE, 0.1, 0.6 + WAVE))
    rails = verdict(test, switching).guardrails[1:]
    assert [(rail.state, rail.text.split(": ")[0]) for rail in rails] == [
        (state, f"Ease against popularity with {known} known")
        for state, known in (("pass", "0 events"), ("fail", "1 event"), ("pass", "5 events"))
    ]


def test_where_popularity_is_chosen_or_was_not_asked_for_it_is_held_against_nothing():
    for made in (curves(curve("popularity", *[0.9] * 3), curve("ease", *EASE)), curves(curve("ease", *EASE))):
        assert [rail.text for rail in verdict(made, switch(made, made, METRIC)).guardrails] == ["the split keeps its promises"]


def test_limits_say_what_failed_and_that_worlds_are_made_up():
    found = verdict(both(), switch(both(), both(), METRIC), Methods(failed={"content": "there are <no> texts."})).limits
    assert found[0] == "content was asked for and could not be judged: there are <no> texts."
    assert any("who came and never returned is not in it" in limit for limit in found)
    assert any("of made-up worlds" in limit for limit in found)
    assert any("0.01 is taken as the smallest difference in NDCG@10 that matters." in limit for limit in found)


def test_limits_are_those_of_the_method_that_is_recommended():
    """Ease is the best throughout and, with nothing known, leaves everybody to popularity."""
    made = curves(curve("popularity", *POPULAR), curve("ease", *[0.5] * 3, served=False))
    found = verdict(made, switch(made, made, METRIC)).limits
    assert [limit for limit in found if "Ease left" in limit] == [f"With 0 events known Ease left {N} of {N} people to popularity."]
    turned = curves(curve("ease", *[0.1] * 3, served=False), curve("popularity", *POPULAR))
    assert not [limit for limit in verdict(turned, switch(turned, turned, METRIC)).limits if "Ease left" in limit]


def test_limits_say_at_which_depths_ties_decided():
    """A quarter of the places with one event known, half a percent with five."""
    ease = curve("ease", *[0.5] * 3)
    tied = {depth: replace(each, tied_share=share) for (depth, each), share in zip(ease.by_depth.items(), (0.0, 0.25, 0.005), strict=True)}
    made = curves(curve("popularity", *POPULAR), replace(ease, by_depth=tied))
    found = [limit for limit in verdict(made, switch(made, made, METRIC)).limits if "ties" in limit]
    assert found == ["With 1 event known ties decided 25% of the places of Ease."]


def test_limits_are_not_of_the_splits_whole_test_part():
    """Of the part ten people liked only what they had before: of new people at each depth that says nothing."""
    whole = made_split()
    parts = replace(whole, train=whole.train.plus(whole.test.select(torch.arange(10))))
    assert parts.holdout("test").n_masked_truth
    made = both()
    told = report.coldstart_verdict(
        switch(made, made, METRIC), made, Methods(), parts, 0.01, NewItems(results={}, chosen="", n_new=0, failed={}), {}, "popularity"
    ).limits
    assert not [limit for limit in told if "people with test events" in limit or "liked events do not count" in limit]


# new items and by time


def new_items():
    """Two methods on 60 people: content finds 0.4 of new items in a hundred places, random 0.1."""
    found = {}
    for name, value in (("random", 0.1), ("content", 0.4)):
        each = evaluation(value, name)
        values = WAVE + value
        found[name] = replace(each, ks=(10, 100), tied_share=0.25, per_user={METRIC: values / 2, "recall@10": values, "recall@100": values})
    return found


def of_items(chosen):
    return NewItems(results=new_items(), chosen=chosen, n_new=7, failed={})


def test_new_items_are_told_best_first_with_what_could_not_be_judged():
    found = new_items()
    table = report.new_items_table(found, METRIC, 7, {"two_tower": "it <broke>"})
    assert list(table.frame.columns) == ["method", "NDCG@10", "Recall@100", "decided by ties"]
    content, random, failed = cells(table)
    assert content == ["Content", found["content"].interval(METRIC).text(), found["content"].interval("recall@100").text(), "25%"]
    assert random[0] == "Random"
    assert failed == ["two_tower", "not judged: it &lt;broke&gt;", "", ""]
    assert table.caption.startswith(f"{N} people who liked one of 7 items that nobody had in what models learnt from; ranked among all 12 ")


def test_without_new_items_a_sentence_says_why():
    for failed, why in (({"new items": "nobody liked one", "b": "no"}, "nobody liked one; no"), ({}, "no method was asked for")):
        note = report.new_items_table({}, METRIC, 0, failed)
        assert str(note) == f"Not applicable, because {why}."
    assert report.new_items_table({}, METRIC, 0, {"a": "<b>"})._repr_html_() == "<p>Not applicable, because &lt;b&gt;.</p>"


def test_people_by_time_are_told_with_intervals_or_it_is_said_that_there_are_none():
    table = report.by_time_table(both(), METRIC)
    rows = cells(table)
    assert [row[0] for row in rows] == ["Popularity", "Ease"]
    assert rows[1][1:] == [both()["ease"].by_depth[depth].interval(METRIC).text() for depth in DEPTHS]
    assert f"NDCG@10 of {N} people whose first event is after the moment" in table.caption
    assert str(report.by_time_table({}, METRIC)) == (
        "Not applicable, because the page is by time already, too few new people are left by one moment for everyone, or the log has no "
        "times."
    )


# exploration


def explored(policy, cost, regret, share=0.0, tried=0.0):
    """A policy that loses as much at every one of ten requests: cost and regret of all of them."""
    steps = np.arange(1, 11) / 10
    return Explored(policy=policy, regret=regret * steps, cost=cost * steps, cold_share=share, cold_tried=tried)


WORLDS = [
    {"warm_only": explored("warm_only", 0.0, regret), "lin_ucb": explored("lin_ucb", cost, regret + cost, share, tried)}
    for regret, cost, share, tried in ((2.0, -1.0, 0.2, 0.5), (3.0, 0.5, 0.3, 1.0), (4.0, -1.5, 0.1, 0.75))
]


def student(values, digits, sign):
    """mean ± t · s / √n by hand, t of n - 1 degrees of freedom."""
    n, mean = len(values), np.mean(values)
    half = stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / sqrt(n)
    form = f"{'+' if sign else ''}.{digits}f"
    return f"{mean:{form}} ({mean - half:{form}} to {mean + half:{form}})"


def test_what_exploration_costs_is_told_with_students_intervals_over_worlds():
    """Ten requests: the regret of a hundred is ten times that of all; a fifth of the requests has a fifth of the cost."""
    table = report.exploration_table(WORLDS)
    warm, bandit = cells(table)
    nothing = "+0.0 (+0.0 to +0.0)"
    assert warm == ["warm only", student([20, 30, 40], 1, False), nothing, nothing, "0%", "0%"]
    cost = student([-10, 5, -15], 1, True)
    assert bandit == ["lin ucb", student([10, 35, 25], 1, False), cost, cost, "20%", "75%"]
    assert table.caption.startswith("3 worlds of known truth, 10 requests each, means with 95 % intervals over worlds.")


def test_the_cost_of_the_first_fifth_is_what_was_lost_by_then():
    """One click at each of the first two of ten requests, then half a click back at each of the others."""
    cost = np.cumsum([1.0, 1.0, *[-0.5] * 8])
    world = {"greedy": Explored(policy="greedy", regret=np.arange(10.0), cost=cost, cold_share=0.0, cold_tried=0.0)}
    row = report.exploration_table([world, world]).frame.iloc[0]
    assert row["cost of the first fifth"] == "+100.0 (+100.0 to +100.0)"
    assert row["cost of all"] == "-20.0 (-20.0 to -20.0)"


def test_of_a_single_world_there_is_no_interval():
    found = over_worlds([0.25])
    assert (found.value, found.n, found.known) == (0.25, 1, False)
    row = report.exploration_table(WORLDS[:1]).frame.iloc[1]
    assert row["cost of all"].startswith("-10.0 (no interval")


def test_a_world_is_not_called_a_person():
    assert "person" not in report.exploration_table(WORLDS[:1])._repr_html_()


def test_over_worlds_is_students_interval():
    values = [0.1, 0.4, 0.35, 0.2]
    found = over_worlds(values)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (found.value, found.low, found.high, found.n) == (pytest.approx(np.mean(values)), pytest.approx(low), pytest.approx(high), 4)


def test_the_figure_of_exploration_tells_what_was_lost_in_the_end():
    """Regret of 2, 3 and 4 clicks without exploring; with it of 1, 3.5 and 2.5, at a cost of -1, 0.5 and -1.5."""
    figure = report.regret_figure(WORLDS)
    assert figure.alt.endswith(
        "After the last request: regret of warm only +3, regret of lin ucb +2, cost of warm only +0, cost of lin ucb -1."
    )
    assert "the mean of 3 worlds" in figure.caption


def test_the_figure_of_exploration_has_a_panel_for_regret_and_one_for_cost():
    """A line for each policy, request by request, the mean of the worlds."""
    regret, cost = report.regret_figure(WORLDS).figure.axes
    assert [axes.get_ylabel() for axes in (regret, cost)] == ["regret, clicks so far", "cost, clicks so far"]
    for axes, what in ((regret, "regret"), (cost, "cost")):
        for line, name in zip(axes.get_lines(), WORLDS[0], strict=False):
            assert line.get_ydata() == pytest.approx(np.mean([getattr(world[name], what) for world in WORLDS], axis=0))
            assert line.get_xdata().tolist() == list(range(1, 11))


# closed loops


def loop(*coverages, alike=0.5):
    """A world's rounds with these coverages; clicks fall from round to round."""
    return [
        Round(clicks=2 - 0.1 * place, coverage=coverage, gini=0.6, head=0.3, cold=0.05, alike=alike + 0.1 * place)
        for place, coverage in enumerate(coverages)
    ]


LOOPS = {
    "as learnt": [loop(0.5, 0.4, 0.3), loop(0.6, 0.5, 0.4), loop(0.4, 0.3, 0.3)],
    "a tenth at random": [loop(0.6, 0.7, 0.8), loop(0.7, 0.7, 0.7), loop(0.5, 0.6, 0.6)],
}


def test_the_loops_are_told_first_and_last_and_what_exploration_made_of_them():
    """The last rounds' coverage in each world: 0.8, 0.7 and 0.6 with it; 0.3, 0.4 and 0.3 without: 0.5, 0.3 and 0.3 more."""
    table = report.loop_table(LOOPS)
    frame = table.frame.set_index(["loop", "round"])
    assert list(frame.index) == [*((title, which) for title in LOOPS for which in ("first", "last")), ("difference", "last")]
    assert frame.loc[("as learnt", "first"), "coverage"] == student([0.5, 0.6, 0.4], 3, False)
    assert frame.loc[("a tenth at random", "last"), "coverage"] == student([0.8, 0.7, 0.6], 3, False)
    assert frame.loc[("difference", "last"), "coverage"] == student([0.5, 0.3, 0.3], 3, True)
    assert frame.loc[("difference", "last"), "clicks of a list"] == "+0.000 (+0.000 to +0.000)"
    assert frame.loc[("as learnt", "last"), "clicks of a list"] == "1.800 (1.800 to 1.800)"
    assert "3 rounds in 3 worlds of known truth" in table.caption


def test_the_figure_of_the_loops_tells_where_they_begin_and_end():
    figure = report.loop_figure(LOOPS)
    assert f"as learnt, coverage: from {0.5:.2f} to {1 / 3:.2f}" in figure.alt
    assert "as learnt, shared with another: from 0.50 to 0.70" in figure.alt
    assert f"a tenth at random, coverage: from {0.6:.2f} to {0.7:.2f}" in figure.alt
    (axes,) = figure.figure.axes
    assert axes.get_xticks().tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("with_it", "state", "told"),
    [
        (([0.8], [0.7], [0.6]), "pass", student([0.5, 0.3, 0.3], 2, True)),
        (([0.9], [0.3], [0.2]), "unknown", student([0.6, -0.1, -0.1], 2, True)),
        (([0.1], [0.19], [0.1]), "fail", student([-0.2, -0.21, -0.2], 2, True)),
    ],
)
def test_exploration_is_to_widen_what_a_closed_loop_shows(with_it, state, told):
    """Passes where the whole interval lies above nothing, fails where it lies below, else nobody can say."""
    loops = {"as learnt": [loop(0.3), loop(0.4), loop(0.3)], "explored": [loop(*each) for each in with_it]}
    rail = verdict(both(), switch(both(), both(), METRIC), loops=loops).guardrails[-1]
    assert rail.text == f"exploration widens what a closed loop shows: coverage {told} after the last round"
    assert rail.state == state


def test_of_a_single_world_nobody_can_say_whether_exploration_widens():
    rail = verdict(both(), switch(both(), both(), METRIC), loops={"a": [loop(0.3)], "b": [loop(0.9)]}).guardrails[-1]
    assert rail.state == "unknown"


# checked lines


def test_the_checked_lines_have_recall_of_what_is_exact_and_of_the_others_whether_it_is_above_popularity():
    """With five known; recall is twice NDCG here."""
    made = both() | curves(curve("two_tower", 0.0, 0.1, 0.3), curve("sasrec", 0.9, 0.9, 0.2))
    lines = report.checked_coldstart(made, ["popularity", "ease"], 10, people(), new_items())
    assert lines == [
        "popularity 0.40",
        "ease 1.20",
        "two_tower above popularity",
        "sasrec not above popularity",
        "60 new people, 60 who liked a new item",
    ]


def test_without_popularity_what_is_not_exact_is_not_compared():
    made = curves(curve("two_tower", *EASE))
    assert report.checked_coldstart(made, [], 10, people(), {}) == ["two_tower not compared", "60 new people, 0 who liked a new item"]


def test_names_that_are_markup_are_shown_as_text():
    made = curves(curve("popularity", *POPULAR, warm=0.3), curve("<b>x</b>", *EASE, warm=0.7))
    switching = switch(made, made, METRIC)
    assert switching.chosen[5] == "<b>x</b>"
    for each in (
        report.curves_table(made, switching, Methods(failed={"<i>": "<u>"})),
        report.regulars_table(made, list(made), METRIC, "popularity"),
        report.switching_table(switching, made, 0.01),
        report.by_time_table(made, METRIC),
        report.newcomers_table({"<i>": people()}, made_split()),
    ):
        shown = each._repr_html_()
        assert "&lt;" in shown
        assert not re.search(r"<(?:b|i|u)\b", shown.casefold())
