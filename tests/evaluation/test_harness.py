"""The harness against a loop over people, and the cases in which averages go wrong."""

from math import log2

import numpy as np
import pytest
import torch

from tests.evaluation.made import Scores, everyone, graded, valued
from workbench.data import Holdout
from workbench.errors import NotApplicable, RequestError
from workbench.evaluation import Slice, cutoffs, evaluate, harness, lists, pool
from workbench.models import create
from workbench.testing import interactions, latent_log
from workbench.testing.synthetic import holdout

SETS = ("coverage", "gini", "entropy")


@pytest.fixture(scope="module")
def log():
    return latent_log(n_users=60, n_items=40, events_each=20)


def loop(scores, judged, k):
    """recall, ndcg, mrr, hit rate, precision of each person, the slow and obvious way."""
    values = []
    for user in judged.users.tolist():
        truth = set(judged.truth.items[judged.truth.users == user].tolist())
        seen = set(judged.seen.items[judged.seen.users == user].tolist())
        ranked = sorted((i for i in range(judged.n_items) if i not in seen), key=lambda i: (-scores[user][i], judged.ties[i].item()))[:k]
        ranks = [rank for rank, item in enumerate(ranked, start=1) if item in truth]
        ideal = sum(1 / log2(rank + 1) for rank in range(1, min(k, len(truth)) + 1))
        gain = sum(1 / log2(rank + 1) for rank in ranks) / ideal
        values.append([len(ranks) / len(truth), gain, 1 / ranks[0] if ranks else 0, float(bool(ranks)), len(ranks) / k])
    return np.array(values)


@pytest.mark.parametrize("k", [1, 3, 10, 40])
def test_every_metric_of_every_person_equals_a_plain_loop(log, k):
    _, judged = log
    scores = np.random.default_rng(0).integers(0, 6, size=(60, 40)).astype(float)  # many ties
    result = evaluate(Scores(scores), judged, name="made", ks=(k,))
    ours = np.stack([result.per_user[f"{metric}@{k}"].numpy() for metric in ("recall", "ndcg", "mrr", "hit_rate", "precision")], 1)
    np.testing.assert_allclose(ours, loop(scores, judged, k), atol=1e-12)


def test_the_size_of_a_batch_changes_nothing(log, monkeypatch):
    train, judged = log
    model = create("ease", l2=10).fit(train)
    whole = evaluate(model, judged, name="")
    monkeypatch.setattr(harness, "SCORE_BYTES", 4 * judged.n_items * 7)
    monkeypatch.setattr(lists, "BLOCK", 11)
    pieces = evaluate(model, judged, name="")
    assert torch.equal(whole.top, pieces.top)
    assert list(whole.per_user) == list(pieces.per_user)
    assert all(torch.allclose(whole.per_user[m], pieces.per_user[m], rtol=1e-12, equal_nan=True) for m in whole.per_user)


def test_nobody_is_shown_what_they_had_and_the_truth_at_the_top_is_perfect(log):
    train, judged = log
    best = torch.zeros(60, 40)
    best[judged.truth.users, judged.truth.items] = 1
    best[train.users, train.items] = 2  # would come first, were it not masked
    result = evaluate(Scores(best), judged, name="", ks=(4,))
    assert result.mean("ndcg@4") == result.mean("recall@4") == result.mean("precision@4") == 1.0  # four items to find, each


def test_equal_scores_give_what_chance_gives_and_not_what_codes_give(log):
    """In this log the item's code is its popularity rank: ties broken by code would look like a good model."""
    _, judged = log
    constant, by_code = (evaluate(Scores(s), judged, name="", ks=(4,)) for s in (torch.zeros(60, 40), -torch.arange(40.0).expand(60, 40)))
    chance = 4 / (40 - 16)  # each person has 16 of 40 items behind them
    assert constant.mean("precision@4") == pytest.approx(chance, abs=0.06)
    assert by_code.mean("precision@4") > 1.5 * chance
    assert constant.tied_share == 1.0
    assert by_code.tied_share == 0.0


def test_relabelling_people_and_items_changes_nothing(log):
    train, judged = log
    scores = np.random.default_rng(1).normal(size=(60, 40))
    users, items = np.random.default_rng(2).permutation(60), np.random.default_rng(3).permutation(40)
    moved = [
        interactions([(int(users[u]), int(items[i])) for u, i in zip(x.users, x.items, strict=True)], 60, 40) for x in (train, judged.truth)
    ]
    renamed = np.empty_like(scores)
    renamed[np.ix_(users, items)] = scores
    before, after = (evaluate(Scores(s), h, name="") for s, h in ((scores, judged), (renamed, holdout(*moved))))
    assert after.mean("ndcg@10") == pytest.approx(before.mean("ndcg@10"))
    assert after.covered(10) == before.covered(10)
    assert [after.of_the_set(each, 10).high for each in SETS] == pytest.approx([before.of_the_set(each, 10).high for each in SETS])


def test_a_list_that_runs_out_of_items_ends():
    known = interactions([(0, 0), (0, 1)], 1, 3)
    result = evaluate(Scores(torch.zeros(1, 3)), holdout(known, interactions([(0, 2)], 1, 3)), name="", ks=(3,))
    assert result.top.tolist() == [[2, -1, -1]]
    assert result.mean("precision@3") == pytest.approx(1 / 3)
    assert result.covered(3) == 1


def test_people_the_model_cannot_serve_get_the_fallback_and_are_marked():
    known = interactions([(0, 0), (1, 0), (1, 1)], 3, 4)
    judged = holdout(known, interactions([(0, 2), (2, 3)], 3, 4))
    scores = torch.tensor([[0.0, 0, 9, 0], [0, 0, 0, 0], [0, 0, 9, 0]])
    fallback = create("popularity").fit(known)
    for model in (Scores(scores, personal=True), Scores(scores, personal=True, inductive=False)):
        result = evaluate(model, judged, name="made", ks=(1,), fallback=fallback)
        assert result.served_by_fallback.tolist() == [False, True]
        assert result.top.tolist() == [[2], [0]]  # the stranger gets the most popular item, not the model's
        with pytest.raises(RequestError, match="made cannot serve 1 of 2 people"):
            evaluate(model, judged, name="made", ks=(1,))


@pytest.mark.parametrize("k", [0, -1, 41])
def test_a_cutoff_beyond_the_catalogue_is_refused(log, k):
    with pytest.raises(RequestError, match=f"k = {k} should be between 1 and 40"):
        evaluate(Scores(torch.zeros(60, 40)), log[1], name="", ks=(k,))
    with pytest.raises(RequestError, match="size of the catalogue"):
        cutoffs(k, 40)
    assert cutoffs(7, 40) == (5, 7, 10, 20)


def test_printed_things_are_a_line_and_round(log):
    train, judged = log
    result = evaluate(create("popularity").fit(train), judged)
    assert (result.model, result.title) == ("Popularity", "Popularity")
    assert repr(result) == f"Evaluation(Popularity on synthetic: ndcg@5 {result.mean('ndcg@5'):.3f}, 60 people)"
    assert repr(judged) == "Holdout(synthetic: 60 people, 240 items to find)"
    assert repr(train) == "Interactions(960 events of 60 people, 40 items)"
    assert repr(train.batch(judged.users[:2])) == "UserBatch(2 requests, 32 events of history, 40 items)"


def test_truth_from_before_the_split_is_masked_counted_and_never_found():
    """Train and test overlap: person 0 likes item 1 again, person 1 only what they had, person 2 an item twice."""
    known, later = interactions([(0, 1), (1, 2), (2, 0)], 3, 5), interactions([(0, 1), (0, 3), (1, 2), (2, 4), (2, 4)], 3, 5)
    judged = holdout(known, later)
    assert (judged.users.tolist(), judged.n_masked_truth, judged.n_without_truth) == ([0, 2], 2, 1)
    result = evaluate(Scores(torch.tensor([[0.0, 9, 0, 8, 0], [0] * 5, [9, 0, 0, 0, 8]])), judged, ks=(1,))
    assert result.top.tolist() == [[3], [4]]
    assert result.values("recall@1").tolist() == [1 / 1, 1 / 1]


def test_where_repeats_are_normal_nothing_is_masked():
    known, later = interactions([(0, 1), (0, 1)], 1, 4), interactions([(0, 1), (0, 2)], 1, 4)
    parts = {"truth": later, "people": torch.tensor([True]), "history": known, "trained": torch.tensor([True]), "ties": torch.arange(4)}
    scores = Scores(torch.tensor([[0.0, 9, 8, 7]]))
    repeated, masked = (evaluate(scores, Holdout.build(label="", seen=seen, **parts), ks=(1,)) for seen in (None, known))
    assert (repeated.top.tolist(), repeated.values("recall@1").tolist()) == ([[1]], [1 / 2])
    assert (masked.top.tolist(), masked.values("recall@1").tolist()) == ([[2]], [1 / 1])


def test_several_trainings_are_one_evaluation_with_each_persons_mean(log):
    """And each training is kept: intervals and slices ask them one by one."""
    _, judged = log
    runs = [evaluate(Scores(np.random.default_rng(seed).random((60, 40))), judged, name="made", ks=(5,)) for seed in range(3)]
    together = pool(runs)
    assert pool(runs[:1]) is runs[0]
    for metric in ("ndcg@5", "novelty@5"):
        expected = sum(run.values(metric) for run in runs) / 3
        assert torch.allclose(together.values(metric), expected)
        assert together.training_values(metric).shape == (3, 60)
        assert runs[0].training_values(metric).shape == (1, 60)
    assert torch.equal(together.top, runs[0].top)
    assert together.tied_share == pytest.approx(np.mean([run.tied_share for run in runs]))
    few = Slice("item", "first ten", truth=judged.truth.items < 10)
    assert together.mean("ndcg@5", few) == pytest.approx(np.mean([run.mean("ndcg@5", few) for run in runs]))
    alone, pooled = runs[0].interval("ndcg@5"), together.interval("ndcg@5")
    assert pooled.value == pytest.approx(np.mean([run.interval("ndcg@5").value for run in runs]))
    assert alone.n == pooled.n == 60


def test_trainings_judged_on_different_holdouts_are_not_pooled():
    with pytest.raises(RequestError, match="judged on synthetic and on elsewhere"):
        pool([valued([0.1]), valued([0.2], judged=everyone(1, "elsewhere"))])
    with pytest.raises(RequestError, match="one holdout for all"):
        pool([valued([0.1]), valued([0.2, 0.3])])


def test_what_is_measured_depends_on_what_the_data_has(log):
    _, judged = log
    scores = Scores(np.random.default_rng(0).random((60, 40)))
    plain = evaluate(scores, judged, ks=(10, 5, 5))
    assert plain.ks == (5, 10)
    graded_truth = holdout(judged.history, graded([(u, int(i), 1 + u % 2) for u, i in enumerate(judged.truth.items[::4])], 60, 40))
    rich = evaluate(scores, graded_truth, ks=(5,), vectors=torch.eye(40))
    more = {name.split("@")[0] for name in rich.per_user} - {name.split("@")[0] for name in plain.per_user}
    assert more == {"ndcg_linear", "ndcg_exponential", "diversity"}
    assert all(values.dtype == torch.float64 and values.shape == (60,) for values in plain.per_user.values())


def test_nobody_to_judge_is_an_answer_not_a_nan():
    nobody = holdout(interactions([(0, 0)], 1, 3), interactions([], 1, 3))
    with pytest.raises(NotApplicable, match="nobody is left to judge"):
        evaluate(Scores(torch.zeros(1, 3)), nobody, name="", ks=(1,))


def test_quality_on_ml_100k_is_bounded_on_both_sides(ml100k):
    parts = ml100k.split()
    judged = parts.holdout()
    found = {
        name: evaluate(create(name).fit(parts.train), judged, name=name).mean("ndcg@10")
        for name in ("random", "popularity", "item_knn", "ease")
    }
    assert 0.001 < found["random"] < 0.02
    assert 0.06 < found["popularity"] < 0.10
    assert 0.10 < found["item_knn"] < 0.14
    assert 0.12 < found["ease"] < 0.16
