"""What every page that judges models says of its evidence: whether the split keeps its promises, and what the numbers cannot say."""

from collections.abc import Mapping, Sequence

from workbench.data import Finding, Split
from workbench.evaluation import Evaluation, label
from workbench.reporting.verdict import Guardrail


def audit_guardrails(findings: Sequence[Finding]) -> list[Guardrail]:
    """Whether the split keeps its promises."""
    broken = [finding for finding in findings if not finding.ok]
    if broken:
        return [Guardrail("fail", f"{finding.events:,} {finding.what}") for finding in broken]
    return [Guardrail("pass", "the split keeps its promises")]


def limits_of(
    parts: Split, findings: Sequence[Finding], results: Mapping[str, Evaluation], metric: str, effect: float, *, of_part: bool = True
) -> list[str]:
    """What any page that judges models on this split cannot say. of_part: whether it judges everybody of the test part."""
    holdout = parts.holdout("test")
    limits = [
        "Offline gains on logged behaviour often shrink online: people could only like what they were shown or found by themselves.",
        f"Models were trained on the {'training part alone' if parts.refit == 'train' else 'training and validation parts'}.",
        _trainings(results),
        f"{effect:g} is taken as the smallest difference in {label(metric)} that matters.",
    ]
    if len(results) > 1:
        limits.append(f"{len(results)} models were judged on test; the choice between them was made on validation.")
    if looks := parts.looks():
        limits.append(f"The test part of this split has had {looks}, this run's among them. Each look makes it a little less of a test.")
    if of_part and holdout.n_without_truth:
        limits.append(
            f"{holdout.n_without_truth:,} of {holdout.n_people:,} people with test events are not in the numbers: "
            "they liked nothing there, or only what they had before."
        )
    if of_part and holdout.n_masked_truth:
        limits.append(f"{holdout.n_masked_truth:,} liked events do not count, because the person had the item before.")
    for result in results.values():
        if left := int(result.served_by_fallback.sum()):
            limits.append(f"{result.title} left {left:,} of {len(result.users):,} people to {result.fallback}; they are in its numbers.")
        if result.tied_share >= 0.01:
            limits.append(f"{result.tied_share:.0%} of the places of {result.title} were decided by the order among equal scores.")
    limits += [f"The split does not prevent, and has, {finding.what}: {finding.amount}." for finding in findings if finding.noted]
    return limits


def _trainings(results: Mapping[str, Evaluation]) -> str:
    several = {result.title: len(result.trainings) for result in results.values() if result.trainings}
    if not several:
        return "Each was trained once; intervals speak of other people, not of other trainings."
    told = ", ".join(f"{title} {n} times" for title, n in several.items())
    return f"Trained several times, because they draw at random: {told}; their intervals speak of other people and other trainings."
