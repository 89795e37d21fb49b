"""docs/training.md: what can be said to a model and an engine is on the page."""

import re
from dataclasses import fields

from tests.conftest import ROOT
from workbench.models import MODELS, learns
from workbench.training import Engine, Learning

PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]


def test_whatever_an_engine_or_a_training_can_be_told_is_named():
    text = section("What is learnt, and how it is run")
    named = set(re.findall(r"`(\w+)`", text))
    known = {kind.__name__: {field.name for field in fields(kind)} for kind in (Engine, Learning)}
    assert len(known["Engine"]) >= 11
    assert len(known["Learning"]) >= 12
    missing = {kind: sorted(names - named) for kind, names in known.items()}
    assert missing == {"Engine": [], "Learning": []}
    rows = {name for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert rows <= known["Engine"], "the table has nothing that is not there"


def test_every_model_that_learns_has_a_row():
    learning = [name for name in MODELS if learns(name)]
    assert re.findall(r"^\| `(\w+)` \|", section("The models"), re.MULTILINE) == learning
    assert re.findall(r"`(\w+)`", PAGE.split("learn by gradient; one engine")[0]) == learning
