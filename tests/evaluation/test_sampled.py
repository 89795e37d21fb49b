"""Sampled metrics: exactly what they say they are, how far that is from the metric, and how far the correction comes back."""

import json
import re
from collections import Counter
from dataclasses import replace
from itertools import product
from math import log2

import numpy as np
import pytest
import torch
from scipy import stats
from torch import tensor

from workbench.data.ledger import Ledger
from workbench.errors import RequestError
from workbench.evaluation import sampled, scoring
from workbench.evaluation.candidates import Candidates
from workbench.evaluation.correction import corrected_gains, rank_probabilities
from workbench.evaluation.sampled import SampledEvaluation, rank_gains, sampled_evaluation
from workbench.models import create
from workbench.testing import interactions, latent_log
from workbench.testing.synthetic import holdout


class Scores:
    """Fixed scores, by code of the person."""

    title, inductive, personal = "Made", True, False

    def __init__(self, scores):
        self.scores = scores

    def score(self, batch):
        return self.scores[batch.users]


@pytest.fixture(scope="module")
def log():
    return latent_log(n_users=60, n_items=40, events_each=20)


def test_the_chance_of_a_sampled_rank_is_that_of_all_draws_written_out():
    m, n = 3, 4
    for rank in range(1, n + 1):
        others = [True] * (rank - 1) + [False] * (n - rank)  # is it above the relevant item?
        counts = Counter(1 + sum(draw) for draw in product(others, repeat=m))
        expected = [counts[s] / (n - 1) ** m for s in range(1, m + 2)]
        assert rank_probabilities(tensor([rank]), n, m)[0].tolist() == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(("n", "m"), [(1, 3), (2, 1), (50, 10), (3000, 200), (4, 1000)])
def test_chances_are_binomial_and_sum_to_one(n, m):
    found = rank_probabilities(torch.arange(1, n + 1), n, m)
    share = np.arange(n)[:, None] / max(1, n - 1)
    np.testing.assert_allclose(found, stats.binom.pmf(np.arange(m + 1), m, share), rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-12)


@pytest.mark.parametrize("gamma", [0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize(("n", "m", "k"), [(30, 7, 3), (12, 25, 4), (9, 4, 9)])
def test_corrected_gains_are_the_papers_solution_of_the_papers_problem(n, m, k, gamma):
    gains = 1 / torch.arange(2, k + 2, dtype=torch.float64).log2()
    found = corrected_gains(gains, n, m, gamma).numpy()
    a, p = stats.binom.pmf(np.arange(m + 1), m, np.arange(n)[:, None] / (n - 1)), np.full(n, 1 / n)
    f = np.pad(gains.numpy(), (0, n - k))
    solution = np.linalg.solve((1 - gamma) * a.T @ np.diag(p) @ a + gamma * np.diag(a.T @ p), a.T @ (p * f))
    np.testing.assert_allclose(a @ found, a @ solution, atol=1e-10)

    def objective(g):
        return p @ ((a @ g - f) ** 2 + gamma * (a @ g**2 - (a @ g) ** 2))  # bias² + gamma · variance, at each rank

    best = objective(found)
    for step in np.random.default_rng(0).normal(scale=0.01, size=(50, m + 1)):
        assert objective(found + step) > best


def test_at_gamma_one_a_sampled_rank_counts_what_its_ranks_count_on_average():
    # 3 candidates, 1 negative: rank 1 is sampled as 1, rank 3 as 2, rank 2 as either with even chances; only rank 1 counts
    assert corrected_gains(tensor([1.0]).double(), 3, 1, 1.0).tolist() == pytest.approx([1 / (1 + 1 / 2), 0 / (1 / 2 + 1)])


def test_with_negatives_enough_to_tell_all_ranks_apart_no_bias_is_left():
    gains = tensor([1, 1 / log2(3)], dtype=torch.float64)
    found = rank_probabilities(torch.arange(1, 6), 5, 40) @ corrected_gains(gains, 5, 40, 1e-6)
    assert found.tolist() == pytest.approx([1, 1 / log2(3), 0, 0, 0], abs=1e-4)


def test_less_gamma_is_less_bias_and_more_variance():
    a, f = rank_probabilities(torch.arange(1, 201), 200, 20), torch.cat([torch.ones(10), torch.zeros(190)]).double()
    bias, variance = [], []
    for gamma in (1.0, 0.1, 0.01, 0.001):
        g = corrected_gains(torch.ones(10, dtype=torch.float64), 200, 20, gamma)
        bias.append((a @ g - f).square().mean().item())
        variance.append((a @ g**2 - (a @ g) ** 2).mean().item())
    assert bias == sorted(bias, reverse=True)
    assert variance == sorted(variance)


def test_the_sampled_metric_can_put_two_models_in_the_wrong_order_and_the_corrected_one_does_not():
    """In expectation, whoever is asked and however often: A puts every relevant item at rank 60 of 1,001, B four in ten at rank 2."""
    m, n, k = 100, 1001, 10
    a = rank_probabilities(torch.arange(1, n + 1), n, m)
    naive, corrected = torch.cat([torch.ones(k), torch.zeros(m + 1 - k)]).double(), corrected_gains(torch.ones(k).double(), n, m, 0.1)
    in_place = {"A": [60] * 10, "B": [2] * 4 + [700] * 6}

    def mean(gains, name):
        return torch.stack([a[rank - 1] @ gains for rank in in_place[name]]).mean().item()

    assert mean(naive, "A") == pytest.approx(stats.binom.cdf(9, m, 59 / 1000))  # 0.93
    assert mean(naive, "B") == pytest.approx(0.4 * stats.binom.cdf(9, m, 1 / 1000) + 0.6 * stats.binom.cdf(9, m, 699 / 1000))  # 0.40
    assert mean(naive, "A") > 2 * mean(naive, "B")
    assert 0.3 < mean(corrected, "B") < 0.5  # recall@10 is 0.4
    assert -0.1 < mean(corrected, "A") < 0.1  # recall@10 is 0


def test_candidates_are_what_was_neither_had_nor_liked(log):
    train, judged = log
    drawn = Candidates(judged).draw(judged.truth.users, judged.truth.items, 500, np.random.default_rng(0))
    for user, row in zip(judged.truth.users.tolist(), drawn, strict=True):
        known = set(train.items[train.users == user].tolist()) | set(judged.truth.items[judged.truth.users == user].tolist())
        assert set(row.tolist()) == set(range(40)) - known  # all of them come, in 500 draws among 20
    assert Candidates(judged).others.tolist() == [40 - 16 - 4] * 60


def test_draws_are_uniform(log):
    _, judged = log
    drawn = Candidates(judged).draw(tensor([5]), tensor([0]), 20_000, np.random.default_rng(1))
    counts = torch.bincount(drawn[0])
    assert stats.chisquare(counts[counts > 0]).pvalue > 0.001


def test_draws_are_the_same_in_one_call_or_in_several(log):
    _, judged = log
    candidates, (users, items) = Candidates(judged), (judged.truth.users, judged.truth.items)
    whole, rng = candidates.draw(users, items, 7, np.random.default_rng(2)), np.random.default_rng(2)
    parts = [candidates.draw(*each, 7, rng) for each in zip(users.split(11), items.split(11), strict=True)]
    assert torch.equal(torch.cat(parts), whole)


def test_where_repeats_are_legitimate_what_was_had_is_a_candidate():
    known, truth = interactions([(0, 0), (0, 1)], 1, 5), interactions([(0, 1), (0, 2)], 1, 5)
    judged = replace(holdout(interactions([], 1, 5), truth), history=known, seen=None)
    drawn = Candidates(judged).draw(tensor([0]), tensor([1]), 100, np.random.default_rng(0))
    assert drawn.unique().tolist() == [0, 3, 4]


def test_who_has_nothing_else_to_draw_has_rank_one():
    judged = holdout(interactions([(0, 0), (0, 1)], 1, 4), interactions([(0, 2), (0, 3)], 1, 4))
    found = sampled_evaluation(Scores(torch.zeros(1, 4)), judged, "mrr@3", 5, seed=0, full=True)
    assert (found.candidates.item(), found.naive.item(), found.full.item()) == (1, 1.0, 1.0)
    assert found.corrected.item() == pytest.approx(1.0)


def loop(scores, judged, user, item, others):
    """The rank of an item among others, the slow and obvious way."""
    place = {each: (-scores[user][each], judged.ties[each].item()) for each in (item, *others)}
    return 1 + sum(place[other] < place[item] for other in others)


GAIN = {"recall": lambda rank: 1.0, "hit_rate": lambda rank: 1.0, "ndcg": lambda rank: 1 / log2(rank + 1), "mrr": lambda rank: 1 / rank}


@pytest.mark.parametrize("name", GAIN)
@pytest.mark.parametrize("k", [1, 4])
def test_every_value_equals_a_plain_loop_where_most_scores_are_tied(log, name, k):
    _, judged = log
    scores = np.random.default_rng(0).integers(0, 5, size=(60, 40))
    found = sampled_evaluation(Scores(torch.from_numpy(scores).float()), judged, f"{name}@{k}", 6, seed=3, full=True)
    truth = list(zip(judged.truth.users.tolist(), judged.truth.items.tolist(), strict=True))
    drawn = Candidates(judged).draw(judged.truth.users, judged.truth.items, 6, np.random.default_rng(3)).tolist()
    out = {
        (user, item) for part in (judged.truth, judged.seen) for user, item in zip(part.users.tolist(), part.items.tolist(), strict=True)
    }
    rest = {user: [item for item in range(40) if (user, item) not in out] for user in range(60)}
    gains = tensor([GAIN[name](rank) for rank in range(1, k + 1)], dtype=torch.float64)
    counted = corrected_gains(gains, 40 - 16 - 3, 6, 0.1).tolist()
    expected = np.zeros((3, 60))
    for (user, item), others in zip(truth, drawn, strict=True):
        low, high = loop(scores, judged, user, item, others), loop(scores, judged, user, item, rest[user])
        values = (GAIN[name](low) if low <= k else 0, counted[low - 1], GAIN[name](high) if high <= k else 0)
        expected[:, user] += np.array(values) / 4  # four items to find, each
    np.testing.assert_allclose(np.stack([found.naive, found.corrected, found.full]), expected, atol=1e-12)


def test_neither_batches_nor_chunks_change_anything(log, monkeypatch):
    train, judged = log
    model = create("ease", l2=10).fit(train)
    whole = sampled_evaluation(model, judged, "ndcg@5", 10, seed=0, full=True)
    monkeypatch.setattr(scoring, "SCORE_BYTES", 4 * 40 * 7)
    monkeypatch.setattr(sampled, "CELLS", 50)
    pieces = sampled_evaluation(model, judged, "ndcg@5", 10, seed=0, full=True)
    for one, other in ((whole.naive, pieces.naive), (whole.corrected, pieces.corrected), (whole.full, pieces.full)):
        assert torch.equal(one, other)


def test_the_seed_decides_and_all_models_meet_the_same_items(log):
    train, judged = log
    model = create("ease", l2=10).fit(train)
    first, again, other = (sampled_evaluation(model, judged, "ndcg@5", 10, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.naive, again.naive)
    assert not torch.equal(first.naive, other.naive)
    backwards = Scores(-torch.arange(40.0).expand(60, 40))
    twice = Scores(-2 * torch.arange(40.0).expand(60, 40))  # another model, the same order
    assert torch.equal(*(sampled_evaluation(each, judged, "mrr@5", 10, seed=0).naive for each in (backwards, twice)))


def test_means_are_what_the_chances_of_ranks_say():
    """3,000 people with the relevant item at rank 3 of 9, each against 5 others."""
    judged = holdout(interactions([], 3000, 9), interactions([(user, 2) for user in range(3000)], 3000, 9))
    found = sampled_evaluation(Scores(-torch.arange(9.0).expand(3000, 9)), judged, "ndcg@2", 5, seed=0, full=True)
    chance = stats.binom.pmf(np.arange(6), 5, 2 / 8)
    error = 4 * found.naive.std().item() / 3000**0.5
    assert found.naive.mean().item() == pytest.approx(chance[0] + chance[1] / log2(3), abs=error)
    gains = corrected_gains(rank_gains("ndcg@2", 9), 9, 5, 0.1).numpy()
    assert found.corrected.mean().item() == pytest.approx(chance @ gains, abs=4 * found.corrected.std().item() / 3000**0.5)
    assert found.full.unique().tolist() == [0.0]  # rank 3 is beyond the cut-off


@pytest.mark.parametrize("model", ["popularity", "ease"])
@pytest.mark.parametrize("metric", ["recall@10", "ndcg@10", "mrr@10"])
def test_the_correction_takes_nearly_all_of_the_bias_away(model, metric):
    train, judged = latent_log(n_users=800, n_items=400, events_each=20)
    fitted = create(model).fit(train)
    found = [sampled_evaluation(fitted, judged, metric, 50, seed=seed, full=True) for seed in range(5)]
    full = found[0].full.mean().item()
    naive, corrected = (np.mean([getattr(each, which).mean().item() for each in found]) for which in ("naive", "corrected"))
    assert 0.05 < full < 0.3
    assert naive > 2 * full
    assert abs(corrected - full) < 0.15 * (naive - full)


def test_the_order_of_two_models_is_reversed_by_sampling_and_set_right_by_the_correction():
    """The example above, with people: 1,001 candidates, A's relevant item at rank 60, B's at rank 2 for four people in ten."""
    n_users, n_items = 100, 1001
    judged = holdout(interactions([], n_users, n_items), interactions([(user, 0) for user in range(n_users)], n_users, n_items))
    a = -torch.arange(float(n_items)).repeat(n_users, 1)
    b = a.clone()
    a[:, 0] = -59.5  # below the 59 items 1 to 59
    b[:, 0] = torch.where(torch.arange(n_users) % 10 < 4, -1.5, -699.5)
    of_a, of_b = (sampled_evaluation(Scores(each), judged, "recall@10", 100, seed=0, full=True) for each in (a, b))
    assert (of_a.full.mean().item(), of_b.full.mean().item()) == (0, pytest.approx(0.4))
    assert of_a.naive.mean() > 2 * of_b.naive.mean()
    assert of_a.corrected.mean() + 0.2 < of_b.corrected.mean()


def test_people_the_model_cannot_serve_get_the_fallback_and_the_draws_stay():
    known = interactions([(0, 0), (1, 0), (1, 1)], 3, 6)
    judged = holdout(known, interactions([(0, 5), (2, 5)], 3, 6))  # person 2 has no history
    best, worst = torch.zeros(3, 6), torch.zeros(3, 6)
    best[:, 5], worst[:, 5] = 1, -1
    model, fallback = Scores(worst), Scores(best.double())
    model.personal = True
    with pytest.raises(RequestError, match="Made cannot serve 1 of 2 people"):
        sampled_evaluation(model, judged, "recall@1", 3, seed=0)
    assert sampled_evaluation(model, judged, "recall@1", 3, seed=0, fallback=fallback, full=True).full.tolist() == [0, 1]


def test_more_negatives_than_candidates_are_fine(log):
    _, judged = log
    found = sampled_evaluation(Scores(torch.rand(60, 40)), judged, "recall@40", 200, seed=0)
    assert (found.naive <= 1).all()
    assert found.corrected.isfinite().all()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"metric": "ndgc@10"}, 'there is no sampled metric "ndgc". Did you mean "ndcg"?'),
        ({"metric": "ndcg"}, 'the metric "ndcg" should end in a cut-off, as "ndcg@10" does.'),
        ({"metric": "ndcg@ten"}, 'the metric "ndcg@ten" should end in a cut-off'),
        ({"metric": "ndcg@0"}, "k = 0 should be between 1 and 40, the size of the catalogue."),
        ({"metric": "ndcg@-1"}, "k = -1 should be between 1 and 40"),
        ({"metric": "ndcg@41"}, "k = 41 should be between 1 and 40"),
        ({"negatives": 0}, "negatives = 0 should be between 1 and 4096"),
        ({"negatives": 5000}, "negatives = 5000 should be between 1 and 4096; to use more, rank the whole catalogue."),
        ({"gamma": 0.0}, "gamma = 0 should be above 0"),
        ({"gamma": 1.5}, "gamma = 1.5 should be above 0"),
        ({"gamma": float("nan")}, "gamma = nan should be above 0"),
        ({"model": Scores(torch.zeros(60, 39))}, "the scores of Made have shape (60, 39), expected (60, 40)."),
        ({"model": Scores(torch.full((60, 40), -torch.inf))}, "the scores of Made are not all finite: person 0 and item 0 have -inf."),
        ({"holdout": holdout(interactions([(0, 0)], 1, 40), interactions([], 1, 40))}, "nobody is left to judge on the synthetic part"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(log, change, what):
    asked = {"model": Scores(torch.zeros(60, 40)), "holdout": log[1], "metric": "ndcg@10", "negatives": 10, "seed": 0, **change}
    with pytest.raises(ValueError, match=re.escape(what)) as caught:
        sampled_evaluation(**asked)
    assert "\n" not in str(caught.value)


def test_the_bias_is_said_in_words_made_of_the_numbers(log):
    values = dict(zip(("naive", "corrected", "full"), (tensor([value]).double() for value in (0.5, 0.125, 0.1)), strict=True))
    told = SampledEvaluation(
        model="EASE",
        label="synthetic",
        metric="ndcg@10",
        negatives=100,
        gamma=0.1,
        seed=0,
        users=tensor([0]),
        candidates=tensor([1501]),
        **values,
    )
    first = (
        "Against 100 sampled items the ndcg@10 of EASE is 0.500. That is not its ndcg@10: rank 10 there is like rank 136 among "
        "1,501 candidates. Corrected it is 0.125"  # 1 + (10 - 1) · 1500 / 100
    )
    assert told.bias == f"{first}; among all candidates it is 0.100: the bias is +0.400, and +0.025 after correction."
    assert replace(told, full=None).bias == f"{first}; all candidates were not ranked."
    assert repr(told) == "SampledEvaluation(EASE on synthetic: ndcg@10 0.500, corrected 0.125, 1 people)"


def test_a_look_at_a_sealed_part_is_written_down(log, tmp_path):
    train, judged = log
    sealed = replace(judged, ledger=Ledger(tmp_path / "looks.jsonl"), label="log@1/user_time/{}/0/test")
    sampled_evaluation(create("ease").fit(train), sealed, "ndcg@10", 5, seed=0, name="ease")
    (line,) = (tmp_path / "looks.jsonl").read_text().splitlines()
    assert (json.loads(line)["model"], json.loads(line)["settings"]) == ("ease", {"l2": 250.0})
