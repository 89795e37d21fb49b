"""Every evaluation on a test part is written into the ledger before it happens; none on validation."""

import json
from dataclasses import replace

import pytest
import torch

from tests.evaluation.made import Scores, everyone
from workbench.data import load_dataset
from workbench.data.ledger import Ledger
from workbench.errors import NotApplicable, RequestError, WorkError
from workbench.evaluation import evaluate
from workbench.models import create


def sealed(path, label="made@1/user_time/{}/0/test"):
    return replace(everyone(6, label), ledger=Ledger(path))


class Counted(Scores):
    asked = 0

    def score(self, batch):
        self.asked += 1
        return super().score(batch)


def test_a_look_is_written_down_with_model_and_settings_before_it_is_taken(tmp_path):
    path = tmp_path / "looks.jsonl"

    class Peeking(Scores):
        def score(self, batch):
            assert len(path.read_text().splitlines()) == 1
            return super().score(batch)

    evaluate(Peeking(torch.zeros(6, 12)), sealed(path), name="peeking", ks=(1,))
    (entry,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert (entry["part"], entry["model"], entry["settings"], entry["run"]) == ("made@1/user_time/{}/test", "peeking", {}, None)


def test_a_look_that_cannot_be_written_down_is_not_taken(tmp_path):
    model = Counted(torch.zeros(6, 12))
    with pytest.raises(WorkError, match=r"a look at the test part could not be written down in .*: No such file or directory"):
        evaluate(model, sealed(tmp_path / "nowhere" / "looks.jsonl"), ks=(1,))
    assert model.asked == 0


def test_what_is_refused_is_no_look(tmp_path):
    judged = sealed(tmp_path / "looks.jsonl")
    with pytest.raises(NotApplicable):
        evaluate(Scores(torch.zeros(6, 12)), judged, ks=(99,))
    with pytest.raises(RequestError, match="name a fallback"):
        evaluate(Scores(torch.zeros(6, 12), personal=True), judged, ks=(1,))
    assert not judged.ledger.path.exists()


def test_looks_at_the_test_part_of_a_data_set_are_counted_whatever_the_seed(tiny):
    tiny()
    parts = load_dataset("tiny").split()
    popularity, knn = create("popularity").fit(parts.train), create("item_knn", k=3).fit(parts.train)
    assert not parts.looks()
    evaluate(popularity, parts.holdout("valid"), ks=(1,))
    assert str(parts.looks()) == "0 looks, 0 different models or settings"
    evaluate(popularity, parts.holdout("test"), ks=(1,))
    assert str(parts.looks()) == "1 look, 1 different models or settings"
    other_seed = load_dataset("tiny").split(seed=1)
    for model in (popularity, knn, create("item_knn", k=4).fit(parts.train)):
        evaluate(model, other_seed.holdout("test"), ks=(1,))
    assert (parts.looks().total, parts.looks().models) == (4, 3)
    assert parts.looks() == other_seed.looks()
    assert not load_dataset("tiny").split("user_random").looks()  # another split has another test part
