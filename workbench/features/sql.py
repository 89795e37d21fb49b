"""Features as SQL that DuckDB and Spark both speak, but for the as-of join, which each engine writes its own way.

Events of one key become a *stream*: for each moment the running totals of all events up to it. The value at t is what the last
row strictly before t says; of a window, that less what the last row strictly before its beginning says. So no row of an event is ever
joined to a row of a request by anything but one as-of join, and nothing can explode.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.features.definition import DAY, Feature

BLOCK = 256
"""Half-lives in half a block of decayed sums: 2^512 is far from the largest float64, and what weighs less than 2^-256 is nothing."""
ENTITY_KEYS = {
    "user": ("user_code",),
    "item": ("item_code",),
    "user_item": ("user_code", "item_code"),
    "user_group": ("user_code", "grp"),
}
CONDITIONS = {"all": "acted", "liked": "liked", "disliked": "disliked"}


@dataclass(frozen=True)
class Stream:
    """Running totals by the keys of an entity: of all kinds of events side by side, or what cannot be had so of one kind."""

    entity: str
    group: str
    delay: int
    """Microseconds from an event until it counts."""
    what: str = "totals"
    """totals: of all kinds of events side by side, see `Measure`. Of one kind: last, distinct, decayed."""
    kind: str = ""
    window: int = 0
    """Microseconds in which different items or people are counted; 0: no window."""

    @property
    def keys(self) -> tuple[str, ...]:
        return ENTITY_KEYS[self.entity]

    @property
    def other(self) -> str:
        """What `distinct` counts."""
        return "user_code" if self.entity == "item" else "item_code"


@dataclass(frozen=True)
class Measure:
    """A column of a stream of all kinds: of the events of one kind their number (n), how many have a value (v), the sum of these (t), or
    when the last one happened (h)."""

    what: str
    kind: str

    @property
    def column(self) -> str:
        return f"{self.what}_{self.kind.encode().hex()}"


@dataclass(frozen=True)
class Lookup:
    """What a stream says strictly before the moment less `offset` microseconds."""

    stream: Stream
    offset: int = 0


SIDE_BY_SIDE = ("count", "mean", "rate", "recency")
"""Aggregations for which one stream of all kinds does."""


def stream_of(each: Feature) -> Stream:
    delay = round(each.delay * DAY)
    if each.aggregation in SIDE_BY_SIDE:
        return Stream(each.entity, each.group, delay)
    window = round(each.window * DAY) if each.aggregation == "distinct" and each.window else 0
    return Stream(each.entity, each.group, delay, each.aggregation, each.events, window)


def lookups_of(each: Feature) -> list[Lookup]:
    """Those the feature's expression reads, the present first."""
    windowed = each.window and each.aggregation in ("count", "mean", "rate")
    return [Lookup(stream_of(each), offset) for offset in (0, *([round(each.window * DAY)] if windowed and each.window else []))]


def measures(definitions: Sequence[Feature], stream: Stream) -> list[Measure]:
    """What the definitions read of a stream of all kinds, each once."""
    found: list[Measure] = []
    for each in definitions:
        if each.aggregation in SIDE_BY_SIDE and stream_of(each) == stream:
            what = {"mean": ("v", "t"), "recency": ("h",)}.get(each.aggregation, ("n",))
            found += [Measure(part, kind) for kind in each.kinds for part in what]
    return list(dict.fromkeys(found))


def half_lives(definitions: Sequence[Feature], stream: Stream) -> list[int]:
    """Microseconds, of the decayed counts that read the stream."""
    found = {round(each.half_life * DAY) for each in definitions if each.half_life and stream_of(each) == stream}
    return sorted(found)


def condition(kind: str) -> str:
    """SQL that is true for an event of the kind."""
    return CONDITIONS.get(kind) or "coalesce(event = '" + kind.replace("'", "''") + "', FALSE)"


def group_table(group: str) -> str:
    """What engines call a grouping, whatever its card does."""
    return f"groups_{group.encode().hex()}"


def source(stream: Stream) -> str:
    """SQL for the events of a stream, or of its kind, with its keys."""
    chosen = "events" if not stream.kind else f"(SELECT * FROM events WHERE {condition(stream.kind)})"
    if stream.entity != "user_group":
        return f"{chosen} AS e"
    return f"(SELECT e.*, g.grp FROM {chosen} AS e JOIN {group_table(stream.group)} AS g ON e.item_code = g.item_code) AS e"


def stream_sql(definitions: Sequence[Feature], stream: Stream) -> str:
    """SQL for a stream: its keys, timestamp (from when on, strictly, a row holds), and the columns that `stream_columns` names. Events of
    one moment have rows that say the same: all of them together.
    """
    keys = ", ".join(stream.keys)
    known = f"SELECT {keys}, timestamp + {stream.delay} AS timestamp"
    so_far = f"(PARTITION BY {keys} ORDER BY timestamp)"
    match stream.what:
        case "totals":
            told = "".join(f", {_running(each)} AS {each.column}" for each in measures(definitions, stream))
            return f"{known}{told} FROM {source(stream)} WINDOW so_far AS {so_far}"
        case "last":
            return f"{known}, max(value) AS latest FROM {source(stream)} GROUP BY {keys}, timestamp"
        case "decayed":
            decays = half_lives(definitions, stream)
            told = "".join(f", {_decayed(keys, half)} AS d{place}" for place, half in enumerate(decays))
            return f"{known}, timestamp AS happened{told} FROM {source(stream)}"
    if stream.window:
        return _distinct_sql(stream, keys)
    number = f"row_number() OVER (PARTITION BY {keys}, {stream.other} ORDER BY timestamp)"
    marked = f"SELECT {keys}, timestamp, CAST(CASE WHEN {number} = 1 THEN 1 ELSE 0 END AS DOUBLE) AS novel FROM {source(stream)}"
    return f"{known}, sum(novel) OVER {so_far} AS n FROM ({marked}) AS m"


def stream_columns(definitions: Sequence[Feature], stream: Stream) -> list[str]:
    """Of the stream's table, without its keys and its timestamp."""
    match stream.what:
        case "totals":
            return [each.column for each in measures(definitions, stream)]
        case "last":
            return ["latest"]
        case "decayed":
            return ["happened", *(f"d{place}" for place in range(len(half_lives(definitions, stream))))]
    return ["n"]


def _running(each: Measure) -> str:
    """SQL for a measure so far, over the window that the stream names so."""
    chosen = condition(each.kind)
    return {
        "n": f"CAST(count(CASE WHEN {chosen} THEN 1 END) OVER so_far AS DOUBLE)",
        "v": f"CAST(count(CASE WHEN {chosen} THEN value END) OVER so_far AS DOUBLE)",
        "t": f"coalesce(sum(CASE WHEN {chosen} THEN value END) OVER so_far, CAST(0 AS DOUBLE))",
        "h": f"max(CASE WHEN {chosen} THEN timestamp END) OVER so_far",
    }[each.what]


def _decayed(keys: str, half: int) -> str:
    """SQL for the sum of 2^(-age / half-life) of all events up to each moment, itself among them.

    Sums of 2^(time / half-life) would overflow, so time is cut into blocks, twice: each event is in the second half of a block of one of
    the two, and what is before that block is older than `BLOCK` half-lives and counts for nothing.
    """
    width = BLOCK * half
    parts = []
    for shift in (0, width):
        block = f"CAST(floor(CAST(timestamp + {shift} AS DOUBLE) / {2 * width}) AS BIGINT)"
        age = f"CAST(timestamp + {shift} - {block} * {2 * width} AS DOUBLE) / {half}"
        grown = f"sum(power(CAST(2 AS DOUBLE), {age})) OVER (PARTITION BY {keys}, {block} ORDER BY timestamp)"
        parts.append((age, f"{grown} * power(CAST(2 AS DOUBLE), -({age}))"))
    (age, one), (_, other) = parts
    return f"CASE WHEN {age} >= {BLOCK} THEN {one} ELSE {other} END"


def _distinct_sql(stream: Stream, keys: str) -> str:
    """SQL for the number of different others within the window: one more from an event on, one less when the window leaves it behind or the
    same other comes again."""
    over = f"OVER (PARTITION BY {keys}, {stream.other} ORDER BY timestamp)"
    pairs = f"SELECT DISTINCT {keys}, {stream.other}, timestamp FROM {source(stream)}"
    spans = f"SELECT {keys}, timestamp, coalesce(lead(timestamp) {over}, timestamp + {stream.window}) AS again FROM ({pairs}) AS p"
    left = f"CASE WHEN again < timestamp + {stream.window} THEN again ELSE timestamp + {stream.window} END"
    steps = f"SELECT {keys}, timestamp, 1 AS step FROM spans UNION ALL SELECT {keys}, {left} AS timestamp, -1 AS step FROM spans"
    moments = f"SELECT {keys}, timestamp, CAST(sum(step) AS DOUBLE) AS step FROM ({steps}) AS s GROUP BY {keys}, timestamp"
    running = f"sum(step) OVER (PARTITION BY {keys} ORDER BY timestamp ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    return f"WITH spans AS ({spans}) SELECT {keys}, timestamp + {stream.delay} AS timestamp, {running} AS n FROM ({moments}) AS m"


def expression(each: Feature, at: dict[Lookup, str], decays: Sequence[int]) -> str:
    """SQL for the feature out of looked-up columns, `at` the prefix of each lookup's; `timestamp` is the moment."""
    now, *then = (at[lookup] for lookup in lookups_of(each))
    zero = "CAST(0 AS DOUBLE)"

    def total(what: str, kind: str) -> str:
        column = Measure(what, kind).column
        return f"(coalesce({now}_{column}, {zero}){''.join(f' - coalesce({each}_{column}, {zero})' for each in then)})"

    inside = f"{now}_timestamp >= timestamp - {round(each.window * DAY)}" if each.window else f"{now}_timestamp IS NOT NULL"
    match each.aggregation:
        case "count":
            return total("n", each.events)
        case "distinct":
            return f"coalesce({now}_n, {zero})"
        case "mean":
            return f"CASE WHEN {total('v', each.events)} > 0 THEN {total('t', each.events)} / {total('v', each.events)} END"
        case "rate":
            return f"CASE WHEN {total('n', each.events)} > 0 THEN {total('n', each.of)} / {total('n', each.events)} END"
        case "recency":
            happened = f"{now}_{Measure('h', each.events).column}"
            late = f" AND {happened} + {round(each.delay * DAY)} >= timestamp - {round(each.window * DAY)}" if each.window else ""
            return f"CASE WHEN {happened} IS NOT NULL{late} THEN CAST(timestamp - {happened} AS DOUBLE) / {DAY} END"
        case "last":
            return f"CASE WHEN {inside} THEN {now}_latest END"
    half = round((each.half_life or 0) * DAY)
    decayed = f"{now}_d{decays.index(half)}"
    return f"coalesce({decayed} * power(CAST(2 AS DOUBLE), -CAST(timestamp - {now}_happened AS DOUBLE) / {half}), {zero})"
