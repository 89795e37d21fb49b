from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from workbench.data import detectable_difference
from workbench.errors import RequestError
from workbench.evaluation import compare, compare_groups, decide, evaluate, letters
from workbench.evaluation.comparison import holm, sign_flip_p_value
from workbench.models import create
from workbench.testing import latent_log

METRIC = "ndcg@10"


@pytest.fixture(scope="module")
def base():
    train, judged = latent_log()
    return evaluate(create("popularity").fit(train), judged, name="popularity")


def shifted(base, name, values):
    return replace(base, model=name, title=name, per_user={METRIC: torch.as_tensor(values, dtype=torch.float64)})


def test_the_p_value_is_that_of_all_sign_flips():
    values = np.array([0.3, 0.1, -0.2, 0.4, 0.2, 0.1, 0.0, 0.3])
    sums = [abs(np.dot(signs, values)) for signs in product([-1, 1], repeat=len(values))]
    exact = np.mean([s >= abs(values.sum()) - 1e-12 for s in sums])
    assert sign_flip_p_value(torch.from_numpy(values), seed=0, permutations=200_000) == pytest.approx(exact, abs=0.004)


def test_no_difference_at_all_has_p_value_one():
    assert sign_flip_p_value(torch.zeros(20), seed=0) == 1.0


def test_the_p_value_is_never_zero():
    assert sign_flip_p_value(torch.ones(200), seed=0) == 1 / 10_000


def test_false_alarms_come_at_their_rate():
    rng = np.random.default_rng(3)
    alarms = [sign_flip_p_value(torch.from_numpy(rng.standard_t(3, size=40)), seed=i, permutations=399) < 0.05 for i in range(1000)]
    assert 0.03 < np.mean(alarms) < 0.07  # nominal 0.05; binomial spread of 1,000 is ± 0.014


def test_holm_multiplies_the_smallest_most_and_keeps_the_order():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([3 * 0.01, 2 * 0.03, 2 * 0.03])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])


def test_a_comparison_is_paired(base):
    n = len(base.users)
    noisy = np.random.default_rng(0).random(n)
    a, b = shifted(base, "a", noisy + 0.01), shifted(base, "b", noisy)
    found = compare(a, b, METRIC)
    assert found.difference.value == pytest.approx(0.01)
    assert found.difference.high - found.difference.low < 1e-9  # everyone gains the same, however much people differ
    assert (found.wins, found.losses, found.significant) == (n, 0, True)
    assert compare(b, a, METRIC).difference.value == pytest.approx(-0.01)


def test_other_people_or_another_split_cannot_be_compared(base):
    with pytest.raises(RequestError, match="only evaluations on the same people"):
        compare(base, replace(base, label="other"), METRIC)
    with pytest.raises(RequestError, match="only evaluations on the same people"):
        compare(base, replace(base, users=base.users.flip(0)), METRIC)


def test_groups_cover_together_and_empty_ones_are_left_out(base):
    n = len(base.users)
    rng = np.random.default_rng(0)
    a, b = shifted(base, "a", rng.random(n)), shifted(base, "b", rng.random(n))
    half = torch.arange(n) < n // 2
    alone = compare_groups(a, b, METRIC, {"half": half})[0]
    both = compare_groups(a, b, METRIC, {"half": half, "rest": ~half, "nobody": torch.zeros(n, dtype=torch.bool)})
    assert [c.group for c in both] == ["half", "rest"]
    assert both[0].difference.level == pytest.approx(0.975)
    assert both[0].difference.low < alone.difference.low
    assert both[0].p_value >= alone.p_value
    assert both[0].detectable > alone.detectable


def test_what_can_be_detected_follows_from_spread_and_number(base):
    """(z(97.5 %) + z(80 %)) · sd / √n, and with that power: of 2,000 samples with that true difference about 80 % are significant."""
    assert detectable_difference(943, 0.165) == pytest.approx((1.95996 + 0.84162) * 0.165 / 943**0.5, rel=1e-5)
    assert detectable_difference(1) == float("inf")
    rng = np.random.default_rng(0)
    samples = rng.normal(detectable_difference(100, 0.165), 0.165, size=(2000, 100))
    z = samples.mean(1) / (samples.std(1, ddof=1) / 10)
    assert 0.76 < (np.abs(z) > 1.984).mean() < 0.84  # t(99 degrees of freedom) in place of z
    assert compare(base, base, "ndcg@10").detectable == 0.0


def test_letters_join_what_cannot_be_told_apart(base):
    n = len(base.users)
    rng = np.random.default_rng(0)
    common = rng.random(n)
    values = {
        "best": common + 0.3,
        "good": common + 0.1 + 0.02 * rng.normal(size=n),
        "same": common + 0.1 + 0.02 * rng.normal(size=n),
        "bad": common,
    }
    shared = letters({name: shifted(base, name, v) for name, v in values.items()}, METRIC)
    assert shared == {"best": "a", "good": "b", "same": "b", "bad": "c"}


def test_letters_of_a_chain_overlap(base):
    """x beats z, y cannot be told from either: y carries both letters."""
    n = len(base.users)
    noise = np.random.default_rng(0).normal(size=(3, n))
    noise -= noise.mean(1, keepdims=True)
    values = {name: gap + 0.5 * row for name, gap, row in zip("xyz", (0.12, 0.06, 0.0), noise, strict=True)}
    assert letters({name: shifted(base, name, v) for name, v in values.items()}, METRIC) == {"x": "a", "y": "ab", "z": "b"}


def decision(base, chosen, rival, effect=0.01, groups=None):
    models = {"a": shifted(base, "A", chosen), "b": shifted(base, "B", rival)}
    validation = {"a": shifted(base, "A", [1.0] * len(base.users)), "b": shifted(base, "B", [0.0] * len(base.users))}
    return decide(validation, models, METRIC, groups or {}, effect=effect)


def test_the_sentence_says_what_the_numbers_say(base):
    n = len(base.users)
    rng = np.random.default_rng(0)
    zero, noise = np.zeros(n), rng.normal(size=n)
    noise -= noise.mean()
    assert (
        decision(base, zero + 0.05 + 0.01 * noise, zero)
        .headline()
        .startswith("A ranks what people like next higher than B: NDCG@10 up 0.050 (")
    )
    assert "A is ahead of B by less than the 0.01" in decision(base, zero + 0.005 + 0.001 * noise, zero).headline()
    assert "A, the best on validation, lost to B on test: NDCG@10 down 0.050" in decision(base, zero - 0.05 + 0.01 * noise, zero).headline()
    assert "A is behind B by less than the 0.01" in decision(base, zero - 0.005 + 0.001 * noise, zero).headline()
    assert "A and B do equally well" in decision(base, 0.01 * noise, zero).headline()
    assert "We cannot tell A from B" in decision(base, noise, zero).headline()


@pytest.mark.parametrize(
    ("values", "call"),
    [
        ([0.3] * 4, "too few to say"),  # four people cannot be significant, whatever they say
        ([0.0] * 29, "too few to say"),
        ([0.0] * 30, "no difference"),
        ([0.3] * 30, "better"),
        ([-0.3] * 30, "worse"),
        ([0.02, -0.018] * 500, "no difference"),
        ([0.2, -0.184] * 500, "too few to say"),  # not significant, and 0.01 lies inside the interval
    ],
)
def test_no_difference_is_said_only_when_one_that_matters_is_excluded(base, values, call):
    label_only = replace(base, users=torch.arange(len(values)), top=base.top[:0], served_by_fallback=base.served_by_fallback[:0])
    a, b = shifted(label_only, "a", values), shifted(label_only, "b", np.zeros(len(values)))
    assert compare(a, b, METRIC).verdict(effect=0.01) == call


def test_the_choice_is_validations_even_when_test_disagrees(base):
    n = len(base.users)
    found = decision(base, np.zeros(n), np.ones(n))
    assert (found.chosen.title, found.rival.title) == ("A", "B")
    assert found.overall.difference.value == -1


def test_groups_that_differ_are_named(base):
    n = len(base.users)
    gain = torch.ones(n, dtype=torch.float64) * 0.1
    few = torch.arange(n) < 3
    gain[few] = torch.tensor([0.2, -0.2, 0.1], dtype=torch.float64)
    assert (
        "For people with few events we cannot tell."
        in decision(base, gain, np.zeros(n), groups={"few events": few, "many events": ~few}).headline()
    )
    gain[torch.arange(n) < 40] = 0.0
    equal = torch.arange(n) < 40
    headline = decision(base, gain, np.zeros(n), groups={"few events": equal, "many": ~equal}).headline()
    assert headline.endswith("In some activity groups there is no difference.")
    gain[torch.arange(n) < 40] = -0.1
    early = torch.arange(n) < 40
    assert (
        "other way round for people with few events"
        in decision(base, gain, np.zeros(n), groups={"few events": early, "many": ~early}).headline()
    )


def test_one_model_alone_is_said_to_be_alone(base):
    alone = decide({"a": base}, {"a": base}, METRIC, {}, effect=0.01)
    assert "was the only model tried" in alone.headline()
    with pytest.raises(RequestError, match="needs the same models in both"):
        decide({"a": base}, {"b": base}, METRIC, {}, effect=0.01)
