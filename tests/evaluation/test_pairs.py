"""AUC, GAUC and log loss against scikit-learn and by hand; intervals that know that the pairs of one person are alike."""

import doctest
import json
from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, t
from sklearn import metrics as sklearn_metrics
from torch import tensor

from workbench.data.ledger import Ledger
from workbench.errors import NotApplicable, RequestError
from workbench.evaluation import pairs, scoring
from workbench.evaluation.clusters import auc_interval, effective_df, ratio_interval
from workbench.evaluation.pairs import auc, auc_by_person, evaluate_pairs, gauc, log_loss
from workbench.evaluation.tally import Tally
from workbench.models import create
from workbench.testing import interactions, latent_log
from workbench.testing.synthetic import holdout

USERS = tensor([7, 7, 7, 7, 9, 9, 4])
SCORES = tensor([0.1, 0.4, 0.4, 0.8, 0.2, 0.6, 0.5])
LABELS = tensor([0, 0, 1, 1, 1, 0, 1])


class Scores:
    """Fixed scores, by code of the person."""

    title, inductive, personal = "Made", True, False

    def __init__(self, scores):
        self.scores = scores

    def score(self, batch):
        return self.scores[batch.users]


def drawn(seed, n=300, people=20, levels=6):
    """Pairs of people in no order, with few different scores."""
    rng = np.random.default_rng(seed)
    return (torch.from_numpy(rng.integers(0, high, n)) for high in (people, levels, 2))


def test_the_examples_in_the_docstrings_hold():
    result = doctest.testmod(pairs)
    assert (result.attempted, result.failed) == (4, 0)


def test_auc_counts_won_comparisons_and_half_of_the_ties():
    # 0.4, 0.8, 0.2 and 0.5, labelled 1, against 0.1, 0.4 and 0.6, labelled 0
    won, tied = 1 + 3 + 1 + 2, 1
    assert auc(SCORES, LABELS) == (won + tied / 2) / (4 * 3)


def test_each_person_is_judged_on_their_own_pairs():
    people, values = auc_by_person(USERS, SCORES, LABELS)
    assert people.tolist() == [4, 7, 9]
    assert values.tolist()[1:] == [(3 + 1 / 2) / 4, 0 / 1]
    assert values[0].isnan()  # person 4 has one pair, labelled 1


def test_gauc_weights_people_by_their_pairs_and_counts_whom_it_leaves_out():
    assert gauc(USERS, SCORES, LABELS) == ((4 * 0.875 + 2 * 0) / (4 + 2), 1)


def test_log_loss_is_minus_the_log_of_what_was_given_to_the_label():
    found = log_loss(tensor([0.5, 0.25, 0.25, 1.0, 0.0], dtype=torch.float64), tensor([1, 1, 0, 1, 1]))
    assert found.tolist() == pytest.approx([-log(1 / 2), -log(1 / 4), -log(3 / 4), 0, -log(2**-52)])  # 2⁻⁵² is float64's epsilon
    assert log_loss(tensor([1.0]), tensor([0])).item() == log_loss(tensor([0.0]), tensor([1])).item()  # as dear on either side


@pytest.mark.parametrize("seed", range(5))
def test_scikit_learn_agrees_where_most_scores_are_tied(seed):
    users, scores, labels = drawn(seed)
    assert auc(scores, labels) == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores), abs=1e-14)
    people, values = auc_by_person(users, scores, labels)
    for person, value in zip(people, values, strict=True):
        own = users == person
        both_labels = len(labels[own].unique()) == 2
        expected = sklearn_metrics.roc_auc_score(labels[own], scores[own]) if both_labels else torch.nan
        assert value == pytest.approx(expected, abs=1e-14, nan_ok=True)
    probabilities = scores / 5  # 0 and 1 among them
    assert log_loss(probabilities, labels).mean() == pytest.approx(sklearn_metrics.log_loss(labels, probabilities.double()), rel=1e-12)


def test_many_pairs_are_counted_exactly():
    scores = torch.arange(2**20) % 2**19  # each score twice, once with either label: as many are won as are lost
    assert auc(scores, torch.arange(2**20) >= 2**19) == 0.5


PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(-3, 3), st.integers(0, 1)), min_size=2, max_size=40)


def columns(rows):
    return tensor(rows).T


def both(users, scores, labels):
    """AUC and GAUC; None where there is none."""
    found = []
    for judge, arguments in ((auc, (scores, labels)), (gauc, (users, scores, labels))):
        try:
            found.append(judge(*arguments))
        except NotApplicable:
            found.append(None)
    return found


@given(PAIRS)
def test_only_the_order_of_scores_matters(rows):
    users, scores, labels = columns(rows)
    assert both(users, scores.double().exp(), labels) == both(users, scores, labels) == both(users, scores * 7 - 2, labels)


@given(PAIRS)
def test_swapped_labels_turn_an_auc_into_what_it_lacks_of_one(rows):
    users, scores, labels = columns(rows)
    (one, grouped), (other, other_grouped) = both(users, scores, labels), both(users, scores, 1 - labels)
    assert one is None or other == pytest.approx(1 - one, abs=1e-12)
    assert grouped is None or other_grouped == (pytest.approx(1 - grouped[0], abs=1e-12), grouped[1])


@given(PAIRS, st.randoms(use_true_random=False), st.permutations(range(5)))
def test_neither_the_order_of_pairs_nor_the_names_of_people_matter(rows, random, names):
    shuffled = random.sample(rows, len(rows))
    renamed = [(names[user] + 10, score, label) for user, score, label in shuffled]
    before, after = both(*columns(rows)), both(*columns(renamed))
    assert after[0] == before[0]
    assert (before[1] is None) == (after[1] is None)
    assert before[1] is None or after[1] == (pytest.approx(before[1][0], abs=1e-12), before[1][1])  # summed in another order


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda: auc(SCORES, LABELS * 2), "labels.2. is 2; labels are 0 or 1"),
        (lambda: auc(SCORES, LABELS[1:]), "labels have shape .6,.; there should be one for each of 7 pairs"),
        (lambda: auc(SCORES * torch.nan, LABELS), "scores.0. is nan"),
        (lambda: auc(SCORES, torch.ones(7)), "AUC needs pairs of both labels: 7 are labelled 1 and 0 are labelled 0"),
        (lambda: auc(tensor([]), tensor([])), "0 are labelled 1 and 0 are labelled 0"),
        (lambda: auc_by_person(USERS[1:], SCORES, LABELS), "6 users and 7 scores"),
        (lambda: gauc(torch.arange(7), SCORES, LABELS), "GAUC needs people with pairs of both labels: none of 7 has"),
        (lambda: log_loss(tensor([0.5, 1.5, -0.1]), tensor([0, 1, 1])), "2 probabilities are outside .0, 1., the first: 1.5 of pair 1"),
        (lambda: log_loss(tensor([torch.nan]), tensor([1])), "the first: nan of pair 0"),
        (lambda: log_loss(tensor([0.5]), tensor([torch.nan])), "labels.0. is nan"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_one_line(call, what):
    with pytest.raises(RequestError, match=what) as caught:
        call()
    assert "\n" not in str(caught.value)


def clustered(rng, people, shift, sizes):
    """Scores with a part that all pairs of a person share: N(0, 1) + shift · label + N(0, 1). People differ in their share of ones too.

    Two pairs of different people differ by N(shift, 4), two of one person by N(shift, 2): AUC Φ(shift / 2), GAUC Φ(shift / √2).
    """
    person = np.repeat(np.arange(people), sizes)
    labels = rng.random(len(person)) < rng.beta(0.8, 3.2, people)[person]
    scores = rng.normal(size=people)[person] + shift * labels + rng.normal(size=len(person))
    return (torch.from_numpy(each) for each in (person, scores, labels))


def even(rng, people):
    return rng.integers(5, 25, people)


def skewed(rng, people):
    """Many people with few pairs, few with many: of 40 people one has a sixth of all pairs, in the median."""
    return np.ceil(np.exp(rng.normal(2, 1.2, people))).astype(int)


def share_of_coverage(interval_of, truth, sizes, replications, people=40):
    rng = np.random.default_rng(3)
    found = [interval_of(*clustered(rng, people, 1.0, sizes(rng, people))) for _ in range(replications)]
    return np.mean([interval.low <= truth <= interval.high for interval in found])


def of_auc(person, scores, labels):
    return auc_interval(Tally.of(scores, labels, person, own=False))


def of_auc_without_people(person, scores, labels):
    return auc_interval(Tally.of(scores, labels, torch.arange(len(person)), own=False))


def of_gauc(person, scores, labels):
    tally = Tally.of(scores, labels, person, own=True)
    kept = ~tally.auc.isnan()
    return ratio_interval((tally.auc * tally.pairs)[kept], tally.pairs[kept], resamples=500)


TRUE_AUC, TRUE_GAUC = norm.cdf(1 / 2), norm.cdf(1 / 2**0.5)


@pytest.mark.parametrize("sizes", [even, skewed])
@pytest.mark.parametrize(("interval_of", "truth"), [(of_auc, TRUE_AUC), (of_gauc, TRUE_GAUC)])
def test_intervals_cover(interval_of, truth, sizes):
    assert 0.91 <= share_of_coverage(interval_of, truth, sizes, 300) <= 0.99  # nominal 0.95; binomial spread of 300 is ± 0.025


def test_the_interval_of_log_loss_covers():
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(300):
        person = np.repeat(np.arange(40), even(rng, 40))
        labels = rng.random(len(person)) < rng.beta(2, 2, 40)[person]
        p = rng.choice([0.1, 0.4], len(person))
        losses = log_loss(torch.from_numpy(p), torch.from_numpy(labels)).numpy()
        interval = ratio_interval(*(torch.from_numpy(np.bincount(person, w, 40).astype(float)) for w in (losses, None)), resamples=500)
        covered += interval.low <= -log(0.1 * 0.4 * 0.9 * 0.6) / 4 <= interval.high  # half of the labels are 1, whatever the forecast
    assert 0.91 <= covered / 300 <= 0.99


def test_to_forget_whose_pairs_they_are_is_to_claim_too_much():
    assert share_of_coverage(of_auc_without_people, TRUE_AUC, skewed, 300) < 0.8


@pytest.mark.slow
@pytest.mark.parametrize("people", [12, 20, 80])
@pytest.mark.parametrize("sizes", [even, skewed])
def test_the_interval_of_auc_covers_for_few_people_and_for_many(people, sizes):
    assert 0.92 <= share_of_coverage(of_auc, TRUE_AUC, sizes, 2000, people) <= 0.995


def test_the_variance_of_auc_is_obuchowskis():
    """Summed in the obvious way, and turned into an interval of the logit."""
    users, scores, labels = drawn(1, n=60, people=8)
    s, y, w = scores.tolist(), labels.tolist(), users.tolist()
    ones, zeros = ([i for i in range(60) if y[i] == label] for label in (1, 0))
    beats = {(i, j): (s[i] > s[j]) + (s[i] == s[j]) / 2 for i in ones for j in zeros}
    value = sum(beats.values()) / (len(ones) * len(zeros))
    v10 = {i: sum(beats[i, j] for j in zeros) / len(zeros) for i in ones}
    v01 = {j: sum(beats[i, j] for i in ones) / len(ones) for j in zeros}
    d10 = [sum(v10[i] - value for i in ones if w[i] == person) for person in range(8)]
    d01 = [sum(v01[j] - value for j in zeros if w[j] == person) for person in range(8)]
    s10, s01 = 8 / 7 * sum(d * d for d in d10) / len(ones), 8 / 7 * sum(d * d for d in d01) / len(zeros)
    s11 = 8 / 7 * sum(a * b for a, b in zip(d10, d01, strict=True))
    variance = s10 / len(ones) + s01 / len(zeros) + 2 * s11 / (len(ones) * len(zeros))
    found = auc_interval(Tally.of(scores, labels, users, own=False), level=0.5)
    low, high = (log(x / (1 - x)) for x in (found.low, found.high))
    tally = Tally.of(scores, labels, users, own=False)
    reach = t.ppf(0.75, min(effective_df(tally.ones), effective_df(tally.zeros)))
    assert found.value == pytest.approx(value)
    assert (high - low) / 2 * value * (1 - value) / reach == pytest.approx(variance**0.5)


def test_one_pair_each_gives_delongs_variance():
    _, scores, labels = drawn(2, n=80)
    tally = Tally.of(scores, labels, torch.arange(80), own=False)
    ones, zeros = tally.ones > 0, tally.zeros > 0
    v10, v01 = tally.ones_won[ones] / zeros.sum(), tally.zeros_lost[zeros] / ones.sum()
    delong = (v10.var() / ones.sum() + v01.var() / zeros.sum()).item() ** 0.5
    found, value = auc_interval(tally), auc(scores, labels)
    half = (log(found.high / (1 - found.high)) - log(found.low / (1 - found.low))) / 2 * value * (1 - value)
    assert half == pytest.approx(1.96 * delong, rel=0.05)  # Student's t of some 40 is 2.02


def test_where_nothing_varies_or_one_person_is_all_there_is():
    two = tensor([0, 0, 1, 1])
    perfect = auc_interval(Tally.of(tensor([0.0, 1, 0, 1]), tensor([0, 1, 0, 1]), two, own=False))
    assert (perfect.value, perfect.known, perfect.n) == (1.0, False, 2)
    constant = auc_interval(Tally.of(torch.zeros(4), tensor([0, 1, 0, 1]), two, own=False))
    assert (constant.low, constant.high) == pytest.approx((0.5, 0.5))
    assert not auc_interval(Tally.of(tensor([0.0, 1, 2, 3]), tensor([0, 1, 0, 0]), two, own=False)).known  # one person has all the ones
    alone = ratio_interval(tensor([1.0]), tensor([4.0]))
    assert (alone.value, alone.known) == (0.25, False)
    same = ratio_interval(tensor([1.0, 2, 3]).double() / 3, tensor([1.0, 2, 3]).double())
    assert (same.value, same.low, same.high) == pytest.approx((1 / 3, 1 / 3, 1 / 3))


def test_people_count_for_less_where_few_have_most_of_the_pairs():
    assert effective_df(torch.ones(10)) == pytest.approx(9)
    assert effective_df(tensor([5.0, 5, 0, 0])) == pytest.approx(1)
    assert effective_df(tensor([97.0, 1, 1, 1])) == 1  # 100² / (97² + 3) - 1 is 0.06


@pytest.fixture(scope="module")
def log_and_holdout():
    return latent_log(n_users=60, n_items=40, events_each=20)


def some_pairs(seed=0, n=500):
    rng = np.random.default_rng(seed)
    return (torch.from_numpy(rng.integers(0, high, n)) for high in (60, 40, 2))


def test_a_model_is_judged_by_the_scores_it_gives_the_pairs(log_and_holdout):
    _, judged = log_and_holdout
    users, items, labels = some_pairs()
    p = torch.from_numpy(np.random.default_rng(1).integers(0, 9, (60, 40)) / 8)
    found = evaluate_pairs(Scores(p), judged, users, items, labels, probabilities=True, name="made")
    scores = p[users, items]
    assert found.model == "made"
    assert (found.n_pairs, found.n_positive, found.n_people) == (500, int(labels.sum()), len(users.unique()))
    assert found.auc.value == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores))
    assert (found.gauc.value, found.n_left_out) == (pytest.approx(gauc(users, scores, labels)[0]), gauc(users, scores, labels)[1])
    assert found.log_loss.value == pytest.approx(sklearn_metrics.log_loss(labels, scores))
    assert all(each.low < each.value < each.high for each in (found.auc, found.gauc, found.log_loss))
    torch.testing.assert_close(found.per_user["auc"], auc_by_person(users, scores, labels)[1], rtol=0, atol=0, equal_nan=True)
    assert (found.per_user["log_loss"] * found.per_user["pairs"]).sum() / 500 == pytest.approx(found.log_loss.value)
    assert found.not_applicable == {}
    assert repr(found) == (
        f"PairEvaluation(made: AUC {found.auc.value:.3f}, GAUC {found.gauc.value:.3f}, log loss {found.log_loss.value:.3f}, "
        f"500 pairs of {found.n_people} people)"
    )


def test_batches_and_the_order_of_pairs_change_nothing(log_and_holdout, monkeypatch):
    train, judged = log_and_holdout
    model = create("ease", l2=10).fit(train)
    users, items, labels = some_pairs()
    whole = evaluate_pairs(model, judged, users, items, labels)
    monkeypatch.setattr(scoring, "SCORE_BYTES", 4 * 40 * 7)
    shuffled = torch.from_numpy(np.random.default_rng(2).permutation(500))
    pieces = evaluate_pairs(model, train, users[shuffled], items[shuffled], labels[shuffled])  # the log itself, which is the history here
    assert (pieces.auc, pieces.gauc) == (whole.auc, whole.gauc)
    torch.testing.assert_close(pieces.per_user["auc"], whole.per_user["auc"], rtol=0, atol=0, equal_nan=True)


def test_a_model_that_learns_beats_chance(log_and_holdout):
    train, judged = log_and_holdout
    truth = judged.truth
    others = torch.from_numpy(np.random.default_rng(0).integers(0, 40, len(truth)))
    fresh = ~torch.isin(truth.users * 40 + others, torch.cat([x.users * 40 + x.items for x in (truth, train)]))
    users, items = torch.cat([truth.users, truth.users[fresh]]), torch.cat([truth.items, others[fresh]])
    labels = torch.cat([torch.ones(len(truth)), torch.zeros(int(fresh.sum()))])
    learnt, chance = (evaluate_pairs(create(name).fit(train), judged, users, items, labels) for name in ("ease", "random"))
    assert chance.gauc.low < 0.5 < chance.gauc.high
    assert 0.55 < learnt.gauc.low < learnt.gauc.high < 0.95


def test_a_metric_without_an_answer_is_none_and_says_why(log_and_holdout):
    _, judged = log_and_holdout
    one = evaluate_pairs(Scores(torch.rand(60, 40)), judged, tensor([3, 4]), tensor([5, 6]), tensor([1, 1]))
    assert (one.auc, one.gauc, one.log_loss, one.n_left_out) == (None, None, None, 2)
    assert one.not_applicable == {
        "auc": "AUC needs pairs of both labels: 2 are labelled 1 and 0 are labelled 0.",
        "gauc": "GAUC needs people with pairs of both labels: none of 2 has.",
        "log_loss": "log loss needs probabilities, and the scores were not said to be any.",
    }
    assert repr(one) == "PairEvaluation(Made: 2 pairs of 2 people)"


FINE = torch.rand(60, 40, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("scores", "change", "options", "what"),
    [
        (
            FINE.clone().index_fill_(1, tensor([7]), torch.inf),
            {},
            {},
            "the scores of Made are not all finite: person 3 and item 7 have inf",
        ),
        (
            FINE.clone().index_fill_(0, tensor([4]), torch.nan),
            {},
            {},
            "the scores of Made are not all finite: person 4 and item 0 have nan",
        ),
        (FINE[:, :39], {}, {}, "the scores of Made have shape .2, 39., expected .2, 40."),
        (1 + FINE, {}, {"probabilities": True}, "the scores of Made are no probabilities: 2 probabilities are outside"),
        (FINE, {"users": tensor([])}, {}, "0 users, 2 items and 2 labels"),
        (FINE, {"users": tensor([3, 60])}, {}, "users.1. is 60; codes of users are from 0 to 59"),
        (FINE, {"items": tensor([-1, 5])}, {}, "items.0. is -1; codes of items are from 0 to 39"),
        (FINE, {"labels": tensor([0, 3])}, {}, "labels.1. is 3"),
        (FINE, dict.fromkeys(("users", "items", "labels"), tensor([], dtype=torch.int64)), {}, "there are no pairs to judge"),
    ],
)
def test_pairs_and_scores_that_are_none_stop_the_evaluation(log_and_holdout, scores, change, options, what):
    asked = {"users": tensor([3, 4]), "items": tensor([5, 6]), "labels": tensor([0, 1]), **change}
    with pytest.raises(ValueError, match=what) as caught:
        evaluate_pairs(Scores(scores), log_and_holdout[1], **asked, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("inductive", [True, False])
def test_people_the_model_knows_nothing_of_are_refused(inductive):
    judged = holdout(interactions([(0, 0)], 3, 4), interactions([(0, 1), (2, 1)], 3, 4))
    model = Scores(torch.rand(3, 4))
    model.personal, model.inductive = True, inductive
    assert evaluate_pairs(model, judged, tensor([0, 0]), tensor([1, 2]), tensor([0, 1])).n_pairs == 2
    with pytest.raises(RequestError, match="Made cannot serve 1 of 2 people"):
        evaluate_pairs(model, judged, tensor([0, 2]), tensor([1, 2]), tensor([0, 1]))


def test_a_look_at_a_sealed_part_is_written_down_once_it_can_be_taken(log_and_holdout, tmp_path):
    train, judged = log_and_holdout
    sealed = replace(judged, ledger=Ledger(tmp_path / "looks.jsonl"), label="log@1/user_time/{}/0/test")
    with pytest.raises(RequestError):
        evaluate_pairs(create("ease").fit(train), sealed, tensor([0]), tensor([99]), tensor([1]))
    assert not (tmp_path / "looks.jsonl").exists()
    evaluate_pairs(create("ease").fit(train), sealed, tensor([0]), tensor([9]), tensor([1]))
    (line,) = (tmp_path / "looks.jsonl").read_text().splitlines()
    assert (json.loads(line)["model"], json.loads(line)["settings"]) == ("EASE", {"l2": 250.0})
