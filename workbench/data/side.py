"""What is known of people and items besides their events, as numbers a model can learn from."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.data.dataset import Dataset
from workbench.data.groups import indicators
from workbench.data.interactions import Interactions
from workbench.errors import RequestError, unknown


@dataclass(frozen=True, eq=False, kw_only=True)
class Side:
    """Rows are codes. Raises RequestError for what is no table and, naming the place, for a cell that is no finite number."""

    users: Tensor | None = None
    """float32 (n_users, p): features of people."""
    items: Tensor | None = None
    """float32 (n_items, q): features of items."""
    texts: Tensor | None = None
    """float32 (n_items, t): vectors of the items' texts, whoever made them."""
    user_fields: tuple[tuple[str, int], ...] = ()
    """Which columns of `users` belong together: the names of attributes and their widths, in order. None: all are of one attribute."""
    item_fields: tuple[tuple[str, int], ...] = ()
    """The same of `items`."""

    def __post_init__(self) -> None:
        for name, table in self.tables().items():
            if table.dim() != 2 or not table.shape[1]:
                raise RequestError(f"features of {name} have shape {tuple(table.shape)}; a table has rows and columns.")
            broken = torch.nonzero(~table.float().isfinite())
            if len(broken):
                row, column = broken[0].tolist()
                raise RequestError(
                    f"features of {name}, row {row}, column {column}: {table[row, column].item()} is not a finite number in 32 bits."
                )
        for fields in (self.user_fields, self.item_fields):
            if len({name for name, _ in fields}) < len(fields):
                raise RequestError(f"the attributes {fields} should have names of their own.")
        for name, fields in (("users", self.user_fields), ("items", self.item_fields)):
            known = self.tables()
            if fields and sum(width for _, width in fields) != (known[name].shape[1] if name in known else 0):
                raise RequestError(f"the attributes {fields} of {name} should have as many columns together as their features.")

    def __repr__(self) -> str:
        return f"Side({', '.join(f'{name} {tuple(table.shape)}' for name, table in self.tables().items()) or 'nothing'})"

    def tables(self) -> dict[str, Tensor]:
        """Those that are there."""
        named = {"users": self.users, "items": self.items, "texts": self.texts}
        return {name: table for name, table in named.items() if table is not None}

    def check(self, log: Interactions) -> None:
        """Raises RequestError when a table has not a row for each person or item of the log."""
        for name, table in self.tables().items():
            rows = log.n_users if name == "users" else log.n_items
            if len(table) != rows:
                raise RequestError(f"features of {name} have shape {tuple(table.shape)}; the log needs {rows} rows.")


def side_information(data: Dataset, sensitive: Collection[str] = ()) -> Side:
    """The groupings that the card names, as columns of 0 and 1: of items all, of people those of columns that are not sensitive.

    sensitive: columns of people that may be learnt from although the card calls them sensitive, each named on purpose. Raises RequestError
    for one that no grouping uses.
    """
    slices = data.card.slices
    known = {by.column for by in slices.values() if by.table == "users" and data.card.privacy.get(by.column) == "sensitive"}
    for name in sensitive:
        if name not in known:
            raise unknown("sensitive column that a grouping uses", name, known)
    users, user_fields = _table(data, "users", data.n_users, known.difference(sensitive))
    items, item_fields = _table(data, "items", data.n_items, set())
    return Side(users=users, items=items, user_fields=user_fields, item_fields=item_fields)


def _table(data: Dataset, of: str, rows: int, hidden: set[str]) -> tuple[Tensor | None, tuple[tuple[str, int], ...]]:
    """The groupings of one table, side by side, and how many columns each has."""
    found = {
        name: columns
        for name, by in data.card.slices.items()
        if by.table == of and by.column not in hidden and (columns := indicators(data, by, rows)) is not None
    }
    return torch.cat(list(found.values()), dim=1) if found else None, tuple((name, columns.shape[1]) for name, columns in found.items())
