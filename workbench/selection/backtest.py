"""The chosen settings again at earlier moments: is a model's lead a matter of when it was asked?"""

from collections.abc import Sequence
from typing import Any

from workbench.data import Split
from workbench.evaluation import Evaluation, evaluate
from workbench.models import create
from workbench.selection.search import Choice


def judge_over_windows(choice: Choice, windows: Sequence[Split], fallback: str = "popularity", **judged: Any) -> list[Evaluation]:
    """One training and evaluation in each window of `rolling_origin`, with the settings of `choice`; windows with nobody to judge are left
    out. judged: `ks` and so on, for `evaluate`.
    """
    found = []
    for window in windows:
        holdout = window.holdout("test")
        if len(holdout.users):
            fallen = create(fallback).fit(window.fit_on)
            found.append(evaluate(choice.train_on(window.fit_on), holdout, name=choice.name, fallback=fallen, **judged))
    return found
