"""DuckDB as this package uses it: in memory, out of core beyond a stated limit, in UTC."""

import os
import re
import shutil
from pathlib import Path

import duckdb

from workbench.errors import RequestError
from workbench.paths import home

MEMORY_LIMIT = "4GB"
"""What DuckDB may hold in memory before it spills to disk; Python and torch come on top (about 0.5 GB)."""


def connect(memory_limit: str = MEMORY_LIMIT) -> duckdb.DuckDBPyConnection:
    """A fresh in-memory DuckDB. What does not fit goes to `datasets/.spill-<pid>`, a folder that exists only while it is needed.

    Raises RequestError for a limit that is not a size like 500MB or 2GB.
    """
    if not re.fullmatch(r"[1-9]\d{0,5}(MB|GB)", memory_limit):
        raise RequestError(f'memory limit "{memory_limit}" should be a size like 500MB or 2GB.')
    spill = home() / "datasets" / f".spill-{os.getpid()}"
    connection = duckdb.connect(config={"memory_limit": memory_limit, "temp_directory": str(spill)})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def sweep_spills() -> None:
    """Remove what processes that were killed had spilled."""
    for path in (home() / "datasets").glob(".spill-*"):
        try:
            os.kill(int(path.name.removeprefix(".spill-")), 0)
        except (ValueError, ProcessLookupError):
            shutil.rmtree(path, ignore_errors=True)
        except PermissionError:  # somebody else's, and alive
            continue


def quoted(identifier: str) -> str:
    """A column name as SQL reads it, whatever characters are in it."""
    return '"' + identifier.replace('"', '""') + '"'


def file_literal(path: Path) -> str:
    """A file to be read as SQL reads it: its name is no pattern that other files match too."""
    return literal(re.sub(r"([*?\[])", r"[\1]", str(path)))


def literal(text: str) -> str:
    """A text as SQL reads it, whatever characters are in it."""
    return "'" + text.replace("'", "''") + "'"
