"""Fairlearn's view of the groups of one dimension: means by group, the largest difference, the smallest ratio."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from workbench.evaluation.harness import Evaluation
from workbench.evaluation.slices import Slice


def metric_frame(result: Evaluation, groups: Sequence[Slice], metrics: Sequence[str]) -> Any:
    """A `fairlearn.metrics.MetricFrame` over the people in these groups of one dimension, no two of which share anybody; metrics as in
    "ndcg@10". Its `by_group`, `difference()`, `ratio()` and `group_min()` are of the means; intervals are what `group_gaps` is for.

    Raises ValueError for groups of several dimensions, of none, or that overlap.
    """
    from fairlearn.metrics import MetricFrame  # takes a second

    if len({each.dimension for each in groups}) != 1:
        raise ValueError("a metric frame is of the groups of one dimension.")
    member = torch.stack([each.people for each in groups if each.people is not None])
    if len(member) < len(groups) or (member.sum(0) > 1).any():
        raise ValueError(f"the groups of {groups[0].dimension} are no groups of people, or share some.")
    there = member.any(0)
    names = np.array([each.name for each in groups])[member.long().argmax(0)[there].numpy()]
    values = {metric: result.values(metric)[there].numpy() for metric in metrics}
    dummy = np.zeros(len(names))
    return MetricFrame(
        metrics=dict.fromkeys(metrics, _mean),
        y_true=dummy,
        y_pred=dummy,
        sensitive_features=pd.Series(names, name=groups[0].dimension),
        sample_params={metric: {"values": each} for metric, each in values.items()},
    )


def _mean(y_true: Any, y_pred: Any, values: Any) -> float:  # noqa: ARG001, what a metric of Fairlearn's takes
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else float("nan")
