"""The whole field on the test part: accuracy, what the lists show beside it, everyone against the strongest."""

from collections.abc import Mapping

import pandas as pd

from workbench.evaluation import SET_METRICS, Comparison, Evaluation, by_mean, compare_models, label, letters, split_name
from workbench.evaluation.metrics import METRICS
from workbench.reporting.display import Figure, Note, Table
from workbench.reporting.figures import field, tradeoff

ACCURACY = ("map", "mrr", "hit_rate", "truncated_recall")
BESIDE = ("novelty", "mean_popularity", "long_tail_share", "diversity", "serendipity", "user_coverage")


def field_table(
    results: Mapping[str, Evaluation], metric: str, ks: tuple[int, ...], seconds: Mapping[str, float], failed: Mapping[str, str]
) -> Table:
    """All models, best on test first. seconds: training time of each. failed: why the others could not be judged."""
    shared = letters(results, metric)
    wide, cut = max(ks), split_name(metric)[1]
    rows = []
    for name in by_mean(results, metric):
        result, interval = results[name], results[name].interval(metric)
        others = {label(f"{other}@{cut}"): result.mean(f"{other}@{cut}") for other in ACCURACY if f"{other}@{cut}" in result.per_user}
        rows.append(
            {
                "model": result.title,
                label(metric): interval.text(),
                "alike": shared[name],
                f"Recall@{wide}": result.mean(f"recall@{wide}"),
                **others,
                "trainings": max(1, len(result.trainings)),
                "each": f"{seconds[name]:.0f} s" if seconds[name] >= 1 else "under 1 s",
            }
        )
    for name, why in failed.items():
        rows.append({"model": name, label(metric): "not judged", "alike": "", "trainings": 0, "each": "", "why": why})
    n = len(next(iter(results.values())).users)
    caption = f"Test part, {n:,} people; {label(metric)} with its 95 % interval."
    if len(results) > 1:
        caption += (
            f" The best of {len(results)} models on test is partly the luckiest of them, which is why validation chose. "
            "Models that share a letter cannot be told apart (paired sign flips, Holm-adjusted over all pairs). "
            "The pair that validation chose is one planned comparison: the verdict judges it without that adjustment."
        )
    return Table(pd.DataFrame(rows), caption)


def beside_table(results: Mapping[str, Evaluation], metric: str) -> Table:
    """What the lists are like, whoever likes them; in the order of the field."""
    cut = split_name(metric)[1]
    rows = []
    for name in by_mean(results, metric):
        result = results[name]
        covers = result.of_the_set("coverage", cut)
        of_the_set = {SET_METRICS[which].label: result.of_the_set(which, cut).value for which in ("gini", "entropy")}
        of_people = {METRICS[which].label: result.mean(f"{which}@{cut}") for which in BESIDE if f"{which}@{cut}" in result.per_user}
        rows.append({"model": result.title, "Coverage": covers.text(2), **of_the_set, **of_people, "tied": f"{result.tied_share:.1%}"})
    directions = [(each.label, each.direction) for each in SET_METRICS.values()]
    directions += [(METRICS[which].label, METRICS[which].direction) for which in BESIDE]
    lower = ", ".join(name for name, direction in directions if direction == "lower")
    caption = (
        f"The lists' first {cut} places, good or bad. More is more of it, but for: {lower}. Coverage, Gini and entropy belong to all lists "
        "together; coverage has its jackknife interval, run.json has all of them. Tied: places decided by the order among equal scores."
    )
    return Table(pd.DataFrame(rows), caption)


def against_strongest(results: Mapping[str, Evaluation], strongest: str, metric: str, effect: float) -> Table | Note:
    """Every model minus the one that validation put first, all at once."""
    others = {name: results[name] for name in by_mean(results, metric) if name != strongest}
    if not others:
        return Note("Not applicable, because only one model was tried.")
    rows = [{"model": c.group, **_told(c, effect)} for c in compare_models(others, results[strongest], metric)]
    caption = (
        f"{label(metric)} of each model minus that of {results[strongest].title}, which validation put first, person by person. "
        "The intervals hold for all rows together; p-values are Holm-adjusted over them."
    )
    return Table(pd.DataFrame(rows), caption)


def _told(c: Comparison, effect: float) -> dict[str, object]:
    return {
        "difference": c.difference.text(sign=True),
        "p": f"{c.p_value:.4f}",
        "effect size d": c.effect_size,
        "won, tied, lost": f"{c.wins:,}, {c.ties:,}, {c.losses:,}",
        "": c.verdict(effect),
    }


def field_figure(results: Mapping[str, Evaluation], metric: str) -> Figure:
    return field([(results[name].title, results[name].interval(metric)) for name in by_mean(results, metric)], metric)


def tradeoff_figure(results: Mapping[str, Evaluation], metric: str) -> Figure:
    """Accuracy against catalogue coverage, a mark for each model."""
    cut = split_name(metric)[1]
    points = [
        (results[name].title, results[name].of_the_set("coverage", cut), results[name].interval(metric))
        for name in by_mean(results, metric)
    ]
    return tradeoff(points, f"Catalogue coverage@{cut}", label(metric))
