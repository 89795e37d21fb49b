"""The steps of a policy on one request's candidates, with NumPy alone; what `workbench.policy` does to many at once."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

STEPS = "policy.json"

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Limits:
    """At most so many of any one group, of one grouping or of several; groups of different ones have different numbers."""

    groups: Codes
    """int64: the groups of item 0, then those of item 1, and so on."""
    starts: Codes
    """int64 (n_items + 1,): where each item's begin."""
    lists: list[list[int]]
    """The same, by item."""
    most: list[int]
    """By group."""

    @classmethod
    def of(cls, groupings: Sequence[tuple[npt.NDArray[Any], int]], n_items: int) -> "Limits":
        """groupings: of each its pairs, (n, 2), an item and a group of it, and how many of a group there may be."""
        items, groups, most = np.empty(0, np.int64), np.empty(0, np.int64), list[int]()
        for pairs, each in groupings:
            items = np.append(items, pairs[:, 0].astype(np.int64))
            groups = np.append(groups, pairs[:, 1].astype(np.int64) + len(most))
            most += [each] * (int(pairs[:, 1].max(initial=-1)) + 1)
        groups, starts = groups[items.argsort(kind="stable")], np.append(0, np.bincount(items, minlength=n_items).cumsum())
        return cls(groups, starts, [each.tolist() for each in np.split(groups, starts[1:-1])], most)

    def spread(self, items: Codes) -> tuple[Codes, Codes]:
        """int64: the groups of these items one after another, and whose each is."""
        first, lengths = self.starts[items], self.starts[items + 1] - self.starts[items]
        places = np.arange(lengths.sum()) + np.repeat(first - (lengths.cumsum() - lengths), lengths)
        return self.groups[places], np.repeat(np.arange(len(items)), lengths)


@dataclass(frozen=True)
class Pool:
    """Candidates of one request, best first."""

    items: Codes
    scores: Floats
    k: int
    limits: Limits | None = None
    listed: int | None = None
    """How many of the first `k` a list has, where limits leave no room for more."""

    @property
    def shown(self) -> Codes:
        return self.items[: self.k if self.listed is None else self.listed]

    @property
    def relevance(self) -> Floats:
        """In [0, 1]: the score between the lowest and the highest; 1 where all are equal."""
        if not len(self.scores):
            return self.scores
        low, high = self.scores.min() / 2, self.scores.max() / 2  # halves: the spread of doubles is none
        return (self.scores / 2 - low) / (high - low) if high > low else np.ones(len(self.scores))

    def ordered(self, first: Codes) -> "Pool":
        """These places first, the others in the order they have."""
        rest = np.ones(len(self.items), bool)
        rest[first] = False
        order = np.concatenate([first, np.flatnonzero(rest)])
        return replace(self, items=self.items[order], scores=self.scores[order])


class Gain(Protocol):
    def values(self) -> Floats: ...
    def take(self, place: int) -> None: ...


class Policy:
    """Steps in order. What each knows of items is in tables beside it."""

    def __init__(self, steps: list[dict[str, Any]], columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """columns: by name, a row for each item; see `workbench.promotion.policy`."""
        self.steps, self.columns = steps, columns
        self.limits: dict[int, Limits] = {}
        """By the number of a step: it and those before it."""
        groupings = []
        for number, step in enumerate(steps):
            if step["does"] == "limit":
                groupings.append((columns[f"groups_{number}"], step["most"]))
                self.limits[number] = Limits.of(groupings, step["items"])

    @classmethod
    def read(cls, folder: Path) -> "Policy":
        steps = json.loads((folder / STEPS).read_text(encoding="utf-8"))["steps"]
        columns = {}
        for path in sorted(folder.glob("*.parquet")):
            table = pq.read_table(path)
            columns[path.stem] = np.column_stack([table[name].to_numpy() for name in table.column_names])
        return cls(steps, columns)

    def apply(self, pool: Pool, seen: Codes, liked: Codes) -> tuple[Pool, list[dict[str, Any]]]:
        """What is left, in its order, and what each step did. seen: what the person had; liked: of that what they liked."""
        told = []
        for number, step in enumerate(self.steps):
            before = pool
            pool = self._step(number, step, pool, seen, liked)
            gone = set(before.shown.tolist()) - set(pool.shown.tolist())
            told.append({"step": step["title"], "removed": len(before.items) - len(pool.items), "left_the_list": len(gone)})
        return pool, told

    def _step(self, number: int, step: dict[str, Any], pool: Pool, seen: Codes, liked: Codes) -> Pool:
        match step["does"]:
            case "allow":
                return _without(pool, ~self.columns[f"allowed_{number}"][pool.items, 0].astype(bool))
            case "unseen":
                return _without(pool, np.isin(pool.items, seen))
            case "limit":
                return _keep_to_limits(replace(pool, limits=self.limits[number]))
            case "mmr":
                return _fill(pool, lambda each: _Marginal(each, self.columns["vectors"], step["weight"]))
            case "dpp":
                return _fill(pool, lambda each: _Volume(each, self.columns["vectors"], step["likeness"], step["weight"]))
        shares = self.columns[f"shares_{number}"]
        return _fill(pool, lambda each: _Calibration(each, shares, shares[liked].sum(0), step))


def _without(pool: Pool, refused: Flags) -> Pool:
    left = replace(pool, items=pool.items[~refused], scores=pool.scores[~refused])
    return _keep_to_limits(left) if pool.limits else left


class _Counts:
    """How much of the limits the places taken so far use."""

    def __init__(self, pool: Pool) -> None:
        self.items, self.limits = pool.items, pool.limits
        self.used, self.full = dict[int, int](), set[int]()
        self.spread: tuple[Codes, Codes] | None = None

    def take(self, place: int) -> list[int]:
        """The groups that have no room from now on."""
        closed = []
        if self.limits:
            for group in self.limits.lists[self.items[place]]:
                self.used[group] = number = self.used.get(group, 0) + 1
                if number == self.limits.most[group]:
                    closed.append(group)
            self.full.update(closed)
        return closed

    def of_group(self, group: int) -> Codes:
        """int64: the places of the candidates in this group."""
        assert self.limits
        self.spread = self.spread or self.limits.spread(self.items)
        groups, whose = self.spread
        found: Codes = whose[groups == group]
        return found


def _keep_to_limits(pool: Pool) -> Pool:
    assert pool.limits
    counts, chosen = _Counts(pool), list[int]()
    for place, item in enumerate(pool.items.tolist()):
        if len(chosen) == pool.k:
            break
        if counts.full.isdisjoint(pool.limits.lists[item]):
            counts.take(place)
            chosen.append(place)
    return replace(pool.ordered(np.array(chosen, np.int64)), listed=len(chosen))


def _fill(pool: Pool, gain: Callable[[Pool], Gain]) -> Pool:
    """Place by place the candidate with the largest gain that no limit forbids; of equals the one placed higher."""
    gains, counts, chosen = gain(pool), _Counts(pool), list[int]()
    barred = np.zeros(len(pool.items))
    for _ in range(min(pool.k, len(pool.items))):
        best = int((gains.values() + barred).argmax())
        if barred[best]:
            break
        barred[best] = -np.inf
        for group in counts.take(best):
            barred[counts.of_group(group)] = -np.inf
        chosen.append(best)
        gains.take(best)
    ordered = pool.ordered(np.array(chosen, np.int64))
    return replace(ordered, listed=len(chosen) if pool.limits else None)


class _Marginal:
    """Maximal marginal relevance."""

    def __init__(self, pool: Pool, vectors: Floats, weight: float) -> None:
        self.relevance, self.weight, self.vectors = weight * pool.relevance, weight, vectors[pool.items]
        self.likest = np.full(len(pool.items), -np.inf)
        self.now = self.relevance

    def values(self) -> Floats:
        return self.now

    def take(self, place: int) -> None:
        np.maximum(self.likest, self.vectors @ self.vectors[place], out=self.likest)
        self.now = self.relevance - (1 - self.weight) * self.likest


class _Volume:
    """Greedy search for the most probable set of a determinantal point process."""

    def __init__(self, pool: Pool, vectors: Floats, likeness: float, weight: float) -> None:
        m = len(pool.items)
        self.relevance, self.weight, self.vectors = weight * pool.relevance, weight, vectors[pool.items] * likeness**0.5
        self.factors, self.left, self.taken = np.zeros((m, min(pool.k, m))), np.ones(m), 0

    def values(self) -> Floats:
        gains: Floats = self.relevance + (1 - self.weight) * np.log(np.maximum(self.left, 1e-12))
        return gains

    def take(self, place: int) -> None:
        known = self.factors[:, : self.taken]
        new = (self.vectors @ self.vectors[place] - known @ known[place]) / np.sqrt(max(self.left[place], 1e-12))
        self.factors[:, self.taken] = new
        self.left = self.left - new**2
        self.taken += 1


class _Calibration:
    """Steck's calibration to what the person liked."""

    def __init__(self, pool: Pool, shares: Floats, liked: Floats, step: Mapping[str, Any]) -> None:
        """shares: (n_items, g); liked: (g,), summed over what was liked."""
        weight, self.smoothing = step["weight"], step["smoothing"]
        self.target = liked / max(liked.sum(), 1e-300)
        self.kept = (1 - weight) * pool.relevance if liked.any() else -np.arange(len(pool.items)).astype(np.float64)
        self.weight, self.shares, self.sums, self.taken = weight, shares[pool.items], np.zeros(len(liked)), 0

    def values(self) -> Floats:
        added = (self.sums + self.shares) / (self.taken + 1)
        mixed = np.log(np.maximum(added * (1 - self.smoothing) + self.smoothing * self.target, 1e-300))
        gains: Floats = self.kept + self.weight * (mixed @ self.target)
        return gains

    def take(self, place: int) -> None:
        self.sums = self.sums + self.shares[place]
        self.taken += 1
