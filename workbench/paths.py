"""Where the project's folders are, and which names may become part of a path."""

import os
import re
from pathlib import Path

from workbench.errors import RequestError

RUN_FOLDER = "WORKBENCH_RUN_FOLDER"
"""Environment variable by which the runner tells a kernel where its run is being put together."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
RESERVED = {
    "default",
    "downloads",
    "snapshots",
    "con",
    "nul",
    "prn",
    "aux",
    *(f"{device}{n}" for device in ("com", "lpt") for n in range(10)),
}
"""Names that mean something else: here, or to a file system somewhere."""


def running() -> str | None:
    """The id of the run that this process is part of; None outside of one."""
    folder = os.environ.get(RUN_FOLDER)
    return Path(folder).name.removeprefix(".").removesuffix(".partial") if folder else None


def home() -> Path:
    """The project's root: `WORKBENCH_HOME` where it is set, else the checkout that holds this package."""
    return Path(os.environ.get("WORKBENCH_HOME") or Path(__file__).parent.parent).resolve()


def checked_name(kind: str, name: str) -> str:
    """`name`, when it is safe as a file name; letters, digits, "_" and "-" are.

    Raises RequestError for everything else, `../x` included, and for reserved names of data sets, before any path is built from it.
    """
    if not NAME.fullmatch(name):
        raise RequestError(f'"{name}" cannot be the name of a {kind}: use letters, digits, "_" and "-", starting with a letter or digit.')
    if kind == "data set" and name.casefold() in RESERVED:
        raise RequestError(f'"{name}" cannot be the name of a {kind}: it is reserved.')
    return name
