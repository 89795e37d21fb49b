"""A small world's log, brought in as anybody's would be."""

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.conftest import tiny_rows

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


@pytest.fixture(scope="package")
def small(tmp_path_factory: pytest.TempPathFactory) -> "Dataset":
    """20 people with 20 events each; person u's begin at 100 · u seconds, two at each moment; every second one is liked."""
    from workbench.data import load_dataset
    from workbench.data.add import add
    from workbench.data.request import Request

    root = tmp_path_factory.mktemp("small")
    (root / "datasets").mkdir()
    (root / "notebooks").mkdir()
    lines = ["user_id,item_id,rating,timestamp", *(",".join(map(str, row)) for row in tiny_rows(20, 30, 20))]
    (root / "log.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_HOME", str(root))
        columns = {"user_id": "user_id", "item_id": "item_id", "value": "rating", "timestamp": "timestamp"}
        add(Request(file=root / "log.csv", name="small", columns=columns, unit="s", positive_min=4.0, repeats=False))
        return load_dataset("small")
