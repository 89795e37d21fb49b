"""What it costs to find out about new items, in worlds whose truth says what everything would have got."""

import numpy as np
import pytest

from workbench.coldstart import Setting, explore
from workbench.coldstart.exploration import POLICIES, WARM_ONLY
from workbench.testing import World
from workbench.testing.truth import WorldConfig

NAMES = (WARM_ONLY, *POLICIES)
SETTING = Setting(requests=600, warm=10, cold=5)
SEGMENTS = 2


def world(seed=0, **more):
    config = {"n_users": 100, "n_items": 100, "n_requests": 10, "cold_items": 0.3, "drift": 0.0, "segments": SEGMENTS, "click_rate": 0.2}
    return World(WorldConfig(**{**config, **more}, seed=seed))


def arms(some_world, setting):
    """Codes of the most shown warm items, and of all the cold ones."""
    truth = some_world.truth
    warm = sorted(np.flatnonzero(~truth.cold).tolist(), key=lambda item: truth.rank[item])
    return warm[: setting.warm], np.flatnonzero(truth.cold).tolist()


def expected(some_world, items):
    """(n_users, items): clicks of everybody by the truth, when everything is on offer; nothing drifts."""
    users = np.arange(some_world.config.n_users)[:, None]
    late = some_world.config.first_moment + some_world.config.span - 1
    return some_world.truth.preference(users, np.array(items)[None], np.full((1, 1), late))


@pytest.fixture(scope="module")
def found():
    """Three worlds of twelve segments, as the notebook has them."""
    return [explore(world(seed, segments=12, taste=2.0, click_rate=0.1), SETTING) for seed in range(3)]


class Fixed:
    """A bandit that shows one item and then the next, whatever it is told; and what each of its kind was told."""

    told: list
    seeds: list
    offered: list

    def __init__(self, arms, learning_policy, seed):
        self.arms, self.place, self.is_contextual = list(arms), 0, False
        self.answers = []
        Fixed.told.append(self.answers)
        Fixed.seeds.append(seed)
        Fixed.offered.append(self.arms)

    def fit(self, decisions, rewards):
        self.answers.append((list(decisions), list(rewards)))

    def add_arm(self, arm):
        self.arms.append(arm)

    def predict(self):
        self.place += 1
        return self.arms[self.place % 3]

    partial_fit = fit


@pytest.fixture
def fixed(monkeypatch):
    Fixed.told, Fixed.seeds, Fixed.offered = [], [], []
    monkeypatch.setattr("mabwiser.mab.MAB", Fixed)
    return Fixed


def test_regret_and_cost_are_sums_that_go_with_the_requests(found):
    for each in found:
        assert list(each) == list(NAMES)
        for name, explored in each.items():
            assert explored.policy == name
            assert explored.regret.shape == explored.cost.shape == (600,)
            assert (np.diff(explored.regret, prepend=0.0) >= 0).all(), "nothing is better than the best"
            assert np.allclose(explored.cost, explored.regret - each[WARM_ONLY].regret), "whom it is held against cancels the best"
            assert 0 <= explored.cold_share <= 1


def test_regret_is_the_best_less_the_shown_by_hand(fixed):
    """Nobody differs, so an item is worth the same to everyone. The bandit shows arms 1, 2, 0, 1, 2, 0 …, the best shown items."""
    alike, setting = world(taste=0.0), Setting(requests=7, batch=3, warm=10, cold=30, tried=4)
    warm, cold = arms(alike, setting)
    worth = expected(alike, [*warm, *cold])[0]
    shown = [worth[arm] for arm in (1, 2, 0, 1, 2, 0, 1)]
    for explored in explore(alike, setting).values():
        assert explored.regret == pytest.approx(np.cumsum([worth.max() - each for each in shown]))
        assert not explored.cost.any()
        assert (explored.cold_share, explored.cold_tried) == (0, 0)


def test_every_policy_sees_the_same_luck(fixed):
    """All show the same here, so all are told the same: before, and in batches of 3, 3 and 1."""
    explore(world(), Setting(requests=7, batch=3, warm=10, cold=5, tried=4))
    first, *others = fixed.told
    assert len(others) == len(POLICIES)
    assert all(each == first for each in others)
    before, *batches = first
    assert before[0] == [arm for arm in range(10) for _ in range(4)], "each warm item was shown four times before"
    assert [len(decisions) for decisions, _ in batches] == [3, 3, 1]
    assert {click for _, rewards in first for click in rewards} <= {0, 1}


def test_what_was_tried_before_got_what_the_truth_says(fixed):
    """10 items shown 2,000 times each: 5 standard deviations, of ten."""
    alike = world(taste=0.0)
    explore(alike, Setting(requests=1, warm=10, cold=5, tried=2000))
    decisions, clicks = (np.array(each) for each in fixed.told[0][0])
    worth = expected(alike, arms(alike, SETTING)[0])[0]
    for arm, chance in enumerate(worth):
        assert clicks[decisions == arm].mean() == pytest.approx(chance, abs=5 * np.sqrt(chance * (1 - chance) / 2000))


def test_only_the_one_that_the_others_are_held_against_is_told_of_no_cold_item(fixed):
    explore(world(), Setting(requests=3, warm=10, cold=5))
    assert fixed.offered == [list(range(10)), *[list(range(15))] * len(POLICIES)]


def test_who_is_told_of_no_cold_item_shows_none(found):
    for each in found:
        assert (each[WARM_ONLY].cold_share, each[WARM_ONLY].cold_tried) == (0, 0)
        assert not each[WARM_ONLY].cost.any()


def test_greedy_is_warm_only_while_it_tries_nothing_cold(found):
    """What nobody tried has no click, and no click is less than some."""
    for each in found:
        assert each["greedy"].cold_share == 0
        assert np.array_equal(each["greedy"].regret, each[WARM_ONLY].regret)


def test_who_explores_shows_cold_items(found):
    for each in found:
        for name in ("epsilon_greedy", "thompson", "lin_ucb"):
            assert each[name].cold_share > 0.02
        assert each["lin_ucb"].cold_tried == 1.0


def test_the_same_seed_shows_the_same_and_another_something_else():
    once, again, other = (explore(world(), Setting(requests=300, warm=10, cold=5, seed=seed)) for seed in (0, 0, 1))
    for name in NAMES:
        assert np.array_equal(once[name].regret, again[name].regret)
        assert not np.array_equal(once[name].regret, other[name].regret)


@pytest.mark.parametrize("seed", [0, 1])
def test_where_taste_differs_by_segment_who_looks_at_the_segment_wins_in_the_end(seed):
    """One item for everyone gets .2 clicks a request less, by the truth, than the best for each segment. To find that out costs each of
    15 items a few dozen requests of each segment, once; the .2 come with every one of 1,500 requests.
    """
    divided, setting = world(seed, taste=5.0), Setting(requests=1500, warm=10, cold=5)
    worth = expected(divided, arms(divided, setting)[0])
    share, segment = divided.truth.activity, divided.truth.segment
    one = (share @ worth).max()
    each = sum((share[segment == k] @ worth[segment == k]).max() for k in range(SEGMENTS))
    assert each - one > 0.2
    explored = explore(divided, setting)
    assert explored["lin_ucb"].cost[-1] < -0.1 * 1500
    assert explored["lin_ucb"].regret[-1] < 0.5 * min(explored[name].regret[-1] for name in NAMES if name != "lin_ucb")
    late = np.diff(explored["lin_ucb"].regret)[-500:].mean()
    assert late < 0.5 * np.diff(explored[WARM_ONLY].regret)[-500:].mean()


def test_worlds_are_explored_with_coins_of_their_own(fixed):
    """Intervals are over worlds, so a policy's luck in one says nothing of its luck in the next; in one world all have the same coins."""
    for seed in (0, 1):
        explore(world(seed), Setting(requests=3, warm=10, cold=5, seed=7))
    first, second = fixed.seeds[: len(NAMES)], fixed.seeds[len(NAMES) :]
    assert len(set(first)) == len(set(second)) == 1
    assert first != second


def test_where_the_new_items_are_better_they_are_shown_more():
    """Everybody likes the same. In some worlds the best cold item is better than any warm one, in others worse, by .05 or more."""
    shares = {True: [], False: []}
    for seed in range(12):
        alike, setting = world(seed, taste=0.0, drift=6.0, n_items=30, cold_items=0.2), Setting(requests=500, warm=10, cold=6)
        warm, cold = arms(alike, setting)
        worth = expected(alike, [*warm, *cold])[0]
        ahead = worth[10:].max() - worth[:10].max()
        if abs(ahead) > 0.05:
            shares[ahead > 0].append(explore(alike, setting)["thompson"].cold_share)
    assert min(len(each) for each in shares.values()) >= 3
    assert np.mean(shares[True]) > np.mean(shares[False]) + 0.3


@pytest.mark.parametrize(("warm", "cold", "there"), [(80, 5, (70, 30)), (10, 31, (70, 30)), (71, 30, (70, 30))])
def test_too_few_items_of_a_kind_are_refused(warm, cold, there):
    with pytest.raises(ValueError, match=f"^{there[0]} warm and {there[1]} cold items are too few for {warm} and {cold}.$"):
        explore(world(), Setting(warm=warm, cold=cold))


def test_all_items_of_a_kind_are_enough():
    explored = explore(world(n_items=20), Setting(requests=50, warm=14, cold=6))
    assert explored["greedy"].regret.shape == (50,)
