"""A bundle asked what a holdout asks: each person at their own moment, knowing what was known of them then."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch
from torch import Tensor

from workbench.data import Dataset, Holdout, Interactions, Split
from workbench.evaluation.ranking import NOTHING
from workbench.features import Feature, Tables
from workbench.promotion.features import write_state
from workbench.promotion.system import moments_of
from workbench.serving import Bundle
from workbench.serving.bundle import Moments
from workbench.serving.features import State
from workbench.serving.manifest import inside
from workbench.serving.requests import Asked

Codes = npt.NDArray[np.int64]
TIMED = 200
"""Requests that time is taken of."""


@dataclass(frozen=True, eq=False)
class Replayed:
    items: Tensor
    """int64 (n, k), codes of the data set; NOTHING after the last."""
    scores: Tensor
    """float64 (n, k)."""
    served: Tensor
    """bool (n,): not by the fallback."""
    chances: Tensor
    """float64 (n, k); NaN where there are none."""
    seconds: Tensor
    """float64 (m,): of requests asked one at a time, on one thread."""


def replay(bundle: Bundle, data: Dataset, parts: Split, part: str = "test", holdout: Holdout | None = None) -> Replayed:
    """The bundle may be of another snapshot: people and items it does not know are strangers, and not there; items that are gone are not on
    offer. holdout: who of the part asks; None: everybody."""
    return replay_ready(with_all_moments(bundle, data), data, parts, part, holdout or parts.holdout(part))


def replay_ready(bundle: Bundle, data: Dataset, parts: Split, part: str, holdout: Holdout) -> Replayed:
    """The same of a bundle that has its features at all moments already."""
    asked = requests_of(bundle, data, holdout, moments_of(parts, part, holdout))
    answers = bundle.answer(asked)
    seconds = []
    for each in asked[:: max(1, len(asked) // TIMED)][:TIMED]:
        start = time.perf_counter()
        bundle.answer([each])
        seconds.append(time.perf_counter() - start)
    own = _codes(bundle.item_ids, data.item_ids)
    items, scores, chances = (
        torch.full((len(asked), bundle.k), NOTHING),
        *torch.full((2, len(asked), bundle.k), torch.nan, dtype=torch.float64),
    )
    for row, answer in enumerate(answers):
        n = len(answer.items)
        items[row, :n] = torch.from_numpy(own[answer.items])
        scores[row, :n] = torch.from_numpy(answer.scores)
        if answer.chances is not None:
            chances[row, :n] = torch.from_numpy(answer.chances)
    served = torch.tensor([not answer.fallback for answer in answers])
    return Replayed(items, scores, served, chances, torch.tensor(seconds, dtype=torch.float64))


def requests_of(bundle: Bundle, data: Dataset, holdout: Holdout, moments: Tensor) -> list[Asked]:
    """Of the holdout's people, in its order, in the bundle's codes. What the data set no longer has counts as seen: it may not be shown."""
    people, items = _codes(data.user_ids, bundle.user_ids), _codes(data.item_ids, bundle.item_ids)
    history, seen = _taken(holdout.history, items), _taken(holdout.seen, items) if holdout.seen is not None else None
    gone = np.flatnonzero(_codes(bundle.item_ids, data.item_ids) < 0)
    found = []
    for user, moment in zip(holdout.users.tolist(), moments.tolist(), strict=True):
        known, liked = history(user)
        hidden = np.append(seen(user)[0], gone) if seen else gone
        found.append(Asked(user=int(people[user]), history=known, seen=hidden, liked=liked, moment=moment))
    return found


def _taken(log: Interactions, own: Codes) -> Callable[[int], tuple[Codes, Codes]]:
    """By person: the items they had, oldest first, and of these what they liked; in the bundle's codes, without those it does not have."""
    codes, liked, offsets = own[log.items.numpy()], log.positive.numpy(), log.offsets.tolist()

    def of(user: int) -> tuple[Codes, Codes]:
        part = codes[offsets[user] : offsets[user + 1]]
        there = part >= 0
        return part[there], part[there & liked[offsets[user] : offsets[user + 1]]]

    return of


def _codes(ids: list[str], known: list[str]) -> Codes:
    """int64: the place of each id among those known; -1 for one that is not."""
    place = {each: code for code, each in enumerate(known)}
    return np.array([place.get(each, -1) for each in ids], np.int64)


def with_all_moments(bundle: Bundle, data: Dataset) -> Bundle:
    """With features of any moment of the data set's log, by the bundle's own definitions; itself where it has no ranker."""
    if bundle.moments is None:
        return bundle
    told = bundle.moments.state.told
    definitions = [Feature.model_validate({name: each[name] for name in Feature.model_fields}) for each in told["definitions"]]
    sensitive = {each.of for each in definitions if each.privacy == "sensitive"}
    users, items = _codes(bundle.user_ids, data.user_ids), _codes(bundle.item_ids, data.item_ids)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "features"
        write_state(folder, definitions, Tables.of(data), codes=told["codes"], allowed=sensitive)
        return bundle.with_moments(Moments(State.read(folder), users, items))


def learnt_from_the_judged(bundle: Bundle, data: Dataset, parts: Split, part: str = "test") -> int:
    """Events that the bundle's models learnt from and that are judged, or came after a judged person's request; of a split at one moment
    for everyone, of anybody from that moment on. Above 0 it cannot be held against what learnt less.
    """
    table = pq.read_table(inside(bundle.folder, "histories.parquet"))
    kept = table["learnt"].to_numpy(zero_copy_only=False)
    users, items = _codes(bundle.user_ids, data.user_ids), _codes(bundle.item_ids, data.item_ids)
    user, item = users[table["user_code"].to_numpy()[kept]], items[table["item_code"].to_numpy()[kept]]
    times = table["timestamp"].to_numpy()[kept]
    judged: Interactions = getattr(parts, part)
    keys = judged.users * judged.n_items + judged.items
    events = set(zip(keys.tolist(), judged.timestamps.tolist(), strict=True))
    same = np.array(
        [(key, time) in events for key, time in zip((user * judged.n_items + item).tolist(), times.tolist(), strict=True)], bool
    )
    same &= (user >= 0) & (item >= 0)
    if "one moment" in parts.rule.promises:
        return int((same | (times >= int(judged.timestamps.min()))).sum())
    if "own time" not in parts.rule.promises:
        return int(same.sum())
    first = np.full(data.n_users, np.iinfo(np.int64).max)
    np.minimum.at(first, judged.users.numpy(), judged.timestamps.numpy())
    return int((same | ((user >= 0) & (times > first[user]))).sum())
