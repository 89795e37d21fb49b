"""Several sources' lists as one, each candidate with who gave it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workbench.errors import RequestError, unknown
from workbench.evaluation.ranking import NOTHING
from workbench.retrieval.sources import Source
from workbench.retrieval.tasks import Requests

DAMPING = 60.0
"""Of reciprocal rank fusion, as in the paper."""
MOST = 62
"""Sources that one blend has at most: each is a bit."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """For each of n requests at most k items, none twice, best first."""

    items: Tensor
    """int64 (n, k); NOTHING after the last."""
    given_by: Tensor
    """int64 (n, k): a bit for each source, of those in `names`, that had the item in its list; 0 where there is none."""
    names: tuple[str, ...]

    def from_source(self, name: str) -> Tensor:
        """bool (n, k): the source had it. Raises RequestError for a source that is not in the blend."""
        if name not in self.names:
            raise unknown("source in the blend", name, self.names)
        return (self.given_by >> self.names.index(name)) & 1 == 1

    def sources_of(self, row: int, place: int) -> list[str]:
        """Who gave this candidate."""
        return [name for name in self.names if bool(self.from_source(name)[row, place])]

    @property
    def filled(self) -> Tensor:
        """int64 (n,): how many each request got."""
        return (self.items != NOTHING).sum(1)


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """How lists become one: by the sum over sources of weight / (60 + rank), reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR
    2009), after each source's quota is served.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    """Of sources by name, at least 0; 1 where none is given."""
    quotas: Mapping[str, int] = field(default_factory=dict)
    """Places that a source's first items get before fusion decides, by name; items that two sources have count for both."""
    fallback: tuple[str, ...] = ()
    """Sources that are asked only where the others leave a list short, in this order: for people of whom nothing is known."""

    def check(self, names: Sequence[str], k: int) -> None:
        """Raises RequestError for a source that does not exist, weights below 0, a quota of a fallback, and quotas that are more than `k`
        places together.
        """
        for name in (*self.weights, *self.quotas, *self.fallback):
            if name not in names:
                raise unknown("source", name, names)
        if not all(number >= 0 for number in (*self.weights.values(), *self.quotas.values())):
            raise RequestError("weights and quotas should be at least 0.")
        if both := set(self.quotas) & set(self.fallback):
            raise RequestError(f"{min(both)} is a fallback, asked where there are places left: it can have no quota.")
        if sum(self.quotas.values()) > k:
            raise RequestError(f"the quotas add up to {sum(self.quotas.values())}, more than the {k} places there are.")
        if set(names) <= set(self.fallback):
            raise RequestError("every source is a fallback: name at least one that is asked first.")
        if len(names) > MOST:
            raise RequestError(f"a blend has at most {MOST} sources; there are {len(names)}.")


PLAIN = Fusion()
"""Every source counts alike."""


class Blend:
    """Asks its sources and fuses what they say."""

    def __init__(self, sources: Sequence[Source], ties: Tensor, fusion: Fusion = PLAIN, depth: int | None = None) -> None:
        """ties: int64 (n_items,), the order among candidates that are equally good. depth: items asked of each source; None: as many as the
        blend is to give.

        Raises RequestError for no source and for two of one name.
        """
        self.names = tuple(source.name for source in sources)
        if not sources or len(set(self.names)) < len(sources):
            raise RequestError(f"a blend needs sources with names of their own, at least one, not {list(self.names)}.")
        self.sources, self.ties, self.fusion, self.depth = tuple(sources), ties, fusion, depth

    def candidates(self, requests: Requests, k: int) -> Candidates:
        """At most `k` for each request. Raises RequestError for k below 1 and for a fusion that does not fit the sources."""
        if k < 1:
            raise RequestError(f"k = {k} should be at least 1.")
        self.fusion.check(self.names, k)
        asked = {source.name: source for source in self.sources}
        nothing = torch.full((len(requests), 0), NOTHING)
        first = [name for name in self.names if name not in self.fusion.fallback]
        lists = {name: asked[name].candidates(requests, self.depth or k) if name in first else nothing for name in self.names}
        found = fuse(lists, self.ties, k, self.fusion)
        for name in self.fusion.fallback:
            short = torch.nonzero(found.filled < k)[:, 0]
            if not len(short):
                break
            lists[name] = torch.full((len(requests), k), NOTHING)
            lists[name][short] = asked[name].candidates(requests.select(short), k)
            found = fuse(lists, self.ties, k, self.fusion)
        return found


def fuse(lists: Mapping[str, Tensor], ties: Tensor, k: int, fusion: Fusion = PLAIN) -> Candidates:
    """Lists by the names of their sources, int64 (n, depth), as one of at most `k` items; ties: int64 (n_items,).

    Raises RequestError for a fusion that does not fit the lists.
    """
    names = tuple(lists)
    fusion.check(tuple(dict.fromkeys((*names, *fusion.fallback))), k)
    n, n_items = len(next(iter(lists.values()))), len(ties)
    table = _together(_where_needed(lists, k, fusion), n_items, fusion)
    order = np.lexsort((ties.numpy()[table["item"]], -table["score"], table["tier"], table["row"]))
    kept = order[_place(table["row"][order]) < k]
    shown = kept
    if fusion.quotas:  # who is in is decided, and now stands where fusion puts it
        last = np.maximum(table["tier"][kept], 1)
        shown = kept[np.lexsort((ties.numpy()[table["item"][kept]], -table["score"][kept], last, table["row"][kept]))]
    items, given_by = torch.full((n, k), NOTHING), torch.zeros(n, k, dtype=torch.int64)
    row = table["row"][shown]
    place = _place(row)
    items[row, place], given_by[row, place] = torch.from_numpy(table["item"][shown]), torch.from_numpy(table["bits"][shown])
    return Candidates(items, given_by, names)


def _where_needed(lists: Mapping[str, Tensor], k: int, fusion: Fusion) -> dict[str, Tensor]:
    """The lists, those of fallbacks for requests alone that the ones before leave with fewer than `k` items."""
    kept = {name: found for name, found in lists.items() if name not in fusion.fallback}
    for name in fusion.fallback:
        if name in lists:
            together = torch.cat(list(kept.values()), dim=1).sort(1).values if kept else lists[name][:, :0]
            new = torch.cat([torch.ones_like(together[:, :1], dtype=torch.bool), together[:, 1:] != together[:, :-1]], dim=1)
            enough = (new[:, : together.shape[1]] & (together != NOTHING)).sum(1) >= k
            kept[name] = lists[name].masked_fill(enough[:, None], NOTHING)
    return {name: kept[name] for name in lists}


def _together(lists: Mapping[str, Tensor], n_items: int, fusion: Fusion) -> dict[str, Any]:
    """One entry for each request and item: row, item, score, bits of who gave it, tier (0: by quota, 1: by fusion, then the fallbacks)."""
    keys, scores, bits, tiers = [], [], [], []
    for place, (name, found) in enumerate(lists.items()):
        row, rank = torch.nonzero(found != NOTHING, as_tuple=True)
        weight = fusion.weights.get(name, 1.0)
        keys.append((row * n_items + found[row, rank]).numpy())
        scores.append(weight / (DAMPING + 1 + rank.numpy()))
        bits.append(np.full(len(row), 1 << place))
        last = 2 + fusion.fallback.index(name) if name in fusion.fallback else 1
        tiers.append(np.where(rank.numpy() < fusion.quotas.get(name, 0), 0, last))
    unique, entry = np.unique(np.concatenate(keys), return_inverse=True)
    tier, of_entry = np.full(len(unique), np.iinfo(np.int64).max), np.concatenate(tiers)
    np.minimum.at(tier, entry, of_entry)
    given = np.zeros(len(unique), np.int64)
    np.bitwise_or.at(given, entry, np.concatenate(bits))
    counts = (of_entry < 2) | (of_entry == tier[entry])  # a fallback has no say about what the others gave
    score = np.bincount(entry, np.concatenate(scores) * counts, len(unique)).round(12)  # sums in another order are equal
    return {"row": unique // n_items, "item": unique % n_items, "score": score, "bits": given, "tier": tier}


def _place(row: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """int64 (n,): the how manieth of its row each entry is, from 0; row: ascending."""
    return np.arange(len(row)) - np.searchsorted(row, row)
