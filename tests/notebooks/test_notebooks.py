"""The committed notebooks: thin, executed, and checked by something that can fail."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import pandas as pd
import pytest

from tests.conftest import ROOT, keep, shorten
from workbench.models import learns, parse_names
from workbench.parameters import load_plans
from workbench.reporting.record import read_run
from workbench.runner import list_notebooks, notebook_parameters, run

NAMES = ["01_data_audit", "02_retrieval", "03_ranking", "04_cold_start", "05_fairness", "06_reranking", "07_promotion"]
FAST = ("01_data_audit", "02_retrieval")
"""Those of the suite that is run in `make test`; nbval runs every notebook there."""
CHECKED_BY_NAME = {
    *("dataset", "k", "models", "split", "refit", "seed", "slices", "trainings", "windows", "epochs", "device"),
    *("sources", "candidates", "budget"),
    *("rankers", "features", "sensitive", "periods"),
    *("methods", "depths", "texts", "worlds", "requests", "rounds"),
    *("people", "items", "least"),
    *("model", "steps", "by", "group", "aim", "most_lost", "policy"),
    *("surface", "retriever", "ranker", "index", "baselines"),
}


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


def as_stored(name, text):
    """The notebook with nothing but its checked cell, as it is committed, which now prints this text."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    (checked,) = (cell for cell in notebook.cells if "nbval-check-output" in cell.metadata.get("tags", []))
    checked.source, checked.execution_count = f"print({text!r}, end='')", 1
    notebook.cells = [checked]
    return notebook


def test_nbval_fails_when_a_checked_number_is_broken(tmp_path):
    """`make notebooks-check` runs the notebooks; here the outputs that they were committed with are compared with what is printed again,
    once the same and once with another last digit.
    """
    for name in NAMES:
        (cell,) = cells(name, "nbval-check-output")
        text = cell.outputs[0].text
        place = re.search(r"\d(?=\D*$)", text).start()  # the last digit
        broken = text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :]
        nbformat.write(as_stored(name, text), tmp_path / f"{name}_same.ipynb")
        nbformat.write(as_stored(name, broken), tmp_path / f"{name}_broken.ipynb")
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    command += ["--rootdir", str(tmp_path), "--nbval-lax", "--nbval-current-env", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    ended = {name: word for word, name in re.findall(r"^(PASSED|FAILED) (\w+)\.ipynb", done.stdout, re.MULTILINE)}
    assert ended == {f"{name}_{kind}": word for name in NAMES for kind, word in (("same", "PASSED"), ("broken", "FAILED"))}, done.stdout


def run_suite(root, ml100k, *, shorter):
    """The whole suite, run by a command from a folder with nothing but data and notebooks: the folder, and what was printed."""
    shutil.copytree(ml100k.snapshot.folder.parent.parent.parent, root / "datasets")
    shutil.copytree(ROOT / "notebooks", root / "notebooks", ignore=shutil.ignore_patterns(".*"))
    if shorter:
        shorten(root / "notebooks")
        keep(root / "notebooks", FAST)
    done = subprocess.run(
        [sys.executable, "-m", "workbench.cli", "report", "--profile", "quick"],
        env={**os.environ, "WORKBENCH_HOME": str(root)},
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return root, done.stdout


@pytest.fixture(scope="module")
def suite(tmp_path_factory, ml100k):
    """Some of the notebooks, with fewer models than their own defaults, with which `make notebooks-check` runs all."""
    return run_suite(tmp_path_factory.mktemp("suite"), ml100k, shorter=True)


@pytest.fixture(scope="module")
def whole_suite(tmp_path_factory, ml100k):
    """With the notebooks' own defaults: five minutes."""
    return run_suite(tmp_path_factory.mktemp("whole"), ml100k, shorter=False)


@pytest.mark.slow
def test_the_suite_runs_from_nothing_to_an_index(suite):
    root, printed = suite
    assert printed.splitlines()[-1] == "reports/index.html"
    assert re.search(r"02_retrieval \(\d+ s\): .*NDCG@10 .*95 % interval", printed)
    assert (root / "reports" / "index.html").read_text().count("report.html") == len(FAST)
    for report in (root / "reports").glob("*/*/report.html"):
        text = report.read_text()
        assert not re.search(r"<(?:script|link|iframe)\b|@import|url\(", text)
        assert all(source.startswith("data:image/png;base64,") for source in re.findall(r'src="([^"]*)"', text))
        assert not re.search(r'href="(?:https?:)?//', text)
    (folder,) = (root / "reports" / "02_retrieval").iterdir()
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    figures = ("field", "frontier", "learning", "over_time", "slices", "tradeoff")
    named = {"notebook.ipynb", "report.html", "run.json", "metrics.parquet", "slices.csv"}
    assert files == named | {f"figures/{name}.png" for name in figures}


@pytest.mark.slow
def test_every_page_has_its_figures(whole_suite):
    root, _ = whole_suite
    figures = {
        "03_ranking": {"field", "funnel", "reliability", "slices"},
        "04_cold_start": {"curves", "exploration", "loop"},
        "05_fairness": {"groups", "exposure", "lorenz"},
        "06_reranking": {"tradeoff", "slices"},
    }
    for name, drawn in figures.items():
        (folder,) = (root / "reports" / name).iterdir()
        assert {path.stem for path in (folder / "figures").iterdir()} == drawn


@pytest.mark.slow
def test_the_rounding_of_the_checked_numbers_cannot_flip(whole_suite):
    """Another BLAS moves a metric by 1e-4 at most; each unrounded value is ten times further from where its rounding would change.

    A model that learns becomes another one, as far away as another training of it: four times what a mean of trainings varies.
    """
    models = parse_names(notebook_parameters("02_retrieval")["models"].default)
    lines = [line.split(maxsplit=1) for line in cells("02_retrieval", "nbval-check-output")[0].outputs[0].text.splitlines()]
    printed = dict(lines[: len(models)])
    assert set(printed) == set(models)
    (folder,) = (whole_suite[0] / "reports" / "02_retrieval").iterdir()
    wanted = ("map", 100, "everyone")
    exact = {row["model"]: row["value"] for row in read_run(folder)["metrics"] if (row["name"], row["k"], row["slice"]) == wanted}
    people = pd.read_parquet(folder / "metrics.parquet", columns=["model", "training", "map@100"])
    by_training = people.groupby(["model", "training"])["map@100"].mean()
    for name, text in printed.items():
        if learns(name):
            assert text == "above popularity"
            means = by_training[name]
            assert means.mean() - exact["popularity"] > 4 * means.std() / len(means) ** 0.5, f"{name}: {means} is near popularity's"
        else:
            assert f"{exact[name]:.2f}" == text
            assert abs(exact[name] - float(text)) < 0.005 - 0.001, f"{name}: {exact[name]} is near an edge of its rounding"


@pytest.mark.slow
def test_the_rounding_of_the_single_stages_cannot_flip(whole_suite):
    """As above: retrievers in closed form, whose numbers another BLAS moves by 1e-4 at most."""
    lines = [line.split(maxsplit=1) for line in cells("03_ranking", "nbval-check-output")[0].outputs[0].text.splitlines()]
    printed = {name: float(text) for name, text in lines if text.replace(".", "").isdigit()}
    (folder,) = (whole_suite[0] / "reports" / "03_ranking").iterdir()
    rows = read_run(folder)["metrics"]
    k = notebook_parameters("03_ranking")["k"].default
    exact = {row["model"]: row["value"] for row in rows if (row["name"], row["k"], row["slice"]) == ("recall", k, "everyone")}
    rankers = notebook_parameters("03_ranking")["rankers"].default.split(", ")
    assert set(printed) | set(rankers) == set(exact)
    for name, value in printed.items():
        assert abs(exact[name] - value) < 0.005 - 0.001, f"{name}: {exact[name]} is near an edge of its rounding"
    assert all(exact[name] > exact["popularity"] + 0.03 for name in rankers), "a ranker's other weights might fall to popularity's"


@pytest.mark.slow
def test_the_rounding_of_the_later_notebooks_cannot_flip(whole_suite):
    """As above: every number to two digits that is checked, found again unrounded in the run's record."""
    metric = {"04_cold_start": "recall", "05_fairness": "ndcg", "06_reranking": "recall"}
    for name, asked in metric.items():
        k = notebook_parameters(name)["k"].default
        text = cells(name, "nbval-check-output")[0].outputs[0].text
        printed = {model.strip(": "): float(value) for model, value in re.findall(r"^(.+?) (0\.\d\d)$", text, re.MULTILINE)}
        (folder,) = (whole_suite[0] / "reports" / name).iterdir()
        rows = read_run(folder)["metrics"]
        exact = {row["model"]: row["value"] for row in rows if (row["name"], row["k"], row["slice"]) == (asked, k, "everyone")}
        assert len(printed) >= 2
        for model, value in printed.items():
            found = exact[f"{model}: 20 known" if name == "04_cold_start" else model]
            assert abs(found - value) < 0.005 - 0.001, f"{name}, {model}: {found} is near an edge of its rounding"


@pytest.mark.slow
def test_the_rounding_of_the_challengers_number_cannot_flip(whole_suite):
    """As above."""
    name, value = cells("07_promotion", "nbval-check-output")[0].outputs[0].text.splitlines()[0].split()
    (folder,) = (whole_suite[0] / "reports" / "07_promotion").iterdir()
    wanted = (*name.lower().split("@"), "everyone")
    rows = [row for row in read_run(folder)["metrics"] if (row["name"], str(row["k"]), row["slice"]) == wanted]
    assert [row["model"] for row in rows] == ["challenger"]
    assert abs(rows[0]["value"] - float(value)) < 0.005 - 0.001, f"{rows[0]['value']} is near an edge of its rounding"
