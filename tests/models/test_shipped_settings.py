"""datasets/tuned: what ships can be used on today's snapshots, and says what is so."""

import pytest

from tests.conftest import ROOT
from workbench.evaluation import evaluate
from workbench.models import MODELS, create, read_tuned, search_space

SHIPPED = sorted((path.parent.name, path.stem) for path in (ROOT / "datasets" / "tuned").glob("*/*.toml"))
CHEAP = ("ease", "item_knn", "rp3beta")


@pytest.mark.parametrize("dataset", ["ml-100k", "ml-1m"])
def test_every_model_with_something_to_search_ships_tuned(dataset):
    assert {model for of, model in SHIPPED if of == dataset} == {model for model in MODELS if search_space(model)}


@pytest.mark.parametrize(("dataset", "model"), SHIPPED)
def test_the_settings_make_a_model_and_are_the_best_that_was_tried(dataset, model):
    found = read_tuned(dataset, model)
    create(model, tuned_for=dataset)
    assert set(search_space(model)) <= set(found.settings)
    values = [trial.value for trial in found.tried if trial.value is not None]
    assert found.value == max(values)
    assert found.trials == len(found.tried)
    assert found.default_value == found.tried[0].value <= found.value
    assert found.command.startswith(f"workbench tune {model} --dataset {dataset} --budget ")


def test_they_were_found_on_the_validation_part_that_notebooks_ask_about(ml100k):
    label = ml100k.split().holdout("valid").label
    assert {read_tuned("ml-100k", model).found_on for dataset, model in SHIPPED if dataset == "ml-100k"} == {label}


@pytest.mark.parametrize("model", CHEAP)
def test_the_value_comes_out_again(ml100k, model):
    parts, found = ml100k.split(), read_tuned("ml-100k", model)
    again = evaluate(create(model, tuned_for="ml-100k").fit(parts.train), parts.holdout("valid"), ks=(10,))
    assert again.mean(found.metric) == pytest.approx(found.value, abs=1e-4)  # another BLAS rounds otherwise
