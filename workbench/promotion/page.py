"""All that a decision page asks for: the challenger and whom it is held against, made, measured, decided."""

import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from workbench.data import Dataset, Holdout, Split
from workbench.errors import NotApplicable, RequestError
from workbench.evaluation import Evaluation, Interval, Slice, by_mean, compare
from workbench.files import write_json
from workbench.models import parse_names
from workbench.paths import RUN_FOLDER, running
from workbench.policy import Facts
from workbench.promotion.bundle import write_bundle, write_manifest
from workbench.promotion.card import card
from workbench.promotion.decide import Decision, decide
from workbench.promotion.gates import Gates
from workbench.promotion.plan import Planned
from workbench.promotion.quantise import quantised
from workbench.promotion.replay import Replayed, replay
from workbench.promotion.rival import Champion, Entry, on_test
from workbench.promotion.spec import Spec, make_spec
from workbench.promotion.system import System, judged, moments_of, train_system
from workbench.retrieval import Requests
from workbench.serving import Bundle
from workbench.serving.verify import Parity, compared, verify_bundle

DECISION = "decision.json"
BUNDLE = "bundle"


def enter(spec: Spec, data: Dataset, parts: Split, ks: Sequence[int], valid: Holdout | None = None) -> Entry:
    """Trained, and judged on validation. valid: who there is asked; None: whom the system itself leaves to choose."""
    trained = train_system(spec, data, parts)
    holdout = valid or trained.valid
    return Entry(trained=trained, valid=trained.early.evaluate(holdout, moments_of(parts, "valid", holdout), data, name=spec.title, ks=ks))


def strongest(names: str, like: Entry, data: Dataset, parts: Split, ks: Sequence[int], metric: str, **how: Any) -> Entry:
    """Of these models, "popularity, ease" say, the one that is best on the people who chose the challenger. how: fields of `Spec`.

    Raises RequestError for names that are unknown, and where none but the challenger is left.
    """
    specs = [make_spec(name, like.trained.late.spec.candidates, **how) for name in parse_names(names)]
    entries = {each.title: enter(each, data, parts, ks, like.trained.valid) for each in specs if each.title != like.trained.late.title}
    if not entries:
        raise RequestError(f'baselines = "{names}": there is none but the challenger itself; name another.')
    return entries[by_mean({name: each.valid for name, each in entries.items()}, metric)[0]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Contest:
    """The challenger's bundle and its rival on the test part."""

    bundle: Bundle
    challenger: Evaluation
    rival: Evaluation | str
    """A text says why there is none."""
    rival_name: str
    champion: Champion | None
    parity: dict[str, Parity]
    measures: dict[str, float]
    replayed: Replayed


def hold(entry: Entry, baseline: Entry, champion: Champion | None, data: Dataset, parts: Split, surface: str, ks: Sequence[int]) -> Contest:
    """The challenger exported, proved and judged on test through its bundle; beside it the champion's bundle, or the baseline where
    there is no champion.
    """
    system, holdout = entry.trained.late, parts.holdout("test")
    bundle = write_bundle(_folder(), system, data, parts, surface=surface, run=running() or "")
    asked = _asked(bundle, data, parts, "challenger", ks, entry.trained.calibration_error)
    asked.parity["the test part"] = _parity_on_test(system, asked.replayed, holdout, data, parts)
    rival, name = on_test(baseline, champion, data, parts, ks)
    return Contest(
        bundle=bundle,
        challenger=asked.evaluation,
        rival=rival,
        rival_name=name,
        champion=champion,
        parity=asked.parity,
        measures=asked.measures,
        replayed=asked.replayed,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class _Asked:
    """What came of asking a bundle what test asks."""

    replayed: Replayed
    evaluation: Evaluation
    parity: dict[str, Parity]
    """With its own golden requests."""
    measures: dict[str, float]


def _asked(bundle: Bundle, data: Dataset, parts: Split, name: str, ks: Sequence[int], calibration_error: float) -> _Asked:
    found = replay(bundle, data, parts)
    title = bundle.manifest["made"]["system"]
    return _Asked(
        replayed=found,
        evaluation=judged(found.items, found.served, parts.holdout("test"), name=name, title=title, ks=ks),
        parity={f"golden requests, {how}": each for how, each in verify_bundle(bundle).items()},
        measures=measures_of(bundle, found) | {"calibration_error": calibration_error},
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Smaller:
    """The same bundle in 8 bits."""

    bundle: Bundle
    evaluation: Evaluation
    parity: dict[str, Parity]
    measures: dict[str, float]
    decision: Decision
    lost: Interval
    """Of the primary metric: 8 bits minus 32."""

    @property
    def kept(self) -> bool:
        """Whether it is what ships: all gates hold for it too."""
        return self.decision.state == "pass"


def in_8_bits(contest: Contest, gates: Gates, planned: Sequence[Planned], data: Dataset, parts: Split) -> Smaller | str:
    """The challenger quantised, judged by the same gates against the same rival; a text says why there is none."""
    try:
        bundle = quantised(contest.bundle, contest.bundle.folder.with_name("int8"))
    except NotApplicable as error:
        return str(error)
    asked = _asked(bundle, data, parts, "challenger, int8", contest.challenger.ks, math.nan)
    names = (asked.evaluation.title, contest.rival_name)
    decision = decide(gates, planned, asked.evaluation, contest.rival, asked.measures, list(asked.parity.values()), names=names)
    return Smaller(
        bundle=bundle,
        evaluation=asked.evaluation,
        parity=asked.parity,
        measures=asked.measures,
        decision=decision,
        lost=compare(asked.evaluation, contest.challenger, gates.primary.metric).difference,
    )


def shipped(contest: Contest, smaller: Smaller | str | None) -> Contest:
    """What is decided about: the bundle in 8 bits where the gates hold for it, else the one in 32; the other one is removed."""
    if smaller is None or isinstance(smaller, str):
        return contest
    if not smaller.kept:
        shutil.rmtree(smaller.bundle.folder)
        return contest
    shutil.rmtree(contest.bundle.folder)
    smaller.bundle.folder.rename(contest.bundle.folder)
    return replace(
        contest,
        bundle=Bundle.open(contest.bundle.folder),
        challenger=smaller.evaluation,
        parity=smaller.parity,
        measures=smaller.measures,
    )


def measures_of(bundle: Bundle, found: Replayed) -> dict[str, float]:
    size = sum(path.stat().st_size for path in bundle.folder.rglob("*") if path.is_file())
    times = 1000 * found.seconds
    return {
        "p50_ms": float(times.quantile(0.5)),
        "p99_ms": float(times.quantile(0.99)),
        "size_mb": size / 1e6,
        "fallback_share": float((~found.served).double().mean()),
    }


def decided(contest: Contest, gates: Gates, planned: Sequence[Planned]) -> Decision:
    names = (contest.bundle.manifest["made"]["system"], contest.rival_name)
    return decide(gates, planned, contest.challenger, contest.rival, contest.measures, list(contest.parity.values()), names=names)


def finish(contest: Contest, decision: Decision, data: Dataset, slices: Sequence[Slice], metric: str) -> str:
    """The model card, which is returned, and the decision, into the bundle; and the decision beside it, for `workbench promote`."""
    bundle, told = contest.bundle, {name: value for name, value in contest.bundle.manifest.items() if name != "sha256"}
    told["gates"] = decision.as_json()
    told["parity"] = {name: each.as_json() for name, each in contest.parity.items()}
    told["measures"] = {name: value for name, value in contest.measures.items() if np.isfinite(value)}
    text = card(told, data, contest.challenger, slices, decision, contest.parity, told["measures"], metric)
    (bundle.folder / "README.md").write_text(text, encoding="utf-8")
    write_manifest(bundle.folder, told)
    replaces = contest.champion.version.number if contest.champion else None
    found = {**decision.as_json(), "dataset": data.name, "surface": told["surface"], "replaces": replaces, "system": told["made"]["system"]}
    write_json(bundle.folder.parent / DECISION, found)
    return text


def _parity_on_test(system: System, found: Replayed, holdout: Holdout, data: Dataset, parts: Split) -> Parity:
    listed = system.answer(Requests.of(holdout, holdout.users), moments_of(parts, "test", holdout), Facts.of(data, holdout))
    return compared(_pairs(listed.items, listed.scores), _pairs(found.items, found.scores))


def _pairs(items: Tensor, scores: Tensor) -> list[Any]:
    return [(row[row >= 0], of[row >= 0]) for row, of in zip(items.numpy(), scores.numpy(), strict=True)]


def _folder() -> Path:
    """In the run's folder; opened by hand, in a temporary one."""
    run = os.environ.get(RUN_FOLDER)
    if run is None:
        return Path(tempfile.mkdtemp(prefix="bundle-")) / BUNDLE
    folder = Path(run) / BUNDLE
    shutil.rmtree(folder, ignore_errors=True)
    return folder
