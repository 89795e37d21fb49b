"""Rounds of recommending, clicking and learning again, in worlds whose truth says what a list is worth."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import tensor

from workbench.coldstart import Round, closed_loop, small_worlds
from workbench.coldstart import loop as loop_file
from workbench.evaluation.ranking import NOTHING
from workbench.testing import World
from workbench.testing.truth import WorldConfig

K, ROUNDS = 5, 3


def world(seed=0):
    return World(WorldConfig(n_users=60, n_items=60, n_requests=300, cold_items=0.15, seed=seed))


@pytest.fixture(scope="module")
def loops():
    """Of three worlds: as learnt, and with a fifth of the places at random."""
    return [[closed_loop(world(seed), share=share, rounds=ROUNDS, k=K) for share in (0.0, 0.2)] for seed in range(3)]


@pytest.fixture
def answered(monkeypatch):
    """Lists and clicks of each round, in order."""
    found, real = [], loop_file._answers

    def remember(lists, *rest):
        clicks = real(lists, *rest)
        found.append((lists, clicks))
        return clicks

    monkeypatch.setattr(loop_file, "_answers", remember)
    return found


def test_a_round_by_hand():
    """Three people, four items; item 0 led when the loop began, item 2 is cold. Places are looked at with 1 and 1 / 2.

    Shown: item 0 three times, 1 twice, 2 once. Persons 0 and 2 share both items, each of them one with person 1.
    """
    lists = tensor([[0, 1], [0, 2], [1, 0]])
    chance = np.array([[0.4, 0.2, 0.9, 0.9], [0.1, 0.9, 0.6, 0.9], [0.5, 0.3, 0.9, 0.9]])
    told = loop_file._told(lists, chance, np.array([1.0, 0.5]), tensor([True, False, False, False]), np.array([False, False, True, False]))
    assert told.clicks == pytest.approx(((0.4 + 0.2 / 2) + (0.1 + 0.6 / 2) + (0.3 + 0.5 / 2)) / 3)
    assert told.coverage == 3 / 4
    counts = [3, 2, 1, 0]
    apart = sum(abs(x - y) for x in counts for y in counts) / 4**2
    assert told.gini == pytest.approx(apart / 2 / (6 / 4))
    assert told.head == 3 / 6
    assert told.cold == pytest.approx(1 / 6)
    assert told.alike == pytest.approx((2 * 1 + 4 * 1 / 2) / 6), "over the six ordered pairs"


def test_lists_that_are_all_the_same_or_have_nothing_in_common():
    nobody = (np.zeros((2, 4)), np.ones(2), tensor([False] * 4), np.array([False] * 4))
    same, apart = (loop_file._told(tensor(lists), *nobody) for lists in ([[0, 1], [1, 0]], [[0, 1], [2, 3]]))
    assert (same.alike, apart.alike) == (1, 0)
    assert (same.coverage, apart.coverage) == (1 / 2, 1)
    assert (same.gini, apart.gini) == (pytest.approx(1 / 2), 0)


def test_who_clicks_looks_and_likes_by_their_own_luck():
    """Luck below .6 for looking and below .5 for liking is enough at a place that .6 look at, of an item that half like."""
    luck = np.array([[[0.1, 0.7, 0.5, 0.1]], [[0.4, 0.4, 0.6, 0.1]]])
    answers = loop_file._answers(tensor([[0, 1, 2, NOTHING]]), np.full((1, 4), 0.5), np.full(4, 0.6), luck)
    assert answers == [(0, 0)], "item 1 is not looked at, item 2 not liked, and an empty place holds nothing"


def test_as_learnt_nothing_is_random(loops):
    assert closed_loop(world(), share=0.0, rounds=ROUNDS, k=K) == loops[0][0]


def test_the_same_seed_draws_the_same_places_and_another_others(loops):
    again, other = (closed_loop(world(), share=0.2, rounds=ROUNDS, k=K, seed=seed) for seed in (0, 1))
    assert again == loops[0][1]
    assert other != loops[0][1]


def test_measures_are_in_their_range(loops):
    for both in loops:
        for rounds in both:
            assert len(rounds) == ROUNDS
            for each in rounds:
                assert isinstance(each, Round)
                assert all(0 <= value <= 1 for name, value in asdict(each).items() if name != "clicks")
                assert 0 < each.clicks < sum(place**-0.7 for place in range(1, K + 1)), "no more than places that are looked at"
                assert each.coverage >= K / 60


def test_places_at_random_show_more_of_the_catalogue(loops):
    """In every world, in the first round as in the mean over rounds; and lists are less alike."""
    for learnt, random in loops:
        assert random[0].coverage > learnt[0].coverage + 0.1
        assert random[0].alike < learnt[0].alike
    coverage, spread = (np.mean([[getattr(each, name) for each in both[1]] for both in loops]) for name in ("coverage", "gini"))
    assert coverage > np.mean([[each.coverage for each in both[0]] for both in loops]) + 0.1
    assert spread < np.mean([[each.gini for each in both[0]] for both in loops])


def test_popularity_shows_what_it_showed_before_for_ever():
    """Everybody gets the K most clicked; what is not shown gets no click, so the K stay first: K of 60 items, all lists alike."""
    for seed in range(3):
        rounds = closed_loop(world(seed), "popularity", rounds=4, k=K)
        assert [(each.coverage, each.alike) for each in rounds] == [(K / 60, 1)] * 4
        assert len({each.head for each in rounds}) == 1
        assert rounds[0].head >= 1 - 1 / K, "all but one at most are of the six that led: of equals another may be taken"
        assert [each.gini for each in rounds] == pytest.approx([1 - K / 60] * 4)


def test_loops_of_one_world_have_the_same_luck(answered):
    """In the first round of popularity, as learnt and with places at random: whoever is shown an item at the same place answers alike."""
    closed_loop(world(), "popularity", rounds=1, k=K)
    closed_loop(world(), "popularity", rounds=1, k=K)
    closed_loop(world(), "popularity", share=0.3, rounds=1, k=K)
    (lists, clicks), (_, again), (drawn, others) = answered
    assert clicks == again
    same = [(user, lists[user, place].item()) for user, place in torch.nonzero(lists == drawn).tolist()]
    assert 20 < len(same) < lists.numel(), "some places are as they were"
    assert {pair for pair in clicks if pair in same} == {pair for pair in others if pair in same} != set()


def test_another_round_is_other_luck(answered):
    """Popularity shows the same items each time, and they are not clicked by the same people."""
    closed_loop(world(), "popularity", rounds=2, k=K)
    (first, clicks), (second, later) = answered
    assert torch.equal(first.sort(1).values, second.sort(1).values)
    assert set(clicks) != set(later)


def test_each_round_of_each_world_draws_places_of_its_own(monkeypatch):
    """Intervals are over worlds, so which places are drawn in one should not be what is drawn in the next."""
    seeds, real = [], loop_file.draw

    def remember(pool, share, seed):
        seeds.append(seed)
        return real(pool, share, seed)

    monkeypatch.setattr(loop_file, "draw", remember)
    for number in range(2):
        closed_loop(world(number), "popularity", share=0.2, rounds=2, k=K)
    assert len(seeds) == len(set(seeds)) == 4


def test_the_next_model_learns_from_the_clicks_on_what_was_shown(answered, monkeypatch):
    logs, real = [], loop_file._lists

    def remember(model, log, *rest):
        logs.append(list(zip(log.users.tolist(), log.items.tolist(), strict=True)))
        return real(model, log, *rest)

    monkeypatch.setattr(loop_file, "_lists", remember)
    closed_loop(world(), "popularity", rounds=3, k=K)
    frame = world().frame()
    clicked = frame[frame["event"] == "click"]
    names = zip(clicked["user_id"], clicked["item_id"], strict=True)
    assert sorted(logs[0]) == sorted({(int(user[1:]), int(item[1:])) for user, item in names}), "at first from the world's own log"
    assert sorted(logs[1]) == sorted(logs[0] + answered[0][1])
    assert sorted(logs[2]) == sorted(logs[1] + answered[1][1])


def test_clicks_of_a_round_are_what_the_truth_expects(answered):
    """Of 60 people in 20 rounds; within 4 standard deviations of the mean."""
    rounds = closed_loop(world(), "popularity", rounds=20, k=K)
    got = [len(clicks) / 60 for _, clicks in answered]
    assert np.mean(got) == pytest.approx(np.mean([each.clicks for each in rounds]), abs=4 * np.std(got) / np.sqrt(20))


def test_small_worlds_differ_and_are_the_same_each_time():
    worlds, again = small_worlds(2, 3), small_worlds(2, 3)
    assert [each.config for each in worlds] == [each.config for each in again]
    assert worlds[0].config.seed != worlds[1].config.seed
    assert {each.config.seed for each in small_worlds(2, 4)}.isdisjoint(each.config.seed for each in worlds)
    assert all((each.config.n_users, each.config.n_items, each.truth.cold.sum()) == (200, 200, 30) for each in worlds)
