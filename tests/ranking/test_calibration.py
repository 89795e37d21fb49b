"""Scores into chances: what was planted is found again, steps are scikit-learn's, and nothing is promised for other candidates."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from torch import tensor

from tests.ranking.made import made
from workbench.errors import NotApplicable, RequestError
from workbench.ranking import METHODS, Calibrated, Isotonic, Platt

KINDS = (Platt, Isotonic)
scored = st.lists(st.tuples(st.integers(-60, 60).map(lambda each: each / 7), st.booleans()), min_size=2, max_size=40).filter(
    lambda told: len({label for _, label in told}) == 2
)


def simulated(slope, offset, n=40_000, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=n)
    return torch.from_numpy(scores), torch.from_numpy(rng.random(n) < 1 / (1 + np.exp(-(slope * scores + offset))))


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (2.5, -1.0), (0.3, 1.0), (-1.0, -2.0)])
def test_platt_finds_the_slope_and_offset_that_made_the_labels(slope, offset):
    """Within four standard errors, from the information at the truth: the inverse of Σ p (1 − p) x xᵀ."""
    scores, labels = simulated(slope, offset)
    fitted = Platt.fit(scores, labels)
    p = torch.sigmoid(slope * scores + offset)
    x = torch.stack([scores, torch.ones_like(scores)], dim=1)
    errors = torch.linalg.inv((x * (p * (1 - p))[:, None]).T @ x).diagonal().sqrt()
    assert abs(fitted.slope - slope) < 4 * errors[0]
    assert abs(fitted.offset - offset) < 4 * errors[1]


@pytest.mark.parametrize(("scale", "shift"), [(1e6, 0.0), (1e-6, 0.0), (1.0, 1e6), (-3.0, 5.0)])
def test_platt_says_the_same_of_scores_on_another_scale(scale, shift):
    scores, labels = simulated(1.5, -0.5, n=2000)
    wanted = Platt.fit(scores, labels)(scores)
    moved = scores * scale + shift
    torch.testing.assert_close(Platt.fit(moved, labels)(moved), wanted, atol=1e-5, rtol=0)


def test_platt_is_at_the_maximum_of_the_likelihood():
    """Its targets and their chances add up to the same, plain and times the score: both derivatives are 0."""
    scores, labels = simulated(1.0, -1.0, n=300, seed=3)
    ones, chances = labels.sum().item(), Platt.fit(scores, labels)(scores)
    targets = torch.where(labels, (ones + 1) / (ones + 2), 1 / (300 - ones + 2)).double()
    assert (chances - targets).sum().item() == pytest.approx(0, abs=1e-5)
    assert ((chances - targets) * scores).sum().item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("n", [2, 10, 1000])
def test_labels_that_scores_tell_apart_leave_platt_finite_and_unsure(n):
    scores = torch.arange(n, dtype=torch.float64)
    labels = scores >= n / 2
    fitted = Platt.fit(scores, labels)
    assert math.isfinite(fitted.slope)
    assert math.isfinite(fitted.offset)
    chances = fitted(scores)
    assert ((chances > 0) & (chances < 1)).all()
    assert ((chances > 0.5) == labels).all()


def test_scores_that_are_all_alike_get_the_share():
    labels = tensor([True] * 30 + [False] * 70)
    for kind in KINDS:
        chance = kind.fit(torch.full((100,), 3.0), labels)(tensor([3.0])).item()
        assert chance == pytest.approx(0.3, abs=0.01)


@settings(max_examples=30, deadline=None)
@given(scored)
def test_steps_are_those_of_scikit_learn(told):
    scores, labels = (np.array(column) for column in zip(*told, strict=True))
    theirs = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, labels.astype(float))
    fitted = Isotonic.fit(torch.from_numpy(scores), torch.from_numpy(labels))
    for asked in (scores, np.linspace(-10, 10, 81)):
        np.testing.assert_allclose(fitted(torch.from_numpy(asked)).numpy(), theirs.predict(asked), atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(told=scored)
def test_chances_are_within_0_and_1_and_go_one_way_with_the_score(kind, told):
    scores, labels = tensor([each for each, _ in told], dtype=torch.float64), tensor([label for _, label in told])
    fitted = kind.fit(scores, labels)
    found = fitted(torch.cat([scores, torch.linspace(-100, 100, 50, dtype=torch.float64)]).sort().values)
    assert ((found >= 0) & (found <= 1)).all()
    steps = found.diff()
    assert (steps >= -1e-12).all() or (kind is Platt and (steps <= 1e-12).all())  # Platt's slope may be negative, where labels say so


def test_isotonic_holds_its_ends_beyond_them():
    fitted = Isotonic.fit(tensor([0.0, 1.0, 2.0, 3.0]), tensor([False, True, False, True]))
    assert fitted(tensor([-9.0, 0.0, 0.5, 1.0, 2.0, 3.0, 9.0])).tolist() == [0, 0, 0.25, 0.5, 0.5, 1, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_one_kind_and_scores_that_are_none_are_told(kind):
    for labels in ([True, True], [False, False], []):
        with pytest.raises(NotApplicable, match="a calibration needs labels of both kinds"):
            kind.fit(torch.zeros(len(labels)), tensor(labels, dtype=torch.bool))
    for scores in ([0.0], [0.0, math.nan], [0.0, math.inf]):
        with pytest.raises(RequestError, match="2 labels need as many finite scores"):
            kind.fit(tensor(scores), tensor([True, False]))


@pytest.mark.parametrize("method", METHODS)
def test_a_calibration_holds_for_the_candidates_it_was_learnt_on(method):
    examples = made([[1, 2], [3, 4]], [[True, False], [False, True]], retriever="ease; 2 candidates")
    scores = tensor([1.0, 0.0, -1.0, 2.0])
    fitted = Calibrated.fit(method, scores, examples)
    scale = {"platt": Platt, "isotonic": Isotonic}[method].fit(scores, examples.label)
    assert torch.equal(fitted(scores, examples), scale(scores))
    assert torch.equal(fitted(scores[:2], examples.select(tensor([0]))), scale(scores[:2]))
    other = made([[1, 2], [3, 4]], retriever="ease; 3 candidates")
    with pytest.raises(RequestError, match=r"learnt for candidates of \(ease; 2 candidates\), and these are of \(ease; 3 candidates\)"):
        fitted(scores, other)


@pytest.mark.parametrize("method", METHODS)
def test_thinned_candidates_and_labels_of_one_kind_are_refused(method):
    thinned = made([[1, 2]], [[True, False]], kept=0.5)
    with pytest.raises(RequestError, match="chances are learnt of all candidates, and some of these were left out"):
        Calibrated.fit(method, tensor([0.0, 1.0]), thinned)
    with pytest.raises(NotApplicable, match="labels of both kinds"):
        Calibrated.fit(method, tensor([0.0, 1.0]), made([[1, 2]]))


def test_another_method_is_told():
    with pytest.raises(RequestError, match=r'calibration = "plat" should be one of platt, isotonic\.'):
        Calibrated.fit("plat", tensor([0.0, 1.0]), made([[1, 2]], [[True, False]]))
