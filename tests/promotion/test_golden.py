"""Golden requests: many kinds of people, whatever the data set."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.serving.made import made_data
from workbench.data import UserBatch
from workbench.policy import Facts
from workbench.promotion import Spec, train_system
from workbench.promotion.golden import BATCH, LONG, STRANGERS, golden_requests
from workbench.retrieval import Requests
from workbench.serving.verify import compared

AS_OF = 10**12


def data(n_items, n_users=7):
    """As much of a data set as golden requests need, and what was learnt from it: every third item by nobody."""
    counts = torch.arange(n_items) % 3
    ids = {"user_ids": [f"u{code}" for code in range(n_users)], "item_ids": [f"i{code}" for code in range(n_items)]}
    return SimpleNamespace(n_users=n_users, n_items=n_items, **ids), SimpleNamespace(events_per_item=counts)


@pytest.mark.parametrize("n_items", [60, 61, 500, 2000])
def test_they_are_of_people_and_strangers_with_histories_of_all_lengths(n_items):
    known, learnt = data(n_items)
    found = golden_requests(known, learnt, AS_OF)
    assert len(found) == BATCH
    people, strangers = found[: BATCH - STRANGERS], found[BATCH - STRANGERS :]
    assert {each.user_id for each in people} == set(known.user_ids)
    assert all(each.history is None for each in people)
    assert all(each.user_id is None for each in strangers)
    lengths = [len(each.history) for each in strangers]
    assert {0, 1, 2, 3} <= set(lengths)
    assert max(lengths) == max(60, min(LONG, n_items // 2))
    assert all(each.timestamp >= AS_OF for each in found)


def test_some_have_what_nobody_had_in_training_and_some_have_an_item_twice():
    known, learnt = data(300)
    strangers = golden_requests(known, learnt, AS_OF)[-STRANGERS:]
    unmet = {known.item_ids[code] for code in range(0, 300, 3)}
    assert sum(each.history[-1] in unmet for each in strangers if each.history) >= STRANGERS // 4
    assert any(len(set(each.history)) < len(each.history) for each in strangers)


def test_a_seed_decides():
    known, learnt = data(300)
    assert golden_requests(known, learnt, AS_OF, 3) == golden_requests(known, learnt, AS_OF, 3)
    assert golden_requests(known, learnt, AS_OF, 3) != golden_requests(known, learnt, AS_OF, 4)


@pytest.mark.parametrize("n_items", [1, 2, 12, 30, 59])
def test_a_catalogue_of_fewer_items_than_a_long_history_has_golden_requests_too(n_items):
    """Or nobody with a small shop could promote anything."""
    known, learnt = data(n_items)
    found = golden_requests(known, learnt, AS_OF)
    assert len(found) == BATCH
    assert all(set(each.history or ()) <= set(known.item_ids) for each in found)


def test_a_system_with_sensitive_features_answers_strangers_too(tmp_path):
    """A fifth of the golden requests are of nobody; what is not known of them is missing, as in a bundle."""
    small = made_data(tmp_path)
    parts = small.split("default", seed=0)
    spec = Spec(retriever="popularity, ease", candidates=20, k=5, ranker="trees", sensitive=("town",))
    system = train_system(spec, small, parts).late
    assert "their_town" in [each.name for each in system.definitions]
    items = torch.tensor([1, 2])
    batch = UserBatch(
        users=torch.tensor([-1, 3]), items=items, timestamps=torch.zeros_like(items), offsets=torch.tensor([0, 1, 2]), n_items=small.n_items
    )
    asked = Requests(asked=batch, seen=batch, trained=torch.tensor([False, True]))
    moments = torch.full((2,), int(parts.test.timestamps.max()) + 1)
    listed = system.answer(asked, moments, Facts.of(small, parts.holdout("test")))
    assert np.isfinite(listed.scores.numpy()).all()


LIST = np.array([4, 7, 2])


@pytest.mark.parametrize(
    ("scores", "found", "theirs", "holds"),
    [
        ([3.0, 2.0, 1.0], [4, 7, 2], [3.0, 2.0, 1.0], True),
        ([3.0, 2.0, 2.0], [4, 2, 7], [3.0, 2.0, 2.0], True),  # equals, swapped
        ([3.0, 2.0, 1.0], [4, 7, 9], [3.0, 2.0, 1.0], True),  # as good as the last
        ([3.0, 2.0, 1.0], [4, 2, 7], [3.0, 2.0, 1.0], False),
        ([3.0, 2.0, 1.0], [9, 7, 2], [3.0, 2.0, 1.0], False),
        ([1.0, 1.0, 1.0], [4, 4, 4], [1.0, 1.0, 1.0], False),  # one item, three times
        ([-1.0, -2.0, -3.0], [4, 7, 2], [-1.0, -2.0, -3.0], True),
        ([-1.0, -2.0, -3.0], [4, 7, 9], [-1.0, -2.0, -3.0], False),  # a third place is no score that two may have
        ([3.0, 2.0, 1.0], [4, 7], [3.0, 2.0], False),
    ],
)
def test_what_counts_as_the_same_list(scores, found, theirs, holds):
    parity = compared([(LIST, np.array(scores))], [(np.array(found), np.array(theirs))])
    assert parity.holds == holds
    assert parity.identical == int(found == LIST.tolist())
