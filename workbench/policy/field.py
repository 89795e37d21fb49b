"""Policies to choose from, by the kind of step: each kind at several strengths, so that a frontier has something to show."""

from collections.abc import Sequence
from typing import Any

from workbench.data import Split
from workbench.errors import check_once, names_in, unknown
from workbench.models import create, fit
from workbench.policy.policy import Policy, make_policy
from workbench.policy.pool import Pool, candidates

BASE = "as ranked"
"""The lists without a policy."""
STRENGTHS = {
    "mmr": ("weight", (0.9, 0.7, 0.5)),
    "dpp": ("weight", (0.9, 0.7, 0.5)),
    "calibrate": ("weight", (0.2, 0.5, 0.8)),
    "cap": ("most", (6, 4, 2)),
    "floor": ("share", (0.05, 0.1, 0.2)),
    "randomise": ("share", (0.05, 0.1, 0.2)),
}
"""By kind, the parameter that is varied and its values, the gentlest first."""


def parse_steps(text: str) -> list[str]:
    """Kinds out of "mmr, cap". Raises RequestError for an unknown one, a repeated one or none at all."""
    kinds = names_in(text)
    for kind in kinds:
        if kind not in STRENGTHS:
            raise unknown("kind of step to try", kind, STRENGTHS)
    check_once(kinds, f'steps = "{text}"', "kind of step", STRENGTHS)
    return kinds


def policies_to_try(kinds: Sequence[str], by: str, group: str, seed: int, own: Policy | None = None) -> dict[str, Policy]:
    """By name: BASE, each kind at each of its strengths, and one's own.

    by: what `calibrate` and `cap` group items by; group: what `floor` is for, "popularity: tail", say.
    """
    of, _, which = (part.strip() for part in group.partition(":"))
    shared: dict[str, dict[str, Any]] = {
        "calibrate": {"by": by},
        "cap": {"by": by},
        "floor": {"by": of, "group": which},
        "randomise": {"seed": seed},
    }
    found = {BASE: Policy(())}
    for kind in kinds:
        parameter, values = STRENGTHS[kind]
        for value in values:
            policy = make_policy([{"kind": kind, parameter: value, **shared.get(kind, {})}])
            found[policy.text] = policy
    if own is not None:
        found["own policy"] = own
    return found


def pools_of(model: str, parts: Split, m: int, k: int) -> dict[str, Pool]:
    """The `m` best items of a model of this name for everyone in "valid" and "test", for lists of `k`: trained, with its defaults, on what
    comes before each. Whom it cannot serve gets what is popular.
    """
    found = {}
    for part, log in (("valid", parts.train), ("test", parts.fit_on)):
        scorer: Any = create(model)
        fit(model, scorer, log)
        found[part] = candidates(scorer, parts.holdout(part), m, k, create("popularity").fit(log))
    return found
