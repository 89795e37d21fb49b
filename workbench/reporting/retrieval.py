"""What the retrieval notebook says: its table, its verdict, its limits. Every sentence is computed."""

from collections.abc import Mapping

import pandas as pd

from workbench.data import Finding, Split, audit
from workbench.evaluation import Decision, Evaluation, bootstrap_mean, by_mean, compare, label, letters
from workbench.reporting.display import Figure, Note, Table
from workbench.reporting.figures import field, forest
from workbench.reporting.verdict import Guardrail, Headline, Verdict
from workbench.training import Choice


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
    return Table(pd.DataFrame(rows), caption)


def _settings(settings: Mapping[str, object]) -> str:
    return (
        ", ".join(f"{name} {value:g}" if isinstance(value, int | float) else f"{name} {value}" for name, value in settings.items())
        or "defaults"
    )


def by_group(decision: Decision) -> Figure | Note:
    """The forest plot of the chosen model against its rival; a sentence where there is nothing to compare."""
    if decision.rival is None or not decision.groups:
        return Note("Not applicable, because only one model was tried.")
    return forest(decision.groups, (decision.chosen.title, decision.rival.title), decision.effect)


def field_table(results: Mapping[str, Evaluation], metric: str, ks: tuple[int, ...], seconds: Mapping[str, float]) -> Table:
    """All models, best on test first. `seconds`: training time of each."""
    shared = letters(results, metric)
    wide, cut = max(ks), int(metric.split("@")[1])
    rows = []
    for name in by_mean(results, metric):
        result = results[name]
        interval = bootstrap_mean(result.per_user[metric])
        rows.append(
            {
                "model": result.title,
                label(metric): interval.value,
                "95 % interval": f"{interval.low:.3f} to {interval.high:.3f}",
                "alike": shared[name],
                f"Recall@{wide}": result.mean(f"recall@{wide}"),
                f"MRR@{cut}": result.mean(f"mrr@{cut}"),
                f"Coverage@{cut}": result.coverage(cut),
                "train": f"{seconds[name]:.0f} s" if seconds[name] >= 1 else "under 1 s",
            }
        )
    n = len(next(iter(results.values())).users)
    caption = f"Test part, {n:,} people."
    if len(results) > 1:
        caption += (
            " Models that share a letter cannot be told apart (paired sign flips, Holm-adjusted over all pairs). "
            "The pair that validation chose is one planned comparison: the verdict judges it without that adjustment."
        )
    return Table(pd.DataFrame(rows), caption)


def field_figure(results: Mapping[str, Evaluation], metric: str) -> Figure:
    return field([(results[name].title, bootstrap_mean(results[name].per_user[metric])) for name in by_mean(results, metric)], metric)


def retrieval_verdict(decision: Decision, parts: Split, results: Mapping[str, Evaluation], ks: tuple[int, ...]) -> Verdict:
    findings = audit(parts)
    return Verdict(
        headline=decision.headline(),
        numbers=_numbers(decision, ks),
        guardrails=[*_audit_guardrails(findings), *_quality_guardrails(decision, results)],
        limits=_limits(decision, parts, findings, results),
    )


def _numbers(decision: Decision, ks: tuple[int, ...]) -> list[Headline]:
    chosen, rival = decision.chosen, decision.rival
    cut, wide = int(decision.metric.split("@")[1]), max(ks)
    numbers = []
    for metric in (decision.metric, f"recall@{wide}"):
        interval = bootstrap_mean(chosen.per_user[metric])
        note = f"{interval.low:.3f} to {interval.high:.3f} · n {interval.n:,}"
        if rival:
            gap = compare(chosen, rival, metric)
            trend = {"better": "up", "worse": "down"}.get(gap.verdict(decision.effect), "flat")
            doubt = "" if gap.significant or not gap.difference.value else ", may be chance"
            change = f"{_arrow(gap.difference.value)} {abs(gap.difference.value):.3f} on {rival.title}{doubt}"
            numbers.append(Headline(label(metric), f"{interval.value:.3f}", note, change, trend))  # type: ignore[arg-type]
        else:
            numbers.append(Headline(label(metric), f"{interval.value:.3f}", note))
    points = round(100 * (chosen.coverage(cut) - rival.coverage(cut))) if rival else 0
    numbers.append(
        Headline(
            f"Catalogue coverage@{cut}",
            f"{chosen.coverage(cut):.0%}",
            f"{chosen.covered(cut):,} of {chosen.n_items:,} items",
            f"{_arrow(points)} {abs(points)} points on {rival.title}" if rival else "",
            "up" if points > 0 else "down" if points < 0 else "flat",
        )
    )
    own, n = int((~chosen.served_by_fallback).sum()), len(chosen.users)
    others = "" if own == n else f"; the others get {chosen.fallback}"
    numbers.append(Headline("Served by the model", f"{own / n:.0%}", f"{own:,} of {n:,} people{others}"))
    return numbers


def _arrow(value: float) -> str:
    return "▲" if value > 0 else "▼" if value < 0 else "="


def _audit_guardrails(findings: list[Finding]) -> list[Guardrail]:
    broken = [finding for finding in findings if not finding.ok]
    if broken:
        return [Guardrail("fail", f"{finding.events:,} {finding.what}") for finding in broken]
    return [Guardrail("pass", "the split keeps its promises")]


def _quality_guardrails(decision: Decision, results: Mapping[str, Evaluation]) -> list[Guardrail]:
    guardrails, chosen, cut = [], decision.chosen, int(decision.metric.split("@")[1])
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
        wider = chosen.covered(cut) >= decision.rival.covered(cut)
        guardrails.append(
            Guardrail("pass" if wider else "fail", f"covers {'no fewer' if wider else 'fewer'} items than {decision.rival.title}")
        )
    calls = [c.verdict(decision.effect) for c in decision.groups]
    if worse := [c.group for c, call in zip(decision.groups, calls, strict=True) if call == "worse"]:
        guardrails.append(Guardrail("fail", f"worse for people with {', '.join(worse)}"))
    elif unclear := calls.count("too few to say"):
        guardrails.append(Guardrail("unknown", f"{unclear} of {len(calls)} activity groups: too few people to say"))
    elif calls:
        guardrails.append(Guardrail("pass", "no activity group is worse off"))
    return guardrails


def _limits(decision: Decision, parts: Split, findings: list[Finding], results: Mapping[str, Evaluation]) -> list[str]:
    holdout = parts.holdout("test")
    limits = [
        "Offline gains on logged behaviour often shrink online: people could only like what they were shown or found by themselves.",
        f"Models were trained on the {'training part alone' if parts.refit == 'train' else 'training and validation parts'}, "
        "with one seed; intervals speak of other people, not of other trainings.",
        f"{decision.effect:g} is taken as the smallest difference in {label(decision.metric)} that matters.",
    ]
    if len(results) > 1:
        limits.append(f"{len(results)} models were judged on test; the choice between them was made on validation.")
    if holdout.n_without_truth:
        limits.append(
            f"{holdout.n_without_truth:,} of {holdout.n_people:,} people with test events are not in the numbers: "
            "they liked nothing there, or only what they had before."
        )
    if holdout.n_masked_truth:
        limits.append(f"{holdout.n_masked_truth:,} liked events do not count, because the person had the item before.")
    for result in results.values():
        if left := int(result.served_by_fallback.sum()):
            limits.append(f"{result.title} left {left:,} of {len(result.users):,} people to {result.fallback}; they are in its numbers.")
        if result.tied_share >= 0.01:
            limits.append(f"{result.tied_share:.0%} of the places of {result.title} were decided by the order among equal scores.")
    limits += [f"The split does not prevent, and has, {finding.what}: {finding.amount}." for finding in findings if finding.noted]
    return limits
