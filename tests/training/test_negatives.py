"""Negatives come with the probabilities they are said to have, and never from what a person has seen.

Seeds are fixed. A test of a distribution says how often a right sampler would fail it: p < 1e-6, one in a million.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Generator

from workbench.testing import interactions, latent_log
from workbench.training import Negatives
from workbench.training.negatives import DRAWS, TOTAL


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def matches(drawn: torch.Tensor, probabilities: torch.Tensor) -> bool:
    """Pearson's chi-square; a right sampler fails it once in a million seeds."""
    n_items = len(probabilities)
    counts = torch.bincount(drawn.flatten(), minlength=n_items).double()
    possible = probabilities > 0
    assert counts[~possible].sum() == 0
    expected = probabilities[possible].double() / probabilities.double().sum() * counts.sum()
    assert expected.min() >= 5  # or the chi-square is no chi-square
    return stats.chisquare(counts[possible], expected).pvalue > 1e-6


def test_the_test_of_a_distribution_can_fail():
    right = torch.full((10,), 0.1, dtype=torch.float64)
    drawn = Negatives(torch.ones(10, dtype=torch.int64)).draw(20_000, seeded())
    assert matches(drawn, right)
    assert not matches(drawn, right + torch.tensor([0.01] + [0.0] * 9))


LOG = interactions([(0, 0), (0, 3), (0, 3), (1, 5), *((2, i) for i in range(6)), (4, 1), (4, 2), (4, 4), (4, 5), (4, 0)], 5, 6)
"""Person 0 had item 3 twice, 2 has seen everything, 3 nothing, and 4 all but item 3. Events of each item: 3, 2, 2, 3, 2, 3."""


def test_uniform_draws_are_uniform():
    negatives = Negatives.of(LOG)
    assert negatives.log_q.exp().tolist() == pytest.approx([1 / 6] * 6)
    assert matches(negatives.draw(30_000, seeded()), torch.ones(6))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.75, 1.0, 3.0])
def test_popularity_draws_in_proportion_to_a_power_of_events_and_one(alpha):
    negatives = Negatives.of(LOG, "popularity", alpha=alpha)
    weights = torch.tensor([4.0, 3.0, 3.0, 4.0, 3.0, 4.0], dtype=torch.float64) ** alpha
    assert negatives.log_q.exp().tolist() == pytest.approx((weights / weights.sum()).tolist(), rel=1e-6)
    assert matches(negatives.draw(30_000, seeded()), weights)


@pytest.mark.parametrize("kind", ["uniform", "popularity"])
def test_unseen_draws_follow_the_weights_of_what_is_left(kind):
    """The closed form: a person's seen items have weight nothing, the others keep theirs; who has seen everything has the whole line."""
    negatives = Negatives.of(LOG, kind, alpha=1.0, seen=True)
    weights = torch.ones(6) if kind == "uniform" else torch.tensor([4.0, 3.0, 3.0, 4.0, 3.0, 4.0])
    drawn = negatives.draw_for(torch.arange(5), 20_000, seeded())
    assert matches(drawn[0], weights * torch.tensor([0, 1, 1, 0, 1, 1]))
    assert matches(drawn[1], weights * torch.tensor([1, 1, 1, 1, 1, 0]))
    assert matches(drawn[2], weights)
    assert matches(drawn[3], weights)
    assert drawn[4].unique().tolist() == [3]


def test_without_seen_anything_is_drawn():
    drawn = Negatives.of(LOG).draw_for(torch.arange(5), 20_000, seeded())
    assert all(matches(row, torch.ones(6)) for row in drawn)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_what_has_been_seen_is_never_drawn(data):
    n_users, n_items = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 12))
    pair = st.tuples(st.integers(0, n_users - 1), st.integers(0, n_items - 1))
    pairs = data.draw(st.lists(pair, max_size=60))
    kind, alpha = data.draw(st.sampled_from([("uniform", 1.0), ("popularity", 0.75), ("popularity", 8.0)]))
    negatives = Negatives.of(interactions(pairs, n_users, n_items), kind, alpha=alpha, seen=True)
    drawn = negatives.draw_for(torch.arange(n_users).repeat(2), 40, seeded(data.draw(st.integers(0, 2**32 - 1))))
    assert drawn.min() >= 0
    assert drawn.max() < n_items
    for user, row in enumerate(drawn.view(2, n_users, 40).transpose(0, 1)):
        seen = {item for person, item in pairs if person == user}
        assert len(seen) == n_items or not seen & set(row.flatten().tolist())


@given(weights=st.lists(st.integers(0, 5), min_size=2, max_size=8).filter(any), seen=st.sets(st.integers(0, 7)))
@settings(max_examples=100, deadline=None)
def test_items_of_no_weight_are_never_drawn_while_others_are_left(weights, seen):
    n_items = len(weights)
    log = interactions([(1, item) for item in seen if item < n_items], 3, n_items)
    negatives = Negatives(torch.tensor(weights), log)
    drawn = set(negatives.draw_for(torch.tensor([1]), 200, seeded())[0].tolist())
    left = {item for item in range(n_items) if weights[item] and item not in seen}
    assert drawn <= (left or {item for item in range(n_items) if weights[item]})


def test_every_place_of_a_persons_line_is_an_unseen_item_once():
    """No chance at all: all places in [0, left), in order, are the unseen items by weight."""
    weights = torch.tensor([3, 1, 4, 0, 5, 2])
    log = interactions([(0, 0), (0, 4), (1, 5), (1, 2), (3, 1), (3, 3)], 4, 6)
    negatives = Negatives(weights, log)
    for user, seen in enumerate([{0, 4}, {5, 2}, set(), {1, 3}]):
        expected = [item for item in range(6) if item not in seen for _ in range(int(weights[item]))]
        assert int(negatives.seen.left[user]) == len(expected)
        places = negatives.seen.skip(torch.tensor([user]), torch.arange(len(expected))[None])
        assert negatives._at(places)[0].tolist() == expected


def test_the_probabilities_sum_to_one():
    train, _ = latent_log(n_users=60)
    for kind, alpha in (("uniform", 0.0), ("popularity", 0.75), ("popularity", 20.0)):
        assert Negatives.of(train, kind, alpha=alpha).log_q.double().exp().sum().item() == pytest.approx(1.0, abs=1e-5)


def test_a_power_of_any_size_is_no_overflow():
    """3,000 events to the 100th power are beyond float64; the most popular item is then all but certain."""
    train = interactions([(user, 0) for user in range(3000)] + [(0, 1)], 3000, 5)
    drawn = Negatives.of(train, "popularity", alpha=100.0).draw(1000, Generator().manual_seed(0))
    assert (drawn == 0).all()


def test_no_item_is_out_of_reach():
    """Though 20 to the power of 20 is to 1 as nothing is."""
    skewed = interactions([(u, 0) for u in range(19)], 19, 5)
    negatives = Negatives.of(skewed, "popularity", alpha=20.0)
    assert negatives.upto.diff().min() >= 1
    assert negatives.log_q.isfinite().all()


def test_a_draw_is_int64_and_of_its_shape_even_of_nobody():
    negatives = Negatives.of(LOG, seen=True)
    for drawn, shape in (
        (negatives.draw(7, seeded()), (7,)),
        (negatives.draw_for(torch.tensor([1, 1, 0]), 4, seeded()), (3, 4)),
        (negatives.draw_for(torch.arange(0), 4, seeded()), (0, 4)),
    ):
        assert drawn.shape == shape
        assert drawn.dtype == torch.int64


def test_the_generator_decides_and_nothing_else():
    negatives = Negatives.of(LOG, "popularity", seen=True)
    users = torch.arange(5).repeat(20)
    state = torch.get_rng_state()
    first = negatives.draw_for(users, 3, seeded(1))
    assert torch.equal(negatives.draw_for(users, 3, seeded(1)), first)
    assert not torch.equal(negatives.draw_for(users, 3, seeded(2)), first)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_generator_goes_on_where_it_was():
    """One long draw or two short ones: a block of steps draws what its steps would have drawn one after another."""
    negatives = Negatives.of(LOG, seen=True)
    users = torch.arange(5).repeat(100)
    whole, generator = negatives.draw_for(users, 2, seeded()), seeded()
    assert torch.equal(torch.cat([negatives.draw_for(users[:123], 2, generator), negatives.draw_for(users[123:], 2, generator)]), whole)


def test_it_works_where_it_is_moved(device):
    negatives = Negatives.of(LOG, "popularity", seen=True).to(device)
    drawn = negatives.draw_for(torch.arange(5, device=device), 50, Generator(device=device).manual_seed(0))
    assert drawn.device.type == device
    assert not {0, 3} & set(drawn[0].tolist())
    assert drawn[4].unique().tolist() == [3]


def test_a_large_catalogue_does_not_overflow():
    """Two million people and weights that sum to about 2³¹: the last person's place is 2⁵² in, and the largest allowed, 2³² people of it,
    is below 2⁶³. Doubles would have lost the items by then.
    """
    n_users, n_items = 2_000_000, 300_000
    log = interactions([(0, 0), (n_users - 1, 0), (n_users - 1, n_items - 1), (n_users - 1, 77)], n_users, n_items)
    negatives = Negatives.of(log, "popularity", seen=True)
    assert TOTAL / 2 < negatives.total < 2**32
    assert (n_users - 1) * negatives.total > 2**51
    assert int(negatives.seen.starts.min()) >= 0
    assert negatives.seen.starts.diff().min() >= 0  # ascending
    drawn = negatives.draw_for(torch.tensor([0, 1, n_users - 1]), 20_000, seeded())
    assert drawn.min() >= 0
    assert drawn.max() < n_items
    assert 0 not in drawn[0]
    assert not {0, 77, n_items - 1} & set(drawn[2].tolist())
    for row in drawn:
        tenths = torch.bincount(row * 10 // n_items, minlength=10)
        assert stats.chisquare(tenths.numpy()).pvalue > 1e-6  # all but three of the weights are equal
    places = negatives.seen.skip(torch.tensor([n_users - 1]), torch.tensor([[0, negatives.seen.left[n_users - 1] - 1]]))
    assert negatives._at(places)[0].tolist() == [1, n_items - 2]


def test_the_largest_sum_of_weights_allowed_works_for_the_last_of_a_billion_people():
    """users × total < 2⁶³ for 2³⁰ people at 2³² − 1, as the docstring promises; two people's lines stand for a billion."""
    n_users, total = 2**30, 2**32 - 1
    assert (n_users - 1) * total + total < 2**63
    weights = torch.tensor([2**31, 2**31 - 2, 1])
    negatives = Negatives(weights, interactions([(1, 0)], 2, 3))
    assert negatives.total == total
    drawn = negatives.draw_for(torch.tensor([0, 1]), 40_000, seeded())
    assert matches(drawn[0][drawn[0] < 2], torch.tensor([2.0**31, 2.0**31 - 2]))
    assert drawn[1].min() == 1
    assert DRAWS / total >= 2**30  # so that the rest of the division favours no place by more than 2⁻³⁰
