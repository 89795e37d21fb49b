"""Which items get the attention: groups of items beside what was liked of them, lists beside tastes."""

from collections.abc import Mapping, Sequence

import pandas as pd

from workbench.data import Dataset
from workbench.data.groups import Membership
from workbench.errors import RequestError, names_in
from workbench.evaluation import (
    Evaluation,
    Interval,
    ItemGroup,
    bootstrap_mean,
    group_exposure,
    liked_shares,
    membership,
    miscalibration,
    popularity_lift,
)
from workbench.reporting.display import Table


def item_memberships(data: Dataset, result: Evaluation, text: str) -> dict[str, Membership]:
    """By name, see `item_names`. Raises RequestError for a name that is no grouping or column of items."""
    return {name: membership(data, result.holdout.history, name) for name in item_names(data, text)}


def item_names(data: Dataset, text: str) -> list[str]:
    """ "all" is popularity and each grouping of items that the card names; or names separated by commas. Raises RequestError for none."""
    if text.strip() == "all":
        return ["popularity", *(name for name, by in data.card.slices.items() if by.table == "items")]
    if not names_in(text):
        raise RequestError(f'items = "{text}" should be "all", or groupings of items separated by commas, like "popularity, genre".')
    return names_in(text)


def exposures(result: Evaluation, memberships: Mapping[str, Membership], k: int) -> dict[str, list[ItemGroup]]:
    return {name: group_exposure(result, groups, k) for name, groups in memberships.items()}


def exposure_table(found: Mapping[str, Sequence[ItemGroup]], k: int) -> Table:
    """Each group's share of the attention beside its share of the catalogue and of what was liked."""
    rows = [
        {
            "by": name,
            "group": each.group,
            "items": each.n_items,
            "of the catalogue": f"{each.catalogue:.1%}",
            "of what was liked": _percent(each.merit),
            "of the attention": _percent(each.exposure),
            "attention over liked": each.ratio,
            "in somebody's list": f"{each.covered.value:.0%}",
        }
        for name, groups in found.items()
        for each in groups
    ]
    caption = (
        f"The first {k} places of everybody's list on the test part; a place at rank r weighs 1 / log2(r + 1), an item of several groups "
        "is shared out among them. 95 % intervals over people, each on its own. Attention over liked: 1 where a group is shown as often as "
        "people then like it."
    )
    return Table(pd.DataFrame(rows), caption, digits=2)


def _percent(interval: Interval) -> str:
    return f"{interval.value:.1%} ({interval.low:.1%} to {interval.high:.1%})" if interval.known else f"{interval.value:.1%}"


def tastes_table(data: Dataset, results: Mapping[str, Evaluation], k: int, by: str) -> Table:
    """Lists beside what people liked before: how much more popular, and how far their groups are from the person's own."""
    first, rows = next(iter(results.values())), []  # all judge the same people with the same histories
    groups = membership(data, first.holdout.history, by)
    target = liked_shares(first.holdout.history, first.users, groups)
    for result in results.values():
        lift = bootstrap_mean(popularity_lift(result, k))
        apart = bootstrap_mean(miscalibration(result.top[:, :k], groups, target))
        gini = result.of_the_set("gini", k)
        rows.append(
            {
                "model": result.title,
                "popularity lift": lift.text(2, sign=True),
                f"miscalibration by {by}": apart.text(),
                "Gini": gini.text(2),
            }
        )
    caption = (
        f"The first {k} places. Popularity lift: how much more popular the list's items are than those the person liked before; 0 where as "
        f"popular. Miscalibration: KL divergence of the list's {by} from the person's own, 0 where alike (Steck 2018). Gini: 0 where every "
        "item is shown as often, towards 1 where one takes all."
    )
    return Table(pd.DataFrame(rows), caption)
