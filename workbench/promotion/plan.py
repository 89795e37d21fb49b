"""Gates before the test part is looked at: what each can show there, and how often a model that is equal, better or worse would pass."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from workbench.data import Dataset, Holdout
from workbench.data.groups import UNKNOWN
from workbench.data.power import detectable_difference
from workbench.errors import RequestError, unknown
from workbench.evaluation import Evaluation, Slice, named_slices, split_name
from workbench.evaluation.metrics import METRICS
from workbench.promotion.gates import Gates

LEVEL = 0.95
Z = NormalDist().inv_cdf((1 + LEVEL) / 2)
SIMULATED = 2000
"""Promotions."""
BLOCK = 50
"""Of them at once: each holds a number for everybody of validation."""
SHIFTS = {"equal": 0.0, "2 % better": 0.02, "2 % worse": -0.02}
"""True differences, as a share of the rival's mean."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Planned:
    """One gate on what people get."""

    name: str
    metric: str
    of: Slice | None
    """In the test part; None: everyone."""
    margin: float
    """How far below 0 the interval of the difference may reach; 0 where it must lie above."""
    effect: float
    """The improvement hoped for, of a gate without a margin."""
    n: int
    """People in the test part."""
    gaps: Tensor
    """float64 (m,): differences between two models over people of validation; NaN for who is not in the slice."""
    rival: float
    """The second model's mean there."""

    @property
    def primary(self) -> bool:
        return self.name == "primary"

    @property
    def sd(self) -> float:
        return float(self.gaps[~self.gaps.isnan()].std())

    @property
    def detectable(self) -> float:
        """The smallest difference that this many people show with a power of .8."""
        return detectable_difference(self.n, self.sd)

    @property
    def power(self) -> float:
        """How often the gate passes a model that is equal, or as much better as is hoped for."""
        if self.sd <= 0:
            return 1.0
        return NormalDist().cdf((self.effect or self.margin) * math.sqrt(self.n) / self.sd - Z)


def plan(gates: Gates, data: Dataset, test: Holdout, pair: tuple[Evaluation, Evaluation]) -> list[Planned]:
    """The gates on what people get, the primary one first, each with power enough.

    pair: two models on validation, whose differences say how much people differ. Raises RequestError, naming the gate, for a slice that is
    not there or that nobody is in, and for a gate that would too rarely pass what it should.
    """
    named_slices(data, test, gates.slices)  # those that are shown later: a slip of the pen is found before anything is judged
    found = [_planned("primary", gates.primary.metric, None, gates.primary.margin, gates.primary.effect, test, pair, None)]
    valid = pair[0].holdout
    for each in gates.guardrail:
        if each.metric and split_name(each.metric)[0] in METRICS:
            early = {of.label: of for of in _slices(each.slice, data, valid) if of}
            for of in _slices(each.slice, data, test):
                named = early.get(of.label) if of else None
                found.append(_planned(of.label if of else "everyone", each.metric, of, each.margin, 0.0, test, pair, named))
    _check_power(found, gates.power)
    return found


def _planned(
    name: str,
    metric: str,
    of: Slice | None,
    margin: float,
    effect: float,
    test: Holdout,
    pair: tuple[Evaluation, Evaluation],
    early: Slice | None,
) -> Planned:
    if not METRICS[split_name(metric)[0]].applies_to(test):
        raise RequestError(
            f"the gate on {metric} ({name}) asks for more than one grade of liking, and here every liked item is liked alike."
        )
    n = len(test.users) if of is None else int(of.members(test).sum())
    gaps = differences(*pair, metric, early)
    if (of is not None and early is None) or int((~gaps.isnan()).sum()) < 2 or n < 2:
        raise RequestError(
            f"the gate on {metric} ({name}) has nobody to judge: {n} people of test, and too few of validation. Leave it out."
        )
    return Planned(name=name, metric=metric, of=of, margin=margin, effect=effect, n=n, gaps=gaps, rival=pair[1].mean(metric, early))


def _check_power(planned: Sequence[Planned], wanted: float) -> None:
    told = []
    for gate in planned:
        if gate.power < wanted:
            least = math.ceil((NormalDist().inv_cdf(wanted) + Z) * gate.sd / math.sqrt(gate.n) * 1000) / 1000
            what = f"an improvement of {gate.effect:g}" if gate.effect else f"an equal model through a margin of {gate.margin:g}"
            told.append(
                f"the gate on {gate.metric} ({gate.name}) has no power: {gate.n:,} people show {what} {gate.power:.0%} of the time, and "
                f"{wanted:.0%} is asked for; write down at least {least:g}"
            )
    if told:
        raise RequestError(f"{'; '.join(told)}, or ask more people.")


def _slices(text: str, data: Dataset, holdout: Holdout) -> Sequence[Slice | None]:
    """Those that a guardrail means: one by its label, all of a dimension, or everyone. Groups without a name are nobody's."""
    if not text:
        return [None]
    dimension, _, group = (part.strip() for part in text.replace(" × ", " x ").partition(":"))
    known = [each for each in named_slices(data, holdout, dimension) if UNKNOWN not in each.name.split(", ")]
    found = [each for each in known if not group or each.name == group]
    if not found:
        raise unknown("slice to guard", text, [each.label for each in known])
    return found


def differences(a: Evaluation, b: Evaluation, metric: str, of: Slice | None) -> Tensor:
    """float64 (n,): `a` minus `b`, above 0 where `a` is better; NaN for who is not in the slice."""
    sign = 1 if METRICS[split_name(metric)[0]].direction == "higher" else -1
    return sign * (a.values(metric, of) - b.values(metric, of))


@dataclass(frozen=True, kw_only=True)
class Characteristic:
    """How often a model passes whose true difference is known."""

    truth: str
    passes: float
    """All gates on people."""
    primary: float
    all_guardrails: float
    """Of those on people."""


def characteristics(planned: Sequence[Planned], n: int, seed: int = 0) -> list[Characteristic]:
    """Of promotions in which people are drawn, all gates for the same ones, n at a time, from those of validation, and the model is
    better or worse by the same share of each metric. By normal intervals, to which the bootstrap's come near.

    What is not decided by people (coverage, time, size) is taken to pass.
    """
    columns = torch.stack([gate.gaps for gate in planned], dim=1)
    there = ~columns.isnan()
    centred = torch.where(there, columns - columns.nanmean(0), 0.0)
    draw, alike = np.random.default_rng(seed), np.full(len(columns), 1 / len(columns))
    sums = []
    for _ in range(0, SIMULATED, BLOCK):
        counts = torch.from_numpy(draw.multinomial(n, alike, BLOCK)).double()
        sums.append(torch.stack([counts @ there.double(), counts @ centred, counts @ centred.square()]))
    sizes, totals, squares = torch.cat(sums, dim=1)
    sizes = sizes.clamp(min=1)
    means = totals / sizes
    errors = ((squares / sizes - means.square()).clamp(min=0) / sizes).sqrt()
    found = []
    for truth, share in SHIFTS.items():
        shift = torch.tensor([share * abs(gate.rival) for gate in planned], dtype=torch.float64)
        passed = means + shift - Z * errors > -torch.tensor([gate.margin for gate in planned])
        shares = (passed.all(1), passed[:, 0], passed[:, 1:].all(1))
        passes, primary, guardrails = (float(each.double().mean()) for each in shares)
        found.append(Characteristic(truth=truth, passes=passes, primary=primary, all_guardrails=guardrails))
    return found
