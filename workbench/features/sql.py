"""Features as SQL that DuckDB and Spark both speak, but for the as-of join, which each engine writes its own way.

Events of one key become a *stream*: for each moment the running totals of all events up to it. The value at t is what the last
row strictly before t says; of a window, that less what the last row strictly before its beginning says. So no row of an event is ever
joined to a row of a request by anything but one as-of join, and nothing can explode.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.features.definition import DAY, Feature

BLOCK = 256
"""Half-lives in one block of decayed sums: 2^256 is far from the largest float64, and what is two blocks old weighs less than 2^-256."""
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
    kind: str | None = None
    """None: all kinds side by side, see `Measure`."""
    distinct: int | None = None
    """Microseconds of the window in which different items or people are counted; None: no window."""

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
    window = round(each.window * DAY) if each.aggregation == "distinct" and each.window else None
    return Stream(each.entity, each.group, delay, each.events, window)


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


def counts_others(definitions: Sequence[Feature], stream: Stream) -> bool:
    """Whether different items or people are counted by it."""
    return any(each.aggregation == "distinct" and stream_of(each) == stream for each in definitions)


def condition(kind: str) -> str:
    """SQL that is true for an event of the kind."""
    return CONDITIONS.get(kind) or "coalesce(event = '" + kind.replace("'", "''") + "', FALSE)"


def group_table(group: str) -> str:
    """What engines call a grouping, whatever its card does."""
    return f"groups_{group.encode().hex()}"


def source(stream: Stream) -> str:
    """SQL for the events of a stream, or of its kind, with its keys."""
    chosen = "events" if stream.kind is None else f"(SELECT * FROM events WHERE {condition(stream.kind)})"
    if stream.entity != "user_group":
        return f"{chosen} AS e"
    return f"(SELECT e.*, g.grp FROM {chosen} AS e JOIN {group_table(stream.group)} AS g ON e.item_code = g.item_code) AS e"


def stream_sql(definitions: Sequence[Feature], stream: Stream) -> str:
    """SQL for a stream: its keys, timestamp (from when on, strictly, a row holds), and the columns that `stream_columns` names. Events of
    one moment have rows that say the same: all of them together.
    """
    keys = ", ".join(stream.keys)
    if stream.distinct is not None:
        return _distinct_sql(stream, keys)
    if stream.kind is None:
        told = "".join(f", {_running(each)} OVER so_far AS {each.column}" for each in measures(definitions, stream))
        over = f"WINDOW so_far AS (PARTITION BY {keys} ORDER BY timestamp)"
        return f"SELECT {keys}, timestamp + {stream.delay} AS timestamp{told} FROM {source(stream)} {over}"
    return _of_one_kind_sql(stream, keys, half_lives(definitions, stream), counts_others(definitions, stream))


def stream_columns(definitions: Sequence[Feature], stream: Stream) -> list[str]:
    """Of the stream's table, without its keys and its timestamp."""
    if stream.distinct is not None:
        return ["n"]
    if stream.kind is None:
        return [each.column for each in measures(definitions, stream)]
    return ["happened", "latest", "fresh", *(f"d{place}" for place in range(len(half_lives(definitions, stream))))]


def _running(each: Measure) -> str:
    chosen = condition(each.kind)
    return {
        "n": f"sum(CASE WHEN {chosen} THEN CAST(1 AS DOUBLE) ELSE CAST(0 AS DOUBLE) END)",
        "v": f"sum(CASE WHEN {chosen} AND value IS NOT NULL THEN CAST(1 AS DOUBLE) ELSE CAST(0 AS DOUBLE) END)",
        "t": f"sum(CASE WHEN {chosen} AND value IS NOT NULL THEN value ELSE CAST(0 AS DOUBLE) END)",
        "h": f"max(CASE WHEN {chosen} THEN timestamp END)",
    }[each.what]


def _of_one_kind_sql(stream: Stream, keys: str, decays: Sequence[int], fresh: bool) -> str:
    """SQL for happened, latest (the largest value of the moment), fresh (the number of different others so far), d0 …: decayed sums as of
    `happened`, for each of these half-lives.
    """
    novel = "0"
    if fresh:
        novel = f"CASE WHEN row_number() OVER (PARTITION BY {keys}, {stream.other} ORDER BY timestamp) = 1 THEN 1 ELSE 0 END"
    marked = f"SELECT {keys}, timestamp, value, {novel} AS novel FROM {source(stream)}"
    moments = f"""
        SELECT {keys}, timestamp, CAST(count(*) AS DOUBLE) AS n, max(value) AS latest, CAST(sum(novel) AS DOUBLE) AS novel
        FROM ({marked}) AS m GROUP BY {keys}, timestamp"""
    so_far = f"sum(novel) OVER (PARTITION BY {keys} ORDER BY timestamp)"
    running = f"SELECT {keys}, timestamp + {stream.delay} AS timestamp, timestamp AS happened, latest, {so_far} AS fresh FROM moments"
    on = " AND ".join(f"r.{key} = d.{key}" for key in stream.keys)
    joins = "".join(
        f" JOIN ({_decayed_sql(keys, stream, half)}) AS d{i} ON {on.replace('d.', f'd{i}.')} AND r.happened = d{i}.timestamp"
        for i, half in enumerate(decays)
    )
    columns = "".join(f", d{i}.decayed AS d{i}" for i in range(len(decays)))
    return f"WITH moments AS ({moments}), running AS ({running}) SELECT r.*{columns} FROM running AS r{joins}"


def _decayed_sql(keys: str, stream: Stream, half: int) -> str:
    """SQL over `moments` for the sum of 2^(-age / half-life) of all events up to each moment, itself among them."""
    width = BLOCK * half
    joined = " AND ".join(f"c.{key} = p.{key}" for key in stream.keys)
    over = f"OVER (PARTITION BY {keys}, block ORDER BY timestamp ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    return f"""
        SELECT {", ".join(f"c.{key}" for key in stream.keys)}, c.timestamp,
               (c.grown + coalesce(p.grown, CAST(0 AS DOUBLE)) * power(CAST(2 AS DOUBLE), -{BLOCK}))
               * power(CAST(2 AS DOUBLE), -c.age) AS decayed
        FROM (SELECT *, sum(n * power(CAST(2 AS DOUBLE), age)) {over} AS grown
              FROM (SELECT *, CAST(timestamp - block * {width} AS DOUBLE) / {half} AS age
                    FROM (SELECT *, CAST(floor(CAST(timestamp AS DOUBLE) / {width}) AS BIGINT) AS block FROM moments) AS b) AS a) AS c
        LEFT JOIN (SELECT {keys}, block + 1 AS block, sum(n * power(CAST(2 AS DOUBLE), age)) AS grown
                   FROM (SELECT *, CAST(timestamp - block * {width} AS DOUBLE) / {half} AS age
                         FROM (SELECT *, CAST(floor(CAST(timestamp AS DOUBLE) / {width}) AS BIGINT) AS block FROM moments) AS b) AS a
                   GROUP BY {keys}, block) AS p
        ON {joined} AND c.block = p.block"""


def _distinct_sql(stream: Stream, keys: str) -> str:
    """SQL for the number of different others within the window: one more from an event on, one less when the window leaves it behind or the
    same other comes again."""
    over = f"OVER (PARTITION BY {keys}, {stream.other} ORDER BY timestamp)"
    pairs = f"SELECT DISTINCT {keys}, {stream.other}, timestamp FROM {source(stream)}"
    spans = f"SELECT {keys}, timestamp, coalesce(lead(timestamp) {over}, timestamp + {stream.distinct}) AS again FROM ({pairs}) AS p"
    left = f"CASE WHEN again < timestamp + {stream.distinct} THEN again ELSE timestamp + {stream.distinct} END"
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
            return f"coalesce({now}_{'n' if each.window else 'fresh'}, {zero})"
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
