"""For whom, and when: the chosen model against its rival slice by slice, by activity on one scale, window by window."""

from collections.abc import Sequence

import pandas as pd
import torch

from workbench.data import Split
from workbench.evaluation import (
    Decision,
    Evaluation,
    backtest,
    bootstrap_means,
    by_activity,
    label,
    one_truth_ndcg,
    recall_ceiling,
    split_name,
)
from workbench.reporting.display import Figure, Note, Table
from workbench.reporting.figures import forest, windows_figure
from workbench.reporting.suppression import Shown, suppress_slices


def slices_figure(decision: Decision) -> Figure | Note:
    """The forest plot of the chosen model against its rival; a sentence where there is nothing to compare."""
    if decision.rival is None or not decision.slices:
        return Note("Not applicable, because only one model was tried.")
    return forest(decision.slices, (decision.chosen.title, decision.rival.title), decision.effect)


def slices_table(decision: Decision, shown: Shown | None = None) -> Table | Note:
    """The same in numbers, the chosen model's own value beside. shown: what was left out of the slices, to be said."""
    if decision.rival is None or not decision.slices:
        return Note("Not applicable, because only one model was tried.")
    rows = [
        {
            "by": c.dimension,
            "slice": c.group,
            "n": c.difference.n,
            "difference": c.difference.text(sign=True),
            "p": f"{c.p_value:.4f}",
            "detectable": c.detectable,
            "": c.verdict(decision.effect),
        }
        for c in decision.slices
    ]
    caption = (
        f"{label(decision.metric)} of {decision.chosen.title} minus {decision.rival.title}. A slice of items or of time restricts what "
        "counts as relevant; the lists stay whole. Detectable: the smallest true difference shown with 80 % power; where it is above "
        f"{decision.effect:g} and nothing significant was seen there are too few people to say."
    )
    return Table(pd.DataFrame(rows), f"{caption} {shown.text}".strip() if shown else caption)


def activity_table(result: Evaluation, metric: str) -> Table | Note:
    """Activity on one scale: with more to find recall falls and NDCG rises, whatever the model; with one thing to find they cannot."""
    cut, lists = split_name(metric)[1], result.lists
    one = torch.stack(
        [one_truth_ndcg(each.lists.hits, each.lists.shown, lists.n_relevant, cut) for each in result.trainings or (result,)]
    ).mean(0)
    groups = suppress_slices(by_activity(result.holdout), result.holdout).groups
    if not groups:
        return Note("Not applicable, because every group by activity has too few people to be shown.")
    intervals = bootstrap_means({each.name: one.masked_fill(~each.members(result.holdout), torch.nan) for each in groups})
    rows = []
    for each in groups:
        members = each.members(result.holdout)
        rows.append(
            {
                "known of a person": each.name,
                "n": int(members.sum()),
                "to find, each": lists.n_relevant[members].double().mean().item(),
                f"Recall@{cut}": result.mean(f"recall@{cut}", each),
                "its ceiling": recall_ceiling(lists.n_relevant[members], cut).mean().item(),
                label(metric): result.mean(metric, each),
                f"NDCG@{cut}, one to find": intervals[each.name].text(),
                "not told": int(members.sum()) - intervals[each.name].n,
            }
        )
    caption = (
        f"{result.title}. Recall cannot exceed its ceiling, the mean of min({cut}, to find) / to find. One to find: each of a "
        "person's relevant items alone, the others taken out of the list, so that people with much and with little to find are on one "
        "scale. Not told: people whose list is too short for that."
    )
    return Table(pd.DataFrame(rows), caption)


def over_time(windows: Sequence[Split], pair: Sequence[Sequence[Evaluation]], metric: str) -> Figure | Note:
    """The chosen model minus its rival in each window of the backtest, with the pooled number and the trend.

    pair: the evaluations of the one and of the other in the windows that have somebody to judge.
    """
    if not windows:
        return Note("Not applicable, because no backtest was asked for, or the log has no times.")
    if len(pair) < 2:
        return Note("Not applicable, because only one model was tried.")
    chosen, rival = pair
    if len(chosen) < 2:
        return Note("Not applicable, because fewer than two windows of the log have somebody to judge.")
    found = backtest(chosen, metric, rival)
    judged = [each for each in windows if any(each.holdout("test").label == one.label for one in chosen)]
    names = [f"from {pd.to_datetime(int(each.test.timestamps.min()), unit='us'):%-d %b %Y}" for each in judged]
    return windows_figure(names, found, (chosen[0].title, rival[0].title))
