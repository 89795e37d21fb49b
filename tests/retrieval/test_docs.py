"""docs/retrieval.md: it names what there is."""

import re
from dataclasses import fields

from tests.conftest import ROOT
from workbench import retrieval
from workbench.retrieval import TASKS, IndexConfig

PAGE = (ROOT / "docs" / "retrieval.md").read_text(encoding="utf-8")


def test_every_setting_of_an_index_and_every_task_has_a_row():
    cells = {name for row in re.findall(r"^\| (`.*?`) \|", PAGE, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert {field.name for field in fields(IndexConfig)} <= cells
    assert {view.__name__ for view in TASKS.values()} <= cells


def test_what_the_page_calls_exists():
    called = set(re.findall(r"`(\w+)\(", PAGE)) | set(
        re.findall(r"^(?:\w+ = |print\()?(\w+)\(", PAGE.split("## On disk")[1].split("```")[1], re.M)
    )
    ours = {name for name in called if name in retrieval.__all__}
    assert called - ours <= {"candidates", "print"}, called
    assert {"Blend", "tune", "save_index", "open_index", "staleness", "refresh"} <= ours
