"""Curves of made-up evaluations: how far newcomers are from regulars, and which method to use with how much known."""

import pytest
import torch

from tests.coldstart.made import coloured, log, new_people, unsealed
from tests.evaluation.made import Scores, everyone, valued
from workbench.coldstart import Curve, Newcomers, against_floor, curves, newcomers, switch
from workbench.data.splits import split
from workbench.evaluation import evaluate
from workbench.models import create

METRIC, N = "ndcg@10", 40


def curve(name, by_depth, warm=None, regulars=None):
    """The mean of each depth, the same for each of 40 people unless a value of each is given; regulars: who has a value as one."""
    judged = everyone(N)
    known = None if warm is None else valued(warm, name, judged if regulars is None else judged.select(regulars))
    return Curve(name=name, by_depth={depth: valued(spread(each), name, judged) for depth, each in by_depth.items()}, warm=known)


def spread(value):
    return value if isinstance(value, torch.Tensor) else torch.full((N,), value, dtype=torch.float64)


def ramp(low, high, n=N):
    return torch.linspace(low, high, n, dtype=torch.float64)


def test_a_curve_is_called_as_its_method_and_its_mean_counts_depths_alike():
    found = curve("ease", {0: 0.1, 1: 0.2, 5: 0.6})
    assert found.title == "ease"
    assert found.mean(METRIC) == pytest.approx((0.1 + 0.2 + 0.6) / 3)


def test_a_gap_is_each_persons_value_less_their_own_as_a_regular():
    """Two depths; of everybody's values as regulars each is higher by 0.3 and by 0.1."""
    regular = ramp(0.4, 0.8)
    gaps = curve("ease", {0: regular - 0.3, 5: regular - 0.1}, regular).gaps(METRIC)
    assert [gap.difference.value for gap in gaps] == pytest.approx([-0.3, -0.1])
    assert [(gap.a, gap.b, gap.metric, gap.dimension, gap.group) for gap in gaps] == [
        ("ease", "as regulars", METRIC, "events known", depth) for depth in ("0", "5")
    ]
    assert all(gap.losses == gap.difference.n == N for gap in gaps)


def test_only_who_is_judged_as_both_is_compared():
    """The first ten have no history long enough: their values are 0 and would pull the gap down."""
    regulars = torch.arange(N) >= 10
    values = torch.where(regulars, ramp(0.3, 0.5), 0.0)
    (gap,) = curve("ease", {3: values}, values[10:] + 0.05, regulars).gaps(METRIC)
    assert gap.difference.value == pytest.approx(-0.05)
    assert gap.difference.n == 30


def test_people_are_matched_by_who_they_are_and_not_by_their_place():
    """As regulars only every other person is there, with the value of their code."""
    regulars = torch.arange(N) % 2 == 1
    (gap,) = curve("ease", {3: ramp(0, 1)}, ramp(0, 1)[1::2], regulars).gaps(METRIC)
    assert (gap.difference.value, gap.ties) == (0, 20)


def test_with_a_floor_what_the_method_adds_to_it_is_compared():
    """With 5 known the method has .1 more than popularity; as a regular .25 more, of what is harder to find: popularity has .2 less there.

    So the gap is .1 - .25, though the plain one is .3 - .25.
    """
    popular = curve("popularity", {5: ramp(0.1, 0.3)}, ramp(-0.1, 0.1))
    ease = curve("ease", {5: ramp(0.1, 0.3) + 0.1}, ramp(-0.1, 0.1) + 0.25)
    assert ease.gaps(METRIC, popular)[0].difference.value == pytest.approx(0.1 - 0.25)
    assert ease.gaps(METRIC)[0].difference.value == pytest.approx(0.2 + 0.1 - 0.25)
    assert popular.gaps(METRIC, popular)[0].difference.value == 0


def test_the_floor_is_taken_off_person_by_person():
    """Method and floor change places among people: the means are alike and the gap has a spread."""
    regulars = torch.arange(N) >= 20
    floor = curve("popularity", {2: ramp(0, 1)}, ramp(1, 0, 20), regulars)
    method = curve("ease", {2: ramp(1, 0)}, ramp(0, 1, 20), regulars)
    (gap,) = method.gaps(METRIC, floor)
    expected = (ramp(1, 0) - ramp(0, 1))[20:] - (ramp(0, 1, 20) - ramp(1, 0, 20))
    assert gap.difference.value == pytest.approx(expected.mean().item())
    assert (gap.wins, gap.losses) == (int((expected > 0).sum()), int((expected < 0).sum()))


def test_where_nobody_is_a_regular_there_are_no_gaps():
    assert curve("ease", {0: 0.1, 1: 0.2}).gaps(METRIC) == []


def test_where_nobody_is_judged_as_both_there_are_no_gaps():
    """The people of the depths are the first half, those of the regulars the second."""
    judged = everyone(N)
    first = torch.arange(N) < 20
    newcomer, regular = (valued(ramp(0, 1, 20), "ease", judged.select(half)) for half in (first, ~first))
    found = Curve(name="ease", by_depth={0: newcomer}, warm=regular)
    assert found.gaps(METRIC) == []
    assert found.gaps(METRIC, found) == []


def test_intervals_of_several_depths_hold_together():
    """Each of twelve is wider than it would be alone."""
    shaken = torch.rand(12, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    regular = torch.full((N,), 0.5, dtype=torch.float64)
    several = curve("ease", dict(enumerate(shaken)), regular).gaps(METRIC)
    for gap, values in zip(several, shaken, strict=True):
        (alone,) = curve("ease", {1: values}, regular).gaps(METRIC)
        assert gap.difference.value == pytest.approx(alone.difference.value)
        assert gap.difference.low < alone.difference.low < alone.difference.high < gap.difference.high
        assert gap.p_value >= alone.p_value


def three(**means):
    """By name, the means at depths 0, 1, 5 and 20."""
    return {name: curve(name, dict(zip((0, 1, 5, 20), each, strict=True))) for name, each in means.items()}


VALIDATION = three(popular=(0.3, 0.2, 0.2, 0.2), content=(0.1, 0.3, 0.25, 0.2), ease=(0.1, 0.2, 0.5, 0.6))
TEST = three(popular=(0.25, 0.2, 0.9, 0.9), content=(0.9, 0.15, 0.9, 0.9), ease=(0.05, 0.35, 0.4, 0.5))


def test_the_best_of_validation_is_chosen_for_each_depth():
    found = switch(VALIDATION, TEST, METRIC)
    assert found.chosen == {0: "popular", 1: "content", 5: "ease", 20: "ease"}
    assert found.single == "ease", "(.1 + .2 + .5 + .6) / 4 against .9 / 4 and .85 / 4"
    assert found.metric == METRIC


def test_what_switching_is_worth_is_said_on_test_and_only_where_it_differs():
    gains = switch(VALIDATION, TEST, METRIC).gains
    assert [(gain.a, gain.b, gain.dimension, gain.group) for gain in gains] == [
        ("popular", "ease", "events known", "0"),
        ("content", "ease", "events known", "1"),
    ]
    assert [gain.difference.value for gain in gains] == pytest.approx([0.25 - 0.05, 0.15 - 0.35])


def test_where_one_method_is_best_throughout_nothing_is_switched():
    found = switch(three(ease=(0.2, 0.3, 0.4, 0.5), popular=(0.1, 0.1, 0.1, 0.1)), TEST, METRIC)
    assert found.single == "ease"
    assert set(found.chosen.values()) == {"ease"}
    assert found.gains == []
    assert found.stretches == [(0, 20, "ease")]


def test_neighbours_with_one_method_are_one_stretch():
    assert switch(VALIDATION, TEST, METRIC).stretches == [(0, 0, "popular"), (1, 1, "content"), (5, 20, "ease")]
    back = three(popular=(0.3, 0.1, 0.3, 0.3), ease=(0.1, 0.2, 0.1, 0.1))
    assert switch(back, TEST, METRIC).stretches == [(0, 0, "popular"), (1, 1, "ease"), (5, 20, "popular")], "once more after another"


def test_the_single_method_is_best_on_average_though_it_be_best_nowhere():
    uneven = three(popular=(0.6, 0.0, 0.0, 0.0), content=(0.0, 0.6, 0.0, 0.6), ease=(0.5, 0.5, 0.5, 0.5))
    found = switch(uneven, TEST, METRIC)
    assert found.single == "ease"
    assert found.chosen == {0: "popular", 1: "content", 5: "ease", 20: "content"}
    assert len(found.gains) == 3


def test_of_equals_the_first_is_chosen():
    equal = three(popular=(0.2, 0.2, 0.2, 0.2), ease=(0.2, 0.2, 0.2, 0.2))
    found = switch(equal, TEST, METRIC)
    assert (found.single, set(found.chosen.values())) == ("popular", {"popular"})


def apart(mean, spread):
    """A value for each person: the mean, and half of them as far above as the other half below."""
    return torch.tensor([mean + spread, mean - spread] * (N // 2), dtype=torch.float64)


@pytest.mark.parametrize(("errors", "chosen"), [(0.9, "single"), (1.1, "other")])
def test_another_method_is_chosen_where_it_is_ahead_by_more_than_a_standard_error(errors, chosen):
    """Of 40 paired differences of 0.1 ± 0.3 the standard error is 0.3 / √39; ties of spread between people do not count."""
    ahead = errors * 0.3 / (N - 1) ** 0.5
    shared = ramp(0, 5)
    single = curve("single", {0: shared + 0.2, 5: spread(9.0)})
    other = curve("other", {0: shared + 0.2 + apart(ahead, 0.3), 5: spread(1.0)})
    found = switch({"single": single, "other": other}, {"single": single, "other": other}, METRIC)
    assert found.single == "single"
    assert found.chosen == {0: chosen, 5: "single"}
    assert len(found.gains) == (chosen == "other")


def test_of_several_that_are_surely_ahead_the_best_is_chosen_though_another_be_higher_by_luck():
    """The highest mean is ahead by a third of its standard error, the next one by the same for everybody."""
    made = {
        "single": curve("single", {0: 0.2, 5: 9.0}),
        "lucky": curve("lucky", {0: 0.25 + apart(0, 1.0), 5: 1.0}),
        "sure": curve("sure", {0: 0.24, 5: 1.0}),
        "less": curve("less", {0: 0.22, 5: 1.0}),
    }
    assert switch(made, made, METRIC).chosen == {0: "sure", 5: "single"}


def test_one_person_says_nothing_of_how_sure_it_is_and_nothing_is_switched():
    judged = everyone(1)
    one = {
        name: Curve(name=name, by_depth={depth: valued([value], name, judged) for depth, value in enumerate(values)}, warm=None)
        for name, values in (("popular", (0.4, 0.0)), ("ease", (0.1, 0.9)))
    }
    found = switch(one, one, METRIC)
    assert (found.single, set(found.chosen.values()), found.gains) == ("ease", {"ease"}, [])


def test_what_is_chosen_is_held_against_the_floor_at_each_depth_where_it_is_another():
    found = against_floor(TEST, {0: "popular", 1: "content", 5: "ease", 20: "ease"}, "popular", METRIC)
    assert [(each.a, each.b, each.metric, each.dimension, each.group) for each in found] == [
        ("content", "popular", METRIC, "events known", "1"),
        ("ease", "popular", METRIC, "events known", "5"),
        ("ease", "popular", METRIC, "events known", "20"),
    ]
    assert [each.difference.value for each in found] == pytest.approx([0.15 - 0.2, 0.4 - 0.9, 0.5 - 0.9])
    assert against_floor(TEST, dict.fromkeys((0, 1, 5, 20), "popular"), "popular", METRIC) == []


def test_who_is_the_floor_with_nothing_known_is_compared_with_it_from_one_event_on():
    """With events known, to be no better than the floor is a finding."""
    made = {"ease": curve("ease", {0: 0.3, 1: 0.3, 5: 0.6}), "popular": curve("popular", dict.fromkeys((0, 1, 5), 0.3))}
    assert [each.group for each in against_floor(made, dict.fromkeys((0, 1, 5), "ease"), "popular", METRIC)] == ["1", "5"]


def test_comparisons_with_the_floor_are_one_family():
    """Each of twelve is wider than it would be alone."""
    shaken = torch.rand(12, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    made = {"ease": curve("ease", dict(enumerate(shaken))), "popular": curve("popular", dict.fromkeys(range(12), 0.3))}
    for place, one in enumerate(against_floor(made, dict.fromkeys(range(12), "ease"), "popular", METRIC)):
        (alone,) = against_floor(made, {place: "ease"}, "popular", METRIC)
        assert one.difference.value == pytest.approx(alone.difference.value)
        assert one.difference.low < alone.difference.low < alone.difference.high < one.difference.high
        assert one.p_value >= alone.p_value


class Asked(Scores):
    """Remembers how many events were known of whom it scored."""

    def __init__(self, personal):
        super().__init__(torch.rand(80, 60, generator=torch.Generator().manual_seed(0)), personal=personal)
        self.lengths = set()

    def score(self, batch):
        self.lengths |= set(batch.lengths.tolist())
        return super().score(batch)


def test_each_method_is_judged_at_each_depth_and_as_of_regulars():
    people = newcomers(new_people(coloured(), 60), "valid", (0, 1, 3))
    methods = {"all": Asked(personal=False), "personal": Asked(personal=True)}
    popular = create("popularity").fit(people.warm.history)
    found = curves(methods, people, (5, 10), popular)
    assert list(found) == ["all", "personal"]
    for each in found.values():
        assert tuple(each.by_depth) == (0, 1, 3)
        assert all(each.by_depth[depth].holdout is people.depths[depth] for depth in people.depths)
        assert each.warm.holdout is people.warm
        assert each.warm.ks == (5, 10)
    regular = set(people.warm.history_lengths.tolist())
    assert methods["all"].lengths == {0, 1, 3} | regular
    assert methods["personal"].lengths == {1, 3} | regular, "it cannot say a word of who has no history"
    nothing = found["personal"].by_depth[0]
    assert nothing.served_by_fallback.all()
    assert torch.equal(nothing.top, evaluate(popular, people.depths[0], ks=(5, 10)).top)
    assert not found["personal"].by_depth[1].served_by_fallback.any()


def test_where_nobody_has_a_history_long_enough_there_are_no_regulars():
    """19 events each: 3 known and 10 to find, which is not twice as many."""
    parts = split(log(coloured(each=19), 60), "new_user", fractions=(0.4, 0.3, 0.3))
    people = newcomers(parts, "valid", (0, 3))
    found = curves({"popularity": create("popularity").fit(parts.train)}, people, (10,), create("random").fit(parts.train))
    assert found["popularity"].warm is None
    assert found["popularity"].gaps(METRIC) == []


def test_curves_of_other_holdouts_of_the_same_people_agree():
    """A depth's evaluation is what `evaluate` says of that holdout alone."""
    parts = new_people(coloured(), 60)
    people = newcomers(parts, "test", (0, 2))
    people = Newcomers(
        part="test",
        depths={depth: unsealed(each) for depth, each in people.depths.items()},
        warm=unsealed(people.warm),
        n_people=people.n_people,
    )
    model, popular = create("ease").fit(parts.train), create("popularity").fit(parts.train)
    found = curves({"ease": model}, people, (10,), popular)["ease"]
    for depth, holdout in people.depths.items():
        assert torch.equal(found.by_depth[depth].values(METRIC), evaluate(model, holdout, ks=(10,), fallback=popular).values(METRIC))
    assert found.by_depth[2].mean(METRIC) > found.by_depth[0].mean(METRIC) + 0.1, "two events say the colour"
