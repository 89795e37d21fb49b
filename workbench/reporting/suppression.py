"""Groups too small to be shown to everybody, and those that would give them away.

What a page shows of groups are sums over their members, so a hidden group is given away where it is a sum or difference of shown ones, and
so is a handful of people by two shown groups that differ by these alone. Hundepool et al., Statistical Disclosure Control, 2012, ch. 4,
for tables; here for any groups of the same people.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from workbench.evaluation import Slice

LEAST = 10
"""People in the smallest group that is shown."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Shown:
    groups: list[Slice]
    """Those that may be shown."""
    small: list[Slice]
    """Those with fewer than `least` people."""
    beside: list[Slice]
    """Those that would give one of them away."""
    least: int

    @property
    def text(self) -> str:
        """What was done, in a sentence; names the dimensions, not the groups. Empty where nothing was hidden."""
        if not self.small:
            return ""
        told = (
            f"{len(self.small)} groups of fewer than {self.least} people are not shown"
            if len(self.small) > 1
            else (f"a group of fewer than {self.least} people is not shown")
        )
        also = f", nor {len(self.beside)} more that would give them away" if self.beside else ""
        return f"{told[:1].upper()}{told[1:]}{also} ({', '.join(dict.fromkeys(each.dimension for each in self.small + self.beside))})."


def suppress(groups: Sequence[Slice], n: int, least: int = LEAST) -> Shown:
    """groups: of people, of any dimensions, who may be in several; n: people judged, whose total is shown too. Without groups of nobody."""
    there = [each for each in groups if each.people is not None and bool(each.people.any())]
    if not there:
        return Shown(groups=[], small=[], beside=[], least=least)
    member = torch.stack([each.people for each in there if each.people is not None], dim=1).numpy()
    atoms, counts = np.unique(np.concatenate([np.ones((n, 1), dtype=bool), member], axis=1), axis=0, return_counts=True)
    table = atoms.astype(np.float64)  # column 0: everybody
    sizes = counts @ table
    small = [place for place in range(1, table.shape[1]) if sizes[place] < least]
    hidden = list(small)
    while True:
        shown = [place for place in range(table.shape[1]) if place not in hidden]
        given = _given_away(table, counts, shown, hidden, [each.dimension for each in there], least)
        if given is None:
            break
        hidden.append(given)
    return Shown(
        groups=[each for place, each in enumerate(there, start=1) if place not in hidden],
        small=[there[place - 1] for place in small],
        beside=[there[place - 1] for place in hidden if place not in small],
        least=least,
    )


def _given_away(
    table: Floats, counts: npt.NDArray[np.int64], shown: list[int], hidden: list[int], dimensions: Sequence[str], least: int
) -> int | None:
    """A shown group to be hidden too, the smallest that helps; None where nothing is given away.

    table: float64 (atoms, groups): which groups the people of a kind are in; counts: how many people are of that kind.
    """
    sizes = counts @ table
    by_size = sorted((place for place in shown if place), key=lambda place: (sizes[place], place))
    for small in by_size:
        for large in shown:
            apart = table[:, large] - table[:, small]
            if large != small and (apart >= 0).all() and 0 < counts @ apart < least:
                return small
    for target in _secrets(table, counts, hidden, dimensions, least):
        if _spanned(table[:, shown], target):
            for place in by_size:
                if not _spanned(table[:, [each for each in shown if each != place]], target):
                    return place
            return by_size[0]
    return None


def _secrets(table: Floats, counts: npt.NDArray[np.int64], hidden: list[int], dimensions: Sequence[str], least: int) -> list[Floats]:
    """What must not follow from what is shown: each small hidden group, and all hidden ones of a dimension together where these are few."""
    found = [table[:, place] for place in hidden if counts @ table[:, place] < least]
    for name in dict.fromkeys(dimensions):
        together = table[:, [place for place in hidden if dimensions[place - 1] == name]].sum(1)
        if 0 < counts @ together < least:
            found.append(together)
    return found


def _spanned(columns: Floats, target: Floats) -> bool:
    """Whether the target is a sum of multiples of these columns."""
    if not columns.shape[1]:
        return False
    solved = np.linalg.lstsq(columns, target, rcond=None)[0]
    return bool(np.abs(columns @ solved - target).max() < 1e-9)
