"""On ML-100k: what is known helps as much as it can and no more."""

import pytest
import torch

from tests.coldstart.made import unsealed
from workbench.coldstart import judge_new_items, newcomers
from workbench.data import item_texts, side_information
from workbench.evaluation import evaluate
from workbench.models import create
from workbench.retrieval import text_vectors
from workbench.selection import How

METRIC = "ndcg@10"


@pytest.fixture(scope="module")
def split(ml100k):
    return ml100k.split("new_user")


@pytest.fixture(scope="module")
def people(split):
    return newcomers(split)


@pytest.fixture(scope="module")
def ease(split):
    return create("ease").fit(split.train)


def test_a_tenth_of_943_people_are_new_and_most_have_thirty_events(people):
    assert people.n_people == 94
    assert len(people.users) == 80
    assert len(people.warm.users) == 66
    assert torch.isin(people.warm.users, people.users).all()


def test_popularity_serves_who_has_done_nothing_by_no_more_than_can_be(split, people):
    """.082 on regulars by `user_time`. The ten events after the twentieth are known films, mostly: nobody has seen the first ones yet."""
    result = evaluate(create("popularity").fit(split.train), unsealed(people.depths[0]), ks=(10,))
    assert 0.08 < result.mean(METRIC) < 0.14


def test_twenty_events_say_more_than_one(people, ease):
    one, twenty = (evaluate(ease, unsealed(people.depths[depth]), ks=(10,)).mean(METRIC) for depth in (1, 20))
    assert 0.05 < one < 0.1
    assert 0.12 < twenty < 0.18
    assert twenty > one + 0.04


def test_texts_find_new_items_and_behaviour_cannot(ml100k):
    """An item that nobody had has no weight in EASE. Of 168 new ones among 1,682 texts find a fifth in the first 100, chance 6 %."""
    how = How(side=side_information(ml100k).with_texts(text_vectors(item_texts(ml100k))))
    found = judge_new_items(ml100k, "new_user", ["content", "ease", "evidence_blend"], (10, 100), METRIC, seed=0, refit="train", how=how)
    assert found.failed == {}
    assert list(found.results) == ["content", "ease", "random"], "the blend is no method for items, chance is what they are held against"
    recall = {name: result.mean("recall@100") for name, result in found.results.items()}
    assert found.chosen == "content", "by validation's new items"
    assert found.n_new == 168, "a tenth of the 1,682 items"
    assert recall["ease"] < 0.001
    assert 0.05 < recall["random"] < 0.08
    assert 0.15 < recall["content"] < 0.3
    assert found.results["content"].mean(METRIC) > 3 * found.results["random"].mean(METRIC)
