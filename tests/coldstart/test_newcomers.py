"""Who is new and what is known of them, against a plain loop over the log; and what nobody had."""

import pytest
import torch

from tests.coldstart.made import Event, had, log, new_people, some_events, timelines
from tests.evaluation.made import Scores
from workbench.coldstart import new_items, newcomers, parse_depths, unmet
from workbench.coldstart.newcomers import TO_FIND
from workbench.data.holdout import sealed_part
from workbench.data.splits import split
from workbench.errors import NotApplicable, RequestError
from workbench.evaluation import evaluate
from workbench.models import create

DEPTHS = (0, 1, 3, 6)
MOST = DEPTHS[-1]
N_ITEMS = 60
CASES = [
    ("new_user", "valid", "train"),
    ("new_user", "test", "train"),
    ("new_user", "test", "train+valid"),
    ("global_time", "valid", "train"),
    ("global_time", "test", "train+valid"),
]


def split_of(events, name, refit="train", seed=0, **how):
    return split(log(events, N_ITEMS, **how), name, seed, refit, fractions=(0.4, 0.3, 0.3))


def new_ones(events, parts, part):
    """By code, the events of each new person that the part may know of, in order. By one moment for everyone: of who begins after it, what
    happened before the next part begins; by people at random: everything of who is in the part.
    """
    every = timelines(events, parts.seed)
    if parts.name == "new_user":
        return {user: every[user] for user in sorted(set(getattr(parts, part).users.tolist()))}
    times, n = sorted(each.time for each in events), len(events)
    first_test, first_valid = times[n - n * 3 // 10], times[n - 2 * (n * 3 // 10)]
    start, stop = (first_valid, first_test) if part == "valid" else (first_test, times[-1] + 1)
    begun = {user: own for user, own in every.items() if start <= own[0].time < stop}
    return {user: [each for each in own if each.time < stop] for user, own in begun.items()}


def to_find(known, later, repeats):
    """What was liked later, without what was had before unless repeats are normal."""
    before = set() if repeats else {each.item for each in known}
    return {each.item for each in later if each.value >= 4} - before


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("name", "part", "refit"), CASES)
def test_each_depth_is_the_same_people_with_their_first_events_known(name, part, refit, seed, repeats):
    events = some_events(seed, n_users=80, repeats=repeats)
    parts = split_of(events, name, refit, seed, repeats=repeats)
    own = new_ones(events, parts, part)
    found = newcomers(parts, part, DEPTHS)
    enough = {user: each for user, each in own.items() if len(each) >= MOST + TO_FIND}
    truth = {user: to_find(each[:MOST], each[MOST : MOST + TO_FIND], repeats) for user, each in enough.items()}
    judged = [user for user, items in truth.items() if items]
    assert 3 < len(judged) < len(own), "some are judged and some have too few events"
    assert (found.part, found.n_people, found.users.tolist()) == (part, len(own), judged)
    assert tuple(found.depths) == DEPTHS
    for depth, holdout in found.depths.items():
        assert holdout.users.tolist() == judged
        assert (holdout.n_people, holdout.n_without_truth) == (len(own), len(own) - len(judged))
        for user in judged:
            items = [each.item for each in own[user]]
            assert had(holdout.history, user) == items[:depth], (depth, user)
            assert set(had(holdout.truth, user)) == truth[user]
            assert repeats or had(holdout.seen, user) == items[:MOST], "what may not be shown is the same at every depth"
        if repeats:
            assert holdout.seen is None
    assert repr(found) == f"Newcomers({len(judged)} people of {part}, depths 0, 1, 3, 6)"


@pytest.mark.parametrize(("name", "part", "refit"), CASES)
def test_as_regulars_the_same_people_have_all_but_their_last_ten(name, part, refit):
    events = some_events(5, n_users=80)
    parts = split_of(events, name, refit)
    own = new_ones(events, parts, part)
    warm = newcomers(parts, part, DEPTHS).warm
    regular = {user: to_find(each[:-10], each[-10:], False) for user, each in own.items() if len(each) >= MOST + 20}
    assert 1 < len(regular) < len(own)
    assert warm.users.tolist() == [user for user, items in regular.items() if items]
    for user in warm.users.tolist():
        assert had(warm.history, user) == had(warm.seen, user) == [each.item for each in own[user][:-10]]
        assert set(had(warm.truth, user)) == regular[user]


@pytest.mark.parametrize(("name", "part", "refit"), CASES)
def test_models_learnt_from_nobody_who_is_judged(name, part, refit):
    parts = split_of(some_events(6, n_users=80), name, refit)
    learnt = parts.train if part == "valid" else parts.fit_on
    found = newcomers(parts, part, DEPTHS)
    for holdout in (*found.depths.values(), found.warm):
        assert learnt.events_per_user[holdout.users].sum() == 0
        assert not holdout.trained[holdout.users].any()
        others = learnt.events_per_user > 0
        assert torch.equal(holdout.history.events_per_user[others], learnt.events_per_user[others])


def test_what_is_known_is_the_first_that_anybody_did_though_validation_came_between():
    """Models learn from training alone. Who came in the validation part is no newcomer of the test part, or is one with what they did
    then: it is known of them, and not shown again. 40 events train; person 1 has 14 events before the test part begins and 14 in it,
    person 2 only the latter.
    """
    events = [Event(0, n, 5.0, n) for n in range(40)]
    events += [Event(1, n, 5.0, 100 + n) for n in range(14)] + [Event(1, 20 + n, 5.0, 200 + n) for n in range(14)]
    events += [Event(2, n, 5.0, 300 + n) for n in range(14)]
    moments = {"valid_from": "1970-01-01 00:00:00.000100", "test_from": "1970-01-01 00:00:00.000200"}
    parts = split(log(events, N_ITEMS), "global_time", **moments)
    assert [len(part) for part in (parts.train, parts.valid, parts.test)] == [40, 14, 28]
    found, every = newcomers(parts, "test", (1, 3)), timelines(events, 0)
    assert 2 in found.users.tolist()
    for depth, holdout in found.depths.items():
        for user in holdout.users.tolist():
            items = [each.item for each in every[user]]
            assert had(holdout.history, user) == items[:depth], f"person {user}, {depth} known"
            assert set(items[: items.index(had(holdout.truth, user)[0])]) <= set(had(holdout.seen, user))


def test_the_seed_deals_what_happened_at_one_moment():
    events = [Event(user, item, 5.0, 0) for user in range(20) for item in range(20)]
    dealt = {}
    for place, seed in enumerate((0, 0, 1, 2)):
        parts = split(log(events, N_ITEMS), "new_user", seed, fractions=(0.1, 0.1, 0.8))
        found = newcomers(parts, "test", (0, 3))
        dealt[place] = {user: tuple(had(found.depths[3].history, user)) for user in found.users.tolist()}
    assert dealt[0] == dealt[1]
    for place in (2, 3):
        both = dealt[0].keys() & dealt[place].keys()
        assert len(both) >= 10
        assert any(dealt[0][user] != dealt[place][user] for user in both)
    assert len(set(dealt[0].values())) > 1, "each person has an order of their own"


def test_where_repeats_are_normal_nothing_is_masked_and_what_was_had_can_be_found_again():
    """Everybody likes items 0 to 4, over and over."""
    events = [Event(user, n % 5, 5.0, n) for user in range(20) for n in range(20)]
    parts = split(log(events, N_ITEMS, repeats=True), "new_user", fractions=(0.4, 0.3, 0.3))
    found = newcomers(parts, "test", (0, 5, 10))
    assert all(holdout.seen is None and holdout.n_masked_truth == 0 for holdout in (*found.depths.values(), found.warm))
    assert had(found.depths[10].truth, int(found.users[0])) == [0, 1, 2, 3, 4]
    unique = split(log(events, N_ITEMS), "new_user", fractions=(0.4, 0.3, 0.3))
    with pytest.raises(NotApplicable):  # all of it was had before
        newcomers(unique, "test", (0, 5, 10))


@pytest.mark.parametrize("name", ["user_time", "leave_last_n"])
def test_a_split_without_new_people_says_so(name):
    parts = split(log(some_events(0), N_ITEMS), name)
    for part in ("valid", "test"):
        with pytest.raises(NotApplicable) as caught:
            newcomers(parts, part, DEPTHS)
        assert str(caught.value) == f"the {part} part of {name} has no new people; the splits new_user and global_time may have some."


def test_where_nobody_has_enough_events_it_says_how_many_that_would_be():
    parts = new_people(some_events(0, high=29), N_ITEMS)
    with pytest.raises(NotApplicable) as caught:
        newcomers(parts, "test", (0, 5, 20))
    assert str(caught.value) == "no new person of the test part has 30 events and likes one of the last 10 of them."


def test_where_nobody_likes_what_is_to_be_found_nobody_is_judged():
    disliked = [each._replace(value=2.0) for each in some_events(0)]
    with pytest.raises(NotApplicable, match=r"^no new person of the valid part has 16 events and likes one of the last 10 of them\.$"):
        newcomers(new_people(disliked, N_ITEMS), "valid", DEPTHS)


@pytest.mark.parametrize("depths", [(), (1, 0), (0, 0), (0, 3, 2), (-1, 2)])
def test_depths_that_do_not_rise_are_refused(depths):
    with pytest.raises(RequestError) as caught:
        newcomers(new_people(some_events(0), N_ITEMS), "test", depths)
    assert str(caught.value) == f"depths {list(depths)} should be rising numbers of events, from 0 on."


def test_a_depth_above_0_may_be_the_first():
    found = newcomers(new_people(some_events(0), N_ITEMS), "test", (2, 4))
    assert {depth: holdout.history_lengths.unique().tolist() for depth, holdout in found.depths.items()} == {2: [2], 4: [4]}


def test_looks_at_test_are_written_down_and_those_at_validation_are_not(tmp_path):
    parts = split_of(some_events(0), "new_user", folder=tmp_path)
    model = create("popularity").fit(parts.train)
    for part in ("valid", "test"):
        found = newcomers(parts, part, DEPTHS)
        holdouts = [*found.depths.values(), found.warm]
        assert len({holdout.label for holdout in holdouts}) == len(DEPTHS) + 1, "evaluations of two depths are not compared by mistake"
        assert {sealed_part(holdout.label) for holdout in holdouts} == {sealed_part(parts.holdout(part).label)}
        for holdout in holdouts:
            evaluate(model, holdout, ks=(5,))
        assert (parts.looks().total, parts.looks().models) == ((0, 0) if part == "valid" else (len(DEPTHS) + 1, 1))
    evaluate(model, new_items(split_of(some_events(0), "new_item", folder=tmp_path)), ks=(5,))
    assert parts.looks().total == len(DEPTHS) + 1, "the test part of another split is another part"
    assert split_of(some_events(0), "new_item", folder=tmp_path).looks().total == 1


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize(("name", "refit"), [("new_item", "train"), ("new_item", "train+valid"), ("global_time", "train+valid")])
def test_of_new_items_exactly_what_nobody_had_is_to_be_found(name, refit, part):
    """50 items join in the course of time, so that by one moment for everyone too there are some that nobody had."""
    events = some_events(3)
    events += [Event(user, 60 + item, 5.0, 40 + item) for user in range(20) for item in range(user, user + 20)]
    parts = split(log(events, 110), name, 0, refit, fractions=(0.4, 0.3, 0.3))
    learnt = parts.train if part == "valid" or refit == "train" else parts.train.plus(parts.valid)
    met, before = set(learnt.items.tolist()), parts.train if part == "valid" else parts.train.plus(parts.valid)
    seen = set(zip(before.users.tolist(), before.items.tolist(), strict=True))
    judged = getattr(parts, part)
    pairs = zip(judged.users.tolist(), judged.items.tolist(), judged.values.tolist(), strict=True)
    expected = {(user, item) for user, item, value in pairs if value >= 4 and item not in met} - seen
    holdout = new_items(parts, part)
    assert len(expected) > 10
    assert set(zip(holdout.truth.users.tolist(), holdout.truth.items.tolist(), strict=True)) == expected
    assert holdout.users.tolist() == sorted({user for user, _ in expected})
    assert holdout.n_people == len(parts.holdout(part).users), "who found only what was known before is left out and counted"
    assert torch.nonzero(unmet(parts, part))[:, 0].tolist() == [item for item in range(110) if item not in met]
    whole = parts.holdout(part)
    assert holdout.history.order.tolist() == holdout.seen.order.tolist() == whole.history.order.tolist()
    assert sealed_part(holdout.label) == sealed_part(whole.label) != holdout.label


def test_new_items_are_ranked_among_the_whole_catalogue():
    """Who puts known items first finds nothing of the first 5; who puts new ones first finds all in the first n of them."""
    parts = split_of(some_events(4), "new_item")
    holdout, new = new_items(parts, "valid"), unmet(parts, "valid").float()
    n = int(new.sum())
    first, last = (evaluate(Scores(sign * new.repeat(60, 1)), holdout, ks=(5, n)) for sign in (1, -1))
    assert first.mean(f"recall@{n}") == 1
    assert last.mean("recall@5") == 0
    assert not new[last.top[:, :5]].any()


def test_where_nobody_liked_a_new_item_it_says_so():
    events = some_events(0)
    held = set(split_of(events, "new_item").test.items.tolist())
    disliked = [each._replace(value=2.0) if each.item in held else each for each in events]
    with pytest.raises(NotApplicable) as caught:
        new_items(split_of(disliked, "new_item"))
    assert str(caught.value) == "nobody liked a new item in the test part of new_item."


@pytest.mark.parametrize(
    ("text", "depths"), [("0, 1, 5", (0, 1, 5)), ("0", (0,)), (" 3 ,  10", (3, 10)), ("0,1,9999", (0, 1, 9999)), ("2,", (2,))]
)
def test_depths_are_read_as_typed(text, depths):
    assert parse_depths(text) == depths


@pytest.mark.parametrize("text", ["", " , ", "one", "0, -1", "1.5", "0; 1", "²", "0, 10000", "nan"])
def test_what_is_no_number_of_events_is_refused(text):
    with pytest.raises(RequestError) as caught:
        parse_depths(text)
    assert str(caught.value) == f'depths = "{text}" should be rising numbers of events, like "0, 1, 5, 20".'


@pytest.mark.parametrize("text", ["1, 0", "0, 0", "0, 5, 3"])
def test_numbers_that_do_not_rise_are_refused(text):
    with pytest.raises(RequestError) as caught:
        parse_depths(text)
    assert str(caught.value) == f'depths = "{text}" should rise from number to number.'
