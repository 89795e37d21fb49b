"""RecBole's supported models as graphs."""

from typing import Any

import torch
from torch import Tensor, nn

from workbench.data import Interactions
from workbench.models.recbole.dataset import ITEM, LENGTH, NEGATIVES, SEQUENCE, USER
from workbench.models.recbole.families import FAMILY, SUPPORTED
from workbench.models.recbole.zoo import WithVectors, Zoo
from workbench.promotion.graphs.factors import Learnt
from workbench.promotion.graphs.history import last_of, once_each
from workbench.promotion.graphs.items import from_sparse

MOST_CELLS = 2**28
"""Scores worked out beforehand, a GiB."""


def graph_of_zoo(model: Zoo) -> nn.Module | str:
    """The graph, or why there is none."""
    if model.name not in SUPPORTED:
        return "is not among the supported ones"
    if FAMILY[model.name] == "sequential":
        return _Sequences(model)
    if not model.inductive:
        return _worked_out(model)
    if hasattr(model.model, "item_similarity"):
        weights = torch.from_numpy(model.model.item_similarity.toarray()).float()[1:, 1:]
        return from_sparse(weights.T.to_sparse())
    return _Encoded(model)


def _worked_out(model: Zoo) -> nn.Module | str:
    """Who it serves is known when it is trained: their vectors, or their scores, worked out once."""
    log: Interactions = model.data.log
    if isinstance(model, WithVectors):
        people = torch.nonzero(log.events_per_user)[:, 0]
        vectors = model.person_vectors(log.batch(people))
        table = torch.zeros(log.n_users, vectors.shape[1]).index_copy_(0, people, vectors)
        graph: nn.Module = Learnt(table, model.item_vectors())
        return graph
    if log.n_users * log.n_items > MOST_CELLS:
        return f"its scores would have to be worked out beforehand, and {log.n_users:,} people by {log.n_items:,} items are too many"
    return _Scores(model, log)


class _Scores(nn.Module):
    scores: Tensor

    def __init__(self, model: Zoo, log: Interactions) -> None:
        super().__init__()
        people = torch.nonzero(log.events_per_user)[:, 0]
        found = [model.score(log.batch(some)) for some in people.split(64)]
        self.register_buffer("scores", torch.zeros(log.n_users, log.n_items).index_copy_(0, people, torch.cat(found)))

    def forward(self, users: Tensor, history: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002
        return self.scores[users.clamp(min=0)]


class _Encoded(nn.Module):
    """Auto-encoders: the history in, scores out."""

    def __init__(self, model: Zoo) -> None:
        super().__init__()
        self.model, self.n_items = model.model, model.data.log.n_items
        self.told = (model.model.dropout_prob,) if type(model.model).__name__ == "RecVAE" else ()

    def forward(self, users: Tensor, history: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002
        weights = once_each(history, lengths, self.n_items)
        matrix = torch.zeros(history.shape[0], self.n_items + 1).scatter_add(1, history + 1, weights)
        scores: Tensor = self.model(matrix, *self.told)[0]
        return scores[:, 1 : self.n_items + 1]


class _Sequences(nn.Module):
    """Sequential models that score the whole catalogue at once; zeros for who has no history."""

    def __init__(self, model: Zoo) -> None:
        super().__init__()
        self.model, self.n_items = model.model, model.data.log.n_items
        self.length = int(model.config.length)
        self.masks = type(model.model).__name__ == "BERT4Rec"

    def forward(self, users: Tensor, history: Tensor, lengths: Tensor) -> Tensor:
        last, kept = last_of(history, lengths, self.length - self.masks, padding=-1)
        sequence, n = last + 1, kept.clamp(min=1)
        told: dict[str, Any] = {USER: users + 1, NEGATIVES: sequence, ITEM: torch.ones_like(n)}
        if self.masks:  # the mask's token stands where what is asked for will be
            place = torch.arange(self.length) == kept[:, None]
            sequence = torch.where(place, self.model.mask_token, nn.functional.pad(sequence, (0, 1)))
            states = self.model(sequence)
            found = states.gather(1, kept[:, None, None].expand(-1, 1, states.shape[2]))[:, 0]
            scores = found @ self.model.item_embedding.weight[: self.n_items + 1].T + self.model.output_bias[: self.n_items + 1]
        else:
            scores = self.model.full_sort_predict({**told, SEQUENCE: sequence, LENGTH: n}).view(history.shape[0], -1)
        known: Tensor = scores[:, 1 : self.n_items + 1] * (lengths > 0)[:, None]
        return known
