"""Rankers by the names that a notebook types: what is read, what is refused, and what is left out of a field."""

import pytest
import torch

from tests.ranking.made import learnable, made
from workbench.errors import NotApplicable, RequestError, WorkError
from workbench.ranking import RANKERS, MultiTask, Trees, create_ranker, parse_rankers, train_rankers

TIES = torch.arange(40)
QUICK = {"trees": {"rounds": 5, "least": 20}, "multi_task": {"epochs": 1, "batch_size": 16}}


def test_names_are_read_in_their_order():
    assert parse_rankers(" trees ,deepfm,") == ["trees", "deepfm"]
    assert parse_rankers(", ".join(RANKERS)) == list(RANKERS)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tress", r'there is no ranker "tress"\. Did you mean "trees"\?'),
        ("trees, DeepFM2", r'there is no ranker "DeepFM2"\. Did you mean "deepfm"\?'),
        ("trees, trees", r'rankers = "trees, trees" should name each ranker once, at least one\. \(trees, log_loss_trees'),
        ("", r'rankers = "" should name each ranker once, at least one'),
        (" , ", "at least one"),
    ],
)
def test_what_names_no_rankers_is_told_with_the_nearest(text, told):
    with pytest.raises(RequestError, match=told):
        parse_rankers(text)


@pytest.mark.parametrize("name", RANKERS)
def test_every_name_is_a_ranker_with_the_settings_that_make_it_one(name):
    ranker = create_ranker(name, seed=7)
    kind, _, given = RANKERS[name]
    assert isinstance(ranker, kind)
    assert ranker.config.seed == 7
    assert {setting: getattr(ranker.config, setting) for setting in given} == given
    assert ranker.title


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("forest", {}, 'there is no ranker "forest"'),
        ("trees", {"round": 3}, r'there is no setting of trees "round"\. Did you mean "rounds"\?'),
        ("trees", {"rounds": 0}, r"trees: rounds = 0: input should be greater than or equal to 1\."),
        ("trees", {"loss": "hinge"}, r"trees: loss = 'hinge': input should be 'pairwise', 'pointwise' or 'listwise'"),
        ("deepfm", {"dropout": 1.0}, r"deepfm: dropout = 1\.0: input should be less than 1"),
        ("multi_task", {"experts": 0}, r"multi_task: experts = 0: input should be greater than or equal to 1"),
        ("deepfm", {"rounds": 3}, r'there is no setting of deepfm "rounds"'),
        ("autoint", {"learning_rate": "fast"}, r"autoint: learning_rate = 'fast': "),
    ],
)
def test_what_is_no_ranker_or_no_setting_is_told(name, settings, told):
    with pytest.raises(RequestError, match=told):
        create_ranker(name, **settings)


def test_a_field_has_each_ranker_with_its_time_and_scores():
    train, valid = learnable(60), learnable(20, seed=1)
    field = train_rankers(["multi_task", "trees"], train, valid, TIES, k=3, epochs=1, settings=QUICK)
    assert list(field.rankers) == list(field.seconds) == ["multi_task", "trees"]
    assert field.failed == {}
    assert all(seconds > 0 for seconds in field.seconds.values())
    assert field.rankers["trees"].config.k == 3
    assert field.rankers["multi_task"].config.watch == "ndcg@3"
    scores = field.scores(valid)
    for name, ranker in field.rankers.items():
        assert torch.equal(scores[name], ranker.score(valid))


def test_epochs_are_a_most_and_0_is_what_the_settings_say(monkeypatch):
    seen = []
    monkeypatch.setattr(MultiTask, "fit", lambda self, *told: seen.append(self.config.epochs))
    for epochs in (0, 3, 100):
        train_rankers(["multi_task"], learnable(5), learnable(5), TIES, epochs=epochs)
    assert seen == [30, 3, 30]


def test_one_that_fails_is_left_out_with_its_reason(monkeypatch):
    def broken(self, *told):
        raise MemoryError("no room for it")

    monkeypatch.setattr(MultiTask, "fit", broken)
    settings = {**QUICK, "shared_bottom": {"experts": 0}}
    field = train_rankers(["multi_task", "shared_bottom", "trees"], learnable(60), learnable(20), TIES, settings=settings)
    assert list(field.rankers) == ["trees"]
    assert field.failed["multi_task"].startswith("MemoryError: no room for it (")
    assert field.failed["shared_bottom"].startswith("shared_bottom: experts = 0")


def test_when_none_is_left_the_reasons_are_told(monkeypatch):
    nothing = made([[1, 2]], [[True, True]])
    with pytest.raises(
        NotApplicable, match=r"none of the rankers could be trained\. trees: 2 of 2 candidates are liked.*; multi_task: 2 of 2"
    ):
        train_rankers(["trees", "multi_task"], nothing, nothing, TIES)

    def broken(self, *told):
        raise ValueError("odd")

    monkeypatch.setattr(Trees, "fit", broken)
    with pytest.raises(WorkError, match=r"none of the rankers could be trained\. trees: ValueError: odd"):
        train_rankers(["trees", "multi_task"], nothing, nothing, TIES)
