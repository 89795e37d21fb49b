"""Fused lists against a dictionary and exact fractions, quotas and fallbacks by hand, and who is asked for whom."""

from collections import defaultdict
from fractions import Fraction
from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import RequestError
from workbench.evaluation.ranking import NOTHING
from workbench.models import create
from workbench.retrieval import Blend, Fusion, Requests, ScorerSource, fuse
from workbench.testing import interactions

N_ITEMS = 10
IN_ORDER = torch.arange(N_ITEMS)


def requests(n):
    nobody_knows = interactions([], n, N_ITEMS).batch(torch.arange(n))
    return Requests(asked=nobody_knows, seen=None, trained=torch.zeros(n, dtype=torch.bool))


def tensors(**lists):
    """Rows of one source as int64 (n, depth)."""
    widest = {name: max((len(row) for row in rows), default=0) for name, rows in lists.items()}
    return {
        name: torch.tensor([row + [NOTHING] * (widest[name] - len(row)) for row in rows], dtype=torch.int64).view(len(rows), widest[name])
        for name, rows in lists.items()
    }


class Listed:
    """A source with a list for each person that remembers who asked."""

    def __init__(self, name, *rows):
        self.name, self.rows, self.asked = name, rows, []

    def candidates(self, requests, k):
        users = requests.asked.users.tolist()
        self.asked.append((users, k))
        return torch.tensor([(list(self.rows[user]) + [NOTHING] * k)[:k] for user in users], dtype=torch.int64).view(len(users), k)


def slow(lists, ties, k, fusion):
    """By row: items in order, and for each the names of who gave it."""
    found = []
    for row in range(len(next(iter(lists.values())))):
        given, score, givers, tier = defaultdict(list), {}, {}, {}
        heard = {item for name, rows in lists.items() if name not in fusion.fallback for item in rows[row]}
        silent = set()
        for name in fusion.fallback:
            if len(heard) >= k:
                silent.add(name)
            elif name in lists:
                heard |= set(lists[name][row])
        for name, rows in lists.items():
            if name in silent:
                continue
            last = 2 + fusion.fallback.index(name) if name in fusion.fallback else 1
            for rank, item in enumerate(rows[row]):
                by_quota = rank < fusion.quotas.get(name, 0)
                given[item].append((name, 0 if by_quota else last, Fraction(fusion.weights.get(name, 1)) / (60 + 1 + rank)))
        for item, entries in given.items():
            tier[item] = min(each for _, each, _ in entries)
            score[item] = sum(part for _, each, part in entries if each in (0, 1, tier[item]))  # no say of a fallback about others' items
            givers[item] = [name for name, _, _ in entries]
        kept = sorted(score, key=lambda item: (tier[item], -score[item], ties[item]))[:k]
        shown = sorted(kept, key=lambda item: (max(1, tier[item]), -score[item], ties[item]))
        found.append([(item, givers[item]) for item in shown])
    return found


@st.composite
def blends(draw):
    n, k = draw(st.integers(0, 3)), draw(st.integers(1, 6))
    names = "abcd"[: draw(st.integers(1, 4))]
    depth = {name: draw(st.integers(1, 6)) for name in names}
    rows = {name: [draw(st.permutations(range(N_ITEMS)))[: draw(st.integers(0, depth[name]))] for _ in range(n)] for name in names}
    fallback = draw(st.permutations(names))[: draw(st.integers(0, len(names) - 1))]
    weights = draw(st.dictionaries(st.sampled_from(names), st.sampled_from([0, 0.5, 1, 2])))
    quotas, left = {}, k
    for name in names:
        if name not in fallback and draw(st.booleans()):
            quotas[name] = draw(st.integers(0, left))
            left -= quotas[name]
    ties = draw(st.permutations(range(N_ITEMS)))
    return rows, ties, k, Fusion(weights=weights, quotas=quotas, fallback=tuple(fallback))


@given(blends())
def test_lists_are_fused_as_a_dictionary_would(drawn):
    rows, ties, k, fusion = drawn
    found = fuse(tensors(**rows), torch.tensor(ties), k, fusion)
    expected = slow(rows, ties, k, fusion)
    assert found.items.shape == found.given_by.shape == (len(expected), k)
    for row, wanted in enumerate(expected):
        items = [item for item, _ in wanted]
        assert found.items[row].tolist() == items + [NOTHING] * (k - len(items))
        assert [found.sources_of(row, place) for place in range(k)] == [givers for _, givers in wanted] + [[]] * (k - len(items))
        assert int(found.filled[row]) == len(items) == len(set(items))
        for name, quota in fusion.quotas.items():
            assert set(rows[name][row][:quota]) <= set(items)


def test_ranks_add_up_and_equal_sums_go_by_the_tie_order():
    lists = tensors(a=[[0, 1, 2]], b=[[1, 0, 3]])
    found = fuse(lists, torch.tensor([1, 0, 3, 2, *range(4, N_ITEMS)]), 4)  # 0 and 1 have 1/61 + 1/62, 2 and 3 have 1/63
    assert found.items.tolist() == [[1, 0, 3, 2]]
    assert fuse(lists, IN_ORDER, 3).items.tolist() == [[0, 1, 2]]


def test_equal_sums_stay_equal_in_whatever_order_the_sources_come():
    """Item 0 is at these ranks of three sources, item 1 at the same ranks of them turned round: the tie order alone is between them."""
    filler = list(range(2, N_ITEMS))
    for ranks in permutations(range(8), 3):
        rows = {}
        for name, first, second in zip("abc", ranks, ranks[1:] + ranks[:1], strict=True):
            rows[name] = [filler[:]]
            for item, rank in sorted([(0, first), (1, second)], key=lambda pair: pair[1]):
                rows[name][0].insert(rank, item)
        for ties in ([0, 1, *range(2, N_ITEMS)], [1, 0, *range(2, N_ITEMS)]):
            places = fuse(tensors(**rows), torch.tensor(ties), N_ITEMS).items[0].tolist()
            assert (places.index(0) < places.index(1)) == (ties[0] < ties[1]), f"ranks {ranks}"


def test_a_quota_is_kept_when_the_others_outrank_the_source():
    lists = tensors(a=[[0, 1, 2]], b=[[0, 1, 2]], c=[[8, 9]])
    assert fuse(lists, IN_ORDER, 3).items.tolist() == [[0, 1, 2]]
    found = fuse(lists, IN_ORDER, 3, Fusion(quotas={"c": 1}))
    assert found.items.tolist() == [[0, 1, 8]]  # it is in, and stands where fusion puts it
    assert found.from_source("c").tolist() == [[False, False, True]]
    assert fuse(lists, IN_ORDER, 3, Fusion(quotas={"c": 1}, weights={"c": 3})).items.tolist() == [[8, 9, 0]]


def test_an_item_that_two_sources_have_counts_for_both_quotas():
    lists = tensors(a=[[5, 6]], b=[[5, 7]], c=[[1, 2]], d=[[1, 2]])
    found = fuse(lists, IN_ORDER, 3, Fusion(quotas={"a": 1, "b": 1}))
    assert found.items.tolist() == [[1, 5, 2]]  # 1 and 5 have 2/61 each, 2 has 2/62: the third place is nobody's by right
    assert [found.sources_of(0, place) for place in range(3)] == [["c", "d"], ["a", "b"], ["c", "d"]]


def test_a_weight_of_0_leaves_a_source_the_places_that_nobody_wants():
    found = fuse(tensors(a=[[7, 5]], b=[[9, 5, 3]]), IN_ORDER, 5, Fusion(weights={"b": 0}))
    assert found.items.tolist() == [[7, 5, 3, 9, NOTHING]]
    assert found.sources_of(0, 1) == ["a", "b"]


def test_a_larger_weight_lifts_a_source():
    lists = tensors(a=[[0, 1]], b=[[2, 3]])
    assert fuse(lists, IN_ORDER, 4, Fusion(weights={"b": 1.1})).items.tolist() == [[2, 3, 0, 1]]  # 1.1 / 62 is more than 1 / 61


def test_where_a_fallback_stands_does_not_hang_on_a_quota_of_another():
    """The first fallback's items come before the second's."""
    lists = tensors(a=[[0]], b=[[1, 2, 3]], c=[[4, 5]])
    for quotas in ({}, {"a": 1}):
        assert fuse(lists, IN_ORDER, 6, Fusion(quotas=quotas, fallback=("b", "c"))).items.tolist() == [[0, 1, 2, 3, 4, 5]]


def test_a_fallback_has_no_say_about_what_the_others_gave():
    lists = tensors(a=[[0, 1]], b=[[1, 0, 2]])
    found = fuse(lists, IN_ORDER, 3, Fusion(fallback=("b",), weights={"b": 9}))
    assert found.items.tolist() == [[0, 1, 2]]
    assert found.sources_of(0, 1) == ["a", "b"]


def test_nobody_asks_and_nobody_answers():
    assert fuse(tensors(a=[], b=[]), IN_ORDER, 3).items.shape == (0, 3)
    empty = fuse(tensors(a=[[], []], b=[[], []]), IN_ORDER, 3)
    assert empty.items.tolist() == [[NOTHING] * 3] * 2
    assert empty.filled.tolist() == [0, 0]
    assert not empty.given_by.any()
    assert Blend([Listed("a")], IN_ORDER).candidates(requests(0), 3).items.shape == (0, 3)


def test_a_fallback_is_asked_only_for_who_is_short_and_in_order():
    first = Listed("first", [0, 1, 2], [3], [], [4, 5])
    second = Listed("second", [], [6, 7], [6], [])
    third = Listed("third", [], [], [8, 9], [8, 9])
    blend = Blend([third, first, second], IN_ORDER, Fusion(fallback=("second", "third")))
    found = blend.candidates(requests(4), 3)
    assert found.items.tolist() == [[0, 1, 2], [3, 6, 7], [6, 8, 9], [4, 5, 8]]
    assert (first.asked, second.asked, third.asked) == ([([0, 1, 2, 3], 3)], [([1, 2, 3], 3)], [([2, 3], 3)])
    assert [found.sources_of(row, 2) for row in range(4)] == [["first"], ["second"], ["third"], ["third"]]


def test_a_fallback_that_nobody_needed_was_not_asked_and_gave_nothing():
    spare = Listed("spare", [5, 6])
    found = Blend([Listed("first", [0, 1]), spare], IN_ORDER, Fusion(fallback=("spare",))).candidates(requests(1), 2)
    assert spare.asked == []
    assert found.from_source("spare").tolist() == [[False, False]]


def test_a_source_is_asked_for_as_many_as_the_depth_says():
    shallow = Listed("a", [0, 1, 2, 3])
    assert Blend([shallow], IN_ORDER, depth=2).candidates(requests(1), 3).items.tolist() == [[0, 1, NOTHING]]
    deep = [Listed("a", [0, 1, 2, 9]), Listed("b", [3, 4, 5, 9])]
    assert Blend(deep, IN_ORDER, depth=4).candidates(requests(1), 1).items.tolist() == [[9]]  # 2/64 is more than 1/61
    assert (shallow.asked, deep[0].asked) == ([([0], 2)], [([0], 4)])


def test_people_without_a_history_get_the_list_of_the_fallback():
    train = interactions([(0, 0), (0, 1), (1, 1), (1, 2), (2, 1), (2, 0)], 4, N_ITEMS)
    sources = [ScorerSource(name, create(name).fit(train), IN_ORDER) for name in ("item_knn", "popularity")]
    batch = train.batch(torch.tensor([3, 0]))
    asked = Requests(asked=batch, seen=batch, trained=torch.tensor([False, True]))
    found = Blend(sources, IN_ORDER, Fusion(fallback=("popularity",))).candidates(asked, 3)
    assert found.items[0].tolist() == [1, 0, 2]
    assert found.sources_of(0, 0) == ["popularity"]
    assert found.sources_of(1, 0) == ["item_knn"]
    assert not (set(found.items[1].tolist()) & {0, 1})


@pytest.mark.parametrize(
    ("fusion", "line"),
    [
        (Fusion(weights={"words": 1}), r'there is no source "words"\. .*\(word, world\)'),
        (Fusion(quotas={"nobody": 1}), r'there is no source "nobody"\. \(word, world\)'),
        (Fusion(fallback=("worlds",)), r'there is no source "worlds"\. Did you mean "world"\?'),
        (Fusion(quotas={"word": 2, "world": 2}), r"the quotas add up to 4, more than the 3 places there are\."),
        (Fusion(weights={"word": -0.5}), r"weights and quotas should be at least 0\."),
        (Fusion(weights={"word": float("nan")}), r"weights and quotas should be at least 0\."),
        (Fusion(quotas={"word": 1}, fallback=("word",)), r"word is a fallback, asked where there are places left: it can have no quota\."),
        (Fusion(quotas={"word": -1}), r"weights and quotas should be at least 0\."),
        (Fusion(fallback=("world", "word")), r"every source is a fallback: name at least one that is asked first\."),
    ],
)
def test_a_fusion_that_does_not_fit_is_refused_before_anybody_is_asked(fusion, line):
    sources = [Listed("word", [0]), Listed("world", [1])]
    with pytest.raises(RequestError, match=line):
        Blend(sources, IN_ORDER, fusion).candidates(requests(1), 3)
    assert not sources[0].asked
    if set(fusion.fallback) <= {"word", "world"}:
        with pytest.raises(RequestError, match=line):
            fuse(tensors(word=[[0]], world=[[1]]), IN_ORDER, 3, fusion)


@pytest.mark.parametrize("names", [[], ["a", "a"]])
def test_sources_have_names_of_their_own(names):
    with pytest.raises(RequestError, match=r"needs sources with names of their own, at least one, not \["):
        Blend([Listed(name, [0]) for name in names], IN_ORDER)


@pytest.mark.parametrize("k", [0, -1])
def test_a_blend_gives_at_least_one(k):
    with pytest.raises(RequestError, match=f"k = {k} should be at least 1"):
        Blend([Listed("a", [0])], IN_ORDER).candidates(requests(1), k)


def test_a_candidate_of_a_source_that_is_not_in_the_blend_is_asked_for():
    with pytest.raises(RequestError, match='there is no source in the blend "b"'):
        fuse(tensors(a=[[0]]), IN_ORDER, 1).from_source("b")


def test_a_blend_has_as_many_sources_as_a_number_has_bits():
    names = [f"s{place:02d}" for place in range(63)]
    most = [Listed(name, [place % 7]) for place, name in enumerate(names[:62])]
    found = Blend(most, IN_ORDER).candidates(requests(1), 7)
    assert sorted(found.items[0].tolist()) == list(range(7))
    assert found.sources_of(0, found.items[0].tolist().index(61 % 7)) == [name for place, name in enumerate(names[:62]) if place % 7 == 5]
    with pytest.raises(RequestError, match="a blend has at most 62 sources; there are 63"):
        Blend([*most, Listed(names[62], [0])], IN_ORDER).candidates(requests(1), 7)


def test_a_fallback_among_the_most_sources_there_may_be_is_one_of_them():
    most = [Listed(f"s{place:02d}", [place % 7]) for place in range(61)]
    found = Blend([*most, Listed("spare", [8])], IN_ORDER, Fusion(fallback=("spare",))).candidates(requests(1), 8)
    assert found.items[0, 7].item() == 8
