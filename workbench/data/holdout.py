"""What a model is judged on: who asks, what is known of them at that moment, what may not be shown, what they then liked."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from workbench.data.interactions import Interactions, UserBatch
from workbench.data.ledger import Ledger


def tie_ranks(item_ids: Sequence[str], seed: int) -> Tensor:
    """int64 (n_items,): the items' places in the order of md5(seed, item id); among equal scores the lower place is recommended first.

    Codes follow ids, and ids often follow popularity: a constant scorer whose ties break by code looks as if it had learnt something.
    """
    hashes = [hashlib.md5(f"{seed}\x1f{item}".encode(), usedforsecurity=False).digest() for item in item_ids]
    order = sorted(range(len(hashes)), key=lambda code: (hashes[code], item_ids[code]))
    return torch.argsort(torch.tensor(order, dtype=torch.int64))


def sealed_part(label: str) -> str:
    """What the ledger calls the part that a holdout's label names: snapshot, split, its parameters and the part, whatever the seed and
    whatever is asked of the part ("test:related" is test).
    """
    *which, _, part = label.split("/")
    return "/".join((*which, part.split(":")[0]))


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Holdout:
    label: str
    """Snapshot, split, seed and part: evaluations pair only within one label."""
    users: Tensor
    """int64 (n,): the people judged, those with at least one item of truth that may be shown; ascending."""
    truth: Interactions
    """The events to be found; each (person, item) once, none of them masked."""
    history: Interactions
    """What a model may know of a person at the moment of the request."""
    seen: Interactions | None
    """What is never recommended to a person; None where repeats are legitimate."""
    trained: Tensor
    """bool (n_users,): the person has a place in training; the others are strangers."""
    ties: Tensor
    """int64 (n_items,), see `tie_ranks`."""
    n_people: int
    """People with any event in the judged part."""
    n_without_truth: int
    """Of these, people left out: they liked nothing there, or only what may not be shown."""
    n_masked_truth: int
    """Liked events that cannot count, because the person had the item before."""
    ledger: Ledger | None = None
    """Where looks at a sealed part are written down; None: nothing to seal."""

    @classmethod
    def build(
        cls,
        *,
        label: str,
        truth: Interactions,
        people: Tensor,
        history: Interactions,
        seen: Interactions | None,
        trained: Tensor,
        ties: Tensor,
        ledger: Ledger | None = None,
    ) -> Self:
        """`people`: bool (n_users,), everyone with an event in the judged part, truth or not."""
        keys = truth.users * truth.n_items + truth.items
        masked = torch.isin(keys, seen.users * truth.n_items + seen.items) if seen else torch.zeros(len(truth), dtype=torch.bool)
        truth = _one_of_each(truth, keys, ~masked)
        users = torch.nonzero(truth.events_per_user)[:, 0]
        n_people = int(people.sum())
        return cls(
            label=label,
            users=users,
            truth=truth,
            history=history,
            seen=seen,
            trained=trained,
            ties=ties,
            n_people=n_people,
            n_without_truth=n_people - len(users),
            n_masked_truth=int(masked.sum()),
            ledger=ledger,
        )

    def __repr__(self) -> str:
        return f"Holdout({self.label}: {len(self.users):,} people, {len(self.truth):,} items to find)"

    @property
    def n_items(self) -> int:
        return self.truth.n_items

    @property
    def n_relevant(self) -> Tensor:
        """int64 (n,): items to be found, for each person judged; at least 1."""
        return self.truth.events_per_user[self.users]

    @property
    def history_lengths(self) -> Tensor:
        """int64 (n,): events known of each person judged."""
        return self.history.events_per_user[self.users]

    def look(self, model: str, settings: dict[str, Any]) -> None:
        """Write down that a model is about to be judged here. Raises WorkError when that cannot be done."""
        if self.ledger is not None:
            self.ledger.add(sealed_part(self.label), model, settings)

    def select(self, mask: Tensor) -> Self:
        """The people at which `mask`, bool (n,), is True."""
        users = self.users[mask]
        kept = torch.zeros(self.truth.n_users, dtype=torch.bool)
        kept[users] = True
        return replace(self, users=users, truth=self.truth.select(kept[self.truth.users]))

    def batch(self, users: Tensor) -> UserBatch:
        """Requests of these people, int64 codes, with what is known of them."""
        return self.history.batch(users)

    def requests(self, users: Tensor) -> tuple[UserBatch, UserBatch | None]:
        """`batch` of these people, and what may not be shown to them; None where everything may."""
        asked = self.batch(users)
        if self.seen is None:
            return asked, None
        return asked, asked if self.seen is self.history else self.seen.batch(users)


def _one_of_each(truth: Interactions, keys: Tensor, kept: Tensor) -> Interactions:
    """The first kept event of each key, with the highest grade that the key has."""
    _, inverse = torch.unique(keys, return_inverse=True)
    places = torch.arange(len(keys))
    first = torch.full((len(keys),), len(keys)).scatter_reduce_(0, inverse, places, "amin")
    highest = torch.zeros(len(keys), dtype=truth.grades.dtype).scatter_reduce_(0, inverse, truth.grades, "amax")
    return replace(truth, grades=highest[inverse]).select((first[inverse] == places) & kept)
