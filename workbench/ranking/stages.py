"""When what is learnt: candidates come from a retriever that learnt from earlier events of a person than the ranker that orders them.

The training part is cut once more: into what the first retriever learns from, and periods after it whose events are the ranker's labels.
For each period the retriever is trained anew on all before it, as it will be before validation and before test.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from workbench.data import Finding, Holdout, Interactions, Split
from workbench.errors import NotApplicable, RequestError, WorkError

MOST_PERIODS = 10


@dataclass(frozen=True, eq=False, kw_only=True)
class Stage:
    """A moment of the log: what a retriever may learn from, and what people did after."""

    name: str
    log: Interactions
    """What the retriever learns from."""
    part: Interactions
    """What came after: the labels."""
    holdout: Holdout
    """Who is judged on it, knowing what."""

    @property
    def people(self) -> Tensor:
        """int64 (n,): everyone with an event in the part, whether they liked anything or not."""
        return torch.nonzero(self.part.events_per_user)[:, 0]

    def moments(self, users: Tensor) -> Tensor:
        """int64 (n,), microseconds since 1970 UTC: when each of these people asked, their first event of the part."""
        return self.part.first_moments(users)


@dataclass(frozen=True, eq=False, kw_only=True)
class Stages:
    periods: tuple[Stage, ...]
    """Whose events the ranker learns from, earliest first."""
    valid: Stage
    """Half of its people stop the training and choose, the other half calibrate; see `folds`."""
    test: Stage

    def __iter__(self) -> Iterator[Stage]:
        return iter((*self.periods, self.valid, self.test))


def stages(parts: Split, periods: int = 2, share: float = 0.1) -> Stages:
    """The stages of a split by time. share: of the training part's events in each period.

    By a cut at one moment for everyone the periods are cut so too; by each person's own time each person's last events are. Raises
    NotApplicable for a split that is not by time, RequestError where the periods leave nothing to retrieve by.
    """
    if not 1 <= periods <= MOST_PERIODS or not 0 < share * periods < 1:
        raise RequestError(f"{periods} periods of {share:g} of the training events each leave nothing for the retriever before them.")
    promises = parts.rule.promises
    if "own time" not in promises:
        raise NotApplicable(f"a ranker learns from what came after, and {parts.name} is no split by time.")
    number = (_by_moment if "one moment" in promises else _by_person)(parts.train, periods, share)
    found = []
    for period in range(1, periods + 1):
        log, part = parts.train.select(number < period), parts.train.select(number == period)
        found.append(Stage(name=f"period {period}", log=log, part=part, holdout=_holdout(parts, log, part, period)))
    if not all(len(each.log) and len(each.part) for each in found):
        raise NotApplicable(f"{len(parts.train):,} training events are too few to leave {periods} periods of {share:.0%} for a ranker.")
    return Stages(
        periods=tuple(found),
        valid=Stage(name="validation", log=parts.train, part=parts.valid, holdout=parts.holdout("valid")),
        test=Stage(name="test", log=parts.fit_on, part=parts.test, holdout=parts.holdout("test")),
    )


def folds(users: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """bool (n,) each: people dealt into two halves, for stopping and choosing, and for calibration. A person is always in the same one."""
    x = users.numpy().astype(np.uint64) + np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64 (Steele et al., OOPSLA 2014)
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    first = torch.from_numpy((x >> np.uint64(63)) == 0)
    return first, ~first


def audit_stages(found: Stages) -> list[Finding]:
    """Whether any retriever learnt from what it is to find, or from a person's events after that person's request."""
    findings = []
    for stage in found:
        log, users = stage.log, stage.people
        first = torch.full((log.n_users,), torch.iinfo(torch.int64).max)
        first[users] = stage.moments(users)
        late = log.timestamps > first[log.users]
        what = f"events that the retriever of {stage.name} learnt from after the request of the same person"
        findings.append(Finding(what, int(late.sum()), len(log), True, len(log.users[late].unique())))
        same = torch.isin(log.order, stage.part.order)
        what = f"events of {stage.name} that its own retriever learnt from"
        findings.append(Finding(what, int(same.sum()), len(log), True, len(log.users[same].unique())))
    return findings


def audited_stages(found: Stages) -> Stages:
    """The stages themselves. Raises WorkError when a retriever learnt from what its ranker is judged on."""
    for finding in audit_stages(found):
        if not finding.ok:
            raise WorkError(f"{finding.amount} are {finding.what}; {finding.people:,} people are affected.")
    return found


def _by_moment(train: Interactions, periods: int, share: float) -> Tensor:
    """int64 (events,): the period of each event, 0 before the first. Events of one moment are in one period."""
    ordered = train.timestamps.sort().values
    places = [int(len(ordered) * (1 - share * (periods - period))) for period in range(periods)]
    edges = ordered[torch.tensor(places).clamp(max=max(0, len(ordered) - 1))] if len(ordered) else ordered
    return torch.bucketize(train.timestamps, edges, right=True)


def _by_person(train: Interactions, periods: int, share: float) -> Tensor:
    each = (train.events_per_user * share).floor().long()[train.users]
    back = train.offsets[train.users + 1] - 1 - torch.arange(len(train))
    return (periods - back.div(each.clamp(min=1), rounding_mode="floor")).clamp(min=0) * (each > 0)


def _holdout(parts: Split, log: Interactions, part: Interactions, period: int) -> Holdout:
    label = parts.holdout("valid").label.rsplit("/", 1)[0]
    return Holdout.build(
        label=f"{label}/train:period {period}",
        truth=part.positives(),
        people=part.events_per_user > 0,
        history=log,
        seen=None if parts.repeats else log,
        trained=log.events_per_user > 0,
        ties=parts.ties,
    )
