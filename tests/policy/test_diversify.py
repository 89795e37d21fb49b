"""Lists of items that differ: MMR by the paper's formula, the DPP by determinants, and cases that one can work out."""

from math import log

import numpy as np
import pytest
import torch
from torch import tensor

from tests.policy.made import facts, listed, pool, random_pool, relevance, slow_fill
from workbench.errors import RequestError
from workbench.policy.diversify import Dpp, Mmr
from workbench.policy.limits import Limit

ALIKE = tensor([[1.0, 0], [2, 0], [0, 3], [0, 0]])
"""Items 0 and 1 are the same but for length, 2 is at a right angle to them, 3 is like nothing, itself included."""


def mmr(weight, **more):
    return Mmr(kind="mmr", weight=weight, **more)


def dpp(weight, **more):
    return Dpp(kind="dpp", weight=weight, **more)


def order(step, start, vectors):
    return listed(step.apply(start, facts(vectors=vectors)).items)


def cosines(vectors):
    lengths = np.linalg.norm(vectors, axis=1)
    unit = vectors / np.where(lengths > 0, lengths, 1)[:, None]
    return unit @ unit.T


def made_vectors(rng, n_items=12, d=4):
    vectors = rng.normal(size=(n_items, d))
    vectors[rng.integers(n_items)] = 0
    return vectors


def limited(rng, start):
    return start.limited(Limit(groups=torch.from_numpy(rng.integers(-1, 3, size=12)), most=2)) if rng.random() < 0.5 else start


@pytest.mark.parametrize("weight", [0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("seed", range(8))
def test_mmr_is_the_formula_of_the_paper(weight, seed):
    """argmax λ · relevance - (1 - λ) · max cosine, the first by relevance; with limits in half of the cases."""
    rng = np.random.default_rng([seed, round(10 * weight)])
    vectors = made_vectors(rng)
    start, like = limited(rng, random_pool(rng, 5, 10, 6)), cosines(vectors)

    def gain(row, chosen, item):
        own = weight * relevance(start, row)[item]
        return own - (1 - weight) * max(like[item, each] for each in chosen) if chosen else own

    assert order(mmr(weight), start, torch.from_numpy(vectors)) == slow_fill(start, gain)


@pytest.mark.parametrize("likeness", [0.3, 0.9])
@pytest.mark.parametrize("weight", [0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_each_place_adds_most_to_the_determinant(weight, likeness, seed):
    """log det of the likeness of the chosen and the candidate, less that of the chosen; 1 on the diagonal."""
    rng = np.random.default_rng([seed, round(10 * weight), round(10 * likeness)])
    vectors = made_vectors(rng)
    start, kernel = limited(rng, random_pool(rng, 5, 10, 6)), likeness * cosines(vectors)
    np.fill_diagonal(kernel, 1)

    def volume(items):
        return np.linalg.slogdet(kernel[np.ix_(items, items)])[1] if items else 0.0

    def gain(row, chosen, item):
        return round(weight * relevance(start, row)[item] + (1 - weight) * (volume([*chosen, item]) - volume(chosen)), 12)

    assert order(dpp(weight, likeness=likeness), start, torch.from_numpy(vectors)) == slow_fill(start, gain)


@pytest.mark.parametrize("step", [mmr(1.0), dpp(1.0), dpp(0.5, likeness=0.0)])
def test_where_relevance_or_no_likeness_is_all_that_counts_the_order_stays(step):
    start = pool([[3, 1, 0, 2], [2, 0, 1], []], k=4)
    assert order(step, start, ALIKE) == [[3, 1, 0, 2], [2, 0, 1], []]


def test_mmr_puts_the_same_again_where_its_relevance_ends():
    """Relevance 1, 0.9, 0. Second place: item 1 has 0.9 w - (1 - w), item 2 nothing; the former is more where w > 1 / 1.9."""
    start = pool([[0, 1, 2]], [[1.0, 0.9, 0.0]])
    assert order(mmr(1 / 1.9 + 0.01), start, ALIKE) == [[0, 1, 2]]
    assert order(mmr(1 / 1.9 - 0.01), start, ALIKE) == [[0, 2, 1]]


def test_the_determinant_puts_the_same_again_where_its_relevance_ends():
    """Second place: item 1 has 0.9 w + (1 - w) · log(1 - 0.9²), item 2 nothing."""
    even = -log(1 - 0.9**2) / (0.9 - log(1 - 0.9**2))
    start = pool([[0, 1, 2]], [[1.0, 0.9, 0.0]])
    assert order(dpp(even + 0.01), start, ALIKE) == [[0, 1, 2]]
    assert order(dpp(even - 0.01), start, ALIKE) == [[0, 2, 1]]


def test_the_same_items_are_all_shown_where_there_is_nothing_else():
    """A determinant of 0 would forbid the second."""
    same = torch.ones(12, 2)
    for step in (mmr(0.3), mmr(0.0), dpp(0.3), dpp(0.0, likeness=0.999999999999)):
        assert order(step, pool([[5, 4, 3, 2, 1]], k=5), same) == [[5, 4, 3, 2, 1]]


def test_items_like_nothing_are_in_nobodys_way():
    for step in (mmr(0.0), dpp(0.0), mmr(0.5), dpp(0.5)):
        assert order(step, pool([[3, 2, 1, 0]], k=4), torch.zeros(12, 2)) == [[3, 2, 1, 0]]
    for step in (mmr(0.0), dpp(0.0)):
        assert order(step, pool([[0, 1, 3, 2]], k=4), ALIKE) == [[0, 3, 2, 1]]


def test_opposites_are_better_than_strangers_for_mmr_and_as_bad_as_the_same_for_a_determinant():
    """Cosine -1 against 0: MMR gains from it, the square in the determinant does not know its sign."""
    vectors = tensor([[1.0, 0], [-1, 0], [0, 1]])
    assert order(mmr(0.0), pool([[0, 2, 1]]), vectors) == [[0, 1, 2]]
    assert order(dpp(0.0), pool([[0, 1, 2]]), vectors) == [[0, 2, 1]]


def test_only_the_list_is_chosen_and_the_others_follow_in_their_order():
    assert order(mmr(0.1), pool([[0, 1, 3, 2]], k=2), ALIKE) == [[0, 3, 1, 2]]


def test_the_length_of_vectors_does_not_matter():
    rng = np.random.default_rng(3)
    vectors = torch.from_numpy(made_vectors(rng))
    start, scale = random_pool(rng, 4, 8, 5), torch.from_numpy(rng.uniform(0.1, 10, size=(12, 1)))
    for step in (mmr(0.4), dpp(0.4)):
        assert order(step, start, vectors) == order(step, start, scale * vectors)


def test_without_vectors_likeness_is_of_the_groupings_that_the_card_names():
    """Items 0 and 7 are comedies and nothing else, 3 is of war: MMR without relevance takes 3 second."""
    assert listed(mmr(0.0).apply(pool([[0, 7, 3]]), facts()).items) == [[0, 3, 7]]


@pytest.mark.parametrize("step", [mmr(0.5), dpp(0.5)])
def test_without_vectors_or_a_grouping_there_is_nothing_to_measure_likeness_on(step):
    with pytest.raises(RequestError, match="made: likeness between items needs a grouping of items in the card, or vectors"):
        step.apply(pool([[0, 1]]), facts({"title": ["a", "b"]}))
