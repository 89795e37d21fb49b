"""A model's scores for many people, a batch at a time, refused before anybody reads them if they are none."""

from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from typing import Protocol

import torch
from torch import Tensor

from workbench.data import Holdout, Interactions, UserBatch
from workbench.errors import RequestError
from workbench.evaluation.ranking import NOTHING, top_k

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


@torch.no_grad()
def rank(
    scorer: Scorer, asked: UserBatch, seen: UserBatch | None, k: int, ties: Tensor, floor: float | None = None
) -> tuple[Tensor, Tensor]:
    """The `k` best items that each of these people may be shown, and where `ties` decided: both (batch, k), as `top_k` gives them.

    asked: who asks, on any device; seen: what may not be shown to them, in the same order; ties: int64 (n_items,), on the device to score
    on. floor: a score at or below it says nothing, and its item is left out; None: every item is shown to who has no better.

    Raises ValueError when the scores have the wrong shape or are not finite.
    """
    scores = scorer.score(asked.to(ties.device))
    if scores.shape != (len(asked), asked.n_items):
        raise ValueError(f"scores have shape {tuple(scores.shape)}, expected {(len(asked), asked.n_items)}.")
    if floor is not None:
        if not scores.isfinite().all():
            raise ValueError(f"the scores of {name_of(scorer)} are not all finite.")
        scores = scores.masked_fill(scores <= floor, -torch.inf)
    scores = scores.clone() if scores.is_inference() else scores.contiguous()  # what is written to below
    masked, n_masked = _masked(seen, asked, ties.device)
    flat = scores.view(-1)
    before = flat.index_select(0, masked)
    try:
        flat.index_fill_(0, masked, -torch.inf)
        items, tied = top_k(scores, k, ties)
        values = scores.gather(1, items.clamp(min=0))[items != NOTHING]
    finally:
        flat.index_copy_(0, masked, before)  # the scores are the model's: it may use that memory again
    n_left = asked.n_items - n_masked  # at least: what was seen twice counts twice
    few = floor is None and bool(((items != NOTHING).sum(1) < n_left.clamp(max=k)).any())
    if few or not values.isfinite().all():  # NaN and infinity sort first, -inf last
        raise ValueError(f"the scores of {name_of(scorer)} are not all finite.")
    return items, tied


def _masked(seen: UserBatch | None, asked: UserBatch, device: torch.device) -> tuple[Tensor, Tensor]:
    """int64: places of what may not be shown in the flattened scores, and how many each person has."""
    if seen is None:
        return torch.empty(0, dtype=torch.int64, device=device), torch.zeros(len(asked), dtype=torch.int64, device=device)
    return (seen.rows * asked.n_items + seen.items).to(device), seen.lengths.to(device)
