"""The page of slices under no effect: how often any slice of two exchangeable models is called different, or any interval misses zero."""

import numpy as np
import pytest
import torch

from tests.evaluation.made import Scores, chance, graded, tables
from workbench.evaluation import all_slices, compare_slices, evaluate
from workbench.testing import interactions
from workbench.testing.synthetic import holdout

N, N_ITEMS = 80, 60


@pytest.fixture(scope="module")
def judged():
    """People with histories of 0 to 50 items and 1 to 6 to find; popularity follows the item's code."""
    rng = np.random.default_rng(0)
    orders = np.argsort(np.log1p(np.arange(N_ITEMS)) - rng.gumbel(size=(N, N_ITEMS)), axis=1)
    sizes = rng.choice([0, 3, 12, 30, 50], size=N)
    known = interactions([(u, int(i)) for u in range(N) for i in orders[u, : sizes[u]]], N, N_ITEMS)
    liked = [(u, int(i), 1) for u in range(N) for i in orders[u, sizes[u] : sizes[u] + rng.integers(1, 7)]]
    return holdout(known, graded(liked, N, N_ITEMS))


@pytest.fixture(scope="module")
def slices(judged):
    rng = np.random.default_rng(1)
    users = {"gender": rng.choice(["F", "M"], size=N), "age": [str(age) for age in rng.integers(15, 70, size=N)]}
    items = {"genre": [" ".join(rng.choice(["drama", "comedy", "crime", "war", "noir"], size=2, replace=False)) for _ in range(N_ITEMS)]}
    by = {
        "gender": {"table": "users", "column": "gender"},
        "age_band": {"table": "users", "column": "age", "bins": [0, 18, 25, 35, 45, 56, 200]},
        "genre": {"table": "items", "column": "genre", "separator": " "},
    }
    found = all_slices(tables(users, items, **by), judged)
    assert len(found) > 20
    assert {each.dimension for each in found} == {"activity", "returning", "popularity", "time", *by}
    return found


def any_of_the_page(judged, slices, replications, seed):
    """Shares of replications with a significant slice, and with an interval that does not hold zero.

    Both models score what everyone likes plus noise of their own: for each person and each item they are exchangeable.
    """
    rng, significant, missed = np.random.default_rng(seed), 0, 0
    for replication in range(replications):
        scores = -np.log1p(np.arange(N_ITEMS)) + rng.gumbel(size=(2, N, N_ITEMS))
        a, b = (evaluate(Scores(torch.from_numpy(each)), judged, name=name, ks=(10,)) for each, name in zip(scores, "ab", strict=True))
        found = compare_slices(a, b, "ndcg@10", slices, seed=replication)
        significant += any(each.significant for each in found)
        missed += any(each.difference.low > 0 or each.difference.high < 0 for each in found)
    return significant / replications, missed / replications


def test_a_page_of_slices_without_an_effect_seldom_shows_one(judged, slices):
    significant, missed = any_of_the_page(judged, slices, 200, seed=5)
    assert significant <= chance(0.05, 200)[1]
    assert missed <= chance(0.05, 200)[1]


@pytest.mark.slow
def test_a_page_of_slices_keeps_its_error_rate(judged, slices):
    """2,000 pages: no more of them with any significant slice than 5 % gives by chance; slices overlap, so Holm errs on the safe side."""
    significant, missed = any_of_the_page(judged, slices, 2000, seed=6)
    assert 0.01 <= significant <= chance(0.05, 2000)[1]
    assert 0.01 <= missed <= chance(0.05, 2000)[1]
