"""What each source is to a blend, by hand on four people, and which sources are worth having."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.data.ledger import Ledger
from workbench.errors import RequestError
from workbench.evaluation.ranking import NOTHING
from workbench.models import create
from workbench.retrieval import Blend, Fusion, Requests, ScorerSource, choose_sources, gather, judge, judge_blend
from workbench.testing import interactions, latent_log
from workbench.testing.synthetic import holdout

N_ITEMS = 9


def judged_on(truth, known=(), n_users=4):
    made = holdout(interactions(list(known), n_users, N_ITEMS), interactions(truth, n_users, N_ITEMS))
    return replace(made, ties=torch.arange(N_ITEMS))


def tensors(**lists):
    return {name: torch.tensor(rows, dtype=torch.int64) for name, rows in lists.items()}


@pytest.fixture
def four():
    return judged_on([(0, 0), (0, 1), (1, 2), (2, 3), (2, 5), (3, 4)])


LISTS = tensors(
    a=[[0, 5], [2, 6], [5, 6], [-1, -1]],
    b=[[1, 5], [6, 5], [3, 5], [4, -1]],
    c=[[7, -1], [-1, -1], [7, 3], [4, 7]],
)
"""a and b make [5, 0], [6, 2], [5, 3] and [4]: 2/62 is less than 1/61 + 1/62, and of 0 and 1 at 1/61 the tie order takes 0."""


def test_recall_alone_and_what_a_source_adds(four):
    found = judge_blend(LISTS, ["a", "b"], four, 2)
    assert found.candidates.items.tolist() == [[5, 0], [6, 2], [5, 3], [4, NOTHING]]
    blend, a, b = (1 / 2 + 1 + 1 + 1) / 4, (1 / 2 + 1 + 1 / 2 + 0) / 4, (1 / 2 + 0 + 1 + 1) / 4
    assert found.blend.mean("recall@2") == pytest.approx(blend)
    alone = {name: worth.alone.mean("recall@2") for name, worth in found.sources.items()}
    assert alone == pytest.approx({"a": a, "b": b, "c": (0 + 0 + 1 / 2 + 1) / 4})
    assert {name: worth.served for name, worth in found.sources.items()} == {"a": 3 / 4, "b": 1, "c": 3 / 4}
    assert found.sources["a"].adds.difference.value == pytest.approx(blend - b)
    assert found.sources["b"].adds.difference.value == pytest.approx(blend - a)
    assert (found.sources["b"].adds.a, found.sources["b"].adds.b) == ("blend", "without b")
    assert found.best_alone == "b"
    assert found.names == ("a", "b")


def test_whose_candidates_they_are_and_whose_hits(four):
    """Seven candidates: 5, 6 and 5 of both, 0 and 2 of a, 3 and 4 of b; five hits: 0 and 2, one 5, 3 and 4."""
    found = judge_blend(LISTS, ["a", "b"], four, 2).sources
    for name in "ab":
        worth = found[name]
        assert (worth.given, worth.only) == pytest.approx((5 / 7, 2 / 7))
        assert (worth.hits, worth.only_hits) == pytest.approx((3 / 5, 2 / 5))


def test_a_source_that_is_not_in_the_blend_is_judged_by_itself(four):
    found = judge_blend(LISTS, ["a", "b"], four, 2).sources["c"]
    assert found.adds is None
    assert (found.given, found.only, found.hits, found.only_hits) == (0, 0, 0, 0)


def test_of_a_blend_of_one_everything_is_its_own(four):
    found = judge_blend(LISTS, ["a"], four, 2)
    worth = found.sources["a"]
    assert worth.adds is None
    assert (worth.given, worth.only, worth.hits, worth.only_hits) == (1, 1, 1, 1)
    assert torch.equal(found.blend.per_user["recall@2"], worth.alone.per_user["recall@2"])
    assert found.candidates.items.tolist() == LISTS["a"].tolist()


def test_where_nothing_was_liked_there_is_no_share_of_hits(four):
    worth = judge_blend(tensors(a=[[8, 7]] * 4, b=[[7, 8]] * 4), ["a", "b"], four, 2).sources["a"]
    assert (worth.given, worth.only) == (1, 0)
    assert worth.hits != worth.hits
    assert worth.only_hits != worth.only_hits


def test_who_has_fewer_items_left_than_places_can_be_filled():
    """Person 0 has had all but 7 and 8, some of it twice; person 1 nothing; 2 and 3 get too few."""
    known = [(0, item) for item in (*range(7), 0, 1, 2)] + [(2, 1), (3, 8)]
    judged = judged_on([(user, 7) for user in range(4)], known)
    lists = tensors(a=[[8, -1, -1], [1, 2, 3], [7, 8, -1], [-1, -1, -1]], b=[[7, -1, -1], [1, 2, 3], [8, 7, -1], [-1, -1, -1]])
    assert judge_blend(lists, ["a", "b"], judged, 3).filled == 2 / 4
    assert judge_blend(lists, ["a"], judged, 3).filled == 1 / 4
    assert judge_blend(lists, ["a", "b"], judged, 2).filled == 3 / 4
    anything = replace(judged, seen=None)
    assert judge_blend(lists, ["a", "b"], anything, 3).filled == 1 / 4


def test_the_fusion_is_that_of_the_blend(four):
    found = judge_blend(LISTS, ["a", "b"], four, 2, Fusion(weights={"a": 0}))
    assert found.candidates.items.tolist() == LISTS["b"].tolist()
    assert found.sources["a"].adds.difference.value == 0
    assert found.sources["b"].adds.difference.value == pytest.approx(0.625 - 0.5)


def test_every_list_that_is_judged_is_a_look(four, tmp_path):
    """The blend, three sources by themselves, the blend without a and without b."""
    for alone, contributions, looks in ((None, True, 6), (["a"], False, 2), ([], True, 1)):
        ledger = Ledger(tmp_path / f"{looks}.jsonl")
        sealed = replace(four, label="made@1/user_time/{}/0/test:related", ledger=ledger)
        judge_blend(LISTS, ["a", "b"], sealed, 2, alone=alone, contributions=contributions)
        assert ledger.looks("made@1/user_time/{}/test").total == looks


def test_a_fallback_is_not_asked_what_it_adds(four):
    found = judge_blend(LISTS, ["a", "c"], four, 2, Fusion(fallback=("c",)))
    assert found.candidates.items.tolist() == [[0, 5], [2, 6], [5, 6], [4, 7]]
    assert found.sources["c"].adds is None
    assert found.sources["a"].adds is None  # without it nobody is asked first


@pytest.mark.parametrize(
    ("names", "line"),
    [(["a", "words"], r"words.*\(a, b, c\)"), (["d"], r"d.*\(a, b, c\)"), ([], "a blend needs at least one source")],
)
def test_a_blend_of_what_there_are_no_candidates_of_is_refused(four, names, line):
    with pytest.raises(RequestError, match=line):
        judge_blend(LISTS, names, four, 2)


def test_a_fusion_of_what_is_not_in_the_blend_is_refused(four):
    with pytest.raises(RequestError, match='there is no source "c"'):
        judge_blend(LISTS, ["a", "b"], four, 2, Fusion(weights={"c": 2}))


def test_the_best_source_comes_first_then_who_adds_most(four):
    """b has 0.625, c 0.375 as a has 0.5; with b, a makes 0.875 and c no more than b has."""
    assert choose_sources(LISTS, four, 2) == ("b", "a")
    assert choose_sources(dict(reversed(LISTS.items())), four, 2) == ("b", "a")
    assert choose_sources(LISTS, four, 2, gain=0.25) == ("b", "a")  # exactly so much
    assert choose_sources(LISTS, four, 2, gain=0.26) == ("b",)


def test_a_copy_adds_nothing_and_is_left_out(four):
    assert choose_sources({**LISTS, "copy": LISTS["b"]}, four, 2) == ("b", "a")
    assert choose_sources({"copy": LISTS["b"], **LISTS}, four, 2) == ("copy", "a")  # of equals the first
    assert choose_sources({"a": LISTS["a"], "copy": LISTS["a"]}, four, 2) == ("a",)


def test_one_source_is_chosen_even_if_it_finds_nothing(four):
    assert choose_sources(tensors(a=[[8, 7]] * 4, b=[[7, 8]] * 4), four, 2) == ("a",)


def test_fallbacks_come_last_as_they_are(four):
    assert choose_sources(LISTS, four, 2, Fusion(fallback=("b",))) == ("a", "c", "b")
    assert choose_sources(LISTS, four, 2, Fusion(fallback=("c", "a"))) == ("b", "c", "a")
    assert choose_sources(LISTS, four, 2, Fusion(fallback=("popularity", "c"))) == ("b", "a", "c")


def test_sources_are_chosen_as_the_fusion_would_blend_them(four):
    """Beside a source that has all the places to itself, or all the weight, no other adds anything."""
    assert choose_sources(LISTS, four, 2, Fusion(quotas={"b": 2})) == ("b",)
    assert choose_sources(LISTS, four, 2, Fusion(weights={"a": 0, "c": 0})) == ("b",)


def sources_of(train, ties, *names):
    return [ScorerSource(name, create(name).fit(train), ties) for name in names]


def test_everyone_is_asked_for_once_in_the_order_of_the_holdout(monkeypatch):
    train, judged = latent_log(n_users=50, n_items=30, events_each=15)
    sources = sources_of(train, judged.ties, "popularity", "item_knn")
    whole = gather(sources, judged, 5)
    assert list(whole) == ["popularity", "item_knn"]
    assert whole["item_knn"].shape == (50, 5)
    monkeypatch.setattr(judge, "PEOPLE", 7)
    blocks = gather(sources, judged, 5)
    assert all(torch.equal(whole[name], blocks[name]) for name in whole)
    one = Requests.of(judged, judged.users[13:14])
    assert torch.equal(sources[1].candidates(one, 5), whole["item_knn"][13:14])


@given(data=st.data())
def test_what_is_judged_is_what_the_blend_gives(data):
    """A fallback is asked for everyone by `gather` and for few by the blend; that makes no difference to anybody's candidates."""
    k, n = data.draw(st.integers(1, 4)), 4
    rows = st.permutations(range(N_ITEMS)).flatmap(lambda order: st.integers(0, k).map(lambda m: (order[:m] + [NOTHING] * k)[:k]))
    lists = {name: torch.tensor(data.draw(st.lists(rows, min_size=n, max_size=n))) for name in "abcd"}
    quotas = data.draw(st.sampled_from([{}, {"a": 1}]))
    fusion = Fusion(fallback=tuple(data.draw(st.sampled_from(["", "c", "cd", "dc"]))), quotas=quotas, weights={"c": 2})

    class Listed:
        def __init__(self, name):
            self.name = name

        def candidates(self, requests, k):
            return lists[self.name][requests.asked.users]

    judged = judged_on([(user, user) for user in range(n)])
    blend = Blend([Listed(name) for name in "abcd"], judged.ties, fusion)
    given = blend.candidates(Requests.of(judged, judged.users), k)
    found = judge_blend(lists, list("abcd"), judged, k, fusion, alone=["a"], contributions=False)
    assert torch.equal(found.candidates.items, given.items)
    assert list(found.sources) == ["a"]
    assert found.sources["a"].adds is None
