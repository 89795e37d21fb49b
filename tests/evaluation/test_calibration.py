"""Whether probabilities can be trusted: by hand, against scikit-learn, and on labels drawn from probabilities that are right or wrong."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from torch import tensor

from workbench.errors import NotApplicable, RequestError
from workbench.evaluation.calibration import brier, calibration_by, calibration_error, equal_bins, evaluate_calibration, normalised_entropy

chances = st.floats(0, 1) | st.sampled_from([0.0, 0.1, 0.5, 1.0])
judged = st.lists(st.tuples(chances, st.booleans()), min_size=1, max_size=60)
LN2 = math.log(2)


def columns(told):
    return tensor([p for p, _ in told], dtype=torch.float64), tensor([label for _, label in told], dtype=torch.bool)


def drawn(n=20_000, seed=0, people=400):
    """Chances, labels that come true as often as they say, and whose each is."""
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 4, size=n)
    return torch.from_numpy(p), torch.from_numpy(rng.random(n) < p), torch.from_numpy(rng.integers(people, size=n))


def test_brier_is_the_square_by_hand():
    assert brier(tensor([0.0, 1.0, 0.25, 0.25]), tensor([0, 0, 1, 0])).tolist() == [0, 1, 0.5625, 0.0625]


@settings(max_examples=30, deadline=None)
@given(judged)
def test_brier_is_that_of_scikit_learn(told):
    p, y = columns(told)
    assert brier(p, y).mean().item() == pytest.approx(brier_score_loss(y.numpy(), p.numpy(), pos_label=True, labels=[False, True]))


def test_normalised_entropy_is_1_for_the_share_and_0_for_the_truth():
    labels = tensor([1, 0, 0, 0])
    assert normalised_entropy(torch.full((4,), 0.25), labels) == pytest.approx(1)
    assert normalised_entropy(labels.double(), labels) == pytest.approx(0, abs=1e-12)
    half = tensor([1, 0])
    assert normalised_entropy(tensor([0.8, 0.4], dtype=torch.float64), half) == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2 / LN2)
    for one in ([0, 0], [1, 1], []):
        with pytest.raises(NotApplicable, match="labels of both kinds"):
            normalised_entropy(torch.full((len(one),), 0.5), tensor(one, dtype=torch.int64))


def test_the_error_is_the_sum_over_bins_by_hand():
    """Two bins: of 0.1, one in four came true; of 0.8 all three."""
    p = tensor([0.1] * 4 + [0.8] * 3, dtype=torch.float64)
    y = tensor([1, 0, 0, 0, 1, 1, 1])
    assert equal_bins(p, 2).tolist() == [0] * 4 + [1] * 3
    assert calibration_error(p, y, 2) == pytest.approx(4 / 7 * 0.15 + 3 / 7 * 0.2)
    assert calibration_error(p, y, 1) == pytest.approx(abs(4 - 2.8) / 7)
    assert calibration_error(y.double(), y) == 0
    assert math.isnan(calibration_error(torch.empty(0), torch.empty(0)))


@settings(max_examples=30, deadline=None)
@given(judged, st.integers(1, 12))
def test_equal_chances_are_in_one_bin_and_bins_are_in_order(told, bins):
    p, y = columns(told)
    which = equal_bins(p, bins)
    found = which.unique().tolist()
    assert found == list(range(len(found)))
    assert len(found) <= bins
    for place in range(len(p)):
        same = p == p[place]
        assert (which[same] == which[place]).all()
        assert (which[p > p[place]] >= which[place]).all()
    assert 0 <= calibration_error(p, y, bins) <= 1


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 200), st.integers(1, 12), st.integers(0, 5))
def test_bins_of_different_chances_are_of_about_one_size(n, bins, seed):
    counts = torch.bincount(equal_bins(torch.from_numpy(np.random.default_rng(seed).permutation(n) / n), bins))
    assert len(counts) == min(n, bins)
    assert counts.max() - counts.min() <= 1 + 1  # each edge is a rank, rounded down


def test_bins_are_those_of_scikit_learn():
    """Of different chances, as many in each: shares and means of every bin."""
    p, y, users = drawn(5000)
    shares, means = calibration_curve(y.numpy(), p.numpy(), n_bins=10, strategy="quantile")
    bins = evaluate_calibration(p, y, users).bins
    np.testing.assert_allclose([each.mean for each in bins], means, atol=1e-3)
    np.testing.assert_allclose([each.share.value for each in bins], shares, atol=3e-3)  # an edge's own chance may be on either side


def test_chances_that_are_right_have_the_error_that_chance_leaves():
    p, y, users = drawn()
    found = evaluate_calibration(p, y, users)
    assert 0.3 * found.chance < found.error < 2.5 * found.chance
    assert found.mean == pytest.approx(found.share, abs=4 * (p * (1 - p)).mean().sqrt().item() / math.sqrt(len(p)))
    assert found.brier.low < (p * (1 - p)).mean().item() < found.brier.high
    assert sum(each.share.low <= each.mean <= each.share.high for each in found.bins) >= len(found.bins) - 2
    assert found.normalised_entropy < 1


def test_the_error_that_chance_leaves_is_that_of_labels_drawn_from_the_chances():
    """Mean over 200 draws, to a tenth: theirs in full, ours by a normal approximation."""
    p, y, users = drawn(3000)
    rng = np.random.default_rng(5)
    errors = [calibration_error(p, torch.from_numpy(rng.random(len(p)) < p.numpy())) for _ in range(200)]
    assert evaluate_calibration(p, y, users).chance == pytest.approx(np.mean(errors), rel=0.1)


def test_chances_that_are_wrong_have_an_error_far_above_it():
    p, y, users = drawn()
    for wrong in (p.sqrt(), p.square(), (p + 0.1).clamp(max=1)):
        found = evaluate_calibration(wrong, y, users)
        assert found.error > 10 * found.chance
        assert found.error >= abs(found.mean - found.share) - 1e-12


@settings(max_examples=30, deadline=None)
@given(judged)
def test_bins_add_up_to_everything(told):
    p, y = columns(told)
    found = evaluate_calibration(p, y, torch.arange(len(p)) % 3)
    assert sum(each.count for each in found.bins) == found.n == len(p)
    assert sum(each.count * each.mean for each in found.bins) / found.n == pytest.approx(found.mean)
    assert sum(each.count * each.share.value for each in found.bins) / found.n == pytest.approx(found.share, abs=1e-12)
    assert found.error == pytest.approx(sum(each.count * abs(each.share.value - each.mean) for each in found.bins) / found.n, abs=1e-12)
    assert math.isnan(found.normalised_entropy) == (found.share in (0, 1))
    assert found.brier.value == pytest.approx(brier(p, y).mean().item())


def test_people_are_what_intervals_are_of():
    p, y, _ = drawn(1000)
    alone = evaluate_calibration(p, y, torch.zeros(1000, dtype=torch.int64))
    assert not alone.brier.known
    assert alone.brier.n == 1
    assert evaluate_calibration(p, y, torch.arange(1000)).brier.n == 1000


def test_groups_are_judged_by_themselves_and_empty_ones_left_out():
    p, y, users = drawn(500)
    rows = users < 200
    found = calibration_by(p, y, users, {"some": rows, "others": ~rows, "nobody": torch.zeros(500, dtype=torch.bool)}, bins=4)
    assert list(found) == ["some", "others"]
    assert found["some"].error == calibration_error(p[rows], y[rows], 4)
    assert found["some"].n + found["others"].n == 500


def test_what_is_no_probability_and_no_label_is_told():
    one = tensor([0])
    with pytest.raises(NotApplicable, match="there are no probabilities to judge"):
        evaluate_calibration(torch.empty(0), torch.empty(0), torch.empty(0))
    with pytest.raises(RequestError, match="1 probabilities, 1 labels and 2 people"):
        evaluate_calibration(tensor([0.5]), one, tensor([0, 1]))
    for p in (-0.1, 1.1, math.nan):
        with pytest.raises(RequestError):
            evaluate_calibration(tensor([p]), one, one)
    with pytest.raises(RequestError, match="labels are 0 or 1"):
        evaluate_calibration(tensor([0.5]), tensor([2]), one)
