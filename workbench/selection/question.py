"""What a search for settings is asked, and how long it may take."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from workbench.errors import RequestError
from workbench.evaluation import check_maximised
from workbench.models import MODELS, create, search_space
from workbench.models.space import Choices, Range
from workbench.training import Learning

PATIENCE = 5
"""Judgements without a better one after which a training ends early, where nobody says otherwise."""


@dataclass(frozen=True)
class Budget:
    """When a call ends: at so many trials of the study in all, or as soon as a trial ends after so many minutes of this call."""

    trials: int | None = None
    minutes: int | None = None

    def allows(self, trials: int, seconds: float) -> bool:
        return trials < self.trials if self.trials is not None else seconds < 60 * (self.minutes or 0)


def parse_budget(text: str) -> Budget:
    """Of "50", "20m" or "2h". Raises RequestError for anything else."""
    found = re.fullmatch(r"([1-9]\d{0,5})([mh]?)", text)
    if found is None:
        raise RequestError(f'budget = "{text}" should be a number of trials in all, like 50, or a time, like 20m or 2h.')
    number = int(found[1])
    return {"": Budget(trials=number), "m": Budget(minutes=number), "h": Budget(minutes=60 * number)}[found[2]]


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a study asks: which settings of a model make a metric best."""

    model: str
    metric: str
    """Higher is better."""
    shared: dict[str, Any]
    """Settings of every trial that are not searched."""
    space: dict[str, Range | Choices]

    @classmethod
    def of(cls, model: str, metric: str, given: Mapping[str, Any] | None = None) -> "Question":
        """given: settings that are not searched, values or text as typed on a command line.

        Raises RequestError for a model, setting or metric that does not exist, and when nothing is left to search.
        """
        given = given or {}
        space = search_space(model)
        if not space:
            raise RequestError(f"{model} has no settings worth a search. ({', '.join(sorted(m for m in MODELS if search_space(m)))})")
        check_maximised(metric, "to tune for")
        if "watch" in given:
            raise RequestError(f"watch = {given['watch']!r}: a study watches the metric it is judged by; give that instead.")
        untrained: Any = create(model, **given)
        config = untrained.config
        shared = {name: getattr(config, name) for name in given}
        if isinstance(config, Learning):
            shared = {"epochs": config.epochs, "patience": PATIENCE, **shared, "watch": metric}
        left = {name: options for name, options in space.items() if name not in given}
        if not left:
            raise RequestError(f"nothing is left to search for {model}: {', '.join(space)} given.")
        return cls(model=model, metric=metric, shared=shared, space=left)

    @property
    def learned(self) -> bool:
        """Whether the model learns by gradient, epoch by epoch."""
        return "epochs" in self.shared

    @cached_property
    def defaults(self) -> dict[str, Any]:
        untrained: Any = create(self.model)
        return {name: getattr(untrained.config, name) for name in self.space}

    def study_name(self, label: str) -> str:
        """Another part to judge on, metric, space or setting is another study."""
        asked = [self.model, label, self.metric, sorted(self.shared.items()), sorted((name, repr(of)) for name, of in self.space.items())]
        return f"{self.model}-{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:12]}"
