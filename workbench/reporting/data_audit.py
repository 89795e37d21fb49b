"""What is in a data set: contents, contract, long tail, ties, drift, newcomers. What a log cannot feed says why."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from workbench.data import Dataset
from workbench.data.engine import quoted
from workbench.reporting.display import Figure, Note, Table
from workbench.reporting.figures import long_tail, over_time, timeline

DAY = 86_400_000_000
"""Microseconds."""
TENTHS = 10
TOP = 50
"""Items whose staying power is followed."""


def _no_times(data: Dataset, least: int = 1) -> Note | None:
    """Why nothing can be said of time, if that is so."""
    if not data.snapshot.has_times:
        return Note("Not applicable, because the log has no times.")
    n, moments = data.sql("SELECT count(*) AS n, count(DISTINCT timestamp) AS moments FROM acts").iloc[0]
    if not n:
        return Note("Not applicable, because no event says more than that an item was shown.")
    if n < least:
        return Note(f"Not applicable, because {n:,} events are too few; {least:,} would show something.")
    return Note("Not applicable, because all events share one moment.") if moments < 2 else None


def contents_table(data: Dataset) -> Table:
    return Table(data.describe(), f"{data.card.title}, snapshot {data.snapshot.id}.")


def contract_table(data: Dataset) -> Table:
    """Every check that was made of the files, with the rows that failed it."""
    manifest = data.snapshot.manifest
    apart = {(each["file"], each["check"], each["column"]): each["rows"] for each in manifest["quarantined"]}
    made = list(dict.fromkeys([*map(tuple, manifest["checks"]), *apart]))
    rows = [
        {"file": file, "check": check, "column": column, "rows set apart": apart.get((file, check, column), 0)}
        for file, check, column in made
    ]
    total = sum(apart.values())
    told = f"{total:,} rows were set apart, with the reason, in quarantine.parquet of the snapshot." if total else "No row was set apart."
    notes = "".join(f" {note}." for note in manifest["notes"])
    parent = f" Compared with {manifest['parent']}." if manifest["parent"] else " There is no earlier snapshot to compare with."
    return Table(pd.DataFrame(rows), f"{told}{notes}{parent}")


def popular_items_table(data: Dataset, most: int = 20) -> Table | Note:
    """The items with most events, with those of their columns that the card calls public."""
    columns = [column for column in data.snapshot.columns("items") if data.card.privacy.get(column) == "public"]
    if not columns:
        return Note("Not applicable, because the card calls no column of the items public.")
    shown = ", ".join(f"items.{quoted(column)}" for column in columns)
    frame = data.sql(
        f"""
        SELECT {shown}, n AS events
        FROM (SELECT item_code, count(*) AS n FROM acts GROUP BY item_code) AS counted JOIN items USING (item_code)
        ORDER BY events DESC, items.item_id LIMIT {int(most)}"""
    )
    return Table(frame, f"The items with most events, {len(frame)} of {data.n_items:,}.")


def tail_figure(data: Dataset) -> Figure | Note:
    counts = data.sql("SELECT count(e.item_code) AS n FROM items LEFT JOIN acts AS e USING (item_code) GROUP BY item_code")["n"]
    if len(counts) < 2 or not counts.sum():
        return Note("Not applicable, because it takes two items and an event that says more than what was shown.")
    return long_tail(counts.to_numpy(dtype=np.int64))


def ties_table(data: Dataset) -> Table | Note:
    """How far the order of events is a matter of ties, which a split can only break at random."""
    if missing := _no_times(data):
        return missing
    facts = data.sql(
        """
        WITH moments AS (SELECT user_code, timestamp, count(*) AS n FROM acts GROUP BY user_code, timestamp),
             lasts AS (SELECT user_code, max(timestamp) AS timestamp FROM acts GROUP BY user_code)
        SELECT sum(CASE WHEN n > 1 THEN n ELSE 0 END) / sum(n) AS tied,
               (SELECT avg(CASE WHEN n > 1 THEN 1.0 ELSE 0.0 END) FROM moments JOIN lasts USING (user_code, timestamp)) AS last_tied,
               max(n) AS most,
               (SELECT avg(CASE WHEN span < $day THEN 1.0 ELSE 0.0 END)
                FROM (SELECT max(timestamp) - min(timestamp) AS span FROM acts GROUP BY user_code) AS spans) AS in_a_day
        FROM moments""",
        {"day": DAY},
    ).iloc[0]
    rows = {
        "events that share person and moment with another": f"{facts.tied:.1%}",
        "people whose last moment holds several events": f"{facts.last_tied:.1%}",
        "most events of a person at one moment": f"{int(facts.most):,}",
        "people whose events span less than a day": f"{facts.in_a_day:.1%}",
    }
    caption = "Where many events share a moment, “the last one” is drawn by lot: seeded, the same for every model, but not what came last."
    return Table(pd.DataFrame({"": list(rows), "share or number": list(rows.values())}), caption)


def timeline_figure(data: Dataset, cuts: Sequence[tuple[str, int]]) -> Figure | Note:
    """Events a week. cuts: named moments, microseconds since 1970 UTC."""
    if missing := _no_times(data):
        return missing
    start = int(data.sql("SELECT min(timestamp) AS start FROM acts")["start"][0])
    weeks = data.sql(
        "SELECT (timestamp - $start) // $week AS week, count(*) AS n FROM acts GROUP BY week", {"start": start, "week": 7 * DAY}
    )
    counts = np.bincount(weeks["week"], weights=weeks["n"]).astype(np.int64)  # weeks without an event count as 0
    return timeline(counts, [(name, (moment - start) / DAY) for name, moment in cuts])


def drift_figure(data: Dataset) -> Figure | Note:
    """How long popular items stay popular: of the top items of the first tenth of events, and of the tenth before, how many are on top."""
    if missing := _no_times(data, 10 * TENTHS):
        return missing
    ranked = data.sql(
        f"""
        WITH {_IN_TENTHS},
             counted AS (SELECT tenth, item_code, count(*) AS n FROM tenths GROUP BY tenth, item_code),
             ranked AS (SELECT *, row_number() OVER (PARTITION BY tenth ORDER BY n DESC, item_code) AS place FROM counted)
        SELECT tenth, item_code, place FROM ranked WHERE place <= $top""",
        {"top": TOP},
    )
    top = int(ranked.groupby("tenth").size().min())  # a tenth may have fewer items than that
    ranked = ranked[ranked["place"] <= top]
    tops = [set(ranked["item_code"][ranked["tenth"] == tenth]) for tenth in range(TENTHS)]
    first = [len(tops[0] & now) / top for now in tops[1:]]
    before = [len(earlier & now) / top for earlier, now in pairwise(tops)]
    alt = (
        f"Of the {top} items on top in the first tenth of the events {first[-1]:.0%} are on top in the last; "
        f"from one tenth to the next {min(before):.0%} to {max(before):.0%} stay."
    )
    lines = {"of the first tenth": first, "of the tenth before": before}
    return over_time("drift", lines, f"share of the top {top} still on top", alt, "What a popularity counted long ago is worth.")


def newcomers_figure(data: Dataset) -> Figure | Note:
    """Events of people and of items never seen before, tenth by tenth: the share that a model trained until then cannot know."""
    if missing := _no_times(data, 10 * TENTHS):
        return missing
    shares = data.sql(
        f"""
        WITH {_IN_TENTHS},
             people AS (SELECT user_code, min(tenth) AS first FROM tenths GROUP BY user_code),
             things AS (SELECT item_code, min(tenth) AS first FROM tenths GROUP BY item_code)
        SELECT t.tenth, avg(CASE WHEN p.first = t.tenth THEN 1.0 ELSE 0.0 END) AS people,
               avg(CASE WHEN i.first = t.tenth THEN 1.0 ELSE 0.0 END) AS items
        FROM tenths AS t JOIN people AS p USING (user_code) JOIN things AS i USING (item_code)
        WHERE t.tenth > 0 GROUP BY t.tenth ORDER BY t.tenth"""
    )
    lines = {"of new people": shares["people"].tolist(), "of new items": shares["items"].tolist()}
    last = {name: values[-1] for name, values in lines.items()}
    alt = (
        f"In the last tenth of the events {last['of new people']:.0%} are of people, and {last['of new items']:.0%} of items, "
        "not seen in any tenth before."
    )
    return over_time(
        "newcomers", lines, "share of events", alt, "What no model that is trained on the tenths before can know from behaviour."
    )


_IN_TENTHS = f"""tenths AS (
            SELECT user_code, item_code,
                   (row_number() OVER (ORDER BY timestamp, place) - 1) * {TENTHS} // count(*) OVER () AS tenth FROM acts)"""
