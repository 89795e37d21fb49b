"""What each split leaves to judge, what leaks through it, what that does to a metric, and which split to use. Every sentence is
computed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd
import torch

from workbench.data import RULES, Dataset, Finding, Holdout, Interactions, Split, audit, detectable_difference
from workbench.data.power import PLANNING_SD
from workbench.data.rules import RollingOrigin
from workbench.errors import NotApplicable
from workbench.evaluation import Interval, bootstrap_mean, evaluate
from workbench.models import create
from workbench.reporting.display import Figure, Note, Table
from workbench.reporting.figures import by_window
from workbench.reporting.verdict import Guardrail, Headline, Verdict


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Who is left to judge on one part."""

    n: int
    known: int
    """Of these, people with a history."""

    @classmethod
    def of(cls, holdout: Holdout) -> "Judged":
        return cls(n=len(holdout.users), known=int((holdout.history_lengths > 0).sum()))


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """One split as the audit saw it; the split itself is not kept, so that one at a time is in memory."""

    name: str
    summary: str
    sizes: tuple[int, int, int]
    cuts: list[tuple[str, int]]
    """The first moments of validation and test, microseconds since 1970 UTC; of those that have events."""
    n_discarded: int
    judged: dict[str, Judged]
    """On "valid" and "test"."""
    to_find: float
    findings: list[Finding]
    effects: dict[str, tuple[float, float, float]]
    """By finding: popularity's NDCG as it is, without the events of the finding, and without as many others at random."""
    full_log: tuple[float, float] | None
    """Popularity's NDCG counted over training, and counted over the full log."""

    @property
    def usable(self) -> bool:
        """Promises kept, two people with a history to judge on test, and somebody at all to choose on."""
        return all(finding.ok for finding in self.findings) and self.judged["valid"].n > 0 and self.judged["test"].known > 1


@dataclass(frozen=True, kw_only=True)
class Examined:
    """All splits of a data set."""

    splits: dict[str, SplitFacts]
    not_applicable: dict[str, str]
    """Why a split cannot be made."""
    backtest: list[tuple[int, Interval]]
    """For each window of `rolling_origin`, the earliest first: when its test begins (microseconds since 1970 UTC), and popularity's NDCG;
    empty where nobody is judged in one."""
    k: int

    @property
    def metric(self) -> str:
        return f"NDCG@{self.k}"

    @property
    def cuts(self) -> list[tuple[str, int]]:
        """Where one moment for everyone cuts the log; see `SplitFacts.cuts`."""
        return self.splits["global_time"].cuts if "global_time" in self.splits else []


def examine(data: Dataset, seed: int = 0) -> Examined:
    """Split by every rule there is, one after another, and audit what comes out."""
    k = min(10, data.n_items)
    splits, not_applicable = {}, {}
    for name in RULES:
        try:
            splits[name] = _facts(data, data.split(name, seed=seed), k, seed)
        except NotApplicable as reason:
            not_applicable[name] = str(reason)
    return Examined(
        splits=splits,
        not_applicable=not_applicable,
        backtest=_backtest(data, seed, k) if "rolling_origin" in splits else [],
        k=k,
    )


def _facts(data: Dataset, parts: Split, k: int, seed: int) -> SplitFacts:
    holdouts = {part: parts.holdout(part) for part in ("valid", "test")}
    findings = audit(parts, data)
    test = holdouts["test"]
    counted = len(test.users) > 0
    leaks = [finding for finding in findings if finding.events] if counted else []
    return SplitFacts(
        name=parts.name,
        summary=parts.summary(),
        sizes=(len(parts.train), len(parts.valid), len(parts.test)),
        cuts=[(name, int(part.timestamps.min())) for name, part in (("validation", parts.valid), ("test", parts.test)) if len(part)],
        n_discarded=parts.n_discarded,
        judged={part: Judged.of(holdout) for part, holdout in holdouts.items()},
        to_find=test.n_relevant.double().mean().item() if len(test.users) else float("nan"),
        findings=findings,
        effects={leak.what: effect for leak in leaks if (effect := leak_effect(parts, leak, k, seed)) is not None},
        full_log=(_popularity(parts.fit_on, test, k), _popularity(_whole(parts), test, k)) if counted else None,
    )


def _whole(parts: Split) -> Interactions:
    return parts.train.plus(parts.valid).plus(parts.test).plus(parts.known)


def leak_effect(parts: Split, leak: Finding, k: int, seed: int) -> tuple[float, float, float] | None:
    """What a leak through training or test events does to popularity's NDCG@k on test: with these events, without them, and without as many
    others drawn at random. None for events of other parts, which popularity does not see, and where nobody is left to judge.
    """
    if leak.places is None or leak.part not in ("train", "test"):
        return None
    part = parts.train if leak.part == "train" else parts.test
    whole = parts.holdout("test")
    guilty = torch.isin(part.order, leak.places)
    random = torch.zeros(len(part), dtype=torch.bool)
    random[torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))[: int(guilty.sum())]] = True
    values = []
    for left_out in (torch.zeros(len(part), dtype=torch.bool), guilty, random):
        rest = part.select(~left_out)
        train, holdout = (rest, whole) if leak.part == "train" else (parts.fit_on, _judged_on(parts, rest))
        if not len(holdout.users):
            return None
        values.append(_popularity(train, holdout, k))
    return values[0], values[1], values[2]


def _judged_on(parts: Split, test: Interactions) -> Holdout:
    return replace(parts, test=test).holdout("test")


def _popularity(train: Interactions, holdout: Holdout, k: int) -> float:
    return evaluate(create("popularity").fit(train), holdout, ks=(k,)).mean(f"ndcg@{k}")


def _backtest(data: Dataset, seed: int, k: int) -> list[tuple[int, Interval]]:
    windows = []
    for number in range(1, RollingOrigin().windows + 1):
        window = data.split("rolling_origin", seed=seed, window=number)
        holdout = window.holdout("test")
        if not len(holdout.users):
            return []
        result = evaluate(create("popularity").fit(window.fit_on), holdout, ks=(k,))
        windows.append((int(window.test.timestamps.min()), bootstrap_mean(result.per_user[f"ndcg@{k}"])))
    return windows


def power_table(found: Examined) -> Table:
    """One row for each split: what is trained on, who is judged, how small a difference they show; reasons in place of numbers."""
    rows = [{"split": name, **_power(facts)} for name, facts in found.splits.items()]
    reasons = "".join(f" {name}: not applicable, because {reason}" for name, reason in found.not_applicable.items())
    caption = (
        "Judged: people with something liked in test that may be shown. Detectable: the smallest true difference in NDCG between two "
        f"models that so many people show with 80 % power, planned with a standard deviation of {PLANNING_SD} over people.{reasons}"
    )
    return Table(pd.DataFrame(rows), caption)


def _power(facts: SplitFacts) -> dict[str, object]:
    test = facts.judged["test"]
    return {
        "trained on": facts.sizes[0],
        "discarded": facts.n_discarded,
        "judged on validation": facts.judged["valid"].n,
        "judged on test": test.n,
        "with a history": test.known,
        "without": test.n - test.known,
        "to find, each": facts.to_find,
        "detectable": detectable_difference(test.n) if test.n > 1 and facts.sizes[0] else float("nan"),
    }


def rules_table(found: Examined) -> Table:
    rows = [{"split": name, "what it does": facts.summary} for name, facts in found.splits.items()]
    return Table(pd.DataFrame(rows), "Every rule with its default parameters.")


def leaks_table(found: Examined) -> Table | Note:
    """Every finding with events in it, and what these do to popularity's NDCG; promises that were kept are counted in the caption."""
    tested = [facts for facts in found.splits.values() if facts.sizes[2]]
    kept = sum(finding.promised and finding.ok for facts in tested for finding in facts.findings)
    rows = [
        _leak_row(name, facts, finding, found.metric)
        for name, facts in found.splits.items()
        for finding in facts.findings
        if finding.events
    ]
    told = (
        f"{kept} promises were counted again from the parts, apart from the queries that made them, and hold. "
        f"Popularity's {found.metric} on test is taken with the events of a row, without them, and without as many others drawn at random: "
        "what a row costs or lends is the second number against the third."
    )
    if rows:
        return Table(pd.DataFrame(rows), told)
    return Note(f"{kept} promises hold, and nothing else was found." if kept else "Nothing to check: no split has an event in test.")


def _leak_row(name: str, facts: SplitFacts, finding: Finding, metric: str) -> dict[str, object]:
    effect = facts.effects.get(finding.what, (float("nan"),) * 3)
    return {
        "split": name,
        "found": f"{'PROMISE BROKEN: ' if not finding.ok else ''}{finding.what}",
        "events": finding.amount,
        "people": finding.people,
        metric: effect[0],
        "without these": effect[1],
        "without others": effect[2],
    }


def full_log_table(found: Examined) -> Table | Note:
    """What it lends to count popularity over the full log, test included."""
    rows = [
        {
            "split": name,
            "counted over training": facts.full_log[0],
            "over the full log": facts.full_log[1],
            "lent": facts.full_log[1] - facts.full_log[0],
        }
        for name, facts in found.splits.items()
        if facts.full_log
    ]
    if not rows:
        return Note("Not applicable, because no split leaves anybody to judge.")
    return Table(pd.DataFrame(rows), f"Popularity's {found.metric} on test. Any feature counted over the full log lends likewise.")


def backtest_figure(found: Examined) -> Figure | Note:
    """Popularity over the windows of the rolling origin: how much an answer depends on when it was asked."""
    if "rolling_origin" in found.not_applicable:
        return Note(f"Not applicable, because {found.not_applicable['rolling_origin']}")
    if not found.backtest:
        return Note("Not applicable, because a window of the backtest has nobody to judge.")
    rows = [(f"from {pd.to_datetime(start, unit='us'):%-d %b %Y}", interval) for start, interval in found.backtest]
    return by_window(rows, f"Popularity's {found.metric}")


def audit_verdict(data: Dataset, found: Examined) -> Verdict:
    """Which split to judge models by: the card's, where it keeps its promises and has the power; else the best of those that do."""
    default = data.card.split.default
    shown = {
        name: found.splits[name] for name in dict.fromkeys((default, "user_time", "global_time", *found.splits)) if name in found.splits
    }
    return Verdict(
        headline=_recommendation(data, found),
        numbers=[
            *(_headline(name, facts) for name, facts in list(shown.items())[:3]),
            Headline("Events", f"{data.snapshot.rows('events'):,}", f"{data.n_users:,} people · {data.n_items:,} items"),
        ],
        guardrails=[*(_promise(name, facts) for name, facts in found.splits.items()), *_contract(data)],
        limits=_limits(data, found),
    )


def _headline(name: str, facts: SplitFacts) -> Headline:
    test = facts.judged["test"]
    shows = f"; shows a difference of {detectable_difference(test.n):.3f}" if test.n > 1 and facts.sizes[0] else ""
    return Headline(f"Judged by {name}", f"{test.n:,}", f"{test.known:,} of them with a history{shows}")


def _recommendation(data: Dataset, found: Examined) -> str:
    title, default = data.card.title, data.card.split.default
    usable = {name: facts for name, facts in found.splits.items() if facts.usable}
    told = "; ".join(f"{name} {facts.judged['test'].n:,}, {facts.judged['test'].known:,} with a history" for name, facts in usable.items())
    if not usable:
        return f"No split can judge a model on {title}: none leaves people with a history to judge and somebody to choose on."
    if default in usable:
        n = usable[default].judged["test"].n
        shown = f"{n:,} people can show a difference in NDCG of {detectable_difference(n):.3f}"
        return f"Judge models on {title} by {default}, as the card recommends: {shown}."
    best = max(usable, key=lambda name: (bool(RULES[name].promises), usable[name].judged["test"].known))
    n = usable[best].judged["test"].n
    return (
        f"Judge models on {title} by {best}, although the card recommends {default}, which leaves too few "
        f"to judge or to choose on: {n:,} people can show a difference in NDCG of {detectable_difference(n):.3f}. Usable: {told}."
    )


def _promise(name: str, facts: SplitFacts) -> Guardrail:
    broken = [finding for finding in facts.findings if not finding.ok]
    if broken:
        return Guardrail("fail", f"{name}: {broken[0].events:,} {broken[0].what}")
    if not facts.sizes[2]:
        return Guardrail("unknown", f"{name} leaves no event in test: nothing to check")
    promised = any(finding.promised for finding in facts.findings)
    return Guardrail("pass", f"{name} {'keeps its promises' if promised else 'promises nothing that could be broken'}")


def _contract(data: Dataset) -> list[Guardrail]:
    manifest = data.snapshot.manifest
    apart = sum(each["rows"] for each in manifest["quarantined"])
    if apart:
        return [Guardrail("unknown", f"{apart:,} rows were set apart because they failed a check")]
    return [
        Guardrail(
            "unknown" if manifest["notes"] else "pass",
            "every row passed the checks of the contract" + (", with notes" if manifest["notes"] else ""),
        )
    ]


def _limits(data: Dataset, found: Examined) -> list[str]:
    default = found.splits.get(data.card.split.default)
    limits = [f"{name} is not applicable, because {reason}" for name, reason in found.not_applicable.items()]
    for finding in default.findings if default else ():
        if finding.noted:
            limits.append(f"{default.name}: {finding.amount} are {finding.what}. The split does not prevent that." if default else "")
    limits += [f"Contract: {note}." for note in data.snapshot.manifest["notes"]]
    limits.append(
        f"The power is planned with a standard deviation of {PLANNING_SD} over people; models that are more alike than EASE and item-kNN "
        "show smaller differences, models that are less alike only larger ones."
    )
    limits.append("An id that stands for two people, or two ids for one person, shows only where the spellings are alike.")
    return limits


def audit_metrics(found: Examined) -> list[dict[str, object]]:
    """People left to judge and the difference they can show, for the run record."""
    rows: list[dict[str, object]] = []
    for name, facts in found.splits.items():
        test = facts.judged["test"]
        for kind, value, direction, meaning in (
            ("judged", test.n, "higher", "People with at least one liked item in test that may be shown."),
            ("judged_with_history", test.known, "higher", "Of the people judged, those with an event that is known before the test part."),
            ("detectable_ndcg", detectable_difference(test.n), "lower", "Smallest true difference in NDCG shown with 80 % power, planned."),
        ):
            if value != float("inf"):
                described = {"direction": direction, "definition": meaning, "ci_low": None, "ci_high": None}
                rows.append({"model": None, "name": kind, "k": None, "slice": name, "value": value, "n": test.n, **described})
    return rows


def judged_lines(splits: Mapping[str, SplitFacts]) -> str:
    """For a checked cell: each split with the sizes of its parts and who is judged on test."""
    return "\n".join(" ".join(map(str, (name, *facts.sizes, facts.judged["test"].n))) for name, facts in splits.items())
