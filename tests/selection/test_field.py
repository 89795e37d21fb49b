"""One model's failure is a row with its reason; when all fail, the run says why."""

from dataclasses import dataclass

import pytest

from workbench.data import rolling_origin
from workbench.errors import NotApplicable, RequestError, WorkError, reason
from workbench.models import MODELS
from workbench.models.ease import Ease
from workbench.selection import search_all

pytestmark = pytest.mark.usefixtures("home")
HOW = {"tuned": False, "ks": (10,)}


@dataclass(frozen=True)
class NoConfig:
    pass


class Broken(Ease):
    title = "Broken"

    def __init__(self, config=None):
        super().__init__()

    def fit(self, train, valid=None):
        raise ZeroDivisionError("no people\nat all")


class Unfit(Broken):
    def fit(self, train, valid=None):
        raise NotApplicable("unfit needs more.")


class FailsOnTest(Broken):
    """Judged on validation, it cannot be judged again."""

    asked = 0

    def fit(self, train, valid=None):
        return Ease.fit(self, train, valid)

    def score(self, batch):
        FailsOnTest.asked += 1
        if FailsOnTest.asked > 1:
            raise WorkError("the disk is full.")
        return super().score(batch)


@pytest.fixture(autouse=True)
def known(monkeypatch):
    made = {"broken": Broken, "unfit": Unfit, "fails_on_test": FailsOnTest}
    monkeypatch.setattr("workbench.models.MODELS", {**MODELS, **{name: (model, NoConfig) for name, model in made.items()}})
    FailsOnTest.asked = 0


def test_the_others_go_on(ml100k):
    parts = ml100k.split()
    field = search_all(["popularity", "broken", "unfit", "fails_on_test", "ease"], parts, "ndcg@10", **HOW)
    assert list(field.choices) == ["popularity", "fails_on_test", "ease"]
    assert field.failed == {"broken": field.failed["broken"], "unfit": "unfit needs more."}
    assert field.failed["broken"].startswith("ZeroDivisionError: no people at all (test_field.py, line ")
    results = field.judge(parts.holdout("test"), ks=(10,))
    assert list(results) == list(field.choices) == ["popularity", "ease"]
    assert field.failed["fails_on_test"] == "the disk is full."


def test_when_all_fail_the_work_failed(ml100k):
    with pytest.raises(WorkError, match=r"^none of the models could be judged\. broken: ZeroDivisionError: .*; unfit: unfit needs more\.$"):
        search_all(["broken", "unfit"], ml100k.split(), "ndcg@10", **HOW)
    field = search_all(["fails_on_test"], ml100k.split(), "ndcg@10", **HOW)
    with pytest.raises(WorkError, match=r"^the disk is full\.$"):
        field.judge(ml100k.split().holdout("test"), ks=(10,))


def test_when_all_lack_what_they_need_the_question_has_no_answer(ml100k):
    with pytest.raises(NotApplicable, match=r"^unfit needs more\.$"):
        search_all(["unfit"], ml100k.split(), "ndcg@10", **HOW)


def test_when_all_were_asked_wrongly_the_request_was_wrong(ml100k, monkeypatch):
    def refuse(self, train, valid=None):
        raise RequestError("no such thing.")

    monkeypatch.setattr(Broken, "fit", refuse)
    with pytest.raises(RequestError, match=r"^none of the models could be judged\. broken: no such thing\.; unfit: unfit needs more\.$"):
        search_all(["broken", "unfit"], ml100k.split(), "ndcg@10", **HOW)


def test_a_window_in_which_one_fails_is_left_out_for_all(ml100k):
    field = search_all(["popularity", "fails_on_test"], ml100k.split(), "ndcg@10", **HOW)
    windows = rolling_origin(ml100k, windows=2)
    FailsOnTest.asked = 0  # the first window is judged, the second is not
    chosen, rival = field.over_windows(["popularity", "fails_on_test"], windows, ks=(10,))
    assert len(chosen) == len(rival) == 1
    assert chosen[0].label == rival[0].label == windows[0].holdout("test").label
    assert field.failed == {"a window of the backtest": "the disk is full."}


def test_ctrl_c_is_no_failure_of_a_model(ml100k, monkeypatch):
    def stop(self, train, valid=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(Broken, "fit", stop)
    with pytest.raises(KeyboardInterrupt):
        search_all(["popularity", "broken"], ml100k.split(), "ndcg@10", **HOW)


def test_an_error_without_words_has_a_reason():
    with pytest.raises(KeyError) as caught:
        raise KeyError
    assert reason(caught.value).startswith("KeyError: no reason given (test_field.py, line ")
