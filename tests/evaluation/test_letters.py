"""Which models cannot be told apart: the compact letter display."""

import numpy as np
import pytest

from tests.evaluation.made import METRIC, valued
from workbench.errors import RequestError
from workbench.evaluation import by_mean, letters

N = 200


def shown(values):
    return letters({name: valued(v, name) for name, v in values.items()}, METRIC)


def test_letters_join_what_cannot_be_told_apart():
    rng = np.random.default_rng(0)
    common = rng.random(N)
    values = {
        "bad": common,
        "good": common + 0.1 + 0.02 * rng.normal(size=N),
        "same": common + 0.1 + 0.02 * rng.normal(size=N),
        "best": common + 0.3,
    }
    assert shown(values) == {"best": "a", "good": "b", "same": "b", "bad": "c"}


def test_letters_of_a_chain_overlap():
    """x beats z, y cannot be told from either: y carries both letters."""
    noise = np.random.default_rng(0).normal(size=(3, N))
    noise -= noise.mean(1, keepdims=True)
    values = {name: gap + 0.5 * row for name, gap, row in zip("xyz", (0.12, 0.06, 0.0), noise, strict=True)}
    assert shown(values) == {"x": "a", "y": "ab", "z": "b"}


def test_all_pairs_are_one_family():
    """A p-value of about .02 on its own, and 10 pairs of five models: nobody can be told from anybody."""
    noise = np.random.default_rng(3).normal(size=(5, N))
    noise -= noise.mean(1, keepdims=True)
    gap = 2.35 * np.sqrt(2 / N)
    values = {name: row + (gap if name == "v" else 0) for name, row in zip("vwxyz", noise, strict=True)}
    assert set(shown(values).values()) == {"a"}
    assert shown({name: values[name] for name in "vw"}) == {"v": "a", "w": "b"}


def test_one_model_has_a_letter_and_equals_share_theirs():
    assert shown({"alone": np.zeros(N)}) == {"alone": "a"}
    assert shown({name: np.full(N, 0.5) for name in "xyz"}) == {"x": "a", "y": "a", "z": "a"}


def test_models_are_in_the_order_of_their_means_and_equals_as_given():
    found = {name: valued(np.full(5, mean), name) for name, mean in (("low", 0.1), ("high", 0.3), ("also high", 0.3))}
    assert by_mean(found, METRIC) == ["high", "also high", "low"]


def test_models_of_different_people_have_no_letters():
    with pytest.raises(RequestError, match="judged for one of them only"):
        letters({"x": valued(np.zeros(5), "x"), "y": valued(np.zeros(6), "y")}, METRIC)
