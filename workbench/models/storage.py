"""Models on disk: settings as JSON, weights as safetensors, a sha256 that ties them together. No pickle."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from workbench.errors import WorkError
from workbench.files import whole_file, write_json

Config = TypeVar("Config")


def save_model(directory: Path, kind: str, config: Any, tensors: Mapping[str, Tensor]) -> None:
    """`config` is a dataclass of primitives."""
    directory.mkdir(parents=True, exist_ok=True)
    weights = save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()})
    with whole_file(directory / "weights.safetensors") as path:
        path.write_bytes(weights)
    with whole_file(directory / "model.json") as path:
        write_json(path, {"model": kind, "config": asdict(config), "weights_sha256": hashlib.sha256(weights).hexdigest()})


def load_model(directory: Path, kind: str, config_type: type[Config]) -> tuple[Config, dict[str, Tensor]]:
    """Raises WorkError, naming the file, when one is missing or damaged (both hashes in the message) or holds another model."""
    try:
        description = json.loads((directory / "model.json").read_text(encoding="utf-8"))
        weights = (directory / "weights.safetensors").read_bytes()
        found, expected = description["model"], description["weights_sha256"]
        config = config_type(**description["config"]) if found == kind else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorkError(f"{directory} holds no readable model: {error}.") from error
    if config is None:
        raise WorkError(f'{directory} holds the model "{found}", not "{kind}".')
    if (actual := hashlib.sha256(weights).hexdigest()) != expected:
        raise WorkError(f"{directory / 'weights.safetensors'} is damaged: it hashes to {actual[:12]}…, model.json says {expected[:12]}….")
    try:
        return config, load(weights)
    except SafetensorError as error:
        raise WorkError(f"{directory / 'weights.safetensors'} is no safetensors file: {error}.") from error
