"""What policies cost and buy: chosen on validation under a constraint, and whether the promise holds on test."""

from dataclasses import replace

import pytest
import torch
from torch import tensor

from tests.evaluation.made import Scores, valued
from tests.policy.made import ITEMS, SLICES, facts
from workbench.data import Ledger
from workbench.errors import NotApplicable, RequestError
from workbench.evaluation import evaluate
from workbench.policy import AIMS, Policy, candidates, choose, frontier, judge_policy, keep, make_policy
from workbench.testing import interactions
from workbench.testing.synthetic import holdout

NDCG, AIM = "ndcg@10", "diversity@10"


def judged(ndcg, aim, name="a", metric=AIM):
    """Everybody with the same two values, or each of them with their own."""
    both = [tensor([each] * 40 if isinstance(each, float) else each, dtype=torch.float64) for each in (ndcg, aim)]
    return replace(valued(both[0], name), per_user={NDCG: both[0], metric: both[1]})


def chosen(most_lost, aim=AIM, **policies):
    return choose({name: judged(*values, name, aim) for name, values in policies.items()}, "base", NDCG, aim, most_lost)


def test_of_those_that_lose_little_enough_the_one_with_most_of_the_aim_is_picked():
    pick = chosen(0.25, base=(0.5, 0.1), mild=(0.45, 0.3), strong=(0.40, 0.6), wild=(0.3, 0.9))
    assert pick.name == "strong"
    assert pick.allowed == ("base", "mild", "strong")
    assert (pick.metric, pick.aim, pick.most_lost) == (NDCG, AIM, 0.25)


@pytest.mark.parametrize(("ndcg", "allowed"), [(0.375, True), (0.37499, False), (0.375001, True), (0.9, True)])
def test_what_loses_exactly_the_share_is_allowed(ndcg, allowed):
    """A quarter of 0.5 is 0.125, which floats have exactly."""
    pick = chosen(0.25, base=(0.5, 0.1), edge=(ndcg, 0.2))
    assert (pick.name == "edge") == allowed == ("edge" in pick.allowed)


@pytest.mark.parametrize(("most_lost", "allowed"), [(0.25, False), (0.285, False), (0.295, True)])
def test_a_loss_that_differs_from_person_to_person_needs_a_standard_error_to_spare(most_lost, allowed):
    """Half of forty people lose 0.25 of 0.5: 0.125 ± 0.125 / √39 on average, a share of 0.25 ± 0.04."""
    pick = chosen(most_lost, base=(0.5, 0.1), uneven=([0.5, 0.25] * 20, 0.2))
    assert ("uneven" in pick.allowed) == allowed


def test_where_nothing_may_be_lost_what_gains_both_is_still_allowed():
    assert chosen(0.0, base=(0.5, 0.1), less=(0.4999, 0.9), better=(0.6, 0.2)).name == "better"
    assert chosen(0.0, base=(0.5, 0.1), same=(0.5, 0.2)).name == "same"


def test_where_everything_may_be_lost_the_aim_alone_decides():
    assert chosen(1.0, base=(0.5, 0.1), all_gone=(0.0, 0.2)).name == "all_gone"


def test_the_lists_as_ranked_are_never_excluded_and_are_picked_where_nothing_is_better():
    assert chosen(0.1, worse=(0.1, 0.9), base=(0.5, 0.3), less=(0.5, 0.2)).name == "base"
    assert chosen(0.0, base=(0.5, 0.1)).allowed == ("base",)


def test_of_one_person_nothing_is_known_well_enough_to_leave_the_lists_as_ranked():
    """One person has no standard error."""
    judgements = {"base": judged([0.5], [0.1], "base"), "better": judged([0.9], [0.9], "better")}
    assert choose(judgements, "base", NDCG, AIM, 0.5).allowed == ("base",)


def test_of_equals_the_lists_as_ranked_are_picked_then_the_first():
    assert chosen(0.5, one=(0.5, 0.3), base=(0.5, 0.3), two=(0.5, 0.3)).name == "base"
    assert chosen(0.5, one=(0.4, 0.4), base=(0.5, 0.3), two=(0.5, 0.4)).name == "one"


def test_an_aim_of_which_less_is_better_is_minimised():
    policies = {"base": (0.5, 30.0), "rarer": (0.5, 20.0), "commoner": (0.5, 90.0)}
    assert chosen(0.1, "mean_popularity@10", **policies).name == "rarer"
    assert chosen(0.1, "novelty@10", **policies).name == "commoner"


@pytest.mark.parametrize("order", [("base", "short", "good"), ("short", "base", "good"), ("good", "short", "base")])
def test_a_policy_without_a_value_of_the_aim_is_never_picked(order):
    """Lists of one item have no diversity."""
    policies = {"base": (0.5, 0.1), "short": (0.5, torch.nan), "good": (0.5, 0.2)}
    assert chosen(0.1, **{name: policies[name] for name in order}).name == "good"


def test_an_aim_that_is_no_metric_is_refused_with_the_nearest_one():
    with pytest.raises(RequestError, match=r'no aim "diversty@10"\. Did you mean "diversity@10"\?'):
        choose({"base": judged(0.5, 0.1)}, "base", NDCG, "diversty@10", 0.1)


def test_an_aim_that_the_data_cannot_feed_is_not_applicable():
    """Diversity needs vectors; without them nobody was judged by it."""
    with pytest.raises(NotApplicable, match=r"lists cannot be judged by diversity@10: vectors are missing"):
        choose({"base": judged(0.5, 0.1, metric="novelty@10")}, "base", NDCG, AIM, 0.1)


@pytest.mark.parametrize("share", [-0.01, 1.01, float("nan")])
def test_a_loss_is_a_share_between_nothing_and_everything(share):
    with pytest.raises(RequestError, match="should be between 0 and 1"):
        chosen(share, base=(0.5, 0.1))


def kept(lost, most_lost=0.25):
    """The pick loses this much of 0.5 on test, everybody alike or each their own."""
    ndcg = 0.5 - lost if isinstance(lost, float) else [0.5 - each for each in lost]
    pick = chosen(most_lost, base=(0.5, 0.1), pick=(0.5, 0.2))
    assert pick.name == "pick"
    return keep(pick, {"base": judged(0.5, 0.25, "base"), "pick": judged(ndcg, 0.75, "pick")}, "base")


@pytest.mark.parametrize(
    ("lost", "call"),
    [
        (0.0, "kept"),
        (0.0625, "kept"),
        (0.125, "kept"),
        (0.1875, "broken"),
        (0.5, "broken"),
        ([0.0, 0.0625] * 20, "kept"),
        ([0.1875, 0.25] * 20, "broken"),
        ([0.0, 0.25] * 20, "cannot tell"),
    ],
)
def test_a_promise_is_kept_or_broken_where_the_whole_interval_says_so(lost, call):
    """A quarter of 0.5 may be lost, 0.125. With half of the people at 0 and half at twice that, the interval reaches to both sides."""
    found = kept(lost)
    assert found.call == call
    assert found.most == 0.125
    if call == "cannot tell":
        assert found.lost.difference.low < -0.125 < found.lost.difference.high


def test_the_loss_and_the_gain_are_those_of_the_pick_over_the_lists_as_ranked():
    found = kept(0.0625)
    assert (found.lost.a, found.lost.b, found.lost.metric) == ("pick", "base", NDCG)
    assert found.lost.difference.value == -0.0625
    assert (found.gained.metric, found.gained.difference.value) == (AIM, 0.5)


def test_where_the_lists_as_ranked_were_picked_the_promise_is_kept():
    pick = chosen(0.0, base=(0.5, 0.1))
    found = keep(pick, {"base": judged(0.5, 0.1, "base")}, "base")
    assert (found.call, found.most, found.lost.difference.value) == ("kept", 0, 0)


def world(items=ITEMS, **slices):
    """Three people who like items 8 to 11, all scored alike; facts of made-up items, or of others."""
    known = interactions([(0, 0), (1, 0), (2, 1)], 3, 12)
    who = holdout(known, interactions([(0, 8), (1, 9), (2, 10)], 3, 12))
    scorer = Scores([list(range(12, 0, -1))] * 3)
    return scorer, who, facts(items, known, 3, **(slices or SLICES))


def test_a_policy_is_judged_as_any_other_lists():
    """Without a step, as the scorer is."""
    scorer, who, known = world()
    pool = candidates(scorer, who, 12, 4)
    found = judge_policy("plain", Policy(()), pool, known, who, (2, 4), title="As ranked")
    expected = evaluate(scorer, who, ks=(2, 4), vectors=known.vectors)
    assert (found.evaluation.model, found.evaluation.title) == ("plain", "As ranked")
    assert torch.equal(found.evaluation.top, expected.top)
    assert set(found.evaluation.per_user) == set(expected.per_user)
    for metric, values in expected.per_user.items():
        assert torch.equal(found.evaluation.per_user[metric].nan_to_num(nan=-1.0), values.nan_to_num(nan=-1.0)), metric
    assert {f"{aim}@4" for aim in AIMS} <= set(found.evaluation.per_user)


def test_looks_at_what_is_sealed_are_told_apart_by_the_steps(tmp_path):
    scorer, who, known = world()
    sealed = replace(who, ledger=Ledger(tmp_path / "looks.jsonl"), label="made/user_time/0/test")
    policy = make_policy([{"kind": "mmr", "weight": 0.5}])
    judge_policy("mmr", policy, candidates(scorer, who, 12, 4), known, sealed, (4,))
    assert '"weight": 0.5' in (tmp_path / "looks.jsonl").read_text(encoding="utf-8")


def test_policies_that_the_data_cannot_feed_are_left_out_with_the_reason():
    scorer, who, known = world()
    policies = {
        "plain": Policy(()),
        "spread": make_policy([{"kind": "cap", "by": "provider", "most": 1}]),
        "brands": make_policy([{"kind": "cap", "by": "brand", "most": 1}]),
    }
    found, absent = frontier(policies, candidates(scorer, who, 12, 4), known, who, (4,))
    assert list(found) == ["plain", "spread"]
    assert list(absent) == ["brands"]
    assert 'no grouping or column "brand"' in absent["brands"]
    assert found["spread"].applied.lists[2].tolist() == [0, 3, 5, 7], "items of acme, bolt, nobody and cody"
    assert torch.equal(found["spread"].evaluation.top, found["spread"].applied.lists)


def test_where_no_policy_can_be_fed_there_is_no_frontier():
    scorer, who, known = world({"title": ["a"] * 12}, year={"table": "users", "column": "town"})
    with pytest.raises(NotApplicable, match="likeness between items needs"):
        frontier({"mmr": make_policy([{"kind": "mmr"}])}, candidates(scorer, who, 12, 4), known, who, (4,))
