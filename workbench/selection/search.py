"""Settings chosen on validation, and trained as often as asked. The test part is never looked at here."""

import time
from dataclasses import dataclass
from itertools import product
from statistics import fmean
from typing import Any

from workbench.data import Holdout, Interactions, Split
from workbench.evaluation import Evaluation, evaluate, pool
from workbench.models import Recommender, create, draws_at_random, grid


@dataclass(frozen=True, eq=False)
class Choice:
    """A trained model, the settings it was given, and everything that was tried on the way."""

    name: str
    settings: dict[str, Any]
    models: tuple[Recommender, ...]
    """To be judged on test: trained on what the split's refit policy says; several where the model draws at random and that was asked."""
    validation: Evaluation
    """Of the same settings and as many trainings, on the training part."""
    seconds: float
    """Time to train one of `models`, on average."""
    trials: list[dict[str, Any]]
    """One entry for each setting tried: model, settings, mean of the metric on validation; the best first."""

    def judge(self, holdout: Holdout, **judged: Any) -> Evaluation:
        """Every training on a holdout, as one evaluation. judged: `ks`, `fallback` and so on, for `evaluate`."""
        return pool([evaluate(model, holdout, name=self.name, **judged) for model in self.models])


def search(name: str, parts: Split, metric: str, *, tuned: bool, trainings: int = 1, **judged: Any) -> Choice:
    """Train `name` on the training part and judge it on validation: with its default settings, or, `tuned`, with every one of its grid.

    The best by the mean of `metric` is chosen; of equals the first in the grid's order. A model that draws at random is then trained
    `trainings` times in all, with seeds from 0 on. Where the split's refit policy is "train+valid" the chosen settings are trained once
    more, on both parts. `judged`: `ks`, `fallback` and so on, for `evaluate`.
    """
    options = grid(name) if tuned else {}
    holdout = parts.holdout("valid")
    tried: list[tuple[_Training, Evaluation]] = []
    for values in product(*options.values()):
        training = _train(name, parts.train, dict(zip(options, values, strict=True)))
        tried.append((training, evaluate(training.model, holdout, name=name, **judged)))
    best, result = max(tried, key=lambda each: each[1].mean(metric))
    seeded = [{**best.settings, "seed": seed} for seed in range(trainings)] if draws_at_random(name) else [best.settings]
    made = [best, *(_train(name, parts.train, settings) for settings in seeded[1:])]
    validation = pool([result, *(evaluate(training.model, holdout, name=name, **judged) for training in made[1:])])
    if parts.refit != "train":
        made = [_train(name, parts.fit_on, settings) for settings in seeded]
    trials = [{"model": each.title, "settings": training.settings, "value": each.mean(metric)} for training, each in tried]
    return Choice(
        name=name,
        settings=best.settings,
        models=tuple(training.model for training in made),
        validation=validation,
        seconds=fmean(training.seconds for training in made),
        trials=sorted(trials, key=lambda trial: -trial["value"]),
    )


@dataclass(frozen=True, eq=False)
class _Training:
    settings: dict[str, Any]
    model: Recommender
    seconds: float


def _train(name: str, train: Interactions, settings: dict[str, Any]) -> _Training:
    start = time.perf_counter()
    model = create(name, **settings).fit(train)
    return _Training(settings, model, time.perf_counter() - start)
