"""Policies: written in TOML, refused in one clear line, recorded step by step, and never breaking a hard rule."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import tensor

from tests.policy.made import HAD, ITEMS, N_ITEMS, facts, listed, pool
from workbench.errors import RequestError
from workbench.evaluation.lists import check_lists
from workbench.policy import Facts, Policy, limits_hold, make_policy, parse_policy, policy_of, policy_text
from workbench.testing import interactions
from workbench.testing.synthetic import holdout

KNOWN = facts()
TRUTH = ((0, 1), (1, 4), (2, 1), (3, 1))
FLOOR = {"kind": "floor", "by": "provider", "group": "bolt", "share": 0.5}


def refused(text, where="own.toml"):
    with pytest.raises(RequestError) as error:
        parse_policy(text, where)
    told = str(error.value)
    assert "\n" not in told
    assert where in told
    return told


def step(kind, rest=""):
    """The second of two steps."""
    return f'[[step]]\nkind = "unseen"\n[[step]]\nkind = "{kind}"\n{rest}'


def test_a_policy_is_its_steps_in_the_order_of_the_file():
    policy = parse_policy(
        """
        [[step]]
        kind = "require"
        column = "rating"
        at_least = 3
        [[step]]
        kind = "cap"
        by = "provider"
        most = 2
        name = "no provider takes over"
        [[step]]
        kind = "mmr"
        weight = 0.25
        [[step]]
        kind = "randomise"
        """
    )
    assert [each.title for each in policy.steps] == [
        "rating is at least 3",
        "no provider takes over",
        "MMR, relevance 0.25",
        "10% of places at random",
    ]
    assert policy.text == "rating is at least 3, then no provider takes over, then MMR, relevance 0.25, then 10% of places at random"
    assert [each.hard for each in policy.steps] == [True, True, False, False]


def test_every_kind_can_be_written(tmp_path):
    path = tmp_path / "all.toml"
    parts = [
        'kind = "block"\nitems = ["i1"]',
        'kind = "require"\ncolumn = "provider"\namong = ["acme", "bolt"]\nempty = "allow"',
        'kind = "available"\nat = 20\nsince = "since"\nuntil = "until"',
        'kind = "unseen"',
        'kind = "cap"\nby = "genre"\nmost = 1',
        'kind = "once"\nby = "title"',
        'kind = "mmr"',
        'kind = "dpp"\nlikeness = 0.5',
        'kind = "calibrate"\nby = "genre"',
        'kind = "floor"\nby = "provider"\ngroup = "bolt"\nshare = 1',
    ]
    path.write_text("".join(f"[[step]]\n{part}\n" for part in parts), encoding="utf-8")
    assert [each.model_dump()["kind"] for each in policy_of(str(path)).steps] == [part.split('"')[1] for part in parts]


@pytest.mark.parametrize(
    ("since", "moments"),
    [
        (["2020-01-01", "2020-01-02"], ['"2020-01-01"', "2020-01-01", "2020-01-01T00:00:00Z"]),
        (["1577836800", "1577836801"], ["1577836800", "1577836800.5", '"1577836800"']),
    ],
)
def test_a_moment_may_be_a_number_a_text_or_a_date_of_tomls_own(since, moments):
    """TOML writes dates without quotation marks."""
    known = facts({"since": since})
    for at in moments:
        policy = parse_policy(f'[[step]]\nkind = "available"\nsince = "since"\nat = {at}')
        assert policy.apply(pool([[0, 1]]), known).lists.tolist() == [[0, -1, -1]]


@pytest.mark.parametrize("text", ["", "# nothing\n", "step = []"])
def test_without_steps_everything_stays(text):
    policy, start = parse_policy(text), pool([[3, 1, 2], [4]], k=2)
    applied = policy.apply(start, KNOWN)
    assert policy.text == "as ranked"
    assert torch.equal(applied.lists, start.lists)
    assert applied.records == []
    assert applied.short.tolist() == [False, True]
    assert limits_hold(applied).tolist() == [True, True]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (step("mrm"), 'no kind of step (step 2 of own.toml) "mrm". Did you mean "mmr"?'),
        (step("capp"), 'no kind of step (step 2 of own.toml) "capp". Did you mean "cap"?'),
        (step("mmr", "wieght = 0.5"), 'own.toml, step 2 ("mmr"), wieght: extra inputs are not permitted.'),
        (step("mmr", 'weight = "much"'), 'own.toml, step 2 ("mmr"), weight: input should be a valid number'),
        (step("mmr", "weight = true"), 'own.toml, step 2 ("mmr"), weight: input should be a number or a text, not True.'),
        (step("mmr", "weight = 1.01"), 'own.toml, step 2 ("mmr"), weight: input should be less than or equal to 1.'),
        (step("mmr", "weight = nan"), 'own.toml, step 2 ("mmr"), weight: input should be'),
        (step("dpp", "likeness = 1.0"), 'own.toml, step 2 ("dpp"), likeness: input should be less than 1.'),
        (step("calibrate"), 'own.toml, step 2 ("calibrate"), by: field required.'),
        (step("calibrate", 'by = "genre"\nweight = -0.1'), 'own.toml, step 2 ("calibrate"), weight: input should be greater than or equal'),
        (step("cap", 'by = "genre"\nmost = 0'), 'own.toml, step 2 ("cap"), most: input should be greater than or equal to 1.'),
        (step("cap", 'by = "genre"\nmost = 1.0'), 'own.toml, step 2 ("cap"), most: input should be a valid integer.'),
        (step("once", "by = 3"), 'own.toml, step 2 ("once"), by: input should be a valid string.'),
        (step("block", "items = []"), 'own.toml, step 2 ("block"), items: tuple should have at least 1 item'),
        (step("block", 'items = "i1"'), 'own.toml, step 2 ("block"), items: input should be a valid tuple.'),
        (step("require", 'column = "rating"\nempty = "keep"'), 'own.toml, step 2 ("require"), empty: input should be'),
        (step("require", 'column = "provider"\namong = [1]'), 'own.toml, step 2 ("require"), among.0: input should be a valid string.'),
        (step("floor", 'by = "a"\ngroup = "b"\nshare = 0'), 'own.toml, step 2 ("floor"), share: input should be greater than 0.'),
        (step("floor", 'by = "a"\ngroup = "b"\nshare = 1.5'), 'own.toml, step 2 ("floor"), share: input should be less than or equal'),
        (step("randomise", "share = 1"), 'own.toml, step 2 ("randomise"), share: input should be less than 1.'),
        (step("randomise", "seed = -1"), 'own.toml, step 2 ("randomise"), seed: input should be greater than or equal to 0.'),
        ("[[step]\nkind = 1", "own.toml is no TOML: Expected ']]'"),
        ("weight = 1", 'no entry of own.toml "weight"'),
        ('[step]\nkind = "mmr"', "own.toml: write each step as a table, [[step]]."),
        ("step = [1]", "own.toml: write each step as a table, [[step]]."),
        ('step = "mmr"', "own.toml: write each step as a table, [[step]]."),
    ],
)
def test_what_no_policy_can_have_is_refused_in_one_line_that_names_the_step(text, reason):
    assert reason in refused(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (step("require", 'column = "rating"'), '"require" takes either "among" or bounds'),
        (step("require", 'column = "rating"\nat_least = 2\nat_most = 1'), '"at_least" not above "at_most"'),
        (step("available", "at = 1"), '"available" needs a column "since" or "until".'),
        (step("available", 'at = "soon"\nsince = "since"'), "at = 'soon' is neither a number nor a date in ISO 8601."),
    ],
)
def test_parameters_that_do_not_go_together_name_the_step_by_its_number_too(text, reason):
    """Of several steps of a kind, which?"""
    told = refused(text)
    assert reason in told
    assert "step 2" in told


def test_a_step_without_a_kind_is_told_that_it_needs_one():
    """Not that there is no kind "None", nor whether "once" was meant."""
    told = refused('[[step]]\nkind = "unseen"\n[[step]]\nweight = 0.5')
    assert "step 2" in told
    assert "None" not in told
    assert "once" not in told.split("(available")[0]


@pytest.mark.parametrize(
    ("kinds", "reason"),
    [
        (["floor", "mmr"], '"mmr" comes after "floor" and would undo it: put the floor last.'),
        (["floor", "floor", "block"], '"block" comes after "floor"'),
        (["floor", "randomise"], '"randomise" comes after "floor"'),
        (["randomise", "mmr"], '"mmr" comes after "randomise", whose chances would no longer be true: put it last.'),
        (["randomise", "floor"], '"floor" comes after "randomise"'),
        (["randomise", "unseen"], '"unseen" comes after "randomise"'),
        (["randomise", "randomise"], '"randomise" comes after "randomise"'),
    ],
)
def test_a_step_after_one_that_it_would_undo_is_refused(kinds, reason):
    more = {"floor": FLOOR, "block": {"kind": "block", "items": ["i1"]}}
    with pytest.raises(RequestError) as error:
        make_policy([more.get(kind, {"kind": kind}) for kind in kinds], "own.toml")
    assert str(error.value).startswith("own.toml: ")
    assert reason in str(error.value)


def test_several_floors_may_stand_at_the_end():
    assert len(make_policy([{"kind": "mmr"}, FLOOR, FLOOR]).steps) == 3


def test_a_file_that_is_not_there_or_no_text_is_refused_by_name(tmp_path):
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.toml", "binary.toml", "."):
        for read in (policy_of, policy_text):
            with pytest.raises(RequestError, match="cannot be read") as error:
                read(str(tmp_path / name))
            assert str(tmp_path / name) in str(error.value)
            assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["a\0b.toml", "long" * 2000])
def test_what_can_be_the_name_of_no_file_is_refused_in_one_line(text):
    with pytest.raises(RequestError, match="cannot be read") as error:
        policy_text(text)
    assert "\n" not in str(error.value)


def test_a_text_of_several_lines_is_toml_and_no_name():
    with pytest.raises(RequestError, match=r"^the policy: write each step as a table, \[\[step\]\]\.$"):
        policy_of('[step]\nkind = "mmr"\n')


def test_a_policy_is_its_text_or_the_name_of_a_file_where_one_stands(tmp_path, monkeypatch):
    text = '# our own\n[[step]]\nkind = "mmr"\nweight = 0.25\n'
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text(text, encoding="utf-8")
    for told in (text, "own.toml", str(tmp_path / "own.toml")):
        assert policy_text(told) == text
        assert policy_of(told) == parse_policy(text)


def test_what_is_wrong_is_told_of_the_file_or_of_the_policy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text(step("capp"), encoding="utf-8")
    for told, where in (("own.toml", "own.toml"), (step("capp"), "the policy")):
        with pytest.raises(RequestError, match=rf"no kind of step \(step 2 of {where}\)"):
            policy_of(told)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"kind": "cap", "by": "providers", "most": 1}, 'no grouping or column "providers". Did you mean "provider"?'),
        ({"kind": "once", "by": "town"}, '"town" groups people'),
        ({"kind": "require", "column": "raiting", "at_least": 1}, 'no grouping or column "raiting". Did you mean "rating"?'),
        ({**FLOOR, "group": "bold"}, 'no group of provider "bold". Did you mean "bolt"?'),
    ],
)
def test_what_the_data_has_not_is_refused_when_the_policy_is_applied(table, reason):
    with pytest.raises(RequestError) as error:
        make_policy([table]).apply(pool([[0, 1]]), KNOWN)
    assert reason in str(error.value)


def test_records_say_what_each_step_did():
    """Lists of 3 out of: person 0 items 0 to 5, person 1 items 6, 3, 8.

    Blocked: item 1, which person 0 had second, so item 3 comes in third; nobody is short. Had before: items 0 and 3 of person 0, item 11 of
    person 1, who keeps theirs; person 0 is left with 2, 4 and 5, of which 4 and 5 are new. At most one of a genre: 2 is drama, 4 and 5 war
    or none; of person 1 item 6 is drama and war, 3 war, which goes, 8 war, which goes: short, and the two wait behind the list.
    """
    steps = [{"kind": "block", "items": ["i1"]}, {"kind": "unseen"}, {"kind": "cap", "by": "genre", "most": 1, "name": "mixed"}]
    applied = make_policy(steps).apply(pool([[0, 1, 2, 3, 4, 5], [6, 3, 8]]), KNOWN)
    assert [listed(stage.lists) for stage in applied.stages] == [
        [[0, 1, 2], [6, 3, 8]],
        [[0, 2, 3], [6, 3, 8]],
        [[2, 4, 5], [6, 3, 8]],
        [[2, 4, 5], [6]],
    ]
    told = [(each.removed, each.people, each.replaced, each.short) for each in applied.records]
    assert told == [(1, 1, 1, 0), (2, 1, 2, 0), (0, 1, 0, 1)]
    assert [(each.step, each.kind, each.chance) for each in applied.records[1:]] == [
        ("not had before", "unseen", False),
        ("mixed", "cap", False),
    ]
    assert applied.short.tolist() == [False, True]
    assert limits_hold(applied).tolist() == [True, True]


@pytest.mark.parametrize(("share", "lists", "missed"), [(0.5, [[4, 3], [5]], False), (1.0, [[4, 3], [5]], True)])
def test_a_record_of_a_floor_says_what_it_reached_of_what_was_asked(share, lists, missed):
    """Three of four places are filled, of which bolt can have two: person 0 has 3 and 4 of bolt's to choose from, person 1 nothing."""
    applied = make_policy([{"kind": "block", "items": ["i9"]}, FLOOR | {"share": share}]).apply(pool([[1, 3, 2, 4], [5]], k=2), KNOWN)
    other, floor = applied.records
    assert listed(applied.lists) == lists
    assert (floor.asked, floor.reached, floor.missed) == (share, pytest.approx(2 / 3), missed)
    assert (other.asked, other.reached, other.missed) == (None, None, False)


def test_a_floor_that_is_met_to_the_place_is_not_missed():
    """A third of three places, and more than a third of two."""
    for own in ([0, 1, 3], [0, 3]):
        (record,) = make_policy([FLOOR | {"share": 1 / 3}]).apply(pool([own]), KNOWN).records
        assert (record.reached, record.missed) == (1 / len(own), False)


def test_another_order_of_the_same_items_is_another_list_with_nothing_replaced():
    """Comedy, comedy, war: the last is less like the first."""
    applied = make_policy([{"kind": "mmr", "weight": 0.0}]).apply(pool([[0, 7, 3], [3]]), KNOWN)
    (record,) = applied.records
    assert listed(applied.lists) == [[0, 3, 7], [3]]
    assert (record.removed, record.people, record.replaced, record.short) == (0, 1, 0, 1)


def test_limits_hold_says_of_whom_they_do():
    applied = make_policy([{"kind": "cap", "by": "provider", "most": 1}]).apply(pool([[0, 3], [0, 5]]), KNOWN)
    broken = replace(applied, pool=replace(applied.pool, items=tensor([[0, 1], [0, 5]])))
    assert limits_hold(applied).tolist() == [True, True]
    assert limits_hold(broken).tolist() == [False, True]


def test_a_trace_follows_what_was_in_the_list_at_some_time():
    """Lists of 2. Item 0 is blocked, and 2 moves up; one of each provider: 2 was there before 1."""
    steps = [{"kind": "block", "items": ["i0"]}, {"kind": "once", "by": "provider"}]
    applied = make_policy(steps).apply(pool([[0, 2, 1, 3, 4]], k=2), KNOWN)
    told = applied.trace(0, [f"film {item}" for item in range(N_ITEMS)])
    assert list(told.columns) == ["item", "before", "1 blocked items", "one of each provider", ""]
    assert told.to_numpy().tolist() == [
        ["film 2", "2", "1", "1", ""],
        ["film 3", "4", "3", "2", ""],
        ["film 1", "3", "2", "3", "below the list"],
        ["film 0", "1", "", "", "taken away: 1 blocked items"],
    ]


@pytest.mark.parametrize("name", ["", "new to them"])
def test_a_trace_is_silent_about_what_the_person_had(name):
    """Items 0 and 3, which `unseen` refuses whatever it is called; what another step refused before it is told."""
    steps = [{"kind": "block", "items": ["i3"]}, {"kind": "unseen", "name": name}, {"kind": "block", "items": ["i1"]}]
    told = make_policy(steps).apply(pool([[0, 1, 2, 3]], k=4), KNOWN).trace(0, [f"film {item}" for item in range(N_ITEMS)])
    assert dict(zip(told["item"], told[""], strict=True)) == {
        "film 2": "",
        "film 1": "taken away: 1 blocked items (2)",
        "film 3": "taken away: 1 blocked items",
    }


def test_a_trace_of_who_has_no_candidates_is_empty():
    assert make_policy([{"kind": "mmr"}]).apply(pool([[], [1]]), KNOWN).trace(0, ["a", "b"]).empty


def test_a_trace_has_a_column_for_each_step_even_where_two_are_called_alike():
    steps = [{"kind": "block", "items": ["i0"]}, {"kind": "block", "items": ["i1"]}]
    told = make_policy(steps).apply(pool([[0, 1, 2]], k=2), KNOWN).trace(0, ["a", "b", "c"])
    assert told.shape == (3, 2 + 1 + len(steps))
    assert told.iloc[0].tolist() == ["c", "3", "2", "1", ""]


@pytest.mark.parametrize(
    ("own", "later", "shown"),
    [
        ([0, 1], {"kind": "block", "items": ["i0"]}, [1]),
        ([0, 10, 7], {"kind": "once", "by": "title"}, [0, 7]),
    ],
)
def test_hard_rules_leave_the_same_to_show_in_whatever_order_they_stand(own, later, shown):
    """One of each provider. Items 0 and 1 are acme's: with 0 blocked there is room for 1. Items 10 and 7 are cody's, and 10 is "Alien", as
    is 0: without it there is room for 7. What a rule takes away must not have driven anything out before.
    """
    limit = {"kind": "cap", "by": "provider", "most": 1}
    for steps in ([later, limit], [limit, later]):
        assert listed(make_policy(steps).apply(pool([own]), KNOWN).lists) == [shown]


def test_what_moves_up_after_a_limit_keeps_to_it():
    """One of each provider in a list of 2: acme's 0 and bolt's 3. With 0 blocked, bolt's 4 comes next, and gives way to cody's 7."""
    steps = [{"kind": "cap", "by": "provider", "most": 1}, {"kind": "block", "items": ["i0"]}]
    assert listed(make_policy(steps).apply(pool([[0, 3, 4, 7]], k=2), KNOWN).lists) == [[3, 7]]


TEXTS = {item: (cell or "").strip() for item, cell in enumerate(ITEMS["provider"])}
RATED_3 = {0, 1, 5, 6, 9, 11}
OFFERED_AT_20 = {1, 7, 8}
ITEM_RULES = {
    "block": ({"kind": "block", "items": ["i2", "i5"]}, lambda user, item: item not in (2, 5)),
    "acme": ({"kind": "require", "column": "provider", "among": ["acme", "cody"]}, lambda user, item: TEXTS[item] in ("acme", "cody")),
    "rated": ({"kind": "require", "column": "rating", "at_least": 3}, lambda user, item: item in RATED_3),
    "offered": ({"kind": "available", "at": 20, "since": "since", "until": "until"}, lambda user, item: item in OFFERED_AT_20),
    "unseen": ({"kind": "unseen"}, lambda user, item: (user, item) not in HAD),
}
LIMITS = {
    f"{kind} {by} {most}": ({"kind": kind, "by": by} | ({"most": most} if kind == "cap" else {}), by, most)
    for kind, by, most in [("cap", "provider", 1), ("cap", "provider", 2), ("cap", "genre", 1), ("cap", "genre", 2), ("once", "title", 1)]
}
weights = st.sampled_from([0.0, 0.3, 1.0])
preferences = st.one_of(
    st.builds(lambda kind, weight: {"kind": kind, "weight": weight}, st.sampled_from(["mmr", "dpp"]), weights),
    st.builds(lambda by, weight: {"kind": "calibrate", "by": by, "weight": weight}, st.sampled_from(["genre", "popularity"]), weights),
)
endings = st.one_of(
    st.just([]),
    st.builds(lambda share: [FLOOR | {"share": share}], st.sampled_from([0.3, 1.0])),
    st.just([FLOOR, {"kind": "floor", "by": "genre", "group": "war", "share": 0.4}]),
    st.builds(lambda share, seed: [{"kind": "randomise", "share": share, "seed": seed}], st.sampled_from([0.1, 0.9]), st.integers(0, 9)),
)
finite = st.floats(allow_nan=False, allow_infinity=False)


def groups(by, item):
    return {each.strip() for each in (ITEMS[by][item] or "").split("|" if by == "genre" else "\0") if each.strip()}


def kept(by, most, items):
    """Whether no group of these items comes more often than that."""
    return all(count <= most for count in Counter(group for item in items for group in groups(by, item)).values())


@st.composite
def four_people(draw, scores=finite):
    sizes = draw(st.lists(st.integers(0, N_ITEMS), min_size=4, max_size=4))
    items = [draw(st.permutations(range(N_ITEMS)))[:size] for size in sizes]
    return pool(items, [draw(st.lists(scores, min_size=len(own), max_size=len(own))) for own in items], draw(st.integers(1, 6)))


@settings(max_examples=60, deadline=None)
@given(
    four_people(),
    st.lists(st.sampled_from(sorted(ITEM_RULES)), unique=True, max_size=3),
    st.lists(st.sampled_from(sorted(LIMITS)), unique=True, max_size=2),
    st.lists(preferences, max_size=2),
    endings,
    st.randoms(use_true_random=False),
)
def test_hard_rules_hold_in_every_list_whatever_else_is_preferred(start, rules, limits, preferred, ending, random):
    """Any steps in any order, any finite scores; who has too few is said to be short."""
    steps = [ITEM_RULES[name][0] for name in rules] + [LIMITS[name][0] for name in limits] + preferred
    random.shuffle(steps)
    applied = make_policy([*steps, *ending]).apply(start, KNOWN)
    known = interactions(HAD, 4, N_ITEMS)
    judged = holdout(known, interactions(TRUTH, 4, N_ITEMS))
    check_lists(applied.lists, judged if "unseen" in rules else replace(judged, seen=None), "made up")
    assert limits_hold(applied).all()
    for user, (before, items) in enumerate(zip(listed(start.items), listed(applied.lists), strict=True)):
        assert set(items) <= set(before)
        assert all(ITEM_RULES[name][1](user, item) for name in rules for item in items)
        assert all(kept(*LIMITS[name][1:], items) for name in limits)
    lengths = [len(items) for items in listed(applied.lists)]
    assert applied.short.tolist() == [length < start.k for length in lengths]
    assert [record.short for record in applied.records][-1:] in ([], [sum(applied.short.tolist())])


@settings(max_examples=40, deadline=None)
@given(
    four_people(),
    st.lists(st.sampled_from(sorted(ITEM_RULES)), unique=True, max_size=3),
    st.lists(st.sampled_from(sorted(LIMITS)), unique=True, max_size=2),
    st.lists(preferences, max_size=2),
    st.randoms(use_true_random=False),
)
def test_a_list_is_short_only_where_nothing_else_may_be_shown(start, rules, limits, preferred, random):
    """In whatever order the steps stand: whoever may be shown and fits would have been taken."""
    steps = [ITEM_RULES[name][0] for name in rules] + [LIMITS[name][0] for name in limits] + preferred
    random.shuffle(steps)
    applied = make_policy(steps).apply(start, KNOWN)
    for user, (before, items) in enumerate(zip(listed(start.items), listed(applied.lists), strict=True)):
        left = [item for item in before if item not in items and all(ITEM_RULES[name][1](user, item) for name in rules)]
        if len(items) < start.k:
            assert not [item for item in left if all(kept(*LIMITS[name][1:], [*items, item]) for name in limits)]


def test_facts_are_those_of_the_moment_of_the_request():
    """The holdout's history, not what is to be found."""
    judged = holdout(interactions([(0, 2)], 4, N_ITEMS), interactions([(0, 1)], 4, N_ITEMS))
    policy = Policy(make_policy([{"kind": "unseen"}]).steps)
    assert policy.apply(pool([[0, 1, 2]]), Facts.of(KNOWN.data, judged)).lists.tolist() == [[0, 1, -1]]
