"""docs/zoo.md: its tables are those that `make zoo` writes, and nothing else knows RecBole."""

import re

from benchmarks.census import Found, settings_table, table
from tests.conftest import ROOT
from workbench.models.recbole import FAMILY, IMPOSSIBLE, NOTES, SUPPORTED

PAGE = (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\w+) \| (\w+) \| (supported|runs|does not) \| (yes|no|) \| ([^|]*) \| (.*) \|$", PAGE, re.MULTILINE)


def test_every_model_has_a_row_and_the_count_is_theirs():
    assert [name for name, *_ in ROWS] == sorted(
        FAMILY, key=lambda name: (name in IMPOSSIBLE, name not in SUPPORTED, list(FAMILY).index(name))
    )
    running = [row for row in ROWS if row[2] != "does not"]
    noted = [row for row in running if row[5]]
    assert f"{len(running)} of 94 run, {len(noted)} of them with a note; {len(SUPPORTED)} are supported." in PAGE
    assert len(running) >= 70
    for name, family, state, _, _, said in ROWS:
        assert family == FAMILY[name]
        assert (state == "supported") == (name in SUPPORTED)
        assert said == (IMPOSSIBLE[name] if state == "does not" else NOTES.get(name, ""))


def test_the_settings_on_the_page_are_those_of_the_code():
    assert settings_table() in PAGE


def test_a_model_that_fails_would_be_told_with_its_reason():
    found = [Found("BPR", True, strangers=False, onnx="yes"), Found("KGAT", False, "fell over")]
    written = table(found)
    assert written.startswith("1 of 2 run, 0 of them with a note;")
    assert "| BPR | general | supported | no | yes |  |" in written
    assert "| KGAT | knowledge | does not |  |  | fell over |" in written


def test_only_one_folder_knows_recbole():
    paths = [*(ROOT / "workbench").rglob("*.py")]
    assert len(paths) > 100
    knowing = {
        path.parent.name for path in paths if re.search(r"^\s*(import|from) recbole\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert knowing == {"recbole"}
