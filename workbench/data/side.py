"""What is known of people and items besides their events, as numbers a model can learn from."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.data.dataset import Dataset
from workbench.data.groups import indicators, item_vectors
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
    slices = data.card.slices.values()
    known = {by.column for by in slices if by.table == "users" and data.card.privacy.get(by.column) == "sensitive"}
    for name in sensitive:
        if name not in known:
            raise unknown("sensitive column that a grouping uses", name, known)
    people = [by for by in slices if by.table == "users" and (by.column not in known or by.column in sensitive)]
    return Side(users=indicators(data, people, data.n_users), items=item_vectors(data))
