"""What the fairness notebook says: which columns did what, whom the model serves worse, which items get the attention, the verdict."""

from collections.abc import Mapping, Sequence

import pandas as pd

from workbench.data import Dataset, Side, Split, audit
from workbench.evaluation import (
    Evaluation,
    Gap,
    ItemGroup,
    Slice,
    adjusted_gap,
    group_gaps,
    label,
    split_name,
    worst_group,
)
from workbench.evaluation.metric_frame import metric_frame
from workbench.evaluation.permutation import ALPHA
from workbench.reporting.display import Figure, Note, Table
from workbench.reporting.fairness_figures import gaps_forest
from workbench.reporting.item_exposure import item_names
from workbench.reporting.limits import audit_guardrails, limits_of
from workbench.reporting.suppression import Shown
from workbench.reporting.verdict import Guardrail, Headline, Verdict

NOBODY = Note("Not applicable, because the data has no two groups of people that may be shown.")


def columns_table(data: Dataset, groups: Sequence[Slice], item_groups: str, side: Side) -> Table:
    """Which columns did what: what the card calls them, whether anything was learnt from them, whether anybody is told apart by them.

    item_groups: a parameter's text, as `item_memberships` reads it. side: what models that learn from features were given.
    """
    learnt = {name for name, _ in (*side.user_fields, *side.item_fields)}
    names = item_names(data, item_groups)
    by_people = {name for each in groups for name in each.dimension.split(" × ")}
    rows = []
    for column, kind in data.card.privacy.items():
        known_as = {name for name, by in data.card.slices.items() if by.column == column} | {column}
        rows.append(
            {
                "column": column,
                "the card calls it": kind,
                "learnt from": "yes" if known_as & learnt or kind == "behavioural" else "",
                "groups people": "yes" if known_as & by_people else "",
                "groups items": "yes" if known_as & set(names) else "",
            }
        )
    guarded = [row["column"] for row in rows if row["the card calls it"] == "sensitive"]
    used = [row["column"] for row in rows if row["the card calls it"] == "sensitive" and row["learnt from"]]
    told = f"Of {len(guarded)} sensitive columns {', '.join(used) if used else 'none'} entered a model."
    return Table(pd.DataFrame(rows), f"{told} Behavioural columns are what every model learns from; identifiers are codes.")


def all_gaps(result: Evaluation, shown: Shown, metrics: Sequence[str]) -> dict[str, list[Gap]]:
    """By metric; each metric's groups are one family."""
    return {metric: group_gaps(result, shown.groups, metric) for metric in metrics if metric in result.per_user}


def gaps_figure(gaps: Sequence[Gap], effect: float) -> Figure | Note:
    """The forest plot of each group against everybody else."""
    return gaps_forest(gaps, effect) if gaps else NOBODY


def gaps_table(gaps: Sequence[Gap], effect: float, shown: Shown) -> Table | Note:
    """Each group beside everybody else: mean, difference, ratio, and what could have been seen."""
    if not gaps:
        return NOBODY
    rows = [
        {
            "by": gap.dimension,
            "group": gap.group,
            "n": gap.value.n,
            label(gap.metric): gap.value.text(),
            "minus everybody else": gap.difference.text(sign=True),
            "ratio": gap.ratio.text(2),
            "p": f"{gap.p_value:.4f}",
            "detectable": gap.detectable,
            "": gap.verdict(effect),
        }
        for gap in gaps
    ]
    caption = (
        "Other people on either side: Welch's intervals, which hold for all groups together; p-values by permutation of the labels, "
        "Holm-adjusted. Detectable: the smallest true difference shown with 80 % power, as one of these groups. "
        f"{effect:g} is taken as the smallest difference that matters. {shown.text}"
    )
    return Table(pd.DataFrame(rows), caption.strip())


def said_of_gaps(gaps: Sequence[Gap], most: int = 4) -> Note:
    """The plain sentences: what is seen, then of the groups with the widest intervals what cannot be excluded."""
    if not gaps:
        return NOBODY
    seen = [gap for gap in gaps if gap.significant]
    unseen = sorted((gap for gap in gaps if not gap.significant), key=lambda gap: -gap.not_excluded)
    told = [gap.sentence() for gap in (*seen, *unseen[: max(0, most - len(seen))])]
    worst = worst_group(gaps)
    low = f"The lowest mean has {worst.label}: {worst.value.text()}." if worst else ""
    return Note(" ".join([*told, low]).strip())


def frames_table(result: Evaluation, shown: Shown, metrics: Sequence[str]) -> Table | Note:
    """Fairlearn's summary of each dimension whose groups do not overlap: worst and best group, difference, ratio."""
    rows = []
    for dimension in dict.fromkeys(each.dimension for each in shown.groups):
        of = [each for each in shown.groups if each.dimension == dimension]
        if len(of) < 2 or _overlap(of):
            continue
        frame = metric_frame(result, of, metrics)
        for metric in metrics:
            means = frame.by_group[metric]
            rows.append(
                {
                    "by": dimension,
                    "metric": label(metric),
                    "lowest": f"{means.idxmin()} {means.min():.3f}",
                    "highest": f"{means.idxmax()} {means.max():.3f}",
                    "difference": float(frame.difference()[metric]),
                    "ratio": float(frame.ratio()[metric]),
                }
            )
    if not rows:
        return NOBODY
    caption = (
        "Means of the groups of each dimension by Fairlearn's MetricFrame: the largest difference between two of them and the smallest "
        "ratio. The lowest of many groups is low by chance too: the tables above have the intervals. Dimensions whose groups overlap, or "
        "of which one group is shown, are not here."
    )
    return Table(pd.DataFrame(rows), caption)


def _overlap(groups: Sequence[Slice]) -> bool:
    """Whether somebody is in two of them."""
    return bool((sum(each.people.long() for each in groups if each.people is not None) > 1).any())  # type: ignore[union-attr]


def activity_explains(result: Evaluation, shown: Shown, metric: str) -> Table | Note:
    """Each group against people of like activity."""
    groups = [each for each in shown.groups if each.dimension not in ("activity", "returning")]
    level = 1 - ALPHA / max(1, len(groups))
    found = [adjusted_gap(result, each, metric, level=level, least=shown.least) for each in groups]
    rows = [
        {
            "group": f"{each.dimension}: {each.group}",
            "difference": f"{each.plain:+.3f}",
            "of like activity": each.adjusted.text(sign=True),
            "covered": f"{each.covered:.0%}",
            "": "remains" if each.adjusted.low > 0 or each.adjusted.high < 0 else "may be activity or chance",
        }
        for each in found
        if each is not None
    ]
    if not rows:
        why = "no group has enough people of like activity beside it" if groups else "people are grouped by nothing but their activity"
        return Note(f"Not applicable, because {why}.")
    caption = (
        f"{label(metric)} of a group minus everybody else's, of those who are covered, and within strata of people with about as many "
        "events, weighed as the group's people lie in them. The intervals hold for all rows together (Bonferroni). Covered: share of the "
        "group with somebody alike on either side."
    )
    return Table(pd.DataFrame(rows), caption)


def other_gaps_table(gaps: Mapping[str, Sequence[Gap]], metric: str) -> Table | Note:
    """The other metrics' differences, group by group."""
    rows: dict[str, dict[str, object]] = {}
    others = [name for name in gaps if name != metric]
    for name in others:
        for gap in gaps[name]:
            told = f"{gap.difference.text(sign=True)}{' *' if gap.significant else ''}"
            rows.setdefault(gap.label, {"group": gap.label, "n": gap.value.n})[label(name)] = told
            rows[gap.label][f"detectable {label(name)}"] = gap.detectable
    if not rows:
        return NOBODY if not gaps.get(metric) else Note("Not applicable, because no other metric was asked for.")
    caption = (
        "Each group minus everybody else in other metrics; the intervals of a column hold together, a star is a Holm-adjusted p below "
        f"{ALPHA:g}. Recall falls with activity by construction: with more to find, less of it fits into a list."
    )
    return Table(pd.DataFrame(list(rows.values())), caption)


def fairness_verdict(
    gaps: Mapping[str, Sequence[Gap]],
    metric: str,
    effect: float,
    result: Evaluation,
    found: Mapping[str, Sequence[ItemGroup]],
    parts: Split,
    shown: Shown,
    failed: Mapping[str, str],
) -> Verdict:
    """gaps: by metric, of the model that validation chose; the verdict is on `metric`."""
    asked, findings = list(gaps.get(metric, [])), audit(parts)
    return Verdict(
        headline=_headline(asked, metric, result.title),
        numbers=_numbers(asked, metric, result, found),
        guardrails=[*audit_guardrails(findings), *_gap_guardrails(asked, effect)],
        limits=[
            *(f"{name} was asked for and could not be judged: {why}" for name, why in failed.items()),
            *([shown.text] if shown.text else []),
            "A group is compared with everybody else: other people, with other tastes and other lengths of history.",
            "What people liked is what they were shown or found: merit measured on a log has the log's own bias.",
            *limits_of(parts, findings, {result.model: result}, metric, effect),
        ],
    )


def _headline(gaps: Sequence[Gap], metric: str, title: str) -> str:
    if not gaps:
        return f"{title} cannot be held against groups of people: the data has no two that may be shown."
    worse = sorted((gap for gap in gaps if gap.significant and gap.difference.value < 0), key=lambda gap: gap.difference.value)
    if worse:
        others = len(worse) - 1
        more = f" {others} more of {len(gaps)} groups {'is' if others == 1 else 'are'} served worse." if others else ""
        return f"{title} serves some people worse. {worse[0].sentence()}{more}"
    known = [gap for gap in gaps if gap.difference.known]
    if not known:
        return f"{title}: every group is too small for an interval, so no difference can be excluded."
    widest = max(known, key=lambda gap: -gap.difference.low)
    return (
        f"No group is seen to be served worse by {title} than everybody else in {label(metric)}, over {len(gaps)} groups; for "
        f"{widest.label} a shortfall of up to {max(0.0, -widest.difference.low):.3f} cannot be excluded."
    )


def _numbers(gaps: Sequence[Gap], metric: str, result: Evaluation, found: Mapping[str, Sequence[ItemGroup]]) -> list[Headline]:
    k = split_name(metric)[1]
    whole = result.interval(metric)
    numbers = [Headline(label(metric), f"{whole.value:.3f}", f"{whole.low:.3f} to {whole.high:.3f} · n {whole.n:,}")]
    if worst := worst_group(gaps):
        note = f"{worst.label} · n {worst.value.n:,} · {worst.difference.text(sign=True)} against everybody else"
        numbers.append(Headline("Lowest group", f"{worst.value.value:.3f}", note))
    for each in found.get("popularity", []):
        if each.group == "tail":
            note = f"of the attention, and {each.merit.value:.0%} of what was liked; {each.covered.value:.0%} of its items are shown at all"
            numbers.append(Headline("The tail", f"{each.exposure.value:.1%}", note))
    gini = result.of_the_set("gini", k)
    numbers.append(Headline("Gini of exposure", f"{gini.value:.2f}", f"{gini.low:.2f} to {gini.high:.2f}" if gini.known else ""))
    return numbers


def _gap_guardrails(gaps: Sequence[Gap], effect: float) -> list[Guardrail]:
    """One for each dimension."""
    rails = []
    for dimension in dict.fromkeys(gap.dimension for gap in gaps):
        of = [gap for gap in gaps if gap.dimension == dimension]
        calls = [gap.verdict(effect) for gap in of]
        if "worse" in calls:
            told = ", ".join(gap.group for gap, call in zip(of, calls, strict=True) if call == "worse")
            rails.append(Guardrail("fail", f"{dimension}: served worse are {told}"))
        elif "too few to say" in calls:
            rails.append(Guardrail("unknown", f"{dimension}: {calls.count('too few to say')} of {len(of)} groups: too few people to say"))
        else:
            rails.append(Guardrail("pass", f"{dimension}: no group is served worse by {effect:g} or more"))
    return rails or [Guardrail("unknown", "no groups of people to compare")]


def checked_fairness(
    results: Mapping[str, Evaluation], metric: str, gaps: Sequence[Gap], found: Mapping[str, Sequence[ItemGroup]]
) -> list[str]:
    """The same on every machine: the metric to two digits; how many groups are compared, and shares of the attention in whole per cent."""
    told = [f"{name} {result.mean(metric):.2f}" for name, result in results.items()]
    tail = [f"{each.group} {each.merit.value:.0%} of what was liked" for each in found.get("popularity", [])]
    return [*told, f"{len(gaps)} groups compared, {sum(gap.significant for gap in gaps)} differ", *tail]
