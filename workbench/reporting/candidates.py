"""Which index and which blend to ship: the frontier, what each source adds, the three tasks, and what it all costs."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from workbench.evaluation import Interval, label
from workbench.reporting.display import Figure, Note, Table
from workbench.reporting.figures import frontier_figure as plotted
from workbench.reporting.record import metric_rows
from workbench.reporting.verdict import Guardrail
from workbench.retrieval import BlendWorth, Frontier, Made, Pick, TaskWorth

NO_VECTORS = Note("Not applicable, because no model that was judged has vectors of items.")
LEAST_FILLED = 0.99
"""Share of requests that must get all the candidates that were asked for."""
TASK = {"home": "home feed", "related": "related items", "session": "next in session"}


def frontier_figure(frontier: Frontier | None, pick: Pick | None) -> Figure | Note:
    """Recall against the latency of one query; the larger the bubble, the more memory."""
    return NO_VECTORS if frontier is None or pick is None else plotted(frontier, pick)


def frontier_table(frontier: Frontier | None, pick: Pick | None) -> Table | Note:
    """Every index tried, exact search first, with what it loses of the metric that matters."""
    if frontier is None or pick is None:
        return NO_VECTORS
    frame = frontier.frame()
    frame["on the front"] = ["yes" if best else "" for best in frame["on the front"]]
    frame.insert(2, f"{label(frontier.metric)} lost", [_lost(m.loss) for m in frontier.measured])
    frame["index"] = [f"{name} ← taken" if m is pick.measured else name for name, m in zip(frame["index"], frontier.measured, strict=True)]
    for column, digits in (("queries a second", 0), ("bytes an item", 0)):
        frame[column] = [f"{value:,.{digits}f}" for value in frame[column]]
    caption = (
        f"{frontier.n_items:,} items, {frontier.n_queries:,} people of the validation part. Recall: share of exact search's first "
        f"{frontier.k}. Lost: exact search's {label(frontier.metric)} minus the index's, with its 95 % interval. Times are of this "
        "machine, ids and masks included; queries a second in batches of 256. On the front: no other is as good in recall, p99, throughput "
        f"and memory. Where an index finds too few, it looks further, which takes longer and finds more. {pick.reason}"
    )
    return Table(frame, caption)


def _lost(loss: Interval | None) -> str:
    """The loss is positive where the index is worse."""
    if loss is None:
        return ""
    turned = Interval(**{**vars(loss), "value": 0.0 - loss.value, "low": 0.0 - loss.high, "high": 0.0 - loss.low})
    return turned.text(4, sign=True)


def sources_table(worth: BlendWorth, made: Made) -> Table:
    """Each source by itself, best first, and what it is to the blend."""
    recall = f"recall@{worth.k}"
    rows: list[dict[str, Any]] = []
    for name in sorted(worth.sources, key=lambda each: -worth.sources[each].alone.mean(recall)):
        source = worth.sources[name]
        inside = name in worth.names
        rows.append(
            {
                "source": name,
                f"{label(recall)}, the ceiling": source.alone.interval(recall).text(),
                "serves": f"{source.served:.1%}",
                "in the blend": "yes" if inside else "",
                "adds": source.adds.difference.text(sign=True) if source.adds else "",
                "candidates": f"{source.given:.0%}" if inside else "",
                "alone": f"{source.only:.1%}" if inside else "",
                "hits": f"{source.hits:.0%}" if inside else "",
                "alone ": f"{source.only_hits:.1%}" if inside else "",
            }
        )
    rows += [{"source": name, f"{label(recall)}, the ceiling": f"not made: {why}"} for name, why in made.absent.items()]
    n = len(worth.blend.users)
    caption = (
        f"Validation part, {n:,} people, {worth.k} candidates each; the blend has {worth.blend.interval(recall).text()}. The ceiling: what "
        "a ranker that gets this source's candidates alone cannot exceed. Adds: recall of the blend minus recall of the blend without it. "
        "Candidates and hits: shares of the blend's that the source had too, and that it alone had. The blend was chosen on these people."
    )
    return Table(pd.DataFrame(rows).fillna(""), caption)


def tasks_table(tasks: Mapping[str, TaskWorth]) -> Table | Note:
    """The blend at each task on the test part, beside the best source by itself."""
    if not tasks:
        return Note("Not applicable, because none of the tasks has anybody to judge on the test part.")
    rows = []
    for name, task in tasks.items():
        recall = f"recall@{task.worth.k}"
        rows.append(
            {
                "task": TASK[name],
                "n": len(task.worth.blend.users),
                f"{label(recall)} of the blend": task.worth.blend.interval(recall).text(),
                f"of {task.best} alone": task.worth.sources[task.best].alone.interval(recall).text(),
                "gain": task.gain.difference.text(sign=True),
                "p": f"{task.gain.p_value:.4f}",
                "filled": f"{task.worth.filled:.1%}",
            }
        )
    caption = (
        "Test part. Home feed: all that a person did is known. Related items: the last event alone. Next in session: the session so far, "
        "and one event to find. One blend, chosen for the home feed, answers all. Filled: requests with all candidates that they can have."
        + ("" if set(tasks) == set(TASK) else " A task is left out that has nobody to judge, or needs times that the log has not.")
    )
    return Table(pd.DataFrame(rows), caption)


def shipping_guardrails(pick: Pick | None, frontier: Frontier | None, tasks: Mapping[str, TaskWorth]) -> list[Guardrail]:
    """Which index and which blend, and whether each keeps what it must."""
    found = []
    if pick is not None and frontier is not None:
        loss = pick.measured.loss
        cost = "no loss" if pick.measured.config.exact or loss is None else f"{label(frontier.metric)} lost {_lost(loss)}"
        told = f"index, on validation: {pick.measured.config}, recall@{frontier.k} {pick.measured.recall:.3f} of exact search, {cost}"
        told += f". {pick.reason}" if pick.missed else ""
        found.append(Guardrail("fail" if pick.missed else "pass", told))
    if "home" in tasks:
        home = tasks["home"]
        names, gap = " + ".join(home.worth.names), home.gain.difference
        told = f"blend: {names}; recall@{home.worth.k} {gap.text(sign=True)} on {home.best} alone"
        found.append(Guardrail(gap.above(), told))
    for name, task in tasks.items():
        found.append(
            Guardrail(
                "pass" if task.worth.filled > LEAST_FILLED else "fail",
                f"{TASK[name]}: {task.worth.filled:.1%} of requests get all {task.worth.k} candidates",
            )
        )
    return found


def candidate_rows(tasks: Mapping[str, TaskWorth]) -> list[dict[str, Any]]:
    """What the run record keeps of the blend: its metrics at each task, as of a model "blend: related items"."""
    return metric_rows({f"blend: {TASK[name]}": task.worth.blend for name, task in tasks.items()})


def checked_candidates(frontier: Frontier | None, tasks: Mapping[str, TaskWorth]) -> list[str]:
    """The same on every machine: what bytes in place of numbers find of exact search, to one digit; whether the blend is ahead of the best
    source, which was chosen elsewhere; who gets candidates.
    """
    bytewise = [] if frontier is None else [f"SQ8: recall {m.recall:.1f}" for m in frontier.measured if m.config.factory == "SQ8"]
    told = [
        f"{TASK[name]}: {'ahead' if task.gain.difference.value > 0 else 'not ahead'}, {task.worth.filled:.0%} filled"
        for name, task in tasks.items()
    ]
    return [*bytewise, *told]
