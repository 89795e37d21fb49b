"""What a challenger must show, written down before anybody looks: one primary metric, few guardrails, each with a margin that can be met.

`datasets/gates/<data set>.toml` has a table for each surface. A gate that an equal model would too rarely pass is refused before the test
part is looked at.
"""

import hashlib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from workbench.data.power import POWER
from workbench.errors import NotApplicable, RequestError, unknown
from workbench.evaluation.exposure import SET_METRICS
from workbench.evaluation.metrics import METRICS, split_name
from workbench.paths import checked_name, home

MEASURES = {
    "p50_ms": "median time of a request, in ms, on one thread of the machine that ran this page",
    "p99_ms": "time of the slowest of a hundred requests, in ms, on one thread of the machine that ran this page",
    "size_mb": "size of the bundle, in MB",
    "fallback_share": "share of the people judged whom the fallback serves",
    "calibration_error": "calibration error of the probabilities, on test",
}
"""What a guardrail may put an upper limit on."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Primary(_Part):
    metric: str
    """Like ndcg@10."""
    must: Literal["be better", "not be worse"] = "be better"
    """be better: the interval of the difference lies above 0. not be worse: it lies above -margin, where the reason is another, cost
    say."""
    margin: Annotated[float, Field(ge=0)] = 0.0
    effect: Annotated[float, Field(ge=0)] = 0.0
    """The improvement that is hoped for: a test that would too rarely show it is refused."""

    @model_validator(mode="after")
    def _sound(self) -> "Primary":
        wanted, other = ("effect", "margin") if self.must == "be better" else ("margin", "effect")
        if getattr(self, wanted) <= 0 or getattr(self, other) > 0:
            raise ValueError(f'"{self.must}" goes with {wanted}, above 0, and not with {other}')
        return self


class Guardrail(_Part):
    metric: str = ""
    """Like ndcg@10, or coverage@10: not worse than the rival's by more than `margin`."""
    slice: str = ""
    """A slice, as its label is ("popularity: tail items"), or a dimension ("gender"): each of its groups."""
    margin: Annotated[float, Field(ge=0)] = 0.0
    measure: str = ""
    """One of `MEASURES`: at most `most`."""
    most: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _sound(self) -> "Guardrail":
        if bool(self.metric) == bool(self.measure):
            raise ValueError("a guardrail has either a metric or a measure")
        if self.metric and (self.margin <= 0 or self.most is not None):
            raise ValueError("a metric goes with a margin above 0")
        if self.measure and (self.most is None or self.margin > 0 or self.slice):
            raise ValueError('a measure goes with "most", and with nothing else')
        return self


class Gates(_Part):
    because: str
    """Why these, in a sentence."""
    primary: Primary
    guardrail: tuple[Guardrail, ...] = ()
    slices: str = "activity, returning, popularity"
    """Dimensions that the page shows besides, without a say."""
    places: Annotated[int, Field(ge=1)] = 20
    """Of a list on this surface."""
    power: Annotated[float, Field(gt=0, lt=1)] = POWER
    """How often, at least, a gate must pass an equal model, or show the effect hoped for."""

    @property
    def cutoffs(self) -> tuple[int, ...]:
        """Of all metrics, ascending; none beyond a list's end."""
        return tuple(sorted({5, 10, *(split_name(each)[1] for each in self.metrics)} & set(range(1, self.places + 1))))

    @property
    def metrics(self) -> list[str]:
        return list(dict.fromkeys([self.primary.metric, *(each.metric for each in self.guardrail if each.metric)]))


def gates_path(dataset: str) -> Path:
    return home() / "datasets" / "gates" / f"{checked_name('data set', dataset)}.toml"


def load_gates(dataset: str, surface: str) -> Gates:
    """Those of a surface.

    Raises NotApplicable for a data set that has none; RequestError, naming the file and the place, for a surface that is not there and for
    gates that nothing could pass.
    """
    path = gates_path(dataset)
    known = surfaces(dataset)
    if surface not in known:
        where = path.relative_to(home()).as_posix()
        if not known:
            raise NotApplicable(
                f"{dataset} has no gates yet: write them down in {where}, before there is anything to promote; docs/promotion.md."
            )
        raise unknown(f"surface in {where}", surface, known)
    return _checked(known[surface], f"{path.name}, [{surface}]")


def surfaces(dataset: str) -> dict[str, Any]:
    """By name, what is written down for each; empty where there is no file. Raises RequestError for one that is no TOML."""
    path = gates_path(dataset)
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError(f"datasets/gates/{path.name} cannot be read: {error}.") from None
    for name in found:
        checked_name("surface", name)
    return found


def _checked(raw: Any, where: str) -> Gates:
    try:
        gates = Gates.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(each) for each in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise RequestError(f"{where}{', ' + place if place else ''}: {reason[:1].lower()}{reason[1:]}.") from None
    for metric in gates.metrics:
        _check_metric(metric, gates.places, where)
    for each in gates.guardrail:
        if each.measure and each.measure not in MEASURES:
            raise unknown(f"measure ({where})", each.measure, MEASURES)
        if each.slice.strip() == "all":
            raise RequestError(f"{where}: a guardrail names the slice or the dimension that it guards, not all of them.")
        if each.slice and split_name(each.metric)[0] in SET_METRICS:
            raise RequestError(f"{where}: {each.metric} is of all lists together, and has no slice.")
    if split_name(gates.primary.metric)[0] in SET_METRICS:
        raise RequestError(f"{where}: the primary metric is one of people, and {gates.primary.metric} is of all lists together.")
    return gates


def _check_metric(metric: str, places: int, where: str) -> None:
    name, _, k = metric.partition("@")
    known = [*(each for each, of in METRICS.items() if of.needs != "vectors"), *SET_METRICS]
    if name not in known:
        raise unknown(f"metric ({where})", name, known)
    if not re.fullmatch("[1-9][0-9]{0,4}", k) or int(k) > places:
        raise RequestError(f'{where}: metric = "{metric}" should be a metric at a cut-off of the list\'s {places} places, like ndcg@10.')


def gates_hash(gates: Gates) -> str:
    """12 hex: what was written down, so that a decision says by which gates it was made."""
    return hashlib.sha256(gates.model_dump_json().encode()).hexdigest()[:12]
