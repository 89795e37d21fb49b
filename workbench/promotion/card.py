"""The model card of a bundle, README.md: what it is for, what it was made of, what was found, and what nobody knows; out of the
evidence."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import yaml  # type: ignore[import-untyped]

from workbench.data import Dataset
from workbench.evaluation import Evaluation, Slice, label
from workbench.evaluation.contrast import Contrast
from workbench.promotion.decide import TOLD, Decision
from workbench.serving.verify import Parity


def card(
    told: Mapping[str, Any],
    data: Dataset,
    challenger: Evaluation,
    slices: Sequence[Slice],
    decision: Decision,
    parity: Mapping[str, Parity],
    measures: Mapping[str, float],
    metric: str,
) -> str:
    """Markdown with the front matter of Hugging Face's model cards.

    told: the manifest. slices: of the test part, those that may be shown.
    """
    gates = [[each.name, TOLD[each.state], each.found, each.asked] for each in decision.results]
    people = f"{len(challenger.users):,} people"
    sections = {
        "What it is for": [_use(told)],
        "What it was made of": _origin(told["made"], data),
        "What was found": [
            f"{label(metric)} on test: {_interval(challenger, metric, None)[0]}, {people}; means with 95 % intervals over people.",
            _table(["gate", "result", "found", "asked"], gates),
            f"Held against {_plain(decision.rival)}; gates `{decision.gates}`.",
        ],
        "For whom": [_table([label(metric), "", "people"], [[of.label, *_interval(challenger, metric, of)] for of in slices])],
        "Does it compute what was measured?": [
            *(f"- {name}: {found.text}." for name, found in parity.items()),
            f"- {'; '.join(f'{name} {value:.3g}' for name, value in measures.items())}.",
        ],
        "What it cannot say": _limits(challenger, people),
    }
    front = yaml.safe_dump(_front(told, data, challenger, metric), sort_keys=False, allow_unicode=True).strip()
    lines = ["---", front, "---", "", f"# {told['name']}: {_plain(told['made']['system'])}", "", _plain(decision.headline), ""]
    for title, paragraphs in sections.items():
        lines += [f"## {title}", "", *_apart(paragraphs), ""]
    return "\n".join(lines)


def _apart(paragraphs: Sequence[str]) -> list[str]:
    """With an empty line between them, but for the items of a list."""
    found: list[str] = []
    for each in paragraphs:
        found += ["", each] if found and not (each.startswith("- ") and found[-1].startswith("- ")) else [each]
    return found


def _front(told: Mapping[str, Any], data: Dataset, challenger: Evaluation, metric: str) -> dict[str, Any]:
    made = told["made"]
    result = {
        "task": {"type": "recommendation", "name": told["surface"]},
        "dataset": {"name": data.card.title, "type": made["dataset"], "revision": made["snapshot"]},
        "metrics": [{"type": metric, "name": label(metric), "value": round(challenger.mean(metric), 4)}],
    }
    return {
        "language": [],
        "library_name": "onnxruntime",
        "pipeline_tag": "other",
        "tags": ["recommender", "onnx", told["surface"]],
        "datasets": [made["dataset"]],
        "license": "other",
        "license_name": data.card.licence,
        "model-index": [{"name": told["name"], "results": [result]}],
    }


def _use(told: Mapping[str, Any]) -> str:
    return (
        f"Lists of at most {told['lists']['k']} items for people on the surface {told['surface']}. Whom it cannot serve (nobody is known "
        "by that name, or nothing is known of them) gets what is popular, and `served_by` says so. It is not meant for other surfaces, "
        "other data, or decisions about people. It holds people's histories: keep it as the log is kept."
    )


def _origin(made: Mapping[str, Any], data: Dataset) -> list[str]:
    split, code = made["split"], made["code"]
    changed = " with changes that are in no commit" if code["diff_hash"] else ""
    return [
        f"- Data: {_plain(data.card.title)}, snapshot `{made['snapshot']}`; licence: {_plain(data.card.licence)}.",
        f"- Split: {split['rule']} (`{split['name']}`, seed {split['seed']}); models learnt from {split['refit']}.",
        f"- Histories and features as they were at the end of the log, {_day(made['as_of'])}.",
        f"- Code `{str(code['commit'])[:12]}`{changed}, environment `{made['environment']}`, run `{made['run'] or 'none'}`.",
    ]


def _limits(challenger: Evaluation, people: str) -> list[str]:
    return [
        "- Offline numbers say what people found by themselves or by an earlier recommender, not what they would do with these lists.",
        f"- {people} of one log were judged; intervals speak of other people like them, not of other times or other trainings.",
        "- It learnt nothing after its training part and knows nothing after its log's end: lists grow stale until it is made anew.",
        f"- {int(challenger.served_by_fallback.sum()):,} of the people judged were served by the fallback.",
    ]


def _day(moment: int) -> str:
    """moment: microseconds since 1970 UTC."""
    return f"{datetime.datetime.fromtimestamp(moment / 1e6, datetime.UTC):%d %b %Y, %H:%M} UTC"


def _interval(of: Evaluation, metric: str, which: Slice | None) -> tuple[str, str]:
    """With its interval, and of how many people."""
    found = Contrast.of([of.training_values(metric, which)]).intervals(together=False)[0]
    return found.text(), f"{found.n:,}"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(each) for each in line) + " |" for line in lines)


def _cell(text: object) -> str:
    """Escaped: names of groups are data."""
    return _plain(text).replace("\\", "\\\\").replace("|", "\\|")


def _plain(text: object) -> str:
    """In one line, without tags: names of people's groups and of steps are data."""
    return " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;")
