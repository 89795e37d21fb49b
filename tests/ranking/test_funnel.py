"""Where relevance is lost: parts that add up, a ceiling nobody can break, and who gained and who lost."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import tensor

from tests.ranking.made import few, judged, made
from workbench.errors import NotApplicable
from workbench.evaluation import evaluate_lists
from workbench.evaluation.slices import Slice
from workbench.ranking import gained_and_lost, judge_funnel, judge_ranking, list_of

METRIC = "ndcg@4"
found_some = few(least=1).filter(lambda each: bool(each.n_relevant.any()))


def funnel_of(examples, scores, who=None, final=None):
    who = who or judged(examples)
    ranked = judge_ranking(examples, tensor(scores, dtype=torch.float64), who, name="made", ks=(4,))
    return judge_funnel(examples, ranked, METRIC, 6, final)


@settings(max_examples=25, deadline=None)
@given(found_some, st.data())
def test_what_is_lost_and_what_is_left_are_everything_for_everyone_and_in_each_slice(examples, data):
    n = len(examples.items)
    funnel = funnel_of(examples, data.draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n)))
    who = funnel.ranked.holdout
    rows = torch.arange(len(who.users))
    slices = [
        Slice("half", "even", people=rows % 2 == 0),
        Slice("half", "odd", people=rows % 2 == 1),
        Slice("items", "low", truth=who.truth.items < 6),
        Slice("nobody", "nobody", people=torch.zeros(len(rows), dtype=torch.bool)),
    ]
    losses = funnel.losses(slices)
    assert losses[0].group == "everyone"
    assert losses[0].n == len(rows)
    assert "nobody: nobody" not in [each.group for each in losses]
    for each in losses:
        assert each.policy is None
        assert each.retrieval.value + each.ranking.value + each.left.value == pytest.approx(1, abs=1e-9)
    for each in losses[: 1 + sum(loss.group.startswith("half") for loss in losses)]:
        assert -1e-9 <= each.retrieval.value <= 1 + 1e-9
        assert each.ranking.value >= -1e-9


@settings(max_examples=25, deadline=None)
@given(found_some, st.data())
def test_no_order_of_the_candidates_is_above_the_ceiling(examples, data):
    n = len(examples.items)
    funnel = funnel_of(examples, data.draw(st.permutations(list(range(n)))))
    for metric in ("ndcg@4", "recall@4"):
        ceiling = funnel.ceiling.values(metric)
        for each in (funnel.ranked, funnel.retrieval):
            assert (each.values(metric) <= ceiling + 1e-9).all()


def test_in_a_slice_of_what_was_liked_the_ceiling_holds_too():
    """Of two liked candidates the second is in the slice, and a ranker puts it first: nothing of the slice was lost."""
    examples = made([[0, 1, 2]], [[True, True, False]])
    who = judged(examples)
    funnel = funnel_of(examples, [0.0, 1.0, -1.0], who)
    (loss,) = funnel.losses([Slice("items", "second", truth=who.truth.items == 1)])[1:]
    assert loss.left.value == pytest.approx(1)
    assert loss.retrieval.value == pytest.approx(0)
    assert loss.ranking.value == pytest.approx(0)


def test_by_hand():
    """Person 0: liked 1 and 9, retrieval has 1 in the third place, the ranker puts it second. Person 1: no candidates. Person 2: all is
    well."""
    examples = made([[3, 2, 1], [], [5, 4]], [[False, False, True], [], [True, False]], n_relevant=[2, 1, 1])
    funnel = funnel_of(examples, [2.0, 0.0, 1.0, 9.0, 1.0])
    ideal = 1 + 0.6309297535714574  # 1 / log2(3)
    assert funnel.ceiling.values(METRIC).tolist() == pytest.approx([1 / ideal, 0, 1])
    assert funnel.ranked.values(METRIC).tolist() == pytest.approx([0.6309297535714574 / ideal, 0, 1])
    assert funnel.retrieval.values(METRIC).tolist() == pytest.approx([0.5 / ideal, 0, 1])
    assert funnel.pool.values("recall@6").tolist() == [0.5, 0, 1]
    assert funnel.gain.difference.value == pytest.approx((0.6309297535714574 - 0.5) / ideal / 3)
    (everyone,) = funnel.losses()
    assert everyone.retrieval.value == pytest.approx(1 - (1 / ideal + 1) / 3)
    assert everyone.ranking.value == pytest.approx((1 - 0.6309297535714574) / ideal / 3)


def test_a_request_without_candidates_loses_everything_at_retrieval():
    examples = made([[], [1]], [[], [True]], n_relevant=[2, 1])
    funnel = funnel_of(examples, [0.0])
    (_, lost) = funnel.losses([Slice("who", "first", people=tensor([True, False]))])
    assert (lost.retrieval.value, lost.ranking.value, lost.left.value) == (1, 0, 0)
    assert funnel.retrieval.lists.served.tolist() == [False, True]


def test_a_policy_after_the_ranker_has_a_part_of_its_own():
    examples = made([[1, 2], [3, 4]], [[True, False], [False, True]])
    who, scores = judged(examples), tensor([1.0, 0.0, 0.0, 1.0])
    turned = list_of(examples, -scores, who, 4)
    final = evaluate_lists(turned, who, name="policy", ks=(4,))
    (everyone,) = funnel_of(examples, scores.tolist(), who, final).losses()
    dropped = 1 - 0.6309297535714574
    assert everyone.retrieval.value == pytest.approx(0)
    assert everyone.ranking.value == pytest.approx(0)
    assert everyone.policy.value == pytest.approx(dropped)
    assert everyone.left.value == pytest.approx(1 - dropped)


def test_where_nobody_is_judged_there_is_no_funnel():
    with pytest.raises(NotApplicable):
        funnel_of(made([[1]]), [0.0])


def test_lists_are_those_of_the_people_judged_in_their_order():
    """Requests of more people than are judged, in an order of their own."""
    examples = made([[1, 2], [3], []], [[True, False], [True], []], users=[2, 0, 1])
    who = judged(made([[3], [], [1]], [[True], [], [True]]))
    assert who.users.tolist() == [0, 2]
    assert list_of(examples, tensor([0.0, 1.0, 5.0]), who, 2).tolist() == [[3, -1], [2, 1]]


def test_who_gained_and_who_lost_most_by_name():
    examples = made([[1, 2]] * 4, [[True, False], [False, True], [True, False], [True, True]])
    who = judged(examples)
    before = judge_ranking(examples, tensor([0.0, 1.0] * 2 + [1.0, 0.0] * 2), who, name="before", ks=(2,))
    after = judge_ranking(examples, tensor([1.0, 0.0] * 3 + [0.0, 1.0]), who, name="after", ks=(2,))
    gained, lost = gained_and_lost(after, before, "ndcg@2")
    assert [(each.user, each.before, each.after) for each in gained] == [(0, pytest.approx(0.6309297535714574), 1)]
    assert [(each.user, each.before, each.after) for each in lost] == [(1, 1, pytest.approx(0.6309297535714574))]
    gained, lost = gained_and_lost(replace(before), before, "ndcg@2")
    assert (gained, lost) == ([], [])


def test_of_those_who_gained_alike_the_lower_code_is_named():
    examples = made([[1, 2]] * 3, [[True, False]] * 3)
    who = judged(examples)
    worse, better = (
        judge_ranking(examples, tensor(scores * 3), who, name=name, ks=(2,)) for name, scores in (("a", [0.0, 1.0]), ("b", [1.0, 0.0]))
    )
    assert [each.user for each in gained_and_lost(better, worse, "ndcg@2", most=2)[0]] == [0, 1]
    assert [each.user for each in gained_and_lost(worse, better, "ndcg@2", most=2)[1]] == [0, 1]
