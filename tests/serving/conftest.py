"""Bundles of a small log, each written once: exporting is what costs."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.serving.made import POLICY, made_data

if TYPE_CHECKING:  # as tests/conftest.py has it
    from workbench.data import Dataset, Split
    from workbench.promotion import System
    from workbench.serving import Bundle


class Written(NamedTuple):
    bundle: "Bundle"
    system: "System"
    data: "Dataset"
    parts: "Split"

    @property
    def folder(self) -> Path:
        return self.bundle.folder


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> "Dataset":
    return made_data(tmp_path_factory.mktemp("small"))


def _written(folder: Path, data: "Dataset", **told: object) -> Written:
    from workbench.promotion import Spec, train_system, write_bundle

    parts = data.split("default", seed=0)
    system = train_system(Spec(k=5, **told), data, parts).late
    return Written(write_bundle(folder / "bundle", system, data, parts, surface="home", run="made"), system, data, parts)


@pytest.fixture(scope="session")
def ranked(tmp_path_factory: pytest.TempPathFactory, small: "Dataset") -> Written:
    """Trees over two sources, then at most two of a genre and variety."""
    from workbench.policy import parse_policy

    told = {"retriever": "popularity, ease", "candidates": 20, "ranker": "trees"}
    return _written(tmp_path_factory.mktemp("ranked"), small, **told, policy=parse_policy(POLICY), policy_text=POLICY)


@pytest.fixture(scope="session")
def flat(tmp_path_factory: pytest.TempPathFactory, small: "Dataset") -> Written:
    """Vectors of iALS, all of them compared."""
    from workbench.retrieval import IndexConfig

    return _written(tmp_path_factory.mktemp("flat"), small, retriever="ials", candidates=20, index=IndexConfig())


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory, flat: Written, small: "Dataset") -> Written:
    """The same vectors in eight cells, one of which is looked into."""
    from workbench.retrieval import IndexConfig

    with pytest.MonkeyPatch.context() as patch:  # the model is the same, and so is its graph
        patch.setattr("workbench.promotion.bundle.export_retriever", lambda path, graph: shutil.copy(flat.folder / "retriever.onnx", path))
        index = IndexConfig(factory="IVF8,Flat", probes=1)
        return _written(tmp_path_factory.mktemp("cells"), small, retriever="ials", candidates=20, index=index)


@pytest.fixture(scope="session")
def cosine(tmp_path_factory: pytest.TempPathFactory, flat: Written, small: "Dataset") -> Written:
    """The same vectors, all compared, by their angles."""
    from workbench.retrieval import IndexConfig

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workbench.promotion.bundle.export_retriever", lambda path, graph: shutil.copy(flat.folder / "retriever.onnx", path))
        return _written(tmp_path_factory.mktemp("cosine"), small, retriever="ials", candidates=20, index=IndexConfig(metric="cosine"))
