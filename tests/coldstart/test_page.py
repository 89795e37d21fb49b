"""Questions of a page that ask for other splits: when they are not asked, and what validation chooses for new items."""

from types import SimpleNamespace

import pytest
import torch

from tests.coldstart.made import described, log, some_events
from tests.evaluation.made import Scores
from workbench.coldstart import Methods, curves_by_time, judge_new_items, new_items, page
from workbench.data.splits import split
from workbench.errors import NotApplicable
from workbench.evaluation import evaluate
from workbench.selection import How

METRIC, N_ITEMS, KS = "ndcg@5", 60, (5, 20)


def data(events, folder, **more):
    """Splits itself as asked, and remembers by what."""
    asked = []

    def by(name, *, seed, refit):
        asked.append(name)
        return split(log(events, N_ITEMS, folder=folder), name, seed, refit, fractions=(0.4, 0.3, 0.3))

    return SimpleNamespace(split=by, asked=asked, n_items=N_ITEMS, n_users=60, **more)


def test_where_the_page_is_by_time_already_nothing_is_split_once_more(tmp_path):
    made = data(some_events(0), tmp_path)
    assert curves_by_time(made, "global_time", ["popularity"], (0, 1), METRIC, seed=0, refit="train") == {}
    assert made.asked == []


def test_people_by_time_have_curves_of_each_method(tmp_path):
    made = data(some_events(0, n_users=80, low=30, high=40), tmp_path)
    found = curves_by_time(made, "new_user", ["popularity", "popularity"], (0, 1), METRIC, seed=0, refit="train")
    assert made.asked == ["global_time"]
    assert list(found) == ["popularity"]
    assert tuple(found["popularity"].by_depth) == (0, 1)


def test_where_time_tells_of_too_few_people_there_are_no_curves():
    def no_times(name, **_):
        raise NotApplicable("the log has no times.")

    assert curves_by_time(SimpleNamespace(split=no_times), "new_user", ["popularity"], (0,), METRIC, seed=0, refit="train") == {}


def put_first(items):
    """Everybody is shown these first."""
    scores = torch.zeros(60, N_ITEMS)
    scores[:, items] = torch.linspace(2, 1, len(items))
    return Scores(scores)


@pytest.fixture
def turned(tmp_path, monkeypatch):
    """One method finds what validation's people liked and nothing of test, the other the other way round."""
    made = data(some_events(4), tmp_path)
    parts = made.split("new_item", seed=0, refit="train")
    valid, test = (new_items(parts, part).truth.items.unique() for part in ("valid", "test"))
    methods = Methods(
        early={"of_valid": put_first(valid), "of_test": put_first(test)}, late={"of_valid": put_first(valid), "of_test": put_first(test)}
    )
    monkeypatch.setattr(page, "train_methods", lambda *_, **__: methods)
    return made


def test_of_new_items_that_method_is_shown_that_is_best_on_validations(turned):
    """Though on test it finds less than the other."""
    found = judge_new_items(turned, "new_user", ["of_test", "of_valid"], KS, METRIC, seed=0, refit="train")
    assert found.chosen == "of_valid"
    assert found.results["of_valid"].mean("recall@20") < found.results["of_test"].mean("recall@20")
    assert "new_item" in turned.asked


def test_it_is_the_best_by_recall_at_the_largest_k(turned, monkeypatch):
    """Of validation's new items one method has half of a list's twenty first, the other all of them, but not among the first five."""
    parts = turned.split("new_item", seed=0, refit="train")
    holdout = new_items(parts, "valid")
    wanted = holdout.truth.events_per_item.argsort(descending=True, stable=True)
    others = torch.tensor([item for item in range(N_ITEMS) if item not in holdout.truth.items.tolist()])
    few, late = put_first(torch.cat([wanted[:3], others])), put_first(torch.cat([others[:10], wanted[:10], others[10:]]))
    at = {k: [evaluate(each, holdout, ks=KS).mean(f"recall@{k}") for each in (few, late)] for k in KS}
    assert at[5][0] > at[5][1]
    assert at[20][0] < at[20][1]
    methods = Methods(early={"few": few, "late": late}, late={"few": few, "late": late})
    monkeypatch.setattr(page, "train_methods", lambda *_, **__: methods)
    assert judge_new_items(turned, "new_user", ["few", "late"], KS, METRIC, seed=0, refit="train").chosen == "late"


def test_where_nobody_of_validation_liked_a_new_item_nothing_is_chosen(tmp_path):
    """All of them disliked what validation is of; on test what needs no training is judged all the same."""
    events = some_events(4)
    valid = set(data(events, tmp_path).split("new_item", seed=0, refit="train").valid.items.tolist())
    made = data([each._replace(value=2.0) if each.item in valid else each for each in events], tmp_path)
    found = judge_new_items(made, "new_user", ["content"], KS, METRIC, seed=0, refit="train", how=How(side=described()))
    assert (list(found.results), found.chosen) == (["content"], "")


def test_where_nobody_liked_a_new_item_nothing_is_judged_and_it_says_why(tmp_path):
    events = some_events(4)
    test = set(data(events, tmp_path).split("new_item", seed=0, refit="train").test.items.tolist())
    made = data([each._replace(value=2.0) if each.item in test else each for each in events], tmp_path)
    found = judge_new_items(made, "new_user", ["popularity"], KS, METRIC, seed=0, refit="train")
    assert (found.results, found.chosen, found.n_new) == ({}, "", 0)
    assert found.failed == {"new items": "nobody liked a new item in the test part of new_item."}
