"""Metrics beyond accuracy, and the two that put people on one scale, against plain loops over small logs."""

from collections import Counter
from dataclasses import replace
from math import log2

import numpy as np
import pytest
import torch

from tests.evaluation.made import Scores, graded, listed, random_lists
from workbench.data import Holdout
from workbench.evaluation import METRICS, evaluate, one_truth_ndcg, recall_ceiling
from workbench.testing import interactions, latent_log
from workbench.testing.synthetic import holdout

K = 4


@pytest.fixture(scope="module", params=[0, 1, 2])
def lists(request):
    """20 people, 12 items; some histories are empty, some have an item twice; lists of 0 to 6 items; half served by the fallback."""
    rng = np.random.default_rng(request.param)
    n, n_items = 20, 12
    orders = rng.permuted(np.tile(np.arange(n_items), (n, 1)), axis=1)
    sizes = rng.integers(0, 5, size=n)
    known = interactions([(u, int(i)) for u in range(n) for i in [*orders[u, : sizes[u]], *orders[u, : sizes[u] // 2]]], n, n_items)
    liked = graded([(u, int(i), 1) for u in range(n) for i in orders[u, 5 : 5 + rng.integers(1, 5)]], n, n_items)
    vectors = (rng.random((n_items, 3)) < 0.4).astype(float)  # some items have none
    rows = [[int(i) for i in row if i not in orders[u, : sizes[u]]] for u, row in enumerate(random_lists(rng, n, n_items, 6))]
    rows = [[i for i in row if i >= 0] for row in rows]
    return listed(holdout(known, liked, seed=7), [row + [-1] * (6 - len(row)) for row in rows], rng.random(n) < 0.5, vectors)


def history(judged: Holdout):
    return list(zip(judged.history.users.tolist(), judged.history.items.tolist(), strict=True))


def popular_first(judged: Holdout):
    counts = Counter(item for _, item in history(judged))
    return sorted(range(judged.n_items), key=lambda item: (-counts[item], judged.ties[item].item())), counts


def shown(lists):
    return [[item for item in row if item >= 0] for row in lists.items[:, :K].tolist()]


def mean(values):
    return sum(values) / len(values) if values else float("nan")


def check(lists, name, expected):
    np.testing.assert_allclose(METRICS[name].values(lists, K).numpy(), expected, atol=1e-6)
    blocks = [METRICS[name].values(replace(lists, **part), K) for part in halves(lists)]
    np.testing.assert_allclose(torch.cat(blocks).numpy(), expected, atol=1e-6)


def halves(lists):
    """The columns of the first and of the second half of the people: a value belongs to a person, whoever else is there."""
    names = ("users", "items", "found", "served")
    return [{name: getattr(lists, name)[part] for name in names} for part in (slice(0, 9), slice(9, None))]


def test_novelty_is_the_mean_surprise_of_the_items(lists):
    people = len({user for user, _ in history(lists.holdout)})
    owners = Counter(item for _, item in set(history(lists.holdout)))
    bits = {item: -log2(max(1, owners[item]) / people) for item in range(lists.holdout.n_items)}
    check(lists, "novelty", [mean([bits[item] for item in row]) for row in shown(lists)])


def test_mean_popularity_counts_events_repeats_included(lists):
    _, counts = popular_first(lists.holdout)
    check(lists, "mean_popularity", [mean([counts[item] for item in row]) for row in shown(lists)])


def test_long_tail_share_counts_items_after_four_fifths_of_the_events(lists):
    order, counts = popular_first(lists.holdout)
    reached, least = 0, 0
    for item in order:
        if 5 * reached < 4 * counts.total():
            least = counts[item]
        reached += counts[item]
    check(lists, "long_tail_share", [mean([float(counts[item] < max(1, least)) for item in row]) for row in shown(lists)])


def test_serendipity_compares_with_a_popularity_list_made_for_each_person(lists):
    judged, expected = lists.holdout, []
    order, _ = popular_first(judged)
    for user, row in zip(lists.users.tolist(), shown(lists), strict=True):
        had = {item for person, item in history(judged) if person == user}
        popular = [item for item in order if item not in had][:K]
        liked = set(judged.truth.items[judged.truth.users == user].tolist())
        expected.append(sum(item in liked and item not in popular for item in row) / K)
    assert any(expected)
    check(lists, "serendipity", expected)


def test_serendipity_where_repeats_are_allowed_leaves_nothing_out_of_the_popularity_list(lists):
    judged = replace(lists.holdout, seen=None)
    order, _ = popular_first(judged)
    of = {user: set(judged.truth.items[judged.truth.users == user].tolist()) for user in lists.users.tolist()}
    rows = zip(lists.users.tolist(), shown(lists), strict=True)
    expected = [sum(item in of[user] and item not in order[:K] for item in row) / K for user, row in rows]
    check(listed(judged, lists.items, lists.served, lists.vectors), "serendipity", expected)


def test_diversity_loops_over_all_pairs(lists):
    def alike(a, b):
        size = (a @ a * (b @ b)).sqrt().item()
        return (a @ b).item() / size if size else 0.0

    expected = []
    for row in shown(lists):
        pairs = [(a, b) for place, a in enumerate(row) for b in row[:place]]
        expected.append(mean([1 - alike(lists.vectors[a], lists.vectors[b]) for a, b in pairs]))
    assert any(len(row) < 2 for row in shown(lists))
    check(lists, "diversity", expected)


def test_user_coverage_wants_a_full_list_from_the_model(lists):
    check(lists, "user_coverage", [float(len(row) == K and ours) for row, ours in zip(shown(lists), lists.served.tolist(), strict=True)])


def enumerated(scores, judged, k):
    """Of each person, the mean over their liked items of NDCG when the others are taken out of the whole ranking."""
    values = []
    for user in judged.users.tolist():
        had, liked = (set(part.items[part.users == user].tolist()) for part in (judged.seen, judged.truth))
        ranked = sorted(set(range(judged.n_items)) - had, key=lambda item: (-scores[user][item], judged.ties[item].item()))
        ranks = [[item for item in ranked if item == one or item not in liked].index(one) + 1 for one in liked]
        values.append(sum(1 / log2(rank + 1) for rank in ranks if rank <= k) / len(liked))
    return values


def test_one_truth_ndcg_is_what_taking_the_others_out_one_by_one_gives():
    _, judged = latent_log(n_users=60, n_items=30, events_each=20)  # 16 known, 4 to find, 14 candidates
    scores = np.random.default_rng(0).integers(0, 8, size=(60, 30)).astype(float)
    for depth in (5, 6, 8, 14, 30):
        lists = evaluate(Scores(scores), judged, ks=(depth,)).lists
        for k in (1, 3, 5):
            found = one_truth_ndcg(lists.hits, lists.shown, lists.n_relevant, k)
            told = ~found.isnan()
            np.testing.assert_allclose(found[told], np.array(enumerated(scores, judged, k))[told], atol=1e-12)
            assert told.all() or depth < k + 4 - 1  # with that many places nothing is unknown
    assert told.all()


def test_one_truth_ndcg_is_unknown_only_where_the_places_below_matter():
    """Found: one of two. The other may be anywhere below, and what it would gain depends on where."""
    hits, shown = torch.tensor([[True, False, False]]), torch.ones(1, 3, dtype=torch.bool)
    assert one_truth_ndcg(hits, shown, torch.tensor([2]), k=2).tolist() == [(1 / log2(2) + 0) / 2]
    assert one_truth_ndcg(hits, shown, torch.tensor([2]), k=3).isnan().all()
    ended = torch.tensor([[True, True, False]])  # the catalogue has no more: the other cannot be shown at all
    assert one_truth_ndcg(hits, ended, torch.tensor([2]), k=3).tolist() == [(1 / log2(2) + 0) / 2]


def test_the_recall_ceiling_is_the_recall_of_a_perfect_list():
    _, judged = latent_log(n_users=60, n_items=30, events_each=20)
    best = torch.zeros(60, 30)
    best[judged.truth.users, judged.truth.items] = 1
    for k in (1, 3, 4, 10):
        assert torch.equal(evaluate(Scores(best), judged, ks=(k,)).values(f"recall@{k}"), recall_ceiling(judged.n_relevant, k))


def test_nobody_known_and_nothing_popular_is_no_division_by_zero():
    judged = holdout(interactions([], 2, 3), graded([(0, 0, 1), (1, 1, 1)], 2, 3))
    lists = listed(judged, [[0, 1], [2, -1]])
    assert METRICS["novelty"].values(lists, 2).tolist() == [0, 0]  # nobody counts as one person of one
    assert METRICS["mean_popularity"].values(lists, 2).tolist() == [0, 0]
    assert METRICS["long_tail_share"].values(lists, 2).tolist() == [1, 1]
