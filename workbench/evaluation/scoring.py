"""A model's scores for many people, a batch at a time, refused before anybody reads them if they are none."""

from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from typing import Protocol

import torch
from torch import Tensor

from workbench.data import Holdout, Interactions, UserBatch
from workbench.errors import RequestError

SCORE_BYTES = 24 * 2**20
"""Upper limit of one batch of scores. Below 32 MiB, where glibc stops handing out the same pages again."""


class Scorer(Protocol):
    """Anything that scores the catalogue for a batch of people."""

    inductive: bool
    """Serves people it never trained on, from their history."""
    personal: bool
    """Needs to know something of a person: a history, or a place in training. False for popularity."""

    def score(self, batch: UserBatch) -> Tensor: ...


Source = Holdout | Interactions
"""What a model may know of people: a holdout, with its histories, or a log that is everybody's history."""


def name_of(model: Scorer, name: str | None = None) -> str:
    """What records and errors call a model: the name given, else its title, else its class."""
    return name or str(getattr(model, "title", type(model).__name__))


def history_of(source: Source) -> Interactions:
    return source.history if isinstance(source, Holdout) else source


def look(model: Scorer, source: Source, name: str) -> None:
    """Write a look at a sealed part into its ledger, before it is taken. A log has no sealed part."""
    if isinstance(source, Holdout):
        config = getattr(model, "config", None)
        source.look(name, asdict(config) if is_dataclass(config) and not isinstance(config, type) else {})


def served_by(model: Scorer, source: Source, users: Tensor, name: str, fallback: Scorer | None = None) -> Tensor:
    """bool (n,): of these people, int64 (n,), whom the model can score itself, see `Scorer`.

    Raises RequestError where there is somebody else and no `fallback`.
    """
    if not model.personal:
        return torch.ones(len(users), dtype=torch.bool)
    known = source.trained if isinstance(source, Holdout) and not model.inductive else history_of(source).events_per_user > 0
    served = known[users]
    if fallback is None and not served.all():
        raise RequestError(
            f"{name} cannot serve {int((~served).sum()):,} of {len(users):,} people (no history or not in training): name a fallback."
        )
    return served


def score_batches(
    model: Scorer, source: Source, users: Tensor, *, name: str, device: str, fallback: Scorer | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """The places in `users`, int64 (n,), of a batch of people, and their scores: float (batch, n_items) on `device`, all finite.

    Whom the model cannot serve `fallback` scores. Raises RequestError as `served_by` does, ValueError when scores have the wrong shape or
    are not finite.
    """
    served = served_by(model, source, users, name, fallback)
    size = max(1, SCORE_BYTES // (4 * source.n_items))
    for start in range(0, len(users), size):
        place = slice(start, start + size)
        batch, own = users[place], served[place]
        if fallback is None or own.all():
            yield place, _scores(model, source, batch, name, device)
            continue
        scores = torch.empty(len(batch), source.n_items, dtype=torch.float64, device=device)  # holds whatever either model has
        scores[(~own).to(device)] = _scores(fallback, source, batch[~own], name_of(fallback), device).double()
        if own.any():
            scores[own.to(device)] = _scores(model, source, batch[own], name, device).double()
        yield place, scores


def score_pairs(model: Scorer, source: Source, users: Tensor, items: Tensor, *, name: str, device: str) -> Tensor:
    """float64 (n,): the score of each pair; users, items: int64 (n,), codes, in any order. Everyone is scored once. Raises as
    `score_batches` does.
    """
    people, person = users.unique(return_inverse=True)
    order = person.argsort()
    ends = torch.bincount(person, minlength=len(people)).cumsum(0)
    found, done = torch.empty(len(users), dtype=torch.float64), 0
    for place, scores in score_batches(model, source, people, name=name, device=device):
        end = int(ends[place][-1])
        pairs = order[done:end]
        found[pairs] = scores[(person[pairs] - place.start).to(device), items[pairs].to(device)].double().cpu()
        done = end
    return found


@torch.no_grad()
def _scores(model: Scorer, source: Source, users: Tensor, name: str, device: str) -> Tensor:
    scores = model.score(source.batch(users).to(device))
    if scores.shape != (len(users), source.n_items):
        raise ValueError(f"the scores of {name} have shape {tuple(scores.shape)}, expected {(len(users), source.n_items)}.")
    finite = scores.isfinite()
    if not finite.all():
        row, item = torch.nonzero(~finite)[0].tolist()
        raise ValueError(
            f"the scores of {name} are not all finite: person {int(users[row])} and item {item} have {scores[row, item].item()}."
        )
    return scores
