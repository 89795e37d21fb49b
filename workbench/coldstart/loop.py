"""What becomes of a recommender that learns from what it showed: rounds of recommending, clicking and retraining, the truth being known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workbench.data import Interactions
from workbench.evaluation.exposure import Exposure, coverage, gini
from workbench.evaluation.ranking import NOTHING, top_k
from workbench.models import Recommender, create
from workbench.policy import Pool
from workbench.policy.randomise import draw
from workbench.testing import World
from workbench.testing.synthetic import interactions
from workbench.testing.truth import PERIODS

Floats = npt.NDArray[np.floating[Any]]
HEAD = 0.1
"""The most clicked tenth of the items when the loop begins."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """Everybody's lists of one round."""

    clicks: float
    """Expected clicks of a list: the chance that a place is looked at times the chance that it is liked, by the truth."""
    coverage: float
    """Share of the items on offer in somebody's list."""
    gini: float
    """Of exposure, over the items on offer."""
    head: float
    """Share of places with items that led when the loop began."""
    cold: float
    """Share of places with items released late."""
    alike: float
    """Share of a person's list that somebody else, drawn at random, has too."""


def closed_loop(world: World, model: str = "ials", *, share: float = 0.0, rounds: int = 8, k: int = 10, seed: int = 0) -> list[Round]:
    """The world's own log is what the first model learns from; each round everybody gets a list, of items clicked before too, as of songs
    or of news, and the next model learns from the clicks as well. share: of places that are drawn at random, see `policy.randomise`.

    Luck is drawn once for each round, person and item, so that two loops in one world are compared on the same.
    """
    truth, config = world.truth, world.config
    time = np.full((1, 1), config.first_moment + config.span * (2 * PERIODS - 1) // (2 * PERIODS))
    chance = truth.preference(np.arange(config.n_users)[:, None], np.arange(config.n_items)[None], time)
    looked = truth.examination(np.arange(1, k + 1))
    pairs = _clicks(world)
    head = _leaders(pairs, config.n_items)
    found = []
    for number in range(rounds):
        log = interactions(pairs, config.n_users, config.n_items)
        own = int(np.random.SeedSequence([config.seed, seed, number]).generate_state(1)[0])
        lists = _lists(create(model).fit(log), log, k, share, own)
        found.append(_told(lists, chance, looked, head, truth.cold))
        luck = np.random.default_rng([config.seed, seed, number]).random((2, config.n_users, config.n_items))
        pairs = [*pairs, *_answers(lists, chance, looked, luck)]
    return found


def _clicks(world: World) -> list[tuple[int, int]]:
    """What was clicked in the world's log, each (person, item) once, in order of time."""
    frame = world.frame()
    clicked = frame[frame["event"] == "click"]
    codes = ((clicked[name].str[1:].astype(int)).to_numpy() for name in ("user_id", "item_id"))
    return list(dict.fromkeys(zip(*(each.tolist() for each in codes), strict=True)))


def _leaders(pairs: Sequence[tuple[int, int]], n_items: int) -> Tensor:
    """bool (n_items,): the most clicked tenth."""
    counts = torch.bincount(torch.tensor([item for _, item in pairs], dtype=torch.int64), minlength=n_items)
    first = counts.argsort(descending=True, stable=True)[: max(1, round(HEAD * n_items))]
    return torch.zeros(n_items, dtype=torch.bool).index_fill_(0, first, value=True)


def _lists(model: Recommender, log: Interactions, k: int, share: float, seed: int) -> Tensor:
    """int64 (n_users, k): the best for each person, clicked before or not; some places drawn at random."""
    users = torch.arange(log.n_users)
    asked = log.batch(users)
    scores: Tensor = model.score(asked).double()
    ties = torch.from_numpy(np.random.default_rng(seed).permutation(log.n_items))
    order, _ = top_k(scores, log.n_items, ties)
    if not share:
        return order[:, :k]
    there = scores.gather(1, order.clamp(min=0)).masked_fill(order == NOTHING, 0.0)
    return draw(Pool(users=users, items=order, scores=there, k=k), share, seed).lists


def _told(lists: Tensor, chance: Floats, looked: Floats, head: Tensor, cold: npt.NDArray[np.bool_]) -> Round:
    n, k = lists.shape
    exposure = Exposure(lists, len(head))
    counts = exposure.counts.double()
    got = np.take_along_axis(chance, lists.clamp(min=0).numpy(), axis=1) * (lists != NOTHING).numpy()
    return Round(
        clicks=float((got * looked).sum(1).mean()),
        coverage=coverage(exposure)[0].item(),
        gini=gini(exposure)[0].item(),
        head=(counts[head].sum() / counts.sum()).item(),
        cold=(counts[torch.from_numpy(cold)].sum() / counts.sum()).item(),
        alike=(counts * (counts - 1)).sum().item() / (n * (n - 1) * k),
    )


def _answers(lists: Tensor, chance: Floats, looked: Floats, luck: Floats) -> list[tuple[int, int]]:
    """What people click of their lists. luck: uniform (2, n_users, n_items): whether they look, and whether they like."""
    items = lists.clamp(min=0).numpy()
    seen, liked = (np.take_along_axis(each, items, axis=1) for each in luck)
    clicked = (seen < looked) & (liked < np.take_along_axis(chance, items, axis=1)) & (lists != NOTHING).numpy()
    rows, places = np.nonzero(clicked)
    return list(zip(rows.tolist(), items[rows, places].tolist(), strict=True))
