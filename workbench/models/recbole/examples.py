"""What RecBole's models learn from, a batch at a time, as columns that they call by name; drawn on the device from our own events."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Generator, Tensor

from workbench.data import Interactions, UserBatch
from workbench.models.recbole.dataset import ITEM, LABEL, LENGTH, NEGATIVE, NEGATIVES, SEQUENCE, USER, Data, before_each, with_history
from workbench.models.recbole.families import EVERY_POSITION, FAMILY, FROM_PEOPLE
from workbench.models.recbole.library import InputType
from workbench.training import Negatives
from workbench.training.sequences import Windows, last_events

Columns = dict[str, Tensor]


class Examples(ABC):
    """Tensors on one device; an example is a place in them."""

    n: int

    @abstractmethod
    def to(self, device: torch.device) -> None:
        """In place."""

    @abstractmethod
    def draw(self, places: Tensor, generator: Generator) -> tuple[Tensor, ...]:
        """Tensors with a row for each place."""

    @abstractmethod
    def columns(self, *drawn: Tensor, generator: Generator) -> Columns:
        """A batch of what was drawn, by RecBole's names and codes."""


class Events(Examples):
    """An event beside items that the person never had: in pairs, or all of them with labels."""

    def __init__(self, log: Interactions, negatives: int, labelled: bool) -> None:
        self.users, self.items, self.n = log.users, log.items, len(log)
        self.unseen, self.negatives, self.labelled = Negatives.of(log, seen=True), negatives, labelled

    def to(self, device: torch.device) -> None:
        self.users, self.items = self.users.to(device), self.items.to(device)
        self.unseen.to(device)

    def draw(self, places: Tensor, generator: Generator) -> tuple[Tensor, ...]:
        users = self.users.index_select(0, places)
        return users + 1, self.items.index_select(0, places) + 1, self.unseen.draw_for(users, self.negatives, generator) + 1

    def columns(self, *drawn: Tensor, generator: Generator) -> Columns:  # noqa: ARG002, drawn before
        users, items, unseen = drawn
        if self.labelled:
            labels = torch.cat([torch.ones(len(items), device=items.device), torch.zeros(unseen.numel(), device=items.device)])
            return {USER: users.repeat(1 + self.negatives), ITEM: torch.cat([items, unseen.T.flatten()]), LABEL: labels}
        if self.negatives == 1:
            return {USER: users, ITEM: items, NEGATIVE: unseen[:, 0]}
        return {USER: users.repeat(self.negatives), ITEM: items.repeat(self.negatives), NEGATIVE: unseen.T.flatten()}


class People(Examples):
    """A person with all that they had."""

    def __init__(self, log: Interactions) -> None:
        self.users = torch.nonzero(log.events_per_user)[:, 0]
        self.n, self.width = len(self.users), log.n_items + 1
        self.items, self.starts, self.lengths = log.items + 1, log.offsets[:-1], log.events_per_user

    def to(self, device: torch.device) -> None:
        for name in ("users", "items", "starts", "lengths"):
            setattr(self, name, getattr(self, name).to(device))

    def draw(self, places: Tensor, generator: Generator) -> tuple[Tensor, ...]:  # noqa: ARG002
        return (self.users[places] + 1,)

    def columns(self, *drawn: Tensor, generator: Generator) -> Columns:  # noqa: ARG002
        return {USER: drawn[0]}

    def ratings(self, users: Tensor) -> Tensor:
        """float32 (n, n_items + 1): 1.0 where these people, RecBole's codes, had the item. RecBole pads everyone to the longest."""
        lengths = self.lengths[users - 1]
        rows = torch.arange(len(users), device=users.device).repeat_interleave(lengths)
        first = lengths.cumsum(0) - lengths
        places = torch.arange(len(rows), device=users.device) + (self.starts[users - 1] - first)[rows]
        matrix = torch.zeros(len(users), self.width, device=users.device)
        matrix.view(-1).index_fill_(0, rows * self.width + self.items[places], 1.0)
        return matrix


class Rows(Examples):
    """An event with at least one before it: the last `length` events before, and what was next."""

    def __init__(self, log: Interactions, length: int, paired: bool = False, labelled: bool = False) -> None:
        """Beside an item that the person never had: paired, or both with labels."""
        self.events, before = with_history(log), torch.arange(len(log)) - log.offsets[log.users]
        self.users, self.items, self.before, self.n = log.users, log.items, before.clamp(max=length), len(self.events)
        self.length, self.n_items, self.labelled = length, log.n_items, labelled
        self.unseen = Negatives.of(log, seen=True) if paired or labelled else None

    def to(self, device: torch.device) -> None:
        for name in ("events", "users", "items", "before"):
            setattr(self, name, getattr(self, name).to(device))
        if self.unseen is not None:
            self.unseen.to(device)

    def draw(self, places: Tensor, generator: Generator) -> tuple[Tensor, ...]:
        events = self.events.index_select(0, places)
        if self.unseen is None:
            return (events,)
        return events, self.unseen.draw_for(self.users.index_select(0, events), 1, generator)[:, 0] + 1

    def columns(self, *drawn: Tensor, generator: Generator) -> Columns:
        events, *unseen = drawn
        lengths = self.before.index_select(0, events)
        told = {
            USER: self.users.index_select(0, events) + 1,
            SEQUENCE: before_each(self.items, events, lengths, self.length),
            LENGTH: lengths,
            ITEM: self.items.index_select(0, events) + 1,
        }
        if not self.labelled:
            return with_inverse(told | ({NEGATIVE: unseen[0]} if unseen else {}))
        copies = {name: column.repeat(2, *[1] * (column.dim() - 1)) for name, column in told.items()}
        labels = torch.ones(2 * len(events), device=events.device)
        labels[len(events) :] = 0.0
        drawn_too = torch.randint(1, self.n_items + 1, copies[SEQUENCE].shape, generator=generator, device=events.device)
        return copies | {ITEM: torch.cat([told[ITEM], *unseen]), LABEL: labels, NEGATIVES: drawn_too * (copies[SEQUENCE] > 0)}


class Whole(Examples):
    """A window of a person's sequence, and after each event of it what was next."""

    def __init__(self, log: Interactions, length: int) -> None:
        self.windows = Windows.of(log, length)
        self.n = len(self.windows)

    def to(self, device: torch.device) -> None:
        self.windows.to(device)

    def draw(self, places: Tensor, generator: Generator) -> tuple[Tensor, ...]:  # noqa: ARG002
        return self.windows.starts[places], self.windows.lengths[places]

    def columns(self, *drawn: Tensor, generator: Generator) -> Columns:  # noqa: ARG002
        starts, lengths = drawn
        inputs, targets, _ = self.windows.gather(starts, lengths, padding=-1)
        return {SEQUENCE: inputs + 1, LENGTH: lengths, ITEM: targets + 1}


class Masked(Examples):
    """A window of a person's sequence with items hidden, which are to be found (Sun et al., CIKM 2019): some anywhere, or the last one of
    its beginning, cut anywhere, so that what is asked when scoring is learnt at every length."""

    def __init__(self, log: Interactions, length: int, share: float, last: float) -> None:
        """share: of a window's items that are hidden, at most as many as RecBole has places for; last: share of windows that are cut."""
        self.windows = Windows.of(log, length - 1)
        self.n, self.length, self.n_items = len(self.windows), length, log.n_items
        self.share, self.last, self.places = share, last, max(1, int(share * length))

    def to(self, device: torch.device) -> None:
        self.windows.to(device)

    def draw(self, places: Tensor, generator: Generator) -> tuple[Tensor, ...]:  # noqa: ARG002
        return self.windows.starts[places], self.windows.lengths[places] + 1

    def columns(self, *drawn: Tensor, generator: Generator) -> Columns:
        starts, lengths = drawn
        device = starts.device
        cut, at = torch.rand(2, len(starts), generator=generator, device=device)
        lengths = torch.where(cut < self.last, 2 + (at * (lengths - 1)).long(), lengths)
        steps = torch.arange(self.length, device=device)
        real = steps < lengths[:, None]
        items = before_each(self.windows.items, starts + lengths, lengths, self.length)
        luck = torch.rand(items.shape, generator=generator, device=device)
        hidden = torch.where(cut[:, None] < self.last, steps == lengths[:, None] - 1, (luck < self.share) & real)
        hidden[:, 0] = False  # RecBole takes place 0 for no place
        hidden |= ~hidden.any(1, keepdim=True) & (steps == lengths[:, None] - 1)  # and divides by how many are hidden
        chosen = (luck + 1).mul(hidden).topk(self.places, dim=1)
        index = chosen.indices * (chosen.values > 0)
        told = items.gather(1, index) * (index > 0)
        kept = torch.zeros_like(hidden).scatter_(1, index, index > 0)
        masked = items.masked_fill(kept, self.n_items + 1)
        return {f"Mask_{SEQUENCE}": masked, f"Pos_{ITEM}": told, f"Neg_{ITEM}": told, "MASK_INDEX": index}  # asked for, and not read


def examples_for(name: str, model: Any, log: Interactions, config: Any) -> Examples:
    """What the model learns from in this log; `model` is an instance of RecBole's class."""
    if name == "BERT4Rec":
        return Masked(log, config.length, config.mask_ratio, config.ft_ratio)
    if FAMILY[name] == "sequential":
        pairwise = _input_type(model, config) is InputType.PAIRWISE
        if name in EVERY_POSITION and config.every_position and not pairwise:
            return Whole(log, config.length)
        return Rows(log, config.length, paired=pairwise, labelled=name in ("DIN", "DIEN"))
    if name in FROM_PEOPLE:
        return People(log)
    return Events(log, config.negatives, labelled=_input_type(model, config) is InputType.POINTWISE)


def sequences(batch: UserBatch, length: int) -> Columns:
    """Histories as RecBole has them: the last `length` events, oldest first, padded to it with 0 at the end."""
    items, lengths = last_events(batch, length, padding=-1)
    columns = {
        USER: batch.users + 1,
        SEQUENCE: torch.nn.functional.pad(items + 1, (0, length - items.shape[1])),
        LENGTH: lengths.clamp(min=1),
    }
    unused = {NEGATIVES: columns[SEQUENCE], ITEM: torch.ones_like(lengths)}  # asked for, without a say in the scores
    return with_inverse(columns | unused)


def with_inverse(columns: Columns) -> Columns:
    """And the sequence padded in front, which SHAN reads."""
    sequence, lengths = columns[SEQUENCE], columns[LENGTH]
    shifted = torch.arange(sequence.shape[1], device=sequence.device) - (sequence.shape[1] - lengths)[:, None]
    return columns | {f"Inverse_{SEQUENCE}": sequence.gather(1, shifted.clamp(min=0)) * (shifted >= 0)}


def all_pairs(users: Tensor, n_items: int) -> Columns:
    """Each of these people, int64 (n,) in our codes, with every item."""
    items = torch.arange(1, n_items + 1, device=users.device)
    return {USER: (users + 1).repeat_interleave(n_items), ITEM: items.repeat(len(users))}


def with_features(columns: Columns, data: Data) -> Columns:
    """And the features of those people and items."""
    people, items = data.get_user_feature(), data.get_item_feature()
    looked_up = {field: people[field][columns[USER]] for field in people.columns if field != USER}
    return columns | looked_up | {field: items[field][columns[ITEM]] for field in items.columns if field != ITEM}


def _input_type(model: Any, config: Any) -> Any:
    """RecBole's rule: what the class says, or else its loss."""
    return getattr(model, "input_type", InputType.PAIRWISE if getattr(config, "loss_type", "") == "BPR" else InputType.POINTWISE)
