"""What no metric may depend on, and which way each must move: on small worlds that hypothesis makes up."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.made import graded, listed
from workbench.data import Holdout
from workbench.evaluation import METRICS
from workbench.evaluation.lists import Lists
from workbench.testing import interactions

OF_TRUTH = {name for name, metric in METRICS.items() if metric.of_truth}
HIGHEST = {"novelty": float("inf"), "mean_popularity": float("inf"), "diversity": 2}  # of the others, 1


@dataclass(frozen=True)
class Made:
    """One row for each person: the list, the grades of all items (0: not liked), whether the person has the item already."""

    rows: list[list[int]]
    grades: np.ndarray
    known: np.ndarray
    ties: np.ndarray
    vectors: np.ndarray
    depth: int

    def lists(self) -> Lists:
        n_users, n_items = self.grades.shape
        truth = graded([(int(u), int(i), int(self.grades[u, i])) for u, i in np.argwhere(self.grades)], n_users, n_items)
        known = interactions([(int(u), int(i)) for u, i in np.argwhere(self.known)], n_users, n_items)
        people = truth.events_per_user > 0
        judged = Holdout.build(
            label="", truth=truth, people=people, history=known, seen=known, trained=people, ties=torch.from_numpy(self.ties)
        )
        return listed(judged, [row + [-1] * (self.depth - len(row)) for row in self.rows], vectors=self.vectors)

    def values(self) -> dict[str, torch.Tensor]:
        """At every cut-off."""
        lists = self.lists()
        return {f"{name}@{k}": metric.values(lists, k) for name, metric in METRICS.items() for k in range(1, self.depth + 1)}


@st.composite
def worlds(draw, full=False):
    """full: of three people at least, whose lists are as long as can be."""
    n_users, n_items = draw(st.integers(3 if full else 1, 5)), draw(st.integers(4 if full else 2, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    known = rng.random((n_users, n_items)) < 0.3
    liked = rng.integers(n_items, size=n_users)  # everyone has one item to find at least
    known[np.arange(n_users), liked] = False
    grades = rng.integers(0, 4, size=(n_users, n_items)) * ~known * (rng.random((n_users, n_items)) < draw(st.sampled_from([0.2, 0.6])))
    grades[np.arange(n_users), liked] = rng.integers(1, 4, size=n_users)
    depth = draw(st.integers(n_items // 2 if full else 1, n_items))
    orders = [[int(item) for item in rng.permutation(n_items) if not own[item]][:depth] for own in known]
    rows = orders if full else [order[: draw(st.integers(0, len(order)))] for order in orders]
    return Made(rows, grades, known, rng.permutation(n_items), rng.normal(size=(n_items, 2)), depth)


def same(a, b):
    return torch.allclose(a, b, rtol=0, atol=1e-6, equal_nan=True)  # vectors are float32, and their sums have an order


@settings(max_examples=60, deadline=None)
@given(world=worlds())
def test_values_stay_in_bounds(world):
    for name, values in world.values().items():
        values = values[~values.isnan()]
        assert (values >= -1e-6).all(), name
        assert (values <= HIGHEST.get(name.split("@")[0], 1) + 1e-6).all(), name


@settings(max_examples=60, deadline=None)
@given(world=worlds(), data=st.data())
def test_the_order_of_people_changes_nothing(world, data):
    order = np.array(data.draw(st.permutations(range(len(world.rows)))))
    moved = replace(world, rows=[world.rows[u] for u in order], grades=world.grades[order], known=world.known[order])
    after = moved.values()
    assert all(same(values[order], after[name]) for name, values in world.values().items())


@settings(max_examples=60, deadline=None)
@given(world=worlds(), data=st.data())
def test_the_codes_of_items_change_nothing(world, data):
    code = np.array(data.draw(st.permutations(range(world.grades.shape[1]))))  # of the item in the new world
    back = np.argsort(code)
    moved = replace(
        world,
        rows=[[int(code[item]) for item in row] for row in world.rows],
        grades=world.grades[:, back],
        known=world.known[:, back],
        ties=world.ties[back],
        vectors=world.vectors[back],
    )
    after = moved.values()
    assert all(same(values, after[name]) for name, values in world.values().items())


@settings(max_examples=60, deadline=None)
@given(world=worlds())
def test_an_irrelevant_item_at_the_end_of_a_list_changes_nothing_that_knows_the_truth(world):
    rows = []
    for row, grades, known in zip(world.rows, world.grades, world.known, strict=True):
        free = [item for item in range(len(grades)) if item not in row and not grades[item] and not known[item]]
        rows.append([*row, *free[:1]][: world.depth])
    before, after = world.values(), replace(world, rows=rows).values()
    assert all(same(before[name], after[name]) for name in before if name.split("@")[0] in OF_TRUTH)


@settings(max_examples=100, deadline=None)
@given(world=worlds(full=True), data=st.data())
def test_a_better_item_moved_up_never_hurts(world, data):
    """Of everyone's list, an item changes places with one above it that is worth less to the person.

    Not so for serendipity where both are relevant: there the less popular of the two is wanted, whatever their grades.
    """
    rows, both_relevant = [], False
    for row, grades in zip(world.rows, world.grades, strict=True):
        moved = list(row)
        better = [(low, high) for high in range(len(row)) for low in range(high) if grades[row[low]] < grades[row[high]]]
        if better:
            low, high = data.draw(st.sampled_from(better))
            moved[low], moved[high] = row[high], row[low]
            both_relevant |= bool(grades[row[low]])
        rows.append(moved)
    before, after = world.values(), replace(world, rows=rows).values()
    for name in before:
        if name.split("@")[0] in OF_TRUTH and not (both_relevant and name.startswith("serendipity")):
            assert (after[name] >= before[name] - 1e-12).all(), name


@settings(max_examples=60, deadline=None)
@given(world=worlds())
def test_a_perfect_list_reaches_the_top_of_every_metric_that_has_one(world):
    """All of a person's items, the highest grade first."""
    best = [[int(item) for item in np.argsort(-grades, kind="stable") if grades[item]][: world.depth] for grades in world.grades]
    k, values = world.depth, replace(world, rows=best).values()
    for name in ("truncated_recall", "ndcg", "ndcg_linear", "ndcg_exponential", "mrr", "hit_rate"):
        assert same(values[f"{name}@{k}"], torch.ones(len(best)).double()), name
    ceiling = torch.tensor([min(k, int((grades > 0).sum())) / int((grades > 0).sum()) for grades in world.grades]).double()
    assert same(values[f"recall@{k}"], ceiling)
    assert same(values[f"map@{k}"], ceiling)
