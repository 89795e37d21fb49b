"""Checkpoints that can be trusted: tensors and primitives, never code, written whole, with a sha256 beside."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from workbench.errors import RequestError, WorkError
from workbench.files import whole_file

KEPT = 2
"""Epochs whose checkpoints are kept: if the last one is damaged there is one before."""


@dataclass(frozen=True)
class Checkpoints:
    """A folder with the state of one training at the end of its last epochs."""

    folder: Path
    identity: dict[str, Any]
    """What decides the result, as JSON: model, settings, data, number of processes. A checkpoint of something else is refused."""

    def path(self, epoch: int) -> Path:
        """Of the state after so many epochs."""
        return self.folder / f"epoch-{epoch:05d}.ckpt"

    def found(self) -> list[Path]:
        """Oldest first."""
        return sorted(self.folder.glob("epoch-*.ckpt"))

    def newest(self) -> Path | None:
        """Where to go on from; None where there is nothing yet. Raises RequestError when the folder is of another training."""
        if not (found := self.found()):
            return None
        try:
            theirs = json.loads((self.folder / "training.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise WorkError(f"{self.folder / 'training.json'} cannot be read: {error}.") from None
        if not isinstance(theirs, dict):
            raise WorkError(f"{self.folder / 'training.json'} cannot be read: it holds no table.")
        ours = json.loads(json.dumps(self.identity))
        for name in ours:
            if theirs.get(name) != ours[name]:
                told = _differing(name, theirs.get(name), ours[name])
                raise RequestError(f"{self.folder} holds checkpoints of another training: {told}. Choose another folder.")
        return found[-1]

    def begin(self) -> None:
        """Write down whose checkpoints these will be. Raises RequestError when the folder cannot be made."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RequestError(f"{self.folder} cannot be a folder for checkpoints: {error.strerror}.") from None
        with whole_file(self.folder / "training.json") as path:
            path.write_text(json.dumps(self.identity, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    def sweep(self) -> None:
        """Remove all but the newest."""
        for path in self.found()[:-KEPT]:
            path.unlink(missing_ok=True)
            _checksum_of(path).unlink(missing_ok=True)


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """The checksum first: a checkpoint that has its name has its checksum. Raises WorkError when it cannot be written, a full disk say."""
    try:
        with whole_file(path) as partial:
            torch.save(state, partial)
            with whole_file(_checksum_of(path)) as checksum:
                checksum.write_text(_hash(partial) + "\n", encoding="ascii")
    except (OSError, RuntimeError) as error:  # torch's own writer has no OSError
        raise WorkError(f"{path} cannot be written: {error}. Earlier checkpoints are left as they were.") from error


def read_checkpoint(path: Path, device: Any = "cpu") -> dict[str, Any]:
    """Loads tensors and primitives, no code. Raises WorkError when the file is not what was written, with both hashes and a mend."""
    try:
        expected, found = _checksum_of(path).read_text(encoding="ascii").strip(), _hash(path)
    except (OSError, UnicodeDecodeError) as error:
        raise WorkError(f"{path} cannot be checked: {error}.") from None
    if expected != found:
        before = [other for other in sorted(path.parent.glob("epoch-*.ckpt")) if other < path]
        mend = f"go on from {before[-1].name}" if before else "start anew"
        raise WorkError(f"{path} is damaged: it hashes to {found[:12]}…, beside it stands {expected[:12]}…. Remove it to {mend}.")
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state


def _checksum_of(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _differing(name: str, theirs: Any, ours: Any) -> str:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        keys = [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]
        return f"{name} {keys[0]} is {theirs.get(keys[0])!r} there and {ours.get(keys[0])!r} here"
    return f"{name} is {theirs!r} there and {ours!r} here"
