"""The folder of a run: its name, which one process owns, and what stands in it when it is complete."""

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
from nbformat import NotebookNode

from workbench.data import load_dataset
from workbench.data.source import sha256_of
from workbench.environment import code_state, packages_hash
from workbench.files import publish_folder
from workbench.paths import checked_name, home
from workbench.reporting.html import report_html
from workbench.reporting.record import FOUND, validate_run, write_run
from workbench.training import choose_device


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


def _digest(path: Path, run: dict[str, Any]) -> str:
    """8 hex over everything that decides the result: the notebook's cells, parameters, snapshot, code, environment."""
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
    root, digest = home() / "reports" / path.stem, _digest(path, run)
    root.mkdir(parents=True, exist_ok=True)
    own: Path | None = None
    try:
        while own is None:
            started = datetime.datetime.now(datetime.UTC)
            run |= {"run_id": f"{started:%Y%m%dT%H%M%SZ}-{digest}", "started": started.isoformat(timespec="seconds")}
            partial = root / f".{run['run_id']}.partial"
            with contextlib.suppress(FileExistsError):
                partial.mkdir()
                own = partial
            if own and (root / run["run_id"]).exists():
                own.rmdir()
                own = None
            if own is None:
                time.sleep(0.2)
        yield own
    finally:
        if own:
            shutil.rmtree(own, ignore_errors=True)


def complete_run(path: Path, partial: Path, run: dict[str, Any]) -> Path:
    """Judge what the notebook handed over, write figures, report.html and run.json, and give the folder its name."""
    notebook = _executed(path, partial / "notebook.ipynb")
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


def _findings(run: dict[str, Any], partial: Path) -> dict[str, Any]:
    """What `record` handed over. Raises ValueError, KeyError or TypeError when that makes no valid run."""
    found = json.loads((partial / FOUND).read_text(encoding="utf-8"))
    found = {key: found[key] for key in ("dataset", "split", "seed", "metrics", "verdict")}
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
    files = sorted(path for path in partial.rglob("*") if path.is_file())
    run["artifacts"] = [{"path": file.relative_to(partial).as_posix(), "sha256": sha256_of(file)} for file in files]
    report = partial / "report.html"
    report.write_text(report_html(run, notebook), encoding="utf-8")
    run["artifacts"].append({"path": report.name, "sha256": sha256_of(report)})
    write_run(partial, run)
    final = partial.with_name(run["run_id"])
    publish_folder(partial, final)
    return final


def _executed(original: Path, executed: Path) -> NotebookNode:
    """The executed notebook; where papermill was stopped before or while it wrote one, the original."""
    try:
        return NotebookNode(nbformat.read(executed, as_version=4))
    except (FileNotFoundError, nbformat.reader.NotJSONError):
        shutil.copyfile(original, executed)
        return NotebookNode(nbformat.read(executed, as_version=4))
