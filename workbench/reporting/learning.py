"""How the models that learn by gradient came to be: their curves, what they cost, how far two trainings of one are apart."""

from collections.abc import Mapping
from dataclasses import asdict
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from workbench.evaluation import label
from workbench.reporting.display import Figure, Note, Table
from workbench.reporting.figures import curves
from workbench.selection import Choice
from workbench.training import Training

NOTHING = Note("Not applicable, because none of these models learns by gradient.")


def learning_figure(choices: Mapping[str, Choice]) -> Figure | Note:
    """The metric watched on validation against seconds of training, a line for each training."""
    learnt = {choice.validation.title: choice.trainings for choice in choices.values() if choice.trainings}
    lines = [(title, _judged(training)) for title, trainings in learnt.items() for training in trainings]
    if not any(points for _, points in lines):
        return NOTHING
    (watched,) = {label(training.watch) for trainings in learnt.values() for training in trainings}
    told = "; ".join(f"{title} {_best(trainings)}" for title, trainings in learnt.items())
    return curves([line for line in lines if line[1]], watched, told)


def _judged(training: Training) -> list[tuple[float, float]]:
    return [(epoch.seconds, epoch.value) for epoch in training.curve if epoch.value is not None]


def _best(trainings: tuple[Training, ...]) -> str:
    best = [f"{training.best:.3f} in epoch {training.best_epoch}" for training in trainings if training.best is not None]
    return f"at best {', '.join(best)}"


def learning_table(choices: Mapping[str, Choice], metric: str) -> Table | Note:
    """What each model's training cost, on average, beside its quality on validation and the spread over its trainings."""
    rows = []
    for choice in choices.values():
        if not choice.trainings:
            continue
        values = [each.mean(metric) for each in choice.validation.trainings or (choice.validation,)]
        first = choice.trainings[0]
        used = [training.utilisation for training in choice.trainings if training.utilisation is not None]
        rows.append(
            {
                "model": choice.validation.title,
                f"{label(metric)} on validation": fmean(values),
                "spread": stdev(values) if len(values) > 1 else float("nan"),
                "trainings": len(values),
                "epochs": ", ".join(f"{training.best_epoch} of {len(training.curve)}" for training in choice.trainings),
                "seconds, each": f"{fmean(training.seconds for training in choice.trainings):.0f}",
                "device": f"{first.device.name}, {first.device.precision}, {first.device.threads} threads",
                "used": f"{fmean(used):.0%}" if used else "",
                "memory": f"{max(training.peak_memory for training in choice.trainings) / 2**20:,.0f} MB",
            }
        )
    if not rows:
        return NOTHING
    caption = (
        f"Spread: standard deviation of {label(metric)} over trainings that differ by their seed alone. Epochs: the best on validation, "
        "whose weights are kept, of those trained. Used: share of the device's time. Memory: on a CPU the most that the whole process has "
        "taken so far."
    )
    return Table(pd.DataFrame(rows), caption)


def training_rows(choices: Mapping[str, Choice]) -> list[dict[str, Any]]:
    """One row for each training, for the run record."""
    return [
        {
            "model": name,
            "training": number,
            **{key: value for key, value in asdict(training.device).items() if key != "name"},
            "device": training.device.name,
            "watch": training.watch,
            "epochs": len(training.curve),
            "best_epoch": training.best_epoch,
            "best": training.best,
            "seconds": training.seconds,
            "utilisation": training.utilisation,
            "peak_memory": training.peak_memory,
        }
        for name, choice in choices.items()
        for number, training in enumerate(choice.trainings)
    ]
