"""What the retrieval notebook says: its table, its verdict, its limits. Every sentence is computed."""

from collections.abc import Mapping, Sequence

import pandas as pd

from workbench.data import Split, audit
from workbench.evaluation import Decision, Evaluation, Interval, by_mean, compare, label, set_difference, split_name
from workbench.reporting.display import Table
from workbench.reporting.limits import audit_guardrails, limits_of
from workbench.reporting.verdict import Guardrail, Headline, Verdict
from workbench.selection import Choice


def trials_table(choices: Mapping[str, Choice], metric: str, most: int = 3) -> Table:
    """The best settings of each model on validation, the models in the order that validation gives them."""
    ordered = [choices[name] for name in by_mean({name: choice.validation for name, choice in choices.items()}, metric)]
    rows = [
        {"model": trial["model"], "settings": _settings(trial["settings"]), f"{label(metric)} on validation": trial["value"]}
        for choice in ordered
        for trial in choice.trials[:most]
    ]
    tried = sum(len(choice.trials) for choice in ordered)
    n = len(ordered[0].validation.users)
    shown = f"of each model the best {most} are shown, and the first went on to test" if tried > len(ordered) else "all went on to test"
    caption = f"Validation part, {n:,} people. {tried} settings tried; {shown}."
    if studied := {choice.validation.title: choice.tuned_by for choice in ordered if choice.tuned_by}:
        told = ", ".join(f"{title} {trials}" for title, trials in studied.items())
        caption += f" `workbench tune` had tried others on the same part before, and its best are used: {told} trials."
    return Table(pd.DataFrame(rows), caption)


def _settings(settings: Mapping[str, object]) -> str:
    return (
        ", ".join(f"{name} {value:g}" if isinstance(value, int | float) else f"{name} {value}" for name, value in settings.items())
        or "defaults"
    )


def checked_lines(results: Mapping[str, Evaluation], choices: Mapping[str, Choice], metric: str) -> list[str]:
    """One line for each model, the same on every machine: the metric to two digits. Of one that learns by gradient, whose weights another
    processor's rounding changes, whether it is above popularity.
    """
    floor = results["popularity"].mean(metric) if "popularity" in results else None

    def told(name: str, value: float) -> str:
        if not choices[name].trainings:
            return f"{value:.2f}"
        return "not compared" if floor is None else "above popularity" if value > floor else "not above popularity"

    return [f"{name} {told(name, result.mean(metric))}" for name, result in results.items()]


def retrieval_verdict(
    decision: Decision,
    parts: Split,
    results: Mapping[str, Evaluation],
    ks: tuple[int, ...],
    failed: Mapping[str, str],
    shipping: Sequence[Guardrail] = (),
) -> Verdict:
    """failed: why models that were asked for could not be judged. shipping: what `shipping_guardrails` says of index and blend."""
    findings = audit(parts)
    return Verdict(
        headline=decision.headline(),
        numbers=_numbers(decision, ks),
        guardrails=[*audit_guardrails(findings), *_quality_guardrails(decision, results), *shipping],
        limits=[
            *(f"{name} was asked for and could not be judged: {why}" for name, why in failed.items()),
            *limits_of(parts, findings, results, decision.metric, decision.effect),
        ],
    )


def _numbers(decision: Decision, ks: tuple[int, ...]) -> list[Headline]:
    chosen, rival = decision.chosen, decision.rival
    cut, wide = split_name(decision.metric)[1], max(ks)
    numbers = []
    for metric in (decision.metric, f"recall@{wide}"):
        interval = chosen.interval(metric)
        note = f"{_range(interval)} · n {interval.n:,}"
        if rival:
            gap = compare(chosen, rival, metric)
            trend = {"better": "up", "worse": "down"}.get(gap.verdict(decision.effect), "flat")
            doubt = "" if gap.significant or not gap.difference.value else ", may be chance"
            change = f"{_arrow(gap.difference.value)} {abs(gap.difference.value):.3f} on {rival.title}{doubt}"
            numbers.append(Headline(label(metric), f"{interval.value:.3f}", note, change, trend))  # type: ignore[arg-type]
        else:
            numbers.append(Headline(label(metric), f"{interval.value:.3f}", note))
    numbers.append(_coverage_number(chosen, rival, cut))
    own, n = int((~chosen.served_by_fallback).sum()), len(chosen.users)
    others = "" if own == n else f"; the others get {chosen.fallback}"
    numbers.append(Headline("Served by the model", f"{own / n:.0%}", f"{own:,} of {n:,} people{others}"))
    return numbers


def _coverage_number(chosen: Evaluation, rival: Evaluation | None, cut: int) -> Headline:
    covers = chosen.of_the_set("coverage", cut)
    title, value = f"Catalogue coverage@{cut}", f"{covers.value:.0%}"
    note = f"{covers.low:.0%} to {covers.high:.0%} · {chosen.covered(cut):,} of {chosen.n_items:,} items" if covers.known else ""
    if rival is None:
        return Headline(title, value, note)
    gap = set_difference("coverage", chosen.top[:, :cut], rival.top[:, :cut], chosen.n_items)
    told = gap.known and not gap.low <= 0 <= gap.high
    change = f"{_arrow(gap.value)} {100 * abs(gap.value):.1f} points on {rival.title}{'' if told or not gap.value else ', may be chance'}"
    return Headline(title, value, note, change, "flat" if not told else "up" if gap.value > 0 else "down")


def _range(interval: Interval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}" if interval.known else "no interval"


def _arrow(value: float) -> str:
    return "▲" if value > 0 else "▼" if value < 0 else "="


def _quality_guardrails(decision: Decision, results: Mapping[str, Evaluation]) -> list[Guardrail]:
    guardrails, chosen, cut = [], decision.chosen, split_name(decision.metric)[1]
    if "popularity" in results and chosen.model != "popularity":
        against = compare(chosen, results["popularity"], decision.metric)
        match against.verdict(decision.effect):
            case "better":
                guardrails.append(Guardrail("pass", "beats popularity"))
            case "too few to say":
                guardrails.append(Guardrail("unknown", "against popularity: too few people to say"))
            case _:
                guardrails.append(Guardrail("fail", "does not beat popularity"))
    if decision.rival:
        guardrails.append(_coverage_guardrail(chosen, decision.rival, cut))
    calls = [(c, c.verdict(decision.effect)) for c in decision.slices]
    if worse := [f"{c.dimension} {c.group}" for c, call in calls if call == "worse"]:
        guardrails.append(Guardrail("fail", f"worse for {', '.join(worse)}"))
    elif unclear := sum(call == "too few to say" for _, call in calls):
        guardrails.append(Guardrail("unknown", f"{unclear} of {len(calls)} slices: too few people to say"))
    elif calls:
        guardrails.append(Guardrail("pass", "no slice is worse off"))
    return guardrails


def _coverage_guardrail(chosen: Evaluation, rival: Evaluation, cut: int) -> Guardrail:
    gap = set_difference("coverage", chosen.top[:, :cut], rival.top[:, :cut], chosen.n_items)
    if gap.known and gap.high < 0:
        return Guardrail("fail", f"covers fewer items than {rival.title}")
    if gap.value >= 0:
        return Guardrail("pass", f"covers no fewer items than {rival.title}")
    return Guardrail("unknown", f"covers fewer items than {rival.title}, which may be chance")
