"""What gates can show before anybody looks at the test part, against closed forms."""

import math
from statistics import NormalDist
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.evaluation.made import METRIC, everyone, tables, valued
from workbench.errors import RequestError
from workbench.promotion.gates import Gates, Guardrail, Primary
from workbench.promotion.plan import SHIFTS, Planned, Z, characteristics, differences, plan
from workbench.testing import interactions
from workbench.testing.synthetic import holdout

NORMAL = NormalDist()
NOT_WORSE = Primary(metric=METRIC, must="not be worse", margin=0.1)


def values(n, sd, mean=0.0, seed=0):
    """float64 (n,) of exactly this mean and standard deviation."""
    drawn = np.random.default_rng(seed).normal(size=n)
    return torch.from_numpy(mean + sd * (drawn - drawn.mean()) / drawn.std(ddof=1))


def planned(n, sd, *, margin=0.0, effect=0.0, seed=0, rival=0.3, name="primary", m=600):
    return Planned(name=name, metric=METRIC, of=None, margin=margin, effect=effect, n=n, gaps=values(m, sd, seed=seed), rival=rival)


def gates(primary=NOT_WORSE, guardrail=(), **told):
    return Gates(because="A test.", primary=primary, guardrail=tuple(guardrail), **told)


def pair(n, sd, judged=None):
    """A model and its rival on validation, whose differences have this standard deviation."""
    judged = judged or everyone(n)
    return valued(0.3 + values(n, sd), judged=judged), valued(torch.full((n,), 0.3), judged=judged)


NO_DATA = SimpleNamespace(card=SimpleNamespace(slices={}))


@pytest.mark.parametrize(("n", "share"), [(100, 0.09), (943, 0.46)])
def test_an_equal_model_rarely_passes_a_margin_that_is_small_for_so_few_people(n, share):
    """Of item-kNN and EASE on ML-100k the differences in NDCG@10 have a standard deviation of .165."""
    assert planned(n, 0.165, margin=0.01).power == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("told", [{"margin": 0.03}, {"effect": 0.03}])
def test_power_is_that_of_a_two_sided_interval_at_95_percent(told):
    for n, sd in ((50, 0.1), (400, 0.2), (2000, 0.3)):
        expected = NORMAL.cdf(0.03 * math.sqrt(n) / sd - NORMAL.inv_cdf(0.975))
        assert planned(n, sd, **told).power == pytest.approx(expected, abs=1e-9)


def test_what_can_be_detected_is_2_8_standard_errors():
    assert planned(400, 0.2, margin=0.1).detectable == pytest.approx((1.959964 + 0.841621) * 0.2 / 20, rel=1e-5)


def test_models_that_never_differ_always_pass():
    assert planned(100, 0.0, margin=0.01).power == 1.0


def test_people_outside_of_the_slice_have_no_part_in_the_spread():
    gate = planned(100, 0.165, margin=0.01)
    wider = Planned(**{**vars(gate), "gaps": torch.cat([gate.gaps, torch.full((500,), torch.nan)])})
    assert wider.sd == pytest.approx(gate.sd)


@pytest.mark.parametrize("n", [100, 943])
def test_a_gate_without_power_is_refused_with_the_least_margin_that_would_do(n):
    asked = gates(Primary(metric=METRIC, must="not be worse", margin=0.01))
    with pytest.raises(RequestError) as refused:
        plan(asked, NO_DATA, everyone(n), pair(200, 0.165))
    said = str(refused.value)
    share = {100: "9%", 943: "46%"}[n]
    told = f"{n:,} people show an equal model through a margin of 0.01 {share} of the time, and 80% is asked for; write down at least "
    assert said.startswith(f"the gate on {METRIC} (primary) has no power: {told}"), said
    assert "\n" not in said
    least = float(said.split("write down at least ")[1].split(",")[0])
    (gate,) = plan(gates(Primary(metric=METRIC, must="not be worse", margin=least)), NO_DATA, everyone(n), pair(200, 0.165))
    assert gate.power >= 0.8
    with pytest.raises(RequestError, match="has no power"):
        plan(gates(Primary(metric=METRIC, must="not be worse", margin=round(least - 0.001, 3))), NO_DATA, everyone(n), pair(200, 0.165))


def test_an_improvement_that_would_too_rarely_show_is_refused_with_the_least_that_would():
    with pytest.raises(RequestError, match=r"100 people show an improvement of 0.01 9% of the time") as refused:
        plan(gates(Primary(metric=METRIC, effect=0.01)), NO_DATA, everyone(100), pair(200, 0.165))
    least = float(str(refused.value).split("write down at least ")[1].split(",")[0])
    (gate,) = plan(gates(Primary(metric=METRIC, effect=least)), NO_DATA, everyone(100), pair(200, 0.165))
    assert (gate.primary, gate.effect, gate.margin, gate.n, gate.rival) == (True, least, 0, 100, pytest.approx(0.3))


def test_how_much_power_is_asked_for_is_written_down_with_the_gates():
    asked = Primary(metric=METRIC, must="not be worse", margin=0.01)
    (gate,) = plan(gates(asked, power=0.08), NO_DATA, everyone(100), pair(200, 0.165))
    assert gate.power == pytest.approx(0.09, abs=0.01)
    with pytest.raises(RequestError, match="and 95% is asked for"):
        plan(gates(Primary(metric=METRIC, must="not be worse", margin=0.05), power=0.95), NO_DATA, everyone(100), pair(200, 0.165))


GROUPED = tables(
    users={"gender": ["F" if user % 4 == 0 else "M" for user in range(2000)]}, items={}, gender={"table": "users", "column": "gender"}
)


def test_a_dimension_is_each_of_its_groups_with_its_own_people():
    guardrail = [Guardrail(metric=METRIC, slice="gender", margin=0.1)]
    found = plan(gates(guardrail=guardrail), GROUPED, everyone(2000), pair(1000, 0.165))
    assert [gate.name for gate in found] == ["primary", "gender: M", "gender: F"]
    assert [gate.n for gate in found] == [2000, 1500, 500]
    assert [int((~gate.gaps.isnan()).sum()) for gate in found] == [1000, 750, 250]


def test_a_slice_by_its_label_is_one_group():
    guardrail = [Guardrail(metric=METRIC, slice="gender: F", margin=0.1), Guardrail(metric=METRIC, margin=0.1)]
    found = plan(gates(guardrail=guardrail), GROUPED, everyone(2000), pair(1000, 0.165))
    assert [(gate.name, gate.n) for gate in found] == [("primary", 2000), ("gender: F", 500), ("everyone", 2000)]


def test_people_whose_group_is_not_known_are_no_group():
    cells = [("F" if user % 4 == 0 else "M") if user % 5 else "" for user in range(2000)]
    data = tables(users={"gender": cells}, items={}, gender={"table": "users", "column": "gender"})
    found = plan(gates(guardrail=[Guardrail(metric=METRIC, slice="gender", margin=0.1)]), data, everyone(2000), pair(1000, 0.165))
    assert [gate.name for gate in found] == ["primary", "gender: M", "gender: F"]


@pytest.mark.parametrize("text", ["gender x age", "gender × age: F, old"])
def test_an_intersection_can_be_guarded(text):
    users = {
        "gender": ["F" if user % 4 == 0 else "M" for user in range(2000)],
        "age": ["old" if user % 3 else "new" for user in range(2000)],
    }
    data = tables(users=users, items={}, **{name: {"table": "users", "column": name} for name in users})
    found = plan(gates(guardrail=[Guardrail(metric=METRIC, slice=text, margin=0.1)]), data, everyone(2000), pair(1000, 0.165))
    assert "gender × age: F, old" in [gate.name for gate in found]


def test_a_small_group_is_refused_by_its_own_number_of_people():
    guardrail = [Guardrail(metric=METRIC, slice="gender", margin=0.02)]
    with pytest.raises(RequestError, match=r"^the gate on ndcg@10 \(gender: F\) has no power: 500 people show"):
        plan(gates(guardrail=guardrail), GROUPED, everyone(2000), pair(1000, 0.165))


def test_slices_that_are_shown_without_a_say_are_known_before_anything_is_judged():
    with pytest.raises(RequestError, match="gendr"):
        plan(gates(slices="gendr"), GROUPED, everyone(2000), pair(1000, 0.165))


def test_all_gates_without_power_are_named_at_once():
    guardrail = [Guardrail(metric=METRIC, slice="gender", margin=0.01)]
    with pytest.raises(RequestError) as refused:
        plan(gates(Primary(metric=METRIC, effect=0.01), guardrail), GROUPED, everyone(1000), pair(1000, 0.165))
    told = str(refused.value).split("; the gate on ")
    assert [each.partition(f"{METRIC} (")[2].partition(")")[0] for each in told] == ["primary", "gender: M", "gender: F"]
    assert all("write down at least" in each for each in told)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("gender: X", 'there is no slice to guard "gender: X". Did you mean "gender: '),
        ("gender: f", 'there is no slice to guard "gender: f". Did you mean "gender: F"?'),
        ("gendr", 'there is no grouping or column "gendr". Did you mean "gender"?'),
        ("popularity: tail", 'there is no slice to guard "popularity: tail". Did you mean "popularity: tail items"?'),
    ],
)
def test_a_slice_that_is_not_there_is_answered_with_those_that_are(text, what):
    known = interactions([(user, item) for user in range(40) for item in range(12) if (user + item) % (item + 2) == 0], 40, 12)
    test = holdout(known, interactions([(user, 11 - user % 3) for user in range(40)], 40, 12))
    with pytest.raises(RequestError) as refused:
        plan(gates(guardrail=[Guardrail(metric=METRIC, slice=text, margin=0.1)], power=0.1), GROUPED, test, pair(1000, 0.165))
    assert str(refused.value).startswith(what)


def test_a_group_that_validation_does_not_have_is_refused():
    """Of 1,000 people of validation nobody is in the group that the last 1,000 of test are in."""
    cells = ["old"] * 1000 + ["new"] * 1000
    data = tables(users={"age": cells}, items={}, age={"table": "users", "column": "age"})
    with pytest.raises(
        RequestError, match=r"^the gate on ndcg@10 \(age: new\) has nobody to judge: 1000 people of test, and too few of val"
    ):
        plan(gates(guardrail=[Guardrail(metric=METRIC, slice="age", margin=0.1)]), data, everyone(2000), pair(1000, 0.165))


def test_a_group_of_one_person_is_refused():
    cells = ["old"] * 1999 + ["new"]
    data = tables(users={"age": cells}, items={}, age={"table": "users", "column": "age"})
    with pytest.raises(RequestError, match=r"^the gate on ndcg@10 \(age: new\) has nobody to judge: 1 people of test.* Leave it out\.$"):
        plan(gates(guardrail=[Guardrail(metric=METRIC, slice="age", margin=0.1)]), data, everyone(2000), pair(1000, 0.165))


def test_measures_and_metrics_of_all_lists_together_need_no_people():
    guardrail = [Guardrail(measure="p99_ms", most=1), Guardrail(metric="coverage@10", margin=0.1)]
    assert [gate.name for gate in plan(gates(guardrail=guardrail), NO_DATA, everyone(400), pair(200, 0.1))] == ["primary"]


def test_a_difference_is_above_zero_where_the_first_is_better():
    judged = everyone(3)
    for metric, sign in ((METRIC, 1), ("mean_popularity@10", -1)):
        a, b = (valued(each, judged=judged, metric=metric) for each in ([1.0, 2.0, 3.0], [0.5, 2.0, 4.0]))
        assert torch.equal(differences(a, b, metric, None), sign * torch.tensor([0.5, 0.0, -1.0], dtype=torch.float64))


def told(found, truth):
    return next(each for each in found if each.truth == truth)


def test_an_equal_model_is_taken_for_a_better_one_in_two_and_a_half_of_a_hundred():
    found = characteristics([planned(800, 0.165, effect=0.02)], 800)
    assert told(found, "equal").primary == pytest.approx(0.025, abs=0.01)


def test_characteristics_are_what_the_normal_formula_says():
    for n, sd, margin in ((400, 0.165, 0.02), (943, 0.1, 0.0), (200, 0.3, 0.06)):
        gate = planned(n, sd, margin=margin, rival=0.8)
        for each in characteristics([gate], n):
            expected = NORMAL.cdf((margin + SHIFTS[each.truth] * 0.8) * math.sqrt(n) / sd - Z)
            assert each.primary == pytest.approx(expected, abs=0.03 if 0.1 < expected < 0.9 else 0.02), (n, each)


def test_power_at_a_true_difference_is_what_the_normal_formula_says():
    """Shifts are 2 % of the rival: one of 1.5 and of -1.5 on average makes them .03."""
    for rival in (1.5, -1.5):
        gate = planned(500, 0.3, effect=0.02, rival=rival)
        found = characteristics([gate], 500, seed=3)
        assert told(found, "2 % better").primary == pytest.approx(NORMAL.cdf(0.03 * math.sqrt(500) / 0.3 - Z), abs=0.02)
        assert told(found, "2 % worse").primary == pytest.approx(NORMAL.cdf(-0.03 * math.sqrt(500) / 0.3 - Z), abs=0.02)


def test_who_is_better_passes_more_often_and_who_is_worse_less():
    found = characteristics([planned(600, 0.2, margin=0.01), planned(600, 0.2, margin=0.02, seed=1, name="everyone")], 600)
    for share in ("passes", "primary", "all_guardrails"):
        worse, equal, better = (getattr(told(found, truth), share) for truth in ("2 % worse", "equal", "2 % better"))
        assert worse < equal < better, share


def test_all_gates_together_pass_no_more_often_than_each():
    gates_ = [planned(600, 0.2, margin=0.02, seed=seed, name=name) for seed, name in enumerate(("primary", "a", "b"))]
    together, alone = characteristics(gates_, 600), [characteristics([gate], 600) for gate in gates_]
    for each in together:
        assert each.passes <= min(each.primary, each.all_guardrails)
        assert each.passes <= min(told(found, each.truth).primary for found in alone)
    independent = told(together, "equal")
    assert independent.passes == pytest.approx(independent.primary * independent.all_guardrails, abs=0.03)


def test_gates_on_the_same_people_are_not_taken_for_independent():
    gate = planned(600, 0.2, margin=0.02)
    same = Planned(**{**vars(gate), "name": "everyone"})
    for each in characteristics([gate, same], 600):
        assert each.passes == each.primary == each.all_guardrails


def test_a_gate_alone_has_no_guardrail_that_could_fail():
    (each, *_) = characteristics([planned(600, 0.2, margin=0.02)], 600)
    assert each.all_guardrails == 1.0
    assert each.passes == each.primary


def test_of_a_slice_only_its_people_are_drawn():
    """A tenth of the people: as a gate on so many as are drawn of them."""
    gate = planned(4000, 0.2, margin=0.03, name="group", m=1000)
    gaps = torch.where(torch.arange(1000) % 10 == 0, gate.gaps, torch.nan)
    few = Planned(**{**vars(gate), "gaps": gaps, "n": 400})
    found = told(characteristics([few], 4000), "equal")
    assert found.primary == pytest.approx(NORMAL.cdf(0.03 * math.sqrt(400) / few.sd - Z), abs=0.02)


def test_a_seed_draws_the_same_promotions():
    gate = planned(600, 0.2, margin=0.02)
    first, again, other = (characteristics([gate], 600, seed=seed) for seed in (4, 4, 5))
    assert first == again
    assert first != other
