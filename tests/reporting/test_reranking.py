"""What the re-ranking page says follows from its numbers: on forty people with a small catalogue, and on evaluations made by hand."""

import html
import json
import re
from dataclasses import replace
from hashlib import sha256
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import tensor

from tests.evaluation.made import tables, valued
from workbench import reporting as report
from workbench.data import Interactions
from workbench.data.rules import make_rule
from workbench.data.splits import Split
from workbench.evaluation import Slice, by_activity, compare_models, group_gaps, liked_shares, miscalibration, worst_group
from workbench.policy import BASE, Facts, Judged, Pick, Policy, Pool, choose, frontier, judge_policy, keep, make_policy
from workbench.policy.limits import Limit
from workbench.reporting.suppression import Shown

K, N, N_ITEMS, M = 5, 40, 24, 12
METRIC, AIM, KS = f"ndcg@{K}", f"diversity@{K}", (K,)
GENRES = ["drama", "war", "comedy"]
CLASSES = [GENRES[0]] * 8 + [GENRES[1]] * 8 + [GENRES[2]] * 8
TITLES = [f"<b>film {item}</b>" for item in range(N_ITEMS)]
SLICES = {"genre": {"table": "items", "column": "class"}, "town": {"table": "users", "column": "town"}}
TOWNS = ["north", "south"] * (N // 2)
FIELD = {
    BASE: Policy(()),
    "at most 2": make_policy([{"kind": "cap", "by": "genre", "most": 2}]),
    "mmr": make_policy([{"kind": "mmr", "weight": 0.5}]),
    "drama only": make_policy([{"kind": "require", "column": "class", "among": ["drama"]}, {"kind": "cap", "by": "genre", "most": 3}]),
    "<i>broken</i>": make_policy([{"kind": "cap", "by": "shelf", "most": 2}]),
}


def log(users, items, first=0):
    """Events in this order, all liked; `first` is the place of the first one in the whole log."""
    order, places = torch.tensor(users).argsort(stable=True), torch.arange(first, first + len(users))
    ones = torch.ones(len(users), dtype=torch.int8)
    return Interactions(N, N_ITEMS, torch.tensor(users)[order], torch.tensor(items)[order], places, ones.double(), ones, places)


@pytest.fixture(scope="module")
def page():
    """Everybody had three to seven items, likes one more in validation and one in test, and has twelve candidates; a score is the higher
    the more drama an item is, so that lists are drama unless a policy says otherwise.
    """
    rng = np.random.default_rng(3)
    drawn = [rng.permutation(N_ITEMS).tolist() for _ in range(N)]
    train = [(user, item) for user in range(N) for item in drawn[user][: 3 + user % 5]]
    valid, test = ([(user, drawn[user][place]) for user in range(N)] for place in (8, 9))
    parts = Split(
        name="made",
        rule=make_rule("user_time", {}),
        seed=0,
        snapshot_id="made@0",
        repeats=False,
        ties=torch.arange(N_ITEMS),
        train=log(*zip(*train, strict=True)),
        valid=log(*zip(*valid, strict=True), first=len(train)),
        test=log(*zip(*test, strict=True), first=len(train) + N),
        known=log(*zip(*test, strict=True)).select(torch.arange(0)),
    )
    data = tables({"town": TOWNS}, {"class": CLASSES, "title": TITLES}, **SLICES)
    data.name, data.item_ids, data.user_ids = "made", [f"i{n}" for n in range(N_ITEMS)], [f"person-{n:03}" for n in range(N)]
    data.card.privacy = {"class": "public", "title": "public", "town": "public"}
    data.snapshot.id, data.snapshot.pseudonym_key = "made@0", lambda: sha256(b"a key").digest()
    pools = {part: pool(drawn, first, rng) for part, first in (("valid", 8), ("test", 9))}
    facts = {part: Facts.of(data, parts.holdout(part)) for part in pools}
    early, failed = frontier(FIELD, pools["valid"], facts["valid"], parts.holdout("valid"), KS)
    late, _ = frontier(FIELD, pools["test"], facts["test"], parts.holdout("test"), KS)
    return SimpleNamespace(parts=parts, data=data, facts=facts, pools=pools, early=early, failed=failed, late=late)


def pool(drawn, first, rng):
    """The next twelve items of each person from place `first` on: what they like is the first of these."""
    items = torch.tensor([row[first : first + M] for row in drawn])
    scores = torch.tensor([[2.0 * (CLASSES[item] == "drama") + rng.random() for item in row[first : first + M]] for row in drawn])
    return Pool.of(torch.arange(N), items, scores, K)


def pick_of(name, most_lost=0.9, allowed=(), aim=AIM):
    return Pick(name=name, metric=METRIC, aim=aim, most_lost=most_lost, allowed=(BASE, *allowed))


def cells(table):
    """By row, its cells as text."""
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", table._repr_html_())[1:]]


def shown_to_all(*groups):
    return Shown(groups=list(groups), small=[], beside=[], least=10)


# policies on validation


def test_the_table_of_policies_has_what_each_costs_and_buys_beside_the_lists_as_ranked(page):
    results = report.evaluations(page.early)
    pick = choose(results, BASE, METRIC, AIM, 0.9)
    table = report.policies_table(page.early, pick, page.failed)
    frame = table.frame.set_index("policy")
    assert pick.name in ("at most 2", "mmr")
    assert list(frame.index) == [f"{name} ← taken" if name == pick.name else name for name in FIELD]
    assert list(frame.columns) == ["NDCG@5", "Diversity@5", "NDCG@5 minus as ranked", "Diversity@5 minus as ranked", "within the limit"]
    assert frame["NDCG@5"].tolist()[:4] == [each.mean(METRIC) for each in results.values()]
    for metric, column in ((METRIC, "NDCG@5 minus as ranked"), (AIM, "Diversity@5 minus as ranked")):
        others = {name: each for name, each in results.items() if name != BASE}
        told = [each.difference.text(sign=True) for each in compare_models(others, results[BASE], metric)]
        assert frame[column].tolist() == ["", *told, ""]
    assert frame["within the limit"].tolist()[1:4] == ["yes" if name in pick.allowed else "" for name in list(FIELD)[1:4]]
    assert f"Validation part, {N} people" in table.caption
    assert "no more than 90.0% of NDCG@5 lost" in table.caption


def test_a_policy_that_the_data_cannot_feed_is_a_row_with_its_reason(page):
    table = report.policies_table(page.early, pick_of("mmr"), page.failed)
    row = cells(table)[-1]
    assert html.unescape(row[0]) == "<i>broken</i>"
    assert row[1:5] == ["", "", "", ""]
    assert row[5].startswith("not applicable: there is no grouping or column &quot;shelf&quot;.")
    assert "<i>" not in table._repr_html_()
    assert "nan" not in table._repr_html_().lower()


def test_the_lists_as_ranked_alone_are_a_table_and_a_figure(page):
    alone = {BASE: page.early[BASE]}
    assert cells(report.policies_table(alone, pick_of(BASE), {})) == [
        [f"{BASE} ← taken", f"{alone[BASE].evaluation.mean(METRIC):.3f}", f"{alone[BASE].evaluation.mean(AIM):.3f}"]
    ]
    assert report.policies_figure(alone, pick_of(BASE)).alt.endswith("Nobody is ahead in both of as ranked. as ranked: 0.000, 0.000.")


def test_the_figure_of_policies_tells_its_numbers(page):
    results = report.evaluations(page.early)
    figure = report.policies_figure(page.early, pick_of("mmr"))
    others = {name: each for name, each in results.items() if name != BASE}
    for across, up in zip(*(compare_models(others, results[BASE], metric) for metric in (AIM, METRIC)), strict=True):
        assert f"{across.a}: {across.difference.value:.3f}, {up.difference.value:.3f}" in figure.alt
    assert "as ranked: 0.000, 0.000" in figure.alt
    assert figure.caption.startswith("NDCG@5 minus as ranked against diversity@5 minus as ranked, with 95 % intervals.")


def test_what_else_the_lists_are_like_is_told_for_every_policy(page):
    groups = [Slice("town", name, torch.tensor([each == name for each in TOWNS])) for name in ("north", "south")]
    table = report.beside_policies_table(page.early, pick_of("mmr"), page.facts["valid"], "genre", shown_to_all(*groups))
    frame = table.frame.set_index("policy")
    assert list(frame.index) == [BASE, "at most 2", "mmr ← taken", "drama only"]
    facts = page.facts["valid"]
    groups_of_items = facts.membership("genre")
    for row, each in zip(frame.index, report.evaluations(page.early).values(), strict=True):
        target = liked_shares(facts.history, each.users, groups_of_items)
        told = frame.loc[row]
        assert told["miscalibration by genre"] == pytest.approx(miscalibration(each.top[:, :K], groups_of_items, target).nanmean().item())
        assert told["coverage"] == f"{each.covered(K) / N_ITEMS:.0%}"
        assert told["Gini"] == each.of_the_set("gini", K).value
        for metric, column in (("diversity@5", "Diversity@5"), ("novelty@5", "Novelty@5"), ("long_tail_share@5", "Long-tail share@5")):
            assert told[column] == each.mean(metric)
        worst = worst_group(group_gaps(each, groups, METRIC))
        assert told["lowest group"] == f"{worst.group} {worst.difference.text(sign=True)}"
    assert frame.loc["drama only", "miscalibration by genre"] > frame.loc["at most 2", "miscalibration by genre"]


def test_the_lowest_group_is_one_that_may_be_shown_or_none(page):
    towns = ["tiny"] * 3 + ["big"] * 20 + ["large"] * 17
    groups = [Slice("town", name, torch.tensor([each == name for each in towns])) for name in ("tiny", "big", "large")]
    shown = report.suppress(groups, N)
    table = report.beside_policies_table(page.early, pick_of(BASE), page.facts["valid"], "genre", shown)
    assert not any("tiny" in cell or "large" in cell for cell in table.frame["lowest group"])
    assert table.frame["lowest group"].str.startswith("big ").all()
    assert table.caption.endswith(shown.text)
    assert shown.text.startswith("A group of fewer than 10 people is not shown")
    nobody = report.beside_policies_table(page.early, pick_of(BASE), page.facts["valid"], "genre", shown_to_all())
    assert set(nobody.frame["lowest group"]) == {""}


def test_without_vectors_of_items_there_is_no_column_of_diversity(page):
    bare = {name: replace(each, evaluation=without(each.evaluation, AIM)) for name, each in page.early.items()}
    columns = report.beside_policies_table(bare, pick_of(BASE), page.facts["valid"], "genre", shown_to_all()).frame.columns
    assert "Diversity@5" not in columns
    assert "Novelty@5" in columns


def without(evaluation, metric):
    return replace(evaluation, per_user={name: each for name, each in evaluation.per_user.items() if name != metric})


# the promise, on evaluations made by hand


def by_hand(name, ndcg, aim):
    """Forty people with these values, or the same value each; whatever the policy, nothing was taken from their candidates."""
    ndcg, aim = (tensor([each] * N if isinstance(each, float) else each, dtype=torch.float64) for each in (ndcg, aim))
    evaluation = replace(valued(ndcg, name), per_user={METRIC: ndcg, AIM: aim, f"recall@{K}": ndcg}, ks=KS, title=name)
    start = Pool.of(torch.arange(N), torch.arange(M).expand(N, M), torch.arange(M, 0, -1).double().expand(N, M), K)
    return Judged(policy=Policy(()), applied=Policy(()).apply(start, None), evaluation=evaluation)


def promise(ndcg, aim=0.75, most_lost=0.25):
    """The policy "varied" on test: the lists as ranked have 0.5 of the metric and 0.25 of the aim."""
    judged = {BASE: by_hand(BASE, 0.5, 0.25), "varied": by_hand("varied", ndcg, aim)}
    pick = pick_of("varied", most_lost)
    return judged, pick, keep(pick, report.evaluations(judged), BASE)


def verdict_of(page, judged, pick, kept, failed=None, groups=()):
    decision = report.policy_decision(pick, judged, groups, 0.01)
    return report.reranking_verdict(decision, page.parts, judged, KS, failed or {}, pick, kept, M)


BRANCHES = {
    "kept": (0.4375, "keeps within the limit", "pass"),
    "broken": (0.25, "breaks the limit on test", "fail"),
    "cannot tell": ([0.5, 0.25] * (N // 2), "may or may not keep within the limit", "unknown"),
}


@pytest.mark.parametrize("call", BRANCHES)
def test_the_headline_says_whether_the_promise_was_kept(page, call):
    """A quarter of 0.5 may be lost, 0.125. What is lost: 0.0625; 0.25; nothing by one half of people and 0.25 by the other."""
    ndcg, said, state = BRANCHES[call]
    judged, pick, kept = promise(ndcg)
    assert kept.call == call
    verdict = verdict_of(page, judged, pick, kept)
    lost = kept.lost.difference.text(4, sign=True)
    gained = "Diversity@5 +0.500 (+0.500 to +0.500)"
    assert verdict.headline == f"“varied” buys {gained} and {said}: NDCG@5 {lost}, where -0.1250 is allowed."
    rail = verdict.guardrails[-3]
    assert (rail.state, rail.text) == (state, f"NDCG@5 of “varied” minus as ranked {lost}; -0.1250 is allowed")


@pytest.mark.parametrize("call", BRANCHES)
def test_the_table_of_the_promise_has_both_sides_and_the_call(call):
    judged, pick, kept = promise(BRANCHES[call][0])
    table = report.kept_table(judged, pick)
    assert list(table.frame.columns) == ["policy", "metric", "as ranked", "with it", "difference", "allowed", "p", ""]
    lost, gained = cells(table)
    mean = judged["varied"].evaluation.mean(METRIC)
    assert lost[:4] == ["varied ← taken", "NDCG@5", "0.500", f"{mean:.3f}"]
    assert lost[4] == kept.lost.difference.text(4, sign=True)
    assert lost[5:] == ["-0.1250", f"{kept.lost.p_value:.4f}", call]
    assert gained[:4] == ["varied ← taken", "Diversity@5", "0.250", "0.750"]
    assert gained[4:] == ["+0.5000 (+0.5000 to +0.5000)", "", f"{kept.gained.p_value:.4f}", ""]
    assert table.caption.startswith(f"Test part, {N} people; ")


@pytest.mark.parametrize("taken", ["varied", BASE])
def test_the_table_of_the_promise_has_ones_own_policy_too_with_a_call_of_its_own(taken):
    """The policy taken keeps what it promised, and one's own loses everything; where the lists as ranked are taken, one's own alone is held
    against them.
    """
    judged = {BASE: by_hand(BASE, 0.5, 0.25), "varied": by_hand("varied", 0.4375, 0.75), "own policy": by_hand("own policy", 0.0, 0.5)}
    if taken == BASE:
        del judged["varied"]
    pick = pick_of(taken, 0.25)
    frame = report.kept_table(judged, pick).frame
    others = [name for name in judged if name != BASE]
    assert frame["policy"].tolist() == [f"{name} ← taken" if name == taken else name for name in others for _ in range(2)]
    assert frame["metric"].tolist() == ["NDCG@5", "Diversity@5"] * len(others)
    assert frame["with it"].tolist() == [judged[name].evaluation.mean(metric) for name in others for metric in (METRIC, AIM)]
    assert frame["allowed"].tolist() == ["-0.1250", ""] * len(others)
    assert frame[""].tolist() == [cell for name in others for cell in ({"varied": "kept", "own policy": "broken"}[name], "")]


def test_what_test_takes_away_of_the_aim_is_not_said_to_be_bought(page):
    """The aim falls from 0.25 to 0.125 or 0.1875: nothing was bought."""
    judged, pick, kept = promise(0.5, [0.125, 0.1875] * (N // 2))
    assert kept.gained.difference.high < 0
    assert " buys " not in verdict_of(page, judged, pick, kept).headline


def test_where_the_lists_as_ranked_are_taken_there_is_nothing_to_keep(page):
    judged = {BASE: by_hand(BASE, 0.5, 0.25)}
    pick = pick_of(BASE, 0.01)
    kept = keep(pick, report.evaluations(judged), BASE)
    assert str(report.kept_table(judged, pick)) == "The lists as ranked were taken: there is nothing to hold against them."
    assert str(report.records_table(judged[BASE])).startswith("Not applicable, because the lists as ranked were chosen")
    assert str(report.trace_of_changed(page.data, judged[BASE], judged[BASE])) == "Nobody's list changed."
    verdict = verdict_of(page, judged, pick, kept, groups=by_activity(judged[BASE].evaluation.holdout))
    assert verdict.headline == (
        "No policy has more Diversity@5 than the lists as ranked without losing more than 1.0% of NDCG@5 on validation: leave them as they "
        "are."
    )
    assert [rail.state for rail in verdict.guardrails] == ["pass"] * 3
    assert report.policy_decision(pick, judged, [], 0.01).rival is None


def test_the_decision_holds_the_taken_policy_against_the_lists_as_ranked(page):
    judged, pick, _ = promise(0.4375)
    halves = [Slice("half", name, (torch.arange(N) < 20) == first) for name, first in (("first", True), ("second", False))]
    decision = report.policy_decision(pick, judged, halves, 0.01)
    assert (decision.chosen.model, decision.rival.model, decision.metric) == ("varied", BASE, METRIC)
    assert decision.overall.difference.value == 0.4375 - 0.5
    assert [(c.dimension, c.group, c.difference.value) for c in decision.slices] == [
        ("half", "first", -0.0625),
        ("half", "second", -0.0625),
    ]


def test_the_verdict_leads_with_the_metric_and_the_aim(page):
    judged, pick, kept = promise(0.4375)
    verdict = verdict_of(page, judged, pick, kept, {"dpp": "it <broke>."})
    first, second = verdict.numbers[:2]
    assert (first.label, first.value) == ("NDCG@5", "0.438")
    assert (second.label, second.value) == ("Diversity@5", "0.750")
    assert second.note == "0.750 to 0.750 · +0.500 (+0.500 to +0.500) on as ranked"
    assert verdict.limits[:2] == [
        "Policies were chosen on validation, by Diversity@5 among those that lose no more than 25.0% there.",
        f"A policy sees {M} candidates of one model; what is not among them it cannot show.",
    ]
    assert "dpp was asked for and could not be judged: it <broke>." in verdict.limits
    assert json.loads(json.dumps(verdict.as_json()))["headline"] == verdict.headline


def test_a_verdict_on_real_lists_has_the_numbers_of_the_taken_policy(page):
    pick = pick_of("at most 2")
    judged = {name: page.late[name] for name in (BASE, "at most 2")}
    kept = keep(pick, report.evaluations(judged), BASE)
    verdict = verdict_of(page, judged, pick, kept, groups=by_activity(page.parts.holdout("test")))
    taken = page.late["at most 2"].evaluation
    assert [each.value for each in verdict.numbers[:2]] == [f"{taken.mean(metric):.3f}" for metric in (METRIC, AIM)]
    assert "Catalogue coverage@5" in [each.label for each in verdict.numbers]
    assert kept.gained.difference.value == pytest.approx(taken.mean(AIM) - page.late[BASE].evaluation.mean(AIM))
    assert kept.gained.difference.low > 0


# what each step did


def test_a_policy_that_leaves_short_lists_says_so_in_its_guardrail_and_in_the_table(page):
    """Of three dramas at most nobody has five; of people with fewer than three there are some."""
    each = page.late["drama only"]
    dramas = (page.pools["test"].items < 8).sum(1)
    assert each.applied.short.all()
    table = report.records_table(each)
    assert table.frame["step"].tolist() == ["class is drama", "at most 3 of a genre"]
    assert table.frame["candidates taken away"].tolist()[0] == int((M - dramas).sum())
    assert table.frame["lists left short"].tolist() == [int((dramas < K).sum()), N]
    assert f"{N} of {N} people have fewer than {K} items that may be shown." in table.caption
    pick = pick_of("drama only")
    judged = {name: page.late[name] for name in (BASE, "drama only")}
    rail = verdict_of(page, judged, pick, keep(pick, report.evaluations(judged), BASE)).guardrails[-1]
    assert (rail.state, rail.text) == ("unknown", f"{N} of {N} lists are shorter than asked, for want of items that may be shown")


def test_where_every_list_is_full_that_is_said(page):
    table = report.records_table(page.late["at most 2"])
    (row,) = (each for _, each in table.frame.iterrows())
    old, new = page.late[BASE].applied.lists, page.late["at most 2"].applied.lists
    fresh = sum(item not in before for before, after in zip(old.tolist(), new.tolist(), strict=True) for item in after)
    assert (row["step"], row["lists left short"], row["drawn at random"]) == ("at most 2 of a genre", 0, "")
    assert row["people whose list changed"] == f"{(old != new).any(1).double().mean():.1%}"
    assert row["items replaced, each"] == pytest.approx(fresh / N)
    assert table.caption.endswith(f"Everybody has {K} items.")
    pick = pick_of("at most 2")
    judged = {name: page.late[name] for name in (BASE, "at most 2")}
    rail = verdict_of(page, judged, pick, keep(pick, report.evaluations(judged), BASE)).guardrails[-1]
    assert (rail.state, rail.text) == ("pass", "no list is short")


def test_a_step_that_draws_at_random_says_so(page):
    policy = make_policy([{"kind": "randomise", "share": 0.2}])
    drawn = judge_policy("drawn", policy, page.pools["test"], page.facts["test"], page.parts.holdout("test"), KS)
    frame = report.records_table(drawn).frame
    assert (frame["drawn at random"].tolist(), frame["share reached"].tolist()) == (["yes"], [""])


WAR = {"kind": "floor", "by": "genre", "group": "war"}


def with_floor(page, share):
    """War in this share of places at least, and the share it has."""
    policy = make_policy([{"kind": "cap", "by": "genre", "most": 4}, WAR | {"share": share}])
    found = judge_policy("floor", policy, page.pools["test"], page.facts["test"], page.parts.holdout("test"), KS)
    shown = [CLASSES[item] for own in found.applied.lists.tolist() for item in own if item != -1]
    return found, shown.count("war") / len(shown)


@pytest.mark.parametrize(("share", "state"), [(0.3, "pass"), (1.0, "fail")])
def test_a_floor_says_what_it_reached_of_what_was_asked(page, share, state):
    """Of at most four of a genre in a list of five not all are war."""
    found, reached = with_floor(page, share)
    assert (reached < share) == (state == "fail")
    assert report.records_table(found).frame["share reached"].tolist() == ["", f"{reached:.1%} of {share:.1%}"]


@pytest.mark.parametrize(("share", "state"), [(0.3, "pass"), (1.0, "fail")])
def test_a_floor_of_the_taken_policy_is_a_guardrail(page, share, state):
    found, reached = with_floor(page, share)
    judged, pick = {BASE: page.late[BASE], "floor": found}, pick_of("floor")
    rails = verdict_of(page, judged, pick, keep(pick, report.evaluations(judged), BASE)).guardrails
    assert [(rail.state, rail.text) for rail in rails if rail.text.startswith("war ")] == [
        (state, f"war (genre) in {share:.0%} of places at least: {reached:.1%} on test")
    ]


def test_the_trace_is_of_the_person_whose_list_changed_most_and_names_nobody(page):
    each, base = page.late["drama only"], page.late[BASE]
    changed = (each.applied.lists.numpy() != base.applied.lists.numpy()).sum(1).tolist()
    most = changed.index(max(changed))
    table = report.trace_of_changed(page.data, each, base)
    assert "person-" not in table._repr_html_()
    assert list(table.frame.columns) == ["item", "before", "class is drama", "at most 3 of a genre", ""]
    before = dict(zip(table.frame["item"], table.frame["before"], strict=True))
    for place, item in enumerate(base.applied.lists[most].tolist(), start=1):
        assert before[TITLES[item]] == str(place)
    assert set(table.frame[""]) <= {"", "below the list", "taken away: class is drama", "taken away: at most 3 of a genre"}
    assert (table.frame[""] == "taken away: class is drama").any()


def test_titles_that_are_markup_are_shown_as_text(page):
    shown = report.trace_of_changed(page.data, page.late["at most 2"], page.late[BASE])._repr_html_()
    assert "&lt;b&gt;film " in shown
    assert "<b>" not in shown


def test_a_trace_is_cut_where_it_is_long(page):
    full = report.trace_of_changed(page.data, page.late["at most 2"], page.late[BASE], most=99).frame
    short = report.trace_of_changed(page.data, page.late["at most 2"], page.late[BASE], most=3).frame
    assert len(full) > 3
    assert short.equals(full.head(3))


# checked lines


def test_the_checked_lines_have_what_test_saw_how_many_are_allowed_whether_rules_hold_and_what_came_of_the_promise(page):
    """Four policies on validation, three of which may be taken, and two on test."""
    judged = {name: page.late[name] for name in (BASE, "mmr")}
    pick = pick_of("mmr", allowed=("at most 2", "mmr"))
    lines = report.checked_policies(page.early, judged, f"recall@{K}", pick, promise(0.25)[2])
    assert lines == [
        *(f"{name}: {each.evaluation.mean(f'recall@{K}'):.2f}" for name, each in judged.items()),
        "4 policies, 3 within the limit, rules hold, promise broken",
    ]


def test_a_list_that_breaks_a_rule_is_told_wherever_it_was_judged(page):
    """At most one of all items, and five are in every list."""
    tight = Limit(groups=torch.zeros(N_ITEMS, dtype=torch.int64), most=1)
    broken = {"x": by_hand("x", 0.5, 0.5)}
    broken["x"] = replace(broken["x"], applied=replace(broken["x"].applied, pool=broken["x"].applied.pool.limited(tight)))
    pick, kept = pick_of(BASE), promise(0.5)[2]
    for early, judged, n in ((page.early, broken, 4), (broken, page.late, 1)):
        lines = report.checked_policies(early, judged, METRIC, pick, kept)
        assert lines[-1] == f"{n} policies, 1 within the limit, rules are broken, promise kept"
