"""What the ranking notebook says: features, the funnel, calibration, what the ranker leans on, whom it helps, the verdict."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from workbench.data import Dataset, Split, item_titles
from workbench.errors import NotApplicable
from workbench.evaluation import Calibration, Comparison, Decision, Evaluation, Interval, Slice, by_mean, label
from workbench.features import feature_report, lineage
from workbench.ranking import METHODS, AnyRanker, Calibrated, Funnel, Prepared, Trees, explained, gained_and_lost, trace
from workbench.reporting.display import Figure, Note, Table
from workbench.reporting.ranking_figures import funnel, reliability
from workbench.reporting.record import pseudonym
from workbench.reporting.retrieval import retrieval_verdict
from workbench.reporting.verdict import Guardrail, Headline, Verdict

RIGHT = 0.1
"""Distance between the mean probability and the share that came true, as a share of the latter, up to which they agree."""


def stages_table(ready: Prepared, parts: Split) -> Table:
    """Who learnt from what: each retriever's last event, and the requests after it."""
    rows = []
    for stage in ready.stages:
        log, users = stage.log, stage.people
        first = stage.moments(users)
        rows.append(
            {
                "stage": stage.name,
                "the retriever learnt from": len(log),
                "until": _day(int(log.timestamps.max())),
                "requests": len(users),
                "from": _day(int(first.min())),
                "to": _day(int(first.max())),
                "liked something": len(stage.holdout.users),
            }
        )
    own = "" if _one_moment(parts) else " of the same person, but not of others"
    caption = (
        f"Each stage's retriever learnt from earlier events than its ranker is asked about{own}; the audit checked it. A request is a "
        "person's first event of the stage. Half of validation's people stop the training and choose, the others calibrate. A candidate "
        "that was not taken was not rejected: most were never seen."
    )
    return Table(pd.DataFrame(rows), caption)


def _one_moment(parts: Split) -> bool:
    """Whether one moment cuts everybody's events."""
    return "one moment" in parts.rule.promises


def features_table(ready: Prepared) -> Table:
    """Each feature: what it is, how often it is there, how it moved, how much it says by itself."""
    frame = feature_report(ready.train.features, ready.train.label, ready.test.features)
    frame["there"] = [f"{share:.0%}" for share in frame["there"]]
    suspicious = [name for name, why in zip(frame["feature"], frame["suspicious"], strict=True) if why]
    told = f" To be looked at: {', '.join(suspicious)}." if suspicious else ""
    caption = (
        f"{len(frame)} features, each as of the moment of the request, of events strictly before it. Drift: population stability index "
        "from the ranker's training to test; scorecards call .1 to .25 some shift and more a large one. AUC alone: of the feature by "
        f"itself, whichever way round; above .95 it is looked at as a leak.{told}"
    )
    return Table(frame, caption)


def lineage_table(ready: Prepared, rankers: Sequence[str]) -> Table:
    """From the data to the models: what is read, how many features are made of it, who learns from them."""
    frame = lineage(ready.train.features.definitions, rankers)
    frame["source"] = frame["source"].str.replace(r"^(retrieval): .*", r"\1", regex=True)
    rows = [
        {"source": source, "features": ", ".join(part["feature"]), "learnt from by": part["models"].iloc[0]}
        for source, part in frame.groupby("source", sort=True)
    ]
    return Table(pd.DataFrame(rows), "What of the data a change would reach.")


def funnel_figure(found: Funnel, slices: Sequence[Slice]) -> Figure:
    return funnel(found.losses(slices), found.metric, found.ranked.title)


def funnel_table(found: Funnel, k: int, candidates: int) -> Table:
    """NDCG and recall at each stage, and what each step gains or loses."""
    wide = max(found.ranked.ks)
    named = [("retrieval's order", found.retrieval), ("best order of the candidates", found.ceiling), (found.ranked.title, found.ranked)]
    if found.final is not found.ranked:
        named.append(("final list", found.final))
    rows = [
        {
            "list": name,
            label(found.metric): each.interval(found.metric).text(),
            f"Recall@{k}": each.interval(f"recall@{k}").text(),
            f"Recall@{wide}": each.interval(f"recall@{wide}").text(),
        }
        for name, each in named
    ]
    (whole,) = found.losses()
    reach = found.pool.interval(f"recall@{candidates}").text()
    caption = (
        f"Test part. All {candidates} candidates together hold {reach} of what was liked: the ceiling of recall. Of the best list's "
        f"{label(found.metric)} of 1, retrieval loses {whole.retrieval.text()} and the ranker {whole.ranking.text()}. The ranker's order "
        f"minus retrieval's: {found.gain.difference.text(sign=True)}, p {found.gain.p_value:.4f}."
    )
    return Table(pd.DataFrame(rows), caption)


def reliability_figure(found: Mapping[str, Calibration]) -> Figure | Note:
    return reliability(found) if found else Note("Not applicable, because there are no probabilities to judge.")


def calibration_table(found: Mapping[str, Calibration], slices: Mapping[str, Calibration]) -> Table | Note:
    """Each way of making probabilities, then the first of them in slices."""
    if not found:
        return Note("Not applicable, because there are no probabilities to judge.")
    rows = [{"": name, **_told(each)} for name, each in {**found, **slices}.items()]
    caption = (
        "Candidates of the test part. Said, came true: means. Error: the expected calibration error in groups of equal size; by chance: "
        "what labels drawn from these very probabilities would show. Normalised entropy: log loss over that of always saying the share; "
        "below 1 is better. Probabilities hold for the candidates of this retriever: another one asks for another calibration."
    )
    return Table(pd.DataFrame(rows), caption, digits=4)


def _told(each: Calibration) -> dict[str, object]:
    return {
        "candidates": each.n,
        "said": f"{each.mean:.2%}",
        "came true": f"{each.share:.2%}",
        "log loss": each.log_loss.text(4),
        "Brier": each.brier.text(4),
        "error": each.error,
        "by chance": each.chance,
        "normalised entropy": each.normalised_entropy,
    }


def importance_table(lost: Mapping[str, Interval], gains: Mapping[str, float], most: int = 8) -> Table | Note:
    """The features whose values matter most for the order, by dealing them anew; beside the gain in training, of trees."""
    if not lost:
        return Note("Not applicable, because nobody among those who calibrate liked anything that could be shown.")
    rows = []
    for name in list(lost)[:most]:
        gain = {"share of the gain": f"{gains[name]:.0%}"} if gains else {}
        rows.append({"feature": name, "NDCG lost without its values": lost[name].text(4, sign=True), **gain})
    caption = (
        f"The {len(rows)} of {len(lost)} features that cost most NDCG when their values are dealt anew over all candidates, on the people "
        "that calibrate. Features that say the same hide one another."
    )
    return Table(pd.DataFrame(rows), caption)


def ablation_table(found: Sequence[Comparison], effect: float) -> Table | Note:
    """The ranker trained anew without each group of features."""
    if not found:
        return Note("Not applicable, because there is one group of features.")
    rows = [
        {
            "without": c.group,
            "difference": c.difference.text(sign=True),
            "p": f"{c.p_value:.4f}",
            "detectable": c.detectable,
            "": c.verdict(effect),
        }
        for c in found
    ]
    caption = (
        f"{label(found[0].metric)} of the ranker trained without a group of features, minus that of the whole one, on the "
        f"{found[0].difference.n:,} validation people that calibrate. The intervals hold for all rows together; p-values are Holm-adjusted."
    )
    return Table(pd.DataFrame(rows), caption)


def errors_table(data: Dataset, found: Funnel, k: int, most: int = 3) -> Table | Note:
    """Who gained and who lost most by the ranker, with what they liked and where it stood before and after."""
    titles = item_titles(data)
    gained, lost = gained_and_lost(found.ranked, found.retrieval, found.metric, most)
    rows = []
    for what, people in (("gained", gained), ("lost", lost)):
        for each in people:
            row = int((found.ranked.users == each.user).nonzero()[0])
            rows.append(
                {
                    "": what,
                    "person": pseudonym(data, data.user_ids[each.user]),
                    "before": each.before,
                    "after": each.after,
                    "liked, in the list before": _liked(titles, found.retrieval, row, k),
                    "in the list after": _liked(titles, found.ranked, row, k),
                }
            )
    if not rows:
        return Note("Nobody's list became better or worse.")
    gap = found.ranked.values(found.metric) - found.retrieval.values(found.metric)
    caption = (
        f"{label(found.metric)} with retrieval's order and with the ranker's: {int((gap > 0).sum()):,} people gained, "
        f"{int((gap < 0).sum()):,} lost, {int((gap == 0).sum()):,} had the same. Those with the largest changes, and what they "
        "liked of each list, with its place."
    )
    return Table(pd.DataFrame(rows), caption)


def _liked(titles: Sequence[str], of: Evaluation, row: int, k: int) -> str:
    hits = of.lists.hits[row, :k].nonzero()[:, 0].tolist()
    return ", ".join(f"{place + 1}. {titles[int(of.top[row, place])]}" for place in hits) or "nothing"


def trace_of_worst(data: Dataset, found: Funnel, ready: Prepared, ranker: AnyRanker, features: Sequence[str]) -> Table | Note:
    """The request of whoever lost most by the ranker, or else of the first person judged, from its candidates to its list."""
    _, lost = gained_and_lost(found.ranked, found.retrieval, found.metric, 1)
    who = lost[0].user if lost else int(found.ranked.users[0])
    request = int((ready.test.users == who).nonzero()[0])
    try:
        method = METHODS[0]
        calibrated = Calibrated.fit(method, ranker.score(ready.calibrate), ready.calibrate)
        ties, titles = ready.stages.test.holdout.ties, item_titles(data)
        frame = trace(ready.test, request, ranker, ties, titles=titles, calibrated=calibrated, features=features)
        if isinstance(ranker, Trees):
            made = explained(ranker, ready.test, request, most=3)["made of"]
            frame["score made of"] = [made[place - 1] for place in frame["retrieved"]]
    except NotApplicable as error:
        return Note(f"Not applicable, because {error}")
    whose = "the person who lost most" if lost else "the first person judged; nobody lost"
    caption = (
        "One request from its candidates to its list: the places that the ranker gave and retrieval had given, who gave the candidate, "
        f"what was known of it, its chance by {method}, what came of it. It is {whose}."
    )
    return Table(frame, caption)


def ranking_verdict(
    decision: Decision,
    parts: Split,
    results: Mapping[str, Evaluation],
    ks: tuple[int, ...],
    failed: Mapping[str, str],
    found: Funnel,
    calibration: Mapping[str, Calibration],
    ready: Prepared,
) -> Verdict:
    """decision: of the ranker that validation chose and the best single stage there."""
    verdict = retrieval_verdict(decision, parts, results, ks, failed, _guardrails(calibration))
    (whole,) = found.losses()
    (reach,) = (found.pool.interval(f"recall@{k}") for k in found.pool.ks)
    learnt = f"Rankers learn from {len(ready.stages.periods)} periods at the end of the training part"
    if _one_moment(parts):
        asked = "A request is a person's first event of the part, with what everybody had done by then; the retriever is as old as the cut."
    else:
        asked = "A request is a person's first event of the part; the retriever knows what others did later: each has a time of their own."
    lost = Headline(
        "Lost by retrieval",
        f"{whole.retrieval.value:.3f}",
        f"of {label(found.metric)}; its candidates hold {reach.value:.0%} of what was liked",
    )
    limits = [
        "A candidate that was not taken was not rejected: labels say what followed, and most candidates were never seen.",
        f"Probabilities hold for the candidates of this retriever ({ready.test.retriever}); a change of it asks for a new calibration.",
        asked,
        *(each.replace("Models were trained on", f"{learnt}; retrievers, before test, from") for each in verdict.limits),
    ]
    return replace(verdict, numbers=[*verdict.numbers[:2], lost, verdict.numbers[-1]], limits=limits)


def _guardrails(calibration: Mapping[str, Calibration]) -> list[Guardrail]:
    found = []
    for name, each in calibration.items():
        off = abs(each.mean - each.share) / each.share if each.share else 1.0
        told = f"{name}: says {each.mean:.2%} where {each.share:.2%} come true, normalised entropy {each.normalised_entropy:.3f}"
        found.append(Guardrail("pass" if off <= RIGHT and each.normalised_entropy < 1 else "fail", told))
    return found or [Guardrail("unknown", "no probabilities: there is nothing to learn them from, or to judge them on")]


def checked_ranking(results: Mapping[str, Evaluation], rankers: Sequence[str], metric: str, ready: Prepared) -> list[str]:
    """The same on every machine: single stages to two digits; of rankers, whose trees and weights another processor's rounding changes,
    whether they are above popularity; and how many candidates there are.
    """
    floor = results["popularity"].mean(metric) if "popularity" in results else None
    told = []
    for name, result in results.items():
        value = result.mean(metric)
        if name not in rankers:
            told.append(f"{name} {value:.2f}")
        else:
            told.append(f"{name} {'not compared' if floor is None else 'above popularity' if value > floor else 'not above popularity'}")
    return [*told, f"{len(ready.train.items):,} candidates to learn from, {len(ready.test.items):,} to judge"]


def best_of(names: Iterable[str], validation: Mapping[str, Evaluation], metric: str) -> str:
    """The best on validation of these."""
    return by_mean({name: validation[name] for name in names}, metric)[0]


def _day(moment: int) -> str:
    return f"{pd.to_datetime(moment, unit='us'):%-d %b %Y}"
