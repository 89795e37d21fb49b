"""RecBole's own arithmetic done faster: the same products and the same dropout, by other means."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from scipy import sparse
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from workbench.training.sequences import dropped

GRAPHS = {"LightGCN": "norm_adj_matrix", "NCL": "norm_adj_mat", "NGCF": "norm_adj_matrix", "SGL": "train_graph"}
"""The symmetric graph that stays the same, by model."""


class Graph:
    """A symmetric sparse matrix that `torch.sparse.mm` takes. By rows, so that products take a sixth of a list's time; its own transpose,
    so that gradients are such products too.
    """

    def __init__(self, matrix: Tensor) -> None:
        """matrix: sparse float (n, n), by rows."""
        self.matrix = matrix

    @classmethod
    def of(cls, matrix: Tensor) -> Self:
        """matrix: sparse float (n, n), a list of cells."""
        return cls(matrix.coalesce().to_sparse_csr())

    @classmethod
    def of_scipy(cls, matrix: sparse.spmatrix) -> Self:
        cells = sparse.csr_matrix(matrix)
        parts = torch.from_numpy(cells.indptr).long(), torch.from_numpy(cells.indices).long(), torch.from_numpy(cells.data).float()
        return cls(torch.sparse_csr_tensor(*parts, size=cells.shape, check_invariants=True))

    def to(self, device: torch.device) -> Self:
        return type(self)(self.matrix.to(device))

    @classmethod
    def __torch_function__(cls, function: Callable[..., Any], types: Any, args: Sequence[Any], kwargs: Any = None) -> Any:
        if function is not torch.sparse.mm or not isinstance(args[0], Graph):
            return NotImplemented
        return _Product.apply(args[1], args[0].matrix.to(args[1].device))


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dense: Tensor, matrix: Tensor) -> Tensor:
        ctx.matrix = matrix
        return matrix @ dense

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.matrix @ grad, None


def with_fast_graphs(name: str, model: Any) -> None:
    """In place."""
    if name in GRAPHS and not (name == "NGCF" and model.node_dropout):  # which drops cells of the list
        setattr(model, GRAPHS[name], Graph.of(getattr(model, GRAPHS[name])))
    if name == "SGL":
        model.csr2tensor = lambda matrix: Graph.of_scipy(matrix).to(model.device)


@contextmanager
def fast_dropout() -> Iterator[None]:
    """Torch's dropout takes ten times as long on a CPU as ours, which draws from the same generator; shares are rounded to 1/256."""
    torchs = functional.dropout

    def ours(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or input.device.type != "cpu" or inplace:
            return torchs(input, p, training, inplace)
        return dropped(input, p, torch.default_generator)

    functional.dropout = ours
    try:
        yield
    finally:
        functional.dropout = torchs
