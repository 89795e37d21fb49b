"""Slices: some of the people, or some of what they liked, so that an average cannot hide whom a model fails.

A slice of people restricts who is in the mean. A slice of items, or of time, restricts the truth: what else a person liked then counts like
any other item, the list stays whole, the ideal list is made anew, and who has nothing to find in the slice is not in it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from workbench.data import Dataset, Holdout, grouping, groups
from workbench.errors import RequestError
from workbench.evaluation.popularity import BANDS, popularity_bands

LEAST = 10
"""People in the smallest group that is shown to everybody."""
ACTIVITY = (0, 1, 20, 50, 100, 200)
"""Edges of the activity groups, in events known of a person."""


@dataclass(frozen=True, eq=False)
class Slice:
    dimension: str
    """What it is sliced by: "activity", "gender"."""
    name: str
    people: Tensor | None = None
    """bool (n,) over the people judged; None: everyone."""
    truth: Tensor | None = None
    """bool, one for each event of the truth: what counts as relevant; None: all of it."""

    def __repr__(self) -> str:
        return f"Slice({self.label})"

    @property
    def label(self) -> str:
        return f"{self.dimension}: {self.name}"

    def __and__(self, other: "Slice") -> "Slice":
        """The intersection: people in both, liked events in both."""
        pairs = ((self.people, other.people), (self.truth, other.truth))
        both = [x if y is None else y if x is None else x & y for x, y in pairs]
        return Slice(f"{self.dimension} × {other.dimension}", f"{self.name}, {other.name}", *both)

    def members(self, holdout: Holdout) -> Tensor:
        """bool (n,): who is in it: among its people, with something of its truth to find."""
        members = torch.ones(len(holdout.users), dtype=torch.bool) if self.people is None else self.people
        if self.truth is None:
            return members
        return members & (torch.bincount(holdout.truth.users[self.truth], minlength=holdout.truth.n_users) > 0)[holdout.users]


def by_activity(holdout: Holdout) -> list[Slice]:
    """People by how many events are known of them."""
    names = ["no history"] + [f"{low} to {high - 1} events" for low, high in pairwise(ACTIVITY[1:])]
    return _people("activity", [*names, f"{ACTIVITY[-1]} events and more"], _bands(holdout.history_lengths, ACTIVITY))


def by_return(holdout: Holdout) -> list[Slice]:
    """People who have a place in training, and people who have none."""
    return _people("returning", ["new people", "returning people"], holdout.trained[holdout.users].long())


def by_service(served: Tensor) -> list[Slice]:
    """People served by the model itself, and people it left to its fallback. served: bool (n,), `Lists.served`."""
    return _people("served by", ["the fallback", "the model"], served.long())


def by_popularity(holdout: Holdout) -> list[Slice]:
    """What was liked by how popular it was: head, mid and tail, see `popularity_bands`."""
    return _truth("popularity", [f"{band} items" for band in BANDS], popularity_bands(holdout.history.events_per_item)[holdout.truth.items])


def by_window(holdout: Holdout, windows: int = 3) -> list[Slice]:
    """What was liked by when: windows with about as many events each, earliest first. Empty where the log has no times."""
    times = holdout.truth.timestamps
    edges = np.unique(np.quantile(times.numpy(), np.linspace(0, 1, windows + 1), method="lower"))
    if len(edges) < 3:
        return []
    which = torch.from_numpy(np.searchsorted(edges[1:-1], times.numpy(), side="right"))
    days = [pd.Timestamp(int(edge), unit="us").strftime("%d %b %Y") for edge in edges]
    return _truth("time", [f"{n}: {a} to {b}" for n, (a, b) in enumerate(pairwise(days), start=1)], which)


def by_column(data: Dataset, holdout: Holdout, name: str, most: int = 20) -> list[Slice]:
    """People, or what was liked, by a grouping of the card's `[slices]` or by any column of the user or item table.

    Of more than `most` groups the smallest are one, "others". Raises RequestError for a name that is neither.
    """
    by = grouping(data, name)
    places, n = (holdout.users, data.n_users) if by.table == "users" else (holdout.truth.items, data.n_items)
    found = groups(data, by)
    if len(found) > most:
        kept = sorted((group for group in found if group != "others"), key=lambda group: -len(found[group]))[: most - 1]
        others = torch.cat([codes for group, codes in found.items() if group not in kept]).unique()
        found = {**{group: codes for group, codes in found.items() if group in kept}, "others": others}
    slices = []
    for group, codes in found.items():
        inside = torch.zeros(n, dtype=torch.bool).index_fill_(0, codes, value=True)[places]
        slices.append(Slice(name, group, inside) if by.table == "users" else Slice(name, group, truth=inside))
    return [each for each in slices if each.members(holdout).any()]


BUILT_IN: dict[str, Callable[[Holdout], list[Slice]]] = {
    "activity": by_activity,
    "returning": by_return,
    "popularity": by_popularity,
    "time": by_window,
}
"""Dimensions that every data set has."""


def all_slices(data: Dataset, holdout: Holdout) -> list[Slice]:
    """Every slice that the data can feed without being asked: the built-in dimensions and each grouping of the card.

    A dimension with one slice that is everyone and everything is left out: it slices nothing.
    """
    dimensions = [_dimension(data, holdout, name) for name in (*BUILT_IN, *data.card.slices)]
    return [each for found in dimensions if len(found) > 1 for each in found]


def named_slices(data: Dataset, holdout: Holdout, text: str, parameter: str = "slices") -> list[Slice]:
    """ "all", or dimensions separated by commas: a built-in one, a grouping of the card, any column; "a x b" is their intersections.

    Raises RequestError for a name that is none of these.
    """
    if text.strip() == "all":
        return all_slices(data, holdout)
    found = []
    for asked in dimensions_in(text, parameter):
        one, *others = (_dimension(data, holdout, name) for name in asked)
        for other in others:
            one = [both for a in one for b in other if (both := a & b).members(holdout).any()]
        found += one
    return found


def people_slices(data: Dataset, holdout: Holdout, text: str = "all") -> list[Slice]:
    """Groups of people: "all" is those by activity, each grouping of people that the card names, and the intersections of each two of
    these; or dimensions as `named_slices` reads them. Raises RequestError for a dimension of items or of time.
    """
    if text.strip() == "all":
        of_people = [name for name, by in data.card.slices.items() if by.table == "users"]
        text = ", ".join(["activity", *of_people, *(f"{a} x {b}" for a, b in combinations(of_people, 2))])
    found = named_slices(data, holdout, text, "people")
    for each in found:
        if each.people is None or each.truth is not None:
            raise RequestError(f'people = "{text}": {each.dimension} is no grouping of people.')
    return found


def dimensions_in(text: str, parameter: str = "slices") -> list[list[str]]:
    """[["activity"], ["gender", "age"]] out of "activity, gender x age". Raises RequestError for one without a name."""
    asked = [[name.strip() for name in part.split(" x ")] for part in text.split(",")]
    if not all(name for names in asked for name in names):
        raise RequestError(f'{parameter} = "{text}" should be "all", or dimensions separated by commas, like "activity, gender x age".')
    return asked


def _dimension(data: Dataset, holdout: Holdout, name: str) -> list[Slice]:
    return BUILT_IN[name](holdout) if name in BUILT_IN else by_column(data, holdout, name)


def _bands(values: Tensor, edges: Sequence[int]) -> Tensor:
    return torch.bucketize(values, torch.tensor(edges[1:]), right=True)


def _people(dimension: str, names: Sequence[str], which: Tensor) -> list[Slice]:
    return [Slice(dimension, name, which == place) for place, name in enumerate(names) if (which == place).any()]


def _truth(dimension: str, names: Sequence[str], which: Tensor) -> list[Slice]:
    return [Slice(dimension, name, truth=which == place) for place, name in enumerate(names) if (which == place).any()]
