"""How well each method serves somebody new as more and more is known, and how far that is from what the same people get as regulars."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.coldstart.newcomers import Newcomers
from workbench.evaluation import Comparison, Evaluation, Scorer, evaluate
from workbench.evaluation.comparison import Named, compare_values, mean_less_error


@dataclass(frozen=True, eq=False, kw_only=True)
class Curve:
    """A method on the same people at each depth, and as regulars."""

    name: str
    by_depth: dict[int, Evaluation]
    """By the number of events known, rising."""
    warm: Evaluation | None
    """None where nobody has a history long enough."""

    @property
    def title(self) -> str:
        return next(iter(self.by_depth.values())).title

    def mean(self, metric: str) -> float:
        """Over the depths alike."""
        return sum(each.mean(metric) for each in self.by_depth.values()) / len(self.by_depth)

    def gaps(self, metric: str, floor: "Curve | None" = None) -> list[Comparison]:
        """Each depth minus the same people as regulars, person by person: intervals that hold together, p-values Holm-adjusted.

        Regulars have other events to find, which may be harder: with `floor`, of a method that knows nothing of people, it is what the
        method adds to it that is compared. Empty where nobody is judged as both.
        """
        if self.warm is None:
            return []
        named = [Named(self.name, "as regulars", metric, "events known", str(depth)) for depth in self.by_depth]
        columns = [_added(each, floor.by_depth[depth] if floor else None, metric) for depth, each in self.by_depth.items()]
        regular = _added(self.warm, floor.warm if floor else None, metric)
        if (columns[0] - regular).isnan().all():
            return []
        return compare_values(named, columns, [regular] * len(named))


def _added(result: Evaluation, floor: Evaluation | None, metric: str) -> Tensor:
    """float64 (1, n_users): each person's value, less that of `floor`; NaN for who is not judged."""
    found = torch.full((1, result.holdout.truth.n_users), torch.nan, dtype=torch.float64)
    found[0, result.users] = result.values(metric) - (floor.values(metric) if floor else 0.0)
    return found


def curves(methods: Mapping[str, Scorer], people: Newcomers, ks: Sequence[int], fallback: Scorer) -> dict[str, Curve]:
    """Each method at each depth; whom it cannot serve `fallback` does. On test each is a look."""

    def judged(name: str, depth: int | None) -> Evaluation:
        holdout = people.warm if depth is None else people.depths[depth]
        return evaluate(methods[name], holdout, name=name, ks=ks, fallback=fallback)

    regulars = len(people.warm.users) > 0
    found = {}
    for name in methods:
        by_depth = {depth: judged(name, depth) for depth in people.depths}
        found[name] = Curve(name=name, by_depth=by_depth, warm=judged(name, None) if regulars else None)
    return found


@dataclass(frozen=True, eq=False, kw_only=True)
class Switching:
    """Which method to use with how much known, as validation says, and what that is worth on test."""

    metric: str
    chosen: dict[int, str]
    """By depth, see `switch`."""
    single: str
    """The method with the best mean over the depths there: what one would use if it had to be one."""
    gains: list[Comparison]
    """On test, the chosen of each depth minus the single one, where they differ."""

    @property
    def stretches(self) -> list[tuple[int, int, str]]:
        """(first depth, last depth, method): neighbours of one method as one."""
        found: list[tuple[int, int, str]] = []
        for depth, name in self.chosen.items():
            if found and found[-1][2] == name:
                found[-1] = (found[-1][0], depth, name)
            else:
                found.append((depth, depth, name))
        return found


def switch(validation: Mapping[str, Curve], test: Mapping[str, Curve], metric: str) -> Switching:
    """Chosen on validation, judged on test. At a depth another method than the single one is chosen where it is ahead of it there by more
    than a standard error of the difference, or where that one serves nobody by itself; of several the best, of equals the first.
    """
    depths = next(iter(validation.values())).by_depth
    single = max(validation, key=lambda name: validation[name].mean(metric))
    chosen = {}
    for depth in depths:
        alone = validation[single].by_depth[depth]
        here = {name: curve.by_depth[depth] for name, curve in validation.items()}
        if alone.served_by_fallback.all():
            others = [name for name, each in here.items() if not each.served_by_fallback.all()]
        else:
            others = [name for name, each in here.items() if mean_less_error(each, alone, metric) > 0]
        chosen[depth] = max(others, key=lambda name: here[name].mean(metric), default=single)
    other = [depth for depth, name in chosen.items() if name != single]
    named = [Named(chosen[depth], single, metric, "events known", str(depth)) for depth in other]
    a = [test[chosen[depth]].by_depth[depth].training_values(metric) for depth in other]
    b = [test[single].by_depth[depth].training_values(metric) for depth in other]
    gains = compare_values(named, a, b)
    return Switching(metric=metric, chosen=chosen, single=single, gains=gains)


def against_floor(curves: Mapping[str, Curve], chosen: Mapping[int, str], floor: str, metric: str) -> list[Comparison]:
    """The method chosen for each depth minus `floor` there, where it is another: one family. With nothing known most methods are the floor
    under their own name: where nobody is served otherwise there is nothing to compare.
    """

    def values(name: str, depth: int) -> Tensor:
        return curves[name].by_depth[depth].training_values(metric)

    asked = {depth: name for depth, name in chosen.items() if name != floor}
    if 0 in asked and torch.equal(values(asked[0], 0), values(floor, 0)):
        del asked[0]
    named = [Named(name, floor, metric, "events known", str(depth)) for depth, name in asked.items()]
    return compare_values(named, [values(name, depth) for depth, name in asked.items()], [values(floor, depth) for depth in asked])
