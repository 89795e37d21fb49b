"""Each gate's state from both sides of its margin, what the states make together, and how often chance promotes."""

import json
import math

import numpy as np
import pytest
import torch

from tests.evaluation.made import METRIC, everyone, listed, random_lists, valued
from workbench.evaluation import Interval
from workbench.evaluation.exposure import set_difference
from workbench.evaluation.harness import Evaluation
from workbench.promotion.decide import Decision, Result, decide
from workbench.promotion.gates import Gates, Guardrail, Primary, gates_hash
from workbench.promotion.plan import Planned
from workbench.serving.verify import Parity

HOLDS = Parity(requests=5, largest_absolute=0.0, largest_relative=0.0, identical=5, up_to_ties=5)
BROKEN = Parity(requests=5, largest_absolute=0.1, largest_relative=0.1, identical=1, up_to_ties=4)
NAMES = ("ease", "item_knn")


def gates(*guardrail, primary=None):
    return Gates(because="A test.", primary=primary or Primary(metric=METRIC, effect=0.02), guardrail=guardrail)


def planned(margin=0.0, effect=0.02, metric=METRIC, name="primary", of=None):
    return Planned(name=name, metric=metric, of=of, margin=margin, effect=effect, n=100, gaps=torch.tensor([0.1, -0.1]), rival=0.3)


def around(mean, n=400, half=0.01, seed=0):
    """Values whose 95 % interval is about mean ± half."""
    drawn = np.random.default_rng(seed).normal(size=n)
    return torch.from_numpy(mean + half / 1.96 * math.sqrt(n) * (drawn - drawn.mean()) / drawn.std())


def states(of: Decision):
    return {each.name: each.state for each in of.results}


def decided(values, gate=None, *, given=None, metric=METRIC, measures=None, parity=(HOLDS,)):
    judged = everyone(len(values))
    a, b = valued(values, judged=judged, metric=metric), valued(torch.zeros(len(values)), judged=judged, metric=metric)
    return decide(given or gates(), [gate or planned()], a, b, measures or {}, parity, names=NAMES)


@pytest.mark.parametrize(
    ("low", "high", "margin", "state"),
    [
        (0.01, 0.03, 0.0, "pass"),
        (-0.01, 0.03, 0.0, "unknown"),
        (-0.03, -0.01, 0.0, "fail"),
        (0.0, 0.03, 0.0, "unknown"),
        (-0.03, 0.0, 0.0, "unknown"),
        (-0.01, 0.03, 0.02, "pass"),
        (-0.03, 0.03, 0.02, "unknown"),
        (-0.02, 0.03, 0.02, "unknown"),
        (-0.05, -0.03, 0.02, "fail"),
        (-0.015, -0.005, 0.02, "pass"),
        (math.nan, math.nan, 0.02, "unknown"),
    ],
)
def test_the_whole_interval_decides(low, high, margin, state):
    assert Interval((low + high) / 2, low, high, 10).above(-margin) == state


@pytest.mark.parametrize(
    ("mean", "margin", "state"),
    [
        (0.03, 0.0, "pass"),
        (0.0, 0.0, "unknown"),
        (-0.03, 0.0, "fail"),
        (-0.01, 0.04, "pass"),
        (-0.04, 0.04, "unknown"),
        (-0.07, 0.04, "fail"),
    ],
)
def test_people_decide_by_the_interval_of_their_differences(mean, margin, state):
    found = decided(around(mean), planned(margin, 0.0 if margin else 0.02))
    (result,) = (each for each in found.results if each.name == "ndcg@10, primary")
    assert result.state == found.state == state
    assert result.found.startswith(f"{mean:+.3f} (")
    assert result.asked == (f"above -{margin:.3f}" if margin else "above 0")
    assert result.detectable is not None
    assert result.power is not None


@pytest.mark.parametrize(("mean", "state"), [(-0.03, "pass"), (0.0, "unknown"), (0.03, "fail")])
def test_where_lower_is_better_less_is_an_improvement(mean, state):
    metric = "mean_popularity@10"
    found = decided(around(mean), planned(metric=metric), metric=metric)
    assert states(found)["mean_popularity@10, primary"] == state


def test_of_a_slice_only_its_people_decide():
    from workbench.evaluation import Slice

    values = torch.cat([around(0.05, 200), around(-0.05, 200)])
    rare = Slice("group", "rare", torch.arange(400) >= 200)
    judged = everyone(400)
    a, b = valued(values, judged=judged), valued(torch.zeros(400), judged=judged)
    plan = [planned(0.04, 0.0, name="everyone"), planned(0.04, 0.0, name=rare.label, of=rare)]
    found = decide(gates(), plan, a, b, {}, [HOLDS], names=NAMES)
    assert states(found) == {"parity": "pass", "ndcg@10, everyone": "pass", "ndcg@10, group: rare": "unknown"}


def test_one_person_says_nothing_of_others():
    assert states(decided(torch.ones(1)))["ndcg@10, primary"] == "unknown"


def result(name, state):
    return Result(name=name, state=state, found="", asked="")


@pytest.mark.parametrize(
    ("given", "state", "headline"),
    [
        (["pass", "pass"], "pass", "Promote ease: it passes all 2 gates against item_knn."),
        (["fail", "pass"], "fail", "Do not promote ease: against item_knn it fails g0."),
        (["fail", "unknown", "fail"], "fail", "Do not promote ease: against item_knn it fails g0 and g2."),
        (["fail", "fail", "unknown", "fail"], "fail", "Do not promote ease: against item_knn it fails g0, g1 and g3."),
        (["unknown", "pass"], "unknown", "Do not promote ease yet: against item_knn these people cannot tell about g0."),
        (["pass", "unknown", "unknown"], "unknown", "Do not promote ease yet: against item_knn these people cannot tell about g1 and g2."),
    ],
)
def test_one_failure_fails_and_what_cannot_be_told_is_no_pass(given, state, headline):
    results = tuple(result(f"g{place}", each) for place, each in enumerate(given))
    found = Decision(results=results, challenger="ease", rival="item_knn", gates="0" * 12)
    assert found.state == state
    assert found.headline == headline
    assert found.as_json()["state"] == state
    assert found.as_json()["headline"] == headline


def test_a_decision_says_by_which_gates_it_was_made_and_can_be_written_down():
    given = gates(Guardrail(measure="p99_ms", most=1))
    found = decided(around(0.03), given=given)
    assert found.gates == gates_hash(given)
    told = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert [each["state"] for each in told["results"]] == ["pass", "pass", "unknown"]


@pytest.mark.parametrize(
    ("measures", "state", "found"),
    [
        ({"p99_ms": 99.0}, "pass", "99"),
        ({"p99_ms": 100.0}, "pass", "100"),
        ({"p99_ms": 100.001}, "fail", "100"),
        ({"p99_ms": math.inf}, "fail", "inf"),
        ({"p99_ms": math.nan}, "unknown", "not measured"),
        ({}, "unknown", "not measured"),
        ({"size_mb": 1.0}, "unknown", "not measured"),
    ],
)
def test_a_measure_is_at_most_what_was_written_down_and_a_missing_one_is_unknown(measures, state, found):
    decision = decided(around(0.03), given=gates(Guardrail(measure="p99_ms", most=100)), measures=measures)
    told = next(each for each in decision.results if each.name == "p99_ms")
    assert (told.state, told.found) == (state, found)
    assert told.asked.startswith("at most 100: ")
    assert decision.state == state


def test_a_measure_may_be_asked_to_be_nothing_at_all():
    given = gates(Guardrail(measure="fallback_share", most=0))
    assert states(decided(around(0.03), given=given, measures={"fallback_share": 0.0}))["fallback_share"] == "pass"
    assert states(decided(around(0.03), given=given, measures={"fallback_share": 0.01}))["fallback_share"] == "fail"


def test_what_does_not_compute_what_was_measured_fails_whatever_the_numbers():
    for parity in ([BROKEN], [HOLDS, BROKEN], [BROKEN, HOLDS]):
        found = decided(around(0.03), parity=parity)
        assert states(found)["parity"] == "fail"
        assert found.results[0].found == BROKEN.text
        assert found.state == "fail"
    assert decided(around(0.03), parity=[HOLDS, HOLDS]).state == "pass"


def test_lists_that_hold_but_scores_that_do_not_are_no_parity():
    apart = Parity(requests=5, largest_absolute=math.inf, largest_relative=math.inf, identical=5, up_to_ties=5)
    assert states(decided(around(0.03), parity=[apart]))["parity"] == "fail"


def test_a_rival_that_nothing_can_be_held_against_leaves_it_unknown():
    judged = everyone(400)
    given = gates(Guardrail(metric="coverage@10", margin=0.1), Guardrail(measure="p99_ms", most=100))
    why = "12 events that the champion learnt from are judged here"
    found = decide(given, [planned()], valued(around(0.03), judged=judged), why, {"p99_ms": 1.0}, [HOLDS], names=NAMES)
    assert states(found) == {"parity": "pass", "the comparison": "unknown", "p99_ms": "pass"}
    assert found.results[1].found == why
    assert found.state == "unknown"
    slow = decide(given, [planned()], valued(around(0.03), judged=judged), why, {"p99_ms": 101.0}, [HOLDS], names=NAMES)
    assert slow.state == "fail"


def with_lists(items, n_items, name):
    from workbench.testing import interactions
    from workbench.testing.synthetic import holdout

    n = len(items)
    judged = holdout(interactions([], n, n_items), interactions([(user, user % n_items) for user in range(n)], n, n_items))
    values = {METRIC: torch.zeros(n, dtype=torch.float64)}
    lists = listed(judged, items)
    return Evaluation(model=name, title=name, ks=(10,), lists=lists, per_user=values, fallback="popularity", tied_share=0.0)


def of_lists(metric, margin, challenger, rival, n_items):
    given = gates(Guardrail(metric=metric, margin=margin))
    a, b = with_lists(challenger, n_items, "a"), with_lists(rival, n_items, "b")
    found = decide(given, [], a, b, {}, [HOLDS], names=NAMES)
    return next(each for each in found.results if each.name == metric)


@pytest.fixture(scope="module")
def wide_and_narrow():
    """Lists of 60 people: out of all 200 items, and out of the first 20."""
    rng = np.random.default_rng(0)
    return random_lists(rng, 60, 200, 10, shortest=10), random_lists(rng, 60, 20, 10, shortest=10)


@pytest.mark.parametrize("metric", ["coverage@10", "gini@10", "entropy@10"])
def test_lists_of_more_of_the_catalogue_are_the_better_ones_whatever_way_the_metric_points(wide_and_narrow, metric):
    wide, narrow = wide_and_narrow
    better, worse = of_lists(metric, 0.01, wide, narrow, 200), of_lists(metric, 0.01, narrow, wide, 200)
    assert (better.state, worse.state) == ("pass", "fail")
    assert better.found.startswith("+")
    assert worse.found.startswith("-")
    assert better.asked == "above -0.010"
    name, sign = metric.split("@")[0], -1 if metric.startswith("gini") else 1
    found = set_difference(name, torch.from_numpy(wide), torch.from_numpy(narrow), 200)
    assert better.found.split()[0] == f"{sign * found.value:+.3f}"
    low, high = better.found.partition(" ")[2].strip("()").split(" to ")
    assert float(low) <= float(better.found.split()[0]) <= float(high)


def test_a_set_metric_within_its_margin_passes_and_one_beside_it_cannot_be_told(wide_and_narrow):
    wide, narrow = (torch.from_numpy(each) for each in wide_and_narrow)
    mixed = torch.cat([wide[:30], narrow[30:]])
    drop = set_difference("coverage", mixed, wide, 200)
    assert drop.high < 0
    assert of_lists("coverage@10", round(-drop.low + 0.02, 3), mixed, wide, 200).state == "pass"
    assert of_lists("coverage@10", round(-drop.value, 3), mixed, wide, 200).state == "unknown"
    assert of_lists("coverage@10", round(-drop.high - 0.01, 3), mixed, wide, 200).state == "fail"


def test_only_the_places_of_the_metric_count():
    """Two lists that differ in their second place alone."""
    a, b = np.array([[0, 1], [0, 2], [0, 3]]), np.array([[0, 1], [0, 1], [0, 1]])
    assert of_lists("coverage@1", 0.1, a, b, 12).found.startswith("+0.000")
    assert of_lists("coverage@2", 0.1, a, b, 12).found.startswith("+0.167")


def promoted(n, sd, gate, promotions, seed):
    """Share of promotions in which a challenger without any true difference passes; heavy tails, many zeros, as NDCG's differences are."""
    rng, judged, passed = np.random.default_rng(seed), everyone(n), 0
    zero = torch.zeros(n, dtype=torch.float64)
    for _ in range(promotions):
        drawn = np.where(rng.random(n) < 0.4, rng.laplace(size=n), 0.0)
        values = torch.from_numpy(sd / math.sqrt(0.8) * drawn)
        found = decide(gates(), [gate], valued(values, judged=judged), valued(zero, judged=judged), {}, [HOLDS], names=NAMES)
        passed += found.state == "pass"
    return passed / promotions


@pytest.mark.slow
@pytest.mark.parametrize("n", [50, 400])
def test_chance_is_promoted_in_three_and_a_half_of_a_hundred_at_most(n):
    assert promoted(n, 0.165, planned(), 1000, seed=n) <= 0.035


@pytest.mark.slow
def test_a_margin_of_2_8_standard_errors_lets_an_equal_model_pass_four_times_in_five():
    n, sd = 400, 0.165
    margin = 2.8 * sd / math.sqrt(n)
    assert promoted(n, sd, planned(margin=margin, effect=0.0), 1000, seed=3) == pytest.approx(0.8, abs=0.04)
