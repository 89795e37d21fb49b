"""What exploration costs and brings, and what becomes of a recommender that learns from its own lists; in worlds of known truth."""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch

from workbench.coldstart import Explored, Round
from workbench.evaluation import Interval
from workbench.evaluation.contrast import Contrast
from workbench.reporting.display import Table


def exploration_table(worlds: Sequence[Mapping[str, Explored]]) -> Table:
    """What each policy cost, and what the cold items got; over worlds."""
    rows = []
    for name in worlds[0]:
        each = [world[name] for world in worlds]
        n, early = len(each[0].cost), len(each[0].cost) // 5
        columns = {
            "regret, a hundred requests": [100 * one.regret[-1] / n for one in each],
            "cost of the first fifth": [100 * one.cost[early - 1] / early for one in each],
            "cost of all": [100 * one.cost[-1] / n for one in each],
        }
        told = {title: _of_worlds(values, 1, sign=title.startswith("cost")) for title, values in columns.items()}
        shares = {"shows of cold items": [one.cold_share for one in each], "cold items tried": [one.cold_tried for one in each]}
        rows.append(
            {"policy": name.replace("_", " "), **told, **{title: f"{sum(values) / len(values):.0%}" for title, values in shares.items()}}
        )
    caption = (
        f"{len(worlds)} worlds of known truth, {len(next(iter(worlds[0].values())).cost):,} requests each, means with 95 % intervals over "
        "worlds. Regret: clicks expected of the best item less those of the one shown. Cost: against never trying the cold items, clicks "
        "for a hundred requests; below 0 it has paid. Tried: shown twenty times or more. MovieLens has no propensities, so there is no "
        "replay of it."
    )
    return Table(pd.DataFrame(rows), caption)


def over_worlds(values: Sequence[float]) -> Interval:
    """The mean with Student's interval over worlds; there is none of a single one."""
    column = torch.tensor(values, dtype=torch.float64)
    contrast = Contrast.of([column[None]])
    value = float(column.mean())
    half = float(contrast.half_widths(0.975)[0]) if len(values) > 1 else float("nan")
    return Interval(value, value - half, value + half, len(values))


def _of_worlds(values: Sequence[float], digits: int = 3, *, sign: bool = False) -> str:
    found = over_worlds(values)
    return found.text(digits, sign=sign) if found.known else f"{found.value:{'+' if sign else ''}.{digits}f} (no interval, one world)"


MEASURES = {
    "clicks": "clicks of a list",
    "coverage": "coverage",
    "gini": "Gini",
    "head": "places of the early leaders",
    "cold": "places of cold items",
    "alike": "list shared with another",
}


def loop_table(loops: Mapping[str, Sequence[Sequence[Round]]]) -> Table:
    """First and last round of each loop, and the difference that exploration made. loops: by title, a world each."""
    rows = []
    for title, worlds in loops.items():
        for place, name in ((0, "first"), (-1, "last")):
            told = {text: _of_worlds([getattr(world[place], key) for world in worlds]) for key, text in MEASURES.items()}
            rows.append({"loop": title, "round": name, **told})
    with_it, without = list(loops.values())[-1], next(iter(loops.values()))
    gap = {
        text: _of_worlds([getattr(a[-1], key) - getattr(b[-1], key) for a, b in zip(with_it, without, strict=True)], sign=True)
        for key, text in MEASURES.items()
    }
    rows.append({"loop": "difference", "round": "last", **gap})
    caption = (
        f"A recommender that learns from what it showed, {len(with_it[0])} rounds in {len(with_it)} worlds of known truth. Clicks are "
        "expected, by the truth. The early leaders are the most clicked tenth of the items when the loop began. Shared: of a person's list "
        "with that of somebody else, drawn at random."
    )
    return Table(pd.DataFrame(rows), caption)
