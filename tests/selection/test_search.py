"""Settings are chosen on validation, or are those of a study on this very split; what was chosen is trained again as it was."""

import math
from dataclasses import replace

import pytest
import torch

from tests.models.test_tuned import FOUND
from workbench.data import Side, load_dataset, rolling_origin
from workbench.evaluation import evaluate
from workbench.models import create, grid
from workbench.models.tuned import tuned_path, write_tuned
from workbench.selection import How, judge_over_windows, search
from workbench.training import Engine

pytestmark = pytest.mark.usefixtures("home")  # where nobody has tuned anything


def test_without_tuning_the_defaults_are_used(ml100k):
    choice = search("ease", ml100k.split(), "ndcg@10", ks=(10,), tuned=False)
    assert choice.settings == {}
    assert len(choice.trials) == 1


def test_tuning_takes_the_best_on_validation_and_trains_on_training_alone(ml100k):
    parts = ml100k.split()
    choice = search("ease", parts, "ndcg@10", ks=(10,), tuned=True)
    values = {
        l2: evaluate(create("ease", l2=l2).fit(parts.train), parts.holdout("valid"), name="", ks=(10,)).mean("ndcg@10")
        for l2 in (50.0, 100.0, 250.0, 500.0, 1000.0)
    }
    assert choice.settings == {"l2": max(values, key=values.__getitem__)}
    assert [trial["value"] for trial in choice.trials] == sorted(values.values(), reverse=True)
    assert choice.validation.mean("ndcg@10") == max(values.values())


def test_a_model_that_draws_at_random_is_trained_as_often_as_asked(ml100k):
    parts = ml100k.split()
    choice = search("random", parts, "ndcg@10", ks=(10,), tuned=False, trainings=3)
    assert [model.config.seed for model in choice.models] == [0, 1, 2]
    judged = choice.judge(parts.holdout(), ks=(10,))
    assert len(judged.trainings) == len(choice.validation.trainings) == 3
    alone = [evaluate(model, parts.holdout(), name="random", ks=(10,)).mean("ndcg@10") for model in choice.models]
    assert judged.mean("ndcg@10") == pytest.approx(sum(alone) / 3)
    assert len(search("popularity", parts, "ndcg@10", ks=(10,), tuned=False, trainings=3).models) == 1


def test_refit_trains_the_chosen_settings_once_more(ml100k):
    parts = ml100k.split(refit="train+valid")
    choice = search("popularity", parts, "ndcg@10", ks=(10,), tuned=False)
    assert choice.models[0].counts.sum() == len(parts.train) + len(parts.valid)
    once = evaluate(create("popularity").fit(parts.train), parts.holdout("valid"), ks=(10,))
    assert choice.validation.mean("ndcg@10") == once.mean("ndcg@10")


def test_each_window_of_a_backtest_is_trained_on_what_came_before_it(ml100k):
    windows = rolling_origin(ml100k, windows=2)
    choice = search("popularity", ml100k.split(), "ndcg@10", ks=(10,), tuned=False)
    found = judge_over_windows(choice, windows, ks=(10,))
    for evaluation, window in zip(found, windows, strict=True):
        expected = evaluate(create("popularity").fit(window.train), window.holdout("test"), ks=(10,))
        assert evaluation.label == window.holdout("test").label
        assert evaluation.mean("ndcg@10") == expected.mean("ndcg@10")


# Models that learn by gradient, and settings out of a study

QUICK = {"dimensions": 4, "learning_rate": 0.05, "batch_size": 16, "epochs": 6, "patience": 0}
HOW = How(engine=Engine(device="cpu", threads=1))
METRIC = "ndcg@10"


@pytest.fixture
def parts(tiny):
    """Eight people with two events each to validate on."""
    tiny()
    return load_dataset("tiny").split(fractions=(0.6, 0.2, 0.2))


@pytest.fixture
def tell(home):
    """`tell(model, settings, found_on)` leaves the file of a study of three trials."""

    def write(model, settings, found_on):
        path = tuned_path("tiny", model)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tuned(path, replace(FOUND, settings=settings, found_on=found_on))

    return write


def searched(name, parts, how=HOW, **said):
    fallback = create("popularity").fit(parts.train)
    return search(name, parts, METRIC, ks=(10,), fallback=fallback, how=how, **{"tuned": True, **said})


def test_settings_of_a_study_are_used_where_it_was_made_on_this_very_split(parts, tell):
    tell("item_knn", {"k": 17, "shrink": 2.5}, parts.holdout("valid").label)
    choice = searched("item_knn", parts)
    assert choice.settings == {"k": 17, "shrink": 2.5}
    assert choice.tuned_by == 3
    assert len(choice.trials) == 1, "nothing else is tried"
    without = searched("item_knn", parts, tuned=False)
    assert (without.settings, without.tuned_by) == ({}, 0)


@pytest.mark.parametrize("other", [{"fractions": (0.5, 0.3, 0.2)}, {"seed": 1}, {"name": "global_time"}])
def test_a_study_on_another_split_may_have_seen_this_ones_test_part(parts, tell, other):
    """Then the grid is searched, and a model without one has its defaults."""
    elsewhere = load_dataset("tiny").split(**{"fractions": (0.6, 0.2, 0.2), **other}).holdout("valid").label
    tell("item_knn", {"k": 17, "shrink": 2.5}, elsewhere)
    choice = searched("item_knn", parts)
    assert choice.tuned_by == 0
    assert choice.settings["k"] in grid("item_knn")["k"]
    assert len(choice.trials) == math.prod(len(values) for values in grid("item_knn").values())
    tell("mf", QUICK, elsewhere)
    choice = searched("mf", parts, replace(HOW, epochs=1))
    assert (choice.settings, choice.tuned_by, len(choice.trials)) == ({"epochs": 1}, 0, 1)


def test_the_best_epoch_is_the_best_by_the_metric_that_decides(parts, tell):
    """Also on a catalogue smaller than the cut-off that models watch when nobody says."""
    tell("mf", QUICK, parts.holdout("valid").label)
    fallback = create("popularity").fit(parts.train)
    choice = search("mf", parts, "recall@3", tuned=True, ks=(3,), fallback=fallback, how=HOW)
    assert choice.trainings[0].watch == "recall@3"
    assert choice.settings == QUICK, "no setting of the model"
    tell("mf", {**QUICK, "watch": "hit_rate@2"}, parts.holdout("valid").label)
    choice = search("mf", parts, "recall@3", tuned=True, ks=(3,), fallback=fallback, how=HOW)
    assert choice.trainings[0].watch == "hit_rate@2", "unless the settings say"


def test_a_model_that_learns_is_judged_in_training_and_keeps_its_best_epoch(parts, tell):
    tell("mf", QUICK, parts.holdout("valid").label)
    choice = searched("mf", parts)
    (training,) = choice.trainings
    values = [epoch.value for epoch in training.curve]
    assert len(values) == QUICK["epochs"]
    assert len(set(values)) > 1
    assert training.best == max(values) == values[training.best_epoch - 1]
    assert choice.validation.mean(METRIC) == pytest.approx(training.best)
    assert choice.models[0].training is training
    assert (choice.settings, choice.tuned_by) == (QUICK, 3)
    assert parts.looks().models == 0, "the test part had no say"


@pytest.mark.parametrize(("epochs", "trained"), [(0, 6), (2, 2), (6, 6), (50, 6)])
def test_epochs_are_capped_and_never_stretched(parts, tell, epochs, trained):
    tell("mf", QUICK, parts.holdout("valid").label)
    choice = searched("mf", parts, replace(HOW, epochs=epochs))
    assert len(choice.trainings[0].curve) == trained
    assert choice.settings == {**QUICK, "epochs": trained}
    assert choice.models[0].config.epochs == trained


def test_without_a_validation_part_a_model_learns_as_long_as_was_best(tiny, tell):
    """The schedule of the learning rate stays that of all epochs: training ends earlier, and is not a shorter one."""
    tiny()
    parts = load_dataset("tiny").split(fractions=(0.6, 0.2, 0.2), refit="train+valid")
    tell("mf", {**QUICK, "patience": 3}, parts.holdout("valid").label)
    choice = searched("mf", parts)
    best, model = choice.trainings[0].best_epoch, choice.models[0]
    assert (model.config.epochs, model.config.stop_after, model.config.patience) == (6, best, 0)
    assert [epoch.value for epoch in model.training.curve] == [None] * best
    assert choice.trainings[0] is not model.training, "what was reached on validation is told, not the last training"
    again = choice.train_on(parts.fit_on)
    everyone = parts.fit_on.batch(torch.arange(parts.fit_on.n_users))
    assert torch.equal(again.score(everyone), model.score(everyone))
    shorter = choice.train_on(parts.train)
    assert len(shorter.training.curve) == best
    assert not torch.equal(shorter.score(everyone), model.score(everyone))


def test_of_several_trainings_the_middle_one_says_how_long(tiny, tell):
    tiny()
    parts = load_dataset("tiny").split(fractions=(0.6, 0.2, 0.2), refit="train+valid")
    tell("mf", QUICK, parts.holdout("valid").label)
    choice = searched("mf", parts, trainings=4)
    best = sorted(training.best_epoch for training in choice.trainings)
    assert len(set(best)) > 1
    assert {len(model.training.curve) for model in choice.models} == {best[1]}, "of two in the middle the lower"
    assert [model.config.seed for model in choice.models] == [0, 1, 2, 3]
    assert len(choice.validation.trainings) == 4


@pytest.mark.parametrize("refit", ["train", "train+valid"])
def test_seeds_go_on_from_the_one_that_a_study_was_given(tiny, tell, refit):
    """From 0 on the first would be trained with another seed than it was judged with, or the second with the same."""
    tiny()
    parts = load_dataset("tiny").split(fractions=(0.6, 0.2, 0.2), refit=refit)
    tell("mf", {**QUICK, "seed": 1}, parts.holdout("valid").label)
    choice = searched("mf", parts, trainings=3)
    assert [model.config.seed for model in choice.models] == [1, 2, 3]
    alone = searched("mf", parts)
    assert alone.validation.mean(METRIC) == choice.validation.trainings[0].mean(METRIC)


def test_models_that_do_not_learn_by_gradient_have_no_use_for_how(parts):
    for name in ("ease", "random"):
        plain, told = searched(name, parts, How(), tuned=False), searched(name, parts, replace(HOW, epochs=1), tuned=False)
        assert told.settings == plain.settings == {}
        assert told.trainings == ()
        assert torch.equal(told.validation.values(METRIC), plain.validation.values(METRIC))


def test_features_go_to_models_that_take_them(parts, tell):
    label = parts.holdout("valid").label
    tell("two_tower", {**QUICK, "length": 4}, label)
    tell("mf", QUICK, label)
    how = replace(HOW, epochs=1, side=Side(items=torch.eye(parts.train.n_items)))
    choice = searched("two_tower", parts, how)
    assert choice.models[0].network.item_shapes() == {"items": 12}
    assert choice.train_on(parts.train).network.item_shapes() == {"items": 12}
    assert len(searched("mf", parts, how).trainings) == 1
