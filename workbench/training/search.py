"""Settings chosen on validation. The test part is never looked at here."""

import time
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from workbench.data import Split
from workbench.evaluation import Evaluation, Scorer, evaluate
from workbench.models import Recommender, create, grid


@dataclass(frozen=True, eq=False)
class Choice:
    """A trained model, the settings it was given, and everything that was tried on the way."""

    name: str
    settings: dict[str, Any]
    model: Recommender
    """To be judged on test: trained on what the split's refit policy says."""
    validation: Evaluation
    """Of the same settings, trained on the training part."""
    seconds: float
    """Time to train `model`."""
    trials: list[dict[str, Any]]
    """One entry for each setting tried: model, settings, mean of the metric on validation; the best first."""


def search(
    name: str, parts: Split, metric: str, *, ks: tuple[int, ...], tuned: bool, fallback: Scorer | None = None, device: str = "cpu"
) -> Choice:
    """Train `name` on the training part and judge it on validation: with its default settings, or, `tuned`, with every one of its grid.

    The best by the mean of `metric` is chosen; of equals the first in the grid's order. Where the split's refit policy is "train+valid" the
    chosen settings are then trained once more, on both parts.
    """
    options = grid(name) if tuned else {}
    holdout = parts.holdout("valid")
    best: Choice | None = None
    trials: list[dict[str, Any]] = []
    for values in product(*options.values()):
        settings = dict(zip(options, values, strict=True))
        start = time.perf_counter()
        model = create(name, **settings).fit(parts.train)
        seconds = time.perf_counter() - start
        result = evaluate(model, holdout, name=name, ks=ks, fallback=fallback, device=device)
        trials.append({"model": result.title, "settings": settings, "value": result.mean(metric)})
        if best is None or result.mean(metric) > best.validation.mean(metric):
            best = Choice(name, settings, model, result, seconds, trials)
    assert best is not None  # the product of no options has one element
    trials.sort(key=lambda trial: -trial["value"])
    if parts.refit == "train":
        return best
    start = time.perf_counter()
    model = create(name, **best.settings).fit(parts.fit_on)
    return replace(best, model=model, seconds=time.perf_counter() - start)
