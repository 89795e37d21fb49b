"""RecBole on a current stack. The only file that knows it; importing this file makes RecBole importable.

RecBole 1.2.1 uses names that NumPy 2 dropped and a private method that SciPy dropped; both are given back here, before its first import.
"""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse

_NUMPY_NAMES = {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_, "object0": np.object_, "bool8": np.bool_}
for _name, _type in _NUMPY_NAMES.items():
    if not hasattr(np, _name):
        setattr(np, _name, _type)
if not hasattr(sparse.dok_matrix, "_update"):
    sparse.dok_matrix._update = lambda self, data: self._dict.update(data)

from recbole.config import Config  # noqa: E402, after the names it needs
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.data.interaction import Interaction  # noqa: E402
from recbole.model.general_recommender import itemknn, slimelastic  # noqa: E402
from recbole.trainer import Trainer  # noqa: E402
from recbole.utils import get_model, init_seed  # noqa: E402

__all__ = [
    "Trainer",
    "create_dataset",
    "data_preparation",
    "get_model",
    "init_seed",
    "interaction",
    "itemknn",
    "recbole_config",
    "slimelastic",
]


def recbole_config(model: str, dataset: str, settings: dict[str, Any]) -> Config:
    """RecBole's configuration from these settings alone: it would read this process's command line otherwise."""
    with _no_arguments():
        return Config(model=model, dataset=dataset, config_dict=settings)


def interaction(columns: dict[str, Any]) -> Interaction:
    """RecBole's batch out of tensors."""
    return Interaction(columns)


@contextlib.contextmanager
def _no_arguments() -> Iterator[None]:
    before, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = before
