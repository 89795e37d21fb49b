"""A policy as a bundle holds it: its TOML, and for each step what it knows of items."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from workbench.errors import RequestError
from workbench.evaluation.item_groups import SMOOTHING
from workbench.files import write_json
from workbench.policy import Facts, Policy
from workbench.policy.calibrated import Calibrate
from workbench.policy.caps import Cap, Once
from workbench.policy.diversify import Dpp, Mmr
from workbench.policy.eligibility import Eligibility, Unseen
from workbench.policy.pool import Pool
from workbench.policy.step import Step
from workbench.serving.policy import STEPS

EVERYBODY = {
    "floor": "a share of everybody's places is decided for all of them together, and a request is one person's",
    "randomise": "its temperature is found over everybody, and a request is one person's",
}
"""Steps that a bundle cannot hold, and why."""


def check_servable(policy: Policy) -> None:
    """Raises RequestError, naming the step, for a policy that a bundle cannot hold."""
    for step in policy.steps:
        kind = str(step.model_dump()["kind"])
        if kind in EVERYBODY:
            raise RequestError(f'the step "{step.title}" cannot be promoted: {EVERYBODY[kind]}. Leave it out.')


def write_policy(folder: Path, policy: Policy, text: str, facts: Facts) -> None:
    """The policy, its TOML being `text`, and the tables of its steps. Raises RequestError as `check_servable` and the steps do."""
    check_servable(policy)
    folder.mkdir(parents=True)
    (folder / "policy.toml").write_text(text, encoding="utf-8")
    everything = Pool(
        users=torch.tensor([-1]), items=torch.arange(facts.data.n_items)[None], scores=torch.zeros(1, facts.data.n_items), k=1
    )
    steps = []
    for number, step in enumerate(policy.steps):
        told, tables = _step(step, facts, everything)
        steps.append({"title": step.title, **told})
        for name, table in tables.items():
            path = folder / ("vectors.parquet" if name == "vectors" else f"{name}_{number}.parquet")
            columns = {str(place): column.numpy() for place, column in enumerate(table.T)}
            pq.write_table(pa.table(columns), path)
    write_json(folder / STEPS, {"steps": steps})


def _step(step: Step, facts: Facts, everything: Pool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What it does, in words of `workbench.serving.policy`, and its tables: (n_items, …) each."""
    match step:
        case Unseen():
            return {"does": "unseen"}, {}
        case Eligibility():
            return {"does": "allow"}, {"allowed": ~step.refused(everything, facts).T}
        case Cap() | Once():
            counted = facts.membership(step.by).counted
            pairs = counted.nonzero() if counted.dim() == 2 else torch.stack([torch.arange(len(counted)), counted], dim=1)[counted >= 0]
            return {"does": "limit", "most": step.most if isinstance(step, Cap) else 1, "items": len(counted)}, {"groups": pairs}
        case Mmr():
            return {"does": "mmr", "weight": step.weight}, {"vectors": facts.vectors}
        case Dpp():
            return {"does": "dpp", "weight": step.weight, "likeness": step.likeness}, {"vectors": facts.vectors}
        case Calibrate():
            return {"does": "calibrate", "weight": step.weight, "smoothing": SMOOTHING}, {"shares": facts.membership(step.by).shares}
    raise RequestError(f'the step "{step.title}" cannot be promoted: no bundle knows how to serve it.')
