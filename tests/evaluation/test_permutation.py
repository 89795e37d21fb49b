"""P-values by sign flips against all flips there are, how many flips are drawn, and Holm's correction."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluation.made import chance
from workbench.evaluation import permutation
from workbench.evaluation.permutation import ALPHA, LEAST, holm, sign_flip_p_values


def exact(values):
    """Share of all 2^n flips whose sum is at least as far from zero."""
    sums = np.array([np.dot(signs, values) for signs in product([-1, 1], repeat=len(values))])
    return np.mean(np.abs(sums) >= abs(values.sum()) - 1e-9)


@pytest.mark.parametrize("n", [1, 2, 5, 8, 10])
def test_the_p_value_is_that_of_all_flips(n):
    """Values of a tenth are full of equal sums, where rounding could decide; the others have none."""
    rng = np.random.default_rng(n)
    columns = [rng.integers(-3, 6, size=n) / 10, rng.normal(0.3, 1, size=n), rng.normal(1, 0.5, size=n)]
    found = sign_flip_p_values(torch.from_numpy(np.stack(columns, axis=1)), seed=0)
    for p, values in zip(found, columns, strict=True):
        true = exact(values)
        assert p == pytest.approx(true, abs=4 * (true * (1 - true) / LEAST) ** 0.5 + 2 / LEAST)


def test_columns_with_people_missing_have_the_p_values_of_those_who_are_there():
    values = torch.from_numpy(np.random.default_rng(0).normal(0.4, 1, size=(10, 1)))
    half = values.clone()
    half[5:] = torch.nan
    found = sign_flip_p_values(torch.cat([values, half], dim=1), seed=0)
    for p, own in zip(found, (values[:, 0].numpy(), values[:5, 0].numpy()), strict=True):
        assert p == pytest.approx(exact(own), abs=0.02)


def test_no_difference_at_all_has_p_value_one_and_none_is_zero():
    columns = torch.stack([torch.zeros(200), torch.ones(200)], dim=1).double()
    assert sign_flip_p_values(columns, seed=0).tolist() == [1.0, 1 / (1 + LEAST)]


def test_the_seed_decides():
    values = torch.from_numpy(np.random.default_rng(0).normal(0.2, 1, size=(40, 1)))
    assert sign_flip_p_values(values, seed=1) == sign_flip_p_values(values, seed=1)
    assert sign_flip_p_values(values, seed=1) != sign_flip_p_values(values, seed=2)


def test_false_alarms_come_at_their_rate(monkeypatch):
    monkeypatch.setattr(permutation, "LEAST", 399)
    monkeypatch.setattr(permutation, "MOST", 800)
    rng, repeats = np.random.default_rng(3), 1000
    alarms = [sign_flip_p_values(torch.from_numpy(rng.standard_t(3, size=(40, 1))), seed=i)[0] < ALPHA for i in range(repeats)]
    low, high = chance(ALPHA, repeats)
    assert low <= np.mean(alarms) <= high


@pytest.fixture
def flips(monkeypatch):
    """How many flips were drawn, call by call."""
    drawn, plain = [], permutation._signs

    def spied(rows, n, rng):
        drawn.append(rows)
        return plain(rows, n, rng)

    monkeypatch.setattr(permutation, "_signs", spied)
    return drawn


@pytest.mark.parametrize("m", [1, 20, 60])
def test_there_are_flips_enough_for_the_first_threshold_of_holm(flips, m):
    """The smallest p-value that can come out is a twentieth of alpha / m."""
    certain = torch.ones(30, m).double()
    found = sign_flip_p_values(certain, seed=0)
    assert sum(flips) == max(LEAST, 20 * m / ALPHA)
    assert (m * found <= ALPHA / 20).all()
    assert (holm(found) < ALPHA).all()


def test_an_answer_far_from_alpha_is_not_drawn_twice(flips):
    """Six people of one sign: p = 2 / 64 = 0.031, eleven standard errors below 0.05 with so many flips."""
    assert sign_flip_p_values(torch.ones(6, 1).double(), seed=0)[0] == pytest.approx(2 / 2**6, abs=0.007)
    assert sum(flips) == LEAST


def test_more_flips_are_drawn_while_the_answer_is_within_its_error_of_alpha(flips, monkeypatch):
    """alpha at the p-value itself, where no number of flips decides but chance: LEAST, twice that, and so on, up to MOST."""
    monkeypatch.setattr(permutation, "MOST", 10 * LEAST)
    totals = []
    for seed in range(6):
        flips.clear()
        sign_flip_p_values(torch.ones(6, 1).double(), seed=seed, alpha=2 / 2**6)
        totals.append(sum(flips))
    assert set(totals) <= {LEAST, 2 * LEAST, 4 * LEAST, 8 * LEAST, 10 * LEAST}
    assert totals.count(10 * LEAST) >= 3


def test_one_undecided_comparison_draws_for_all(flips, monkeypatch):
    monkeypatch.setattr(permutation, "MOST", 2 * LEAST)
    columns = torch.stack([torch.zeros(6), torch.ones(6)], dim=1).double()
    sign_flip_p_values(columns, seed=0, alpha=4 / 2**6)  # Holm doubles the smaller
    assert sum(flips) == 2 * LEAST


def test_memory_is_bounded_and_the_size_of_a_piece_changes_nothing_but_the_draw(flips, monkeypatch):
    monkeypatch.setattr(permutation, "CELLS", 1000)
    values = torch.from_numpy(np.random.default_rng(0).normal(0.3, 1, size=(10, 1)))
    assert sign_flip_p_values(values, seed=0)[0] == pytest.approx(exact(values[:, 0].numpy()), abs=0.02)
    assert max(flips) == 100


def test_signs_are_a_coin_each():
    signs = permutation._signs(4000, 13, np.random.default_rng(0))
    assert signs.shape == (4000, 13)
    assert set(signs.unique().tolist()) == {-1, 1}
    assert signs.mean(0).abs().max() < 4 / 4000**0.5
    assert (signs.T @ signs / 4000 - torch.eye(13)).abs().max() < 4.5 / 4000**0.5  # of different people independent


def test_holm_multiplies_the_smallest_most_and_keeps_the_order():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([3 * 0.01, 2 * 0.03, 2 * 0.03])
    assert holm([0.01, 0.02, 0.03]) == pytest.approx([3 * 0.01, 2 * 0.02, 2 * 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.2]) == pytest.approx([0.2])
    assert holm([]).tolist() == []


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=8), alpha=st.sampled_from([0.01, 0.05, 0.2]))
def test_holm_rejects_what_the_step_down_procedure_rejects(p, alpha):
    """Holm (1979): in ascending order, reject while p is at most alpha over the number left."""
    adjusted, order, rejected = holm(p), np.argsort(p, kind="stable"), []
    for step, place in enumerate(order):
        if p[place] * (len(p) - step) > alpha:
            break
        rejected.append(place)
    assert {place for place in range(len(p)) if adjusted[place] <= alpha} == set(rejected)
    assert (adjusted >= np.array(p)).all()
