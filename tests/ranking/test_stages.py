"""Who learns from what, when: parts that fit together, retrievers that never saw what they are to find, and leaks that are found."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import tensor

from workbench.data import load_dataset
from workbench.errors import NotApplicable, RequestError, WorkError
from workbench.ranking import audit_stages, audited_stages, folds, stages

RULES = ("global_time", "user_time", "leave_last_n")


@pytest.fixture(scope="module")
def split(small):
    """Each split is made once."""
    return cache(small.split)


def keys(*logs):
    return torch.cat([log.order for log in logs]).sort().values.tolist()


def owned(log):
    return list(zip(log.users.tolist(), log.items.tolist(), strict=True))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("periods", [1, 3])
def test_what_retrievers_learn_from_and_the_periods_are_the_training_part(split, name, periods):
    parts = split(name)
    found = stages(parts, periods=periods, share=0.2)
    assert keys(found.periods[0].log, *(each.part for each in found.periods)) == keys(parts.train)
    for before, after in zip(found.periods, found.periods[1:], strict=False):
        assert keys(before.log, before.part) == keys(after.log)
    assert (found.valid.log, found.valid.part) == (parts.train, parts.valid)
    assert found.test.log is parts.fit_on
    assert found.test.part is parts.test
    assert [each.name for each in found] == [*(f"period {period}" for period in range(1, periods + 1)), "validation", "test"]


def test_retrievers_that_are_refitted_learn_from_validation_too(split):
    parts = split("global_time", refit="train+valid")
    assert keys(stages(parts).test.log) == keys(parts.train, parts.valid)


def test_by_one_moment_all_that_a_retriever_learns_from_was_before_all_labels(split):
    for each in stages(split("global_time"), periods=3, share=0.15):
        assert each.log.timestamps.max() < each.part.timestamps.min()


@pytest.mark.parametrize("name", RULES)
def test_by_own_time_what_was_learnt_of_a_person_was_before_their_request(split, name):
    """Of two events of one moment the split's order says which was first."""
    for each in stages(split(name), periods=2, share=0.2):
        first = each.moments(each.people)
        for place, user in enumerate(each.people.tolist()):
            known, came = each.log.users == user, each.part.users == user
            assert each.part.timestamps[came].min() == first[place]
            if known.any():
                assert each.log.timestamps[known].max() <= first[place]
                assert each.log.order[known].max() < each.part.order[came].min()


@pytest.mark.parametrize("share", [0.1, 0.25])
def test_a_period_has_its_share_of_the_events(split, share):
    """By own time of each person's; at one moment of all, but for those of one moment."""
    parts = split("user_time")
    for each in stages(parts, periods=2, share=share).periods:
        wanted = (parts.train.events_per_user * share).floor().long()
        assert torch.equal(each.part.events_per_user, wanted)
    parts = split("global_time")
    at_once = torch.bincount(parts.train.timestamps.unique(return_inverse=True)[1]).max().item()
    for each in stages(parts, periods=2, share=share).periods:
        assert len(each.part) == pytest.approx(share * len(parts.train), abs=at_once + 1)


def test_who_is_judged_in_a_period_knows_what_the_retriever_knows(split):
    for each in stages(split("user_time"), periods=2, share=0.2).periods:
        liked = {pair for pair, grade in zip(owned(each.part), each.part.grades.tolist(), strict=True) if grade > 0}
        assert set(owned(each.holdout.truth)) == liked - set(owned(each.log))
        assert each.holdout.history is each.log
        assert each.holdout.seen is each.log
        assert torch.equal(each.people, torch.nonzero(each.part.events_per_user)[:, 0])
    labels = [each.holdout.label for each in stages(split("user_time"), periods=2)]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("name", RULES)
def test_an_audit_of_what_is_sound_finds_nothing(split, name):
    found = stages(split(name), periods=2, share=0.2)
    findings = audit_stages(found)
    assert all(each.ok and each.promised and each.events == 0 for each in findings)
    assert len(findings) == 2 * len(list(found))
    assert audited_stages(found) is found


@pytest.mark.parametrize("name", ["global_time", "user_time"])
@pytest.mark.parametrize("where", [0, 1, "valid", "test"])
def test_a_planted_leak_is_found(split, name, where):
    """Three labels among what the retriever learns from."""
    found = stages(split(name), periods=2, share=0.2)
    stage = found.periods[where] if isinstance(where, int) else getattr(found, where)
    leaked = stage.part.select(torch.arange(3))
    bad = replace(stage, log=stage.log.plus(leaked))
    if isinstance(where, int):
        changed = replace(found, periods=tuple(bad if place == where else each for place, each in enumerate(found.periods)))
    else:
        changed = replace(found, **{where: bad})
    broken = [each for each in audit_stages(changed) if not each.ok]
    (copied,) = (each for each in broken if each.what == f"events of {stage.name} that its own retriever learnt from")
    assert (copied.events, copied.people) == (3, len(leaked.users.unique()))
    with pytest.raises(WorkError, match=f"{stage.name}.*people are affected"):
        audited_stages(changed)


def test_events_of_later_than_the_request_are_found_although_they_are_no_labels(split):
    """A retriever of the first period that learnt from the second one."""
    found = stages(split("user_time"), periods=2, share=0.2)
    first, second = found.periods
    bad = replace(found, periods=(replace(first, log=first.log.plus(second.part)), second))
    (broken,) = (each for each in audit_stages(bad) if not each.ok)
    assert broken.what == "events that the retriever of period 1 learnt from after the request of the same person"
    moments = dict(zip(first.people.tolist(), first.moments(first.people).tolist(), strict=True))
    late = [user for user, time in zip(second.part.users.tolist(), second.part.timestamps.tolist(), strict=True) if time > moments[user]]
    assert (broken.events, broken.people) == (len(late), len(set(late)))


@pytest.mark.parametrize("name", ["random", "user_random", "new_user", "new_item"])
def test_without_time_there_is_nothing_that_came_after(split, name):
    with pytest.raises(NotApplicable, match=f"a ranker learns from what came after, and {name} is no split by time"):
        stages(split(name))


@pytest.mark.parametrize("told", [{"periods": 0}, {"periods": 11}, {"periods": 2, "share": 0.5}, {"share": 0.0}, {"share": -0.1}])
def test_periods_that_leave_nothing_are_told(split, told):
    with pytest.raises(RequestError, match="leave nothing for the retriever before them"):
        stages(split("user_time"), **told)


@pytest.mark.parametrize("name", ["global_time", "user_time"])
def test_too_few_events_are_told(tiny, name):
    tiny([(f"u{u}", f"i{(u + n) % 3}", 5.0, 1000.0 + n) for u in range(3) for n in range(3)])
    with pytest.raises(NotApplicable, match=r"training events are too few to leave 5 periods of 10% for a ranker"):
        stages(load_dataset("tiny").split(name), periods=5, share=0.1)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 500), unique=True, max_size=60).map(sorted), st.integers(0, 3), st.data())
def test_a_person_is_in_one_half_whoever_else_is_there(people, seed, data):
    """As long as the last one is: the deal is made for the codes up to that one."""
    users = tensor(people, dtype=torch.int64)
    first, second = folds(users, seed)
    assert torch.equal(first, ~second)
    assert torch.equal(folds(users, seed)[0], first)
    if people:
        some = sorted({*data.draw(st.sets(st.sampled_from(people))), people[-1]})
        again = folds(tensor(some), seed)[0]
        assert again.tolist() == [bool(first[people.index(user)]) for user in some]


def test_a_person_is_in_one_half_whoever_comes_last():
    """Their halves are their own: people of two periods, of which one has a later last person, are dealt alike."""
    all_of_them = torch.arange(200)
    first = folds(all_of_them, 0)[0]
    assert torch.equal(folds(all_of_them[:150], 0)[0], first[:150])


def test_halves_are_halves_and_another_seed_deals_anew():
    users = torch.arange(1000)
    first, _ = folds(users, 0)
    assert int(first.sum()) == 500
    assert not torch.equal(folds(users, 1)[0], first)
