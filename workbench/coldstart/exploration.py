"""What it costs to find out about new items, and what it brings: bandits in a world whose truth is known.

A request shows one item. Warm items have been tried before; then cold ones join. What an item would have got from a request is drawn once,
whoever asks for it, so that policies are compared on the same luck.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.testing import World
from workbench.testing.truth import PERIODS

POLICIES = ("greedy", "epsilon_greedy", "thompson", "lin_ucb")
"""ε-greedy (Sutton and Barto 1998, ch. 2), Thompson sampling of Beta posteriors (Chapelle and Li, NeurIPS 2011), LinUCB on the person's
segment (Li et al., WWW 2010), by MABWiser. Greedy is the first without exploration."""
WARM_ONLY = "warm_only"
"""Greedy, never told of the cold items: what the others are held against."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How long, over how many items."""

    requests: int = 2000
    batch: int = 100
    """Requests between two updates of a policy."""
    warm: int = 20
    """Items that were tried before, the most shown ones."""
    cold: int = 10
    """Items that join, any of those released late."""
    tried: int = 100
    """Requests for which each warm item was shown before."""
    seed: int = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Explored:
    """One policy in one world."""

    policy: str
    regret: Floats
    """float64 (requests,): expected clicks of the best item for the person less those of the one shown, summed up so far."""
    cost: Floats
    """float64 (requests,): expected clicks of the item that WARM_ONLY shows less those of the one shown, summed up so far; below 0 once
    exploration has paid."""
    cold_share: float
    """Share of the requests that a cold item was shown for."""
    cold_tried: float
    """Share of the cold items that were shown twenty times or more."""


def explore(world: World, setting: Setting | None = None) -> dict[str, Explored]:
    """Every policy, WARM_ONLY first, in one world with cold items. Raises ValueError where the world has too few items of a kind."""
    table = _Table(world, setting or Setting())
    shown = {name: table.play(name, cold=name != WARM_ONLY) for name in (WARM_ONLY, *POLICIES)}
    own = np.arange(table.setting.requests)
    base, best = table.expected[own, shown[WARM_ONLY]], table.expected.max(1)
    found = {}
    for name, arms in shown.items():
        got, tried = table.expected[own, arms], np.bincount(arms, minlength=table.expected.shape[1])
        found[name] = Explored(
            policy=name,
            regret=(best - got).cumsum(),
            cost=(base - got).cumsum(),
            cold_share=float((arms >= table.setting.warm).mean()),
            cold_tried=float((tried[table.setting.warm :] >= 20).mean()),
        )
    return found


class _Table:
    """What each item would get from each request: expected, and drawn."""

    def __init__(self, world: World, setting: Setting) -> None:
        truth, config = world.truth, world.config
        self.setting = setting
        self.seed = int(np.random.SeedSequence([setting.seed, config.seed]).generate_state(1)[0])
        rng = np.random.default_rng([setting.seed, config.seed])
        warm, cold = np.flatnonzero(~truth.cold), np.flatnonzero(truth.cold)
        if len(warm) < setting.warm or len(cold) < setting.cold:
            raise ValueError(f"{len(warm)} warm and {len(cold)} cold items are too few for {setting.warm} and {setting.cold}.")
        self.items = np.concatenate([warm[truth.rank[warm].argsort()[: setting.warm]], rng.permutation(cold)[: setting.cold]])
        n_before = setting.warm * setting.tried
        people = rng.choice(config.n_users, size=n_before + setting.requests, p=truth.activity)
        last = config.first_moment + config.span * (2 * PERIODS - 1) // (2 * PERIODS)
        chance = truth.preference(people[:, None], self.items[None], np.full((1, 1), last))
        click = (rng.random(chance.shape) < chance).astype(int)
        self.expected, self.clicks = chance[n_before:], click[n_before:]
        self.contexts = np.eye(config.segments)[truth.segment[people]]
        self.before = np.repeat(np.arange(setting.warm), setting.tried)
        self.before_clicks = click[np.arange(n_before), self.before]

    def play(self, policy: str, *, cold: bool) -> npt.NDArray[np.int64]:
        """int64 (requests,): the items that a policy shows, by their place in `items`. cold: whether it is told of the cold ones."""
        from mabwiser.mab import MAB  # takes a second

        setting, n_before = self.setting, len(self.before)
        bandit = MAB(arms=list(range(setting.warm)), learning_policy=_learning(policy), seed=self.seed)
        contextual = {"contexts": self.contexts[:n_before]} if bandit.is_contextual else {}
        bandit.fit(self.before, self.before_clicks, **contextual)
        for arm in range(setting.warm, len(self.items)) if cold else ():
            bandit.add_arm(arm)
        shown: list[int] = []
        for start in range(0, setting.requests, setting.batch):
            asked = self.contexts[n_before + start : n_before + min(start + setting.batch, setting.requests)]
            arms = np.atleast_1d(bandit.predict(asked) if bandit.is_contextual else [bandit.predict() for _ in asked])
            told = self.clicks[np.arange(start, start + len(arms)), arms]
            bandit.partial_fit(arms, told, **({"contexts": asked} if bandit.is_contextual else {}))
            shown += arms.tolist()
        return np.array(shown)


def _learning(policy: str) -> Any:
    """MABWiser's name for it; greedy for one it has not."""
    from mabwiser.mab import LearningPolicy

    match policy:
        case "epsilon_greedy":
            return LearningPolicy.EpsilonGreedy(epsilon=0.1)
        case "thompson":
            return LearningPolicy.ThompsonSampling()
        case "lin_ucb":
            return LearningPolicy.LinUCB(alpha=1.0, l2_lambda=1.0)
        case _:
            return LearningPolicy.EpsilonGreedy(epsilon=0.0)
