"""What somebody who brings a log says of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.data.card import Unit
from workbench.data.engine import MEMORY_LIMIT


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `workbench data add` is told; what is left out is guessed. Columns go by name, or by place counted from 0."""

    file: Path
    name: str
    item_table: Path | None = None
    user_table: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    """Names of `workbench.data.card.Columns` (user_id, item_id, timestamp, value …), without context; an id of several columns has
    commas."""
    context: tuple[str, ...] | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)
    """delimiter, quote, encoding, header."""
    unit: Unit | None = None
    zone: str | None = None
    time_format: str | None = None
    positive_min: float | None = None
    positive_events: tuple[str, ...] = ()
    negative_max: float | None = None
    negative_events: tuple[str, ...] = ()
    exposure_events: tuple[str, ...] = ()
    repeats: bool | None = None
    title: str | None = None
    licence: str | None = None
    allow: tuple[str, ...] = ()
    quarantine: bool = False
    update: bool = False
    """Take the file as the next version of a data set that was added before."""
    memory_limit: str = MEMORY_LIMIT
