"""Policies for many people at once, beside a loop over people of the same algorithm.

`python -m benchmarks.policy` prints the table and writes benchmarks/results/policy.json. Two threads.

10,000 people, 100 candidates each of a catalogue of 5,000 items, lists of 20; scores and groups are drawn, seed 0. An item is in one to
three of 18 groups, and likeness is the cosine of these. The loop is plain Python: floats, lists, no arrays, one person after the other, the
same greedy search with the same increments (the largest likeness so far, the Cholesky row, the running sums), on the first 500 people,
whose lists must be the same as ours; its time is that of a person, times 10,000. Beside it the loop that a careful person writes: one
person after the other, NumPy over the candidates. Ours and theirs take turns, three times, the best counts.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.report import Row, write
from benchmarks.timing import seconds, taking_turns
from workbench.evaluation.item_groups import SMOOTHING
from workbench.policy.calibrated import _Calibration
from workbench.policy.diversify import _Marginal, _Volume
from workbench.policy.greedy import fill, keep_to_limits
from workbench.policy.limits import Limit
from workbench.policy.pool import Pool

PEOPLE, SAMPLE, ITEMS, CANDIDATES, PLACES, GROUPS, TURNS = 10_000, 500, 5_000, 100, 20, 18, 3
WEIGHT, LIKENESS, MOST = 0.7, 0.9, 4
GOAL = 20
"""Times as fast as the plain loop."""


class Made:
    """Candidates and what is known of items."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        member = np.zeros((ITEMS, GROUPS))
        for item in range(ITEMS):
            member[item, rng.choice(GROUPS, size=rng.integers(1, 4), replace=False)] = 1.0
        self.shares = member / member.sum(1, keepdims=True)
        self.vectors = member / np.linalg.norm(member, axis=1, keepdims=True)
        self.groups = torch.from_numpy(member > 0)
        items = np.argsort(rng.random((PEOPLE, ITEMS)), axis=1)[:, :CANDIDATES]
        self.pool = Pool.of(torch.arange(PEOPLE), torch.from_numpy(items), torch.from_numpy(rng.normal(size=items.shape)), PLACES)
        self.target = rng.dirichlet(np.full(GROUPS, 0.3), size=PEOPLE)

    def person(self, row: int) -> tuple[list[int], list[float]]:
        return self.pool.items[row].tolist(), self.pool.relevance[row].tolist()


def plain_mmr(made: Made, row: int) -> list[int]:
    items, relevance = made.person(row)
    vectors = [made.plain_vectors[item] for item in items]  # type: ignore[attr-defined]
    likest, left, chosen = [0.0] * len(items), list(range(len(items))), []
    for place in range(PLACES):
        best = max(left, key=lambda i: WEIGHT * relevance[i] - ((1 - WEIGHT) * likest[i] if place else 0.0))
        left.remove(best)
        chosen.append(items[best])
        taken = vectors[best]
        for i in left:
            like = sum(x * y for x, y in zip(vectors[i], taken, strict=True))
            likest[i] = max(likest[i], like) if place else like
    return chosen


def plain_dpp(made: Made, row: int) -> list[int]:
    items, relevance = made.person(row)
    vectors = [made.plain_vectors[item] for item in items]  # type: ignore[attr-defined]
    factors: list[list[float]] = [[] for _ in items]
    d2, left, chosen = [1.0] * len(items), list(range(len(items))), []
    for _ in range(PLACES):
        best = max(left, key=lambda i: WEIGHT * relevance[i] + (1 - WEIGHT) * math.log(max(d2[i], 1e-12)))
        left.remove(best)
        chosen.append(items[best])
        root = math.sqrt(max(d2[best], 1e-12))
        for i in left:
            like = LIKENESS * sum(x * y for x, y in zip(vectors[i], vectors[best], strict=True))
            new = (like - sum(x * y for x, y in zip(factors[i], factors[best], strict=True))) / root
            factors[i].append(new)
            d2[i] -= new * new
    return chosen


def plain_calibrate(made: Made, row: int) -> list[int]:
    items, relevance = made.person(row)
    shares, target = [made.plain_shares[item] for item in items], made.plain_target[row]  # type: ignore[attr-defined]
    sums, left, chosen = [0.0] * GROUPS, list(range(len(items))), []

    def gain(i: int, taken: int) -> float:
        agreement = 0.0
        for g in range(GROUPS):
            mixed = (1 - SMOOTHING) * (sums[g] + shares[i][g]) / (taken + 1) + SMOOTHING * target[g]
            agreement += target[g] * math.log(max(mixed, 1e-300))
        return (1 - WEIGHT) * relevance[i] + WEIGHT * agreement

    for place in range(PLACES):
        best = max(left, key=lambda i: gain(i, place))
        left.remove(best)
        chosen.append(items[best])
        sums = [x + y for x, y in zip(sums, shares[best], strict=True)]
    return chosen


def plain_cap(made: Made, row: int) -> list[int]:
    items, _ = made.person(row)
    used, chosen = [0] * GROUPS, []
    for item in items:
        own = made.plain_groups[item]  # type: ignore[attr-defined]
        if len(chosen) < PLACES and all(used[g] < MOST for g in own):
            chosen.append(item)
            for g in own:
                used[g] += 1
    return chosen


def numpy_mmr(made: Made, row: int) -> list[int]:
    items, relevance = made.pool.items[row].numpy(), made.pool.relevance[row].numpy()
    vectors, likest, gone, chosen = made.vectors[items], np.zeros(len(items)), np.zeros(len(items), dtype=bool), []
    for place in range(PLACES):
        gain = WEIGHT * relevance - ((1 - WEIGHT) * likest if place else 0.0)
        best = int(np.where(gone, -np.inf, gain).argmax())
        gone[best] = True
        chosen.append(int(items[best]))
        like = vectors @ vectors[best]
        likest = np.maximum(likest, like) if place else like
    return chosen


def numpy_dpp(made: Made, row: int) -> list[int]:
    items, relevance = made.pool.items[row].numpy(), made.pool.relevance[row].numpy()
    vectors, gone, chosen = made.vectors[items], np.zeros(len(items), dtype=bool), []
    factors, d2 = np.zeros((len(items), PLACES)), np.ones(len(items))
    for place in range(PLACES):
        gain = WEIGHT * relevance + (1 - WEIGHT) * np.log(np.maximum(d2, 1e-12))
        best = int(np.where(gone, -np.inf, gain).argmax())
        gone[best] = True
        chosen.append(int(items[best]))
        like = LIKENESS * vectors @ vectors[best] - factors[:, :place] @ factors[best, :place]
        factors[:, place] = like / math.sqrt(max(d2[best], 1e-12))
        d2 = d2 - factors[:, place] ** 2
    return chosen


def numpy_calibrate(made: Made, row: int) -> list[int]:
    items, relevance = made.pool.items[row].numpy(), made.pool.relevance[row].numpy()
    shares, target = made.shares[items], made.target[row]
    sums, gone, chosen = np.zeros(GROUPS), np.zeros(len(items), dtype=bool), []
    for place in range(PLACES):
        mixed = (1 - SMOOTHING) * (sums + shares) / (place + 1) + SMOOTHING * target
        gain = (1 - WEIGHT) * relevance + WEIGHT * np.log(np.maximum(mixed, 1e-300)) @ target
        best = int(np.where(gone, -np.inf, gain).argmax())
        gone[best] = True
        chosen.append(int(items[best]))
        sums = sums + shares[best]
    return chosen


def rows() -> list[Row]:
    made: Any = Made()
    made.plain_vectors, made.plain_shares, made.plain_target = made.vectors.tolist(), made.shares.tolist(), made.target.tolist()
    made.plain_groups = [np.flatnonzero(row).tolist() for row in made.shares]
    vectors, shares, target = (torch.from_numpy(each) for each in (made.vectors, made.shares, made.target))
    capped = made.pool.limited(Limit(groups=made.groups, most=MOST))
    ours: dict[str, Callable[[], Pool]] = {
        "mmr": lambda: fill(made.pool, lambda block: _Marginal(block, vectors, WEIGHT)),
        "dpp": lambda: fill(made.pool, lambda block: _Volume(block, vectors * LIKENESS**0.5, WEIGHT)),
        "calibrate": lambda: fill(made.pool, lambda block: _Calibration(block, shares, target[block.users], WEIGHT)),
        "cap": lambda: keep_to_limits(capped),
    }
    plain = {"mmr": plain_mmr, "dpp": plain_dpp, "calibrate": plain_calibrate, "cap": plain_cap}
    careful = {"mmr": numpy_mmr, "dpp": numpy_dpp, "calibrate": numpy_calibrate}
    found = []
    for name, work in ours.items():
        lists = work().lists[:SAMPLE].tolist()
        loops = {"plain Python loop": plain[name], **({"loop with NumPy inside": careful[name]} if name in careful else {})}
        for peer, loop in loops.items():
            theirs = [[*chosen, *[-1] * (PLACES - len(chosen))] for chosen in (loop(made, row) for row in range(SAMPLE))]
            same = sum(a == b for a, b in zip(lists, theirs, strict=True)) / SAMPLE
            assert same > 0.99, f"{name}: {same:.1%} of the lists are the same"  # equal gains may be told apart by rounding
            each = lambda loop=loop: seconds(lambda: [loop(made, row) for row in range(SAMPLE)]) * PEOPLE / SAMPLE  # noqa: E731
            mine, other = taking_turns(lambda work=work: seconds(work), each, turns=TURNS)
            goal = f"at least {GOAL} times as fast" if peer.startswith("plain") else "shown"
            met = other / mine >= GOAL if peer.startswith("plain") else None
            size = f"{PEOPLE:,} people, {CANDIDATES} to {PLACES}"
            found.append(Row(work=name, size=size, ours=mine, peer=peer, peer_value=other, goal=goal, met=met))
    return found


if __name__ == "__main__":
    write("policy", rows())
