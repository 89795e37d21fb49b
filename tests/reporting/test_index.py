import re

import pytest

from tests.reporting.test_html import RUN, SCRIPT
from workbench.errors import WorkError
from workbench.reporting.index import build_index
from workbench.reporting.record import write_run


def put(home, run_id, **changes):
    folder = home / "reports" / "02_retrieval" / run_id
    folder.mkdir(parents=True)
    write_run(folder, {**RUN, "run_id": run_id, **changes})
    return folder


def test_failures_stand_on_top_then_the_newest(home):
    put(home, "20261121T110000Z-00000001")
    put(home, "20261121T120000Z-00000002", verdict={**RUN["verdict"], "headline": SCRIPT})
    put(home, "20261121T100000Z-00000003", status="failed", error="cell 1: no", verdict=None)
    damaged = put(home, "20261121T090000Z-00000004")
    (damaged / "run.json").write_text("{")
    (home / "reports" / "02_retrieval" / ".20261121T130000Z-00000005.partial").mkdir()
    page = build_index().read_text()
    assert re.findall(r'href="02_retrieval/\d{8}T\d{6}Z-0000000(\d)/report.html"', page) == ["3", "4", "2", "1"]
    assert "2 of 4 runs did not succeed" in page
    assert "its run.json cannot be read" in page
    assert SCRIPT not in page
    assert "&lt;script&gt;" in page


def test_an_index_that_cannot_be_written_is_one_error(home):
    (home / "reports" / "index.html").mkdir()
    with pytest.raises(WorkError, match="could not write the index"):
        build_index()


def test_an_empty_folder_has_a_page_too(home):
    assert "No runs yet." in build_index().read_text()
