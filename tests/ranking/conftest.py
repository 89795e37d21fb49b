"""A small world's log, brought in as anybody's would be."""

from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:  # as tests/conftest.py has it
    from workbench.data import Dataset
    from workbench.testing import World


class Known(NamedTuple):
    world: "World"
    data: "Dataset"


@pytest.fixture(scope="package")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    """3,000 requests of 5 slots: people click a third of what they look at, and like much of what they click."""
    from workbench.data import load_dataset
    from workbench.data.add import add
    from workbench.data.request import Request
    from workbench.testing import World, WorldConfig

    root = tmp_path_factory.mktemp("world")
    (root / "datasets").mkdir()
    (root / "notebooks").mkdir()
    config = {"n_users": 60, "n_items": 40, "n_requests": 3000, "click_rate": 0.35, "like": 0.9, "segments": 3, "position_bias": 1.0}
    world = World(WorldConfig(**config, drift=0.0, cold_items=0.0, explore=0.5, seed=4))
    paths = world.write(root / "log")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_HOME", str(root))
        events = {"exposure_events": ("impression",), "positive_events": ("like",), "negative_events": ("hide",)}
        add(Request(file=paths["events"], name="world", item_table=paths["items"], unit="us", repeats=True, **events))
        return Known(world, load_dataset("world"))
