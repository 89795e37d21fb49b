"""Candidates and facts made up for one test each, and the same lists by plain loops: what the fast ways are held against."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor

from tests.evaluation.made import tables
from workbench.data import Interactions
from workbench.evaluation.ranking import NOTHING
from workbench.policy import Facts, Pool
from workbench.policy.limits import Limit
from workbench.testing import interactions

ITEMS: dict[str, list[str | None]] = {
    "provider": ["acme", "acme", "acme", "bolt", "bolt", "", "acme", "cody", None, "bolt", "cody", "   "],
    "genre": ["comedy", "comedy|drama", "drama", "war", "", "war|comedy", "drama|war", "comedy", "war", None, "drama", "comedy|drama|war"],
    "rating": ["4.5", "3", "2.9", "n/a", "", "5", "1e1", "nan", None, "3.0", "-1", " 4 "],
    "since": ["10", "20", "30", "", "soon", "20.5", "0", "-5", "20", None, "19", "21"],
    "until": ["20", "30", "", None, "40", "21", "later", "20.5", "99", "20", "19", ""],
    "title": ["Alien", "Alien", "Brazil", "Charade", "Brazil", "Diva", "Emma", "", "Fargo", None, "Alien", "Gilda"],
}
"""Twelve items: providers with empty cells, several genres in a cell, ratings with junk, times on offer, titles that come twice."""
SLICES = {"genre": {"table": "items", "column": "genre", "separator": "|"}}
N_ITEMS = len(ITEMS["title"])
HAD = ((0, 0), (0, 3), (1, 11), (2, 2), (2, 2), (2, 6))
"""(person, item) of four people; the last had nothing, and nobody's last item is the next one's first but 11, at the end of the table."""


def facts(
    items: dict[str, Sequence] | None = None,
    had: Sequence[tuple[int, int]] | Interactions = HAD,
    n_users: int = 4,
    vectors: Tensor | None = None,
    **slices: dict,
) -> Facts:
    """Of these columns of the item table and the card's groupings; of the twelve items where there is none."""
    data = tables(users={"town": ["x"] * n_users}, items=items or ITEMS, **(slices if items else SLICES))
    data.name, data.item_ids = "made", [f"i{code}" for code in range(data.n_items)]
    history = had if isinstance(had, Interactions) else interactions(had, n_users, data.n_items)
    return Facts(data, history, vectors)


def pool(items: Sequence[Sequence[int]], scores: Sequence[Sequence[float]] | None = None, k: int = 3, users: Sequence[int] | None = None):
    """A row of candidates for each person, best first, as long as it may be; scores fall by one a place where none are given."""
    m = max(1, *(len(row) for row in items))
    table, told = torch.full((len(items), m), NOTHING), torch.zeros(len(items), m, dtype=torch.float64)
    for row, own in enumerate(items):
        table[row, : len(own)] = torch.tensor(own, dtype=torch.int64)
        told[row, : len(own)] = torch.tensor(scores[row] if scores else range(len(own), 0, -1), dtype=torch.float64)
    return Pool.of(torch.tensor(range(len(items)) if users is None else users), table, told, k)


def random_pool(rng: np.random.Generator, n: int, m: int, k: int, n_items: int = N_ITEMS, least: int = 0) -> Pool:
    """n people with `least` to m candidates each, scores all different."""
    items = [rng.permutation(n_items)[: rng.integers(least, m + 1)].tolist() for _ in range(n)]
    return pool(items, [rng.normal(size=len(row)).tolist() for row in items], k)


def listed(lists: Tensor) -> list[list[int]]:
    """Without the empty places at their ends, which are all at their ends or this raises AssertionError."""
    rows = [[item for item in row if item != NOTHING] for row in lists.tolist()]
    assert all(row == own[: len(row)] for row, own in zip(rows, lists.tolist(), strict=True)), "an empty place before an item"
    return rows


SMALL = st.integers(-2, 2).map(float)


@st.composite
def pools(draw: st.DrawFn, n_items: int = 8, scores: st.SearchStrategy[float] = SMALL) -> Pool:
    """Up to three people, some without candidates; lists up to longer than there are candidates."""
    items = draw(st.lists(st.lists(st.integers(0, n_items - 1), unique=True, max_size=6), min_size=1, max_size=3))
    told = [draw(st.lists(scores, min_size=len(row), max_size=len(row))) for row in items]
    return pool(items, told, draw(st.integers(1, 7)))


@st.composite
def limits(draw: st.DrawFn, n_items: int = 8) -> Limit:
    """Of one group at most for each item, or of any number of them."""
    most = draw(st.integers(1, 3))
    if draw(st.booleans()):
        return Limit(groups=torch.tensor(draw(st.lists(st.integers(-1, 2), min_size=n_items, max_size=n_items))), most=most)
    row = st.lists(st.booleans(), min_size=3, max_size=3)
    return Limit(groups=torch.tensor(draw(st.lists(row, min_size=n_items, max_size=n_items))), most=most)


def groups_of(limit: Limit, item: int) -> set[int]:
    own = limit.groups[item]
    if limit.groups.dim() == 2:
        return set(torch.nonzero(own)[:, 0].tolist())
    return {int(own)} - {-1}


def fits(limit: Limit, chosen: Sequence[int], item: int) -> bool:
    """Whether a list that holds these may take the item too."""
    used = [group for each in chosen for group in groups_of(limit, each)]
    return all(used.count(group) < limit.most for group in groups_of(limit, item))


def slow_fill(start: Pool, gain: Callable[[int, list[int], int], float] | None = None) -> list[list[int]]:
    """The greedy as one would say it: of what is left and fits, the candidate with the largest gain, of equals the one placed higher; then
    the others. gain: of the person's row, what is chosen, the candidate; None: the order there is.
    """
    found = []
    for row, own in enumerate(listed(start.items)):
        chosen: list[int] = []
        while len(chosen) < start.k:
            left = [item for item in own if item not in chosen and all(fits(limit, chosen, item) for limit in start.limits)]
            if not left:
                break
            chosen.append(max(left, key=lambda item: gain(row, chosen, item) if gain else 0.0))
        found.append(chosen + [item for item in own if item not in chosen])
    return found


def relevance(start: Pool, row: int) -> dict[int, float]:
    """By item: the score between the person's lowest and highest."""
    told = {item: score for item, score in zip(start.items[row].tolist(), start.scores[row].tolist(), strict=True) if item != NOTHING}
    low, high = min(told.values(), default=0), max(told.values(), default=0)
    return {item: (score - low) / (high - low) if high > low else 1.0 for item, score in told.items()}


def optimum(start: Pool, floors: Sequence[tuple[Sequence[bool], int]] = ()) -> float | None:
    """The largest total relevance of lists as long as the pool's own that keep its limits, with so many items inside of each group over all
    people; None where no lists can. By SciPy's mixed-integer solver. floors: whether each item of the table is inside, and how many are to
    be.
    """
    places = [(row, item) for row, own in enumerate(listed(start.items)) for item in own]
    if not places:
        return None if any(wanted > 0 for _, wanted in floors) else 0.0
    rules, low, high = [], [], []

    def rule(weights: list[float], least: float, most: float) -> None:
        rules.append(weights)
        low.append(least)
        high.append(most)

    for row, own in enumerate(listed(start.lists)):
        rule([float(each == row) for each, _ in places], len(own), len(own))
        for limit in start.limits:
            for group in {group for each, item in places if each == row for group in groups_of(limit, item)}:
                rule([float(each == row and group in groups_of(limit, item)) for each, item in places], 0, limit.most)
    for inside, wanted in floors:
        rule([float(inside[item]) for _, item in places], wanted, np.inf)
    worth = np.array([relevance(start, row)[item] for row, item in places])
    found = milp(-worth, constraints=LinearConstraint(np.array(rules), low, high), integrality=np.ones(len(places)), bounds=Bounds(0, 1))
    return None if found.x is None else float(worth @ found.x.round())


def worth(start: Pool, lists: Tensor) -> float:
    """Total relevance of these lists of candidates of the pool."""
    return sum(relevance(start, row)[item] for row, own in enumerate(listed(lists)) for item in own)
