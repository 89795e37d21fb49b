import pytest

from workbench.errors import RequestError
from workbench.evaluation import evaluate
from workbench.models import create
from workbench.training import choose_device, search


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


def test_the_device_comes_with_its_reason():
    auto = choose_device()
    assert auto.reason
    assert auto.threads >= 1
    assert choose_device("cpu").reason == "asked for"
    with pytest.raises(RequestError, match='device = "abacus" is not here'):
        choose_device("abacus")
