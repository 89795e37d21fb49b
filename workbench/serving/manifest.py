"""The manifest of a bundle: what is in it, and the checks before anything of it is read."""

import json
from pathlib import Path
from typing import Any

from workbench.errors import RequestError, WorkError
from workbench.files import sha256_of
from workbench.serving.onnx_files import external_tensors

MANIFEST = "manifest.json"
SCHEMA = 1
"""Of the manifest; a bundle of a newer one is refused, an older one is read."""
SUFFIXES = {".onnx", ".json", ".toml", ".parquet", ".faiss", ".md"}
"""What a bundle may hold. Nothing that runs code when it is read."""
TABLES = {"lists": ("k", "repeats", "fallback", "served_by"), "made": ("as_of", "system"), "retriever": ("file", "sources", "depth")}
"""What of the manifest is read when a bundle is open."""
FACTS = ("schema", "name", "surface", "sha256", "items", "lists", "retriever", "made")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raises RequestError where there is no bundle, or one of a newer schema; WorkError where the manifest cannot be read."""
    try:
        told = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise RequestError(f"{folder} holds no bundle: it has no {MANIFEST}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise WorkError(f"{folder / MANIFEST} cannot be read: {' '.join(str(error).split())}.") from None
    if not isinstance(told, dict) or type(told.get("schema")) is not int:
        raise WorkError(f"{folder / MANIFEST} is no manifest of a bundle: it has no schema.")
    if told["schema"] > SCHEMA:
        raise RequestError(f"{folder} has schema {told['schema']}, and this workbench reads up to {SCHEMA}: use a newer workbench.")
    if lacking := [name for name in FACTS if name not in told]:
        raise WorkError(f"{folder / MANIFEST} is no manifest of a bundle: it has no {lacking[0]}.")
    if not isinstance(told["sha256"], dict):
        raise WorkError(f"{folder / MANIFEST} is no manifest of a bundle: its sha256 is no table of hashes.")
    return told


def check_tables(folder: Path, told: dict[str, Any]) -> None:
    """What a bundle reads of its manifest while it answers is there. Raises WorkError."""
    for name, needed in TABLES.items():
        if not isinstance(told[name], dict):
            raise WorkError(f"{folder / MANIFEST} is no manifest of a bundle: its {name} is no table.")
        if lacking := [each for each in needed if each not in told[name]]:
            raise WorkError(f"{folder / MANIFEST} is no manifest of a bundle: it has no {name}.{lacking[0]}.")


def check_files(folder: Path, told: dict[str, Any]) -> None:
    """Every file that the manifest names is there, as it was written, and nothing else is. Raises WorkError, with both hashes, for one that
    is not, and for a name that leads out of the bundle.
    """
    for name, expected in told["sha256"].items():
        path = inside(folder, name)
        if path.exists() and not path.is_file():
            raise WorkError(f"{folder}: {name} is no file, and {MANIFEST} names it.")
        try:
            actual = sha256_of(path)
        except OSError as error:
            raise WorkError(f"{folder.name}: {name} cannot be read ({error.strerror}), and {MANIFEST} names it.") from None
        if actual != expected:
            raise WorkError(f"{folder.name} is damaged: {name} hashes to {actual[:12]}…, {MANIFEST} says {str(expected)[:12]}….")
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
    if more := sorted(there - {*told["sha256"], MANIFEST}):
        raise WorkError(f"{folder.name} holds {more[0]}, which {MANIFEST} does not name.")


def inside(folder: Path, name: str) -> Path:
    """The file of a bundle that a manifest names. Raises WorkError for a name that leads out of it, a link, and a kind that no bundle
    has."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name or "\0" in name:
        raise WorkError(f'{folder.name}: {MANIFEST} names "{name}", which leads out of the bundle.')
    if path.suffix not in SUFFIXES:
        raise WorkError(f'{folder.name}: {MANIFEST} names "{name}", and a bundle has no such files.')
    found = folder / path
    if any(each.is_symlink() for each in (found, *found.parents) if folder in each.parents):
        raise WorkError(f"{folder.name}: {name} is a link, which may lead out of the bundle.")
    return found


def read_onnx(folder: Path, name: str) -> bytes:
    """A graph, all of it in one file. Raises WorkError for weights that are kept elsewhere."""
    content = inside(folder, name).read_bytes()
    if found := external_tensors(content):
        raise WorkError(f'{folder.name}: {name} keeps the weights "{found[0]}" in a file outside of itself, which no bundle does.')
    return content
