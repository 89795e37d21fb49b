"""Who and what is new: the same people with more and more of them revealed, and items that nobody had when models learnt."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.data import Holdout, Interactions, Split
from workbench.errors import NotApplicable, RequestError, names_in

DEPTHS = (0, 1, 2, 3, 5, 10, 20)
"""Events revealed of a new person."""
TO_FIND = 10
"""Events after those, of which the liked ones are to be found."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Newcomers:
    """People whom no model learnt from. At every depth the same people, the same events to find, the same items that may be shown: only
    what is known of them differs.
    """

    part: str
    depths: dict[int, Holdout]
    """By the number of events revealed, the first ones: rising. To find is what was liked of the next TO_FIND after the most of them."""
    warm: Holdout
    """The same people as regulars: all but their last TO_FIND events known, those to be found. Who has too few for that is not in it."""
    n_people: int
    """New people in the part, judged or not."""

    @property
    def users(self) -> Tensor:
        """int64 (n,): who is judged at each depth."""
        return next(iter(self.depths.values())).users

    def __repr__(self) -> str:
        return f"Newcomers({len(self.users):,} people of {self.part}, depths {', '.join(map(str, self.depths))})"


def newcomers(parts: Split, part: str = "test", depths: Sequence[int] = DEPTHS) -> Newcomers:
    """The new people of "valid" or "test", and each depth as a holdout.

    New is who has no event before the part. By the split `new_user` these are people at random; by one
    moment for everyone those who came after it. Events are in order of time, those of one moment as the split's seed deals them.

    Raises NotApplicable where the split has no new people, or none with enough events and something liked; RequestError for depths that do
    not rise from 0 or more.
    """
    if not depths or list(depths) != sorted(set(depths)) or depths[0] < 0:
        raise RequestError(f"depths {list(depths)} should be rising numbers of events, from 0 on.")
    before = parts.train if part == "valid" else parts.train.plus(parts.valid)  # known of everybody by then, learnt from or not
    own = _events_of_new(parts, part, before)
    people, most = own.events_per_user > 0, depths[-1]
    place = torch.arange(len(own)) - own.offsets[own.users]
    length = own.events_per_user[own.users]
    judged, regular = length >= most + TO_FIND, length >= most + 2 * TO_FIND
    truth = own.select(judged & (place >= most) & (place < most + TO_FIND)).positives()
    seen = own.select(judged & (place < most))
    whole = parts.holdout(part)
    found = {
        depth: _holdout(whole, before, f"{depth} known", truth, own.select(judged & (place < depth)), seen, people) for depth in depths
    }
    earlier = own.select(regular & (place < length - TO_FIND))
    warm = _holdout(whole, before, "warm", own.select(regular & (place >= length - TO_FIND)).positives(), earlier, earlier, people)
    if not len(found[most].users):
        raise NotApplicable(f"no new person of the {part} part has {most + TO_FIND} events and likes one of the last {TO_FIND} of them.")
    return Newcomers(part=part, depths=found, warm=warm, n_people=int(people.sum()))


def _events_of_new(parts: Split, part: str, before: Interactions) -> Interactions:
    """Everything of the people who have an event in the part and none in a part before it."""
    theirs: Interactions = getattr(parts, part)
    new = (theirs.events_per_user > 0) & (before.events_per_user == 0)
    own = theirs.plus(parts.known.select(new[parts.known.users])) if len(parts.known) else theirs
    own = own.select(new[own.users])
    if not len(own):
        raise NotApplicable(f"the {part} part of {parts.name} has no new people; the splits new_user and global_time may have some.")
    return own


def _holdout(
    whole: Holdout, before: Interactions, name: str, truth: Interactions, known: Interactions, seen: Interactions, people: Tensor
) -> Holdout:
    """Of the part that `whole` judges. before: everything of others before the part; known, seen: of the new people."""
    return Holdout.build(
        label=f"{whole.label}:{name}",
        truth=truth,
        people=people,
        history=before.plus(known),
        seen=None if whole.seen is None else before.plus(seen),
        trained=whole.trained,
        ties=whole.ties,
        ledger=whole.ledger,
    )


def new_items(parts: Split, part: str = "test") -> Holdout:
    """The part with only those events to find whose item nobody had in what models learn from, ranked among the whole catalogue.

    By the split `new_item` these are items at random, by one moment for everyone those that came after it. Raises NotApplicable where
    nobody liked a new item.
    """
    whole = parts.holdout(part)
    truth = whole.truth.select(unmet(parts, part)[whole.truth.items])
    if not len(truth):
        raise NotApplicable(f"nobody liked a new item in the {part} part of {parts.name}.")
    people = torch.zeros(truth.n_users, dtype=torch.bool)
    people[whole.users] = True
    kept = {name: getattr(whole, name) for name in ("history", "seen", "trained", "ties", "ledger")}
    return Holdout.build(label=f"{whole.label}:new items", truth=truth, people=people, **kept)


def unmet(parts: Split, part: str = "test") -> Tensor:
    """bool (n_items,): nobody had the item in what models learn from before the part is judged."""
    log = parts.train if part == "valid" else parts.fit_on
    return log.events_per_item == 0


def parse_depths(text: str) -> tuple[int, ...]:
    """(0, 1, 5) out of "0, 1, 5". Raises RequestError for what are no rising numbers of events."""
    names = names_in(text)
    if not names or not all(name.isdecimal() and len(name) < 5 for name in names):
        raise RequestError(f'depths = "{text}" should be rising numbers of events, like "0, 1, 5, 20".')
    found = tuple(int(name) for name in names)
    if list(found) != sorted(set(found)):
        raise RequestError(f'depths = "{text}" should rise from number to number.')
    return found
