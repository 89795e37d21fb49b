"""Who asks: requests as people write them, and as codes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int64]
NOTHING = np.empty(0, np.int64)


@dataclass(frozen=True, kw_only=True)
class Request:
    user_id: str | None = None
    """None: somebody of whom nothing is known but the history."""
    history: Sequence[str] | None = None
    """Ids of items, oldest first; None: what the bundle knows of the person."""
    timestamp: int | None = None
    """When, in microseconds since 1970 UTC; None: when the bundle's data end."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Asked:
    """A request in codes."""

    user: int
    """-1: a stranger."""
    history: Codes
    """int64, oldest first."""
    seen: Codes
    """int64: what may not be shown."""
    liked: Codes
    """int64: items of the history that were liked."""
    moment: int
    """Microseconds since 1970 UTC."""
    unknown: tuple[str, ...] = ()
    """Ids in the history that the catalogue does not have."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer:
    """The list of one request, in codes."""

    items: Codes
    """int64, best first, at most as many as were asked for."""
    scores: npt.NDArray[np.float64]
    """Of the stage that ordered them last by score; places, negative, where nothing but an order is known."""
    served_by: str
    fallback: bool
    candidates: Codes = field(default_factory=lambda: NOTHING)
    """int64: what retrieval gave, best first."""
    given_by: Codes = field(default_factory=lambda: NOTHING)
    """int64: of each candidate, a bit for each source."""
    chances: npt.NDArray[np.float64] | None = None
    """Calibrated, of the items; None without a ranker."""
    trace: dict[str, object] = field(default_factory=dict)
