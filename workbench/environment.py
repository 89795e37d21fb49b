"""What a result depends on besides data and parameters: dependencies, installed packages, code. Also writes the lock.

`python -m workbench.environment` (which `make lock` calls) makes requirements.lock and environment.yml from pyproject.toml, the one source.
"""

import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

HEADER = "# made from pyproject.toml by `make lock`; dependencies-sha256: "
ENVIRONMENT = """\
{header}{digest}
name: recommender-workbench
channels:
  - conda-forge
dependencies:
  - python=3.11   # RecBole's ray has no wheel for 3.12
  - pip
  - pip:
      # The torch build for your GPU: on Linux this line brings the CUDA build that pip finds, on a Mac the one with Metal. For another CUDA
      # version, for ROCm or for a build without GPU, add that build's package index above this line (PyTorch's install page names it for
      # each platform) and its suffix here, such as {torch}+cpu. The lock admits any build of that version.
      - {torch}
      - -r requirements.lock
      - -e .
"""


def dependencies_sha256(pyproject: str) -> str:
    """Hash of what pyproject.toml says about dependencies: the lock and environment.yml carry it, so that a test sees them fall behind."""
    project = tomllib.loads(pyproject)["project"]
    said = [project["requires-python"], project["dependencies"], project["optional-dependencies"]]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def environment_yml(pyproject: str) -> str:
    torch = next(d for d in tomllib.loads(pyproject)["project"]["dependencies"] if d.startswith("torch=="))
    return ENVIRONMENT.format(header=HEADER, digest=dependencies_sha256(pyproject), torch=torch)


def lock(root: Path) -> None:
    """Resolve all dependencies into requirements.lock; needs the package index, and pip-compile beside this Python."""
    pyproject = (root / "pyproject.toml").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "lock"
        options = [
            "--quiet",
            "--no-header",
            "--extra=dev",
            "--strip-extras",
            "--allow-unsafe",
            "--no-emit-index-url",
            "--no-emit-find-links",
        ]
        compiler = [sys.executable, "-m", "piptools", "compile"]
        subprocess.run([*compiler, *options, f"--output-file={output}", "pyproject.toml"], check=True, cwd=root)
        pins = re.sub(
            r"^(\S+==[^+\s]+)\+\S+", r"\1", output.read_text(encoding="utf-8"), flags=re.MULTILINE
        )  # torch 2.13.0+cpu, where one is at hand
    note = "# No hashes: torch's builds differ in theirs, and pip refuses every line without one as soon as a single line has one.\n"
    (root / "requirements.lock").write_text(f"{HEADER}{dependencies_sha256(pyproject)}\n{note}{pins}", encoding="utf-8")
    (root / "environment.yml").write_text(environment_yml(pyproject), encoding="utf-8")


def packages_hash() -> str:
    """12 hex over name and version of every installed package."""
    places = [place for place in sys.path if Path(place).name != "_vendor"]  # setuptools puts its own copies there once it is imported
    installed = sorted({f"{d.name.lower()}=={d.version}" for d in importlib.metadata.distributions(path=places) if d.name})
    return hashlib.sha256("\n".join(installed).encode()).hexdigest()[:12]


def code_state(root: Path = Path(__file__).parent.parent) -> dict[str, Any]:
    """`commit` of the checkout that holds this package, and `diff_hash` of what differs from it (untracked files too), or null.

    Outside of a git checkout `commit` is null and `diff_hash` covers the package's files.
    """
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "diff_hash": _hash_files(root, sorted((root / "workbench").rglob("*.py")), b"")}
    diff = _git(root, "diff", "HEAD") or b""
    names = (_git(root, "ls-files", "--others", "--exclude-standard", "-z") or b"").split(b"\0")
    untracked = sorted(root / os.fsdecode(name) for name in names if name)
    return {"commit": commit.decode().strip(), "diff_hash": _hash_files(root, untracked, diff) if diff or untracked else None}


def _git(root: Path, *arguments: str) -> bytes | None:
    try:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def _hash_files(root: Path, files: list[Path], diff: bytes) -> str:
    digest = hashlib.sha256(diff)
    for path in files:
        if path.is_file():
            digest.update(os.fsencode(path.relative_to(root)) + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


if __name__ == "__main__":
    lock(Path.cwd())
