"""What the re-ranking notebook says: what policies cost and buy, which one is chosen, what each step did, the verdict."""

from collections.abc import Mapping, Sequence

import pandas as pd

from workbench.data import Dataset, Split, item_titles
from workbench.evaluation import (
    Decision,
    Evaluation,
    Interval,
    Slice,
    bootstrap_mean,
    compare,
    compare_models,
    compare_slices,
    group_gaps,
    label,
    liked_shares,
    miscalibration,
    split_name,
    worst_group,
)
from workbench.policy import BASE, Facts, Judged, Kept, Pick, limits_hold
from workbench.reporting.display import Figure, Note, Table
from workbench.reporting.figures import tradeoff
from workbench.reporting.record import pseudonym
from workbench.reporting.retrieval import retrieval_verdict
from workbench.reporting.suppression import Shown
from workbench.reporting.verdict import Guardrail, Headline, Verdict


def evaluations(judged: Mapping[str, Judged]) -> dict[str, Evaluation]:
    return {name: each.evaluation for name, each in judged.items()}


def policies_table(
    judged: Mapping[str, Judged], pick: Pick, facts: Facts, by: str, shown: Shown, failed: Mapping[str, str], part: str
) -> Table:
    """Every policy beside the lists as ranked: what it costs, what it buys. part: "validation" or "test"."""
    results = evaluations(judged)
    base, others = results[BASE], {name: each for name, each in results.items() if name != BASE}
    lost = {c.a: c.difference.text(sign=True) for c in compare_models(others, base, pick.metric)} if others else {}
    beside = [f"{name}@{split_name(pick.metric)[1]}" for name in ("diversity", "novelty", "long_tail_share")]
    rows = []
    for name, result in results.items():
        worst = worst_group(group_gaps(result, shown.groups, pick.metric))
        rows.append(
            {
                "policy": f"{name} ← taken" if name == pick.name else name,
                label(pick.metric): result.mean(pick.metric),
                "minus as ranked": lost.get(name, ""),
                "within the limit": "yes" if name in pick.allowed else "",
                **{label(metric): result.mean(metric) for metric in beside if metric in result.per_user},
                f"miscalibration by {by}": _apart(result, facts, by, split_name(pick.metric)[1]).value,
                "coverage": f"{result.of_the_set('coverage', split_name(pick.metric)[1]).value:.0%}",
                "lowest group": f"{worst.group} {worst.difference.text(sign=True)}" if worst else "",
            }
        )
    rows += [{"policy": name, "minus as ranked": f"not applicable: {why}"} for name, why in failed.items()]
    caption = (
        f"{part.capitalize()} part, {len(base.users):,} people, the same candidates for every policy. Minus as ranked: intervals that hold "
        f"for all rows together. Within the limit: no more than {pick.most_lost:.1%} of {label(pick.metric)} lost on validation, with a "
        "standard error to spare, because the best of many looks better than it is. Lowest "
        "group: the group of people with the lowest mean, against everybody else."
    )
    return Table(pd.DataFrame(rows), caption)


def _apart(result: Evaluation, facts: Facts, by: str, k: int) -> Interval:
    groups = facts.membership(by)
    return bootstrap_mean(miscalibration(result.top[:, :k], groups, liked_shares(facts.history, result.users, groups)))


def policies_figure(judged: Mapping[str, Judged], pick: Pick) -> Figure:
    """What the lists have of the aim, against the metric, a mark for each policy."""
    points = [(name, each.evaluation.interval(pick.aim), each.evaluation.interval(pick.metric)) for name, each in judged.items()]
    return tradeoff(points, label(pick.aim), label(pick.metric), percent=pick.aim.startswith("long_tail_share"))


def records_table(each: Judged) -> Table | Note:
    """What each step of a policy did."""
    if not each.applied.records:
        return Note("Not applicable, because the lists as ranked were chosen: no step changes them.")
    n, k = len(each.applied.pool), each.applied.pool.k
    rows = [
        {
            "step": record.step,
            "candidates taken away": record.removed,
            "people whose list changed": f"{record.people / n:.1%}",
            "items replaced, each": record.replaced / n,
            "lists left short": record.short,
            "drawn at random": "yes" if record.chance else "",
        }
        for record in each.applied.records
    ]
    short = int(each.applied.short.sum())
    told = f"{short:,} of {n:,} people have fewer than {k} items that may be shown." if short else f"Everybody has {k} items."
    return Table(pd.DataFrame(rows), f"Test part, in the order of the steps. {told}")


def trace_of_changed(data: Dataset, each: Judged, base: Judged, most: int = 15) -> Table | Note:
    """The candidates of the person whose list changed most, after each step."""
    changed = (each.applied.lists != base.applied.lists).sum(1)
    if not changed.any():
        return Note("Nobody's list changed.")
    row = int(changed.argmax())
    frame = each.applied.trace(row, item_titles(data)).head(most)
    who = pseudonym(data, data.user_ids[int(each.applied.pool.users[row])])
    return Table(frame, f"Places of the candidates of {who}, the person whose list changed most, before and after each step.")


def policy_decision(pick: Pick, judged: Mapping[str, Judged], groups: Sequence[Slice], effect: float) -> Decision:
    """The taken policy against the lists as ranked, for everyone and by slice; by itself where these were taken."""
    chosen, base = judged[pick.name].evaluation, judged[BASE].evaluation
    alone = pick.name == BASE
    return Decision(
        metric=pick.metric,
        effect=effect,
        chosen=chosen,
        rival=None if alone else base,
        overall=None if alone else compare(chosen, base, pick.metric),
        asked=list(groups),
        slices=[] if alone else compare_slices(chosen, base, pick.metric, groups),
    )


def reranking_verdict(
    decision: Decision,
    parts: Split,
    judged: Mapping[str, Judged],
    ks: tuple[int, ...],
    failed: Mapping[str, str],
    pick: Pick,
    kept: Kept,
    candidates: int,
) -> Verdict:
    taken = judged[pick.name]
    shortage = int(taken.applied.short.sum())
    rails = [_kept_guardrail(pick, kept), Guardrail("pass" if not shortage else "unknown", _short_text(shortage, taken))]
    whole = retrieval_verdict(decision, parts, evaluations(judged), ks, failed, rails)
    aim = taken.evaluation.interval(pick.aim)
    gained = kept.gained.difference
    numbers = [
        whole.numbers[0],
        Headline(label(pick.aim), f"{aim.value:.3f}", f"{aim.low:.3f} to {aim.high:.3f} · {gained.text(sign=True)} on as ranked"),
        *whole.numbers[2:],
    ]
    limits = [
        f"Policies were chosen on validation, by {label(pick.aim)} among those that lose no more than {pick.most_lost:.1%} there.",
        f"A policy sees {candidates:,} candidates of one model; what is not among them it cannot show.",
        "Diversity has no truth in a log: whether people want it is for an experiment to say.",
        *whole.limits,
    ]
    return Verdict(headline=_headline(pick, kept), numbers=numbers, guardrails=whole.guardrails, limits=limits)


def _headline(pick: Pick, kept: Kept) -> str:
    if pick.name == BASE:
        return (
            f"No policy has more {label(pick.aim)} than the lists as ranked without losing more than {pick.most_lost:.1%} of "
            f"{label(pick.metric)} on validation: leave them as they are."
        )
    bought = f"{label(pick.aim)} {kept.gained.difference.text(sign=True)}"
    price = f"{label(pick.metric)} {kept.lost.difference.text(4, sign=True)}, where {-kept.most:+.4f} is allowed"
    said = {"kept": "keeps within the limit", "broken": "breaks the limit on test", "cannot tell": "may or may not keep within the limit"}
    return f"“{pick.name}” buys {bought} and {said[kept.call]}: {price}."


def _kept_guardrail(pick: Pick, kept: Kept) -> Guardrail:
    state = {"kept": "pass", "broken": "fail", "cannot tell": "unknown"}[kept.call]
    told = f"{label(pick.metric)} of “{pick.name}” minus as ranked {kept.lost.difference.text(4, sign=True)}; {-kept.most:+.4f} is allowed"
    return Guardrail(state, told)  # type: ignore[arg-type]


def _short_text(shortage: int, taken: Judged) -> str:
    n = len(taken.applied.pool)
    return f"{shortage:,} of {n:,} lists are shorter than asked, for want of items that may be shown" if shortage else "no list is short"


def checked_policies(judged: Mapping[str, Judged], metric: str, kept: Kept) -> list[str]:
    """The same on every machine: the metric of each policy to two digits, and whether every list keeps to its rules."""
    told = [f"{name}: {each.evaluation.mean(metric):.2f}" for name, each in judged.items()]
    held = all(bool(limits_hold(each.applied).all()) for each in judged.values())
    return [*told, f"{len(judged)} policies, rules {'hold' if held else 'are broken'}, promise {kept.call}"]
