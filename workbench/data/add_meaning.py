"""What the events of a new log mean: as the request says, else as the card before said, else guessed; and checked against what is there."""

import itertools

from workbench.data.card import Card, DefaultSplit, Rule, any_of
from workbench.data.guess import guess_meanings, guess_split, is_guessed
from workbench.data.request import Request
from workbench.data.tables import Tables
from workbench.errors import RequestError, unknown


def with_meaning(card: Card, request: Request, tables: Tables, first: bool) -> Card:
    """The card with what the request says of the events' meaning, and, of a first version, with guesses for what it does not say."""
    said = {
        "positive": _rules(request.positive_min, None, request.positive_events),
        "negative": _rules(None, request.negative_max, request.negative_events),
        "exposure": _rules(None, None, request.exposure_events),
    }
    repeats = request.repeats
    if first:
        guessed = guess_meanings(tables)
        others = [rule for listed in said.values() for rule in listed]
        said = {kind: listed or _without(getattr(guessed, kind), others) for kind, listed in said.items()}
        repeats = guessed.repeats if repeats is None else repeats
    rules = {kind: [rule.model_dump(by_alias=True) for rule in listed] for kind, listed in said.items() if listed or first}
    meaning = {**card.meaning.model_dump(by_alias=True), **rules, **({} if repeats is None else {"repeats": repeats})}
    card = Card.model_validate({**card.model_dump(by_alias=True), "meaning": meaning})
    _check_meaning(card, request, tables)
    default, because = guess_split(tables, card.columns.timestamp is not None, any_of(card.meaning.exposure))
    if first:
        return card.model_copy(update={"split": DefaultSplit(default=default, because=because)})
    if not is_guessed(card.split.because):
        return card
    if default != card.split.default:  # a person may build on it: it stays, and says what it was said of
        because = f"version {card.version - 1} had it; now {default} would be guessed, because {because}"
    return card.model_copy(update={"split": card.split.model_copy(update={"because": because})})


def _without(guessed: tuple[Rule, ...], said: list[Rule]) -> tuple[Rule, ...]:
    """Guesses, less the event types and the columns of which something else was said."""
    taken = {name for rule in said for name in rule.is_}
    named = (rule.model_copy(update={"is_": tuple(name for name in rule.is_ if name not in taken)}) for rule in guessed)
    return tuple(rule for rule in named if rule.is_ or (rule.column != "event" and not said))


def _check_meaning(card: Card, request: Request, tables: Tables) -> None:
    """Raises RequestError for a rule over a column or an event type that is not there, and where two meanings have events in common."""
    columns = tables.columns("events")
    types = (
        {str(row[0]) for row in tables.connection.execute("SELECT DISTINCT event FROM events").fetchall()} if "event" in columns else set()
    )
    meaning = card.meaning
    for rule in (*meaning.positive, *meaning.negative, *meaning.exposure):
        if rule.column != "any" and rule.column not in columns:
            raise RequestError(f"{rule.text}: {request.file.name} has no column for that. Name one with --{rule.column}.")
        if not request.update and (strange := [name for name in (*rule.is_, *rule.events) if name not in types]):
            raise unknown(f"event type in {request.file.name}", strange[0], types)
    listed = {"positive": meaning.positive, "negative": meaning.negative, "exposure": meaning.exposure}
    absent = "".join(f", NULL::{kind} AS {name}" for name, kind in (("value", "DOUBLE"), ("event", "VARCHAR")) if name not in columns)
    for one, other in itertools.combinations(listed, 2):
        if both := tables.count(f"(SELECT *{absent} FROM events) AS e WHERE {any_of(listed[one])} AND {any_of(listed[other])}"):
            raise RequestError(
                f"{both:,} events are {one} and {other} at once ({_told(listed[one])}; {_told(listed[other])}). Say which they are."
            )


def _told(rules: tuple[Rule, ...]) -> str:
    return " or ".join(rule.text for rule in rules)


def _rules(least: float | None, most: float | None, events: tuple[str, ...]) -> tuple[Rule, ...]:
    rules = []
    if least is not None:
        rules.append(Rule(column="value", min=least))
    if most is not None:
        rules.append(Rule(column="value", max=most))
    if events:
        rules.append(Rule.model_validate({"column": "event", "is": events}))
    return tuple(rules)
