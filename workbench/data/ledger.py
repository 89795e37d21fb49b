"""The ledger of looks at sealed test parts: who was judged on what, and how often, before anybody chose.

One line of JSON for each evaluation on a test part, appended beside the snapshots of the data set. Whoever tries many models on one test
part finds one that is lucky there; the ledger says how many were tried.
"""

import datetime
import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import WorkError
from workbench.paths import running

NAME = "looks.jsonl"


@dataclass(frozen=True)
class Looks:
    """At one test part."""

    total: int
    models: int
    """Different models and settings among them."""
    unreadable: int = 0
    """Lines of the whole ledger that cannot be read; each was a look at something."""

    def __bool__(self) -> bool:
        return self.total > 0 or self.unreadable > 0

    def __str__(self) -> str:
        broken = f"; {self.unreadable:,} entries of the ledger cannot be read" if self.unreadable else ""
        return f"{self.total:,} {'look' if self.total == 1 else 'looks'}, {self.models:,} different models or settings{broken}"


@dataclass(frozen=True)
class Ledger:
    path: Path

    def add(self, part: str, model: str, settings: dict[str, Any]) -> None:
        """Write down one look, before it is taken. Raises WorkError when that cannot be done: then there should be no look."""
        entry = {
            "part": part,
            "model": model,
            "settings": settings,
            "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "run": running(),
        }
        line = json.dumps(entry, sort_keys=True, default=str) + "\n"
        try:
            _append(self.path, line.encode())
        except OSError as error:
            raise WorkError(f"a look at the test part could not be written down in {self.path}: {error.strerror}.") from error

    def looks(self, part: str) -> Looks:
        """At this part so far."""
        seen, total, unreadable = set(), 0, 0
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines() if self.path.exists() else []
        for line in filter(None, lines):
            try:
                entry = json.loads(line)
                if entry["part"] == part:
                    total += 1
                    seen.add((entry["model"], json.dumps(entry["settings"], sort_keys=True)))
            except (ValueError, KeyError, TypeError):
                unreadable += 1
        return Looks(total, len(seen), unreadable)


def _append(path: Path, line: bytes) -> None:
    """In one write, at the end of the file wherever that is: others may append too. After a line that was never finished, on a new one."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        whole = size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
        line = line if whole else b"\n" + line
        if os.write(descriptor, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(descriptor)
