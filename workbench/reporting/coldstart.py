"""What the cold start notebook says: who is judged, curves over what is known, gaps to regulars, new items, exploration, the verdict."""

from collections.abc import Mapping, Sequence

import pandas as pd

from workbench.coldstart import Curve, Methods, Newcomers, NewItems, Round, Switching, against_floor
from workbench.data import Split, audit
from workbench.evaluation import Comparison, Evaluation, Interval, by_mean, label
from workbench.evaluation.intervals import State
from workbench.reporting.coldstart_figures import curves_figure as drawn_curves
from workbench.reporting.display import Figure, Note, Table
from workbench.reporting.exploration import over_worlds
from workbench.reporting.limits import audit_guardrails, limits_of
from workbench.reporting.verdict import Guardrail, Headline, Verdict

NO_REGULARS = Note("Not applicable, because no new person has a history long enough to be judged as a regular too.")


def newcomers_table(people: Mapping[str, Newcomers], parts: Split) -> Table:
    """Who is judged, and on what. people: by part, "validation" and "test"."""
    rows = [
        {
            "part": part,
            "new people": each.n_people,
            "judged at every depth": len(each.users),
            "as regulars too": len(each.warm.users),
            "to find, each": next(iter(each.depths.values())).n_relevant.double().mean().item(),
            "to find as regulars": each.warm.n_relevant.double().mean().item() if len(each.warm.users) else float("nan"),
        }
        for part, each in people.items()
    ]
    depths = ", ".join(map(str, next(iter(people.values())).depths))
    caption = (
        f"No model learnt from these people. Their first {depths} events are revealed; what is to be found is the same at every depth, "
        "what they liked of the ten events after the last depth, and so is what may be shown. Regulars: the same people on their last ten "
        "events, everything before known."
    )
    if not parts.has_times:
        caption += " The log has no times: first and last are as the split's seed deals them, and depths are amounts."
    return Table(pd.DataFrame(rows), caption, digits=1)


def curves_figure(curves: Mapping[str, Curve], metric: str, most: int = 6) -> Figure:
    """A line with its ribbon for each method, of the best ones by their mean over the depths."""
    best = sorted(curves.values(), key=lambda curve: -curve.mean(metric))[:most]
    return drawn_curves(best, metric)


def curves_table(curves: Mapping[str, Curve], switching: Switching, methods: Methods) -> Table:
    """Every method at every depth, best first by its mean; the one that validation chose for a depth is marked."""
    metric = switching.metric
    rows = []
    for curve in sorted(curves.values(), key=lambda curve: -curve.mean(metric)):
        told = {
            f"{depth} known": f"{each.mean(metric):.3f}{' ←' if switching.chosen[depth] == curve.name else ''}"
            for depth, each in curve.by_depth.items()
        }
        regular = f"{curve.warm.mean(metric):.3f}" if curve.warm else ""
        rows.append({"method": curve.title, **told, "as regulars": regular})
    absent = "".join(f" Not judged: {name}, because {why.rstrip('.')}." for name, why in methods.failed.items())
    n = len(next(iter(next(iter(curves.values())).by_depth.values())).users)
    made = (
        f" The blend moves from {methods.made_of[0]} over {methods.made_of[1]} to {methods.made_of[2]}, {methods.trust.text}."
        if methods.trust
        else ""
    )
    caption = (
        f"{label(metric)} on test, {n:,} new people. Arrows: what validation chose for that many events. Whom a method cannot serve, as "
        f"those that work from histories cannot who has none, gets what is popular.{made}{absent}"
    )
    return Table(pd.DataFrame(rows).fillna(""), caption)


def regulars_table(curves: Mapping[str, Curve], names: Sequence[str], metric: str, floor: str) -> Table | Note:
    """How far newcomers are from the same people as regulars. floor: the method that knows nothing of people."""
    rows = []
    for name in names:
        asked = {"new minus regular": curves[name].gaps(metric)}
        if floor in curves and floor != name:
            asked["of what it adds to popularity"] = curves[name].gaps(metric, curves[floor])
        for what, gaps in asked.items():
            if gaps:
                told = {f"{gap.group} known": gap.difference.text(sign=True) for gap in gaps}
                rows.append({"method": curves[name].title, "": what, "n": gaps[0].difference.n, **told})
    if not rows:
        return NO_REGULARS
    caption = (
        f"{label(metric)} of new people minus the same people's as regulars. Their later events may be harder or easier to find: what the "
        "method adds to popularity, which knows nothing of anybody, is compared beside it. Intervals of a row hold together."
    )
    return Table(pd.DataFrame(rows), caption)


def switching_table(switching: Switching, curves: Mapping[str, Curve], effect: float) -> Table | Note:
    """On test, the method that validation chose for a depth against the one that it would use throughout."""
    if not switching.gains:
        return Note(f"{curves[switching.single].title} is the best on validation at every depth: there is nothing to switch.")
    rows = [
        {
            "known": c.group,
            "chosen": curves[c.a].title,
            f"minus {curves[switching.single].title}": c.difference.text(sign=True),
            "p": f"{c.p_value:.4f}",
            "detectable": c.detectable,
            "": c.verdict(effect),
        }
        for c in switching.gains
    ]
    caption = (
        f"{label(switching.metric)} on test; intervals that hold together. {effect:g} is taken as the smallest difference that matters."
    )
    return Table(pd.DataFrame(rows), caption)


def new_items_table(results: Mapping[str, Evaluation], metric: str, n_new: int, failed: Mapping[str, str]) -> Table | Note:
    """How well each method puts items that nobody had among the whole catalogue."""
    if not results:
        return Note(f"Not applicable, because {'; '.join(failed.values()).rstrip('.') or 'no method was asked for'}.")
    first = next(iter(results.values()))
    k = first.ks[-1]
    rows = [
        {
            "method": results[name].title,
            label(metric): results[name].interval(metric).text(),
            f"Recall@{k}": results[name].interval(f"recall@{k}").text(),
            "decided by ties": f"{results[name].tied_share:.0%}",
        }
        for name in by_mean(results, metric)
    ]
    rows += [{"method": name, label(metric): f"not judged: {why}"} for name, why in failed.items()]
    caption = (
        f"{len(first.users):,} people who liked one of {n_new:,} items that nobody had in what models learnt from; ranked among all "
        f"{first.n_items:,} items. A method that works from events alone can find them by luck at most."
    )
    return Table(pd.DataFrame(rows).fillna(""), caption)


def by_time_table(curves: Mapping[str, Curve], metric: str) -> Table | Note:
    """The same by one moment for everyone: people who came after it."""
    if not curves:
        return Note(
            "Not applicable, because the page is by time already, too few new people are left by one moment for everyone, or the log has "
            "no times."
        )
    rows = [
        {"method": curve.title, **{f"{depth} known": each.interval(metric).text() for depth, each in curve.by_depth.items()}}
        for curve in curves.values()
    ]
    n = len(next(iter(next(iter(curves.values())).by_depth.values())).users)
    return Table(pd.DataFrame(rows), f"{label(metric)} of {n:,} people whose first event is after the moment at which models learnt.")


def coldstart_verdict(
    switching: Switching,
    curves: Mapping[str, Curve],
    methods: Methods,
    parts: Split,
    effect: float,
    items: NewItems,
    loops: Mapping[str, Sequence[Sequence[Round]]],
    floor: str,
) -> Verdict:
    metric, single = switching.metric, curves[switching.single]
    findings = audit(parts)
    return Verdict(
        headline=_headline(switching, curves, effect),
        numbers=_numbers(switching, curves, items, metric),
        guardrails=[*audit_guardrails(findings), *_guardrails(switching, curves, effect, floor, loops)],
        limits=[
            *(f"{name} was asked for and could not be judged: {why}" for name, why in methods.failed.items()),
            "New people are people of the log who were taken out of training; who came and never returned is not in it.",
            "Exploration and the closed loop are of made-up worlds: they show what can happen, not how much of it happens here.",
            *_of_depths(single),
            *limits_of(parts, findings, {}, metric, effect, of_part=False),
        ],
    )


def _headline(switching: Switching, curves: Mapping[str, Curve], effect: float) -> str:
    single, name = curves[switching.single], label(switching.metric)
    if not switching.gains:
        sure = f"it is the best on validation at every depth, {name} on test {single.mean(switching.metric):.3f} on average"
        return f"Use {single.title} however much is known: {sure}."
    told = [_stretch(*each, curves) for each in switching.stretches]
    sure_ones = [c for c in switching.gains if c.verdict(effect) in ("better", "worse")]
    if sure_ones:
        shown = "; ".join(f"with {c.group} known {c.difference.text(sign=True)}" for c in sure_ones)
        return f"Validation would use {', '.join(told)}; against {single.title} throughout, test shows {shown}."
    others = ", ".join(said for said, (_, _, chosen) in zip(told, switching.stretches, strict=True) if chosen != switching.single)
    widest = max(c.detectable for c in switching.gains)
    return (
        f"Use {single.title} throughout: test does not tell from it what validation would switch to ({others}), and differences below "
        f"{widest:.3f} often go unseen."
    )


def _stretch(first: int, last: int, chosen: str, curves: Mapping[str, Curve]) -> str:
    return f"{curves[chosen].title} with {_events(first) if first == last else f'{first} to {last} events'} known"


def _numbers(switching: Switching, curves: Mapping[str, Curve], items: NewItems, metric: str) -> list[Headline]:
    depths = list(switching.chosen)
    numbers = []
    for depth in dict.fromkeys((depths[0], depths[-1])):
        name = switching.chosen[depth]
        found = curves[name].by_depth[depth].interval(metric)
        numbers.append(
            Headline(f"{_events(depth)} known", f"{found.value:.3f}", f"{label(metric)} of {curves[name].title} · {_range(found)}")
        )
    regular = curves[switching.chosen[depths[-1]]].warm
    if regular is not None:
        found = regular.interval(metric)
        numbers.append(Headline("As regulars", f"{found.value:.3f}", f"{label(metric)} of {regular.title} · {_range(found)}"))
    if items.chosen:
        result = items.results[items.chosen]
        found, k = result.interval(f"recall@{result.ks[-1]}"), result.ks[-1]
        numbers.append(Headline("New items", f"{found.value:.3f}", f"Recall@{k} of {result.title}, chosen on validation · {_range(found)}"))
    return numbers


def _events(n: int) -> str:
    return f"{n} event{'' if n == 1 else 's'}"


def _range(interval: Interval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f} · n {interval.n:,}" if interval.known else f"n {interval.n:,}"


def _of_depths(single: Curve) -> list[str]:
    """What served whom, and what ties decided, of the method that one would use throughout."""
    found = []
    for depth, each in single.by_depth.items():
        if left := int(each.served_by_fallback.sum()):
            found.append(f"With {_events(depth)} known {each.title} left {left:,} of {len(each.users):,} people to {each.fallback}.")
        if each.tied_share >= 0.01:
            found.append(f"With {_events(depth)} known ties decided {each.tied_share:.0%} of the places of {each.title}.")
    return found


def _guardrails(
    switching: Switching, curves: Mapping[str, Curve], effect: float, floor: str, loops: Mapping[str, Sequence[Sequence[Round]]]
) -> list[Guardrail]:
    rails = []
    if floor in curves:
        found = against_floor(curves, switching.chosen, floor, switching.metric)
        told = [c for place, c in enumerate(found) if place in (0, len(found) - 1) or c.verdict(effect) == "worse"]
        rails += [_against_floor(c, curves[c.a].title, effect) for c in told]
    if loops:
        with_it, without = list(loops.values())[-1], next(iter(loops.values()))
        gap = over_worlds([a[-1].coverage - b[-1].coverage for a, b in zip(with_it, without, strict=True)])
        said = f"exploration widens what a closed loop shows: coverage {gap.text(2, sign=True)} after the last round"
        rails.append(Guardrail(gap.above(), said))
    return rails


def _against_floor(c: Comparison, title: str, effect: float) -> Guardrail:
    call = c.verdict(effect)
    told = f"{title} against popularity with {_events(int(c.group))} known: {c.difference.text(sign=True)}"
    state: State = "pass" if call == "better" else "unknown" if call == "too few to say" else "fail"
    return Guardrail(state, told)


def checked_coldstart(
    curves: Mapping[str, Curve], exact: Sequence[str], k: int, people: Newcomers, items: Mapping[str, Evaluation]
) -> list[str]:
    """The same on every machine: with the most events known, recall to two digits of methods in closed form, named in `exact`; of the
    others whether they are above popularity; who is judged.
    """
    most, metric = max(people.depths), f"recall@{k}"
    values = {name: curve.by_depth[most].mean(metric) for name, curve in curves.items()}
    floor = values.get("popularity")
    told = []
    for name, value in values.items():
        beside = "not compared" if floor is None else "above popularity" if value > floor else "not above popularity"
        told.append(f"{name} {value:.2f}" if name in exact else f"{name} {beside}")
    n = len(next(iter(items.values())).users) if items else 0
    return [*told, f"{len(people.users)} new people, {n} who liked a new item"]
