"""A blend that moves from what is popular to what a person did: its weights by hand, and what it learns where the truth is known."""

import json
from dataclasses import asdict, replace
from math import inf, sqrt

import numpy as np
import pytest
import torch
from torch import tensor

from tests.evaluation.made import Scores
from workbench.coldstart import EvidenceBlend, Trust, blend, learn_trust
from workbench.coldstart.blend import TRUST_AT, HalfAndHalf, mixed, standard, weight
from workbench.errors import NotApplicable
from workbench.evaluation import evaluate
from workbench.testing import interactions
from workbench.testing.synthetic import holdout

METRIC = "ndcg@5"
N, N_ITEMS = 60, 40


def test_half_of_the_weight_has_moved_at_half_at():
    assert weight(tensor([0, 1, 3, 9, 27]), 3.0).tolist() == pytest.approx([0, 1 / 4, 1 / 2, 3 / 4, 9 / 10])
    for at in TRUST_AT[1:-1]:
        assert weight(tensor([at]), at).tolist() == [1 / 2]


def test_without_an_event_nothing_has_moved_however_much_it_is_trusted():
    assert [weight(tensor([0]), at).item() for at in TRUST_AT] == [0.0] * len(TRUST_AT)


def test_at_0_all_of_it_moves_with_the_first_event_and_at_infinity_never():
    lengths = tensor([0, 1, 2, 1000])
    assert weight(lengths, 0.0).tolist() == [0, 1, 1, 1]
    assert weight(lengths, inf).tolist() == [0, 0, 0, 0]
    assert weight(lengths, inf).dtype == weight(lengths, 3.0).dtype == torch.float64


def test_a_blend_by_hand():
    """One event: content has 1 / (1 + 1) of what behaviour, 1 / (1 + 3), leaves. Three: 3 / 4 and 3 / 6. None: all is prior."""
    prior, content, behaviour = (tensor([row] * 3, dtype=torch.float64) for row in ([8.0, 0.0], [0.0, 4.0], [1.0, -1.0]))
    found = mixed([prior, content, behaviour], tensor([0, 1, 3]), Trust(content=1.0, behaviour=3.0))
    one = [3 / 4 * (1 / 2 * 8 + 1 / 2 * 0) + 1 / 4 * 1, 3 / 4 * (1 / 2 * 0 + 1 / 2 * 4) - 1 / 4 * 1]
    three = [1 / 2 * (1 / 4 * 8 + 3 / 4 * 0) + 1 / 2 * 1, 1 / 2 * (1 / 4 * 0 + 3 / 4 * 4) - 1 / 2 * 1]
    assert found.tolist() == [[8.0, 0.0], one, three]


def test_scores_of_each_person_are_put_on_one_scale():
    """1, 2, 3: mean 2, variance 2 / 3."""
    found = standard(tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0], [5.0, 5.0, 5.0]]))
    unit = 1 / sqrt(2 / 3)
    assert found[:2].tolist() == [pytest.approx([-unit, 0, unit])] * 2
    assert found[2].tolist() == [0, 0, 0]
    assert found.dtype == torch.float64


@pytest.mark.parametrize("n_items", [3, 6, 10, 1682])
@pytest.mark.parametrize("value", [0.1, 1 / 3, -7.7])
def test_where_all_scores_are_equal_they_are_zeros_though_their_mean_is_rounded(value, n_items):
    assert standard(torch.full((2, n_items), value, dtype=torch.float64)).tolist() == [[0.0] * n_items] * 2


def test_a_trust_reads_as_a_sentence():
    assert Trust(content=0.0, behaviour=10.0).text == "content from the first event on; behaviour half after 10 events"
    assert Trust(content=inf, behaviour=3.0).text == "content never; behaviour half after 3 events"
    assert json.loads(json.dumps(asdict(Trust(content=inf, behaviour=0.0)))) == {"content": inf, "behaviour": 0.0}


def test_one_event_is_no_events():
    assert Trust(content=1.0, behaviour=inf).text == "content half after 1 event; behaviour never"


def judged(known, seed=0):
    """60 people with so many events each, who like three other items."""
    rng = np.random.default_rng(seed)
    dealt = rng.permuted(np.tile(np.arange(N_ITEMS), (N, 1)), axis=1)[:, : 3 + max(known)]
    truth = interactions([(user, int(item)) for user in range(N) for item in dealt[user, :3]], N, N_ITEMS)
    logs = [interactions([(user, int(item)) for user in range(N) for item in dealt[user, 3 : 3 + n]], N, N_ITEMS) for n in known]
    return [holdout(log, truth) for log in logs], truth.csr().toarray()


def mean_of(scorers, trust, holdouts):
    """What `evaluate` says of the blend, over depths alike."""
    return np.mean([evaluate(EvidenceBlend(scorers, trust), each, ks=(5,)).mean(METRIC) for each in holdouts])


def noise(seed, personal=True):
    return Scores(np.random.default_rng(seed).random((N, N_ITEMS)), personal=personal)


def test_where_behaviour_is_the_truth_it_is_trusted_from_the_first_event_on():
    holdouts, truth = judged((0, 1, 5))
    scorers = [noise(1, personal=False), noise(2), Scores(truth, personal=True)]
    trust = learn_trust(scorers, holdouts, METRIC)
    assert trust.behaviour == 0.0
    nothing = evaluate(noise(1, personal=False), holdouts[0], ks=(5,)).mean(METRIC)
    assert mean_of(scorers, trust, holdouts) == pytest.approx((nothing + 1 + 1) / 3)


def test_where_content_is_the_truth_it_is_trusted_and_behaviour_is_not():
    holdouts, truth = judged((1, 5))
    scorers = [noise(1, personal=False), Scores(truth, personal=True), noise(2)]
    trust = learn_trust(scorers, holdouts, METRIC)
    assert trust.content == 0.0
    assert weight(tensor([5]), trust.behaviour) < 1 / 2
    assert mean_of(scorers, trust, holdouts) == pytest.approx(1)


def test_where_the_history_says_nothing_the_prior_keeps_the_weight():
    """Of the prior's scores half is the truth, the other half noise: what else is added takes away."""
    holdouts, truth = judged((1, 5, 10))
    prior = Scores(truth * 0.5 + np.random.default_rng(3).random((N, N_ITEMS)))
    scorers = [prior, noise(1), noise(2)]
    trust = learn_trust(scorers, holdouts, METRIC)
    alone = np.mean([evaluate(prior, each, ks=(5,)).mean(METRIC) for each in holdouts])
    assert 0.3 < alone < 0.9
    assert weight(tensor([10]), trust.behaviour) <= 0.25
    assert weight(tensor([10]), trust.content) <= 0.25
    assert alone <= mean_of(scorers, trust, holdouts) < alone + 0.03, "never is among what is tried"


def test_what_is_learnt_is_the_trust_with_which_the_blend_is_best():
    """By what an evaluation says of each, over all depths alike."""
    holdouts, truth = judged((0, 2, 5))
    scorers = [noise(1, personal=False), Scores(truth + np.random.default_rng(4).random((N, N_ITEMS)) * 2, personal=True), noise(2)]
    trust = learn_trust(scorers, holdouts, METRIC)
    others = [Trust(content=a, behaviour=b) for a in TRUST_AT[::3] for b in TRUST_AT]
    best = max(mean_of(scorers, each, holdouts) for each in others)
    assert mean_of(scorers, trust, holdouts) >= best - 1e-12
    assert learn_trust(scorers, holdouts, METRIC) == trust


@pytest.mark.parametrize("people", [7, N])
def test_however_many_people_are_asked_about_at_once_the_same_is_learnt(monkeypatch, people):
    holdouts, truth = judged((0, 2, 5))
    scorers = [noise(1, personal=False), Scores(truth + np.random.default_rng(4).random((N, N_ITEMS)) * 2, personal=True), noise(2)]
    whole, asked = learn_trust(scorers, holdouts, METRIC), []
    monkeypatch.setattr(blend, "SCORE_BYTES", 32 * N_ITEMS * people)
    monkeypatch.setattr(blend, "_parts", lambda scorers, batch, real=blend._parts: asked.append(len(batch)) or real(scorers, batch))
    assert learn_trust(scorers, holdouts, METRIC) == whole
    assert max(asked) == people
    assert sum(asked) == 3 * N, "each person once at each depth"


def halves():
    """Content is the truth of the even people and a lie about the odd ones, behaviour the other way round: (scorers, holdouts, even)."""
    holdouts, truth = judged((1, 5))
    even = torch.arange(N) % 2 == 0
    told = np.where(even[:, None], truth, 1 - truth)
    return [noise(1, personal=False), Scores(told, personal=True), Scores(1 - told, personal=True)], holdouts, even


def test_only_who_is_among_those_asked_teaches():
    scorers, holdouts, even = halves()
    assert learn_trust(scorers, holdouts, METRIC, ~even).behaviour == 0.0
    of_even = learn_trust(scorers, holdouts, METRIC, even)
    assert of_even.content == 0.0
    assert weight(tensor([5]), of_even.behaviour) < 1 / 2
    assert learn_trust(scorers, holdouts, METRIC, torch.ones(N, dtype=torch.bool)) == learn_trust(scorers, holdouts, METRIC)


def test_where_nobody_is_among_those_asked_nothing_is_learnt():
    scorers, holdouts, _ = halves()
    with pytest.raises(NotApplicable, match=r"^nobody is left to learn the blend on$"):
        learn_trust(scorers, holdouts, METRIC, torch.zeros(N, dtype=torch.bool))


def test_each_half_is_served_by_its_own_scorer_and_a_stranger_by_that_of_the_first_person():
    (some,), _ = judged((1,))
    first, second = noise(1), noise(2)
    both = HalfAndHalf(first, second, torch.arange(N) % 3 == 0)
    batch = some.batch(some.users)
    mine = (some.users % 3 == 0)[:, None]
    assert torch.equal(both.score(batch), torch.where(mine, first.score(batch), second.score(batch)))
    stranger = replace(batch, users=torch.full_like(batch.users, -1))
    assert torch.equal(HalfAndHalf(first, second, torch.ones(N, dtype=torch.bool)).score(stranger), first.score(stranger))
    assert (both.title, both.inductive, both.personal) == (EvidenceBlend.title, EvidenceBlend.inductive, EvidenceBlend.personal)


def test_of_equals_behaviour_is_trusted_first():
    """Without an event no trust matters; where all three say the same neither."""
    holdouts, truth = judged((0,))
    assert learn_trust([noise(1), noise(2), Scores(truth)], holdouts, METRIC) == Trust(content=0.0, behaviour=0.0)
    holdouts, truth = judged((3,))
    assert learn_trust([Scores(truth)] * 3, holdouts, METRIC) == Trust(content=0.0, behaviour=0.0)


def test_where_nobody_is_judged_nothing_is_learnt():
    holdouts, _ = judged((1,))
    nobody = holdouts[0].select(torch.zeros(N, dtype=torch.bool))
    with pytest.raises(NotApplicable, match=r"^nobody is left to learn the blend on$"):
        learn_trust([noise(1), noise(2), noise(3)], [nobody], METRIC)


@pytest.mark.parametrize(
    "trust", [Trust(content=0.0, behaviour=0.0), Trust(content=3.0, behaviour=inf), Trust(content=1.0, behaviour=10.0)]
)
def test_who_has_no_history_is_served_by_the_prior(trust):
    (none,), _ = judged((0,))
    prior = noise(1, personal=False)
    blend = EvidenceBlend([prior, noise(2), noise(3)], trust)
    batch = none.batch(none.users)
    assert torch.equal(blend.score(batch), standard(prior.score(batch)))
    ours, theirs = (evaluate(model, none, ks=(5,)) for model in (blend, prior))
    assert torch.equal(ours.top, theirs.top)
    assert not ours.served_by_fallback.any()


def test_what_needs_a_history_says_nothing_without_one_whatever_its_scores():
    (none,), _ = judged((0,))
    blend = EvidenceBlend([noise(1, personal=True), noise(2), noise(3)], Trust(content=1.0, behaviour=3.0))
    assert not blend.score(none.batch(none.users)).any()


def test_trusted_from_the_first_event_on_it_is_behaviour_itself_for_whoever_has_one():
    (some,), _ = judged((1,))
    behaviour, batch = noise(3), some.batch(some.users)
    blend = EvidenceBlend([noise(1, personal=False), noise(2), behaviour], Trust(content=1.0, behaviour=0.0))
    assert torch.equal(blend.score(batch), standard(behaviour.score(batch)))
    assert torch.equal(evaluate(blend, some, ks=(5,)).top, evaluate(behaviour, some, ks=(5,)).top)


def test_a_person_gets_the_same_whoever_else_is_asked_about():
    """Some with, some without a history, in one batch and one by one."""
    log = interactions([(user, item) for user in range(0, N, 2) for item in range(1 + user % 5)], N, N_ITEMS)
    blend = EvidenceBlend([noise(1, personal=False), noise(2), noise(3)], Trust(content=1.0, behaviour=3.0))
    together = blend.score(log.batch(torch.arange(N)))
    alone = torch.cat([blend.score(log.batch(tensor([user]))) for user in range(N)])
    assert torch.equal(together, alone)
