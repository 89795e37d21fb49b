"""How a run ends, with real kernels: every way that is not a success is told apart, kept and marked."""

import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from workbench import run_folder
from workbench.cli import main
from workbench.errors import WorkError
from workbench.reporting.record import FOUND, RUN_FOLDER, read_run
from workbench.run_folder import BEGUN, KILLED, ORIGINAL, claimed_folder, complete_killed_runs, describe_run
from workbench.runner import _Bar, run

RECORD = f"""
import json, os
verdict = {{"headline": "It works.", "numbers": [], "guardrails": [], "limits": []}}
found = {{"dataset": None, "split": None, "seed": 0, "metrics": [], "verdict": verdict}}
with open(os.path.join(os.environ["{RUN_FOLDER}"], "{FOUND}"), "w") as file:
    json.dump(found, file)
"""


@pytest.fixture
def write(home):
    def notebook(*cells, parameters="n: int = 1  # a number", name="made", record=True):
        code = [new_code_cell(source) for source in (*cells, *([RECORD] if record else []))]
        first = [new_markdown_cell("# Does it run?\n\nA test asks."), new_code_cell(parameters, metadata={"tags": ["parameters"]})]
        book = new_notebook(
            cells=[*first, *code], metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        )
        nbformat.write(book, home / "notebooks" / f"{name}.ipynb")
        return name

    return notebook


def runs(home, name="made"):
    return sorted(path.name for path in (home / "reports" / name).iterdir())


def go(name, given=None, **options):
    return run(name, given or {}, **options)


def test_a_run_that_works_is_whole_and_its_record_true(write, home):
    done = go(write("print(n)", "import os; print(os.getcwd())"), {"n": "7"})
    assert done.succeeded
    assert runs(home) == [done.folder.name]
    record = read_run(done.folder)
    assert record == done.record
    assert (record["verdict"]["headline"], record["parameters"], record["title"]) == ("It works.", {"n": 7}, "Does it run?")
    assert {artifact["path"] for artifact in record["artifacts"]} == {"notebook.ipynb", "report.html"}
    assert not (done.folder / FOUND).exists()
    notebook = nbformat.read(done.folder / "notebook.ipynb", as_version=4)
    printed = [output.text for cell in notebook.cells for output in cell.get("outputs", [])]
    assert printed == ["7\n", f"{home / 'notebooks'}\n"]
    assert "It works." in (done.folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("cell", "error"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "the kernel died"),
        ("import os; os._exit(0)", "the kernel died"),
    ],
)
def test_a_run_that_breaks_is_kept_and_says_how(write, home, cell, error):
    done = go(write(cell))
    assert done.record["status"] == "failed"
    assert error in done.record["error"]
    assert read_run(done.folder)["verdict"] is None
    assert runs(home) == [done.folder.name]
    assert f"This run failed: {done.record['error']}" in (done.folder / "report.html").read_text()


def test_an_exit_after_the_record_is_no_success_either(write):
    done = go(write(RECORD, "raise SystemExit(0)", record=False))
    assert (done.record["status"], done.record["verdict"]) == ("failed", None)


def test_a_cell_that_hangs_is_a_timeout(write):
    done = go(write("import time; time.sleep(60)"), cell_timeout=2)
    assert (done.record["status"], done.record["error"]) == ("timeout", "a cell took longer than 2 s")


def test_a_notebook_that_records_nothing_has_not_succeeded(write):
    done = go(write("1 + 1", record=False))
    assert done.record["status"] == "failed"
    assert "recorded nothing" in done.record["error"]


ENDINGS = [signal.SIGINT, *(pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGTERM, signal.SIGHUP))]


@pytest.mark.parametrize("ending", ENDINGS)
def test_ctrl_c_and_a_signal_to_end_keep_the_run_as_killed_and_leave_no_kernel(write, home, ending):
    name = write("import os, pathlib, time; pathlib.Path('kernel').write_text(str(os.getpid())); time.sleep(120)")
    process = subprocess.Popen(
        [sys.executable, "-m", "workbench.cli", "run", name], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    kernel = home / "notebooks" / "kernel"
    wait(lambda: kernel.exists() and kernel.read_text())
    time.sleep(0.2)
    process.send_signal(ending)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert said.endswith("workbench: interrupted\n")
    assert "Traceback" not in said
    (folder,) = runs(home)
    assert read_run(home / "reports" / "made" / folder)["status"] == "killed"
    assert "killed" in (home / "reports" / "index.html").read_text()
    wait(lambda: not Path(f"/proc/{kernel.read_text()}").exists())


def wait(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def test_two_runs_at_once_never_share_a_folder(write, home):
    command = [sys.executable, "-m", "workbench.cli", "run", write("pass")]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    first, second = runs(home)
    assert first.split("-")[1] == second.split("-")[1], "the same request has the same hash"
    assert {read_run(home / "reports" / "made" / name)["run_id"] for name in (first, second)} == {first, second}


def test_what_decides_the_result_decides_the_hash(write):
    def digest(*cells, **given):
        return go(write(*cells), given).folder.name.split("-")[1]

    once = digest("1")
    assert digest("1") == once
    assert len({once, digest("2"), digest("1", n=2)}) == 3


def test_a_full_disk_is_one_line_and_leaves_no_folder(write, home):
    name = write("pass")
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900)); "  # bytes: no notebook fits
    code = limit + "from workbench.cli import main; sys.exit(main(['run', 'made']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == 1, done.stderr
    assert "workbench: could not write the run of made under" in done.stderr.splitlines()[-1]
    assert runs(home, name) == []


def test_figures_are_files_of_the_run_and_their_names_are_checked(write):
    show = "from IPython.display import display; display({{'image/png': 'iVBORw0KGgo='}}, raw=True, "
    figure = show + "metadata={{'image/png': {{'name': '{}'}}}})"
    done = go(write(figure.format("dots")))
    assert "figures/dots.png" in {artifact["path"] for artifact in done.record["artifacts"]}
    bad = go(write(figure.format("../../dots")))
    assert bad.record["status"] == "failed"
    assert "cannot be the name of a figure" in bad.record["error"]
    assert 'two figures are named "dots"' in go(write(figure.format("dots"), figure.format("dots"))).record["error"]
    assert "ZeroDivisionError" in go(write(figure.format("../../dots"), "1 / 0")).record["error"], "how a run ended comes first"


@pytest.mark.parametrize("metadata", ["{'image/png': 'x'}", "{'image/png': {}}", "{}"])
def test_a_figure_that_is_not_ours_is_no_reason_to_lose_a_run(write, metadata):
    show = f"from IPython.display import display; display({{'image/png': 'iVBORw0KGgo='}}, raw=True, metadata={metadata})"
    assert go(write(show)).succeeded
    assert go(write("from IPython.display import display; display({}, raw=True, metadata={'image/png': {'name': 'x'}})")).succeeded


def test_a_kernel_that_does_not_start_is_a_failed_run(write, home, tmp_path, monkeypatch):
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("import os; os._exit(3)")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    done = go(write("pass"))
    assert done.record["status"] == "failed"
    assert "kernel" in done.record["error"]


def test_ctrl_c_while_a_finished_run_is_written_waits_for_it(write, home, monkeypatch):
    real = run_folder.report_html

    def interrupted(*arguments):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        return real(*arguments)

    monkeypatch.setattr(run_folder, "report_html", interrupted)
    with pytest.raises(KeyboardInterrupt):
        go(write("pass"))
    (folder,) = runs(home)
    assert read_run(home / "reports" / "made" / folder)["status"] == "succeeded"


def test_an_error_of_many_lines_is_told_in_one(write):
    done = go(write("raise ValueError('one\\ntwo ' + 'x' * 1000)"))
    assert done.record["error"].startswith("code cell 2: ValueError: one two xxx")
    assert len(done.record["error"]) < 400


@pytest.mark.parametrize("content", [b"no JSON", b"{}", b"[]", b"\xff"])
def test_a_file_that_is_no_notebook_is_named(home, content):
    (home / "notebooks" / "made.ipynb").write_bytes(content)
    with pytest.raises(WorkError, match=r"made\.ipynb is not a notebook that can be run") as caught:
        go("made")
    assert "\n" not in str(caught.value)


def test_a_kernel_that_is_not_there_is_a_failed_run(write, home, tmp_path, monkeypatch):
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(
        '{"argv": ["/nonexistent/python", "{connection_file}"], "display_name": "Gone", "language": "python"}'
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    done = go(write("pass"))
    assert done.record["status"] == "failed"
    assert "the kernel did not start" in done.record["error"]


def test_a_path_from_tab_completion_is_a_name_too(write):
    write("pass")
    assert go("notebooks/made.ipynb").succeeded


def test_the_progress_bar_ends_its_line_and_lets_nothing_through_afterwards(capsys):
    bar = _Bar()
    bar.write("made: 50%")
    bar.close()
    bar.write("late")
    bar.flush()
    assert capsys.readouterr().err == "made: 50%\n"


def test_an_untyped_parameter_is_the_notebooks_mistake(write):
    with pytest.raises(WorkError, match="made, parameter n: write it as `name: type = literal`"):
        go(write(parameters="n = None"))


def test_a_record_of_nonsense_fails_the_run(write):
    done = go(write(RECORD.replace('"headline": "It works.", ', ""), record=False))
    assert done.record["status"] == "failed"
    assert "verdict" in done.record["error"]
    assert json.loads((done.folder / "run.json").read_text())["verdict"] is None


HANG = """
import os, pathlib, time
pathlib.Path("kernel").write_text(str(os.getpid()))
while not pathlib.Path("go").exists():
    time.sleep(0.1)
"""


def start(*arguments):
    return subprocess.Popen([sys.executable, "-m", "workbench.cli", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_in_the_middle(home, *arguments):
    """SIGKILL for a runner whose notebook is at HANG. Its kernel misses its parent within a second or two and exits: ipykernel's doing."""
    process, kernel = start(*arguments), home / "notebooks" / "kernel"
    wait(lambda: kernel.exists() and kernel.read_text())
    process.kill()
    assert process.wait() == -signal.SIGKILL
    wait(lambda: not Path(f"/proc/{kernel.read_text()}").exists(), seconds=10)


def hidden(home):
    return sorted(path.name for path in (home / "reports").rglob(".*") if path.name != ".lock")  # that one is the index's


def records(home, name):
    return [read_run(home / "reports" / name / run_id) for run_id in runs(home, name)]


def leave(home, name="made", take=(), seconds=0):
    """What stands there when a runner dies before its kernel starts, `seconds` after the run began; without the files `take`."""
    path = home / "notebooks" / f"{name}.ipynb"
    description = describe_run(path, {"n": 1}, "quick")
    with claimed_folder(path, description) as partial:
        kept = shutil.copytree(partial, home / "kept")
    kept.rename(partial)
    last_change = datetime.datetime.fromisoformat(description["started"]).timestamp() + seconds
    for file in partial.iterdir():
        os.utime(file, (last_change, last_change))
    for file in take:
        (partial / file).unlink()
    return partial


def test_a_killed_suite_is_resumed_where_it_stopped_and_what_was_killed_is_kept(write, home, capsys):
    figure = "display({'image/png': 'iVBORw0KGgo='}, raw=True, metadata={'image/png': {'name': 'dots'}})"
    half = f"pathlib.Path(os.environ['{RUN_FOLDER}'], '.metrics.parquet.1.partial').write_text('half')"
    rich = (RECORD, f"from IPython.display import display; {figure}; print('so', 'far')", f"import os, pathlib; {half}", HANG)
    (home / "notebooks" / "profiles.toml").write_text(f"[{write('1', name='first')}]\n[{write(*rich, name='second')}]\nneeds = ['first']\n")
    kill_in_the_middle(home, "report")
    (first,) = records(home, "first")
    assert re.fullmatch(r"\.[^ ]+\.lock \.[^ ]+\.partial", " ".join(runs(home, "second")))
    (home / "notebooks" / "go").touch()
    assert main(["report", "--resume"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"first: re-used {first['run_id']}"
    assert lines[1].endswith(f"reports/first/{first['run_id']}/report.html")
    assert re.fullmatch(r"second \(\d+ s\): It works\.", lines[2])
    assert records(home, "first") == [first]
    killed, succeeded = records(home, "second")
    assert [run["status"] for run in (killed, succeeded)] == ["killed", "succeeded"]
    assert (killed["error"], killed["verdict"], killed["metrics"]) == (KILLED, None, [])
    assert 0 < killed["duration_s"] < 60
    folder = home / "reports" / "second" / killed["run_id"]
    files = {"notebook.ipynb", "report.html", "figures/dots.png"}
    assert {artifact["path"] for artifact in killed["artifacts"]} == files
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == files | {"run.json"}
    assert "so far" in (folder / "report.html").read_text()
    index = (home / "reports" / "index.html").read_text()
    assert f"second/{killed['run_id']}/report.html" in index
    assert "1 of 3 runs did not succeed" in index
    assert hidden(home) == []


def test_without_resume_everything_runs_anew(write, home, capsys):
    (home / "notebooks" / "profiles.toml").write_text(f"[{write('1')}]\n")
    assert main(["report"]) == main(["report"]) == main(["report", "--resume"]) == 0
    assert len(runs(home)) == 2
    assert capsys.readouterr().out.count("re-used") == 1


def test_a_run_killed_before_its_kernel_started_shows_the_notebook_it_began_with(write, home):
    partial = leave(home, write("'as it was'"), seconds=12)
    write("'as it is'")
    (partial / "notebook.ipynb").write_bytes(b'{"cells": "caf\xc3')  # cut within a character
    complete_killed_runs()
    (record,) = records(home, "made")
    assert (record["status"], record["duration_s"]) == ("killed", 12.0)
    report = (home / "reports" / "made" / record["run_id"] / "report.html").read_text()
    assert "as it was" in report
    assert "as it is" not in report
    assert hidden(home) == []


def test_what_cannot_be_completed_is_removed_and_what_is_not_ours_stays(write, home):
    leave(home, write("pass"), take=[BEGUN])
    leave(home, write("pass"), take=[ORIGINAL])
    (leave(home, write("pass")) / BEGUN).write_text('{"schema_version": 1')
    (leave(home, write("pass")) / BEGUN).write_text("[]")
    (home / "reports" / "made" / ".20261122T101010Z-00000000.lock").touch()
    (home / "reports" / "made" / ".mine.partial").mkdir()
    complete_killed_runs()
    assert runs(home) == [".mine.partial"]


def test_a_run_that_lacked_only_its_name_gets_it_and_is_not_called_killed(write, home):
    done = go(write("pass"))
    partial = done.folder.with_name(f".{done.folder.name}.partial")
    done.folder.rename(partial)
    (partial / BEGUN).touch()
    complete_killed_runs()
    assert records(home, "made") == [done.record]
    assert hidden(home) == []
    done.folder.rename(partial)
    (partial / "report.html").write_text("half")
    shutil.copy(home / "notebooks" / "made.ipynb", partial / ORIGINAL)
    (partial / BEGUN).write_text(json.dumps({**done.record, "metrics": [], "artifacts": [], "verdict": None}))
    complete_killed_runs()
    (record,) = records(home, "made")
    assert record["status"] == "killed"
    assert [artifact["path"] for artifact in record["artifacts"]] == ["notebook.ipynb", "report.html"]


def test_a_run_whose_owner_lives_is_left_alone(write, home):
    path = home / "notebooks" / f"{write('pass')}.ipynb"
    with claimed_folder(path, describe_run(path, {"n": 1}, "quick")) as partial:
        before = sorted(home.rglob("*"))
        complete_killed_runs()
        assert partial / BEGUN in before
        assert sorted(home.rglob("*")) == before
    assert runs(home) == []


def test_many_processes_at_once_complete_each_killed_run_once(write, home):
    names = ("one", "two", "three")
    for name in names:
        leave(home, write("pass", name=name))
    children = []
    for _ in range(6):
        children.append(os.fork())  # an interpreter of its own would take seconds to import everything
        if children[-1] == 0:
            try:
                complete_killed_runs()
                os._exit(0)
            finally:
                os._exit(1)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
    assert [[run["status"] for run in records(home, name)] for name in names] == [["killed"]] * 3
    assert hidden(home) == []


def test_remains_of_somebody_else_stop_nobody(write, home, monkeypatch):
    leave(home, write("pass"))

    def denied(*arguments):
        raise PermissionError("not yours")

    monkeypatch.setattr(run_folder, "_complete_killed", denied)
    assert go("made").succeeded


def test_a_wrong_request_completes_nothing(write, home):
    leave(home, write("pass"))
    plan = write("pass", name="second", parameters="seed: int = -1")
    (home / "notebooks" / "profiles.toml").write_text(f"[made]\n[{plan}]\n")
    before = sorted(home.rglob("*"))
    assert main(["run", "made", "-p", "n=one"]) == 2
    assert main(["run", "other"]) == 2
    assert main(["report"]) == main(["report", "--resume"]) == 2, "the second notebook's seed"
    assert sorted(home.rglob("*")) == before


def test_only_a_whole_run_of_the_same_digest_that_succeeded_is_used_again(write, home):
    done = go(write("n"))
    again = go("made", resume=True)
    assert (again.folder, again.record, again.reused) == (done.folder, done.record, True)
    assert not go("made", {"n": 2}, resume=True).reused
    report = done.folder / "report.html"
    report.write_text(report.read_text() + " ")
    anew = go("made", resume=True)
    assert not anew.reused
    assert go("made", resume=True).folder == anew.folder
    go(write("1 / 0"))
    assert not go("made", resume=True).reused
