"""What the data audit says: the splits beside each other, and which of them can answer what. Every sentence is computed."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from workbench.data import Dataset, Split, audit
from workbench.data.snapshot import quoted
from workbench.reporting.display import Figure, Table
from workbench.reporting.figures import long_tail, timeline
from workbench.reporting.verdict import Guardrail, Headline, Verdict

DAY = 86_400_000_000
"""Microseconds."""


def contents_table(data: Dataset) -> Table:
    return Table(data.describe(), f"{data.card.title}, snapshot {data.snapshot.id}.")


def popular_items_table(data: Dataset, most: int = 20) -> Table:
    """The items with most events, with those of their columns that the card calls public."""
    columns = [column for column in data.sql("SELECT * FROM items LIMIT 0") if data.card.privacy[column] == "public"]
    shown = ", ".join(f"items.{quoted(column)}" for column in columns)
    frame = data.sql(
        f"""
        SELECT {shown}, count(events.item_id) AS events FROM items LEFT JOIN events USING (item_id)
        GROUP BY ALL ORDER BY events DESC, items.item_id LIMIT {int(most)}"""
    )
    return Table(frame, f"The {len(frame)} items with most events.")


def splits_table(splits: Mapping[str, Split]) -> Table:
    frames = [parts.describe().assign(split=name) for name, parts in splits.items()]
    frame = pd.concat(frames)
    frame.insert(0, "split", frame.pop("split"))
    told = " ".join(f"{name}: {parts.summary()}" for name, parts in splits.items())
    return Table(frame, f"{told} People with nothing to find in a part are left out of its means, and counted.", digits=1)


def leaks_table(splits: Mapping[str, Split]) -> Table:
    rows = [
        {
            "split": name,
            "found": finding.what,
            "events": finding.events,
            "share": f"{finding.share:.1%}",
            "promised none": "yes" if finding.promised else "no",
        }
        for name, parts in splits.items()
        for finding in audit(parts)
    ]
    return Table(pd.DataFrame(rows), "Counted again from the parts, apart from the query that made them.")


def tail_figure(data: Dataset) -> Figure:
    counts = data.sql("SELECT count(event.item_id) AS n FROM items LEFT JOIN events event USING (item_id) GROUP BY item_id")["n"]
    return long_tail(counts.to_numpy(dtype=np.int64))


def timeline_figure(data: Dataset, by_moment: Split) -> Figure:
    start = int(data.sql("SELECT min(timestamp) AS start FROM events")["start"][0])
    weeks = data.sql(
        "SELECT (timestamp - $start) // $week AS week, count(*) AS n FROM events GROUP BY ALL", {"start": start, "week": 7 * DAY}
    )
    counts = np.bincount(weeks["week"], weights=weeks["n"]).astype(np.int64)  # weeks without an event count as 0
    cuts = [
        (name, (int(part.timestamps.min()) - start) / DAY)
        for name, part in (("validation", by_moment.valid), ("test", by_moment.test))
        if len(part)
    ]
    return timeline(counts, cuts)


def audit_verdict(data: Dataset, splits: Mapping[str, Split]) -> Verdict:
    """Which split leaves most people who can be judged with a history, of those that keep their promises and can be chosen on."""
    judged = {name: _judged(parts) for name, parts in splits.items()}
    told = "; ".join(f"{name} {n:,}, {known:,} of them with a history" for name, (n, known) in judged.items())
    return Verdict(
        headline=_recommendation(data, splits, judged, told),
        numbers=[
            *(Headline(f"Judged by {name}", f"{n:,}", f"{known:,} of them with a history") for name, (n, known) in judged.items()),
            Headline("Events", f"{data.snapshot.origin['events']:,}", f"{data.n_users:,} people · {data.n_items:,} items"),
        ],
        guardrails=[_promise(name, parts) for name, parts in splits.items()],
        limits=[
            f"{name}: {finding.amount} are {finding.what}. The split does not prevent that."
            for name, parts in splits.items()
            for finding in audit(parts)
            if finding.noted
        ],
    )


def _recommendation(data: Dataset, splits: Mapping[str, Split], judged: Mapping[str, tuple[int, int]], told: str) -> str:
    default = data.card.split.default
    usable = [name for name, parts in splits.items() if judged[name][1] and _can_be_chosen_on(parts)]
    if not usable:
        return f"Neither split can judge a model on {data.card.title}: people left to judge are {told}."
    best = max(usable, key=lambda name: (judged[name][1], name == default))
    match = "as the card recommends" if best == default else f"although the card recommends {default}"
    return f"Judge models on {data.card.title} by {best}, {match}: people left to judge are {told}."


def _can_be_chosen_on(parts: Split) -> bool:
    return len(parts.holdout("valid").users) > 0 and all(finding.ok for finding in audit(parts))


def audit_metrics(splits: Mapping[str, Split]) -> list[dict[str, object]]:
    """People left to judge, for the run record."""
    rows: list[dict[str, object]] = []
    for name, parts in splits.items():
        n, known = _judged(parts)
        for kind, value, meaning in (
            ("judged", n, "People with at least one liked item in test that may be shown."),
            ("judged_with_history", known, "Of the people judged, those with an event before the test part."),
        ):
            described = {"direction": "higher", "definition": meaning, "ci_low": None, "ci_high": None}
            rows.append({"model": None, "name": kind, "k": None, "slice": name, "value": value, "n": value, **described})
    return rows


def _judged(parts: Split) -> tuple[int, int]:
    holdout = parts.holdout("test")
    return len(holdout.users), int((holdout.history_lengths > 0).sum())


def _promise(name: str, parts: Split) -> Guardrail:
    broken = [finding for finding in audit(parts) if not finding.ok]
    if broken:
        return Guardrail("fail", f"{name}: {broken[0].events:,} {broken[0].what}")
    return Guardrail("pass", f"{name} keeps its promises")
