"""`reports/index.html`: every run, failures on top."""

from pathlib import Path

from filelock import FileLock

from workbench.errors import WorkError
from workbench.files import whole_file
from workbench.paths import home
from workbench.reporting.html import index_html, moment
from workbench.reporting.record import read_run


def build_index() -> Path:
    """Write the index anew from the run records on disk and return its path. A record that cannot be read is listed as such.

    Raises WorkError when the disk does not take it.
    """
    reports = home() / "reports"
    try:
        return _write_index(reports)
    except OSError as error:
        raise WorkError(f"could not write the index of {reports}: {error}") from error


def _write_index(reports: Path) -> Path:
    reports.mkdir(exist_ok=True)
    with FileLock(reports / ".lock"):
        folders = sorted((path for path in reports.glob("*/*/") if not path.name.startswith(".")), key=lambda path: path.name, reverse=True)
        entries = sorted((_entry(folder) for folder in folders if _is_run(folder)), key=lambda entry: entry["state"] == "succeeded")
        index = reports / "index.html"
        with whole_file(index) as path:
            path.write_text(index_html(entries), encoding="utf-8")
    return index


def _is_run(folder: Path) -> bool:
    return (folder / "run.json").exists() or (folder / "report.html").exists()


def _entry(folder: Path) -> dict[str, str]:
    path = f"{folder.parent.name}/{folder.name}/report.html"
    try:
        run = read_run(folder)
    except (OSError, ValueError) as error:
        reason = f"its run.json cannot be read: {str(error).splitlines()[0]}"
        blank = dict.fromkeys(("profile", "data", "took"), "")
        return {"state": "unreadable", "path": path, "text": reason, "notebook": folder.parent.name, "when": folder.name, **blank}
    return {
        "state": run["status"],
        "path": path,
        "text": run["verdict"]["headline"] if run["status"] == "succeeded" else run["error"],
        "notebook": run["notebook"],
        "profile": run["profile"],
        "data": run["dataset"]["snapshot"] if run["dataset"] else "",
        "when": moment(run["started"]),
        "took": f"{run['duration_s']:.0f} s",
    }
