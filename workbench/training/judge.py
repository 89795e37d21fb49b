"""A model in training judged on validation, by the same evaluation as any other."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.data import Holdout
from workbench.errors import NotApplicable
from workbench.evaluation import check_maximised, evaluate, split_name
from workbench.evaluation.scoring import Scorer, name_of, served_by

JudgeCall = Callable[[str, int, int, Callable[[Tensor], Tensor] | None], float]
"""How good a network is after an epoch, higher is better: asked on this device, by this of so many processes, with what adds up over
them."""


@dataclass(frozen=True)
class Judge:
    """Judges whom the model can serve itself; who would get the fallback says nothing of it."""

    model: Scorer
    holdout: Holdout
    watch: str
    """A metric at a cut-off, higher is better."""

    @classmethod
    def of(cls, model: Scorer, holdout: Holdout, watch: str) -> "Judge":
        """Raises RequestError for a metric that does not exist or is not one to maximise, NotApplicable for a cut-off beyond the catalogue,
        for graded gains where there is one grade, and where nobody can be judged.
        """
        check_maximised(watch, "to watch", holdout)
        served = served_by(model, holdout, holdout.users, name_of(model), fallback=model)
        if not served.any():
            raise NotApplicable(
                f"{name_of(model)} can serve nobody of the {len(holdout.users):,} people it would be judged on in training."
            )
        return cls(model, holdout.select(served), watch)

    def __call__(self, device: str, rank: int = 0, world: int = 1, total: Callable[[Tensor], Tensor] | None = None) -> float:
        """The mean over people. Of `world` processes each scores every `world`-th person, on its own device, and `total` adds up over all
        of them.
        """
        n = len(self.holdout.users)
        values = torch.zeros(n, dtype=torch.float64)
        own = torch.arange(n) % world == rank
        if own.any():
            k = split_name(self.watch)[1]
            values[own] = evaluate(self.model, self.holdout.select(own), ks=(k,), device=device).values(self.watch)
        return float((total(values) if total else values).mean())
