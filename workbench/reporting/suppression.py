"""Groups too small to be shown to everybody, and those that would give a few people away.

What a page shows of groups are sums over their members, so it shows too whatever is a sum of multiples of them. Nothing small may be: that
is asked exactly, for any groups of the same people at once, as a whole-number programme. Hundepool et al., Statistical Disclosure Control,
2012, ch. 4, for tables.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import Bounds, LinearConstraint, milp

from workbench.data import Holdout
from workbench.evaluation import Slice
from workbench.evaluation.slices import LEAST

INFEASIBLE = 2
"""Status of `milp` where there is no solution."""
SECONDS = 60.0
"""After which, undecided, every group is hidden."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Shown:
    groups: list[Slice]
    """Those that may be shown."""
    small: list[Slice]
    """Those with fewer than `least` people."""
    beside: list[Slice]
    """Those from which, with the others, something of fewer than `least` people would follow."""
    least: int
    undecided: bool = False
    """Whether something follows could not be told in time: everything is hidden."""

    @property
    def text(self) -> str:
        """What was done, in a sentence; names the dimensions, not the groups. Empty where nothing was hidden."""
        hidden = [*self.small, *self.beside]
        if not hidden:
            return ""
        dimensions = ", ".join(dict.fromkeys(each.dimension for each in hidden))
        if self.undecided:
            return f"{_groups(len(hidden))} not shown, because what follows from them could not be told in time ({dimensions})."
        if not self.small:
            return f"{_groups(len(hidden))} not shown, because fewer than {self.least} people would follow ({dimensions})."
        told = f"{_groups(len(self.small), f' of fewer than {self.least} people')} not shown"
        also = f", nor {len(self.beside)} more that would give {'it' if len(self.small) == 1 else 'them'} away" if self.beside else ""
        return f"{told}{also} ({dimensions})."


def _groups(n: int, which: str = "") -> str:
    return f"A group{which} is" if n == 1 else f"{n} groups{which} are"


def suppress(groups: Sequence[Slice], n: int, least: int = LEAST, *, total: bool = True) -> Shown:
    """groups: of people, of any dimensions, who may be in several; n: people judged, whose total is shown too unless `total` is False.
    Without groups of nobody; slices of what was liked are of everybody's likes, and stay.
    """
    there = [each for each in groups if each.people is not None and bool(each.people.any())]
    if not there:
        return Shown(groups=[each for each in groups if each.people is None], small=[], beside=[], least=least)
    member = torch.stack([each.people for each in there if each.people is not None], dim=1).numpy()
    kinds, counts = np.unique(np.concatenate([np.ones((n, 1), dtype=bool), member], axis=1), axis=0, return_counts=True)
    table = kinds.astype(np.float64)  # which groups people of a kind are in; column 0: everybody
    sizes = counts @ table
    small = [place for place in range(1, table.shape[1]) if sizes[place] < least]
    hidden, deadline, undecided = list(small), time.monotonic() + SECONDS, False
    while True:
        shown = [place for place in range(0 if total else 1, table.shape[1]) if place not in hidden]
        if not any(shown):
            break
        found = _gives_away(table[:, shown], counts, least, deadline - time.monotonic())
        used = [place for place in shown if place] if found is None else [shown[place] for place in found if shown[place]]
        if not used:
            break
        undecided = found is None
        hidden += used if found is None else [min(used, key=lambda place: (sizes[place], place))]
    gone = [there[place - 1] for place in hidden]
    return Shown(
        groups=[each for each in groups if each.people is None or (each in there and each not in gone)],
        small=[there[place - 1] for place in small],
        beside=[there[place - 1] for place in hidden if place not in small],
        least=least,
        undecided=undecided,
    )


def _gives_away(table: Floats, counts: npt.NDArray[np.int64], least: int, seconds: float) -> list[int] | None:
    """Places of shown groups of which a sum of multiples is a set of fewer than `least` people, and of somebody; the sum with the smallest
    multiples. Empty where there is none, None where that could not be told in time.

    table: float64 (kinds, groups): which groups people of a kind are in; counts: (kinds,), people of that kind. What is looked for is a
    vector over kinds of 0 and 1, the people of the set, that equals table · multiples.
    """
    kinds, groups = table.shape
    if seconds <= 0:
        return None
    same = LinearConstraint(np.hstack([np.eye(kinds), -table, table]), 0, 0)
    few = LinearConstraint(np.concatenate([counts, np.zeros(2 * groups)])[None], 1, least - 1)
    found = milp(
        np.concatenate([np.zeros(kinds), np.ones(2 * groups)]),
        constraints=[same, few],
        integrality=np.concatenate([np.ones(kinds), np.zeros(2 * groups)]),
        bounds=Bounds(0, np.concatenate([np.ones(kinds), np.full(2 * groups, np.inf)])),
        options={"time_limit": seconds},
    )
    if found.status == INFEASIBLE:
        return []
    if found.x is None:
        return None
    multiples = found.x[kinds : kinds + groups] - found.x[kinds + groups :]
    return np.flatnonzero(np.abs(multiples) > 1e-6).tolist()


def suppress_slices(slices: Sequence[Slice], holdout: Holdout, least: int = LEAST) -> Shown:
    """`suppress` for any slices of the people judged. A slice that restricts what was liked holds who has something of that to find; those
    that restrict it alike are held against one another.
    """
    n, systems = len(holdout.users), dict[bytes, list[tuple[Slice, Slice]]]()
    for each in slices:
        key = b"" if each.truth is None else each.truth.numpy().tobytes()
        systems.setdefault(key, []).append((each, Slice(each.dimension, each.name, each.members(holdout))))
    found = [suppress([people for _, people in pairs], n, least, total=not key) for key, pairs in systems.items()]
    whole = {id(people): each for pairs in systems.values() for each, people in pairs}
    kept = {id(whole[id(people)]) for shown in found for people in shown.groups}
    return Shown(
        groups=[each for each in slices if id(each) in kept],
        small=[whole[id(people)] for shown in found for people in shown.small],
        beside=[whole[id(people)] for shown in found for people in shown.beside],
        least=least,
        undecided=any(shown.undecided for shown in found),
    )
