"""What a policy knows of items and people besides scores: groups, columns, vectors, histories."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from workbench.data import Dataset, Holdout, Interactions, grouping, item_vectors
from workbench.data.groups import Membership
from workbench.errors import RequestError
from workbench.evaluation.item_groups import POPULARITY, membership


@dataclass(frozen=True, eq=False)
class Facts:
    """Of one data set at one moment."""

    data: Dataset
    history: Interactions
    """What is known of everybody."""
    own_vectors: Tensor | None = None
    """float (n_items, d): what likeness between items is measured on; None: the groupings of items that the card names."""
    counted: Interactions | None = None
    """The events that items are popular by; None: those of the history."""

    @classmethod
    def of(cls, data: Dataset, holdout: Holdout, vectors: Tensor | None = None) -> "Facts":
        return cls(data, holdout.history, vectors)

    @cached_property
    def vectors_or_none(self) -> Tensor | None:
        """float64 (n_items, d), rows of length 1 or 0; None where there is nothing to make them of."""
        found = item_vectors(self.data) if self.own_vectors is None else self.own_vectors
        return None if found is None else torch.nn.functional.normalize(found.double(), dim=1)

    @property
    def vectors(self) -> Tensor:
        """The same. Raises RequestError where there is nothing to make them of."""
        if self.vectors_or_none is None:
            raise RequestError(f"{self.data.name}: likeness between items needs a grouping of items in the card, or vectors.")
        return self.vectors_or_none

    def membership(self, by: str) -> Membership:
        """Raises RequestError as `workbench.evaluation.membership` does."""
        if by not in self._memberships:
            self._memberships[by] = membership(self.data, self.history if self.counted is None else self.counted, by)
        return self._memberships[by]

    @cached_property
    def _memberships(self) -> dict[str, Membership]:
        """Those asked for so far: every step of every policy asks, and a column is read cell by cell."""
        return {}

    def first_grouping(self) -> str:
        """The first grouping of items that the card names; "popularity" where it names none."""
        return next((name for name, by in self.data.card.slices.items() if by.table == "items"), POPULARITY)

    def cells(self, column: str) -> list[str | None]:
        """A column of the item table, by code. Raises RequestError for one that is not there."""
        return self.data.snapshot.cells("items", self._known(column))

    def separator(self, column: str) -> str | None:
        """Between the groups that a cell of this grouping names; None where a cell is one."""
        return grouping(self.data, column).separator

    def _known(self, column: str) -> str:
        named = grouping(self.data, column)
        if named.table != "items":
            raise RequestError(f'"{column}" is a column of people; a policy needs one of items.')
        return named.column
