"""docs/ranking.md: it names what there is."""

import re

from tests.conftest import ROOT
from workbench import features, ranking
from workbench.features import Feature
from workbench.ranking import RANKERS

PAGE = (ROOT / "docs" / "ranking.md").read_text(encoding="utf-8")


def test_every_ranker_and_every_field_of_a_feature_has_a_row():
    cells = {name for row in re.findall(r"^\| (`.*?`) \|", PAGE, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert set(RANKERS) <= cells
    assert set(Feature.model_fields) - {"name", "group", "category"} <= cells


def test_what_the_page_calls_exists():
    named = {name.split(".")[0] for name in re.findall(r"`([A-Za-z_.]+)(?:\(.*?\))?`", PAGE)}
    ours = {*features.__all__, *ranking.__all__}
    assert {"feature", "OnlineStore", "parity", "stages", "Calibrated", "judge_funnel", "trace"} <= named & ours
