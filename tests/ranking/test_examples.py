"""Requests with candidates: cut, thinned, joined and ordered as loops in plain Python do it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import tensor

from tests.ranking.made import N_ITEMS, TIES, few, frame, judged, learnable, listed, made
from workbench.errors import NotApplicable, RequestError
from workbench.evaluation.ranking import NOTHING
from workbench.ranking import Trees, TreesConfig, corrected, joined, judge_ranking
from workbench.ranking.examples import check_learnable
from workbench.testing import interactions
from workbench.testing.synthetic import holdout

scored = few().flatmap(
    lambda each: st.tuples(st.just(each), st.lists(st.integers(-2, 2), min_size=len(each.items), max_size=len(each.items)))
)
"""Examples, and scores of which many are equal."""


def same(found, wanted):
    for name in ("users", "moments", "offsets", "items", "labels", "n_relevant", "given_by"):
        assert torch.equal(getattr(found, name), getattr(wanted, name)), name
    assert torch.equal(found.features.values, wanted.features.values)


def order_of(examples, row, scores):
    return sorted(listed(examples, row), key=lambda place: (-scores[place], int(TIES[examples.items[place]])))


@settings(max_examples=30, deadline=None)
@given(scored, st.integers(1, 8))
def test_lists_have_the_highest_score_first_and_among_equal_ones_the_lower_tie(told, k):
    examples, scores = told
    found = examples.ranked(tensor(scores, dtype=torch.float64), TIES, k)
    assert found.shape == (len(examples), k)
    for row in range(len(examples)):
        wanted = [int(examples.items[place]) for place in order_of(examples, row, scores)][:k]
        assert found[row].tolist() == wanted + [NOTHING] * (k - len(wanted))
    order = examples.order(tensor(scores), TIES).tolist()
    assert order == [place for row in range(len(examples)) for place in order_of(examples, row, scores)]


@settings(max_examples=30, deadline=None)
@given(scored, st.integers(1, 8))
def test_ndcg_is_the_sum_by_hand(told, k):
    examples, scores = told
    for row, found in enumerate(examples.ndcg(tensor(scores, dtype=torch.float64), TIES, k).tolist()):
        n_relevant, order = int(examples.n_relevant[row]), order_of(examples, row, scores)[:k]
        gain = sum(1 / math.log2(rank + 1) for rank, place in enumerate(order, start=1) if examples.label[place])
        best = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, n_relevant) + 1))
        assert math.isnan(found) if not n_relevant else found == pytest.approx(gain / best)


@settings(max_examples=25, deadline=None)
@given(scored.filter(lambda told: bool(told[0].n_relevant.any())), st.integers(1, 8))
def test_ndcg_is_that_of_the_evaluation(told, k):
    """Whoever is judged there has the same value here; what was missed by retrieval counts in both."""
    examples, scores = told
    who = judged(examples)
    scores = tensor(scores, dtype=torch.float64)
    result = judge_ranking(examples, scores, who, name="made", ks=(k,))
    ours = examples.ndcg(scores, who.ties, k)
    assert who.users.tolist() == torch.nonzero(~ours.isnan())[:, 0].tolist()
    torch.testing.assert_close(result.values(f"ndcg@{k}"), ours[who.users], rtol=1e-12, atol=1e-12)


def test_who_is_judged_and_made_no_request_is_told():
    who = holdout(interactions([], 3, N_ITEMS), interactions([(0, 1), (2, 1)], 3, N_ITEMS))
    with pytest.raises(RequestError, match="1 people who are judged made no request"):
        judge_ranking(made([[1], [2]]), torch.zeros(2), who, name="made", ks=(1,))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_told(value):
    examples = made([[1, 2], [3]])
    for call in (examples.ranked, examples.ndcg):
        with pytest.raises(ValueError, match="3 candidates need as many finite scores"):
            call(tensor([0.0, value, 1.0]), TIES, 2)
    with pytest.raises(ValueError, match="3 candidates need as many finite scores"):
        examples.order(torch.zeros(2), TIES)


@settings(max_examples=30, deadline=None)
@given(few(), st.data())
def test_some_requests_are_those_of_a_loop_whether_by_place_or_by_mark(examples, data):
    rows = data.draw(st.lists(st.integers(0, len(examples) - 1), max_size=6)) if len(examples) else []
    found = examples.select(tensor(rows, dtype=torch.int64))
    places = [place for row in rows for place in listed(examples, row)]
    assert found.users.tolist() == rows
    assert found.offsets.diff().tolist() == [len(listed(examples, row)) for row in rows]
    assert torch.equal(found.items, examples.items[places])
    assert torch.equal(found.labels, examples.labels[places])
    assert torch.equal(found.features.values, examples.features.values[places])
    assert found.n_relevant.tolist() == [int(examples.n_relevant[row]) for row in rows]
    marks = torch.zeros(len(examples), dtype=torch.bool)
    marks[sorted(set(rows))] = True
    same(examples.select(marks), examples.select(tensor(sorted(set(rows)), dtype=torch.int64)))


@settings(max_examples=30, deadline=None)
@given(st.lists(few(), min_size=1, max_size=3))
def test_joined_are_all_requests_one_after_another(several):
    whole, rows = joined(several), 0
    assert len(whole) == sum(map(len, several))
    for each in several:
        same(whole.select(torch.arange(rows, rows + len(each))), each)
        rows += len(each)


def test_weights_of_the_several_are_kept_or_refused():
    """What counts more in one of them counts more in all of them together."""
    plain = made([[1, 2]], [[True, False]])
    heavy = made([[3, 4]], [[True, False]], weights=tensor([5.0, 1.0], dtype=torch.float64))
    for several, wanted in (([heavy, heavy], [5, 1, 5, 1]), ([plain, heavy], [1, 1, 5, 1]), ([heavy, plain], [5, 1, 1, 1])):
        try:
            found = joined(several)
        except RequestError:
            continue
        assert found.weights is not None
        assert found.weights.tolist() == wanted


def test_thinned_ones_are_not_taken_for_whole_when_joined():
    """A chance learnt from a mixture of both could not be corrected."""
    whole, thin = made([[1, 2]], [[True, False]]), made([[3, 4]], [[True, False]], kept=0.5)
    assert joined([thin, thin]).kept == 0.5
    for several in ([whole, thin], [thin, whole]):
        with pytest.raises(RequestError):
            joined(several)


def test_examples_of_another_kind_are_not_joined():
    one = made([[1]])
    others = [made([[1]], features=frame({"other": [0.0]})), made([[1]], tasks=("all", "liked")), made([[1]], sources=("b",))]
    for other in others:
        with pytest.raises(RequestError, match="examples of different features, tasks or sources cannot be put together"):
            joined([one, other])


def test_examples_whose_categories_have_other_codes_are_not_mixed_up():
    """Code 0 is blue in the one and red in the other."""
    one, other = (made([[1]], features=frame({"colour": [0.0]}, {"colour": names})) for names in (("blue", "red"), ("red",)))
    try:
        whole = joined([one, other])
    except RequestError:
        return
    assert [whole.features.names["colour"][int(code)] for code in whole.features.column("colour")] == ["blue", "red"]


@settings(max_examples=30, deadline=None)
@given(few(), st.floats(0.01, 1), st.integers(0, 5))
def test_thinned_keeps_all_that_came_to_something_and_the_order_of_the_rest(examples, kept, seed):
    found = examples.thinned(kept, torch.Generator().manual_seed(seed))
    assert torch.equal(found.users, examples.users)
    assert torch.equal(found.n_relevant, examples.n_relevant)
    assert found.kept == pytest.approx(kept)
    assert int(found.label.sum()) == int(examples.label.sum())
    for row in range(len(examples)):
        before = [int(examples.items[place]) for place in listed(examples, row)]
        after = [int(found.items[place]) for place in listed(found, row)]
        must = {int(examples.items[place]) for place in listed(examples, row) if examples.label[place]}
        assert must <= set(after)
        assert after == [item for item in before if item in after]
    if kept == 1:
        same(found, examples)


def test_thinned_keeps_the_share_and_twice_thinned_the_product():
    """Of 20,000 candidates that nothing came of, within four standard deviations."""
    examples = made([list(range(N_ITEMS))[:10]] * 2000)
    generator = torch.Generator().manual_seed(0)
    once = examples.thinned(0.3, generator)
    assert len(once.items) == pytest.approx(6000, abs=4 * math.sqrt(20_000 * 0.3 * 0.7))
    twice = once.thinned(0.5, generator)
    assert twice.kept == pytest.approx(0.15)
    assert len(twice.items) == pytest.approx(3000, abs=4 * math.sqrt(20_000 * 0.15 * 0.85))


def test_only_the_last_task_keeps_a_candidate():
    """What was watched and not liked is as good as any other that was not liked: else the correction would not hold for them."""
    examples = made([[1, 2, 3]], [[(True, False), (False, False), (True, True)]], tasks=("all", "liked"))
    assert examples.thinned(1e-9, torch.Generator().manual_seed(0)).items.tolist() == [3]


@pytest.mark.parametrize("kept", [0, -0.1, 1.1, math.nan])
def test_a_share_that_is_none_is_told(kept):
    with pytest.raises(RequestError, match="should be above 0 and at most 1"):
        made([[1]]).thinned(kept, torch.Generator())
    with pytest.raises(RequestError, match="should be above 0 and at most 1"):
        corrected(tensor([0.5]), kept)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.floats(1e-3, 1))
def test_corrected_undoes_what_thinning_does_to_a_chance(p, kept):
    """Of p positives and 1 − p others p and kept · (1 − p) are left."""
    thinned = p / (p + (1 - p) * kept)
    assert corrected(tensor([thinned], dtype=torch.float64), kept).item() == pytest.approx(p, abs=1e-12)


def test_chances_learnt_from_thinned_examples_are_right_when_corrected():
    """Log-loss trees on a tenth of what nothing came of: the mean chance is the share again, to 4 of 100 points, and far off without."""
    whole = learnable(400, seed=1)
    whole = type(whole)(**{**vars(whole), "labels": whole.labels[:, :1], "tasks": ("all",)})
    thin = whole.thinned(0.1, torch.Generator().manual_seed(2))
    ranker = Trees(TreesConfig(loss="pointwise", rounds=30, patience=0, learning_rate=0.2, least=20)).fit(thin)
    chances, share = torch.sigmoid(ranker.score(whole)), whole.label.double().mean().item()
    assert corrected(chances, thin.kept).mean().item() == pytest.approx(share, abs=0.04)
    assert chances.mean().item() > share + 0.2


def test_tasks_go_by_name():
    examples = made([[1, 2]], [[(True, False), (True, True)]], tasks=("all", "liked"))
    assert examples.task("all").tolist() == [True, True]
    assert torch.equal(examples.task("liked"), examples.label)
    with pytest.raises(RequestError, match=r'there is no task "likd"\. Did you mean "liked"\?'):
        examples.task("likd")
    assert repr(examples) == "Examples(1 requests, 2 candidates, 2 all, 1 liked)"


def test_where_there_is_nothing_to_learn_it_is_told():
    with pytest.raises(NotApplicable, match="there are no candidates to learn from"):
        check_learnable(made([[], []]))
    told = "candidates are liked: a ranker needs some that are and some that are not"
    for labels in ([[False, False]], [[True, True]]):
        with pytest.raises(NotApplicable, match=told):
            check_learnable(made([[1, 2]], labels))
    both = made([[1, 2]], [[(True, True), (True, False)]], tasks=("all", "liked"))
    check_learnable(both)
    with pytest.raises(NotApplicable, match="2 of 2 candidates are all"):
        check_learnable(both, outputs=2)


def test_features_can_be_left_out_and_replaced():
    examples = made([[1], [2]], features=frame({"a": [1, 2], "b": [3, 4]}))
    assert examples.with_features(["b"]).features.values.tolist() == [[3], [4]]
    assert examples.with_values(frame({"a": [9, 9]})).features.column("a").tolist() == [9, 9]
