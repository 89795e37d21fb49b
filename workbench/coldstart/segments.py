"""What is popular among people of the same kind: all that can be known of somebody who has done nothing yet."""

from collections.abc import Collection

import torch
from torch import Tensor

from workbench.data import Dataset, Interactions, UserBatch, groups
from workbench.data.groups import UNKNOWN
from workbench.data.side import sensitive_columns
from workbench.errors import NotApplicable

SHRINKAGE = 500.0
"""Events of everybody that a segment's own are mixed with."""


class SegmentPopularity:
    """An item's score is the log of its share of everybody's events and, for each grouping of people, the log of how much larger its share
    is in the person's group, shrunk towards everybody's: naive Bayes over the groupings. Strangers have a group too, where they told it.
    """

    title = "Segment popularity"
    inductive = True
    personal = False

    def __init__(self, segments: Collection[Tensor], log: Interactions, shrinkage: float = SHRINKAGE) -> None:
        """segments: for each grouping int64 (n_users,), the person's group, -1 where it is not known; log: of training."""
        everybody = log.events_per_item.double() + 1
        share = everybody / everybody.sum()
        self.prior = share.log()
        self.segments, self.lifts = list(segments), []
        for segment in self.segments:
            n, own = int(segment.max()) + 1, segment[log.users]
            counts = torch.zeros(n, log.n_items, dtype=torch.float64)
            counts.view(-1).index_add_(
                0, own[own >= 0] * log.n_items + log.items[own >= 0], torch.ones(int((own >= 0).sum()), dtype=torch.float64)
            )
            within = (counts + shrinkage * share) / (counts.sum(1, keepdim=True) + shrinkage)
            self.lifts.append(torch.cat([(within / share).log(), torch.zeros(1, log.n_items, dtype=torch.float64)]))

    def score(self, batch: UserBatch) -> Tensor:
        """float32 (batch, n_items)."""
        users = batch.users.cpu()
        scores = self.prior.repeat(len(batch), 1)
        for segment, lift in zip(self.segments, self.lifts, strict=True):
            scores += lift[torch.where(users >= 0, segment[users], -1)]
        return scores.float().to(batch.device)


def person_segments(data: Dataset, sensitive: Collection[str] = ()) -> dict[str, Tensor]:
    """By the groupings of people that the card names, int64 (n_users,), -1 where the group is not known. Without those of sensitive
    columns, but for the columns in `sensitive`, each named on purpose, and without groupings of which somebody has two groups.

    Raises RequestError for a sensitive column that no grouping uses, NotApplicable where none is left.
    """
    of_people = {name: by for name, by in data.card.slices.items() if by.table == "users"}
    guarded = sensitive_columns(data, sensitive)
    found = {}
    for name, by in of_people.items():
        if by.column in guarded and by.column not in sensitive:
            continue
        segment, known = torch.full((data.n_users,), -1), [codes for group, codes in groups(data, by).items() if group != UNKNOWN]
        if known and torch.cat(known).unique().numel() < sum(map(len, known)):
            continue  # somebody is in two groups: no segment
        for place, codes in enumerate(known):
            segment[codes] = place
        found[name] = segment
    if not found:
        are = "is" if len(guarded) == 1 else "are"
        why = f"; {', '.join(sorted(guarded))} {are} sensitive and not allowed by name" if guarded else ""
        raise NotApplicable(f"the card names no grouping of people that may be learnt from{why}")
    return found
