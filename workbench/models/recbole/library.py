"""RecBole made importable on a current stack, before its first import, and what is used of it.

RecBole 1.2.1 uses names that NumPy 2 dropped and a private method that SciPy dropped; both are given back here.
"""

import contextlib
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

_NUMPY_NAMES = {
    "float_": np.float64,
    "complex_": np.complex128,
    "unicode_": np.str_,
    "object0": np.object_,
    "bool8": np.bool_,
    "float": np.float64,
    "int": np.int64,
}
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
from recbole.utils import FeatureSource, FeatureType, InputType, get_model, get_trainer, init_seed  # noqa: E402

__all__ = [
    "FeatureSource",
    "FeatureType",
    "InputType",
    "Interaction",
    "Trainer",
    "create_dataset",
    "data_preparation",
    "get_model",
    "get_trainer",
    "init_seed",
    "interaction",
    "itemknn",
    "properties",
    "recbole_config",
    "slimelastic",
]


def recbole_config(model: str, dataset: str, settings: dict[str, Any]) -> Config:
    """RecBole's own configuration from these settings alone, for runs of its own pipeline beside ours.

    It would read this process's command line otherwise, and takes away every GPU but the first.
    """
    with _no_arguments():
        return Config(model=model, dataset=dataset, config_dict=settings)


def interaction(columns: dict[str, Any]) -> Interaction:
    """RecBole's batch out of tensors."""
    return Interaction(columns)


def properties(model: str) -> Path:
    """The file in which RecBole keeps the default settings of a model. Not every model has one."""
    spec = find_spec("recbole")
    assert spec is not None, "imported above"
    return Path(next(iter(spec.submodule_search_locations or ()))) / "properties" / "model" / f"{model}.yaml"


@contextlib.contextmanager
def _no_arguments() -> Iterator[None]:
    before, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = before
