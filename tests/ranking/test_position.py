"""How often positions are looked at is found in clicks, and clicks weighed by it teach what is relevant rather than what was shown
first."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import tensor

from tests.ranking.made import kendall, made, pages
from workbench.errors import NotApplicable, RequestError
from workbench.evaluation import bootstrap_mean
from workbench.ranking import MultiTask, MultiTaskConfig, Trees, TreesConfig, debiased, examination

SLOTS = 6


def moving(n=30_000, bias=1.0, seed=0, n_items=9):
    """Pages of items in random order: what stood where, and what was clicked; the better an item, the more often it stands at the top."""
    rng = np.random.default_rng(seed)
    liked = np.linspace(0.1, 0.8, n_items)
    order = np.argsort(-(3 * liked + rng.gumbel(size=(n, n_items))), axis=1)[:, :SLOTS]
    looked = np.arange(1.0, SLOTS + 1) ** -bias
    clicks = rng.random((n, SLOTS)) < liked[order] * looked
    positions = np.tile(np.arange(1, SLOTS + 1), n)
    return torch.from_numpy(order.ravel()), torch.from_numpy(positions), torch.from_numpy(clicks.ravel()), torch.from_numpy(looked)


@pytest.mark.parametrize("bias", [0.0, 0.7, 1.5])
def test_planted_examination_is_found(bias):
    """Within four standard errors of the log of a ratio of two counts of clicks; those of the items' rates add little to it."""
    items, positions, clicks, looked = moving(bias=bias)
    found = examination(items, positions, clicks)
    counts = torch.bincount(positions[clicks], minlength=SLOTS + 1)[1:].double()
    errors = (1 / counts + 1 / counts[0]).sqrt()
    assert found[0] == 1
    assert ((found.log() - looked.log()).abs()[1:] < 4 * errors[1:]).all()


def test_clicks_at_a_position_alone_would_be_far_off():
    """The better stands higher: the share of clicks falls faster than examination does."""
    items, positions, clicks, looked = moving(bias=0.7)
    shares = torch.stack([clicks[positions == place].double().mean() for place in range(1, SLOTS + 1)])
    naive, found = shares / shares[0], examination(items, positions, clicks)
    assert (naive - looked).abs().sum() > 3 * (found - looked).abs().sum()


def test_without_noise_it_is_exact():
    """Of expected counts themselves: every item at each position, clicked just as often as e(p) · r(i) says."""
    looked, liked, shows = (1.0, 0.5, 0.25), (0.8, 0.4), 20
    rows = [
        (item, place, count < shows * liked[item] * looked[place - 1]) for item in range(2) for place in (1, 2, 3) for count in range(shows)
    ]
    items, positions, clicks = (tensor(column) for column in zip(*rows, strict=True))
    torch.testing.assert_close(examination(items, positions, clicks), tensor(looked, dtype=torch.float64), rtol=1e-6, atol=1e-6)
    assert examination(items * 7 + 3, positions, clicks).tolist() == pytest.approx(list(looked)), "codes are names"


def test_a_position_without_clicks_is_never_looked_at():
    found = examination(tensor([1, 1, 2, 2]), tensor([1, 3, 1, 3]), tensor([True, False, True, False]))
    assert found[0] == 1
    assert found[2] == 0
    assert found.isfinite().all()


def test_a_log_that_cannot_tell_is_told():
    told = "needs clicks at the first one, and items that stood at several"
    for items, positions, clicks in (
        ([], [], []),
        ([1, 1], [1, 2], [False, True]),  # no click at the first
        ([1, 2, 1, 2], [1, 2, 1, 2], [True, True, False, True]),  # no item moves
    ):
        columns = tensor(items, dtype=torch.int64), tensor(positions, dtype=torch.int64), tensor(clicks, dtype=torch.bool)
        with pytest.raises(NotApplicable, match=told):
            examination(*columns)
    for positions in ([0, 1], [1]):
        with pytest.raises(RequestError, match="items, positions from 1 and clicks should be one of each for each show"):
            examination(tensor([1, 2]), tensor(positions), tensor([True, False]))


def test_what_was_clicked_counts_as_often_as_it_was_missed():
    examples = made([[1, 2, 3, 4]], [[True, False, True, True]])
    found = debiased(examples, tensor([1.0, 0.5, 0.25, 0.001]), tensor([1, 2, 3, 4]), most=10.0)
    assert found.weights.tolist() == [1, 1, 4, 10]
    assert torch.equal(found.labels, examples.labels)
    assert debiased(examples, tensor([1.0, 0.0]), tensor([1, 2, 2, 1])).weights.tolist() == [1, 1, 20, 1]


def test_what_cannot_be_weighed_is_told():
    examples = made([[1, 2]], [[True, False]])
    for positions in ([1], [0, 1], [1, 3]):
        with pytest.raises(RequestError, match="there should be a position from 1 to 2 for each candidate"):
            debiased(examples, tensor([1.0, 0.5]), tensor(positions))
    for most in (0.5, -1, math.nan):
        with pytest.raises(RequestError, match="should be at least 1"):
            debiased(examples, tensor([1.0, 0.5]), tensor([1, 2]), most=most)


NETWORK = {"experts": 1, "hidden": (8,), "dropout": 0.0, "epochs": 4, "batch_size": 64, "learning_rate": 0.01, "weight_decay": 0.0}
TREES = {"rounds": 60, "patience": 0, "least": 100, "learning_rate": 0.1, "leaves": 7}
LEARNERS = {
    "pairs": lambda: MultiTask(MultiTaskConfig(loss="pairwise", **NETWORK)),
    "lists": lambda: MultiTask(MultiTaskConfig(loss="listwise", **NETWORK)),
    "trees of pairs": lambda: Trees(TreesConfig(loss="pairwise", **TREES)),
    "trees of lists": lambda: Trees(TreesConfig(loss="listwise", **TREES)),
}


@cache
def clicked():
    """3,000 pages to learn from, and 600 others whose relevance is known and whose order is of no matter."""
    return pages(3000, seed=1), pages(600, seed=2)


@cache
def tau(learner, weighed, once=False):
    """float64 (600,): of what is learnt from plain or weighed clicks; `once`: of pages with one click alone."""
    train, test = clicked()
    examples = debiased(train.examples, train.looked, train.positions) if weighed else train.examples
    if once:
        examples = examples.select(torch.bincount(examples.rows[examples.label], minlength=len(examples)) == 1)
    return kendall(LEARNERS[learner]().fit(examples).score(test.examples), test.relevance, 8)


@pytest.mark.parametrize("learner", LEARNERS)
def test_weighed_clicks_teach_the_true_order_better_than_plain_ones(learner):
    """Kendall's tau with the true relevance, page by page: the paired interval of what is gained lies above 0."""
    gained = bootstrap_mean(tau(learner, True) - tau(learner, False))
    assert gained.low > 0, gained.text(sign=True)


@pytest.mark.parametrize("learner", ["pairs", "lists"])
def test_a_lone_click_of_a_page_is_weighed_too(learner):
    """One click far down says more than one at the top, although neither has another beside it."""
    gained = bootstrap_mean(tau(learner, True, once=True) - tau(learner, False, once=True))
    assert gained.low > 0, gained.text(sign=True)


def test_misleading_clicks_mislead():
    """Else there would be nothing to undo: where every slot is looked at, the same learner finds a better order."""
    honest = LEARNERS["trees of pairs"]().fit(pages(3000, seed=1, bias=0.0).examples)
    _, test = clicked()
    lost = bootstrap_mean(kendall(honest.score(test.examples), test.relevance, 8) - tau("trees of pairs", False))
    assert lost.low > 0.02
