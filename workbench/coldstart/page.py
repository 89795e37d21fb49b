"""Questions of a cold start page that ask for another split and other trainings: people by time, new items; and the worlds it explores."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from workbench.coldstart.curves import Curve, curves
from workbench.coldstart.methods import OTHERS, train_methods
from workbench.coldstart.newcomers import new_items, newcomers, unmet
from workbench.data import Dataset, Holdout, Interactions, audited
from workbench.data.splits import Refit
from workbench.errors import NotApplicable
from workbench.evaluation import Evaluation, Scorer, by_mean, evaluate, split_name
from workbench.models import create, draws_at_random, learns
from workbench.testing import World
from workbench.testing.truth import WorldConfig

BY_LUCK = "random"
"""What new items are held against: anything may be found by chance."""


def curves_by_time(
    data: Dataset, split: str, names: Sequence[str], depths: Sequence[int], metric: str, *, seed: int, refit: Refit, **about: Any
) -> dict[str, Curve]:
    """The curves of people who came after one moment for everyone, by methods that learnt from what came before it. Empty where the log has
    no times or too few such people, and where `split`, the page's own, is that already. about: for `train_methods`.
    """
    if split == "global_time":
        return {}
    try:
        parts = audited(data.split("global_time", seed=seed, refit=refit))
        valid, test = newcomers(parts, "valid", depths), newcomers(parts, "test", depths)
        made = train_methods(list(dict.fromkeys(names)), data, parts, valid, metric, **about)
    except NotApplicable:
        return {}
    return curves(made.late, test, (split_name(metric)[1],), create("popularity").fit(parts.fit_on))


@dataclass(frozen=True, eq=False, kw_only=True)
class NewItems:
    """Each method on items that nobody had in what it learnt from."""

    results: dict[str, Evaluation]
    chosen: str
    """The best on validation's new items; empty where nothing could be judged there."""
    n_new: int
    """Such items in the test part, liked by anybody or not."""
    failed: dict[str, str]


def judge_new_items(
    data: Dataset, split: str, names: Sequence[str], ks: Sequence[int], metric: str, *, seed: int, refit: Refit, **about: Any
) -> NewItems:
    """By the split `new_item` where people are dealt at random, by the same moment for everyone where that is the split. about: for
    `train_methods`; the blend, which moves with what is known of people, is left out. What cannot be fed says why in `failed`.
    """
    asked = [name for name in dict.fromkeys([*names, BY_LUCK]) if name != "evidence_blend"]
    try:
        parts = audited(data.split("new_item" if split == "new_user" else split, seed=seed, refit=refit))
        holdout = new_items(parts)
        made = train_methods(asked, data, parts, None, metric, **about)
    except NotApplicable as error:
        return NewItems(results={}, chosen="", n_new=0, failed={"new items": str(error)})
    depth = tuple(k for k in ks if k <= data.n_items)

    def judged(scorers: Mapping[str, Scorer], on: Holdout, log: Interactions) -> dict[str, Evaluation]:
        popular = create("popularity").fit(log)
        return {name: evaluate(scorer, on, name=name, ks=depth, fallback=popular) for name, scorer in scorers.items()}

    results, chosen = judged(made.late, holdout, parts.fit_on), ""
    with contextlib.suppress(NotApplicable):
        chosen = by_mean(judged(made.early, new_items(parts, "valid"), parts.train), f"recall@{depth[-1]}")[0]
    return NewItems(results=results, chosen=chosen, n_new=int((unmet(parts) & (parts.test.events_per_item > 0)).sum()), failed=made.failed)


def in_closed_form(names: Sequence[str]) -> list[str]:
    """The models among these methods whose training draws nothing and takes no gradient: they come out the same everywhere."""
    return [name for name in names if name not in OTHERS and not learns(name) and not draws_at_random(name)]


def small_worlds(n: int, seed: int) -> list[World]:
    """Made-up worlds of two hundred people and as many items, a seventh of them new, each with a truth of its own."""
    config = WorldConfig(n_users=200, n_items=200, n_requests=1500, cold_items=0.15)
    return [World(replace(config, seed=seed * 1000 + place)) for place in range(n)]
