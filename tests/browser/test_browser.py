"""A report in a real browser: nothing is run, nothing is fetched, the verdict is what one sees."""

import shutil
import subprocess

import pytest

from tests.reporting.test_html import RUN, SCRIPT, code, display, notebook
from workbench.reporting.html import report_html

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_script_in_the_data_is_text_in_the_browser(tmp_path):
    attack = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
    cells = [code(display({"text/html": attack}), display({"text/markdown": attack}), display({"text/plain": attack}))]
    page = tmp_path / "report.html"
    page.write_text(report_html({**RUN, "verdict": {**RUN["verdict"], "headline": SCRIPT}}, notebook(*cells)), encoding="utf-8")
    shown = subprocess.run(
        [str(CHROMIUM), *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    assert "<title>02_retrieval" in shown
    assert "taken</title>" not in shown
    assert '<p class="verdict">&lt;script&gt;alert(1)&lt;/script&gt;</p>' in shown
