"""Settings chosen on validation, and trained as often as asked. The test part is never looked at here."""

import time
from dataclasses import dataclass
from itertools import product
from statistics import fmean, median_low
from typing import Any

from workbench.data import Holdout, Interactions, Side, Split
from workbench.evaluation import Evaluation, evaluate, pool
from workbench.models import Recommender, create, draws_at_random, fit, grid, learns, read_tuned
from workbench.training import Engine, Training


@dataclass(frozen=True, kw_only=True)
class How:
    """With what models that learn by gradient are trained; the others have no use for it."""

    engine: Engine | None = None
    """None for one that chooses its device."""
    side: Side | None = None
    """For models that learn from features."""
    epochs: int = 0
    """At most, whatever the settings say; 0 for what they say."""


@dataclass(frozen=True, eq=False)
class Choice:
    """A trained model, the settings it was given, and everything that was tried on the way."""

    name: str
    settings: dict[str, Any]
    models: tuple[Recommender, ...]
    """To be judged on test: trained on what the split's refit policy says; several where the model draws at random and that was asked."""
    early: Recommender
    """Trained on the training part alone, for whatever else is to be chosen on validation."""
    validation: Evaluation
    """Of the same settings and as many trainings, on the training part."""
    seconds: float
    """Time to train one of `models`, on average."""
    trials: list[dict[str, Any]]
    """One entry for each setting tried here: model, settings, mean of the metric on validation; the best first."""
    tuned_by: int = 0
    """Trials of the study by which `workbench tune` found the settings; 0 where they are not out of a study."""
    trainings: tuple[Training, ...] = ()
    """How each training on the training part went, of a model that learns by gradient."""
    how: How = How()

    def judge(self, holdout: Holdout, **judged: Any) -> Evaluation:
        """Every training on a holdout, as one evaluation. judged: `ks`, `fallback` and so on, for `evaluate`."""
        return pool([evaluate(model, holdout, name=self.name, **judged) for model in self.models])

    def train_on(self, log: Interactions) -> Recommender:
        """The chosen settings once more, on a log without a validation part: for as many epochs as were best, where epochs count."""
        settings = self.settings | _as_long_as(self.trainings[0].best_epoch if self.trainings else 0)
        return _train(self.name, log, settings, self.how).model


def search(name: str, parts: Split, metric: str, *, tuned: bool, trainings: int = 1, how: How = How(), **judged: Any) -> Choice:
    """Train `name` on the training part and judge it on validation: with its default settings, or, `tuned`, with those that
    `workbench tune` found on this very split, or, where nobody tuned it there, with every one of its grid.

    The best by the mean of `metric` is chosen; of equals the first in the grid's order. A model that draws at random is then trained
    `trainings` times in all, with seeds from 0 on, or from the one among its settings. One that learns by gradient keeps the weights that
    were best by it. Where the split's refit policy is "train+valid" the chosen settings are trained once more, on both parts, for
    as many epochs as were best.
    `judged`: `ks`, `fallback` and so on, for `evaluate`.
    """
    holdout = parts.holdout("valid")
    found = read_tuned(parts.snapshot_id.split("@")[0], name) if tuned else None
    if found is not None and found.found_on != holdout.label:
        found = None
    given = dict(found.settings) if found else {}
    options = grid(name) if tuned and not found else {}
    tried: list[tuple[_Training, Evaluation]] = []
    for values in product(*options.values()):
        training = _train(name, parts.train, given | dict(zip(options, values, strict=True)), how, holdout, metric)
        tried.append((training, evaluate(training.model, holdout, name=name, **judged)))
    best, result = max(tried, key=lambda each: each[1].mean(metric))
    first = best.settings.get("seed", 0)
    seeded = [{**best.settings, "seed": first + n} for n in range(trainings)] if draws_at_random(name) else [best.settings]
    made = [best, *(_train(name, parts.train, settings, how, holdout, metric) for settings in seeded[1:])]
    validation = pool([result, *(evaluate(training.model, holdout, name=name, **judged) for training in made[1:])])
    learnt = tuple(training.learnt for training in made if training.learnt)
    if parts.refit != "train":
        length = _as_long_as(median_low([each.best_epoch for each in learnt]) if learnt else 0)
        made = [_train(name, parts.fit_on, settings | length, how) for settings in seeded]
    trials = [{"model": each.title, "settings": training.settings, "value": each.mean(metric)} for training, each in tried]
    return Choice(
        name=name,
        settings=best.settings,
        models=tuple(training.model for training in made),
        early=best.model,
        validation=validation,
        seconds=fmean(training.seconds for training in made),
        trials=sorted(trials, key=lambda trial: -trial["value"]),
        tuned_by=found.trials if found else 0,
        trainings=learnt,
        how=how,
    )


def _as_long_as(epochs: int) -> dict[str, int]:
    """Settings for a training without validation: nothing is there to stop by."""
    return {"stop_after": epochs, "patience": 0} if epochs else {}


@dataclass(frozen=True, eq=False)
class _Training:
    settings: dict[str, Any]
    model: Recommender
    seconds: float
    learnt: Training | None


def _train(
    name: str, train: Interactions, settings: dict[str, Any], how: How, valid: Holdout | None = None, metric: str | None = None
) -> _Training:
    """metric: what the best epoch on `valid` is the best by, unless the settings say."""
    start = time.perf_counter()
    model: Any = create(name, **settings)
    if learns(name):
        settings = settings | ({"epochs": min(how.epochs, model.config.epochs)} if how.epochs else {})
        model = create(name, **{**({"watch": metric} if metric else {}), **settings})
    fit(name, model, train, valid, engine=how.engine, side=how.side)
    return _Training(settings, model, time.perf_counter() - start, getattr(model, "training", None))
