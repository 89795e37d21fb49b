"""Is an index still good, and if not, what is the least that mends it: new vectors for what changed, or all of it anew."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from workbench.errors import RequestError
from workbench.retrieval.index import Floats, VectorIndex, as_table, digests_of
from workbench.retrieval.masked import Codes
from workbench.retrieval.recall import recall_against
from workbench.retrieval.store import Manifest, StoredIndex, open_index, save_index

Call = Literal["fresh", "refresh", "rebuild"]
DAY = 86_400
RECALL_AT = 100
"""Where the manifest has none."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is still good enough. Each is a share in [0, 1] but for the age."""

    age_days: float = 7.0
    """Since the index last took in the catalogue; beyond it: refresh."""
    missing: float = 0.01
    """Of the catalogue's items, those that cannot be found; beyond it: refresh."""
    gone: float = 0.0
    """Of the index's items, those that are no longer in the catalogue; beyond it: refresh."""
    drift: float = 0.01
    """1 less the mean likeness of an item's vector now and in the index; beyond it: refresh."""
    recall_lost: float = 0.02
    """Of the recall at build; beyond it: refresh, and after a refresh: rebuild."""
    changed: float = 0.5
    """Of the items, those with another vector; beyond it cells and codes were learnt from another space: rebuild."""
    grown: float = 1.0
    """Items more than there were when cells and codes were learnt, as a share of those; beyond it: rebuild."""
    dead: float = 0.3
    """Of the index's places, those whose item was removed or updated; beyond it: rebuild."""


@dataclass(frozen=True, kw_only=True)
class Staleness:
    age_days: float
    missing: float
    gone: float
    drift: float
    """1 less the mean over items of a·b / max(|a|², |b|²), a the vector now and b the index's, in excess of what that is for vectors that
    did not change: what the codes lose. Where all changed that is not known, and is in it. NaN where no item is in both."""
    changed: float
    grown: float
    dead: float
    recall: float | None
    """Of the index as it is, against exact search among the current vectors; None where no queries were given."""
    recall_at_build: float | None
    verdict: Call
    reasons: tuple[str, ...]
    """One for each limit that was passed."""

    def __str__(self) -> str:
        return f"{self.verdict}: {'; '.join(self.reasons)}." if self.reasons else f"{self.verdict}."


def staleness(
    stored: StoredIndex,
    vectors: Tensor,
    item_ids: Sequence[str],
    *,
    queries: Tensor | None = None,
    limits: Limits = Limits(),
    now: datetime.datetime | None = None,
) -> Staleness:
    """How far the index is from the catalogue and the model of today.

    vectors: float (n_items, d), the model's now; item_ids: of the same rows. queries: float (n, d), to measure recall by. now: aware of its
    zone; None: the clock.

    Raises RequestError for vectors of another length than the index's and for another number of ids.
    """
    return _staleness(stored, _match(stored, vectors, item_ids), vectors, queries, limits, now or datetime.datetime.now(datetime.UTC))


def _staleness(
    stored: StoredIndex, matched: "_Match", vectors: Tensor, queries: Tensor | None, limits: Limits, now: datetime.datetime
) -> Staleness:
    index, manifest = stored.index, stored.manifest
    age = (now - datetime.datetime.fromisoformat(manifest.refreshed)).total_seconds() / DAY
    recall = None if queries is None else recall_against(_recoded(stored, matched), vectors, queries, _depth(manifest))
    n_index = max(1, len(index))
    found = Staleness(
        age_days=age,
        missing=len(matched.missing) / len(vectors),
        gone=len(matched.gone) / n_index,
        drift=_drift(index, matched, as_table(vectors, manifest.config, index.dimensions)),
        changed=len(matched.changed) / n_index,
        grown=len(vectors) / max(1, manifest.n_built) - 1,
        dead=index.dead_share,
        recall=recall.value if recall else None,
        recall_at_build=manifest.recall.value if manifest.recall else None,
        verdict="fresh",
        reasons=(),
    )
    return _judged(found, limits)


def refresh(
    folder: Path,
    vectors: Tensor,
    item_ids: Sequence[str],
    *,
    model: str,
    snapshot: str,
    queries: Tensor | None = None,
    limits: Limits = Limits(),
) -> tuple[Manifest, Staleness]:
    """Bring the index in `folder` up to these vectors, float (n_items, d), of these items; returns what it is now, and what it was before.

    Items that are new are added, those whose vector changed updated, those that are gone removed; where more changed than `limits` allow,
    or the result finds less than they allow, all is built anew. Whatever happens, the folder holds the old index or the new one, whole.

    Raises as `open_index`, `staleness` and `VectorIndex.build` do.
    """
    stored = open_index(folder)
    matched = _match(stored, vectors, item_ids)
    before = _staleness(stored, matched, vectors, queries, limits, datetime.datetime.now(datetime.UTC))
    since: Manifest | None = stored.manifest
    index = _taken_in(stored, matched, vectors)
    recall = None if queries is None else recall_against(index, vectors, queries, _depth(stored.manifest))
    lost = (stored.manifest.recall.value - recall.value) if recall and stored.manifest.recall else 0.0
    if before.verdict == "rebuild" or index.dead_share > limits.dead or lost > limits.recall_lost:
        index, since = VectorIndex.build(vectors, stored.manifest.config), None
        recall = None if queries is None or recall is None else recall_against(index, vectors, queries, recall.k)
    manifest = save_index(folder, index, item_ids, model=model, snapshot=snapshot, recall=recall, since=since)
    return manifest, before


def _depth(manifest: Manifest) -> int:
    return manifest.recall.k if manifest.recall else RECALL_AT


@dataclass(frozen=True, eq=False)
class _Match:
    """Items of the index, found again in a catalogue by their ids."""

    places: Codes
    """Of the index's living items that are in the catalogue."""
    codes: Codes
    """Their codes now."""
    gone: Codes
    """Places of living items that are no longer there."""
    missing: Codes
    """Codes now of items that are not in the index."""
    changed: Codes
    """Which of `places` have another vector now: int64, into both arrays."""


def _match(stored: StoredIndex, vectors: Tensor, item_ids: Sequence[str]) -> _Match:
    index = stored.index
    if not len(item_ids):
        raise RequestError("the catalogue is empty: there is nothing to hold the index against.")
    if len(item_ids) != len(vectors):
        raise RequestError(f"there are {len(vectors):,} vectors for {len(item_ids):,} items.")
    digests = digests_of(as_table(vectors, stored.manifest.config, index.dimensions))
    now = {item: code for code, item in enumerate(item_ids)}
    living = np.flatnonzero(index.alive)
    codes = np.array([now.get(stored.item_ids[place], -1) for place in living.tolist()], np.int64)
    there = codes >= 0
    places, codes = living[there], codes[there]
    missing = np.setdiff1d(np.arange(len(item_ids)), codes)
    return _Match(places, codes, living[~there], missing, np.flatnonzero(index.digests[places] != digests[codes]))


def _recoded(stored: StoredIndex, matched: _Match) -> VectorIndex:
    """The same index with the catalogue's codes of today, what is gone left out."""
    index = stored.index
    items, alive = np.full(len(index.items), -1, np.int64), np.zeros(len(index.items), bool)
    items[matched.places], alive[matched.places] = matched.codes, True
    return VectorIndex(index.config, index.index, items, alive, index.digests)


def _taken_in(stored: StoredIndex, matched: _Match, vectors: Tensor) -> VectorIndex:
    index = _recoded(stored, matched)
    for codes, take in ((matched.codes[matched.changed], index.update), (matched.missing, index.add)):
        if len(codes):
            items = torch.from_numpy(codes)
            take(items, vectors[items])
    return index


def _drift(index: VectorIndex, matched: _Match, now: Floats) -> float:
    if not len(matched.places):
        return float("nan")
    held, current = (torch.from_numpy(each) for each in (index.decoded()[matched.places], now[matched.codes]))
    longest = torch.maximum(held.square().sum(1), current.square().sum(1)).double()
    likeness = ((held * current).sum(1).double() / longest).nan_to_num(nan=1.0).numpy()  # 0 / 0: nothing then, nothing now
    same = np.setdiff1d(np.flatnonzero(longest.numpy() > 0), matched.changed)
    lossy = likeness[same].mean() if len(same) else 1.0
    return float(max(0.0, lossy - likeness.mean()))


def _judged(found: Staleness, limits: Limits) -> Staleness:
    lost = 0.0 if found.recall is None or found.recall_at_build is None else found.recall_at_build - found.recall
    passed: list[tuple[bool, Call, str]] = [
        (found.changed > limits.changed, "rebuild", f"{found.changed:.0%} of the vectors changed, {limits.changed:.0%} allowed"),
        (found.grown > limits.grown, "rebuild", f"{found.grown:.0%} more items than it was built for, {limits.grown:.0%} allowed"),
        (found.dead > limits.dead, "rebuild", f"{found.dead:.0%} of the places are dead, {limits.dead:.0%} allowed"),
        (found.age_days > limits.age_days, "refresh", f"{found.age_days:.1f} days old, {limits.age_days:g} allowed"),
        (found.missing > limits.missing, "refresh", f"{found.missing:.1%} of the catalogue missing, {limits.missing:.1%} allowed"),
        (found.gone > limits.gone, "refresh", f"{found.gone:.1%} of the items are gone, {limits.gone:.1%} allowed"),
        (found.drift > limits.drift, "refresh", f"vectors drifted by {found.drift:.3f}, {limits.drift:g} allowed"),
        (lost > limits.recall_lost, "refresh", f"recall fell by {lost:.3f}, {limits.recall_lost:g} allowed"),
    ]
    reasons = [(call, why) for over, call, why in passed if over]
    verdict: Call = reasons[0][0] if reasons else "fresh"
    return Staleness(**{**vars(found), "verdict": verdict, "reasons": tuple(why for _, why in reasons)})
