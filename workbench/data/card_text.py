"""A card as TOML: written for the first time, or over an existing file whose comments stay."""

from pathlib import Path
from typing import Any

import tomlkit
import tomlkit.items

from workbench.data.card import Card


def card_text(card: Card, existing: Path | None) -> str:
    """The card as TOML; over an existing one, whose comments and order stay."""
    said = card.model_dump(mode="python", by_alias=True, exclude_none=True, exclude_defaults=True)
    said["meaning"].update(
        {
            kind: [_finite(rule) for rule in said["meaning"][kind]]
            for kind in ("positive", "negative", "exposure")
            if said["meaning"].get(kind)
        }
    )
    said = {key: said[key] for key in Card.model_fields if key in said}
    if existing is not None:
        document = tomlkit.parse(existing.read_text(encoding="utf-8"))
        for key in ("title", "licence", "version", "files", "columns", "meaning", "split", "contract", "privacy"):
            if key in said:
                _merge(document, key, said[key])
        return tomlkit.dumps(document)
    document = tomlkit.document()
    document.add(tomlkit.comment("Made by `workbench data add`; guesses are for you to check. What changes here is another snapshot."))
    for key, value in said.items():
        document[key] = _plain(value)
    return tomlkit.dumps(document)


def _merge(table: Any, key: str, value: Any) -> None:
    """Put a value into a TOML table, touching only what differs, so that comments stay."""
    present = table.get(key)
    if isinstance(value, dict) and isinstance(present, dict) and not isinstance(present, tomlkit.items.InlineTable):
        for gone in [each for each in present if each not in value]:
            del present[gone]
        for each, inner in value.items():
            _merge(present, each, inner)
    elif _bare(present) != _bare(_plain(value)):
        table[key] = _plain(value)


def _bare(value: Any) -> Any:
    """A TOML value as plain Python."""
    return value.unwrap() if hasattr(value, "unwrap") else value


def _finite(rule: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in rule.items() if value not in (float("inf"), float("-inf"), ())}


def _plain(value: Any) -> Any:
    """As TOML has it: lists for tuples, small tables in one line."""
    if isinstance(value, dict):
        flat = all(not isinstance(each, dict) for each in value.values())
        table = (
            tomlkit.inline_table() if flat and len(value) <= 8 and value and ("column" in value or "sha256" in value) else tomlkit.table()
        )
        for key, each in value.items():
            table[key] = _plain(each)
        return table
    if isinstance(value, list | tuple):
        array = tomlkit.array()
        for each in value:
            array.append(_plain(each))
        return array
    return value
