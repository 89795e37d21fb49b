"""From numbers to a sentence: which model, by how much, for whom. Chosen on validation, judged on test."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from workbench.errors import RequestError
from workbench.evaluation.comparison import MIN_PEOPLE, Comparison, by_mean, compare, compare_groups
from workbench.evaluation.harness import Evaluation
from workbench.evaluation.metrics import label


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
    groups: list[Comparison]

    def headline(self, digits: int = 3) -> str:
        """The answer in one or two sentences."""
        if self.overall is None or self.rival is None:
            value = f"{label(self.metric)} {self.chosen.mean(self.metric):.{digits}f}"
            return f"{self.chosen.title} was the only model tried: {value}, with nothing to compare."
        return f"{self._overall_sentence(self.overall, self.rival.title, digits)} {self._groups_sentence(self.overall)}".strip()

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
                return f"{chosen} is behind {rival} by less than the {self.effect:g} that would matter: {name} down {size}."
            case "no difference":
                return f"{chosen} and {rival} do equally well: {name} differs by {size}, and {self.effect:g} would matter."
            case _ if gap.n < MIN_PEOPLE:
                return f"We cannot tell {chosen} from {rival}: {name} differs by {size}, and {gap.n} people are too few."
            case _:
                return (
                    f"We cannot tell {chosen} from {rival}: {name} differs by {size}, "
                    f"and with {gap.n:,} people a difference below {overall.detectable:.{digits}f} often goes unseen."
                )

    def _groups_sentence(self, overall: Comparison) -> str:
        if overall.verdict(self.effect) != "better" or not self.groups:
            return ""
        worse = [c.group for c in self.groups if c.significant and c.difference.value < 0]
        if worse:
            return f"It is the other way round for people with {' or '.join(worse)}."
        unclear = [c.group for c in self.groups if c.verdict(self.effect) == "too few to say"]
        if all(c.significant for c in self.groups):
            return "The difference shows in every activity group."
        if not unclear:
            return "In some activity groups there is no difference."
        if len(unclear) == 1:
            return f"For people with {unclear[0]} we cannot tell."
        return f"Taken alone, {len(unclear)} of {len(self.groups)} activity groups are too few people to say."


def decide(
    validation: Mapping[str, Evaluation],
    test: Mapping[str, Evaluation],
    metric: str,
    groups: Mapping[str, Tensor],
    *,
    effect: float,
) -> Decision:
    """Rank the models on validation, compare the first two on test.

    groups: bool (n,) over the people judged on test, by name. Raises RequestError when the two do not hold the same models or hold none.
    """
    if not validation or set(validation) != set(test):
        raise RequestError(f"validation has {sorted(validation)}, test has {sorted(test)}: a choice needs the same models in both.")
    ranked = by_mean(validation, metric)
    chosen, rival = test[ranked[0]], test[ranked[1]] if len(ranked) > 1 else None
    return Decision(
        metric=metric,
        effect=effect,
        chosen=chosen,
        rival=rival,
        overall=compare(chosen, rival, metric) if rival else None,
        groups=compare_groups(chosen, rival, metric, groups) if rival else [],
    )
