import pytest

from workbench.data import rolling_origin
from workbench.evaluation import evaluate
from workbench.models import create
from workbench.selection import judge_over_windows, search


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
