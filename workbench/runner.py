"""Executes a notebook into a run folder. The only caller of papermill.

A run folder is put together under a temporary name that one process owns, and renamed when it is complete. A run is a success
when papermill returned, every code cell ran, no cell shows an error, and the notebook handed over its findings.
"""

import base64
import contextlib
import datetime
import hashlib
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import nbformat
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from workbench.data import load_dataset
from workbench.data.source import sha256_of
from workbench.environment import code_state, packages_hash, python_version
from workbench.errors import RequestError, WorkError, unknown
from workbench.files import publish_folder
from workbench.parameters import Parameter, check_ranges, declared, load_plans, resolve
from workbench.paths import checked_name, home
from workbench.reporting.html import report_html
from workbench.reporting.record import FOUND, RUN_FOLDER, validate_run, write_run
from workbench.training import choose_device

CELL_TIMEOUT = 1800
"""Seconds one cell may take."""
QUIET_KERNEL = ["--IPKernelApp.log_level=CRITICAL"]  # or it warns of TCP without encryption at each start


@dataclass(frozen=True)
class Run:
    folder: Path
    record: dict[str, Any]

    @property
    def succeeded(self) -> bool:
        return bool(self.record["status"] == "succeeded")


@dataclass(frozen=True)
class Outcome:
    status: str
    error: str | None


def list_notebooks() -> list[str]:
    """Names of the notebooks, sorted."""
    return sorted(path.stem for path in (home() / "notebooks").glob("*.ipynb"))


def notebook_path(name: str) -> Path:
    """Raises RequestError for a name that is none, `../x` included."""
    path = home() / "notebooks" / f"{checked_name('notebook', name.removesuffix('.ipynb'))}.ipynb"
    if not path.is_file():
        raise unknown("notebook", name, list_notebooks())
    return path


def notebook_parameters(name: str) -> dict[str, Parameter]:
    """The parameters a notebook declares, in its order."""
    path = notebook_path(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of papermill's, about notebooks without a kernel name
        inspected = papermill.inspect_notebook(str(path))
    return declared(inspected, path.stem)


def resolve_parameters(name: str, given: Mapping[str, Any], profile: str) -> dict[str, Any]:
    """Defaults, overridden by the profile, overridden by `given`; checked. Raises RequestError before anything is written."""
    known = notebook_parameters(name)
    plan = load_plans().get(notebook_path(name).stem)
    from_profile = plan.full if plan and profile == "full" else {}
    values = resolve(notebook_path(name).stem, known, {**from_profile, **given})
    check_ranges(values)
    return values


def run(name: str, given: Mapping[str, Any], profile: str = "quick", cell_timeout: int = CELL_TIMEOUT) -> Run:
    """Execute one notebook. A run that fails is kept and marked; this returns it all the same.

    Raises RequestError before anything is written when the request is wrong; WorkError when the run cannot be written (nothing is left);
    KeyboardInterrupt, after the run has been kept as killed.
    """
    path = notebook_path(name)
    parameters = resolve_parameters(name, given, profile)
    run = _describe(path, parameters, profile)
    interrupted = False
    try:
        partial, run["run_id"] = _claim(path.stem, _digest(path, run))
        run["started"] = _now().isoformat(timespec="seconds")
        clock = time.monotonic()
        try:
            with _terminate_as_interrupt():
                outcome = _execute(path, partial, parameters, cell_timeout)
        except KeyboardInterrupt:
            interrupted, outcome = True, Outcome("killed", "interrupted (Ctrl-C or a signal to end)")
        run |= {"status": outcome.status, "error": outcome.error, "duration_s": round(time.monotonic() - clock, 3)}
        final = _complete(path, partial, run)
    except OSError as error:
        raise WorkError(f"could not write the run of {path.stem} under {home() / 'reports'}: {error}") from error
    finally:
        if "partial" in locals():
            shutil.rmtree(partial, ignore_errors=True)
    if interrupted:
        raise KeyboardInterrupt
    return Run(final, run)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _describe(path: Path, parameters: dict[str, Any], profile: str) -> dict[str, Any]:
    """The part of run.json that is known before the notebook runs."""
    device = choose_device()
    dataset = None
    if "dataset" in parameters:
        snapshot = load_dataset(parameters["dataset"]).snapshot
        dataset = {"name": snapshot.name, "snapshot": snapshot.id, "events": snapshot.manifest["tables"]["events"]["rows"]}
    return {
        "schema_version": 1,
        "notebook": path.stem,
        "title": _title(nbformat.read(path, as_version=4)),
        "profile": profile,
        "parameters": parameters,
        "dataset": dataset,
        "split": None,
        "code": code_state(),
        "environment": {
            "python": python_version(),
            "packages_hash": packages_hash(),
            "device": device.name,
            "device_reason": device.reason,
            "threads": device.threads,
        },
        "seed": parameters.get("seed"),
        "metrics": [],
        "artifacts": [],
        "verdict": None,
    }


def _digest(path: Path, run: dict[str, Any]) -> str:
    """8 hex over everything that decides the result: the notebook's cells, parameters, snapshot, code, environment."""
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells]
    decides = [path.stem, cells, run["parameters"], run["dataset"], run["code"], run["environment"]]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:8]


def _title(notebook: NotebookNode) -> str:
    first = notebook.cells[0].source if notebook.cells else ""
    match = re.match(r"# (.+)", first)
    return match[1].strip() if match else "untitled"


def _claim(notebook: str, digest: str) -> tuple[Path, str]:
    """A partial folder that only this process has, and the run-id it stands for; a name that is taken means the next second."""
    root = home() / "reports" / notebook
    root.mkdir(parents=True, exist_ok=True)
    while True:
        run_id = f"{_now():%Y%m%dT%H%M%SZ}-{digest}"
        partial = root / f".{run_id}.partial"
        with contextlib.suppress(FileExistsError):
            partial.mkdir()
            if not (root / run_id).exists():
                return partial, run_id
            partial.rmdir()
        time.sleep(0.2)


@contextlib.contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """While a kernel runs, SIGTERM ends the run as Ctrl-C does: the kernel is shut down and the run is kept, marked killed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Bar:
    """Standard error for one progress bar; once closed, the line is ended and nothing gets through. (Papermill leaves bars open on errors.)"""

    def __init__(self) -> None:
        self.stream: TextIO | None = sys.stderr
        self.last = "\n"

    def write(self, text: str) -> None:
        if self.stream and text:
            self.stream.write(text)
            self.last = text

    def flush(self) -> None:
        if self.stream:
            self.stream.flush()

    def close(self) -> None:
        self.write("" if self.last.endswith("\n") else "\n")
        self.stream = None


def _execute(path: Path, partial: Path, parameters: dict[str, Any], cell_timeout: int) -> Outcome:
    os.environ[RUN_FOLDER] = str(partial)
    bar = _Bar()
    try:
        papermill.execute_notebook(
            str(path),
            str(partial / "notebook.ipynb"),
            parameters=parameters,
            kernel_name="python3",
            cwd=str(path.parent),
            progress_bar={"desc": path.stem, "file": bar} if sys.stderr.isatty() else False,
            execution_timeout=cell_timeout,
            extra_arguments=QUIET_KERNEL,
        )
    except PapermillExecutionError:
        pass  # the notebook shows where
    except CellTimeoutError:
        return Outcome("timeout", f"a cell took longer than {cell_timeout} s")
    except DeadKernelError:
        return Outcome("failed", "the kernel died (killed, out of memory, or a crash in a library)")
    finally:
        bar.close()
        del os.environ[RUN_FOLDER]
    return _judge(nbformat.read(partial / "notebook.ipynb", as_version=4), partial)


def _judge(notebook: NotebookNode, partial: Path) -> Outcome:
    """Whether a notebook that papermill has done with did run: `sys.exit(0)` in a cell looks like an ordinary end to papermill."""
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        for output in cell.outputs:
            if output.output_type == "error":
                return Outcome("failed", f"{_place(notebook, number)}: {output.ename}: {output.evalue}")
        if cell.execution_count is None:
            return Outcome("failed", f"{_place(notebook, number)} was never executed: the kernel was shut down before it")
    if not (partial / FOUND).is_file():
        return Outcome("failed", "the notebook recorded nothing: its last cell should call record(…)")
    return Outcome("succeeded", None)


def _place(notebook: NotebookNode, index: int) -> str:
    """Which code cell that is in the notebook as its author sees it, counted from 1, without the one that papermill adds."""
    own = [c for c in notebook.cells[: index + 1] if c.cell_type == "code" and "injected-parameters" not in c.metadata.get("tags", [])]
    return f"code cell {len(own)}"


def _complete(path: Path, partial: Path, run: dict[str, Any]) -> Path:
    """Write figures, report.html and run.json, and give the folder its name."""
    executed = partial / "notebook.ipynb"
    if not executed.is_file():
        shutil.copyfile(path, executed)
    notebook = nbformat.read(executed, as_version=4)
    try:
        _write_figures(notebook, partial)
        if run["status"] == "succeeded":
            found = json.loads((partial / FOUND).read_text(encoding="utf-8"))
            validate_run(run | found)
            run |= found
    except (RequestError, ValueError) as error:
        run |= {"status": "failed", "error": f"what the notebook handed over is not a record: {error}"}
    (partial / FOUND).unlink(missing_ok=True)
    run["artifacts"] = [{"path": file.relative_to(partial).as_posix(), "sha256": sha256_of(file)} for file in _files(partial)]
    report = partial / "report.html"
    report.write_text(report_html(run, notebook), encoding="utf-8")
    run["artifacts"].append({"path": report.name, "sha256": sha256_of(report)})
    write_run(partial, run)
    final = partial.with_name(run["run_id"])
    publish_folder(partial, final)
    return final


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _write_figures(notebook: NotebookNode, partial: Path) -> None:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("image/png", {}).get("name")
            if name:
                (partial / "figures").mkdir(exist_ok=True)
                image = base64.b64decode(output.data["image/png"])
                (partial / "figures" / f"{checked_name('figure', name)}.png").write_bytes(image)
