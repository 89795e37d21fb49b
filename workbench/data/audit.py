"""What a split promised, counted again from its parts; and the leaks it never promised to prevent, counted too."""

from dataclasses import dataclass

import torch

from workbench.data.interactions import Interactions
from workbench.data.splits import Split


@dataclass(frozen=True)
class Finding:
    what: str
    events: int
    of: int
    promised: bool
    """The split promised that there are none."""

    @property
    def ok(self) -> bool:
        return self.events == 0 or not self.promised

    @property
    def noted(self) -> bool:
        """It happened, and the split never promised that it would not."""
        return self.events > 0 and not self.promised

    @property
    def amount(self) -> str:
        """ "79,961 of 80,808 (99%)"."""
        return f"{self.events:,} of {self.of:,} ({self.share:.0%})"

    @property
    def share(self) -> float:
        """In [0, 1]."""
        return self.events / self.of if self.of else 0.0


def audit(parts: Split) -> list[Finding]:
    """Leaks between the parts of a split, in events. A promise that is not kept makes the evaluation worthless."""
    before = parts.train.plus(parts.valid)
    first_of_person = torch.full((before.n_users,), torch.iinfo(torch.int64).max)
    first_of_person.scatter_reduce_(0, parts.test.users, parts.test.timestamps, "amin")
    later_than_own = int((before.timestamps > first_of_person[before.users]).sum())
    first = parts.test.timestamps.min() if len(parts.test) else torch.iinfo(torch.int64).max
    later_than_any = int((parts.train.timestamps >= first).sum())
    both = _in_both(parts.test, before)
    by_moment = parts.name == "global_time"
    return [
        Finding("test events of a person and item that are in training or validation too", both, len(parts.test), not parts.repeats),
        Finding("events known of a person that are later than their first test event", later_than_own, len(before), True),
        Finding("training events at or after the earliest test event of anybody", later_than_any, len(parts.train), by_moment),
    ]


def _in_both(test: Interactions, before: Interactions) -> int:
    pairs = (part.users * part.n_items + part.items for part in (test, before))
    return int(torch.isin(*pairs).sum())
