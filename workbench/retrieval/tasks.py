"""Three moments at which candidates are asked for, each as a holdout: who asks knowing what, and what they then liked.

A source or a blend answers all three through the same `candidates`; what differs is what is known of whoever asks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.data import Holdout, Interactions, Split, UserBatch

GAP = 30.0
"""Minutes without an event after which a session has ended."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Requests:
    """n of them, answered together."""

    asked: UserBatch
    """Who asks, and the events they are known by; people without a place in any log have code -1."""
    seen: UserBatch | None
    """What may not be shown to each; None where everything may."""
    trained: Tensor
    """bool (n,): the person has a place in training, so that a model may have learnt them by name."""

    @classmethod
    def of(cls, holdout: Holdout, users: Tensor) -> "Requests":
        """Of these people, int64 (n,), as the holdout knows them."""
        asked, seen = holdout.requests(users)
        return cls(asked=asked, seen=seen, trained=holdout.trained[users])

    def __len__(self) -> int:
        return len(self.asked)

    def select(self, rows: Tensor) -> "Requests":
        """rows: int64 (m,)."""
        seen = None if self.seen is None else self.seen.select(rows)
        return Requests(asked=self.asked.select(rows), seen=seen, trained=self.trained[rows])


def home(parts: Split, part: str = "test") -> Holdout:
    """A feed for a person: everything they did before is known, and what they liked in the part is to be found."""
    return parts.holdout(part)


def related(parts: Split, part: str = "test") -> Holdout:
    """Items beside the one looked at: the last event before the part, of nobody in particular, and what the person then liked.

    Only the item itself is left out of the answers, whatever else the person had: the page does not know who looks at it. People without
    an event before the part look at nothing, and are not judged.
    """
    judged = parts.holdout(part)
    last = judged.history.select(judged.history.offsets[1:][judged.history.events_per_user > 0] - 1)
    events = getattr(parts, part)
    truth = events.positives()
    truth = truth.select(last.events_per_user[truth.users] > 0)
    return _anonymous(judged, "related", events.events_per_user > 0, truth, last)


def next_in_session(parts: Split, part: str = "test", gap: float = GAP) -> Holdout:
    """What comes next: the events of a session so far, of nobody in particular, and the event that the person then liked.

    One request for each person: the last liked event of the part before which, within `gap` minutes between events, they did something.
    That may be in an earlier part. What was in the session may not be shown, unless the data set calls repeats legitimate.
    """
    judged, events = parts.holdout(part), getattr(parts, part)
    log = judged.history.plus(events)
    in_part = torch.isin(log.order, events.order)
    session = log.sessions(gap)
    starts = torch.searchsorted(session, session)  # the place of each event's session's first
    places = torch.arange(len(log))
    repeated = _had_before(log, starts) & (judged.seen is not None)
    asked = torch.nonzero(in_part & log.positive & (places > starts) & ~repeated)[:, 0]
    last = torch.full((log.n_users,), -1).scatter_reduce_(0, log.users[asked], asked, "amax")
    last = last[last >= 0]
    before = torch.isin(session, session[last]) & (places < _broadcast(last, session, log))
    return _anonymous(judged, "session", events.events_per_user > 0, log.select(last), log.select(before))


TASKS: dict[str, Callable[..., Holdout]] = {"home": home, "related": related, "session": next_in_session}


def _anonymous(judged: Holdout, task: str, people: Tensor, truth: Interactions, known: Interactions) -> Holdout:
    """The same part, asked by people of whom nothing but `known` is known."""
    return Holdout.build(
        label=f"{judged.label}:{task}",
        truth=truth,
        people=people,
        history=known,
        seen=None if judged.seen is None and task == "session" else known,
        trained=torch.zeros_like(judged.trained),
        ties=judged.ties,
        ledger=judged.ledger,
    )


def _had_before(log: Interactions, starts: Tensor) -> Tensor:
    """bool (events,): the same item is earlier in the same session."""
    keys = starts * log.n_items + log.items
    order = keys.argsort(stable=True)
    same = torch.zeros(len(log), dtype=torch.bool)
    same[order[1:]] = keys[order][1:] == keys[order][:-1]
    return same


def _broadcast(last: Tensor, session: Tensor, log: Interactions) -> Tensor:
    """int64 (events,): for each event the place of its session's event of `last`; -1 where there is none."""
    found = torch.full((int(session[-1]) + 1 if len(log) else 0,), -1)
    found[session[last]] = last
    return found[session]
