"""What policies cost and what they buy: chosen on validation under a constraint, then judged on test."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from workbench.data import Holdout
from workbench.errors import NotApplicable, RequestError, unknown
from workbench.evaluation import METRICS, Comparison, Evaluation, compare, evaluate_lists, split_name
from workbench.evaluation.comparison import mean_less_error
from workbench.policy.facts import Facts
from workbench.policy.policy import Applied, Policy
from workbench.policy.pool import Pool

AIMS = ("diversity", "novelty", "long_tail_share", "serendipity")
"""Metrics that a policy may be after."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Judged:
    """A policy's lists."""

    policy: Policy
    applied: Applied
    evaluation: Evaluation


def judge_policy(name: str, policy: Policy, pool: Pool, facts: Facts, holdout: Holdout, ks: Sequence[int], title: str = "") -> Judged:
    """Apply it to the holdout's people, in the holdout's order, and judge the lists as any others; a look at the holdout. Raises
    RequestError when the data has not what a step asks for.
    """
    applied = policy.apply(pool, facts)
    settings = {"steps": [step.model_dump(mode="json") for step in policy.steps]}
    evaluation = evaluate_lists(
        applied.lists, holdout, name=name, title=title or name, ks=ks, settings=settings, vectors=facts.vectors_or_none
    )
    return Judged(policy=policy, applied=applied, evaluation=evaluation)


def frontier(
    policies: Mapping[str, Policy], pool: Pool, facts: Facts, holdout: Holdout, ks: Sequence[int]
) -> tuple[dict[str, Judged], dict[str, str]]:
    """Each policy on the same candidates; and why, by name, those that this data cannot feed are left out. Raises NotApplicable when none
    is left, and as `evaluate_lists` does.
    """
    judged, absent = {}, {}
    for name, policy in policies.items():
        try:
            judged[name] = judge_policy(name, policy, pool, facts, holdout, ks)
        except RequestError as error:
            absent[name] = str(error)
    if not judged:
        raise NotApplicable("; ".join(absent.values()))
    return judged, absent


@dataclass(frozen=True, kw_only=True)
class Pick:
    """The policy with the most of what is aimed for among those that lose little enough, on validation."""

    name: str
    metric: str
    aim: str
    most_lost: float
    """Of the metric, as a share of what the lists have without a policy."""
    allowed: tuple[str, ...]
    """Policies that lose no more than that on validation, with a standard error to spare; the one without steps among them."""


def choose(judged: Mapping[str, Evaluation], base: str, metric: str, aim: str, most_lost: float) -> Pick:
    """judged: on validation, by name. base: the lists as ranked. aim: "diversity@10", say.

    A policy is allowed where what it loses and one standard error of that are no more than may be lost, see `mean_less_error`. Raises
    RequestError for an aim that is no metric and for a share outside of [0, 1], NotApplicable for an aim that the data cannot feed.
    """
    if not 0 <= most_lost <= 1:
        raise RequestError(f"most_lost = {most_lost:g} should be between 0 and 1.")
    whole = judged[base].mean(metric)
    if aim not in judged[base].per_user:
        known = METRICS.get(split_name(aim)[0])
        if known is not None and known.needs != "nothing":
            raise NotApplicable(f"lists cannot be judged by {aim}: {known.needs} are missing; aim for novelty, say.")
        raise unknown("aim", aim, judged[base].per_user)
    allowed = [name for name, each in judged.items() if name == base or mean_less_error(each, judged[base], metric) >= -most_lost * whole]
    sign = 1 if METRICS[split_name(aim)[0]].direction == "higher" else -1
    worth = {name: sign * judged[name].mean(aim) for name in allowed}
    name = max(allowed, key=lambda name: (-math.inf if math.isnan(worth[name]) else worth[name], name == base))
    return Pick(name=name, metric=metric, aim=aim, most_lost=most_lost, allowed=tuple(allowed))


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Whether the promise that a pick made on validation holds on test."""

    lost: Comparison
    """The metric of the pick minus that of the lists as ranked."""
    gained: Comparison
    """The same of the aim."""
    most: float
    """What may be lost, in the metric's own units."""
    call: Literal["kept", "broken", "cannot tell"]
    """kept: the whole interval of the difference lies above -most; broken: it lies below."""


def keep(pick: Pick, judged: Mapping[str, Evaluation], base: str) -> Kept:
    """judged: on test, by name; of these only the pick's and the base's are looked at."""
    lost, gained = (compare(judged[pick.name], judged[base], metric) for metric in (pick.metric, pick.aim))
    most = pick.most_lost * judged[base].mean(pick.metric)
    low, high = lost.difference.low, lost.difference.high
    call: Literal["kept", "broken", "cannot tell"] = "kept" if low >= -most else "broken" if high < -most else "cannot tell"
    return Kept(lost=lost, gained=gained, most=most, call=call)
