"""Features as SQL that DuckDB and Spark both speak, but for the as-of join, which each engine writes its own way.

Events of one kind and one key become a *stream*: for each moment the running totals of all events up to it. The value at t is what the last
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
    """Running totals of the events of a kind by the keys of an entity."""

    entity: str
    kind: str
    group: str
    delay: int
    """Microseconds from an event until it counts."""
    distinct: int | None = None
    """Microseconds of the window in which different items or people are counted; None: a stream of events."""

    @property
    def keys(self) -> tuple[str, ...]:
        return ENTITY_KEYS[self.entity]

    @property
    def other(self) -> str:
        """What `distinct` counts."""
        return "user_code" if self.entity == "item" else "item_code"


@dataclass(frozen=True)
class Lookup:
    """What a stream says strictly before the moment less `offset` microseconds."""

    stream: Stream
    offset: int = 0


def stream_of(each: Feature, kind: str | None = None) -> Stream:
    window = round(each.window * DAY) if each.aggregation == "distinct" and each.window else None
    return Stream(each.entity, kind or each.events, each.group, round(each.delay * DAY), window)


def lookups_of(each: Feature) -> list[Lookup]:
    """Those the feature's expression reads, the present first."""
    offsets = [0] + ([round(each.window * DAY)] if each.window and each.aggregation in ("count", "mean", "rate") else [])
    return [Lookup(stream_of(each, kind), offset) for kind in each.kinds for offset in offsets]


def half_lives(definitions: Sequence[Feature], stream: Stream) -> list[int]:
    """Microseconds, of the decayed counts that read the stream."""
    found = {round(each.half_life * DAY) for each in definitions if each.half_life and stream_of(each) == stream}
    return sorted(found)


def condition(kind: str) -> str:
    """SQL that is true for an event of the kind."""
    return CONDITIONS.get(kind) or "event = '" + kind.replace("'", "''") + "'"


def group_table(group: str) -> str:
    """What engines call a grouping, whatever its card does."""
    return f"groups_{group.encode().hex()}"


def source(stream: Stream) -> str:
    """SQL for the events of a stream's kind with its keys."""
    chosen = f"SELECT user_code, item_code, timestamp, value FROM events WHERE {condition(stream.kind)}"
    if stream.entity != "user_group":
        return chosen
    return f"SELECT e.*, g.grp FROM ({chosen}) AS e JOIN {group_table(stream.group)} AS g ON e.item_code = g.item_code"


def stream_sql(stream: Stream, decays: Sequence[int], fresh: bool) -> str:
    """SQL for a stream: keys, timestamp (from when on, strictly, the row holds), happened, n, total, valued, latest; fresh, where asked:
    the number of different others; d0 …: decayed sums as of `happened`, for each of these half-lives.
    """
    keys = ", ".join(stream.keys)
    if stream.distinct is not None:
        return _distinct_sql(stream, keys)
    marked = f"SELECT {keys}, timestamp, value, 0 AS novel FROM ({source(stream)}) AS e"
    if fresh:
        order = f"PARTITION BY {keys}, {stream.other} ORDER BY timestamp" if stream.other not in stream.keys else f"PARTITION BY {keys}"
        number = f"row_number() OVER ({order})"
        marked = f"SELECT {keys}, timestamp, value, CASE WHEN {number} = 1 THEN 1 ELSE 0 END AS novel FROM ({source(stream)}) AS e"
    moments = f"""
        SELECT {keys}, timestamp, CAST(count(*) AS DOUBLE) AS n, coalesce(sum(value), CAST(0 AS DOUBLE)) AS total,
               CAST(count(value) AS DOUBLE) AS valued, max(value) AS latest, CAST(sum(novel) AS DOUBLE) AS novel
        FROM ({marked}) AS m GROUP BY {keys}, timestamp"""
    over = f"OVER (PARTITION BY {keys} ORDER BY timestamp ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    running = f"""SELECT {keys}, timestamp + {stream.delay} AS timestamp, timestamp AS happened,
        sum(n) {over} AS n, sum(total) {over} AS total, sum(valued) {over} AS valued, latest, sum(novel) {over} AS fresh"""
    if not decays:
        return f"{running} FROM ({moments}) AS m"
    on = " AND ".join(f"r.{key} = d.{key}" for key in stream.keys)
    tables = "".join(f" JOIN ({_decayed_sql(keys, stream, half)}) AS d{i} ON {on.replace('d.', f'd{i}.')} AND r.happened = d{i}.timestamp"
                     for i, half in enumerate(decays))  # fmt: skip
    columns = "".join(f", d{i}.decayed AS d{i}" for i in range(len(decays)))
    text = f"WITH moments AS ({moments}), running AS ({running} FROM moments) SELECT r.*{columns} FROM running AS r{tables}"
    return text


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
    pairs = f"SELECT DISTINCT {keys}, {stream.other}, timestamp FROM ({source(stream)}) AS e"
    spans = f"SELECT {keys}, timestamp, coalesce(lead(timestamp) {over}, timestamp + {stream.distinct}) AS again FROM ({pairs}) AS p"
    left = f"CASE WHEN again < timestamp + {stream.distinct} THEN again ELSE timestamp + {stream.distinct} END"
    steps = f"SELECT {keys}, timestamp, 1 AS step FROM spans UNION ALL SELECT {keys}, {left} AS timestamp, -1 AS step FROM spans"
    moments = f"SELECT {keys}, timestamp, CAST(sum(step) AS DOUBLE) AS step FROM ({steps}) AS s GROUP BY {keys}, timestamp"
    running = f"sum(step) OVER (PARTITION BY {keys} ORDER BY timestamp ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    return f"WITH spans AS ({spans}) SELECT {keys}, timestamp + {stream.delay} AS timestamp, {running} AS n FROM ({moments}) AS m"


def expression(each: Feature, at: dict[Lookup, str], decays: Sequence[int]) -> str:
    """SQL for the feature out of looked-up columns, `at` the prefix of each lookup's; `timestamp` is the moment."""
    names = [at[lookup] for lookup in lookups_of(each)]
    zero = "CAST(0 AS DOUBLE)"

    def less(column: str, now: str, then: str | None) -> str:
        earlier = f" - coalesce({then}_{column}, {zero})" if then else ""
        return f"(coalesce({now}_{column}, {zero}){earlier})"

    now, then = names[0], names[1] if each.window and len(names) > 1 else None
    inside = f"{now}_timestamp >= timestamp - {round(each.window * DAY)}" if each.window else f"{now}_timestamp IS NOT NULL"
    match each.aggregation:
        case "count":
            return less("n", now, then)
        case "distinct":
            return less("n" if each.window else "fresh", now, None)
        case "mean":
            valued = less("valued", now, then)
            return f"CASE WHEN {valued} > 0 THEN {less('total', now, then)} / {valued} END"
        case "rate":
            above = names[2:] if each.window else names[1:]
            shown = less("n", now, then)
            return f"CASE WHEN {shown} > 0 THEN {less('n', above[0], above[1] if each.window else None)} / {shown} END"
        case "recency":
            return f"CASE WHEN {inside} THEN CAST(timestamp - {now}_happened AS DOUBLE) / {DAY} END"
        case "last":
            return f"CASE WHEN {inside} THEN {now}_latest END"
    half = round((each.half_life or 0) * DAY)
    decayed = f"{now}_d{decays.index(half)}"
    return f"coalesce({decayed} * power(CAST(2 AS DOUBLE), -CAST(timestamp - {now}_happened AS DOUBLE) / {half}), {zero})"
