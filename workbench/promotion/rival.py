"""Whom a challenger is held against: the champion's bundle, or the strongest baseline where there is no champion."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from workbench.data import Dataset, Holdout, Split
from workbench.evaluation import Evaluation
from workbench.evaluation.ranking import NOTHING
from workbench.promotion.replay import learnt_from_the_judged, replay_ready, with_all_moments
from workbench.promotion.system import Trained, judged, moments_of
from workbench.serving import Bundle
from workbench.serving.registry import Registry, Version, there_is_one


@dataclass(frozen=True, eq=False, kw_only=True)
class Entry:
    """A system, and how it does on validation."""

    trained: Trained
    valid: Evaluation


@dataclass(frozen=True, eq=False, kw_only=True)
class Champion:
    version: Version
    bundle: Bundle
    data: Dataset
    """What it is asked about."""

    @cached_property
    def ready(self) -> Bundle:
        """With features at all moments, which takes longer than to answer."""
        return with_all_moments(self.bundle, self.data)

    @property
    def title(self) -> str:
        return f"the champion, version {self.version.number} ({self.bundle.manifest['made']['system']})"

    def knew(self, parts: Split) -> bool:
        """Whether its models may have learnt events of validation. A bundle does not tell those from events that it was chosen by, except
        that on its own split it learnt from training alone where its run said so."""
        made = self.bundle.manifest["made"]
        trained_alone = {**parts.parameters, "rule": parts.rule.text, "refit": "train"}
        if made["snapshot"] == self.data.snapshot.id and made["split"] == trained_alone:
            return False
        return learnt_from_the_judged(self.bundle, self.data, parts, "valid") > 0

    def asked(self, parts: Split, part: str, holdout: Holdout, ks: Sequence[int]) -> Evaluation:
        """What the people of the holdout ask in that part, each at their own moment."""
        found = replay_ready(self.ready, self.data, parts, part, holdout)
        items = torch.nn.functional.pad(found.items, (0, max(0, max(ks) - found.items.shape[1])), value=NOTHING)
        return judged(items, found.served, holdout, name="champion", title=self.bundle.manifest["made"]["system"], ks=ks)


def champion_of(data: Dataset, surface: str) -> Champion | None:
    """None where there is none, or no registry yet. Raises WorkError for a bundle that was changed."""
    version = Registry().champion(data.name, surface) if there_is_one() else None
    return Champion(version=version, bundle=version.open(), data=data) if version else None


def on_validation(entry: Entry, baseline: Entry, champion: Champion | None, parts: Split, ks: Sequence[int]) -> Evaluation:
    """By which it is planned what test can show: the champion, or the baseline where there is none and where the champion learnt from what
    validation asks for."""
    if champion is None or champion.knew(parts):
        return baseline.valid
    return champion.asked(parts, "valid", entry.trained.valid, ks)


def on_test(baseline: Entry, champion: Champion | None, data: Dataset, parts: Split, ks: Sequence[int]) -> tuple[Evaluation | str, str]:
    """The evaluation, or why there is none, and what the rival is called."""
    holdout = parts.holdout("test")
    if champion is None:
        system = baseline.trained.late
        name = f"{system.title} (the baseline that validation chose)"
        return system.evaluate(holdout, moments_of(parts, "test", holdout), data, name="baseline", ks=ks), name
    if taught := learnt_from_the_judged(champion.bundle, data, parts):
        why = f"{taught:,} events that the champion learnt from are judged here, or came after: it cannot be held against what did not"
        return why, champion.title
    return champion.asked(parts, "test", holdout, ks), champion.title
