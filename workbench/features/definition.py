"""What a feature is: of whom, from which events, put together how, known from when. Data, no code: engines and the online store read it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from workbench.data.card import PrivacyClass
from workbench.errors import RequestError

DAY = 86_400_000_000
"""In microseconds."""

Entity = Literal["user", "item", "user_item", "user_group", "context", "candidate"]
Aggregation = Literal["count", "mean", "rate", "recency", "distinct", "last", "decayed", "attribute", "hour", "weekday", "given"]
OF_ENTITY: dict[str, tuple[str, ...]] = {
    "user": ("count", "mean", "rate", "recency", "distinct", "last", "decayed", "attribute"),
    "item": ("count", "mean", "rate", "recency", "distinct", "last", "decayed", "attribute"),
    "user_item": ("count", "mean", "rate", "recency", "last", "decayed"),
    "user_group": ("count", "mean", "rate", "recency", "last", "decayed"),
    "context": ("hour", "weekday"),
    "candidate": ("given",),
}
KINDS = ("all", "liked", "disliked")
"""Of events, as the card means them; any other kind is a type of event that the log names."""


class Feature(BaseModel):
    """One number for each (request, candidate) at the moment of the request, made of events strictly before it.

    Raises ValidationError for what is no feature; `feature` turns that into a RequestError.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    entity: Entity
    """Whose it is. user_group: of the person with each group the candidate is in, the mean over these groups. candidate: handed over with
    it, a retrieval score, say."""
    aggregation: Aggregation
    """count; mean, last: of the events' values; rate: events of kind `of` over events of kind `events`; recency: days since the last one;
    distinct: different items of a person or people of an item; decayed: a count in which an event weighs 2^(-age / half_life)."""
    events: str = "all"
    """What counts: all that people did, liked, disliked, or a type of event."""
    of: str = ""
    """rate: the kind of events in the numerator. attribute: the column of the table. given: the column handed over."""
    group: str = ""
    """user_group: the grouping of items, as the card names it."""
    window: float | None = None
    """Days before the moment that count; None: all. What counts is the difference of two running totals: a mean is exact to about 1e-16
    times the largest total there was before."""
    half_life: float | None = None
    """Days, of a decayed count."""
    delay: float = 0.0
    """Days from an event until it is known: of a log that arrives late. Never below 0: that would be looking ahead."""
    category: bool = False
    """An attribute that is a name, not a number."""
    owner: str = "workbench"
    privacy: PrivacyClass = "behavioural"

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.aggregation not in OF_ENTITY[self.entity]:
            raise ValueError(f"{self.entity} has no {self.aggregation}; it has {', '.join(OF_ENTITY[self.entity])}")
        if self.delay < 0:
            raise ValueError(f"delay = {self.delay:g} looks ahead: an event would count before it happened")
        if self.window is not None and self.window <= 0:
            raise ValueError(f"window = {self.window:g} looks ahead: it should be days before the moment, above 0")
        if (self.aggregation == "decayed") != (self.half_life is not None) or (
            self.half_life is not None and round(self.half_life * DAY) < 1
        ):
            raise ValueError("half_life, in days and a microsecond at least, goes with decayed")
        if self.window is not None and self.aggregation not in ("count", "mean", "rate", "recency", "distinct", "last"):
            raise ValueError(f"a window does not go with {self.aggregation}")
        if (self.aggregation in ("rate", "attribute", "given")) != bool(self.of):
            raise ValueError("`of` goes with rate, attribute and given, and only there")
        if (self.entity == "user_group") != bool(self.group):
            raise ValueError("`group` goes with user_group")
        if self.category and self.aggregation != "attribute":
            raise ValueError("a category is an attribute")
        return self

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of events it is made of."""
        if self.entity in ("context", "candidate") or self.aggregation == "attribute":
            return ()
        return (self.events, self.of) if self.aggregation == "rate" else (self.events,)

    @property
    def text(self) -> str:
        """What it is, in a sentence without its full stop."""
        whose = {
            "user": "the person",
            "item": "the item",
            "user_item": "the person with the item",
            "user_group": f"the person with the item's {self.group}",
            "context": "the moment",
            "candidate": "the candidate",
        }[self.entity]
        since = f" of the last {self.window:g} days" if self.window else ""
        late = f", known {self.delay:g} days later" if self.delay else ""
        what = {
            "count": f"number of events ({self.events}){since}",
            "mean": f"mean value of events ({self.events}){since}",
            "rate": f"{self.of} events for each event ({self.events}){since}",
            "recency": f"days since the last event ({self.events}){since}",
            "distinct": f"different {'people' if self.entity == 'item' else 'items'} in events ({self.events}){since}",
            "last": f"value of the last event ({self.events}){since}",
            "decayed": f"number of events ({self.events}), each half as much after {self.half_life or 0:g} days",
            "attribute": f"{self.of}{', a name' if self.category else ''}",
            "hour": "hour of the day, UTC",
            "weekday": "day of the week, UTC, 0 is Monday",
            "given": f"{self.of}, as retrieval gives it",
        }[self.aggregation]
        return f"{whose}: {what}{late}"


def feature(name: str, entity: str, aggregation: str, **told: object) -> Feature:
    """Raises RequestError, naming the feature and what is wrong with it."""
    try:
        return Feature.model_validate({"name": name, "entity": entity, "aggregation": aggregation, **told})
    except ValidationError as error:
        first = error.errors()[0]
        place = f"{first['loc'][0]}: " if first["loc"] else ""
        raise RequestError(f"the feature {name}, {place}{first['msg'].removeprefix('Value error, ')}.") from None


def check_features(definitions: Sequence[Feature], privacy: Mapping[str, str], allowed: Collection[str] = ()) -> None:
    """Raises RequestError for two of one name and for what may not be learnt from: a sensitive column or an id.

    privacy: the class of each column, as the card has it. allowed: sensitive columns that may be learnt from, each named on purpose.
    """
    names = [each.name for each in definitions]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RequestError(f"two features are called {twice[0]}: each needs a name of its own.")
    for each in definitions:
        column = each.of if each.aggregation in ("attribute", "given") else each.group
        column = "value" if each.aggregation in ("mean", "last") and privacy.get("value") == "sensitive" else column
        read, kind = (column, privacy[column]) if column in privacy else (each.name, each.privacy)
        if kind == "identifier":
            raise RequestError(f"the feature {each.name}: {read} is an identifier, which says who and not what; leave it out.")
        if kind == "sensitive" and read not in allowed:
            raise RequestError(f"the feature {each.name}: {read} is sensitive and no model input; allow it by its name.")
