"""The committed notebooks: thin, executed, and checked by something that can fail."""

import ast
import json
import re
import shutil
import subprocess
import sys

import nbformat
import pandas as pd
import pytest

from tests.conftest import ROOT
from workbench.models import learns, parse_names
from workbench.parameters import load_plans
from workbench.runner import list_notebooks, notebook_parameters, run

NAMES = ["01_data_audit", "02_retrieval"]
CHECKED_BY_NAME = {"dataset", "k", "models", "split", "refit", "seed", "slices", "trainings", "windows", "epochs", "device"}


def cells(name, tag=None):
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    return [cell for cell in notebook.cells if tag is None or tag in cell.metadata.get("tags", [])]


def test_all_notebooks_are_known_here_and_to_the_suite():
    assert list_notebooks() == NAMES == sorted(load_plans())


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_are_thin_executed_and_small(name):
    code = [cell for cell in cells(name) if cell.cell_type == "code"]
    assert cells(name)[0].source.startswith("# ")
    assert "?" in cells(name)[0].source.splitlines()[0], "one question"
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        assert cell.source.count("\n") < 15
        assert len(json.dumps(cell.outputs)) <= 2048
        tree = ast.parse(cell.source)
        assert not any(isinstance(node, ast.ClassDef | ast.FunctionDef | ast.Try | ast.While) for node in ast.walk(tree))
    assert len(cells(name, "parameters")) == 1
    assert re.match(r"(report\.)?record\(", code[-1].source)
    assert not re.search(r"https?://|(?<!\w)/(?:home|root|tmp|work)\b", (ROOT / "notebooks" / f"{name}.ipynb").read_text())


def test_rows_of_a_data_set_are_shown_in_reports_and_never_committed():
    """Too large to be kept when notebooks are committed (2 KB), and it must stay so: MovieLens may not be redistributed."""
    (shown,) = (cell for cell in cells("01_data_audit") if cell.source.startswith("report.popular_items_table"))
    assert shown.outputs == []
    assert not any("Star Wars" in (ROOT / "notebooks" / f"{name}.ipynb").read_text() for name in NAMES)


def test_an_item_titled_like_a_script_is_shown_as_that_text(tiny, home):
    tiny(titles={"i03": "<script>alert(1)</script>"})
    for path in (ROOT / "notebooks").glob("*.*"):
        shutil.copy(path, home / "notebooks")
    done = run("01_data_audit", {"dataset": "tiny"})
    assert done.succeeded, done.record["error"]
    page = (done.folder / "report.html").read_text()
    assert '<td class="left">&lt;script&gt;alert(1)&lt;/script&gt;</td>' in page
    assert "<script" not in page


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_typed_explained_and_ranged(name):
    for parameter in notebook_parameters(name).values():
        assert parameter.help, parameter.name
        assert parameter.name in CHECKED_BY_NAME or parameter.kind == "bool", (
            f"{parameter.name} has no range check in workbench/parameters.py"
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_checked_cell_holds_real_numbers(name):
    checked = cells(name, "nbval-check-output")
    assert checked
    for cell in checked:
        assert all(re.search(r"\d", output.text) for output in cell.outputs)


@pytest.mark.parametrize("name", NAMES)
def test_nbval_fails_when_a_checked_number_is_broken(name, tmp_path):
    copy = tmp_path / f"{name}.ipynb"
    shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", copy)
    notebook = nbformat.read(copy, as_version=4)
    (checked,) = (cell for cell in notebook.cells if "nbval-check-output" in cell.metadata.get("tags", []))
    text = checked.outputs[0].text
    place = re.search(r"\d(?=\D*$)", text).start()  # the last digit
    checked.outputs[0].text = text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :]
    nbformat.write(notebook, copy)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        str(ROOT / "pyproject.toml"),
        "--rootdir",
        str(tmp_path),
    ]
    done = subprocess.run([*command, "--nbval-lax", "--nbval-current-env", str(copy)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1, done.stdout[-2000:]
    assert re.search(r"1 failed, \d+ passed", done.stdout), done.stdout[-2000:]


def test_the_rounding_of_the_checked_numbers_cannot_flip(project):
    """Another BLAS moves a metric by 1e-4 at most; each unrounded value is ten times further from where its rounding would change.

    A model that learns becomes another one, as far away as another training of it: four times what a mean of trainings varies.
    """
    printed = dict(line.split(maxsplit=1) for line in cells("02_retrieval", "nbval-check-output")[0].outputs[0].text.splitlines())
    assert set(printed) == set(parse_names(notebook_parameters("02_retrieval")["models"].default))
    done = run("02_retrieval", {})
    wanted = ("map", 100, "everyone")
    exact = {row["model"]: row["value"] for row in done.record["metrics"] if (row["name"], row["k"], row["slice"]) == wanted}
    people = pd.read_parquet(done.folder / "metrics.parquet", columns=["model", "training", "map@100"])
    by_training = people.groupby(["model", "training"])["map@100"].mean()
    for name, text in printed.items():
        if learns(name):
            assert text == "above popularity"
            means = by_training[name]
            assert means.mean() - exact["popularity"] > 4 * means.std() / len(means) ** 0.5, f"{name}: {means} is near popularity's"
        else:
            assert f"{exact[name]:.2f}" == text
            assert abs(exact[name] - float(text)) < 0.005 - 0.001, f"{name}: {exact[name]} is near an edge of its rounding"
