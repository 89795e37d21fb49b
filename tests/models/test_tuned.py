"""Settings out of a file: they are what was found, or one line says what is wrong with it."""

import datetime
import tomllib
from dataclasses import replace

import pytest

from workbench.errors import RequestError, WorkError
from workbench.models import MODELS, create, search_space
from workbench.models.space import Choices
from workbench.models.tuned import Tried, Tuned, read_tuned, tuned_path, write_tuned

FOUND = Tuned(
    settings={"k": 17, "shrink": 2.5},
    found_on='own@1/user_time/{"fractions": [0.8, 0.1, 0.1]}/0/valid',
    metric="ndcg@10",
    value=0.125,
    default_value=0.12,
    trials=3,
    pruned=1,
    failed=1,
    seconds=3.5,
    date=datetime.date(2026, 1, 2),
    command="workbench tune item_knn --dataset own --budget 3",
    shared={},
    versions={"python": "3.11"},
    threads=2,
    tried=(
        Tried(number=0, state="complete", value=0.125, seconds=1.5, settings={"k": 17, "shrink": 2.5}),
        Tried(number=1, state="pruned", seconds=1.0, settings={"k": 5, "shrink": 0.0}),
        Tried(number=3, state="failed", seconds=1.0, settings={"k": 6, "shrink": 0.0}, why='it said "no"'),
    ),
)


@pytest.fixture
def path(home):
    path = tuned_path("own", "item_knn")
    path.parent.mkdir(parents=True)
    return path


def test_what_was_written_is_read(path):
    write_tuned(path, FOUND)
    assert read_tuned("own", "item_knn") == FOUND
    plain = tomllib.loads(path.read_text(encoding="utf-8"))
    assert list(plain) == ["settings", "study"]
    assert plain["settings"] == {"k": 17, "shrink": 2.5}
    assert [sorted(trial) for trial in plain["study"]["tried"]][1] == ["number", "seconds", "settings", "state"], "no value is no number"
    without = replace(FOUND, default_value=None)
    write_tuned(path, without)
    assert read_tuned("own", "item_knn") == without
    assert [each.name for each in path.parent.iterdir()] == ["item_knn.toml"]


def test_settings_given_come_before_those_found(path):
    write_tuned(path, FOUND)
    assert vars(create("item_knn", tuned_for="own").config) == {"k": 17, "shrink": 2.5}
    assert vars(create("item_knn", tuned_for="own", k=3).config) == {"k": 3, "shrink": 2.5}


def test_settings_found_are_checked_like_those_typed(path):
    write_tuned(path, replace(FOUND, settings={"k": 0}))
    with pytest.raises(RequestError, match=r"item_knn: k = 0: input should be greater than or equal to 1\."):
        create("item_knn", tuned_for="own")
    write_tuned(path, replace(FOUND, settings={"neighbours": 3}))
    with pytest.raises(RequestError, match='there is no setting of item_knn "neighbours"'):
        create("item_knn", tuned_for="own")


def test_where_nobody_searched_the_command_is_named(home):
    assert read_tuned("own", "ease") is None
    with pytest.raises(RequestError) as caught:
        create("ease", tuned_for="own")
    assert str(caught.value) == "nobody has tuned ease for own yet: run `workbench tune ease --dataset own --budget 50`."
    with pytest.raises(RequestError, match="cannot be the name of a data set"):
        create("ease", tuned_for="../own")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[settings", "datasets/tuned/own/item_knn.toml cannot be read: "),
        ("[settings]\n", "datasets/tuned/own/item_knn.toml does not fit: found_on: "),
        ("study = 3\n", "datasets/tuned/own/item_knn.toml should have a table [study]."),
        ("other = 3\n", "datasets/tuned/own/item_knn.toml does not fit: "),
    ],
)
def test_a_damaged_file_is_named(path, text, line):
    path.write_text(text, encoding="utf-8")
    with pytest.raises(WorkError) as caught:
        read_tuned("own", "item_knn")
    assert str(caught.value).startswith(line)
    assert str(caught.value).endswith("Restore it, or run `workbench tune` again.")


@pytest.mark.parametrize("name", MODELS)
def test_every_edge_of_a_space_can_be_created(name):
    for setting, options in search_space(name).items():
        for value in options.values if isinstance(options, Choices) else (options.low, options.high):
            assert value in options
            create(name, **{setting: value})


def test_a_grid_lies_within_the_space():
    gridded = [name for name, (model, _) in MODELS.items() if hasattr(model, "grid")]
    assert len(gridded) >= 7
    for name in gridded:
        for setting, values in MODELS[name][0].grid.items():
            assert all(value in search_space(name)[setting] for value in values), (name, setting)
