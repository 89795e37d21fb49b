"""Scores of the whole catalogue by a model of RecBole, the fastest way that it has."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.overrides import TorchFunctionMode

from workbench.data import UserBatch
from workbench.models.recbole.dataset import ITEM, LENGTH, SEQUENCE, USER, Data
from workbench.models.recbole.examples import all_pairs, sequences, with_features
from workbench.models.recbole.families import FAMILY
from workbench.models.recbole.library import interaction

PAIRS = 2**16
"""Pairs of a person and an item that a model without a faster way scores at once; of sequences so many of their events."""
WIDE = {"AutoInt": 8, "DCNV2": 8, "EulerNet": 8, "FiGNN": 8, "xDeepFM": 32}
"""Into how many pieces these cut them."""
SQUASHED = frozenset({"DCNV2", "DIEN", "DIN", "NeuMF"})
"""Models whose last step is a sigmoid even before `predict`, or that can be asked by `predict` alone."""
PRODUCTS = frozenset({"BPR", "CORE", "GRU4Rec", "LightGCN", "LightSANs", "NARM", "NGCF", "SASRec", "SGL"})
"""Supported models whose scores are products of vectors, times a number at most."""
PEOPLE = 256
"""Sequences scored at once."""


def scores_of(model: Any, data: Data, inductive: bool, length: int, batch: UserBatch) -> Tensor:
    """float32 (batch, n_items), on the batch's device, where the model is. inductive: from the histories of the batch; length: of which the
    model reads the last so many events, if it is sequential.
    """
    with _without_sigmoid(model):
        if FAMILY[data.name] == "sequential":
            return _by_sequence(model, length, batch)
        return _whole(model, inductive, batch) if _has_fast_way(model) else _by_pairs(model, data, batch)


class _Products(TorchFunctionMode):
    """Keeps what is multiplied to rows of so many numbers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.found = width, list[tuple[Tensor, Tensor]]()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function in (torch.matmul, torch.Tensor.matmul) and result.dim() == 2 and result.shape[1] == self.width:
            self.found.append((args[0], args[1]))
        return result


@contextmanager
def last_products(width: int) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """The factors, (rows, d) and (d, width), of each product to a matrix of this width that is made meanwhile."""
    products = _Products(width)
    with products:
        yield products.found


@contextmanager
def _without_sigmoid(model: Any) -> Iterator[None]:
    """In 32 bits it makes equals of all that is likely."""
    name = type(model).__name__
    before = model.sigmoid if name in SQUASHED else None
    if before is not None:
        model.sigmoid = nn.Identity()
    try:
        yield
    finally:
        if before is not None:
            model.sigmoid = before


def _whole(model: Any, inductive: bool, batch: UserBatch) -> Tensor:
    with _told(model, batch) if inductive else nullcontext(batch.users + 1) as users:
        scores: Tensor = model.full_sort_predict(interaction({USER: users}))
    return scores.view(len(batch), -1)[:, 1 : batch.n_items + 1].float().to(batch.device)


@contextmanager
def _told(model: Any, batch: UserBatch) -> Iterator[Tensor]:
    """The model told of these histories instead of those it was trained on, and the rows at which it finds them: int64 (batch,)."""
    told: Any
    if hasattr(model, "get_rating_matrix"):
        name, told = "get_rating_matrix", partial(torch.Tensor.index_select, pad(batch.history_matrix(), (1, 0)), 0)
    else:
        pairs = (batch.rows.cpu().numpy(), batch.items.cpu().numpy() + 1)
        name, told = "interaction_matrix", csr_matrix((torch.ones(len(batch.items)), pairs), shape=(len(batch), batch.n_items + 1))
        told.data[:] = 1.0
        if type(model).__name__ == "ItemKNN":
            name, told = "pred_mat", told.dot(model.w).tolil()
    before = vars(model).get(name)
    setattr(model, name, told)
    try:
        yield torch.arange(len(batch), device=batch.device)
    finally:
        if before is None:
            delattr(model, name)
        else:
            setattr(model, name, before)


def _sequences(model: Any, length: int, batch: UserBatch) -> dict[str, Tensor]:
    """RecBole's BERT4Rec takes the first place away to have one for what is asked, whatever stands there: it is given any item."""
    if type(model).__name__ != "BERT4Rec":
        return sequences(batch, length)
    told = sequences(batch, length - 1)
    lengths = torch.where(batch.lengths > 0, told[LENGTH] + 1, told[LENGTH])
    return told | {SEQUENCE: pad(told[SEQUENCE], (1, 0), value=1), LENGTH: lengths}


def _by_sequence(model: Any, length: int, batch: UserBatch) -> Tensor:
    told, found = _sequences(model, length, batch), []
    size = PEOPLE if _has_fast_way(model) else max(1, PAIRS // (batch.n_items * length))
    for rows in torch.arange(len(batch), device=batch.device).split(size):
        columns = {name: column[rows] for name, column in told.items()}
        if _has_fast_way(model):
            scores = model.full_sort_predict(interaction(columns)).view(len(rows), -1)[:, 1 : batch.n_items + 1]
        else:
            repeated = {name: column.repeat_interleave(batch.n_items, 0) for name, column in columns.items()}
            repeated[ITEM] = torch.arange(1, batch.n_items + 1, device=batch.device).repeat(len(rows))
            scores = model.predict(interaction(repeated)).view(len(rows), -1)
        found.append(scores.float())
    return torch.cat(found) * (batch.lengths > 0)[:, None]


def _by_pairs(model: Any, data: Data, batch: UserBatch) -> Tensor:
    score = model.forward if FAMILY[data.name] == "context" else model.predict
    found = []
    for users in batch.users.split(max(1, PAIRS // WIDE.get(data.name, 1) // batch.n_items)):
        columns = with_features(all_pairs(users, batch.n_items), data)
        found.append(score(interaction(columns)).view(len(users), -1).float())
    return torch.cat(found)


def _has_fast_way(model: Any) -> bool:
    """Whether the model scores the whole catalogue at once."""
    return not type(model).full_sort_predict.__qualname__.startswith("AbstractRecommender")
