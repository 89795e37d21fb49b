"""Histories as padded tensors: windows to learn from, batches with little padding, and a dropout with a generator of its own."""

from typing import Self

import torch
from torch import Generator, Tensor, nn

from workbench.data import Interactions, UserBatch


class Windows:
    """Pieces of people's sequences: an event is a target of the events before it in its window.

    A person's sequence is cut from its end into windows of `length` targets, each with one event before the first target: every event but
    the first one is a target once. The windows are tensors on one device; a batch is a selection of them.
    """

    def __init__(self, items: Tensor, starts: Tensor, lengths: Tensor, longest: int) -> None:
        self.longest = longest
        """Targets that a window has at most."""
        self.items = items
        """int64 (events,): everyone's sequences, one after another."""
        self.starts = starts
        """int64 (windows,): the place in `items` of each window's first event."""
        self.lengths = lengths
        """int64 (windows,): targets in each; a window has one event more."""

    @classmethod
    def of(cls, train: Interactions, length: int, whole: bool = True) -> Self:
        """whole: False takes the last window of each person alone."""
        targets = (train.events_per_user - 1).clamp(min=0)
        per_user = (targets + length - 1) // length
        if not whole:
            per_user = per_user.clamp(max=1)
        users = torch.arange(train.n_users).repeat_interleave(per_user)
        back = torch.arange(len(users)) - (per_user.cumsum(0) - per_user)[users]  # 0 for a person's last window
        ends = train.offsets[1:][users] - back * length
        starts = (ends - length - 1).clamp(min=train.offsets[:-1][users])
        return cls(train.items, starts, ends - starts - 1, length)

    def __len__(self) -> int:
        return len(self.starts)

    def to(self, device: torch.device) -> None:
        """In place."""
        self.items, self.starts, self.lengths = self.items.to(device), self.starts.to(device), self.lengths.to(device)

    def plan(self, batch_size: int, generator: Generator) -> list[Tensor]:
        """Batches of windows of about the same length, in random order: `batch_size` windows of the longest kind, and of shorter ones as
        many as have together as many targets. Lengths are read on the host once an epoch.
        """
        n = len(self)
        device = generator.device
        jitter = torch.rand(n, generator=generator, device=device)
        order = (self.lengths.to(device) + jitter).argsort(descending=True)
        sizes, at, lengths = [], 0, self.lengths.to(device)[order].tolist()
        budget = batch_size * lengths[0] if n else 0
        while at < n:
            size = min(max(1, budget // lengths[at]), 4 * batch_size, n - at)
            sizes.append(size)
            at += size
        batches = order.split(sizes)
        return [batches[place] for place in torch.randperm(len(batches), generator=generator, device=device).tolist()]

    def gather(self, starts: Tensor, lengths: Tensor, padding: int) -> tuple[Tensor, Tensor, Tensor]:
        """int64 (batch, n): the inputs and, one event later, the targets, `padding` after a window's end; bool, where targets are.

        n: on a CPU what the longest of them needs; elsewhere always the same, so that nothing is read back from the device.
        """
        n = int(lengths.max()) if lengths.device.type == "cpu" else self.longest
        steps = torch.arange(n, device=starts.device)
        real = steps < lengths[:, None]
        places = (starts[:, None] + steps).clamp(max=len(self.items) - 2)
        inputs = self.items[places].masked_fill(~real, padding)
        return inputs, self.items[places + 1].masked_fill(~real, padding), real


def last_events(batch: UserBatch, length: int, padding: int) -> tuple[Tensor, Tensor]:
    """int64 (batch, longest): the last `length` items of each history, oldest first, then `padding`; int64 (batch,): how many there are."""
    lengths = batch.lengths.clamp(max=length)
    longest = max(1, int(lengths.max())) if len(batch) else 1
    steps = torch.arange(longest, device=batch.device)
    places = (batch.offsets[1:] - lengths)[:, None] + steps
    real = steps < lengths[:, None]
    if not len(batch.items):
        return torch.full((len(batch), longest), padding, device=batch.device), lengths
    return batch.items[places.clamp(max=len(batch.items) - 1)].masked_fill(~real, padding), lengths


class Dropout(nn.Module):
    """Sets a share of the numbers to zero in training and scales up the others (Srivastava et al., JMLR 2014)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor, generator: Generator | None) -> Tensor:
        return x if not self.training or generator is None else dropped(x, self.share, generator)


def dropped(x: Tensor, share: float, generator: Generator) -> Tensor:
    """`x` with a share of its numbers, rounded to 1/256 and at most 255/256, set to zero and the others scaled up.

    Unlike torch's it takes a generator, and on a CPU a tenth of its time: eight random bytes come out of one draw.
    """
    cut = min(255, round(256 * share))
    if not cut:
        return x
    draws = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device).random_(-(2**63), 2**63 - 1, generator=generator)
    kept = draws.view(torch.uint8)[: x.numel()].view(x.shape) >= cut
    return x * (kept * (256 / (256 - cut))).to(x.dtype)
