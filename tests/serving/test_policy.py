"""A policy on one request's candidates, by NumPy, against the same policy on everybody's, by torch: the same lists, item by item."""

import itertools
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.policy.made import ITEMS, N_ITEMS, SLICES, facts, listed, pools
from workbench.errors import RequestError
from workbench.policy import Policy, Pool, make_policy
from workbench.policy.policy import KINDS
from workbench.promotion.policy import EVERYBODY, check_servable, write_policy
from workbench.serving import policy as serving

RULES = {
    "block": {"kind": "block", "items": ["i0", "i7", "i99"]},
    "require": {"kind": "require", "column": "rating", "at_least": 3, "empty": "allow"},
    "require_genre": {"kind": "require", "column": "genre", "among": ["comedy", "war"]},
    "available": {"kind": "available", "at": 20, "since": "since", "until": "until"},
    "unseen": {"kind": "unseen"},
    "cap_of_several": {"kind": "cap", "by": "genre", "most": 1},
    "cap_of_several_2": {"kind": "cap", "by": "genre", "most": 2},
    "cap_of_one": {"kind": "cap", "by": "provider", "most": 1},
    "cap_popular": {"kind": "cap", "by": "popularity", "most": 2},
    "once": {"kind": "once", "by": "title"},
}
PREFERENCES = {
    "mmr": {"kind": "mmr", "weight": 0.4},
    "mmr_relevance": {"kind": "mmr", "weight": 1.0},
    "mmr_variety": {"kind": "mmr", "weight": 0.0},
    "dpp": {"kind": "dpp", "weight": 0.5, "likeness": 0.8},
    "dpp_variety": {"kind": "dpp", "weight": 0.0, "likeness": 0.999},
    "calibrate": {"kind": "calibrate", "by": "genre", "weight": 0.6},
    "calibrate_one": {"kind": "calibrate", "by": "provider", "weight": 1.0},
    "calibrate_none": {"kind": "calibrate", "by": "genre", "weight": 0.0},
}
HAD = [(0, 0), (0, 3), (0, 1), (1, 11), (1, 5), (2, 2), (2, 2), (2, 6)]
KNOWN = facts(had=HAD)
VECTORS = facts(had=HAD, vectors=torch.from_numpy(np.random.default_rng(3).normal(size=(N_ITEMS, 5))))
"""Likeness by vectors that are in general position: sums in another order decide nothing."""


def written(folder: Path, policy: Policy, known=KNOWN) -> serving.Policy:
    write_policy(folder / "policy", policy, "# as it was written\n", known)
    return serving.Policy.read(folder / "policy")


def one_by_one(policy: serving.Policy, start, known=KNOWN):
    """What each person of a pool is shown, and what is said of the steps."""
    found = []
    for row, items in enumerate(listed(start.items)):
        user, scores = int(start.users[row]), start.scores[row, : len(items)].numpy()
        log = known.history
        own = log.users == user
        seen, liked = log.items[own].numpy(), log.items[own & log.positive].numpy()
        before = serving.Pool(np.array(items, np.int64), scores, start.k)
        found.append(policy.apply(before, seen, liked))
    return found


def check(told, start, known=KNOWN):
    """One pool through a policy in both."""
    policy = make_policy(told)
    applied = policy.apply(start, known)
    with TemporaryDirectory() as folder:
        answers = one_by_one(written(Path(folder), policy, known), start, known)
    wanted = listed(applied.lists)
    assert [each.shown.tolist() for each, _ in answers] == wanted
    left = [[item for item in row.tolist() if item >= 0] for row in applied.pool.items]
    assert [each.items.tolist() for each, _ in answers] == left
    for row, (found, _) in enumerate(answers):
        np.testing.assert_array_equal(found.scores, applied.pool.scores[row, : len(found.items)].numpy())
    for number, record in enumerate(applied.records):
        assert sum(steps[number]["removed"] for _, steps in answers) == record.removed
        assert {steps[number]["step"] for _, steps in answers} == {record.step}


PLAIN = st.floats(-3, 3, allow_nan=False, width=16)
any_pool = pools(N_ITEMS, PLAIN)


@settings(max_examples=6, deadline=None)
@given(any_pool, st.data())
@pytest.mark.parametrize("name", [*RULES, *PREFERENCES])
def test_each_step_by_itself_gives_everybodys_list(name, start, data):
    check([{**RULES, **PREFERENCES}[name]], start, data.draw(st.sampled_from([KNOWN, VECTORS])))


@settings(max_examples=30, deadline=None)
@given(any_pool, st.lists(st.sampled_from(sorted(RULES)), max_size=4), st.lists(st.sampled_from(sorted(PREFERENCES)), max_size=2))
def test_rules_then_preferences_give_everybodys_lists(start, rules, preferences):
    told = [*(RULES[name] for name in rules), *(PREFERENCES[name] for name in preferences)]
    check(told, start, VECTORS)


@settings(max_examples=20, deadline=None)
@given(any_pool, st.lists(st.sampled_from(sorted({**RULES, **PREFERENCES})), min_size=2, max_size=5))
def test_steps_in_any_order_give_everybodys_lists(start, names):
    """A rule after a preference, two preferences, a block after a cap, the same step twice."""
    check([{**RULES, **PREFERENCES}[name] for name in names], start, VECTORS)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from([1e-300, 1e300, 1e-9]), any_pool, st.sampled_from(sorted(PREFERENCES)))
def test_scores_of_any_size_are_put_on_one_scale(size, start, name):
    scaled = type(start).of(start.users, start.items, start.scores * size, start.k)
    check([RULES["cap_of_several"], PREFERENCES[name]], scaled, VECTORS)


def test_every_pair_of_a_rule_and_a_preference_on_one_pool_of_everything(tmp_path):
    """Everybody has all twelve items to choose from, and the limits bind."""
    rng = np.random.default_rng(0)
    items = torch.from_numpy(np.stack([rng.permutation(N_ITEMS) for _ in range(4)]))
    scores = torch.from_numpy(rng.normal(size=(4, N_ITEMS)))
    for k in (3, 20):
        start = Pool.of(torch.arange(4), items, scores, k)
        for rule, preference in itertools.product(("cap_of_several", "cap_of_one", "once", "unseen"), ("mmr", "dpp", "calibrate")):
            check([RULES[rule], PREFERENCES[preference]], start, VECTORS)


@pytest.mark.parametrize("kind", sorted(EVERYBODY))
def test_steps_that_are_decided_for_everybody_together_cannot_be_promoted(kind, tmp_path):
    more = {"floor": {"by": "provider", "group": "bolt", "share": 0.5}, "randomise": {}}[kind]
    policy = make_policy([RULES["unseen"], {"kind": kind, **more}])
    for attempt in (lambda: check_servable(policy), lambda: write_policy(tmp_path / "policy", policy, "", KNOWN)):
        with pytest.raises(RequestError) as error:
            attempt()
        told = str(error.value)
        assert policy.steps[-1].title in told
        assert EVERYBODY[kind] in told
        assert told.endswith("Leave it out.")
        assert "\n" not in told
    assert list(tmp_path.iterdir()) == []


def test_every_kind_of_step_is_served_or_refused():
    tried = {told["kind"] for told in (*RULES.values(), *PREFERENCES.values())}
    assert tried | set(EVERYBODY) == set(KINDS)
    assert not tried & set(EVERYBODY)


def test_the_text_is_kept_as_it_was_written_and_steps_by_their_names(tmp_path):
    policy = make_policy([{**RULES["cap_of_one"], "name": "nobody takes over"}, PREFERENCES["mmr"]])
    text = "# why\n[[step]]\n"
    write_policy(tmp_path / "policy", policy, text, KNOWN)
    assert (tmp_path / "policy" / "policy.toml").read_text(encoding="utf-8") == text
    steps = json.loads((tmp_path / "policy" / "policy.json").read_text(encoding="utf-8"))["steps"]
    assert [each["title"] for each in steps] == ["nobody takes over", "MMR, relevance 0.4"]
    assert {path.suffix for path in (tmp_path / "policy").iterdir()} == {".toml", ".json", ".parquet"}


def test_two_steps_of_a_kind_have_tables_of_their_own(tmp_path):
    policy = make_policy([RULES["block"], {"kind": "block", "items": ["i1"]}, RULES["cap_of_one"], RULES["cap_of_several"]])
    read = written(tmp_path, policy)
    assert not read.columns["allowed_0"][[0, 7], 0].any()
    assert read.columns["allowed_1"][:, 0].tolist() == [item != 1 for item in range(N_ITEMS)]
    of_one, of_both = read.limits[2], read.limits[3]
    assert set(of_one.most) == {1}
    assert [len(of_both.lists[item]) - len(of_one.lists[item]) for item in (0, 1, 4, 11)] == [1, 2, 0, 3]
    assert not {group for groups in of_one.lists for group in groups} & {group for groups in of_both.lists for group in groups[1:]}


def test_what_a_step_did_is_said_in_numbers(tmp_path):
    read = written(tmp_path, make_policy([RULES["block"], RULES["cap_of_one"]]))
    start = serving.Pool(np.array([0, 1, 2, 3]), np.array([4.0, 3.0, 2.0, 1.0]), 3)
    pool, told = read.apply(start, np.empty(0, np.int64), np.empty(0, np.int64))
    assert pool.shown.tolist() == [1, 3], "item 0 is blocked, 1 and 2 are acme's"
    assert told == [
        {"step": make_policy([RULES["block"]]).steps[0].title, "removed": 1, "left_the_list": 1},
        {"step": "at most 1 of a provider", "removed": 0, "left_the_list": 1},
    ]


def test_without_candidates_there_is_no_list_and_no_fault(tmp_path):
    everything = [*RULES.values(), *PREFERENCES.values()]
    read = written(tmp_path, make_policy(everything), VECTORS)
    nothing = np.empty(0, np.int64)
    pool, told = read.apply(serving.Pool(nothing, np.empty(0), 5), nothing, nothing)
    assert pool.shown.tolist() == []
    assert len(told) == len(everything)


def test_a_column_of_empty_cells_makes_no_groups_and_binds_nobody():
    """Then a cap counts nothing, and a calibration has nothing to be calibrated to."""
    empty = {"genre": ["", None, " "], "title": ["a", "b", "c"]}
    known = facts(empty, had=[(0, 0)], genre=SLICES["genre"])
    start = Pool.of(torch.tensor([0, 1]), torch.tensor([[0, 1, 2], [2, 1, 0]]), torch.tensor([[3.0, 2.0, 1.0]] * 2), 2)
    check([{"kind": "cap", "by": "genre", "most": 1}], start, known)
    check([{"kind": "calibrate", "by": "genre"}], start, known)


def test_the_pool_is_one_that_the_tests_of_policies_use():
    assert len(ITEMS["title"]) == N_ITEMS == len(KNOWN.data.item_ids)
