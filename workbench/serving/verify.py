"""Golden requests: what the model that was measured answered, kept in the bundle; and whether the bundle still answers so."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.errors import WorkError
from workbench.serving.bundle import Bundle
from workbench.serving.manifest import inside
from workbench.serving.requests import Answer, Codes, Request

GOLDEN = "golden.parquet"
RELATIVE, ABSOLUTE = 1e-5, 1e-6
"""Scores that differ by no more, relative to the largest of the list, count as one: 32-bit sums in another order."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How lists of a bundle differ from those they are held against."""

    requests: int
    largest_absolute: float
    """Difference of an item's scores; infinite where one of them is no number."""
    largest_relative: float
    """The same over the largest score of the list it is in."""
    identical: int
    """Lists that are the same, item by item."""
    up_to_ties: int
    """Lists that are the same but for items whose scores are equal, as far as 32 bits can say."""

    @property
    def holds(self) -> bool:
        return self.up_to_ties == self.requests and self.largest_relative <= RELATIVE

    @property
    def text(self) -> str:
        lists = f"{self.identical:,} of {self.requests:,} lists are identical, {self.up_to_ties:,} up to ties"
        return f"{lists}; scores differ by {self.largest_absolute:.1e} at most, {self.largest_relative:.1e} of the largest in the list"

    def as_json(self) -> dict[str, Any]:
        told = asdict(self)
        finite = {name: None if isinstance(value, float) and not np.isfinite(value) else value for name, value in told.items()}
        return {**finite, "holds": self.holds}


def compared(expected: Sequence[tuple[Codes, Floats]], answers: Sequence[tuple[Codes, Floats]]) -> Parity:
    """Lists and their scores, request by request."""
    absolute, relative, same, alike = 0.0, 0.0, 0, 0
    for (items, scores), (found, theirs) in zip(expected, answers, strict=True):
        size = max(float(np.abs(scores).max(initial=0.0)), ABSOLUTE / RELATIVE)
        place = {int(item): number for number, item in enumerate(items)}
        gaps = [
            abs(float(scores[place[int(item)]]) - float(score)) for item, score in zip(found, theirs, strict=True) if int(item) in place
        ]
        gap = max((each if np.isfinite(each) else np.inf for each in gaps), default=0.0)
        absolute, relative = max(absolute, gap), max(relative, gap / size)
        same += np.array_equal(items, found)
        alike += (
            len(items) == len(found) == len(set(found.tolist()))
            and bool((np.abs(np.sort(scores) - np.sort(theirs)) <= RELATIVE * size).all())
            and _ties(items, scores, found, size)
        )
    return Parity(requests=len(expected), largest_absolute=absolute, largest_relative=relative, identical=same, up_to_ties=alike)


def _ties(items: Codes, scores: Floats, found: Codes, size: float) -> bool:
    """Whether every item stands where its own score would put it; one that is not in the list expected may stand for its last, unless
    scores are places, which no two items have alike."""
    if len(scores) and np.array_equal(scores, -np.arange(1.0, len(scores) + 1)):
        return np.array_equal(items, found)
    place = {int(item): number for number, item in enumerate(items)}
    last = scores[-1] if len(scores) else 0.0
    own = np.array([scores[place[int(item)]] if int(item) in place else last for item in found])
    return bool((np.abs(own - scores) <= RELATIVE * size).all())


def verify(folder: Path) -> dict[str, Parity]:
    """The golden requests asked again, one by one and together. Raises as `Bundle.open` does."""
    return verify_bundle(Bundle.open(folder))


def verify_bundle(bundle: Bundle) -> dict[str, Parity]:
    path = inside(bundle.folder, GOLDEN)
    try:
        rows = pq.read_table(path).to_pylist()
        asked = [bundle.encode(Request(user_id=row["user_id"], history=row["history"], timestamp=row["timestamp"])) for row in rows]
        items = [np.array([bundle.codes[each] for each in row["items"]], np.int64) for row in rows]
        expected = [(codes, np.array(row["scores"], np.float64)) for codes, row in zip(items, rows, strict=True)]
    except (OSError, pa.ArrowException, KeyError) as error:
        raise WorkError(f"{bundle.folder.name}: {GOLDEN} cannot be read: {type(error).__name__}: {error}.") from None
    alone = [pair(bundle.answer([each])[0]) for each in asked]
    together = [pair(each) for each in bundle.answer(asked)]
    return {"one by one": compared(expected, alone), f"{len(asked)} together": compared(expected, together)}


def pair(answer: Answer) -> tuple[Codes, Floats]:
    return answer.items, answer.scores
