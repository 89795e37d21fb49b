"""What may not be shown, row by row, for lists of items."""

from typing import Self

import numpy as np
import numpy.typing as npt

from workbench.data import UserBatch

Codes = npt.NDArray[np.int64]


class Masked:
    """What may not be shown, row by row."""

    def __init__(self, items: Codes, offsets: Codes) -> None:
        self.items, self.offsets, self.lengths = items, offsets, np.diff(offsets)
        self._sorted: tuple[int, Codes] | None = None

    @classmethod
    def of(cls, seen: UserBatch | None) -> Self | None:
        return cls(seen.items.numpy(), seen.offsets.numpy()) if seen is not None and len(seen.items) else None

    def row(self, row: int) -> Codes:
        return self.items[self.offsets[row] : self.offsets[row + 1]]

    def holds(self, rows: Codes, codes: Codes) -> npt.NDArray[np.bool_]:
        """bool (n, depth): the code may not be shown to its row; codes: int64 (n, depth), at least -1."""
        size = int(max(self.items.max(), codes.max())) + 1
        anybodys = np.zeros(size, bool)
        anybodys[self.items] = True
        found = anybodys[codes]  # few are, in a large catalogue
        row, column = np.nonzero(found)
        keys, wanted = self._keys(size), rows[row] * size + codes[row, column]
        place = np.searchsorted(keys, wanted)
        found[row, column] = keys[np.minimum(place, len(keys) - 1)] == wanted
        return found

    def _keys(self, size: int) -> Codes:
        """int64, ascending: row · size + item."""
        if self._sorted is None or self._sorted[0] != size:
            self._sorted = (size, np.sort(np.repeat(np.arange(len(self.lengths)), self.lengths) * size + self.items))
        return self._sorted[1]
