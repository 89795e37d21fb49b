"""Models on disk: settings as JSON, weights as safetensors, a sha256 of both. No pickle."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
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
        write_json(path, {"model": kind, "config": asdict(config), "sha256": _sha256(kind, asdict(config), weights)})


def load_model(directory: Path, kind: str, config_type: type[Config]) -> tuple[Config, dict[str, Tensor]]:
    """Raises WorkError, naming the file, when one is missing or damaged (both hashes in the message) or holds another model."""
    try:
        description = json.loads((directory / "model.json").read_text(encoding="utf-8"))
        weights = (directory / "weights.safetensors").read_bytes()
        found, settings, expected = description["model"], description["config"], description["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorkError(f"{directory} holds no readable model: {error}.") from error
    if (actual := _sha256(found, settings, weights)) != expected:
        raise WorkError(f"{directory} is damaged: settings and weights hash to {actual[:12]}…, model.json says {str(expected)[:12]}….")
    if found != kind:
        raise WorkError(f'{directory} holds the model "{found}", not "{kind}".')
    try:
        config_type(**settings)
        return TypeAdapter(config_type).validate_python(settings), load(weights)  # JSON has lists for tuples
    except (TypeError, ValidationError, SafetensorError) as error:
        raise WorkError(f"{directory} was not written by this version: {error}.") from error


def _sha256(kind: str, settings: Mapping[str, Any], weights: bytes) -> str:
    return hashlib.sha256(json.dumps([kind, settings], sort_keys=True).encode() + weights).hexdigest()
