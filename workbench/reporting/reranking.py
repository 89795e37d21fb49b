"""What the re-ranking notebook says: what policies cost and buy, which one is chosen, what each step did, the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from workbench.data import Dataset, Split, item_titles
from workbench.evaluation import (
    Decision,
    Evaluation,
    Interval,
    Slice,
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
from workbench.policy import BASE, Facts, Judged, Kept, Pick, keep, limits_hold
from workbench.reporting.display import Figure, Note, Table
from workbench.reporting.figures import tradeoff
from workbench.reporting.retrieval import retrieval_verdict
from workbench.reporting.suppression import Shown
from workbench.reporting.verdict import Guardrail, Headline, Verdict


def evaluations(judged: Mapping[str, Judged]) -> dict[str, Evaluation]:
    return {name: each.evaluation for name, each in judged.items()}


def policies_table(judged: Mapping[str, Judged], pick: Pick, failed: Mapping[str, str]) -> Table:
    """Every policy on validation beside the lists as ranked: what it costs, what it buys of the aim."""
    results = evaluations(judged)
    base = results[BASE]
    others = [name for name in results if name != BASE]
    changes = {metric: _changes(results, metric) for metric in (pick.metric, pick.aim)}
    rows: list[dict[str, object]] = [
        {"policy": _marked(BASE, pick), label(pick.metric): base.mean(pick.metric), label(pick.aim): base.mean(pick.aim)}
    ]
    for name in others:
        row: dict[str, object] = {"policy": _marked(name, pick)}
        for metric in (pick.metric, pick.aim):
            row |= {label(metric): results[name].mean(metric), f"{label(metric)} minus as ranked": changes[metric][name].text(sign=True)}
        rows.append({**row, "within the limit": "yes" if name in pick.allowed else ""})
    rows += [{"policy": name, "within the limit": f"not applicable: {why}"} for name, why in failed.items()]
    caption = (
        f"Validation part, {len(base.users):,} people, the same candidates for every policy; intervals that hold for all rows together. "
        f"Within the limit: no more than {pick.most_lost:.1%} of {label(pick.metric)} lost, with a standard error to spare, because the "
        "best of many looks better than it is."
    )
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return Table(pd.DataFrame(rows, columns=columns).fillna({"within the limit": "", **{c: "" for c in columns if "minus" in c}}), caption)


def _marked(name: str, pick: Pick) -> str:
    return f"{name} ← taken" if name == pick.name else name


def _changes(results: Mapping[str, Evaluation], metric: str) -> dict[str, Interval]:
    """Each policy's mean of the metric minus that of the lists as ranked."""
    others = {name: each for name, each in results.items() if name != BASE}
    return {c.a: c.difference for c in compare_models(others, results[BASE], metric)}


def beside_policies_table(judged: Mapping[str, Judged], pick: Pick, facts: Facts, by: str, shown: Shown) -> Table:
    """What else the lists of each policy are like: variety, the tail, tastes, the group of people served worst."""
    k = split_name(pick.metric)[1]
    groups = facts.membership(by)
    target = liked_shares(facts.history, next(iter(judged.values())).evaluation.users, groups)
    wanted = [f"{name}@{k}" for name in ("diversity", "novelty", "long_tail_share", "serendipity")]
    rows = []
    for name, result in evaluations(judged).items():
        worst = worst_group(group_gaps(result, shown.groups, pick.metric, tested=False))
        rows.append(
            {
                "policy": _marked(name, pick),
                **{label(metric): result.mean(metric) for metric in wanted if metric in result.per_user},
                f"miscalibration by {by}": miscalibration(result.top[:, :k], groups, target).nanmean().item(),
                "coverage": f"{result.of_the_set('coverage', k).value:.0%}",
                "Gini": result.of_the_set("gini", k).value,
                "lowest group": f"{worst.group} {worst.difference.text(sign=True)}" if worst else "",
            }
        )
    caption = (
        f"Validation part. Miscalibration: KL divergence of the list's {by} from that of what the person liked (Steck 2018). Lowest group: "
        f"the group of people with the lowest {label(pick.metric)}, against everybody else; its intervals hold for all groups together. "
        f"{shown.text}"
    )
    return Table(pd.DataFrame(rows), caption.strip())


def policies_figure(judged: Mapping[str, Judged], pick: Pick) -> Figure:
    """What each policy changes of the aim and of the metric, person by person."""
    results = evaluations(judged)
    across, up = _changes(results, pick.aim), _changes(results, pick.metric)
    nothing = Interval(0.0, 0.0, 0.0, len(results[BASE].users))
    points = [(BASE, nothing, nothing), *((name, across[name], up[name]) for name in across)]
    return tradeoff(points, f"{label(pick.aim)} minus as ranked", f"{label(pick.metric)} minus as ranked", percent=False)


def kept_table(judged: Mapping[str, Judged], pick: Pick) -> Table | Note:
    """Every policy that test sees, the taken one and one's own, beside the lists as ranked."""
    results = evaluations(judged)
    rows: list[dict[str, object]] = []
    for name in results:
        if name == BASE:
            continue
        kept = keep(replace(pick, name=name), results, BASE)
        for c, allowed, call in ((kept.lost, f"{-kept.most:+.4f}", kept.call), (kept.gained, "", "")):
            told = {"as ranked": results[BASE].mean(c.metric), "with it": results[name].mean(c.metric)}
            difference = {"difference": c.difference.text(4, sign=True), "allowed": allowed, "p": f"{c.p_value:.4f}", "": call}
            rows.append({"policy": _marked(name, pick), "metric": label(c.metric), **told, **difference})
    if not rows:
        return Note("The lists as ranked were taken: there is nothing to hold against them.")
    caption = (
        f"Test part, {len(results[BASE].users):,} people; of the policies tried it sees the one taken alone, beside one of your own. Kept: "
        "the whole interval lies above what may be lost; broken: below it."
    )
    return Table(pd.DataFrame(rows), caption)


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
            "share reached": "" if record.reached is None else f"{record.reached:.1%} of {record.asked:.1%}",
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
    return Table(frame, "Places of the candidates of whoever's list changed most.")


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
    rails = [
        _kept_guardrail(pick, kept),
        *_gained_guardrail(pick, kept),
        *_floor_guardrails(taken),
        Guardrail("pass" if not shortage else "unknown", _short_text(shortage, taken)),
    ]
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
    gained = kept.gained.difference
    did = {"pass": "buys", "fail": "loses", "unknown": "does not surely buy"}[gained.above()]
    bought = f"{did} {label(pick.aim)} {gained.text(sign=True)}"
    price = f"{label(pick.metric)} {kept.lost.difference.text(4, sign=True)}, where {-kept.most:+.4f} is allowed"
    said = {"kept": "keeps within the limit", "broken": "breaks the limit on test", "cannot tell": "may or may not keep within the limit"}
    return f"“{pick.name}” {bought} and {said[kept.call]}: {price}."


def _kept_guardrail(pick: Pick, kept: Kept) -> Guardrail:
    state = {"kept": "pass", "broken": "fail", "cannot tell": "unknown"}[kept.call]
    told = f"{label(pick.metric)} of “{pick.name}” minus as ranked {kept.lost.difference.text(4, sign=True)}; {-kept.most:+.4f} is allowed"
    return Guardrail(state, told)  # type: ignore[arg-type]


def _gained_guardrail(pick: Pick, kept: Kept) -> list[Guardrail]:
    if pick.name == BASE:
        return []
    gained = kept.gained.difference
    told = f"{label(pick.aim)} {gained.text(sign=True)}"
    return [Guardrail(gained.above(), told)]


def _floor_guardrails(taken: Judged) -> list[Guardrail]:
    return [
        Guardrail("fail" if record.missed else "pass", f"{record.step}: {record.reached:.1%} on test")
        for record in taken.applied.records
        if record.reached is not None
    ]


def _short_text(shortage: int, taken: Judged) -> str:
    n = len(taken.applied.pool)
    return f"{shortage:,} of {n:,} lists are shorter than asked, for want of items that may be shown" if shortage else "no list is short"


def checked_policies(early: Mapping[str, Judged], judged: Mapping[str, Judged], metric: str, pick: Pick, kept: Kept) -> list[str]:
    """The same on every machine: the metric on test to two digits, how many policies are within the limit, whether every list keeps to its
    rules, what came of the promise.
    """
    told = [f"{name}: {each.evaluation.mean(metric):.2f}" for name, each in judged.items()]
    held = all(bool(limits_hold(each.applied).all()) for each in (*early.values(), *judged.values()))
    rules = "hold" if held else "are broken"
    return [*told, f"{len(early)} policies, {len(pick.allowed)} within the limit, rules {rules}, promise {kept.call}"]
