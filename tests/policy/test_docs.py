"""docs/policy.md: its policy in TOML is one, and every kind of step has a row with its parameters."""

import re

from tests.conftest import ROOT
from workbench.policy import parse_policy
from workbench.policy.policy import KINDS, make_policy

PAGE = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")


def test_the_policy_on_the_page_is_one():
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    policy = parse_policy(text)
    assert [step.title for step in policy.steps[-2:]] == ["variety", "tail (popularity) in 5% of places at least"]
    assert len(policy.steps) == 7


def test_every_kind_has_a_row_with_its_parameters():
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", PAGE, re.MULTILINE))
    assert tuple(rows) == KINDS
    least = {
        **{"block": {"items": ["1"]}, "require": {"column": "a", "at_least": 1}, "available": {"at": 1, "since": "a"}},
        **{"cap": {"by": "a", "most": 1}, "once": {"by": "a"}, "calibrate": {"by": "a"}, "floor": {"by": "a", "group": "b", "share": 0.1}},
    }
    for kind, told in rows.items():
        (step,) = make_policy([{"kind": kind, **least.get(kind, {})}]).steps
        assert set(type(step).model_fields) - {"kind", "name"} <= set(re.findall(r"`(\w+)`", told)), kind
