"""What is known of people and items besides their events, as numbers a model can learn from."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from workbench.data.dataset import Dataset
from workbench.data.groups import indicators, side_by_side
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

    def with_texts(self, texts: Tensor | None) -> "Side":
        """The same with these vectors of the items' texts, float (n_items, t); as it is where there are none."""
        return self if texts is None else replace(self, texts=texts)

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
    hidden = sensitive_columns(data, sensitive).difference(sensitive)
    users, items = indicators(data, "users", hidden=hidden), indicators(data, "items")
    return Side(users=side_by_side(users), items=side_by_side(items), user_fields=_widths(users), item_fields=_widths(items))


def sensitive_columns(data: Dataset, allowed: Collection[str] = ()) -> set[str]:
    """Columns of people that the card calls sensitive and a grouping uses. Raises RequestError for another one in `allowed`."""
    slices = data.card.slices.values()
    known = {by.column for by in slices if by.table == "users" and data.card.privacy.get(by.column) == "sensitive"}
    for name in allowed:
        if name not in known:
            raise unknown("sensitive column that a grouping uses", name, known)
    return known


def item_texts(data: Dataset) -> list[str] | None:
    """What the item table's public columns say of each item, in the order of codes, as one text; None where there is no such column."""
    columns = [name for name in data.snapshot.columns("items") if name not in ("item_id", "item_code")]
    public = [name for name in columns if data.card.privacy.get(name) == "public"]
    if not public:
        return None
    cells = [data.snapshot.cells("items", name) for name in public]
    return [" ".join(cell for cell in row if cell) for row in zip(*cells, strict=True)]


def item_titles(data: Dataset) -> list[str]:
    """What a reader calls each item, in the order of codes: its public column that is called a title or a name, or else its id."""
    public = [name for name in data.snapshot.columns("items") if data.card.privacy.get(name) == "public"]
    column = next((name for name in public if "title" in name.casefold() or "name" in name.casefold()), None)
    cells = data.snapshot.cells("items", column) if column else data.item_ids
    return [cell or item for cell, item in zip(cells, data.item_ids, strict=True)]


def _widths(tables: Mapping[str, Tensor]) -> tuple[tuple[str, int], ...]:
    return tuple((name, table.shape[1]) for name, table in tables.items())
