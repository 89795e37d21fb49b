"""What each feature is, said again in plain Python: a loop over all events before the moment."""

import datetime
import math
from collections.abc import Mapping, Sequence

import torch

from tests.features.made import GENRES, Event
from workbench.features import Asked, Feature
from workbench.features.definition import DAY

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
EXACT = ("count", "distinct", "hour", "weekday")


def value(each: Feature, events: Sequence[Event], user: int, item: int, moment: int, groups: Mapping[int, Sequence[int]] = GENRES) -> float:
    match each.entity:
        case "context":
            when = EPOCH + datetime.timedelta(microseconds=moment)
            return when.hour if each.aggregation == "hour" else when.weekday()
        case "user":
            return of(each, [event for event in events if event.user == user], moment)
        case "item":
            return of(each, [event for event in events if event.item == item], moment)
        case "user_item":
            return of(each, [event for event in events if (event.user, event.item) == (user, item)], moment)
    own = [event for event in events if event.user == user]
    found = [of(each, [event for event in own if group in groups.get(event.item, ())], moment) for group in groups.get(item, ())]
    return mean([each for each in found if not math.isnan(each)])


def of(each: Feature, own: Sequence[Event], moment: int) -> float:
    def past(kind: str) -> list[Event]:
        known = [event for event in own if kind in event.kinds and event.time + each.delay * DAY < moment]
        return [event for event in known if each.window is None or event.time + each.delay * DAY >= moment - each.window * DAY]

    events = past(each.events)
    last = max((event.time for event in events), default=None)
    match each.aggregation:
        case "count":
            return len(events)
        case "mean":
            return mean([event.value for event in events if event.value is not None])
        case "rate":
            return len(past(each.of)) / len(events) if events else math.nan
        case "recency":
            return math.nan if last is None else (moment - last) / DAY
        case "distinct":
            return len({event.user if each.entity == "item" else event.item for event in events})
        case "last":
            return max((event.value for event in events if event.time == last and event.value is not None), default=math.nan)
    assert each.aggregation == "decayed"
    assert each.half_life is not None
    return math.fsum(2.0 ** (-(moment - event.time) / (each.half_life * DAY)) for event in events)


def mean(found: Sequence[float]) -> float:
    return math.fsum(found) / len(found) if found else math.nan


def check(found: torch.Tensor, definitions: Sequence[Feature], events: Sequence[Event], asked: Asked) -> None:
    """Counts exactly, the rest to 1e-9 of it; NaN where there is nothing."""
    rows = list(zip(asked.users.tolist(), asked.items.tolist(), asked.timestamps.tolist(), strict=True))
    assert found.shape == (len(rows), len(definitions))
    for place, each in enumerate(definitions):
        for (user, item, moment), told in zip(rows, found[:, place].tolist(), strict=True):
            wanted = value(each, events, user, item, moment)
            exact = each.aggregation in EXACT and each.entity != "user_group"
            least = 1e-300 if each.aggregation == "decayed" else 1e-12  # -3, 1 and 2 after 0.1 have a mean of nearly 0
            near = told == wanted if exact else math.isclose(told, wanted, rel_tol=1e-9, abs_tol=least)
            assert near or (math.isnan(told) and math.isnan(wanted)), f"{each}: {told} and not {wanted} for {(user, item, moment)}"
