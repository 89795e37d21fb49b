"""Head, mid and tail, and the order of popularity."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from workbench.evaluation.popularity import Popularity, popularity_bands
from workbench.testing import interactions
from workbench.testing.synthetic import holdout

HEAD, MID, TAIL = 0, 1, 2


@pytest.mark.parametrize(
    ("counts", "bands"),
    [
        ([5, 3, 1, 1], [HEAD, MID, TAIL, TAIL]),  # 5 of 10 are the half; 5 + 3 are four fifths
        ([4, 4, 1, 1], [HEAD, HEAD, TAIL, TAIL]),  # 4 are not half; 4 + 4 are four fifths: there is no mid
        ([4, 2, 2, 2], [HEAD, HEAD, HEAD, HEAD]),  # 4 + 2 reach the half, and whoever is as popular as the last belongs to it
        ([6, 1, 1, 1, 1], [HEAD, MID, MID, MID, MID]),  # 6 + 1 + 1 are four fifths, so all the ones are in the mid
        ([1, 0, 1], [HEAD, TAIL, HEAD]),  # an item without an event is in the tail, whatever the counts
        ([0, 0], [TAIL, TAIL]),
        ([7], [HEAD]),
    ],
)
def test_a_band_ends_where_its_share_of_the_events_is_reached_ties_included(counts, bands):
    assert popularity_bands(tensor(counts)).tolist() == bands


def test_a_share_just_short_of_half_is_not_half_whatever_the_size_of_the_log():
    """In float32, 50,000,000 of 100,000,002 would be 0.5."""
    assert popularity_bands(tensor([50_000_000, 30_000_002, 20_000_000])).tolist() == [HEAD, HEAD, TAIL]


@given(counts=st.lists(st.integers(0, 9), min_size=1, max_size=12))
def test_bands_are_the_smallest_that_reach_their_share(counts):
    bands = popularity_bands(tensor(counts)).tolist()
    for band, share in ((HEAD, 5), (MID, 8)):
        inside = [count for count, found in zip(counts, bands, strict=True) if found <= band]
        least = min(inside, default=0)
        assert 10 * sum(inside) >= share * sum(counts)
        assert 10 * sum(count for count in inside if count > least) < share * sum(counts) or not inside
        assert all(found <= band for count, found in zip(counts, bands, strict=True) if count >= least > 0)


def test_the_place_is_by_events_then_by_the_order_of_ties():
    known = interactions([(0, 1), (1, 1), (0, 2), (1, 3)], 2, 4)
    judged = holdout(known, interactions([(0, 0)], 2, 4))
    popularity = Popularity(judged)
    tied = sorted((2, 3), key=lambda item: judged.ties[item].item())
    assert popularity.place.argsort().tolist() == [1, *tied, 0]
    assert popularity.place_for(tensor([0, 1, 0]), tensor([3, 2, 0])).tolist() == [0, 0, 1]  # less what each had before it


def test_information_counts_people_once_and_only_those_with_a_history():
    known = interactions([(0, 0), (0, 0), (1, 0), (1, 1)], 4, 3)
    popularity = Popularity(holdout(known, interactions([(3, 2)], 4, 3)))
    assert popularity.events.tolist() == [3, 1, 0]
    assert popularity.information.tolist() == [0, 1, 1]  # 2 of 2 people, 1 of 2, nobody counted as 1 of 2
    assert torch.equal(popularity.tail, tensor([False, False, True]))
