"""Groups of items: exposure, merit and coverage by hand, what their intervals hold, lists beside tastes, the Lorenz curve."""

from math import isnan, log, log2, sqrt

import numpy as np
import pytest
import torch
from scipy import stats
from torch import tensor

from tests.evaluation.made import chance, graded, listed, random_lists, tables
from workbench.data.groups import Membership
from workbench.errors import RequestError
from workbench.evaluation import SET_METRICS, group_exposure, liked_shares, lorenz, membership, miscalibration, popularity_lift
from workbench.evaluation.exposure import Exposure
from workbench.evaluation.harness import Evaluation
from workbench.testing import interactions
from workbench.testing.synthetic import holdout


def of(*groups):
    """Of each item the letters of its groups: of("a", "ab", "") has three items, the last of no group."""
    letters = sorted(set("".join(groups)))
    return Membership(names=(*letters, "unknown"), member=tensor([[each in group for each in letters] + [not group] for group in groups]))


def alike(n_items, n_groups):
    """Every item in one group, the groups of as many items as each other."""
    return Membership(names=tuple("abcdefgh"[:n_groups]), member=torch.nn.functional.one_hot(torch.arange(n_items) % n_groups).bool())


def evaluation(judged, lists):
    """These lists, -1 where one ends, for the people judged."""
    return Evaluation(model="m", title="M", ks=(2,), lists=listed(judged, lists), per_user={}, fallback="popularity", tied_share=0.0)


def shown(lists, liked, n_items):
    """The same for people of whom nothing is known and who liked these: (person, item, grade)."""
    return evaluation(holdout(interactions([], len(lists), n_items), graded(liked, len(lists), n_items)), lists)


def by_name(groups):
    return {each.group: each for each in groups}


ITEMS = of("a", "ab", "b", "b", "")
LISTS = [[0, 1, 4], [2, -1, -1], [4, 0, 2]]
LIKED = [(0, 1, 1), (0, 4, 1), (1, 0, 2), (2, 3, 1), (2, 2, 1)]
SECOND = 1 / log2(3)
"""What the second place weighs; the first weighs 1 / log2(2) = 1, the third 1 / log2(4) = 1 / 2."""


# exposure


def test_exposure_by_hand():
    """Of two places each: item 0 of group a, half of item 1, which is in both groups; item 4 is in none. An empty place weighs nothing."""
    found = by_name(group_exposure(shown(LISTS, LIKED, 5), ITEMS, k=2))
    places = (1 + SECOND) + 1 + (1 + SECOND)
    expected = {"a": (1 + SECOND / 2) + 0 + SECOND, "b": SECOND / 2 + 1 + 0, "unknown": 0 + 0 + 1}
    assert {name: each.exposure.value for name, each in found.items()} == pytest.approx({n: at / places for n, at in expected.items()})
    assert list(found) == ["a", "b", "unknown"]
    assert {each.exposure.n for each in found.values()} == {3}


def test_only_the_first_k_places_count():
    result = shown(LISTS, LIKED, 5)
    first = by_name(group_exposure(result, ITEMS, k=1))
    assert [first[name].exposure.value for name in ("a", "b", "unknown")] == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    third = by_name(group_exposure(result, ITEMS, k=3))
    places = 2 * (1 + SECOND + 1 / 2) + 1
    assert third["unknown"].exposure.value == pytest.approx((1 / 2 + 1) / places)
    assert third["b"].exposure.value == pytest.approx((SECOND / 2 + 1 + 1 / 2) / places)


def test_merit_is_the_share_of_what_was_liked_whatever_its_grade():
    """Five events: item 1 is half of group a and half of b, item 0 of a, items 3 and 2 of b, item 4 of none."""
    found = by_name(group_exposure(shown(LISTS, LIKED, 5), ITEMS, k=2))
    assert [found[name].merit.value for name in ("a", "b", "unknown")] == pytest.approx([1.5 / 5, 2.5 / 5, 1 / 5])


def test_the_catalogue_counts_every_item_once_and_the_number_of_items_every_member():
    found = by_name(group_exposure(shown(LISTS, LIKED, 5), ITEMS, k=2))
    assert [found[name].catalogue for name in ("a", "b", "unknown")] == pytest.approx([1.5 / 5, 2.5 / 5, 1 / 5])
    assert [found[name].n_items for name in ("a", "b", "unknown")] == [2, 3, 1]


def test_the_difference_and_the_ratio_are_of_exposure_and_merit():
    found = group_exposure(shown(LISTS, LIKED, 5), ITEMS, k=2)
    for each in found:
        assert each.difference.value == pytest.approx(each.exposure.value - each.merit.value)
        assert each.ratio == pytest.approx(each.exposure.value / each.merit.value)


def test_where_nobody_liked_any_of_it_there_is_no_ratio():
    found = by_name(group_exposure(shown([[0, 1], [1, 0]], [(0, 0, 1), (1, 0, 1)], 2), of("a", "b"), k=2))
    assert (found["a"].ratio, found["a"].merit.value) == (pytest.approx(1 / 2), 1)
    assert found["b"].merit.value == 0
    assert isnan(found["b"].ratio)


@pytest.mark.parametrize("seed", range(3))
def test_all_groups_together_have_everything(seed):
    rng = np.random.default_rng(seed)
    groups = Membership(names=tuple("abcdef"), member=torch.from_numpy(rng.random((30, 6)) < 0.3))
    groups.member[~groups.member.any(1), 5] = True
    liked = [(user, int(item), 1) for user in range(40) for item in rng.choice(30, size=rng.integers(1, 5), replace=False)]
    found = group_exposure(shown(random_lists(rng, 40, 30, 8, shortest=1), liked, 30), groups, k=6)
    for share in ("exposure", "merit"):
        assert sum(getattr(each, share).value for each in found) == pytest.approx(1)
    assert sum(each.catalogue for each in found) == pytest.approx(1)
    assert sum(each.difference.value for each in found) == pytest.approx(0, abs=1e-12)


def test_a_list_of_nothing_weighs_nothing_and_no_list_at_all_says_nothing():
    one = by_name(group_exposure(shown([[0, 1], [-1, -1]], [(0, 0, 1), (1, 1, 1)], 2), of("a", "b"), k=2))
    assert one["a"].exposure.value == pytest.approx(1 / (1 + SECOND))
    assert one["b"].merit.value == 1 / 2


def test_where_every_list_is_empty_there_is_no_exposure_and_no_interval_of_one():
    for each in group_exposure(shown([[-1, -1]] * 4, [(user, 0, 1) for user in range(4)], 2), of("a", "b"), k=2):
        assert isnan(each.exposure.value)
        assert not (each.exposure.known and each.difference.known)
        assert each.merit.known
        assert each.covered.value == 0


def test_of_one_person_there_are_values_alone():
    found = by_name(group_exposure(shown([[0, 1]], [(0, 0, 1)], 2), of("a", "b"), k=2))
    assert found["a"].exposure.value == pytest.approx(1 / (1 + SECOND))
    assert not any(each.known for each in (found["a"].exposure, found["a"].merit, found["a"].difference, found["a"].covered))


def test_a_seed_says_which_resamples():
    result = shown(random_lists(np.random.default_rng(0), 30, 12, 4), [(user, user % 12, 1) for user in range(30)], 12)
    a, b, other = (group_exposure(result, alike(12, 3), k=4, seed=seed)[0].exposure for seed in (1, 1, 2))
    assert a == b
    assert (a.low, a.high) != (other.low, other.high)
    assert a.value == other.value


def exposure_rates(replications, seed, n=50):
    """For exposure, merit and difference the shares of intervals that hold what is true, one for each of three groups.

    Half of the people are eager: they like three items, four in five of group a; the others like one, of a once in five times. So are
    their ten places, each of which has an item for every group; of what is not of a, a tenth is of c. A place is of a with probability
    (0.8 + 0.2) / 2, a liked event with (3 · 0.8 + 1 · 0.2) / 4.
    """
    exposure, merit = (np.array([a, 0.9 * (1 - a), 0.1 * (1 - a)]) for a in ((0.8 + 0.2) / 2, (3 * 0.8 + 1 * 0.2) / 4))
    true = {"exposure": exposure, "merit": merit, "difference": exposure - merit}
    rng, held = np.random.default_rng(seed), {name: np.zeros(3) for name in true}
    groups = Membership(names=("a", "b", "c"), member=torch.eye(3).bool().repeat(10, 1))  # item 3 · place + group
    for replication in range(replications):
        eager = rng.random(n) < 0.5
        cuts = np.where(eager, 0.8, 0.2)[:, None, None] * [1, 0.1] + [0, 0.9]  # below the first a, below the second b, or else c
        lists, liked = (3 * np.arange(size) + (rng.random((n, size, 1)) >= cuts).sum(2) for size in (10, 3))
        events = [(user, int(item), 1) for user in range(n) for item in liked[user, : 3 if eager[user] else 1]]
        found = group_exposure(shown(lists, events, 30), groups, k=10, seed=replication)
        for name, truth in true.items():
            intervals = [getattr(each, name) for each in found]
            held[name] += [each.low <= at <= each.high for each, at in zip(intervals, truth, strict=True)]
    return {name: count / replications for name, count in held.items()}


def test_intervals_hold_what_is_true_of_exposure_merit_and_difference():
    """Of the rare group c, which has 3 or 4 of a hundred liked events, somewhat less often: 91 % of merits at the least."""
    rates = exposure_rates(200, seed=1)
    assert min(held[:2].min() for held in rates.values()) >= chance(0.95, 200)[0]
    assert min(held[2] for held in rates.values()) >= chance(0.91, 200)[0]
    assert max(held.max() for held in rates.values()) < 1


# coverage of a group


@pytest.mark.parametrize("seed", range(3))
def test_covered_is_counted_and_its_interval_is_the_jackknifes(seed):
    """value ± t · s, s² = (n - 1) / n · Σ (without - mean)², where one person after the other is left out and all is counted anew."""
    rng, n, k = np.random.default_rng(seed), 12, 4
    lists = random_lists(rng, n, 20, 6)
    groups = of(*["a"] * 7, *["b"] * 8, *["ab"] * 3, "", "")
    found = group_exposure(shown(lists, [(user, 0, 1) for user in range(n)], 20), groups, k=k)
    for each, inside in zip(found, groups.member.T.numpy(), strict=True):
        group = set(np.flatnonzero(inside).tolist())
        value, *without = (
            len(group & set(np.delete(lists, gone, axis=0)[:, :k].ravel().tolist())) / len(group) for gone in ([], *range(n))
        )
        half = stats.t.ppf(0.975, n - 1) * sqrt((n - 1) * np.var(without))
        assert (each.covered.value, each.covered.low, each.covered.high) == pytest.approx((value, value - half, value + half))
        assert each.covered.n == n


def test_covered_of_everything_is_the_coverage_of_the_set():
    lists = random_lists(np.random.default_rng(0), 30, 40, 10)
    result = shown(lists, [(user, user, 1) for user in range(30)], 40)
    (found,) = group_exposure(result, Membership(names=("all",), member=torch.ones(40, 1).bool()), k=5)
    assert found.covered == result.of_the_set("coverage", 5)
    assert 0 < found.covered.value < 1
    assert (found.exposure.value, found.exposure.low, found.exposure.high) == pytest.approx((1, 1, 1))
    assert (found.merit.value, found.difference.value, found.catalogue, found.n_items) == pytest.approx((1, 0, 1, 40))


def test_of_a_group_without_items_nothing_is_covered():
    groups = Membership(names=("a", "none"), member=tensor([[True, False]] * 4))
    found = by_name(group_exposure(shown([[0, 1], [1, 2], [2, 3]], [(user, 0, 1) for user in range(3)], 4), groups, k=2))
    assert (found["none"].n_items, found["none"].catalogue, found["none"].exposure.value, found["none"].covered.value) == (0, 0, 0, 0)
    assert found["a"].covered.value == 1


# lists beside tastes


def test_liked_shares_are_of_liked_events_an_item_shared_out_among_its_groups():
    """Person 0 liked item 0 (a) twice, item 1 (a and b) and item 4 (none), and not item 2; person 1 liked nothing, person 2 is unknown."""
    history = graded([(0, 0, 1), (0, 0, 3), (0, 1, 1), (0, 4, 1), (0, 2, 0), (1, 3, 0), (3, 2, 2)], 4, 5)
    found = liked_shares(history, tensor([3, 0, 1, 2]), ITEMS)
    assert found.dtype == torch.float64
    assert found.tolist() == [[0, 1, 0], [2.5 / 4, 0.5 / 4, 1 / 4], [0, 0, 0], [0, 0, 0]]


def test_miscalibration_by_hand():
    """Liked: half a, half b. The list has a, a and an item of both: 5 / 6 a, 1 / 6 b; a hundredth of the taste is mixed in."""
    q = 0.99 * 5 / 6 + 0.01 / 2, 0.99 * 1 / 6 + 0.01 / 2
    (found,) = miscalibration(tensor([[0, 2, 1]]), of("a", "ab", "a"), tensor([[0.5, 0.5, 0]]).double()).tolist()
    assert found == pytest.approx(0.5 * log(0.5 / q[0]) + 0.5 * log(0.5 / q[1]))


def test_miscalibration_is_zero_for_a_list_like_the_taste_and_the_log_of_a_hundred_for_one_that_has_none_of_it():
    groups, target = of("a", "b", "ab"), tensor([[0.5, 0.5, 0], [0.5, 0.5, 0], [1, 0, 0], [0.25, 0.75, 0]]).double()
    lists = tensor([[0, 1], [2, -1], [1, -1], [2, 1]])
    assert miscalibration(lists, groups, target).tolist() == pytest.approx([0, 0, log(1 / 0.01), 0], abs=1e-12)


def test_the_order_of_a_list_and_where_it_ends_change_no_miscalibration():
    groups, target = of("a", "b", "ab", "c"), tensor([[0.2, 0.5, 0.3, 0]]).double().expand(3, 4)
    a, b, c = miscalibration(tensor([[0, 1, 3, -1], [3, 0, 1, -1], [1, 3, 0, -1]]), groups, target).tolist()
    assert a == pytest.approx(b) == pytest.approx(c)
    assert a > 0


def test_miscalibration_is_scipys_relative_entropy():
    rng = np.random.default_rng(0)
    groups = Membership(names=tuple("abcdef"), member=torch.from_numpy(rng.random((50, 6)) < 0.3))
    groups.member[~groups.member.any(1), 0] = True
    lists = random_lists(rng, 200, 50, 7, shortest=1)
    target = torch.from_numpy(rng.dirichlet([0.5] * 6, size=200) * (rng.random((200, 6)) < 0.7))
    target = target / target.sum(1, keepdim=True).clamp(min=1e-300)
    listed_shares = np.array([groups.shares.numpy()[row[row >= 0]].mean(0) for row in lists])
    expected = stats.entropy(target.numpy(), 0.99 * listed_shares + 0.01 * target.numpy(), axis=1)
    told = (target > 0).any(1).numpy()
    found = miscalibration(torch.from_numpy(lists), groups, target).numpy()
    np.testing.assert_allclose(found[told], expected[told], atol=1e-12)
    assert np.isnan(found[~told]).all()


def test_miscalibration_is_never_below_zero():
    """Everybody is shown what they liked before, so that list and taste are one and the same, but for the last digit."""
    rng = np.random.default_rng(0)
    groups = of(*("".join(rng.permutation(list("abcdef"))[: rng.integers(1, 5)]) for _ in range(50)))
    lists = random_lists(rng, 300, 50, 7, shortest=1)
    history = interactions([(user, int(item)) for user, row in enumerate(lists) for item in row[row >= 0]], 300, 50)
    found = miscalibration(torch.from_numpy(lists), groups, liked_shares(history, torch.arange(300), groups))
    assert found.max() < 1e-12
    assert found.min() >= 0


def test_who_liked_nothing_or_has_no_list_has_no_miscalibration():
    target = tensor([[0.0, 0, 0], [0.5, 0.5, 0], [1, 0, 0]]).double()
    found = miscalibration(tensor([[0, 1], [-1, -1], [0, -1]]), of("a", "b"), target)
    assert found.isnan().tolist() == [True, True, False]


def test_the_taste_of_a_history_is_what_a_list_of_that_history_is_calibrated_to():
    history = interactions([(0, 0), (0, 1), (0, 3), (1, 2), (1, 4)], 2, 5)
    target = liked_shares(history, tensor([0, 1]), ITEMS)
    assert miscalibration(tensor([[0, 1, 3], [2, 4, -1]]), ITEMS, target).tolist() == pytest.approx([0, 0], abs=1e-12)


def lift(lists, k):
    """Events: item 0 four, item 1 two, item 2 one, item 3 one, item 4 none. Persons 0 and 2 liked items 0 and 1, person 1 items 0 and 3;
    of person 3 only a dislike is known, of person 4 nothing.
    """
    known = [(0, 0, 1), (0, 1, 1), (0, 2, 0), (1, 0, 1), (2, 0, 1), (2, 1, 2), (3, 0, 0), (1, 3, 1)]
    judged = holdout(graded(known, 5, 5), graded([(user, 4, 1) for user in range(5)], 5, 5))
    return popularity_lift(evaluation(judged, lists), k)


def test_popularity_lift_by_hand():
    """What persons 0 and 2 liked has (4 + 2) / 2 events, what person 1 liked (4 + 1) / 2."""
    lists = [[3, 4, 1], [2, -1, -1], [0, 1, 4], [0, 1, 2], [1, 2, 3]]
    found = lift(lists, k=2)
    assert found.dtype == torch.float64
    assert found[:3].tolist() == pytest.approx([(1 + 0) / 2 / 3 - 1, 1 / 2.5 - 1, (4 + 2) / 2 / 3 - 1])
    assert found[2] == 0
    assert found[3:].isnan().all()
    assert lift(lists, k=3)[:3].tolist() == pytest.approx([(1 + 0 + 2) / 3 / 3 - 1, 1 / 2.5 - 1, (4 + 2 + 0) / 3 / 3 - 1])


def test_who_has_no_list_has_no_popularity_lift():
    found = lift([[-1, -1], [0, -1], [0, 1], [-1, -1], [0, 1]], k=2)
    assert found.isnan().tolist() == [True, False, False, True, True]
    assert found[1] == pytest.approx(4 / 2.5 - 1)


# the Lorenz curve


def test_where_all_items_are_shown_alike_the_curve_is_the_diagonal():
    curve = lorenz(torch.arange(12).reshape(4, 3), 12)
    assert len(curve) == 101
    assert curve == [pytest.approx((share, share)) for share in np.linspace(0, 1, 101)]


def test_where_one_item_takes_all_the_curve_is_flat_up_to_the_last_item():
    curve = lorenz(torch.zeros(5, 1, dtype=torch.int64), 4, ranks=[0, 0.25, 0.5, 0.75, 0.875, 1])
    assert curve == [(0, 0), (0.25, 0), (0.5, 0), (0.75, 0), (0.875, pytest.approx(0.5)), (1, 1)]


def test_the_curve_by_hand():
    """Four items are shown 0, 1, 2 and 5 times, in eight places of lists of different lengths."""
    lists = tensor([[3, 2], [3, 2], [3, 1], [3, -1], [3, -1]])
    curve = dict(lorenz(lists, 4, ranks=[0, 0.25, 0.5, 0.625, 0.75, 1]))
    assert curve == pytest.approx({0: 0, 0.25: 0 / 8, 0.5: 1 / 8, 0.625: (1 + 2 / 2) / 8, 0.75: 3 / 8, 1: 8 / 8})


@pytest.mark.parametrize("seed", range(4))
def test_twice_the_area_under_the_curve_is_what_gini_lacks_of_one(seed):
    rng = np.random.default_rng(seed)
    lists = torch.from_numpy(random_lists(rng, 25, 30, 6, shortest=1)) % 17  # some items twice as often as others, some never
    shares, held = zip(*lorenz(lists, 30, ranks=np.linspace(0, 1, 31).tolist()), strict=True)
    gini = SET_METRICS["gini"].function(Exposure(lists, 30))[0].item()
    assert 1 - 2 * np.trapezoid(held, shares) == pytest.approx(gini)
    assert (np.diff(held) >= 0).all()
    assert (np.diff(held, n=2) >= -1e-12).all()  # convex: the least shown come first
    assert gini > 0.2


def test_where_nothing_is_shown_the_curve_lies_at_zero():
    assert lorenz(torch.full((3, 2), -1), 5, ranks=[0, 0.5, 1]) == [(0, 0), (0.5, 0), (1, 0)]


# which groups


def test_popularity_is_a_grouping_that_every_data_set_has():
    """Ten events: item 0 has five, half of them; item 1 three and so four fifths with it; items 2 and 3 one each, item 4 none."""
    counts = {0: 5, 1: 3, 2: 1, 3: 1}
    history = interactions([(user, item) for item, count in counts.items() for user in range(count)], 5, 5)
    found = membership(tables(items={"genre": ["x"] * 5}), history, "popularity")
    assert found.names == ("head", "mid", "tail")
    assert found.member.dtype == torch.bool
    assert [torch.nonzero(inside)[:, 0].tolist() for inside in found.member.T] == [[0], [1], [2, 3, 4]]


def test_a_band_without_items_is_still_named():
    history = interactions([(0, 0), (1, 1)], 2, 3)  # two items of half of the events each, as popular as each other
    assert membership(tables(items={"genre": ["x"] * 3}), history, "popularity").member.sum(0).tolist() == [2, 0, 1]


def test_a_grouping_of_the_card_or_a_column_groups_items_and_other_names_are_refused():
    data = tables({"gender": ["F", "M"]}, {"class": ["a b", "b", None]}, genre={"table": "items", "column": "class", "separator": " "})
    history = interactions([(0, 0)], 2, 3)
    assert membership(data, history, "genre").names == ("b", "a", "unknown")
    assert membership(data, history, "class").names == ("a b", "b", "unknown")
    with pytest.raises(RequestError, match='"gender" groups people, and items are to be grouped'):
        membership(data, history, "gender")
    with pytest.raises(RequestError, match=r'no grouping or column "gnre"\. Did you mean "genre"'):
        membership(data, history, "gnre")


def test_an_items_band_is_of_what_was_known_and_not_of_what_was_shown():
    """Everybody is shown the one item of the tail; they liked the head."""
    counts = {0: 6, 1: 3, 2: 1}
    history = interactions([(user, item) for item, count in counts.items() for user in range(count)], 6, 3)
    result = shown([[2, -1]] * 6, [(user, 0, 1) for user in range(6)], 3)
    found = by_name(group_exposure(result, membership(tables(), history, "popularity"), k=2))
    assert {name: (each.exposure.value, each.merit.value) for name, each in found.items()} == {
        "head": (0, 1),
        "mid": (0, 0),
        "tail": (1, 0),
    }
    assert found["tail"].difference.value == 1
