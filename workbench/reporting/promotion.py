"""What the decision page says: the gates and what they can show, parity, the decision, cost, what changed, the card."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from workbench.data import Dataset, Split, item_titles
from workbench.evaluation import Evaluation, compare_slices, label, split_name
from workbench.evaluation.exposure import SET_METRICS, Exposure
from workbench.evaluation.ranking import NOTHING
from workbench.policy.pool import fresh
from workbench.promotion import Champion, Characteristic, Contest, Decision, Entry, Gates, Planned, Smaller
from workbench.promotion.decide import TOLD
from workbench.promotion.gates import MEASURES
from workbench.promotion.plan import SIMULATED
from workbench.reporting.display import Note, Table, Text
from workbench.reporting.suppression import Shown
from workbench.reporting.verdict import Guardrail, Headline, Verdict


def contestants_table(entry: Entry, baseline: Entry, champion: Champion | None, rival: Evaluation, metric: str) -> Table:
    """The challenger, the strongest baseline and, where there is one that did not learn from it, the champion on validation."""
    found = {"challenger": entry.valid, "baseline": baseline.valid} | ({} if rival is baseline.valid else {"champion": rival})
    rows = [
        {"": what, "system": each.title, label(metric): each.interval(metric).text(), "people": len(each.users)}
        for what, each in found.items()
    ]
    caption = "Validation part; the test part was not looked at. The baseline is the strongest of those named"
    if "champion" in found:
        return Table(pd.DataFrame(rows), f"{caption}; the rival on test is the champion.")
    why = "The rival on test is the champion, who learnt from these people's events, so it is left out here."
    return Table(pd.DataFrame(rows), f"{caption}. {why}" if champion else f"{caption}, and the rival: there is no champion yet.")


def gates_table(gates: Gates, planned: Sequence[Planned]) -> Table:
    """What was written down, and what the test part can show of it."""
    rows: list[dict[str, object]] = []
    for gate in planned:
        asked = f"not worse by {gate.margin:g}" if gate.margin else "better"
        power = f"{gate.power:.0%} of {'equal models' if gate.margin else f'models better by {gate.effect:g}'}"
        rows.append(
            {"gate": f"{label(gate.metric)}, {gate.name}", "asked": asked, "people": gate.n, "detectable": gate.detectable, "passes": power}
        )
    for each in gates.guardrail:
        if each.metric and split_name(each.metric)[0] in SET_METRICS:
            rows.append({"gate": each.metric, "asked": f"not worse by {each.margin:g}"})
        if each.measure:
            rows.append({"gate": each.measure, "asked": f"at most {each.most:g}: {MEASURES[each.measure]}"})
    caption = (
        f"{gates.because} The first is primary; the others are guardrails, each of which must hold. Detectable: the smallest true "
        "difference that this many people show with 80 % power, from how much two models differ over people of validation. A gate that "
        f"passes fewer than {gates.power:.0%} of those it should is refused."
    )
    columns = ["gate", "asked", "people", "detectable", "passes"]
    frame = pd.DataFrame(rows, columns=columns)
    frame["people"] = [f"{int(n):,}" if pd.notna(n) else "" for n in frame["people"]]
    return Table(frame.fillna({"passes": ""}), caption)


def characteristics_table(found: Sequence[Characteristic], planned: Sequence[Planned]) -> Table:
    """How often a model whose truth is known would be promoted."""
    rows = [
        {
            "the challenger is truly": each.truth,
            "promoted": f"{each.passes:.1%}",
            "passes the primary gate": f"{each.primary:.1%}",
            "passes all guardrails on people": f"{each.all_guardrails:.1%}",
        }
        for each in found
    ]
    asked = "above 0" if not planned[0].margin else f"above -{planned[0].margin:g}"
    caption = (
        f"{SIMULATED:,} simulated promotions: people drawn from validation, as many as are judged, better or worse by that share of every "
        f"metric. A gate on {label(planned[0].metric)} that must lie {asked} is passed by chance where nothing changed as often as the "
        "first row says. Coverage, time and size are taken to hold."
    )
    return Table(pd.DataFrame(rows), caption)


def parity_table(contest: Contest) -> Table:
    """Whether the bundle computes what was measured."""
    rows = [
        {
            "asked": name,
            "lists": each.requests,
            "identical": each.identical,
            "up to ties": each.up_to_ties,
            "largest difference": f"{each.largest_absolute:.1e}",
            "of the largest score": f"{each.largest_relative:.1e}",
            "": "holds" if each.holds else "does not hold",
        }
        for name, each in contest.parity.items()
    ]
    caption = (
        "ONNX Runtime and NumPy against torch, on the same requests: people of the log, strangers with short, long and empty histories, "
        "items nobody had in training; and everybody who is judged, at their own moment. Up to ties: items swapped only where scores "
        "are equal as far as 32 bits say. The golden requests ship with the bundle; workbench verify asks them again."
    )
    return Table(pd.DataFrame(rows), caption)


def decision_table(decision: Decision) -> Table:
    rows = [
        {
            "gate": each.name,
            "result": TOLD[each.state],
            "found": each.found,
            "asked": each.asked,
            "detectable": "" if each.detectable is None else f"{each.detectable:.3f}",
        }
        for each in decision.results
    ]
    caption = (
        f"{decision.challenger} against {decision.rival}, on the test part. Pass: the whole interval is where it was asked to be; fail: "
        "none of it is; otherwise these people cannot tell, which is no pass. Each interval holds by itself: all gates must pass, so none "
        f"needs to be corrected for the others. Gates {decision.gates}."
    )
    return Table(pd.DataFrame(rows), caption)


def int8_table(contest: Contest, smaller: Smaller | str | None) -> Table | Note:
    """What 8 bits cost and save."""
    if smaller is None:
        return Note("Not asked for: quantise = True tries it.")
    if isinstance(smaller, str):
        return Note(f"Not applicable: {smaller}")
    rows = [
        {"weights": bits, "size, MB": told["size_mb"], "p50, ms": told["p50_ms"], "p99, ms": told["p99_ms"]}
        for bits, told in (("32 bits", contest.measures), ("8 bits", smaller.measures))
    ]
    kept = "kept, because every gate holds for it too" if smaller.kept else f"not kept: {smaller.decision.headline}"
    return Table(pd.DataFrame(rows), f"The primary metric, 8 bits minus 32: {smaller.lost.text(sign=True)}. The smaller one is {kept}")


def origins_table(contest: Contest) -> Table:
    """Where the challenger comes from; the champion beside it, where there is one."""
    made = {"challenger": contest.bundle.manifest["made"]}
    if contest.champion:
        made["champion"] = contest.champion.bundle.manifest["made"]
    rows = [
        {"": name, **{who: str(told[name] if name != "code" else told["code"]["commit"])[:80] for who, told in made.items()}}
        for name in ("system", "snapshot", "code", "environment", "created")
    ]
    gone = "" if contest.champion else " There is no champion yet."
    return Table(pd.DataFrame(rows), f"What was made of what.{gone}")


def cost_table(contest: Contest) -> Table:
    """Beside the champion's, where there is one."""
    columns = {"challenger": contest.measures}
    if contest.champion:
        columns["champion"] = contest.champion.bundle.manifest.get("measures", {})
    rows: list[dict[str, Any]] = [
        {"": text, **{who: round(told[name], 3) for who, told in columns.items() if name in told and told[name] == told[name]}}
        for name, text in MEASURES.items()
    ]
    caption = (
        f"Over {len(contest.replayed.seconds)} requests, one at a time, from the request to the list; the champion's when it was promoted."
    )
    return Table(pd.DataFrame(rows), caption)


def changes_table(contest: Contest, data: Dataset) -> Table | Note:
    """What people would see that they do not see now."""
    if isinstance(contest.rival, str):
        return Note(f"Not applicable: {contest.rival}.")
    k = min(10, contest.challenger.top.shape[1], contest.rival.top.shape[1])
    mine, theirs = contest.challenger.top[:, :k], contest.rival.top[:, :k]
    same = ((mine != NOTHING) & ~fresh(mine, theirs)).sum(1)
    now, then = (Exposure(items, data.n_items).counts for items in (theirs, mine))
    change = then - now
    titles = item_titles(data)
    order = change.argsort(descending=True).tolist()
    rows = [
        {"item": titles[item], "lists now": int(now[item]), "lists then": int(then[item])}
        for item in [*order[:5], *order[-5:]]
        if change[item] != 0
    ]
    caption = (
        f"Of a list's {k} places {same.double().mean().item():.1f} hold an item that the list of {contest.rival_name} has too; "
        f"{(same == k).double().mean().item():.0%} of the lists have the same items. The items that gain and lose most:"
    )
    return Table(pd.DataFrame(rows, columns=["item", "lists now", "lists then"]), caption)


def advice_table(contest: Contest, metric: str, shown: Shown) -> Table | Note:
    """Slices without a say."""
    if isinstance(contest.rival, str):
        return Note(f"Not applicable: {contest.rival}.")
    rows = [
        {
            "slice": f"{each.dimension}: {each.group}",
            "n": each.difference.n,
            "difference": each.difference.text(sign=True),
            "p": each.p_value,
        }
        for each in compare_slices(contest.challenger, contest.rival, metric, shown.groups)
    ]
    caption = f"{label(metric)}, challenger minus {contest.rival_name}; intervals that hold together, p-values Holm-adjusted. No gate."
    return Table(pd.DataFrame(rows), f"{caption} {shown.text}".strip())


def model_card(text: str) -> Text:
    """As it stands in the bundle, without its front matter."""
    return Text(text.split("---\n", 2)[-1].strip(), "README.md of the bundle, below its front matter.")


def promotion_verdict(decision: Decision, contest: Contest, parts: Split, gates: Gates, dirty: bool) -> Verdict:
    metric = gates.primary.metric
    primary = next((each for each in decision.results if each.name == f"{metric}, primary"), None)
    change = primary.found if primary else ""
    numbers = [
        Headline(
            label=label(metric),
            value=f"{contest.challenger.mean(metric):.3f}",
            note=f"{len(contest.challenger.users):,} people of test, through the bundle",
            change=change,
            trend="flat" if primary is None or primary.state == "unknown" else "up" if primary.state == "pass" else "down",
        ),
        Headline(label="Lists that are the same in torch", value=_share(contest), note="of all that were held against each other"),
        Headline(
            label="A request, p50 and p99",
            value=f"{contest.measures['p50_ms']:.1f} and {contest.measures['p99_ms']:.1f} ms",
            note="on one thread of this machine",
        ),
        Headline(label="Bundle", value=f"{contest.measures['size_mb']:.1f} MB", note=decision.challenger),
    ]
    guardrails = [Guardrail(each.state, f"{each.name}: {each.found}; asked: {each.asked}") for each in decision.results]
    limits = _limits(parts, contest.challenger, dirty)
    return Verdict(headline=decision.headline, numbers=numbers, guardrails=guardrails, limits=limits)


def _share(contest: Contest) -> str:
    found = contest.parity.values()
    return f"{sum(each.up_to_ties for each in found):,} of {sum(each.requests for each in found):,}"


def _limits(parts: Split, result: Evaluation, dirty: bool) -> list[str]:
    looks = parts.looks()
    limits = [
        f"Intervals speak of other people like the {len(result.users):,} judged, not of other times or of other trainings.",
        "What people would do with these lists nobody has seen: they are held against what people found by themselves, or by another list.",
        f"Looks at this test part so far: {looks}. Whoever looks often enough finds something that is lucky there.",
    ]
    return [*limits, "The code has changes that are in no commit: workbench promote takes it only with --allow-dirty."] if dirty else limits


def checked_promotion(contest: Contest, planned: Sequence[Planned], metric: str) -> list[str]:
    """Rounded, for the notebook check."""
    lines = [f"{label(metric)} {contest.challenger.mean(metric):.2f}"]
    lines += [
        f"{name}: {each.up_to_ties} of {each.requests} lists, {'holds' if each.holds else 'broken'}"
        for name, each in contest.parity.items()
    ]
    return [*lines, f"gates on people: {len(planned)}"]
