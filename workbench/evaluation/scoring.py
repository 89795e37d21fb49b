"""A model's scores for many people, a batch at a time, refused before anybody reads them if they are none."""

from collections.abc import Iterator
from dataclasses import asdict, is_dataclass

import torch
from torch import Tensor

from workbench.data import Holdout, Interactions
from workbench.errors import RequestError
from workbench.evaluation.harness import Scorer

SCORE_BYTES = 2**23
"""Upper limit of one batch of float32 scores, or one person's."""

Source = Holdout | Interactions
"""What a model may know of people: a holdout's histories, or a log that is everybody's history."""


def name_of(model: Scorer, name: str | None = None) -> str:
    """What records and errors call a model: the name given, else its title, else its class."""
    return name or str(getattr(model, "title", type(model).__name__))


def look(model: Scorer, source: Source, name: str) -> None:
    """Write a look at a sealed part into its ledger, before it is taken. A log has no sealed part."""
    if isinstance(source, Holdout):
        config = getattr(model, "config", None)
        source.look(name, asdict(config) if is_dataclass(config) and not isinstance(config, type) else {})


def can_serve(model: Scorer, source: Source, users: Tensor) -> Tensor:
    """bool (n,): of these people, int64 (n,), whom the model can score from what it knows: see `Scorer`."""
    if not model.personal:
        return torch.ones(len(users), dtype=torch.bool)
    if isinstance(source, Holdout) and not model.inductive:
        return source.trained[users]
    history = source.history if isinstance(source, Holdout) else source
    return history.events_per_user[users] > 0


def score_batches(
    model: Scorer, source: Source, users: Tensor, *, name: str, device: str, fallback: Scorer | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """The places in `users`, int64 (n,), of a batch of people, and their scores: float (batch, n_items) on `device`, all finite.

    Who cannot be served by the model is scored by `fallback`. Raises RequestError when that is needed and there is none, ValueError when
    scores have the wrong shape or are not finite.
    """
    served = can_serve(model, source, users)
    if not served.all() and fallback is None:
        raise RequestError(f"{name} cannot serve {int((~served).sum())} of {len(users)} people (no history or not in training).")
    size = max(1, SCORE_BYTES // (4 * source.n_items))
    for start in range(0, len(users), size):
        place = slice(start, start + size)
        batch, own = users[place], served[place]
        if fallback is None or own.all():
            yield place, _scores(model, source, batch, name, device)
            continue
        scores = torch.empty(len(batch), source.n_items, device=device)
        for scorer, who, called in ((model, own, name), (fallback, ~own, name_of(fallback))):
            if who.any():
                scores[who.to(device)] = _scores(scorer, source, batch[who], called, device).to(scores.dtype)
        yield place, scores


@torch.inference_mode()
def _scores(model: Scorer, source: Source, users: Tensor, name: str, device: str) -> Tensor:
    scores = model.score(source.batch(users).to(device))
    if scores.shape != (len(users), source.n_items):
        raise ValueError(f"the scores of {name} have shape {tuple(scores.shape)}, expected {(len(users), source.n_items)}.")
    finite = scores.isfinite()
    if not finite.all():
        row, item = torch.nonzero(~finite)[0].tolist()
        value = scores[row, item].item()
        raise ValueError(f"the scores of {name} are not all finite: item {item} has {value} for person {int(users[row])}.")
    return scores
