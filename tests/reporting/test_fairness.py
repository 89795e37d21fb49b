"""What the fairness page says follows from its numbers, and says nothing of groups that are hidden: on people with a planted gap."""

import html
import json
import re
from dataclasses import replace
from math import inf, isnan, nan
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.evaluation.made import tables, valued
from workbench import reporting as report
from workbench.data import Interactions, Side
from workbench.data.rules import make_rule
from workbench.data.splits import Split
from workbench.errors import RequestError
from workbench.evaluation import Gap, Interval, Slice, adjusted_gap, evaluate_lists, group_gaps, popularity_lift
from workbench.evaluation.metric_frame import metric_frame
from workbench.reporting.display import Note
from workbench.reporting.suppression import Shown

METRIC, METRICS, K = "ndcg@5", ["ndcg@5", "recall@5", "user_coverage@5"], 5
N, N_ITEMS = 160, 30
MARKUP = "<b>east</b>"
TOWNS = ["north"] * 50 + ["south"] * 55 + [MARKUP] * 55
DEALT = ["hidden-small"] * 4 + ["hidden-beside"] * 36 + ["chess"] * 60 + ["rowing"] * 60
CLUBS = [DEALT[place] for place in np.random.default_rng(5).permutation(N)]
"""Four people of one club; everybody less the members of the other three would be these four."""
CLASSES = ["alone"] + ["drama"] * 12 + ["", None, ""] + ["drama|war"] * 6 + ["<i>war</i>"] * 5 + [None, "", None]
PRIVACY = {
    **{"user_id": "identifier", "item_id": "public", "timestamp": "behavioural", "town": "public", "club": "sensitive"},
    **{"religion": "sensitive", "class": "public", "title": "public"},
}
SLICES = {
    "town": {"table": "users", "column": "town"},
    "member_of": {"table": "users", "column": "club"},
    "genre": {"table": "items", "column": "class", "separator": "|"},
}


def log(users, items, n_users=N, n_items=N_ITEMS):
    """Events in this order, all liked."""
    places = torch.arange(len(users))
    order = torch.tensor(users, dtype=torch.int64).argsort(stable=True)
    return Interactions(
        n_users=n_users,
        n_items=n_items,
        users=torch.tensor(users, dtype=torch.int64)[order],
        items=torch.tensor(items, dtype=torch.int64)[order],
        timestamps=places,
        values=torch.ones(len(users), dtype=torch.float64),
        grades=torch.ones(len(users), dtype=torch.int8),
        order=places,
    )


def split(train, test, **others):
    """What was known and what is to be found, each a list of (user, item)."""
    known, found = (log(*zip(*events, strict=True)) for events in (train, test))
    nothing = found.select(torch.arange(0))
    found = replace(found, order=found.order + len(known), timestamps=found.timestamps + len(known))
    told = {"name": "made", "rule": make_rule("user_time", {}), "seed": 0, "snapshot_id": "made@0", "repeats": False}
    return Split(**{**told, "ties": torch.arange(N_ITEMS), "train": known, "valid": nothing, "test": found, "known": nothing, **others})


def dataset(users=None, items=None, privacy=None, **slices):
    data = tables(users or {"town": TOWNS, "club": CLUBS}, items or {"class": CLASSES}, **(slices or SLICES))
    data.name, data.card.privacy = "made", privacy or PRIVACY
    return data


def by_column(dimension, labels):
    return [Slice(dimension, name, torch.tensor([each == name for each in labels])) for name in dict.fromkeys(labels)]


def all_shown(*groups, least=10):
    return Shown(groups=list(groups), small=[], beside=[], least=least)


@pytest.fixture(scope="module")
def page():
    """Three to twelve events known of each person, and one item to find, which is at the top of the list or not there. In the north it is
    there for one in five, elsewhere for four in five; the rest of a list is drawn.
    """
    rng = np.random.default_rng(0)
    train, test, lists = [], [], []
    for user in range(N):
        drawn = rng.choice(N_ITEMS, p=np.arange(N_ITEMS, 0, -1) / (N_ITEMS * (N_ITEMS + 1) / 2), size=N_ITEMS, replace=False).tolist()
        size = 3 + user % 10
        train += [(user, item) for item in drawn[:size]]
        test.append((user, drawn[size]))
        there = user % 5 == 0 if TOWNS[user] == "north" else user % 5 > 0
        lists.append([drawn[size], *drawn[size + 1 : size + 5]] if there else drawn[size + 1 : size + 6])
    parts = split(train, test)
    result = evaluate_lists(torch.tensor(lists), parts.holdout("test"), name="plain", title="Plain & simple", ks=(K,))
    data, groups = dataset(), [*by_column("town", TOWNS), *by_column("member_of", CLUBS)]
    shown = report.suppress(groups, N)
    gaps = report.all_gaps(result, shown, METRICS)
    found = report.exposures(result, report.item_memberships(data, result, "all"), K)
    return SimpleNamespace(parts=parts, data=data, result=result, shown=shown, gaps=gaps, found=found, lists=lists)


def verdict_of(page, gaps=None, effect=0.05, **others):
    told = {"result": page.result, "found": page.found, "parts": page.parts, "shown": page.shown, "failed": {}, **others}
    return report.fairness_verdict({METRIC: page.gaps[METRIC] if gaps is None else gaps}, METRIC, effect, **told)


def gap(group="a", value=0.5, difference=0.0, half=0.01, p=1.0, detectable=0.01, n=500, dimension="town", known=True):
    """A gap by hand."""
    low, high = (difference - half, difference + half) if known else (nan, nan)
    own = Interval(value, value - half if known else nan, value + half if known else nan, n)
    ratio = Interval(1.0, 0.9, 1.1, n)
    told = {"metric": METRIC, "dimension": dimension, "group": group, "value": own, "ratio": ratio, "n_others": n, "p_value": p}
    return Gap(**told, difference=Interval(difference, low, high, n), detectable=detectable)


def cells(table):
    """By row, its cells as text."""
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", table._repr_html_())[1:]]


# people


def test_the_planted_gap_is_the_headline(page):
    """Ten of fifty people of the north find their item at the first place, 88 of 110 others."""
    verdict = verdict_of(page)
    difference = 10 / 50 - 88 / 110
    assert page.result.values(METRIC).sum() == 10 + 88
    told = f"Plain & simple serves some people worse. town: north: NDCG@5 is lower by {-difference:.3f} than everybody else's ("
    assert verdict.headline.startswith(told)
    assert [(rail.state, rail.text) for rail in verdict.guardrails[:2]] == [
        ("pass", "the split keeps its promises"),
        ("fail", "town: served worse are north"),
    ]
    assert [each.label for each in verdict.numbers] == ["NDCG@5", "Lowest group", "The tail", "Gini of exposure"]
    assert verdict.numbers[0].value == f"{98 / 160:.3f}"
    assert verdict.numbers[1].value == f"{10 / 50:.3f}"
    assert verdict.numbers[1].note.startswith(f"town: north · n 50 · {difference:+.3f} (")


def test_each_dimension_has_a_guardrail_that_fails_is_unknown_or_passes(page):
    """Worse where it is shown; too few where a difference of the effect may have gone unseen; else it passes, better ones too."""
    gaps = [
        *(gap("a", difference=-0.2, p=0.01), gap("b", difference=-0.001, p=0.02), gap("c", detectable=0.2)),
        *(gap("d", dimension="club", detectable=0.2), gap("e", dimension="club"), gap("f", dimension="club", n=20)),
        *(gap("g", dimension="age", difference=0.2, p=0.01), gap("h", dimension="age")),
    ]
    rails = verdict_of(page, gaps).guardrails[1:]
    assert [(rail.state, rail.text) for rail in rails] == [
        ("fail", "town: served worse are a, b"),
        ("unknown", "club: 2 of 3 groups: too few people to say"),
        ("pass", "age: no group is served worse by 0.05 or more"),
    ]


def test_a_wide_interval_does_not_pass(page):
    (rail,) = verdict_of(page, [gap(half=0.06, detectable=0.04)]).guardrails[1:]
    assert rail.state == "unknown"
    (rail,) = verdict_of(page, [gap(half=0.04, detectable=0.04)]).guardrails[1:]
    assert rail.state == "pass"


def test_a_split_that_breaks_a_promise_fails(page):
    """Person 0 had their test item before."""
    user, item = (int(column[0]) for column in (page.parts.test.users, page.parts.test.items))
    train = list(zip(page.parts.train.users.tolist(), page.parts.train.items.tolist(), strict=True))
    broken = split([*train, (user, item)], list(zip(page.parts.test.users.tolist(), page.parts.test.items.tolist(), strict=True)))
    rail = verdict_of(page, parts=broken).guardrails[0]
    assert (rail.state, rail.text) == ("fail", "1 test events of a person and item that are in training or validation too")


def test_of_several_groups_that_are_served_worse_the_one_furthest_behind_comes_first(page):
    gaps = [gap("a", difference=-0.1, p=0.01), gap("b", difference=-0.3, p=0.01), gap("c", difference=0.4, p=0.01)]
    gaps += [gap("d", difference=-0.2, p=0.02), gap("e", difference=-0.9, p=0.2)]
    headline = verdict_of(page, gaps).headline
    assert headline == (
        "Plain & simple serves some people worse. town: b: NDCG@5 is lower by 0.300 than everybody else's (-0.300 (-0.310 to -0.290)). "
        "2 more of 5 groups are served worse."
    )
    assert verdict_of(page, gaps[:1]).headline.endswith("(-0.100 (-0.110 to -0.090)).")


def test_one_more_group_is_served_worse_in_the_singular(page):
    gaps = [gap("a", difference=-0.1, p=0.01), gap("b", difference=-0.3, p=0.01), gap("c")]
    assert verdict_of(page, gaps).headline.endswith("1 more of 3 groups is served worse.")


def test_where_no_gap_is_seen_the_headline_says_how_large_a_one_may_be(page):
    gaps = [gap("a"), gap("b", difference=-0.02, half=0.1), gap("c", known=False), gap("d", difference=0.3, half=0.05, p=0.01)]
    headline = verdict_of(page, gaps[:3]).headline
    assert headline == (
        "No group is seen to be served worse by Plain & simple than everybody else in NDCG@5, over 3 groups; for town: b a shortfall of "
        "up to 0.120 cannot be excluded."
    )
    assert "served worse by" in verdict_of(page, gaps).headline, "who is served better is not served worse"


def test_a_shortfall_is_how_far_behind_a_group_may_be_and_not_how_far_ahead(page):
    """Of b the interval reaches to 0.4 above and 0.05 below, of a to 0.08 below: it is a that may be furthest behind."""
    gaps = [gap("a", half=0.08), gap("b", difference=0.175, half=0.225), gap("c", known=False)]
    assert verdict_of(page, gaps).headline.endswith("over 3 groups; for town: a a shortfall of up to 0.080 cannot be excluded.")
    ahead = [gap("a", difference=0.3, half=0.1), gap("b", difference=0.2, half=0.1)]
    assert verdict_of(page, ahead).headline.endswith("for town: b a shortfall of up to 0.000 cannot be excluded.")


def test_where_no_group_has_an_interval_no_difference_can_be_excluded(page):
    verdict = verdict_of(page, [gap(known=False, detectable=inf)])
    assert verdict.headline == "Plain & simple: every group is too small for an interval, so no difference can be excluded."
    assert verdict.guardrails[-1].state == "unknown"
    assert "Lowest group" not in [each.label for each in verdict.numbers]


def test_gaps_are_one_family_for_each_metric_that_was_judged(page):
    gaps = report.all_gaps(page.result, page.shown, [METRIC, "diversity@5", "recall@5"])
    assert list(gaps) == [METRIC, "recall@5"]
    for metric, found in gaps.items():
        alone = group_gaps(page.result, page.shown.groups, metric)
        assert [(each.label, each.p_value, each.difference.low) for each in found] == [
            (a.label, a.p_value, a.difference.low) for a in alone
        ]


def test_the_table_of_gaps_has_what_the_figure_draws(page):
    gaps = page.gaps[METRIC]
    frame = report.gaps_table(gaps, 0.05, page.shown).frame
    assert list(zip(frame["by"], frame["group"], strict=True)) == [(each.dimension, each.group) for each in gaps]
    north = frame.iloc[0]
    assert (north["group"], north["n"], north[""]) == ("north", 50, "worse")
    assert north["NDCG@5"].startswith(f"{10 / 50:.3f} (")
    assert north["ratio"].startswith(f"{(10 / 50) / (88 / 110):.2f} (")
    figure = report.gaps_figure(gaps, 0.05)
    assert figure.name == "groups"
    for each in gaps:
        assert f"{each.label}: {each.difference.text(sign=True)}, {each.value.n} people" in figure.alt
    assert "one of 0.05 is not excluded" in figure.caption


def test_a_figure_is_drawn_of_a_group_without_an_interval():
    groups = [Slice("town", name, torch.arange(40) == 0 if name == "a" else torch.arange(40) > 0) for name in "ab"]
    gaps = group_gaps(valued(torch.linspace(0, 1, 40), metric=METRIC), groups, METRIC)
    figure = report.gaps_figure(gaps, 0.05)
    assert figure._repr_mimebundle_()[0]["image/png"]
    assert "town: a: -0.513 (no interval, 1 person)" in figure.alt
    assert str(report.said_of_gaps(gaps)).startswith("town: a: too few people for an interval; no difference can be excluded.")


def test_the_sentences_tell_what_is_seen_and_of_the_widest_what_is_not():
    """Two differences are seen and told; of three that are not, the two that leave most open; then the lowest mean."""
    seen = [gap("a", value=0.3, difference=-0.2, p=0.01), gap("b", value=0.9, difference=0.3, p=0.04)]
    unseen = [gap("c", half=0.05), gap("d", value=0.2, half=0.2), gap("e", value=0.1, known=False)]
    text = str(report.said_of_gaps([unseen[0], *seen, *unseen[1:]]))
    assert re.findall(r"town: (\w): ", text) == ["a", "b", "e", "d", "d"]
    assert "town: a: NDCG@5 is lower by 0.200 than everybody else's" in text
    assert "town: b: NDCG@5 is higher by 0.300 than everybody else's" in text
    assert "town: e: too few people for an interval; no difference can be excluded." in text
    assert "town: d: no difference in NDCG@5 is seen; one of up to 0.200 cannot be excluded." in text
    assert text.endswith("The lowest mean has town: d: 0.200 (0.000 to 0.400).")


def test_all_that_is_seen_is_told_however_much_it_is():
    seen = [gap(name, difference=-0.2, p=0.01) for name in "abcdef"]
    text = str(report.said_of_gaps([*seen, gap("g", half=0.5)], most=4))
    assert re.findall(r"town: (\w): NDCG", text) == list("abcdef")
    assert "town: g" not in text


def test_the_frames_have_the_means_of_the_gaps(page):
    rows = report.frames_table(page.result, page.shown, METRICS).frame
    assert [(row["by"], row["metric"]) for _, row in rows.iterrows()] == [
        (dimension, label) for dimension in ("town", "member_of") for label in ("NDCG@5", "Recall@5", "User coverage@5")
    ]
    for _, row in rows.iterrows():
        metric = {"NDCG@5": METRIC, "Recall@5": "recall@5", "User coverage@5": "user_coverage@5"}[row["metric"]]
        means = {each.group: each.value.value for each in page.gaps[metric] if each.dimension == row["by"]}
        low, high = min(means.values()), max(means.values())
        assert row["lowest"] in [f"{group} {mean:.3f}" for group, mean in means.items() if mean == pytest.approx(low)]
        assert row["highest"] in [f"{group} {mean:.3f}" for group, mean in means.items() if mean == pytest.approx(high)]
        assert row["difference"] == pytest.approx(high - low)
        assert row["ratio"] == pytest.approx(low / high)


def test_a_dimension_with_one_group_has_no_frame(page):
    one = all_shown(*by_column("town", TOWNS)[:1], *by_column("club", CLUBS))
    assert set(report.frames_table(page.result, one, METRICS).frame["by"]) == {"club"}
    assert isinstance(report.frames_table(page.result, all_shown(*one.groups[:1]), METRICS), Note)


def test_a_dimension_whose_groups_overlap_has_no_frame_and_the_others_have(page):
    """People may be in two clubs where a cell names several: a grouping with a separator."""
    both = [Slice("hobbies", "music", torch.arange(N) < 90), Slice("hobbies", "sport", torch.arange(N) > 70)]
    rows = report.frames_table(page.result, all_shown(*both, *by_column("town", TOWNS)), METRICS).frame
    assert set(rows["by"]) == {"town"}


def test_where_everybody_has_nothing_the_frames_ratio_is_left_blank():
    groups = by_column("town", ["a"] * 20 + ["b"] * 20)
    table = report.frames_table(valued(torch.zeros(40), metric=METRIC), all_shown(*groups), [METRIC])
    assert cells(table) == [["town", "NDCG@5", "a 0.000", "a 0.000", "0.000", ""]]


def test_a_metric_frame_is_of_people_in_groups_of_one_dimension_that_share_nobody(page):
    towns, clubs = by_column("town", TOWNS), by_column("club", CLUBS)
    for groups in ([], [*towns, *clubs]):
        with pytest.raises(ValueError, match="the groups of one dimension"):
            metric_frame(page.result, groups, METRICS)
    overlapping = [*towns, Slice("town", "more", torch.arange(N) == 0)]
    liked = [*towns, Slice("town", "liked", truth=torch.ones(N, dtype=torch.bool))]
    for groups in (overlapping, liked):
        with pytest.raises(ValueError, match="the groups of town are no groups of people, or share some"):
            metric_frame(page.result, groups, METRICS)


def test_a_metric_frame_leaves_out_who_is_in_no_group_and_who_has_no_value():
    """Of a: 0.2 and 0.4, and one person without a value; of b: 1.0; the last is in neither."""
    result = valued([0.2, 0.4, nan, 1.0, 0.0], metric=METRIC)
    groups = [Slice("town", "a", torch.arange(5) < 3), Slice("town", "b", torch.arange(5) == 3)]
    frame = metric_frame(result, groups, [METRIC])
    assert frame.by_group[METRIC].to_dict() == pytest.approx({"a": (0.2 + 0.4) / 2, "b": 1.0})
    assert frame.difference()[METRIC] == pytest.approx(1.0 - 0.3)
    assert frame.ratio()[METRIC] == pytest.approx(0.3 / 1.0)
    assert frame.overall[METRIC] == pytest.approx((0.2 + 0.4 + 1.0) / 3)


# other metrics


def test_other_metrics_have_their_differences_group_by_group(page):
    table = report.other_gaps_table(page.gaps, METRIC)
    frame = table.frame.set_index("group")
    assert list(frame.columns) == ["n", "Recall@5", "detectable Recall@5", "User coverage@5", "detectable User coverage@5"]
    assert list(frame.index) == [each.label for each in page.gaps[METRIC]]
    for metric, told in (("recall@5", "Recall@5"), ("user_coverage@5", "User coverage@5")):
        for each in page.gaps[metric]:
            row = frame.loc[each.label]
            assert row[told] == each.difference.text(sign=True) + (" *" if each.significant else "")
            assert row[f"detectable {told}"] == each.detectable
            assert row["n"] == each.value.n
    assert frame.loc["town: north", "Recall@5"].startswith(f"{10 / 50 - 88 / 110:+.3f} (")
    assert frame.loc["town: north", "Recall@5"].endswith(" *")
    assert table.caption.startswith("Each group minus everybody else in other metrics;")


def test_a_star_is_of_the_metric_whose_p_it_is():
    """By hand: with one metric a is told apart, with the other b; what is not known of a group is left blank."""
    gaps = {
        METRIC: [gap("a"), gap("b")],
        "recall@5": [gap("a", difference=-0.2, p=0.04), gap("b", p=0.05)],
        "user_coverage@5": [gap("b", difference=0.1, p=0.001, detectable=0.07)],
    }
    frame = report.other_gaps_table(gaps, METRIC).frame.set_index("group")
    assert frame["Recall@5"].to_dict() == {"town: a": "-0.200 (-0.210 to -0.190) *", "town: b": "+0.000 (-0.010 to +0.010)"}
    assert frame.loc["town: b", "User coverage@5"] == "+0.100 (+0.090 to +0.110) *"
    assert frame["detectable User coverage@5"].isna().to_list() == [True, False]
    (a, b) = cells(report.other_gaps_table(gaps, METRIC))
    assert a[-2:] == ["", ""]
    assert b[-1] == "0.070"


def test_without_another_metric_a_sentence_stands_for_the_table(page):
    assert isinstance(report.other_gaps_table({METRIC: page.gaps[METRIC]}, METRIC), Note)


# whether it is activity


def active(values, lengths):
    """People with so many events known of them, and this value of the metric."""
    train = [(user, item) for user, length in enumerate(lengths) for item in range(length)]
    parts = split(train, [(user, N_ITEMS - 1) for user in range(len(lengths))])
    return valued(values, judged=parts.holdout("test"), metric=METRIC)


def test_a_gap_that_is_activity_is_told_from_one_that_remains():
    """The metric is a tenth of the events known, of which the old have fewer. The left are behind by 0.2 whatever they did."""
    rng = np.random.default_rng(1)
    old, left = np.arange(N) % 2 == 0, np.arange(N) % 4 < 2
    few = np.arange(6, 0, -1) / 21
    lengths = np.where(old, rng.choice(6, N, p=few), rng.choice(6, N, p=few[::-1])) + 1
    result = active(lengths / 10 - 0.2 * left + rng.normal(0, 0.01, N), lengths)
    groups = [Slice("age", "old", torch.from_numpy(old)), Slice("side", "left", torch.from_numpy(left))]
    table = report.activity_explains(result, all_shown(*groups), METRIC)
    by_old, by_left = (row for _, row in table.frame.iterrows())
    values = result.values(METRIC).numpy()
    assert (by_left["group"], by_left["difference"]) == ("side: left", f"{values[left].mean() - values[~left].mean():+.3f}")
    assert (by_old[""], by_left[""]) == ("may be activity or chance", "remains")
    assert (by_old["covered"], by_left["covered"]) == ("100%", "100%")
    assert float(by_left["of like activity"].split()[0]) == pytest.approx(-0.2, abs=0.01)
    assert float(by_old["difference"]) < -0.15
    assert abs(float(by_old["of like activity"].split()[0])) < 0.05
    assert table.caption.startswith("NDCG@5 of a group minus everybody else's")


def test_the_difference_as_it_is_is_the_one_of_the_table_of_gaps_or_it_is_said_of_whom_it_is():
    """The old have 1 to 5 events, others 3 to 7, and the metric is a tenth of them: -0.2 in all, nothing among those with 3 to 5."""
    old = np.arange(N) < 80
    lengths = np.where(old, 1, 3) + np.arange(N) % 5
    result, group = active(lengths / 10, lengths), Slice("age", "old", torch.from_numpy(old))
    table = report.activity_explains(result, all_shown(group), METRIC)
    (row,) = (each for _, each in table.frame.iterrows())
    (plain,) = group_gaps(result, [group], METRIC)
    assert plain.difference.value == pytest.approx(-0.2)
    assert row["covered"] == "60%"
    assert row["difference"] == f"{plain.difference.value:+.3f}" or "of those who are covered" in table.caption


def test_intervals_of_groups_of_like_activity_hold_for_all_rows_together():
    """Bonferroni: of four rows each is at 1 - 0.05 / 4. Groups by activity are no rows and count for none."""
    rng = np.random.default_rng(2)
    result = active(rng.random(N), rng.integers(1, 4, N))
    groups = [Slice("side", name, torch.from_numpy(rng.random(N) < 0.5)) for name in "abcd"]
    loose = Slice("activity", "some", torch.arange(N) < 80)
    table = report.activity_explains(result, all_shown(loose, *groups), METRIC)
    expected = [adjusted_gap(result, each, METRIC, level=1 - 0.05 / 4).adjusted for each in groups]
    assert table.frame["of like activity"].to_list() == [each.text(sign=True) for each in expected]
    for each, wide in zip(groups, expected, strict=True):
        alone = report.activity_explains(result, all_shown(each), METRIC).frame["of like activity"].iloc[0]
        assert alone == adjusted_gap(result, each, METRIC).adjusted.text(sign=True)
        assert adjusted_gap(result, each, METRIC).adjusted.low > wide.low
    assert "hold for all rows together (Bonferroni)" in table.caption


def test_of_fewer_people_of_like_activity_than_may_be_shown_nothing_is_said():
    """Of 80 old people six have as many events as somebody else, and 74 are left out; of 80 others likewise."""
    lengths = np.where(np.arange(N) < 80, 1, 9)
    lengths[[*range(6), *range(80, 86)]] = 5
    result = active(np.linspace(0, 1, N), lengths)
    old = Slice("age", "old", torch.arange(N) < 80)
    assert isinstance(report.activity_explains(result, all_shown(old, least=10), METRIC), Note)
    (row,) = cells(report.activity_explains(result, all_shown(old, least=6), METRIC))
    assert (row[0], row[3]) == ("age: old", f"{6 / 80:.0%}")


def test_groups_by_activity_itself_are_not_asked_whether_they_are_activity():
    groups = [Slice(name, "some", torch.arange(N) < 80) for name in ("activity", "returning")]
    note = report.activity_explains(active(np.zeros(N), [3] * N), all_shown(*groups), METRIC)
    assert str(note) == "Not applicable, because people are grouped by nothing but their activity."


def test_where_nobody_outside_a_group_is_as_active_as_its_people_that_is_the_reason_given():
    """The old have one or two events, everybody else eight or nine: there is nobody to compare."""
    old = np.arange(N) < 80
    result = active(np.linspace(0, 1, N), np.where(old, 1, 8) + np.arange(N) % 2)
    note = report.activity_explains(result, all_shown(Slice("age", "old", torch.from_numpy(old))), METRIC)
    assert isinstance(note, Note)
    assert "grouped by nothing but their activity" not in str(note)


# what is hidden


def test_the_small_group_and_the_one_beside_it_are_hidden(page):
    assert [each.name for each in page.shown.small] == ["hidden-small"]
    assert [each.name for each in page.shown.beside] == ["hidden-beside"]
    assert [each.name for each in page.shown.groups if each.dimension == "member_of"] == ["chess", "rowing"]


def test_hidden_groups_are_nowhere_on_the_page(page):
    """Tables, notes, captions, alt texts, the verdict as the record has it, the record's own numbers, the checked lines."""
    gaps = page.gaps[METRIC]
    verdict = verdict_of(page)
    shown = [
        report.columns_table(page.data, page.shown.groups, "all", Side()),
        *(report.gaps_table(each, 0.05, page.shown) for each in page.gaps.values()),
        *(report.said_of_gaps(each, most=99) for each in page.gaps.values()),
        report.frames_table(page.result, page.shown, METRICS),
        *(report.activity_explains(page.result, page.shown, metric) for metric in METRICS),
        report.other_gaps_table(page.gaps, METRIC),
        report.exposure_table(page.found, K),
        report.tastes_table(page.data, {"plain": page.result}, K, "genre"),
    ]
    figures = [report.gaps_figure(gaps, 0.05), report.exposure_figure(page.found), report.lorenz_figure({"": page.result}, K)]
    drawn = [label.get_text() for each in figures for axes in each.figure.axes for label in axes.get_yticklabels()]
    texts = [
        *(each._repr_html_() for each in shown),
        *(text for each in figures for text in (each.alt, each.caption)),
        *drawn,
        json.dumps(verdict.as_json(), ensure_ascii=False),
        verdict._repr_markdown_(),
        json.dumps(report.metric_rows({"plain": page.result}, page.shown.groups, METRIC)),
        *report.checked_fairness({"plain": page.result}, METRIC, gaps, page.found),
    ]
    assert len(texts) > 20
    assert not [text for text in texts if "hidden-" in text]
    assert sum("rowing" in text for text in texts) > 8, "the groups that may be shown are there"


def test_that_groups_are_hidden_is_said_in_the_table_and_among_the_limits(page):
    assert page.shown.text.startswith("A group of fewer than 10 people is not shown, nor 1 more ")
    assert report.gaps_table(page.gaps[METRIC], 0.05, page.shown).caption.endswith(page.shown.text)
    assert page.shown.text in verdict_of(page).limits
    plain = all_shown(*page.shown.groups)
    assert not [limit for limit in verdict_of(page, shown=plain).limits if not limit or "not shown" in limit]
    assert report.gaps_table(page.gaps[METRIC], 0.05, plain).caption.endswith("the smallest difference that matters.")


def test_without_groups_that_may_be_shown_there_are_notes_and_a_verdict(page):
    nobody = all_shown()
    gaps = report.all_gaps(page.result, nobody, METRICS)
    assert gaps == {metric: [] for metric in METRICS}
    notes = [
        report.gaps_figure(gaps[METRIC], 0.05),
        report.gaps_table(gaps[METRIC], 0.05, nobody),
        report.said_of_gaps(gaps[METRIC]),
        report.frames_table(page.result, nobody, METRICS),
        report.activity_explains(page.result, nobody, METRIC),
        report.other_gaps_table(gaps, METRIC),
    ]
    assert all(isinstance(note, Note) and str(note).startswith("Not applicable, because") for note in notes)
    verdict = verdict_of(page, [], shown=nobody)
    assert verdict.headline == "Plain & simple cannot be held against groups of people: the data has no two that may be shown."
    assert (verdict.guardrails[-1].state, verdict.guardrails[-1].text) == ("unknown", "no groups of people to compare")
    assert [each.label for each in verdict.numbers] == ["NDCG@5", "The tail", "Gini of exposure"]
    assert verdict_of(page, None, shown=nobody, found={}).headline.startswith("Plain")


def test_names_that_are_markup_are_shown_as_text(page):
    """A town called "<b>east</b>", a genre called "<i>war</i>", and a column that is a script."""
    script = "<script>alert(1)</script>"
    data = dataset(users={"town": TOWNS}, privacy={**PRIVACY, script: "sensitive"})
    for each in (
        report.columns_table(data, page.shown.groups, "popularity", Side()),
        report.gaps_table(page.gaps[METRIC], 0.05, page.shown),
        report.said_of_gaps(page.gaps[METRIC], most=99),
        report.frames_table(page.result, page.shown, METRICS),
        report.activity_explains(page.result, page.shown, METRIC),
        report.other_gaps_table(page.gaps, METRIC),
        report.exposure_table(page.found, K),
        report.said_of_gaps([gap(script, difference=-0.5, p=0.01)]),
    ):
        shown = each._repr_html_()
        assert not re.search(r"<(?!/?(?:table|caption|thead|tbody|tr|th|td|p)\b)", shown)
        assert any(html.escape(name) in shown for name in (MARKUP, "<i>war</i>", script))


# columns


def learnt(table):
    return dict(zip(table.frame["column"], table.frame["learnt from"], strict=True))


def test_the_columns_say_what_told_people_and_items_apart(page):
    table = report.columns_table(page.data, page.shown.groups, "all", Side())
    frame = table.frame.set_index("column")
    assert list(frame.index) == list(PRIVACY)
    assert frame["the card calls it"].to_dict() == PRIVACY
    assert [name for name in frame.index if frame.loc[name, "groups people"]] == ["town", "club"]
    assert [name for name in frame.index if frame.loc[name, "groups items"]] == ["class"]
    by_title = report.columns_table(page.data, page.shown.groups[:1], "popularity, title", Side()).frame.set_index("column")
    assert [name for name in by_title.index if by_title.loc[name, "groups items"]] == ["title"]
    assert [name for name in by_title.index if by_title.loc[name, "groups people"]] == ["town"]


def test_a_column_that_only_crosses_another_groups_people_too(page):
    crossed = [a & b for a in by_column("member_of", CLUBS) for b in by_column("town", TOWNS)]
    frame = report.columns_table(page.data, crossed, "popularity", Side()).frame
    assert set(frame["column"][frame["groups people"] == "yes"]) == {"town", "club"}


def test_no_sensitive_column_is_learnt_from_unless_a_model_was_given_it(page):
    table = report.columns_table(page.data, page.shown.groups, "all", Side())
    assert [name for name, told in learnt(table).items() if told] == ["timestamp"], "the behavioural ones are what all learn from"
    assert table.caption.startswith("Of 2 sensitive columns none entered a model.")
    public = Side(users=torch.ones(N, 3), user_fields=(("town", 3),), items=torch.ones(N_ITEMS, 4), item_fields=(("genre", 4),))
    table = report.columns_table(page.data, page.shown.groups, "all", public)
    assert [name for name, told in learnt(table).items() if told] == ["timestamp", "town", "class"]
    assert table.caption.startswith("Of 2 sensitive columns none entered a model.")


def test_a_sensitive_column_that_a_model_was_given_is_named(page):
    """By the name of the grouping, "member_of", whose column is "club"; and by the column's own."""
    for named, column in (("member_of", "club"), ("religion", "religion")):
        side = Side(users=torch.ones(N, 5), user_fields=((named, 3), ("town", 2)))
        table = report.columns_table(page.data, page.shown.groups, "all", side)
        assert learnt(table)[column] == "yes"
        assert table.caption.startswith(f"Of 2 sensitive columns {column} entered a model.")


# items


def test_items_are_grouped_by_popularity_and_the_cards_groupings_or_what_was_asked(page):
    assert list(report.item_memberships(page.data, page.result, "all")) == ["popularity", "genre"]
    assert list(report.item_memberships(page.data, page.result, " class , popularity")) == ["class", "popularity"]
    with pytest.raises(RequestError, match=r'items = " , " should be "all", or groupings of items separated by commas'):
        report.item_memberships(page.data, page.result, " , ")
    with pytest.raises(RequestError, match='"town" groups people'):
        report.item_memberships(page.data, page.result, "town")


def test_exposure_is_told_beside_the_catalogue_and_what_was_liked(page):
    """By hand for the genre of one item, and for the six items without one: a place at rank r weighs 1 / log2(r + 1)."""
    frame = report.exposure_table(page.found, K).frame.set_index(["by", "group"])
    assert set(frame.loc["genre"].index) == {"drama", "war", "<i>war</i>", "alone", "unknown"}
    weight = 1 / np.log2(np.arange(2, K + 2))
    for name, items in (("alone", {0}), ("unknown", {13, 14, 15, 27, 28, 29})):
        row = frame.loc[("genre", name)]
        exposure = sum(weight[rank] for own in page.lists for rank, item in enumerate(own) if item in items) / (N * weight.sum())
        merit = sum(item in items for item in page.parts.test.items.tolist()) / N
        covered = len({item for own in page.lists for item in own} & items) / len(items)
        assert row["items"] == len(items)
        assert row["of the catalogue"] == f"{len(items) / N_ITEMS:.1%}"
        assert row["of the attention"].startswith(f"{exposure:.1%} (")
        assert row["of what was liked"].startswith(f"{merit:.1%} (")
        assert row["attention over liked"] == pytest.approx(exposure / merit)
        assert row["in somebody's list"] == f"{covered:.0%}"
    assert frame.loc[("genre", "war")]["of the catalogue"] == f"{6 * 0.5 / N_ITEMS:.1%}", "an item of two groups is half of each"


def test_a_single_group_of_all_items_has_all_of_everything(page):
    data = dataset(items={"class": ["x"] * N_ITEMS})
    found = report.exposures(page.result, report.item_memberships(data, page.result, "class"), K)
    (row,) = cells(report.exposure_table(found, K))
    assert row == ["class", "x", "30", "100.0%", "100.0% (100.0% to 100.0%)", "100.0% (100.0% to 100.0%)", "1.00", "100%"]
    assert "class: x: 100.0% of the attention, 100.0% of what was liked" in report.exposure_figure(found).alt


def test_where_no_item_has_a_group_all_are_unknown(page):
    data = dataset(items={"class": [None] * N_ITEMS})
    found = report.exposures(page.result, report.item_memberships(data, page.result, "genre"), K)
    assert [(each.group, each.n_items) for each in found["genre"]] == [("unknown", N_ITEMS)]
    assert report.exposure_figure(found)._repr_mimebundle_()[0]["image/png"]


def test_a_group_of_one_item_that_nobody_liked_and_nobody_was_shown_has_no_ratio():
    """Twenty people had item 0 and like item 1; everybody is shown item 1, and item 29 is a group of its own."""
    parts = split([(user, 0) for user in range(20)], [(user, 1) for user in range(20)])
    result = evaluate_lists(torch.tensor([[1, 2]] * 20), parts.holdout("test"), name="m", ks=(2,))
    data = dataset(items={"class": ["many"] * 29 + ["one"]})
    found = report.exposures(result, report.item_memberships(data, result, "class"), 2)
    many, one = cells(report.exposure_table(found, 2))
    assert one[:4] + one[5:] == ["class", "one", "1", f"{1 / 30:.1%}", "0.0% (0.0% to 0.0%)", "", "0%"]
    assert many[6] == "1.00"
    assert isnan(found["class"][1].ratio)


def test_the_figures_tell_their_numbers_to_who_cannot_see_them(page):
    alt = report.exposure_figure(page.found).alt
    for name, groups in page.found.items():
        for each in groups:
            told = f"{each.exposure.value:.1%} of the attention, {each.merit.value:.1%} of what was liked"
            assert f"{name}: {each.group}: {told}" in alt
    narrow = replace(page.result, title="Narrow", lists=replace(page.result.lists, items=torch.tensor([[0, 1, 2, 3, 4]] * N)))
    alt = report.lorenz_figure({"plain": page.result, "narrow": narrow}, K).alt
    counts = np.sort(np.bincount(np.ravel(page.lists), minlength=N_ITEMS))
    assert f"Plain & simple: the most shown tenth of the catalogue holds {counts[-3:].sum() / counts.sum():.0%} of the places" in alt
    assert "Narrow: the most shown tenth of the catalogue holds 60% of the places" in alt, "three of five items that share them all"


def test_lists_are_told_beside_tastes(page):
    table = report.tastes_table(page.data, {"plain": page.result}, K, "genre")
    (row,) = (each for _, each in table.frame.iterrows())
    assert row["model"] == "Plain & simple"
    assert row["popularity lift"].startswith(f"{popularity_lift(page.result, K).nanmean():+.2f} (")
    assert row["Gini"] == page.result.of_the_set("gini", K).text(2)
    assert float(row["miscalibration by genre"].split()[0]) > 0


def test_where_nobody_has_a_history_there_are_no_tastes():
    parts = split([(N - 1, 0)], [(user, 1) for user in range(20)])
    result = evaluate_lists(torch.tensor([[1, 2]] * 20), parts.holdout("test"), name="m", ks=(2,))
    (row,) = cells(report.tastes_table(dataset(), {"m": result}, 2, "popularity"))
    assert row[1:3] == ["+nan (no interval, 0 people)", "nan (no interval, 0 people)"]


# the verdict's other lines


def test_the_verdict_says_what_it_cannot_say(page):
    limits = verdict_of(page, failed={"deepfm": "it <broke>."}).limits
    assert limits[0] == "deepfm was asked for and could not be judged: it <broke>."
    assert any("other people, with other tastes" in limit for limit in limits)
    assert any("merit measured on a log has the log's own bias" in limit for limit in limits)
    assert any("0.05 is taken as the smallest difference in NDCG@5 that matters" in limit for limit in limits)


def test_the_tail_is_told_where_items_are_grouped_by_popularity(page):
    (tail,) = (each for each in page.found["popularity"] if each.group == "tail")
    number = next(each for each in verdict_of(page).numbers if each.label == "The tail")
    assert number.value == f"{tail.exposure.value:.1%}"
    assert number.note.startswith(f"of the attention, and {tail.merit.value:.0%} of what was liked; {tail.covered.value:.0%} of its items")
    without = verdict_of(page, found={"genre": page.found["genre"]})
    assert "The tail" not in [each.label for each in without.numbers]


def test_checked_lines_have_the_metric_how_many_groups_and_the_shares_of_what_was_liked(page):
    lines = report.checked_fairness({"plain": page.result, "other": page.result}, "recall@5", page.gaps[METRIC], page.found)
    merits = {each.group: each.merit.value for each in page.found["popularity"]}
    assert lines[:2] == [f"plain {98 / 160:.2f}", f"other {98 / 160:.2f}"]
    assert lines[2] == f"5 groups compared, {sum(each.significant for each in page.gaps[METRIC])} differ"
    assert lines[3:] == [f"{band} {merits[band]:.0%} of what was liked" for band in ("head", "mid", "tail")]
    assert report.checked_fairness({}, METRIC, [], {}) == ["0 groups compared, 0 differ"]
