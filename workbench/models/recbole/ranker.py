"""RecBole's context models over any numbers and categories: the networks alone, for rankers of ours to train."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from workbench.models.recbole.build import NAMES, Given
from workbench.models.recbole.library import FeatureSource, FeatureType, get_model
from workbench.models.recbole.settings import for_recbole, settings_of

SQUASHED = ("DCNV2",)
"""Whose `forward` ends in a sigmoid, where the others give logits."""


class _Fields:
    """What a context model asks its `Dataset`: n numbers and some categories of these sizes, all of the request."""

    def __init__(self, numbers: int, sizes: Sequence[int]) -> None:
        self.sizes = {f"number_{place}": 1 for place in range(numbers)} | {f"category_{place}": size for place, size in enumerate(sizes)}
        self.field2type = {name: FeatureType.FLOAT if name.startswith("number") else FeatureType.TOKEN for name in self.sizes}

    def fields(self, ftype: Any = None, source: Any = None) -> list[str]:
        if source is not None and FeatureSource.INTERACTION not in source:
            return []
        return [name for name, kind in self.field2type.items() if ftype is None or kind in ftype]

    def num(self, field: str) -> int:
        return self.sizes[field]


class _Batch(NamedTuple):
    """In place of RecBole's batch of columns: what they hold, side by side."""

    numbers: Tensor
    """float (n, width)."""
    codes: Tensor
    """int64 (n, categories)."""


class _Plain(nn.Module):
    """A model of RecBole, called with tensors. It looks up a column at a time; here all are looked up at once, with the same sums."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        model.embed_input_fields = partial(_vectors, model)
        model.first_order_linear.forward = partial(_first_order, model.first_order_linear)

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """float (n, 1), logits. numbers: float (n, width); codes: int64 (n, categories)."""
        logits: Tensor = self.model(_Batch(numbers, codes))
        return logits[:, None]


def _vectors(tables: Any, batch: _Batch) -> tuple[Tensor | None, Tensor | None]:
    """float (n, categories, d) and float (n, width, d): the embeddings of what is there."""
    sparse = tables.token_embedding_table(batch.codes) if batch.codes.shape[1] else None
    width = batch.numbers.shape[1]
    dense = batch.numbers[:, :, None] * tables.float_embedding_table.embedding.weight[None] if width else None
    return sparse, dense


def _first_order(layer: Any, batch: _Batch) -> Tensor:
    """float (n, 1)."""
    parts = [part.sum(1) for part in _vectors(layer, batch) if part is not None]
    first: Tensor = torch.stack(parts).sum(0) + layer.bias
    return first


def context_network(name: str, numbers: int, sizes: Sequence[int], embedding_size: int, hidden: Sequence[int], dropout: float) -> nn.Module:
    """RecBole's network of this name, untrained, for numbers and codes; it draws from torch's global generator.

    numbers: features that are numbers. sizes: codes of each category. hidden: widths of the layers of its deep part.
    """
    theirs: Any = settings_of(name)()
    own = {"embedding_size": embedding_size, "mlp_hidden_size": tuple(hidden), "dropout_prob": dropout, "dropout_probs": (dropout,) * 3}
    config = replace(theirs, **{setting: value for setting, value in own.items() if hasattr(theirs, setting)})
    given = Given(NAMES)
    given.update(for_recbole(name, config), device=torch.device("cpu"), double_tower=False)
    fields = _Fields(numbers, sizes)
    given.update(numerical_features=[field for field in fields.sizes if field.startswith("number")], selected_features=list(fields.sizes))
    model = get_model(name)(given, fields)
    if name in SQUASHED:
        model.sigmoid = nn.Identity()
    return _Plain(model)
