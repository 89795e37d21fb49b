"""Re-ranking under constraints: rules that hold, diversity, calibration, floors, randomness in a known amount."""

from workbench.policy.facts import Facts
from workbench.policy.field import BASE, parse_steps, policies_to_try, pools_of
from workbench.policy.frontier import AIMS, Judged, Kept, Pick, choose, frontier, judge_policy, keep
from workbench.policy.policy import Applied, Policy, Record, limits_hold, make_policy, parse_policy, policy_of, policy_text
from workbench.policy.pool import Pool, candidates

__all__ = [
    "AIMS",
    "BASE",
    "Applied",
    "Facts",
    "Judged",
    "Kept",
    "Pick",
    "Policy",
    "Pool",
    "Record",
    "candidates",
    "choose",
    "frontier",
    "judge_policy",
    "keep",
    "limits_hold",
    "make_policy",
    "parse_policy",
    "parse_steps",
    "policies_to_try",
    "policy_of",
    "policy_text",
    "pools_of",
]
