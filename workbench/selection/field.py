"""Models side by side: one that fails is left out with its reason, and the others go on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.data import Holdout, Split
from workbench.errors import NotApplicable, RequestError, WorkError, reason
from workbench.evaluation import Evaluation, by_mean, check_judged
from workbench.selection.backtest import judge_over_windows
from workbench.selection.search import Choice, search


@dataclass(eq=False)
class Field:
    choices: dict[str, Choice]
    """What `search` found, by model; of those that got this far."""
    failed: dict[str, str]
    """Why, by model, of the others."""

    def best(self, metric: str, kind: type) -> str | None:
        """Of the models of a kind, `HasVectors` say, that served anybody on validation the best there; None where there is none."""
        kin = {name: choice.validation for name, choice in self.choices.items() if isinstance(choice.early, kind)}
        found = {name: validation for name, validation in kin.items() if validation.lists.served.any()}
        return by_mean(found, metric)[0] if found else None

    def judge(self, holdout: Holdout, **judged: Any) -> dict[str, Evaluation]:
        """Each choice on a holdout; one that fails there goes over to `failed`. judged: `ks`, `fallback` and so on, for `evaluate`.

        Raises as `search_all` does.
        """
        results: dict[str, Evaluation] = {}
        errors: list[Exception] = []
        for name, choice in list(self.choices.items()):
            try:
                results[name] = choice.judge(holdout, **judged)
            except Exception as error:
                errors.append(error)
                self._leave_out(name, error)
        self._check(errors)
        return results

    def over_windows(self, names: Sequence[str], windows: Sequence[Split], **judged: Any) -> list[list[Evaluation]]:
        """`judge_over_windows` for each of these models; a window in which one fails is left out for all, and goes over to `failed`."""
        found: list[list[Evaluation]] = [[] for _ in names]
        for window in windows:
            try:
                each = [judge_over_windows(self.choices[name], [window], **judged) for name in names]
            except Exception as error:
                self.failed["a window of the backtest"] = reason(error)
            else:
                for evaluations, more in zip(found, each, strict=True):
                    evaluations += more
        return found

    def _leave_out(self, name: str, error: Exception) -> None:
        self.choices.pop(name, None)
        self.failed[name] = reason(error)

    def _check(self, errors: list[Exception]) -> None:
        """Nobody is left: is there no answer on this data, or did the work fail?"""
        if self.choices:
            return
        kind = next((kind for kind in (NotApplicable, RequestError) if all(isinstance(error, kind) for error in errors)), WorkError)
        same = set(self.failed.values())
        told = "; ".join(f"{name}: {why}" for name, why in self.failed.items())
        raise kind(same.pop() if len(same) == 1 else f"none of the models could be judged. {told}") from errors[-1]


def search_all(names: Iterable[str], parts: Split, metric: str, **asked: Any) -> Field:
    """`search` for each of these models, with the same `asked`.

    Raises NotApplicable when none of them has an answer on this data, RequestError when all were asked wrongly, WorkError when all fail
    otherwise.
    """
    check_judged(parts.holdout("valid"))  # no model's fault: each would say so in words of its own
    field, errors = Field({}, {}), []
    for name in names:
        try:
            field.choices[name] = search(name, parts, metric, **asked)
        except Exception as error:
            errors.append(error)
            field._leave_out(name, error)
    field._check(errors)
    return field
