"""What a page may contain: the record, escaped; no request; alt texts; failures that say so."""

import re

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from workbench.reporting.display import Figure, Table
from workbench.reporting.html import index_html, report_html, sanitised
from workbench.reporting.record import read_run, write_run

SCRIPT = "<script>alert(1)</script>"
SHOWN = "&lt;script&gt;alert(1)&lt;/script&gt;"
RUN = {
    "schema_version": 1,
    "run_id": "20261121T120000Z-0123abcd",
    "notebook": "02_retrieval",
    "title": "Which is better?",
    "status": "succeeded",
    "error": None,
    "started": "2026-11-21T12:00:00+00:00",
    "duration_s": 12.3,
    "profile": "quick",
    "parameters": {"k": 10, "models": "ease"},
    "dataset": {"name": "tiny", "snapshot": "tiny@0123456789ab", "events": 80},
    "split": {"name": "user_time", "rule": "by time", "fractions": [0.8, 0.1, 0.1], "seed": 0},
    "code": {"commit": "a" * 40, "diff_hash": None},
    "environment": {"python": "3.11", "packages_hash": "b" * 12, "device": "cpu", "device_reason": "no GPU found", "threads": 2},
    "seed": 0,
    "metrics": [],
    "artifacts": [{"path": "figures/field.png", "sha256": "c" * 64}],
    "verdict": {
        "headline": "A beats B.",
        "numbers": [{"label": "NDCG@10", "value": "0.1", "note": "n 5", "change": "up", "trend": "up"}],
        "guardrails": [{"state": "fail", "text": "coverage"}, {"state": "unknown", "text": "cold"}],
        "limits": ["It says little."],
    },
}


def notebook(*cells):
    return new_notebook(cells=[new_markdown_cell("# Which is better?\n\nSomebody asks."), *cells])


def code(*outputs, source="1 + 1", tags=()):
    return new_code_cell(source, outputs=list(outputs), execution_count=1, metadata={"tags": list(tags)})


def display(data, metadata=None):
    return new_output("display_data", data=data, metadata=metadata or {})


def test_the_order_is_verdict_numbers_guardrails_evidence_limits_origin():
    page = report_html(RUN, notebook(new_markdown_cell("## For whom?\n\nEveryone."), code(display({"text/plain": "evidence"}))))
    places = [
        page.index(text)
        for text in (
            "A beats B.",
            "0.1",
            "coverage",
            'href="#For-whom',
            "Somebody asks",
            "evidence",
            "It says little.",
            "tiny@0123456789ab",
        )
    ]
    assert places == sorted(places)
    assert page.count("Which is better?") == 1
    assert 'id="For-whom?"' in page or 'id="For-whom' in page


def test_whatever_is_in_the_data_is_shown_as_text():
    import pandas as pd

    table = Table(pd.DataFrame({SCRIPT: [SCRIPT]}), SCRIPT)._repr_html_()
    outputs = [
        display({"text/html": table}),
        display({"text/html": f"<b onclick='x()'>{SCRIPT}</b><img src=x onerror=alert(1)>"}),
        display({"text/markdown": SCRIPT}),
        display({"text/plain": SCRIPT}),
        new_output("stream", name="stdout", text=SCRIPT),
        new_output("error", ename="E", evalue=SCRIPT, traceback=[f"\x1b[31m{SCRIPT}\x1b[0m"]),
        display({"image/png": "AAAA"}, {"image/png": {"alt": f'"{SCRIPT}', "caption": SCRIPT}}),
    ]
    run = {**RUN, "title": SCRIPT, "verdict": {**RUN["verdict"], "headline": SCRIPT, "limits": [SCRIPT]}, "parameters": {"models": SCRIPT}}
    page = report_html(run, notebook(new_markdown_cell(f"## {SCRIPT}\n\n{SCRIPT}"), code(*outputs, source=SCRIPT)))
    assert SCRIPT not in page
    assert page.count(SHOWN) >= 12
    assert "<img src=x" not in page
    assert "<b onclick" not in page


def test_a_bare_frame_is_a_table_without_its_style_sheet():
    import pandas as pd

    page = report_html(RUN, notebook(code(display({"text/html": pd.DataFrame({"a": [SCRIPT]})._repr_html_()}))))
    assert ".dataframe" not in page
    assert f"<td>{SHOWN}</td>" in page


def test_a_cell_that_broke_is_shown_whatever_its_tags():
    broken = code(new_output("error", ename="E", evalue="no", traceback=["E: no such thing"]), tags=["report-skip"])
    run = {**RUN, "status": "failed", "error": "code cell 1: E: no", "verdict": None}
    assert "E: no such thing" in report_html(run, notebook(broken))


def test_a_page_makes_no_request():
    markdown = "![tracker](https://example.org/x.png) [link](https://example.org) <link rel=stylesheet href=//example.org>"
    page = report_html(RUN, notebook(new_markdown_cell(markdown), code(display({"image/png": "AAAA"}))))
    index = index_html([])
    for text in (page, index):
        assert not re.search(r"<(?:script|link|iframe|object|embed|video|audio|base|form)\b", text)
        assert not re.search(r"@import|url\(", text)
        assert all(source.startswith("data:image/png;base64,") for source in re.findall(r'<img src="([^"]*)"', text))


def test_code_is_folded_figures_have_alt_text_and_tables_are_tables():
    import pandas as pd
    from matplotlib.figure import Figure as MplFigure

    figure = Figure(MplFigure(figsize=(1, 1)), "dot", "one dot at 3", "A dot.")
    data, metadata = figure._repr_mimebundle_()
    table = Table(pd.DataFrame({"model": ["EASE"], "value": [0.5]}), "Caption.")
    page = report_html(RUN, notebook(code(display(data, metadata), source="x = 1"), code(display({"text/html": table._repr_html_()}))))
    assert '<details class="code"><summary>code</summary><pre><code>x = 1</code>' in page
    assert 'alt="one dot at 3"' in page
    assert "<figcaption>A dot.</figcaption>" in page
    assert "<caption>Caption.</caption>" in page
    assert '<td class="right">0.500</td>' in page


def test_cells_for_machines_are_left_out():
    page = report_html(RUN, notebook(code(source="parameter = 1", tags=["parameters"]), code(source="record(1)", tags=["report-skip"])))
    assert "parameter = 1" not in page
    assert "record(1)" not in page


@pytest.mark.parametrize(("status", "words"), [("failed", "failed"), ("timeout", "timed out"), ("killed", "was killed")])
def test_a_run_that_did_not_succeed_says_so_first_and_answers_nothing(status, words):
    run = {**RUN, "status": status, "error": "cell 3: ValueError: no", "verdict": None, "dataset": None, "split": None}
    page = report_html(run, notebook(code(new_output("error", ename="ValueError", evalue="no", traceback=["ValueError: no"]))))
    assert f'<p class="verdict bad">This run {words}: cell 3: ValueError: no' in " ".join(page.split())
    assert "It answers nothing" in page


def test_harmless_markup_survives_the_sanitiser():
    assert sanitised("<h2 id='a'>b</h2><em>c</em>") == '<h2 id="a">b</h2><em>c</em>'
    assert "javascript" not in sanitised('<a href="javascript:alert(1)">x</a>')


def test_the_example_above_is_a_valid_run(tmp_path):
    write_run(tmp_path, RUN)
    assert read_run(tmp_path) == RUN
