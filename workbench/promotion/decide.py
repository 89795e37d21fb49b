"""The decision: every gate on the test part, pass, fail or cannot tell, which is no pass."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from workbench.evaluation import Evaluation, Interval, split_name
from workbench.evaluation.contrast import Contrast
from workbench.evaluation.exposure import SET_METRICS, set_difference
from workbench.evaluation.intervals import State
from workbench.promotion.gates import MEASURES, Gates, Guardrail, gates_hash
from workbench.promotion.plan import Planned, differences
from workbench.serving.verify import Parity

TOLD = {"pass": "pass", "fail": "fail", "unknown": "cannot tell"}


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of one gate."""

    name: str
    state: State
    found: str
    """What was measured."""
    asked: str
    """What was asked for."""
    detectable: float | None = None
    """The smallest difference that the people of test can show; None where people do not decide."""
    power: float | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    results: tuple[Result, ...]
    rival: str
    challenger: str
    gates: str
    """Hash of the gates by which it was made."""

    @property
    def state(self) -> State:
        states = {each.state for each in self.results}
        return "fail" if "fail" in states else "unknown" if "unknown" in states else "pass"

    @property
    def headline(self) -> str:
        wrong = [each.name for each in self.results if each.state == ("fail" if self.state == "fail" else "unknown")]
        match self.state:
            case "pass":
                return f"Promote {self.challenger}: it passes all {len(self.results)} gates against {self.rival}."
            case "fail":
                return f"Do not promote {self.challenger}: against {self.rival} it fails {_listed(wrong)}."
        return f"Do not promote {self.challenger} yet: against {self.rival} these people cannot tell about {_listed(wrong)}."

    def as_json(self) -> dict[str, Any]:
        told = asdict(self)
        return {**told, "results": list(told["results"]), "state": self.state, "headline": self.headline}


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def decide(
    gates: Gates,
    planned: Sequence[Planned],
    challenger: Evaluation,
    rival: Evaluation | str,
    measures: Mapping[str, float],
    parity: Sequence[Parity],
    *,
    names: tuple[str, str],
) -> Decision:
    """rival: the champion, or the baseline where there is none; a text says why it cannot be held against the challenger. measures: by
    name, see `MEASURES`; one that is not there is not known. names: of the challenger and the rival.
    """
    results = [_parity(parity)]
    if isinstance(rival, str):
        results.append(Result(name="the comparison", state="unknown", found=rival, asked="the same people, who taught neither"))
    else:
        results += [_of_people(gate, challenger, rival) for gate in planned]
        results += [
            _of_lists(each, challenger, rival) for each in gates.guardrail if each.metric and split_name(each.metric)[0] in SET_METRICS
        ]
    results += [_of_measure(each, measures) for each in gates.guardrail if each.measure]
    return Decision(results=tuple(results), challenger=names[0], rival=names[1], gates=gates_hash(gates))


def _parity(found: Sequence[Parity]) -> Result:
    worst = min(found, key=lambda each: (each.holds, each.up_to_ties / max(1, each.requests)))
    state: State = "pass" if all(each.holds for each in found) else "fail"
    return Result(name="parity", state=state, found=worst.text, asked="what ships answers what was measured")


def _of_people(gate: Planned, challenger: Evaluation, rival: Evaluation) -> Result:
    found = Contrast.of([differences(challenger, rival, gate.metric, gate.of)[None]]).intervals(together=False)[0]
    asked = f"above {-gate.margin:+.3f}" if gate.margin else "above 0"
    name = f"{gate.metric}, {gate.name}"
    return Result(
        name=name, state=found.above(-gate.margin), found=found.text(sign=True), asked=asked, detectable=gate.detectable, power=gate.power
    )


def _of_lists(each: Guardrail, challenger: Evaluation, rival: Evaluation) -> Result:
    name, k = split_name(each.metric)
    found = set_difference(name, challenger.top[:, :k], rival.top[:, :k], challenger.n_items)
    sign = 1 if SET_METRICS[name].direction == "higher" else -1
    better = Interval(sign * found.value, min(sign * found.low, sign * found.high), max(sign * found.low, sign * found.high), found.n)
    return Result(name=each.metric, state=better.above(-each.margin), found=better.text(sign=True), asked=f"above {-each.margin:+.3f}")


def _of_measure(each: Guardrail, measures: Mapping[str, float]) -> Result:
    value, most = measures.get(each.measure, np.nan), float(each.most or 0)
    if np.isnan(value):
        return Result(name=each.measure, state="unknown", found="not measured", asked=f"at most {most:g}: {MEASURES[each.measure]}")
    state: State = "pass" if value <= most else "fail"
    return Result(name=each.measure, state=state, found=f"{value:.3g}", asked=f"at most {most:g}: {MEASURES[each.measure]}")
