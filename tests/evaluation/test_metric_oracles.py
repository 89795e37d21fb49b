"""Our metrics beside trec_eval's, through pytrec_eval and ir-measures.

The oracles sort by score themselves and break ties each in their own way (trec_eval by document id, falling), so they are given scores that
say our order: minus the rank. Our own ties are held against a plain sort in Python.
"""

import ir_measures
import numpy as np
import pytest
import pytrec_eval
import torch
from ir_measures import AP, RR, P, R, Success, nDCG

from tests.evaluation.made import Scores, graded, listed, random_lists
from workbench.evaluation import METRICS, evaluate
from workbench.testing import interactions
from workbench.testing.synthetic import holdout

KS = (1, 3, 5, 10, 20, 30)  # the lists have at most 30 items, half of them fewer than 15
N, N_ITEMS = 3000, 40
TREC = {"recall": "recall", "precision": "P", "hit_rate": "success", "map": "map_cut"}


@pytest.fixture(scope="module")
def lists():
    """3,000 rankings with up to 30 of 40 items, some of them empty, and 1 to 12 relevant items of grades 1 to 4."""
    rng = np.random.default_rng(0)
    relevant = rng.permuted(np.tile(np.arange(N_ITEMS) < 12, (N, 1)), axis=1) & (rng.random((N, N_ITEMS)) < rng.random((N, 1)))
    relevant[np.arange(N), rng.integers(N_ITEMS, size=N)] = True
    grades = relevant * rng.integers(1, 5, size=(N, N_ITEMS))
    truth = graded([(int(u), int(i), int(grades[u, i])) for u, i in np.argwhere(grades)], N, N_ITEMS)
    found = listed(holdout(interactions([], N, N_ITEMS), truth), random_lists(rng, N, N_ITEMS, depth=30))
    assert (~found.shown[:, 0]).sum() > 50
    assert (found.shown.sum(1) < 10).sum() > 500
    return found


def judgements(lists, gain=lambda grade: grade):
    truth = lists.holdout.truth
    qrels = {str(user): {} for user in lists.users.tolist()}
    for user, item, grade in zip(truth.users.tolist(), truth.items.tolist(), truth.grades.tolist(), strict=True):
        qrels[str(user)][str(item)] = gain(grade)
    return qrels


def ranking(lists, k=None):
    """Each person's list, or its first k, with scores that fall by rank; an empty one where nothing is shown."""
    return {
        str(user): {str(item): -float(rank) for rank, item in enumerate(row[:k]) if item >= 0}
        for user, row in zip(lists.users.tolist(), lists.items.tolist(), strict=True)
    }


def trec(qrels, run, measure):
    found = pytrec_eval.RelevanceEvaluator(qrels, {measure}).evaluate(run)
    (name,) = next(iter(found.values()))
    return np.array([found[user][name] for user in qrels])


def ours(lists, metric, k):
    return METRICS[metric].values(lists, k).numpy()


@pytest.mark.parametrize("metric", TREC)
def test_metrics_of_hits_are_trec_evals(lists, metric):
    for k in KS:
        np.testing.assert_allclose(ours(lists, metric, k), trec(judgements(lists), ranking(lists), f"{TREC[metric]}.{k}"), atol=1e-12)


def test_mrr_is_the_reciprocal_rank_of_a_list_cut_at_k(lists):
    for k in KS:
        np.testing.assert_allclose(ours(lists, "mrr", k), trec(judgements(lists), ranking(lists, k), "recip_rank"), atol=1e-12)


@pytest.mark.parametrize(
    ("metric", "gain"),
    [("ndcg", lambda grade: 1), ("ndcg_linear", lambda grade: grade), ("ndcg_exponential", lambda grade: 2**grade - 1)],
    ids=["binary", "linear", "exponential"],
)
def test_ndcg_is_trec_evals_with_the_gains_as_grades(lists, metric, gain):
    for k in KS:
        np.testing.assert_allclose(ours(lists, metric, k), trec(judgements(lists, gain), ranking(lists), f"ndcg_cut.{k}"), atol=1e-12)


def test_ir_measures_agree_person_by_person(lists):
    pairs = {R: "recall", P: "precision", Success: "hit_rate", RR: "mrr", AP: "map", nDCG: "ndcg_linear"}
    wanted = {measure @ k: (name, k) for measure, name in pairs.items() for k in (5, 20)}
    places = {str(user): place for place, user in enumerate(lists.users.tolist())}
    values = {which: np.full(len(places), np.nan) for which in wanted.values()}
    for found in ir_measures.iter_calc(list(wanted), judgements(lists), ranking(lists)):
        values[wanted[found.measure]][places[found.query_id]] = found.value
    for (name, k), theirs in values.items():
        np.testing.assert_allclose(ours(lists, name, k), theirs, atol=1e-12, err_msg=f"{name}@{k}")


def test_a_person_without_a_list_counts_zero_as_in_ir_measures_and_is_not_dropped_as_in_pytrec_eval(lists):
    qrels, run = judgements(lists), {user: row for user, row in ranking(lists).items() if row}
    n_without = len(qrels) - len(run)
    mean = ours(lists, "recall", 10).mean()
    assert ir_measures.calc_aggregate([R @ 10], qrels, run)[R @ 10] == pytest.approx(mean)
    found = pytrec_eval.RelevanceEvaluator(qrels, {"recall.10"}).evaluate(run)
    assert n_without > 50
    assert np.mean([each["recall_10"] for each in found.values()]) == pytest.approx(mean * N / (N - n_without))


def test_people_without_truth_are_in_nobodys_mean():
    """Person 1 likes nothing later: a query without judgements, which the oracles leave out as we do."""
    judged = holdout(interactions([], 3, 4), graded([(0, 2, 1), (2, 3, 2)], 3, 4))
    result = evaluate(Scores(torch.tensor([[1.0, 2, 3, 0]] * 3)), judged, ks=(2,))
    assert result.users.tolist() == [0, 2]
    qrels, run = {"0": {"2": 1}, "2": {"3": 2}}, {str(user): {"2": 3.0, "1": 2.0, "0": 1.0} for user in range(3)}
    assert ir_measures.calc_aggregate([RR @ 2], qrels, run)[RR @ 2] == result.mean("mrr@2") == (1 / 1 + 0) / 2


def sorted_in_python(scores, judged, depth):
    """Each person's unseen items by falling score, equals by their tie rank; -1 where they run out."""
    ties, seen = judged.ties.tolist(), [set() for _ in range(judged.truth.n_users)]
    for user, item in zip(judged.seen.users.tolist(), judged.seen.items.tolist(), strict=True):
        seen[user].add(item)
    rows = []
    for user in judged.users.tolist():
        left = (item for item in range(judged.n_items) if item not in seen[user])
        row = sorted(left, key=lambda item: (-scores[user, item], ties[item]))[:depth]
        rows.append(row + [-1] * (depth - len(row)))
    return rows


def test_from_tied_scores_to_values_as_a_plain_sort_and_trec_eval_have_it():
    """1,500 people, five different scores for 30 items, histories of up to 29 items that leave lists of any length."""
    rng = np.random.default_rng(1)
    n, n_items, depth = 1500, 30, 20
    orders = rng.permuted(np.tile(np.arange(n_items), (n, 1)), axis=1)
    sizes = rng.integers(0, n_items, size=n)
    known = interactions([(u, int(i)) for u in range(n) for i in orders[u, : sizes[u]]], n, n_items)
    liked = [(u, int(i), int(rng.integers(1, 4))) for u in range(n) for i in orders[u, sizes[u] : sizes[u] + rng.integers(1, 6)]]
    judged = holdout(known, graded(liked, n, n_items), seed=3)
    scores = rng.integers(0, 5, size=(n, n_items)).astype(float)
    result = evaluate(Scores(scores), judged, ks=(5, depth))
    assert result.top.tolist() == sorted_in_python(scores, judged, depth)
    assert result.tied_share > 0.9
    qrels, run = judgements(result.lists), ranking(result.lists)
    for k in (5, depth):
        for metric, measure in {**TREC, "ndcg_linear": "ndcg_cut"}.items():
            np.testing.assert_allclose(result.values(f"{metric}@{k}").numpy(), trec(qrels, run, f"{measure}.{k}"), atol=1e-12)
