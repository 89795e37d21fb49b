"""Executes a notebook into a run folder. The only caller of papermill.

A run is a success when papermill returned, every code cell ran, no cell shows an error, and the notebook handed over its findings; or when
a cell found that the question has no answer on this data.
"""

import contextlib
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import nbformat
import papermill
from jupyter_client.kernelspec import NoSuchKernel
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from workbench.errors import NotApplicable, WorkError, unknown
from workbench.parameters import Parameter, check_against_data, check_ranges, declared, load_plans, resolve, with_texts_of_files
from workbench.paths import RUN_FOLDER, checked_name, home
from workbench.reporting.record import FOUND
from workbench.run_folder import claimed_folder, complete_killed_runs, complete_run, describe_run, finished_run, hand_over_not_applicable

CELL_TIMEOUT = 1800
"""Seconds one cell may take."""
QUIET_KERNEL = ["--IPKernelApp.log_level=CRITICAL"]  # or it warns of TCP without encryption at each start


@dataclass(frozen=True)
class Run:
    folder: Path
    record: dict[str, Any]
    reused: bool = False

    @property
    def succeeded(self) -> bool:
        return bool(self.record["status"] == "succeeded")


@dataclass(frozen=True)
class Outcome:
    status: str
    error: str | None
    not_applicable: str | None = None
    """Why the notebook's question has no answer on this data; it stopped where it found out."""


def list_notebooks() -> list[str]:
    """Names of the notebooks, sorted."""
    return sorted(path.stem for path in (home() / "notebooks").glob("*.ipynb"))


def notebook_path(name: str) -> Path:
    """The file of `02_retrieval`, which may be written `notebooks/02_retrieval.ipynb`. Raises RequestError for any other path."""
    path = home() / "notebooks" / f"{checked_name('notebook', name.removeprefix('notebooks/').removesuffix('.ipynb'))}.ipynb"
    if not path.is_file():
        raise unknown("notebook", name, list_notebooks())
    return path


def notebook_parameters(name: str) -> dict[str, Parameter]:
    """The parameters a notebook declares, in its order."""
    path = notebook_path(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of papermill's, about notebooks without a kernel name
        try:
            inspected = papermill.inspect_notebook(str(path))
        except (ValueError, AttributeError, TypeError, KeyError, nbformat.ValidationError) as error:
            raise WorkError(f"{path.name} is not a notebook that can be run: {_one_line(error)}") from None
    return declared(inspected, path.stem)


def resolve_parameters(name: str, given: Mapping[str, Any], profile: str) -> dict[str, Any]:
    """Defaults, overridden by the profile, overridden by `given`; checked. Raises RequestError before anything is written."""
    known, notebook = notebook_parameters(name), notebook_path(name).stem
    plan = load_plans().get(notebook)
    from_profile = plan.full if plan and profile == "full" else {}
    values = resolve(notebook, known, {**from_profile, **given})
    check_ranges(values, given.keys())
    return with_texts_of_files(values)


def run(name: str, given: Mapping[str, Any], profile: str = "quick", cell_timeout: int = CELL_TIMEOUT, resume: bool = False) -> Run:
    """Execute one notebook. A run that fails is kept and marked; this returns it all the same. With `resume`, a finished run of the same
    digest is returned instead. Runs whose runner was killed are completed first.

    Raises RequestError before anything is written when the request is wrong; WorkError when the run cannot be written (nothing is left);
    KeyboardInterrupt, after the run has been kept as killed.
    """
    path = notebook_path(name)
    parameters = resolve_parameters(name, given, profile)
    run = describe_run(path, parameters, profile)
    if "dataset" in parameters:
        check_against_data(parameters, given.keys())  # again, because only now are data that had to be fetched at hand
    try:
        complete_killed_runs()
        if resume and (finished := finished_run(path, run)):
            return Run(*finished, reused=True)
        with _endings_as_interrupt(), claimed_folder(path, run) as partial:
            clock = time.monotonic()
            outcome = _execute(path, partial, parameters, cell_timeout)
            with _interrupts_held():
                if outcome.not_applicable:
                    hand_over_not_applicable(partial, run, outcome.not_applicable)
                run |= {"status": outcome.status, "error": outcome.error, "duration_s": round(time.monotonic() - clock, 3)}
                final = complete_run(partial, run)
    except OSError as error:
        raise WorkError(f"could not write the run of {path.stem} under {home() / 'reports'}: {error}") from error
    if run["status"] == "killed":
        raise KeyboardInterrupt
    return Run(final, run)


@contextlib.contextmanager
def _endings_as_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP end a run as Ctrl-C does: the kernel is shut down and the run is kept, marked killed. For the main thread only."""
    with _handlers({signal.SIGTERM: signal.default_int_handler, signal.SIGHUP: signal.default_int_handler}):
        yield


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """While a run that is over is written, endings wait; afterwards they interrupt."""
    waiting: list[int] = []

    def wait(number: int, _: object) -> None:
        waiting.append(number)

    with _handlers(dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), wait)):
        yield
    if waiting:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _handlers(handlers: Mapping[signal.Signals, Callable[[int, FrameType | None], Any]]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Bar:
    """Standard error for one progress bar; once closed, nothing more gets through. Papermill leaves bars open on errors."""

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
        with contextlib.suppress(PapermillExecutionError):  # the notebook shows where
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
        return _judge(nbformat.read(partial / "notebook.ipynb", as_version=4), partial)
    except KeyboardInterrupt:
        return Outcome("killed", "interrupted (Ctrl-C or a signal to end)")
    except CellTimeoutError:
        return Outcome("timeout", f"a cell took longer than {cell_timeout} s")
    except DeadKernelError:
        return Outcome("failed", "the kernel died (killed, out of memory, or a crash in a library)")
    except (RuntimeError, NoSuchKernel, FileNotFoundError, PermissionError) as error:
        return Outcome("failed", f"the kernel did not start: {_one_line(error)}")
    finally:
        bar.close()
        del os.environ[RUN_FOLDER]


def _judge(notebook: NotebookNode, partial: Path) -> Outcome:
    """Whether a notebook that papermill has done with did run: `sys.exit(0)` in a cell looks like an ordinary end to papermill."""
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        for output in cell.outputs:
            if output.output_type == "error" and output.ename == NotApplicable.__name__:
                return Outcome("succeeded", None, not_applicable=_one_line(output.evalue))
            if output.output_type == "error":
                return Outcome("failed", f"{_place(notebook, number)}: {output.ename}: {_one_line(output.evalue)}")
        if cell.execution_count is None:
            return Outcome("failed", f"{_place(notebook, number)} was never executed: the kernel was shut down before it")
    if not (partial / FOUND).is_file():
        return Outcome("failed", "the notebook recorded nothing: its last cell should call record(…)")
    return Outcome("succeeded", None)


def _one_line(text: object, most: int = 300) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= most else f"{line[:most]}…"


def _place(notebook: NotebookNode, index: int) -> str:
    """Which code cell that is in the notebook as its author sees it, counted from 1, without the one that papermill adds."""
    own = [c for c in notebook.cells[: index + 1] if c.cell_type == "code" and "injected-parameters" not in c.metadata.get("tags", [])]
    return f"code cell {len(own)}"
