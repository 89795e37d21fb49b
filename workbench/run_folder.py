"""The folder of a run: its name, which one process owns, what stands in it when it is complete, and what becomes of it when its owner dies.

Until a run is complete, two hidden files in its folder say how to complete it without its owner: the description it began with, and the
notebook as it was then. Nothing hidden is ever part of a complete run.
"""

import base64
import contextlib
import datetime
import hashlib
import json
import platform
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from filelock import FileLock, Timeout
from nbformat import NotebookNode

from workbench.data import load_dataset
from workbench.environment import code_state, packages_hash
from workbench.files import publish_folder, sha256_of, sync, write_json
from workbench.paths import checked_name, home
from workbench.reporting.html import report_html
from workbench.reporting.record import FOUND, read_run, validate_run, write_run
from workbench.reporting.verdict import Verdict
from workbench.training import choose_device

BEGUN, ORIGINAL = ".begun.json", ".original.ipynb"
REMAINS = re.compile(r"\.(\d{8}T\d{6}Z-[0-9a-f]{8})\.(?:partial|lock)")
KILLED = "the runner was killed before the run was complete (SIGKILL, out of memory, power)"


def describe_run(path: Path, parameters: dict[str, Any], profile: str) -> dict[str, Any]:
    """The part of run.json that is known before the notebook runs."""
    device = choose_device()
    dataset = load_dataset(parameters["dataset"]).snapshot.origin if "dataset" in parameters else None
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
            "python": platform.python_version(),
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


def digest(path: Path, run: dict[str, Any]) -> str:
    """8 hex, the end of a run's name, over what decides its result: the notebook's cells, parameters, snapshot, code, environment."""
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells]
    decides = [path.stem, cells, run["parameters"], run["dataset"], run["code"], run["environment"]]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:8]


def _title(notebook: NotebookNode) -> str:
    first = notebook.cells[0].source if notebook.cells else ""
    match = re.match(r"# (.+)", first)
    return match[1].strip() if match else "untitled"


@contextlib.contextmanager
def claimed_folder(path: Path, run: dict[str, Any]) -> Iterator[Path]:
    """A partial folder that only this process has, removed at the end if it still has that name. Sets the run's `run_id` and `started`.

    A name that is taken means the next second.
    """
    root, end = home() / "reports" / path.stem, digest(path, run)
    root.mkdir(parents=True, exist_ok=True)
    while True:
        started = datetime.datetime.now(datetime.UTC)
        run |= {"run_id": f"{started:%Y%m%dT%H%M%SZ}-{end}", "started": started.isoformat(timespec="seconds")}
        partial = _partial(root, run["run_id"])
        with _owned(root, run["run_id"]) as mine:
            if mine and not partial.exists() and not (root / run["run_id"]).exists():
                try:
                    _begin(path, partial, run)
                    yield partial
                finally:
                    shutil.rmtree(partial, ignore_errors=True)
                return
        time.sleep(0.2)


@contextlib.contextmanager
def _owned(root: Path, run_id: str) -> Iterator[bool]:
    """Whether the run of that name is this process's own until the block ends.

    The lock is the operating system's: it goes with its owner, whatever ends that. It is taken before the folder is made and let go of
    after the folder has gone, so a folder whose lock is free has nobody.
    """
    lock = FileLock(root / f".{run_id}.lock", blocking=False)
    with contextlib.suppress(Timeout):
        lock.acquire()
    try:
        yield lock.is_locked
    finally:
        if lock.is_locked:
            Path(lock.lock_file).unlink(missing_ok=True)  # while it is held: filelock doesn't take a lock whose file has no name any more
            lock.release()


def _partial(root: Path, run_id: str) -> Path:
    return root / f".{run_id}.partial"


def _begin(path: Path, partial: Path, run: dict[str, Any]) -> None:
    """Make the folder and put into it what completes the run without us. The description comes last: where it is, all is."""
    partial.mkdir()
    shutil.copyfile(path, partial / ORIGINAL)
    sync(partial / ORIGINAL)
    write_json(partial / BEGUN, run)


def complete_killed_runs() -> None:
    """Complete, as killed, what runners left that died before they could; runs whose owner lives are left alone.

    Any number of processes may do this at once: who has the lock of a run completes it, the others pass by. A kernel that a killed runner
    leaves behind needs no care: ipykernel looks for its parent every second and exits without one (there is a test).
    """
    remains = ((path.parent, REMAINS.fullmatch(path.name)) for path in (home() / "reports").glob("*/.*"))
    for root, run_id in sorted({(root, match[1]) for root, match in remains if match}):
        # another user's remains are theirs to complete, and no reason why we should not start
        with contextlib.suppress(PermissionError), _owned(root, run_id) as mine:
            partial = _partial(root, run_id)
            if mine and partial.is_dir():  # else its owner has just published it, or died before it made it
                _complete_killed(partial)


def _complete_killed(partial: Path) -> None:
    """Publish what a dead owner left. What died before it had described itself, or cannot be read any more, is removed."""
    if complete := whole_run(partial):  # its owner lacked only the time to give it its name
        _give_name(partial, complete)
        return
    try:
        run = json.loads((partial / BEGUN).read_text(encoding="utf-8"))
        last_change = max(path.stat().st_mtime for path in partial.rglob("*"))
        duration = last_change - datetime.datetime.fromisoformat(run["started"]).timestamp()
        run |= {"status": "killed", "error": KILLED, "duration_s": round(max(0.0, duration), 3)}
        validate_run(run)
        complete_run(partial, run)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        shutil.rmtree(partial, ignore_errors=True)


def whole_run(folder: Path) -> dict[str, Any] | None:
    """The record of a run, when it is valid and every file it lists is there and hashes to what it says."""
    try:
        run = read_run(folder)
        whole = all(sha256_of(folder / artifact["path"]) == artifact["sha256"] for artifact in run["artifacts"])
    except (OSError, ValueError):
        return None
    return run if whole else None


def finished_run(path: Path, run: dict[str, Any]) -> tuple[Path, dict[str, Any]] | None:
    """Folder and record of the newest run that succeeded, is whole, and has the digest `run` would have; None when there is none."""
    for folder in sorted((home() / "reports" / path.stem).glob(f"*-{digest(path, run)}"), reverse=True):
        found = whole_run(folder)
        if found and found["status"] == "succeeded":
            return folder, found
    return None


def complete_run(partial: Path, run: dict[str, Any]) -> Path:
    """Judge what the notebook handed over, write figures, report.html and run.json, and give the folder its name."""
    notebook = _executed(partial)
    figures: dict[str, bytes] = {}
    try:
        figures = _figures(notebook)
        if run["status"] == "succeeded":
            run |= _findings(run, partial)
    except (ValueError, KeyError, TypeError) as error:
        if run["status"] == "succeeded":
            run |= {"status": "failed", "error": f"what the notebook handed over is not a record: {error}"}
    (partial / FOUND).unlink(missing_ok=True)
    for name, image in figures.items():
        (partial / "figures").mkdir(exist_ok=True)
        (partial / "figures" / f"{name}.png").write_bytes(image)
    return _publish(partial, run, notebook)


def hand_over_not_applicable(partial: Path, run: dict[str, Any], reason: str) -> None:
    """Make the record of a notebook that stopped because its question has no answer on this data; what came after is not shown."""
    path = partial / "notebook.ipynb"
    notebook = nbformat.read(path, as_version=4)
    stopped = False
    for cell in notebook.cells:
        if stopped:
            cell.metadata["tags"] = list(dict.fromkeys([*cell.metadata.get("tags", []), "report-skip"]))
        elif any(output.output_type == "error" for output in cell.get("outputs", [])):
            cell.outputs = [nbformat.v4.new_output("stream", text=f"Not applicable, because {reason}")]
            stopped = True
    nbformat.write(notebook, path)
    verdict = Verdict(f"Not applicable, because {reason}").as_json()
    found = {"dataset": run["dataset"], "split": None, "seed": run["seed"], "chosen": None, "metrics": [], "verdict": verdict}
    write_json(partial / FOUND, found)


def _findings(run: dict[str, Any], partial: Path) -> dict[str, Any]:
    """What `record` handed over. Raises ValueError, KeyError or TypeError when that makes no valid run."""
    found = json.loads((partial / FOUND).read_text(encoding="utf-8"))
    kept = {key: found[key] for key in ("dataset", "split", "seed", "metrics", "verdict")}
    found = kept | {"chosen": found.get("chosen"), "trainings": found.get("trainings", []), "failed": found.get("failed", [])}
    validate_run(run | found)
    return found


def _figures(notebook: NotebookNode) -> dict[str, bytes]:
    """PNG by name, of the outputs that carry a name. Raises ValueError for a name that is no file name or is used twice."""
    figures: dict[str, bytes] = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            about = output.get("metadata", {}).get("image/png", {})
            image = output.get("data", {}).get("image/png")
            if image and isinstance(about, dict) and about.get("name"):
                name = checked_name("figure", str(about["name"]))
                if name in figures:
                    raise ValueError(f'two figures are named "{name}"')
                figures[name] = base64.b64decode(image)
    return figures


def _publish(partial: Path, run: dict[str, Any], notebook: NotebookNode) -> Path:
    report = partial / "report.html"
    ours = {report, partial / "run.json"}  # there already when who wrote them was killed over it
    files = sorted(path for path in partial.rglob("[!.]*") if path.is_file() and path not in ours)
    run["artifacts"] = [{"path": file.relative_to(partial).as_posix(), "sha256": sha256_of(file)} for file in files]
    report.write_text(report_html(run, notebook), encoding="utf-8")
    run["artifacts"].append({"path": report.name, "sha256": sha256_of(report)})
    write_run(partial, run)
    return _give_name(partial, run)


def _give_name(partial: Path, run: dict[str, Any]) -> Path:
    for path in [path for path in partial.rglob(".*") if path.is_file()]:  # how it began, and what a dead kernel had half written
        path.unlink()
    final = partial.with_name(run["run_id"])
    publish_folder(partial, final)
    return final


def _executed(partial: Path) -> NotebookNode:
    """The executed notebook; where papermill was stopped before or while it wrote one, the original."""
    executed = partial / "notebook.ipynb"
    try:
        return NotebookNode(nbformat.read(executed, as_version=4))
    except (FileNotFoundError, ValueError):  # no JSON, or cut within a character
        shutil.copyfile(partial / ORIGINAL, executed)
        return NotebookNode(nbformat.read(executed, as_version=4))
