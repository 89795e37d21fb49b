"""The examples of the pages print what the pages say. They are run one after the other in one process, which imports everything once."""

import json
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PAGES = (
    *("README.md", "docs/training.md", "docs/zoo.md", "docs/retrieval.md", "docs/ranking.md"),
    *("docs/policy.md", "docs/fairness.md", "docs/cold_start.md", "docs/promotion.md"),
)
RUN = """
import contextlib, io, json, sys
said = {}
for name, example in json.load(sys.stdin).items():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        exec(compile(example, name, "exec"), {"__name__": "__main__"})
    said[name] = [out.getvalue().strip(), err.getvalue()]
print(json.dumps(said))
"""


def example(page: str) -> str:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)[0]


@pytest.fixture(scope="module")
def said():
    told = json.dumps({page: example(page) for page in PAGES})
    done = subprocess.run([sys.executable, "-c", RUN], input=told, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("page", PAGES)
def test_the_example_prints_what_it_says(said, page):
    printed, beside = said[page]
    assert printed == example(page).rsplit("# ", 1)[1].strip()
    assert beside == "", "nothing for a reader who is not watching"


def test_every_page_with_an_example_is_here():
    pages = [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md") if "```python" in path.read_text(encoding="utf-8")]
    others = {"docs/add_a_model.md", "docs/metrics.md", "docs/data.md"}
    assert set(pages) - others == set(PAGES) - {"README.md"}
