"""Groups of people or of items by a column of their table: those the card names under `[slices]`, or any other column as it stands."""

from bisect import bisect_right
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from workbench.data.card import Slice
from workbench.data.dataset import Dataset
from workbench.errors import RequestError, unknown

UNKNOWN = "unknown"


def grouping(data: Dataset, name: str) -> Slice:
    """What the card calls `name`, or else the column of that name, its cells as they are.

    Raises RequestError for a name that is neither.
    """
    columns = {column: table for table in ("items", "users") for column in data.snapshot.columns(table) if not column.endswith("_code")}
    if name not in data.card.slices and name not in columns:
        raise unknown("grouping or column", name, {*data.card.slices, *columns})
    return data.card.slices[name] if name in data.card.slices else Slice.model_validate({"table": columns[name], "column": name})


def groups(data: Dataset, by: Slice) -> dict[str, Tensor]:
    """int64 codes by group, ascending: the groups in the order of their bins, or else the largest first. None is empty.

    A cell may name several groups. Who or what has an empty cell, or, where there are bins, one that is no number or lies in no bin, is
    in the group "unknown", which comes last.
    """
    labels = [f"{low:g} to {high:g}" for low, high in pairwise(by.bins or ())]
    found: dict[str, list[int]] = {label: [] for label in labels}
    for code, cell in enumerate(data.snapshot.cells(by.table, by.column)):
        for group in _named(cell or "", by, labels) or [UNKNOWN]:
            found.setdefault(group, []).append(code)
    order = sorted(found, key=lambda group: (group == UNKNOWN, 0 if labels else -len(found[group])))
    return {group: torch.tensor(found[group], dtype=torch.int64) for group in order if found[group]}


@dataclass(frozen=True, eq=False, kw_only=True)
class Membership:
    """Which item is in which group of a grouping; each is in one at least, which may be "unknown"."""

    names: tuple[str, ...]
    member: Tensor
    """bool (n_items, g)."""

    @cached_property
    def shares(self) -> Tensor:
        """float64 (n_items, g): an item's weight shared out among its groups; each row adds up to 1."""
        member = self.member.double()
        return member / member.sum(1, keepdim=True)

    @property
    def counted(self) -> Tensor:
        """Without "unknown", which is no group that items have in common: bool (n_items, g), or where no item is in two of them int64
        (n_items,), the group's number, -1 for none.
        """
        member = self.member[:, torch.tensor([name != UNKNOWN for name in self.names])]
        if (member.sum(1) > 1).any() or not member.shape[1]:
            return member
        return torch.where(member.any(1), member.long().argmax(1), -1)


def item_membership(data: Dataset, name: str) -> Membership:
    """By a grouping of items that the card names, or a column of the item table. Raises RequestError for any other name."""
    by = grouping(data, name)
    if by.table != "items":
        raise RequestError(f'"{name}" groups people, and items are to be grouped.')
    found = groups(data, by)
    member = torch.zeros(data.n_items, len(found), dtype=torch.bool)
    for place, codes in enumerate(found.values()):
        member[codes, place] = True
    return Membership(names=tuple(found), member=member)


def indicators(data: Dataset, table: str, hidden: Collection[str] = ()) -> dict[str, Tensor]:
    """By grouping that the card names, of "users" or "items": float32 (rows, d), 1 where the code is in a group. Without those that have no
    group, and those of `hidden` columns.
    """
    rows = data.n_users if table == "users" else data.n_items
    found: dict[str, Tensor] = {}
    for name, by in data.card.slices.items():
        if by.table == table and by.column not in hidden:
            columns = [torch.zeros(rows).index_fill_(0, codes, 1.0) for group, codes in groups(data, by).items() if group != UNKNOWN]
            found |= {name: torch.stack(columns, dim=1)} if columns else {}
    return found


def side_by_side(tables: Mapping[str, Tensor]) -> Tensor | None:
    """float32 (rows, d): these tables as one; None where there is none."""
    return torch.cat(list(tables.values()), dim=1) if tables else None


def item_vectors(data: Dataset) -> Tensor | None:
    """float32 (n_items, d): 1 where the item is in a group, over all groupings of items that the card names; None where it names none."""
    return side_by_side(indicators(data, "items"))


def _named(cell: str, by: Slice, labels: list[str]) -> list[str]:
    """The groups that a cell names, each once."""
    if by.bins is None:
        parts = cell.split(by.separator) if by.separator else [cell]
        return list(dict.fromkeys(part.strip() for part in parts if part.strip()))
    try:
        place = bisect_right(by.bins, float(cell)) - 1
    except ValueError:
        return []
    return [labels[place]] if 0 <= place < len(labels) else []
