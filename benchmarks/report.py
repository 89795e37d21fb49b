"""How every benchmark says what it found: a table, and results/<name>.json."""

import datetime
import importlib.metadata
import os
import platform
import resource
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from workbench.files import write_json

VERSIONS = ("torch", "numpy", "scipy", "pandas", "duckdb", "recbole", "faiss-cpu", "implicit", "lightgbm")


@dataclass(frozen=True, kw_only=True)
class Row:
    work: str
    size: str
    ours: float
    peer: str
    peer_value: float | None
    """None: there is no peer."""
    goal: str
    met: bool | None
    """None: shown, without a goal."""

    @property
    def ratio(self) -> float | None:
        return self.ours / self.peer_value if self.peer_value else None


def peak_memory() -> float:
    """MB that this process had at most. On Linux not by `ru_maxrss`, which starts at what the parent had when it started this one."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text(encoding="ascii").split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def show(rows: list[Row]) -> None:
    print(f"{'work':24} {'peer':30} {'ours':>10} {'theirs':>10} {'ratio':>8}  goal")
    for row in rows:
        verdict = {True: "met", False: "MISSED", None: ""}[row.met]
        theirs = f"{row.peer_value:10.6f} {row.ratio or float('nan'):8.4f}" if row.peer_value is not None else " " * 19
        print(f"{row.work:24} {row.peer:30} {row.ours:10.6f} {theirs}  {row.goal} {verdict}")


def write(name: str, rows: list[Row]) -> None:
    """Print the table and write benchmarks/results/<name>.json."""
    show(rows)
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    result = {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version(), **{package: importlib.metadata.version(package) for package in VERSIONS}},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": f"python -m benchmarks.{name}",
        "rows": [{**asdict(row), "ratio": row.ratio} for row in rows],
    }
    write_json(folder / f"{name}.json", result)
