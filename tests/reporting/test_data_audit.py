"""The sentences and tables of the data audit, from numbers with a known answer."""

import dataclasses

import pytest
import torch

from tests.conftest import tiny_rows
from workbench.data import RULES, Finding, audit, detectable_difference, load_dataset, prepare
from workbench.evaluation import evaluate
from workbench.models import create
from workbench.reporting import (
    audit_metrics,
    audit_verdict,
    backtest_figure,
    contract_table,
    drift_figure,
    examine,
    full_log_table,
    leaks_table,
    newcomers_figure,
    tail_figure,
    ties_table,
    timeline_figure,
)
from workbench.reporting.split_audit import leak_effect


@pytest.fixture(scope="module")
def examined(ml100k):
    return examine(ml100k)


def test_the_audit_recommends_the_cards_split_where_it_holds(ml100k, examined):
    verdict = audit_verdict(ml100k, examined)
    n = len(ml100k.split().holdout().users)
    assert verdict.headline == (
        f"Judge models on MovieLens 100k by user_time, as the card recommends: {n} people can show a difference in NDCG of "
        f"{detectable_difference(n):.3f}."
    )
    values = {(row["name"], row["slice"]): row["value"] for row in audit_metrics(examined)}
    assert values["judged", "global_time"] == 153
    assert values["judged_with_history", "global_time"] == 77
    assert set(examined.splits) == set(RULES)
    assert [rail.state for rail in verdict.guardrails] == ["pass"] * 9
    assert any("training events at or after the earliest test event of anybody" in limit for limit in verdict.limits)


def test_what_a_leak_does_to_popularity_is_measured_against_chance(ml100k):
    """The test events put into training: popularity gains by having them, and loses less by as many others."""
    parts = ml100k.split("global_time")
    leaky = dataclasses.replace(parts, repeats=True, train=parts.train.plus(parts.test))
    (leak,) = (finding for finding in audit(leaky) if finding.what.startswith("training events at or after the earliest test event"))
    with_them, without, chance = leak_effect(leaky, leak, 10, seed=0)
    assert without == pytest.approx(evaluate(create("popularity").fit(parts.train), leaky.holdout(), ks=(10,)).mean("ndcg@10"))
    assert with_them == pytest.approx(evaluate(create("popularity").fit(leaky.train), leaky.holdout(), ks=(10,)).mean("ndcg@10"))
    assert without < chance < with_them + 0.01


def test_the_full_log_lends_to_popularity(ml100k, examined):
    """Counting popularity over the test part too helps it most where time separates the two."""
    lent = full_log_table(examined).frame.set_index("split")["lent"]
    assert lent["global_time"] > 0.01
    assert lent["new_item"] > 0.1, "without the test part, popularity knows nothing of new items"


def test_a_leak_that_was_promised_away_is_on_top_of_the_page(ml100k, examined):
    facts = examined.splits["global_time"]
    broken = Finding("training events of the future", 3, 10, True, 2)
    changed = dataclasses.replace(examined, splits={**examined.splits, "global_time": dataclasses.replace(facts, findings=[broken])})
    rails = audit_verdict(ml100k, changed).guardrails
    assert ("fail", "global_time: 3 training events of the future") in [(rail.state, rail.text) for rail in rails]
    assert "PROMISE BROKEN: training events of the future" in leaks_table(changed).frame["found"].tolist()


def test_alt_texts_carry_the_numbers(ml100k, examined):
    counts = torch.sort(
        torch.from_numpy(ml100k.sql("SELECT count(*) AS n FROM coded_events GROUP BY item_code")["n"].to_numpy().copy())
    ).values
    top_tenth = counts.flip(0)[:168].sum().item() / 100_000
    assert f"most popular tenth of the items holds {top_tenth:.0%} of the events" in tail_figure(ml100k).alt
    assert "validation on day 168; test on day" in timeline_figure(ml100k, examined.cuts).alt
    assert "from 31 Mar 1998: " in backtest_figure(examined).alt


def test_drift_and_newcomers_are_counted_tenth_by_tenth(tiny):
    """Ten tenths of ten events: the same ten items throughout, then ten others; a new person in each tenth."""
    rows = [(f"u{n // 10}", f"i{n % 10 + (10 if n >= 50 else 0):02d}", 5.0, 1000.0 + n) for n in range(100)]
    tiny(rows)
    data = load_dataset("tiny")
    assert "Of the 10 items on top in the first tenth of the events 0% are on top in the last" in drift_figure(data).alt
    assert "from one tenth to the next 0% to 100% stay" in drift_figure(data).alt
    assert (
        "In the last tenth of the events 100% are of people, and 0% of items, not seen in any tenth before." in newcomers_figure(data).alt
    )


def test_ties_are_counted(tiny):
    tiny([("a", "x", 5, 1), ("a", "y", 5, 1), ("a", "z", 5, 2), ("b", "x", 5, 1), ("b", "y", 5, 200_000), ("b", "z", 5, 200_000)])
    told = dict(ties_table(load_dataset("tiny")).frame.itertuples(index=False, name=None))
    assert told == {
        "events that share person and moment with another": "66.7%",
        "people whose last moment holds several events": "50.0%",
        "most events of a person at one moment": "2",
        "people whose events span less than a day": "50.0%",
    }


def test_rows_set_apart_are_in_the_report(tiny):
    tiny([*tiny_rows(), ("", "i00", 5, 1), ("u00", "i01", "n/a", 1)])
    prepare("tiny", quarantine=True)
    data = load_dataset("tiny")
    table = contract_table(data)
    assert "2 rows were set apart" in table.caption
    apart = table.frame.set_index(["file", "check", "column"])["rows set apart"]
    assert apart["tiny.inter", "no id", "user_id"] == 1
    assert apart["tiny.inter", "bad value", "rating"] == 1
    assert apart.sum() == 2
    rails = audit_verdict(data, examine(data)).guardrails
    assert ("unknown", "2 rows were set apart because they failed a check") in [(rail.state, rail.text) for rail in rails]


def test_no_split_is_recommended_that_can_judge_nobody(tiny):
    tiny([("a", "x", 1, 1), ("b", "y", 1, 2), ("b", "x", 1, 3)])
    data = load_dataset("tiny")
    assert audit_verdict(data, examine(data)).headline.startswith("No split can judge a model on Tiny")
