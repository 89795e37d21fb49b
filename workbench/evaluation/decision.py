"""From numbers to a sentence: which model, by how much, for whom. Chosen on validation, judged on test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.errors import RequestError
from workbench.evaluation.comparison import MIN_PEOPLE, Comparison, by_mean, compare, compare_slices
from workbench.evaluation.harness import Evaluation
from workbench.evaluation.metrics import label
from workbench.evaluation.slices import LEAST, Slice, by_service


@dataclass(frozen=True, eq=False, kw_only=True)
class Decision:
    metric: str
    effect: float
    """The smallest difference anyone would act on."""
    chosen: Evaluation
    """The best on validation, on test."""
    rival: Evaluation | None
    """The second best on validation, on test; None when only one model was tried."""
    overall: Comparison | None
    """The chosen minus the rival, on test."""
    asked: list[Slice]
    """What was sliced by."""
    slices: list[Comparison]
    """The same in each slice that has somebody in it, all of them one family."""

    def headline(self, digits: int = 3) -> str:
        """The answer in one or two sentences."""
        if self.overall is None or self.rival is None:
            value = f"{label(self.metric)} {self.chosen.mean(self.metric):.{digits}f}"
            return f"{self.chosen.title} was the only model tried: {value}, with nothing to compare."
        return f"{self._overall_sentence(self.overall, self.rival.title, digits)} {self._slices_sentence(self.overall)}".strip()

    def _overall_sentence(self, overall: Comparison, rival: str, digits: int) -> str:
        chosen, name, gap = self.chosen.title, label(self.metric), overall.difference
        size = f"{abs(gap.value):.{digits}f} (95 % interval {gap.low:+.{digits}f} to {gap.high:+.{digits}f})"
        matters = abs(gap.value) >= self.effect
        match overall.verdict(self.effect):
            case "better" if matters:
                return f"{chosen} ranks what people like next higher than {rival}: {name} up {size}."
            case "better":
                return f"{chosen} is ahead of {rival} by less than the {self.effect:g} that would matter: {name} up {size}."
            case "worse" if matters:
                return f"{chosen}, the best on validation, lost to {rival} on test: {name} down {size}. Choose neither on this evidence."
            case "worse":
                behind = f"is behind {rival} by less than the {self.effect:g} that would matter"
                return f"{chosen}, the best on validation, {behind}: {name} down {size}."
            case "no difference":
                return f"{chosen} and {rival} do equally well: {name} differs by {size}, and {self.effect:g} would matter."
            case _ if gap.n < MIN_PEOPLE:
                return f"We cannot tell {chosen} from {rival}: {name} differs by {size}, and {gap.n} people are too few."
            case _:
                return (
                    f"We cannot tell {chosen} from {rival}: {name} differs by {size}, "
                    f"and with {gap.n:,} people a difference below {overall.detectable:.{digits}f} often goes unseen."
                )

    def _slices_sentence(self, overall: Comparison) -> str:
        if overall.verdict(self.effect) != "better" or not self.slices:
            return ""
        if worse := [f"{c.dimension} {c.group}" for c in self.slices if c.verdict(self.effect) == "worse"]:
            return f"It is the other way round for {' and '.join(worse)}."
        if all(c.significant for c in self.slices):
            return f"The difference shows in every one of {len(self.slices)} slices."
        unclear = [f"{c.dimension} {c.group}" for c in self.slices if c.verdict(self.effect) == "too few to say"]
        if not unclear:
            return f"In some of {len(self.slices)} slices there is no difference."
        if len(unclear) == 1:
            return f"For {unclear[0]} we cannot tell."
        return f"Taken alone, {len(unclear)} of {len(self.slices)} slices are too few people to say."


def decide(
    validation: Mapping[str, Evaluation],
    test: Mapping[str, Evaluation],
    metric: str,
    slices: Sequence[Slice],
    *,
    effect: float,
) -> Decision:
    """Rank the models on validation, compare the first two on test.

    slices: of the people judged on test; whom the chosen model serves itself and whom its fallback are told apart where there are enough of
    both. Raises RequestError when the two do not hold the same models or hold none.
    """
    if not validation or set(validation) != set(test):
        raise RequestError(f"validation has {sorted(validation)}, test has {sorted(test)}: a choice needs the same models in both.")
    ranked = by_mean(validation, metric)
    chosen, rival = test[ranked[0]], test[ranked[1]] if len(ranked) > 1 else None
    service = by_service(chosen.lists.served)
    told = len(service) > 1 and min(int(each.members(chosen.holdout).sum()) for each in service) >= LEAST
    slices = [*slices, *(service if told else [])]
    return Decision(
        metric=metric,
        effect=effect,
        chosen=chosen,
        rival=rival,
        overall=compare(chosen, rival, metric) if rival else None,
        asked=slices,
        slices=compare_slices(chosen, rival, metric, slices) if rival else [],
    )
