"""What a file probably is: its format, its columns, their meaning. Guesses are printed, written into the card, and can be overruled one
by one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from workbench.data.card import Rule, SourceFile, Unit
from workbench.data.reading import check_file
from workbench.data.tables import Tables
from workbench.data.text import check_text, records
from workbench.data.times import MAGNITUDES
from workbench.errors import RequestError
from workbench.files import sha256_of

DELIMITERS = ("\t", "::", ",", ";", "|")
ATOMIC = re.compile(r"[\w.-]+:(token|float)(_seq)?")
NUMBER = re.compile(r"-?\d+([.]\d+)?([eE][+-]?\d+)?")
CALENDAR = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
NAMES = {
    "user_id": "userid user uid customerid customer visitorid visitor memberid accountid account personid person reviewerid",
    "item_id": "itemid item iid movieid movie productid product articleid article trackid track songid sku asin bookid isbn "
    "listingid videoid",
    "session_id": "sessionid session sid",
    "timestamp": "timestamp time ts datetime date eventtime createdat unixreviewtime when",
    "value": "rating value score stars overall weight",
    "event": "event eventtype action behavior behaviour interaction interactiontype",
    "request_id": "requestid request impressionid queryid",
    "position": "position rank slot",
    "propensity": "propensity propensityscore pscore",
}
"""Names without case, blanks and underscores, the likeliest first."""
CONTEXT = ("device", "platform", "os", "browser", "locale", "language", "country", "page", "surface")

SHOWN = {"impression", "impressions", "shown", "show", "exposure", "display", "served"}
DISLIKED = {"hide", "dislike", "skip", "dismiss", "block", "report", "downvote", "return", "refund"}


def guess_file(path: Path, name: str, options: Mapping[str, Any], positions: bool = False) -> SourceFile:
    """How to read a file. options: `delimiter`, `quote`, `encoding`, `header`, those that were given; `positions`: columns go by number.

    Raises RequestError for a file that is not there, empty, binary, or whose delimiter nobody can tell.
    """
    check_file(path)
    known: dict[str, Any] = {"name": name, "sha256": sha256_of(path)}
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == b"PAR1":
        return SourceFile(**known, format="parquet")
    encoding = options.get("encoding", "utf-8")
    check_text(path, encoding)
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    if suffixes[-1:] in ([".jsonl"], [".ndjson"], [".json"]):
        return SourceFile(**known, format="jsonl", encoding=encoding)
    delimiter = str(options.get("delimiter") or _sniffed(path, encoding)).replace("\\t", "\t")
    quote = options.get("quote", "" if delimiter == "\t" or len(delimiter) > 1 else '"')
    if len(quote) > 1 or len(delimiter) == 0:
        raise RequestError(f'--quote "{quote}" should be one character, or none.')
    head = [record.cells for record in islice(records(path, delimiter, quote, encoding), 100)]
    if delimiter == "\t" and head and all(ATOMIC.fullmatch(cell) for cell in head[0]):
        return SourceFile(**known, format="atomic", encoding=encoding)
    header = options.get("header", not positions or _has_header(head))
    return SourceFile(**known, format="delimited", delimiter=delimiter, quote=quote, header=header, encoding=encoding)


def _has_header(head: Sequence[Sequence[str]]) -> bool:
    """Whether the first record is a header: over columns of numbers it has no number; where all are texts, a name we know that is not
    below it."""
    rows = [row for row in head[1:] if len(row) == len(head[0])]
    numeric = [place for place in range(len(head[0])) if rows and all(NUMBER.fullmatch(row[place].strip()) for row in rows)]
    names = {name for known in NAMES.values() for name in known.split()}
    if numeric:
        return not any(NUMBER.fullmatch(head[0][place].strip()) for place in numeric)
    below = [{row[place] for row in rows} for place in range(len(head[0]))]
    return any(_plain(cell) in names and cell not in cells for cell, cells in zip(head[0], below, strict=True))


def _sniffed(path: Path, encoding: str) -> str:
    """The delimiter that every one of the first lines has equally often, if only outside of quotes."""
    head = [re.sub(r'"[^"]*"', "", line.cells[0]) for line in islice(records(path, "", "", encoding), 20)]
    found = [delimiter for delimiter in DELIMITERS if head and delimiter in head[0]]
    even = [delimiter for delimiter in found if len({line.count(delimiter) for line in head}) == 1]
    if not found:
        raise RequestError(f"{path.name}: nobody can tell what stands between its columns. Say it with --delimiter.")
    return (even or found)[0]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def guess_column(kind: str, columns: Sequence[str], taken: set[str]) -> str | None:
    """The column that is called like one of its kind, if any."""
    plain = {_plain(column): column for column in reversed(columns) if column not in taken}
    return next((plain[name] for name in NAMES[kind].split() if name in plain), None)


def guess_time(cells: Sequence[str]) -> tuple[Unit, str | None]:
    """(unit, format): the unit of most of the numbers among `cells`; "text" where most are none, or are dates like 20240131."""
    numbers = sorted(float(cell) for cell in cells if NUMBER.fullmatch(cell.strip()))
    if 2 * len(numbers) < len(cells):
        return "text", None
    if cells and all(CALENDAR.fullmatch(cell.strip()) for cell in cells):
        return "text", "%Y%m%d"
    middle = numbers[len(numbers) // 2] if numbers else 0.0
    return next((unit for unit, (low, high) in MAGNITUDES.items() if low <= middle < high), "s"), None


@dataclass(frozen=True)
class Meanings:
    positive: tuple[Rule, ...]
    negative: tuple[Rule, ...]
    exposure: tuple[Rule, ...]
    repeats: bool


def guess_meanings(tables: Tables) -> Meanings:
    """What counts as liked, disliked, only shown, and whether repeats are normal, from the event types, the values and the repeats there
    are."""
    columns = tables.columns("events")
    repeats = _has_repeats(tables, "TRUE")
    if "event" in columns:
        types = [str(row[0]) for row in tables.connection.execute("SELECT DISTINCT event FROM events ORDER BY event").fetchall()]
        shown, disliked = ([each for each in types if each.strip().casefold() in names] for names in (SHOWN, DISLIKED))
        liked = [each for each in types if each not in (*shown, *disliked)]
        repeats = any(_has_repeats(tables, rule.sql) for each in liked for rule in _events([each]))
        return Meanings(_events(liked), _events(disliked), _events(shown), repeats)
    bounds = _rating_bounds(tables) if "value" in columns else None
    if bounds is None:
        return Meanings((Rule(column="any"),), (), (), repeats)
    negative = (Rule(column="value", max=bounds[1]),) if bounds[1] < bounds[0] else ()
    return Meanings((Rule(column="value", min=bounds[0]),), negative, (), repeats)


def _has_repeats(tables: Tables, condition: str) -> bool:
    """Whether more than one in a hundred of these events is of a person and an item that had one before."""
    pairs = tables.count(f"(SELECT DISTINCT user_code, item_code FROM events WHERE {condition})")
    return tables.count(f"events WHERE {condition}") > 1.01 * pairs


def _events(names: Sequence[str]) -> tuple[Rule, ...]:
    return (Rule.model_validate({"column": "event", "is": names}),) if names else ()


def _rating_bounds(tables: Tables) -> tuple[float, float] | None:
    """From which value on one likes and up to which one dislikes, if the values look like ratings: few, small, more than one."""
    values = [row[0] for row in tables.connection.execute("SELECT DISTINCT value FROM events WHERE value IS NOT NULL LIMIT 22").fetchall()]
    if not 2 <= len(values) <= 21 or max(values) > 10 or any(2 * value != int(2 * value) for value in values):
        return None
    low, high = min(values), max(values)
    if low < 0:
        return min(value for value in values if value > 0) if high > 0 else high, max(value for value in values if value < 0)
    if len(values) == 2:
        return high, low
    return max(value for value in values if value <= 0.8 * high), max(value for value in values if value <= max(low, 0.4 * high))


def guess_split(tables: Tables, has_times: bool, exposure: str) -> tuple[str, str]:
    """(rule, because): one moment for everyone where that leaves enough people on both sides; else by person, where people have enough.

    exposure: SQL for events that only say what was shown.
    """
    acts = f"(SELECT * FROM events WHERE NOT {exposure}) AS acts"
    many, some = (tables.count(f"(SELECT user_code FROM {acts} GROUP BY user_code HAVING count(*) >= {n})") for n in (10, 3))
    n, moments = tables.count(acts), tables.count(f"(SELECT DISTINCT timestamp FROM {acts})") if has_times else 0
    if not n:
        return "user_random", "no event says more than that an item was shown"
    shares = many > 0 and 2 * many >= some
    who = "nobody has" if not many else "1 person has" if many == 1 else f"{many:,} people have"
    few = f"{who} the ten events of which a tenth can be judged"
    if moments < 2:
        timeless = "all events share one moment" if has_times else "the log has no times"
        return ("user_random" if shares else "random"), f"{timeless}, and {few}"
    cut = f"(SELECT timestamp AS cut FROM {acts} ORDER BY timestamp LIMIT 1 OFFSET {n - max(1, n // 10)})"
    both = tables.count(
        f"(SELECT user_code FROM {acts}, {cut} GROUP BY user_code HAVING min(timestamp) < min(cut) AND max(timestamp) >= min(cut))"
    )
    people = tables.count(f"(SELECT DISTINCT user_code FROM {acts})")
    told = f"of {people:,} people {both:,} have events on both sides of the moment that leaves a tenth of the events for test"
    if both >= ENOUGH:
        return "global_time", told
    return ("user_time", told) if shares else ("leave_last_n", f"{told}, and {few}")


def is_guessed(because: str) -> bool:
    """Whether the reason for a split is one of `guess_split`'s, which speaks of one version of a log."""
    return "of which a tenth can be judged" in because or "the moment that leaves a tenth of the events" in because


ENOUGH = 200
"""People with a history on both sides of one moment: as many show a difference of .028 in NDCG@10."""
