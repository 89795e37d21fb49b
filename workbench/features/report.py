"""What a table of features is worth knowing of before a model learns from it."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from torch import Tensor

from workbench.evaluation import auc
from workbench.features.build import FeatureFrame
from workbench.features.catalogue import group_of
from workbench.features.definition import Feature

Values = npt.NDArray[np.float64]
BINS = 10
LEAST = 1e-4
"""Share that a bin without anybody is taken for, so that the index is finite."""
DRIFTED = 0.25
"""Of the stability index: what scorecards call a shift that calls for a new model."""
SUSPICIOUS = 0.95
"""AUC of one feature alone, either way round, above which it rather knows the answer than predicts it."""


def stability_index(before: Tensor, after: Tensor, category: bool = False) -> float:
    """Σ (q − p) ln(q / p) over bins, with p and q the shares of `before` and `after` in each (the population stability index; Siddiqi
    2006).

    before, after: float (n,), (m,); NaN is a bin of its own, and so is each value that a tenth of `before` has, or, of a category, each
    name, and each that is new. What is left is in tenths. At least 0; 0 where both are alike; NaN where one of them has no rows.
    """
    if not len(before) or not len(after):
        return math.nan
    a, b = (x.double().numpy() for x in (before, after))
    known = a[~np.isnan(a)]
    values, counts = np.unique(known, return_counts=True)
    own = values if category else values[counts * BINS >= len(known)]
    rest = known[~np.isin(known, own)]
    edges = np.unique(np.quantile(rest, np.linspace(0, 1, BINS + 1)[1:-1])) if len(rest) else np.empty(0)
    p, q = (_shares(each, own, edges) for each in (a, b))
    return float(((q - p) * np.log(q / p)).sum())


def _shares(values: Values, own: Values, edges: Values) -> Values:
    missing = np.isnan(values)
    known = values[~missing]
    place = np.searchsorted(own, known)
    alone = np.isin(known, own)
    bins = np.where(alone, place, len(own) + np.searchsorted(edges, known, side="right"))
    counts = np.bincount(bins, minlength=len(own) + len(edges) + 1)
    shares: Values = np.append(counts, missing.sum()) / len(values)
    return np.maximum(shares, LEAST)


def suspicion(values: Tensor, labels: Tensor) -> float:
    """AUC of the feature alone, whichever way round, with what is missing below everything: float in [0.5, 1]; NaN where all labels are
    alike.

    values: float (n,); labels: bool (n,).
    """
    if not labels.any() or labels.all():
        return math.nan
    found = auc(values.nan_to_num(nan=-np.inf, neginf=-np.inf).double(), labels.long())
    return max(found, 1 - found)


def feature_report(train: FeatureFrame, labels: Tensor, test: FeatureFrame | None = None) -> pd.DataFrame:
    """One row for each feature: what it is, how often it is there, how it moved from training to test, how much it says alone.

    labels: bool (n,), of the training rows.
    """
    rows = []
    for place, each in enumerate(train.definitions):
        values = train.values[:, place]  # noqa: PD011, no pandas
        known = values[~values.isnan()]
        alone = suspicion(values, labels)
        rows.append(
            {
                "feature": each.name,
                "group": group_of(each),
                "what it is": each.text,
                "there": 1 - values.isnan().double().mean().item(),
                "different": len(known.unique()),
                "drift": stability_index(values, test.values[:, place], each.category) if test is not None else math.nan,  # noqa: PD011
                "AUC alone": alone,
                "suspicious": "knows the answer?" if alone > SUSPICIOUS else "never there" if not len(known) else "",
            }
        )
    return pd.DataFrame(rows)


def feature_docs(definitions: Sequence[Feature]) -> str:
    """The definitions as a table in Markdown."""
    head = "| feature | of | what it is | events | privacy | owner |\n|---|---|---|---|---|---|\n"
    return head + "\n".join(
        f"| `{each.name}` | {each.entity} | {each.text} | {', '.join(each.kinds) or '–'} | {each.privacy} | {each.owner} |"
        for each in definitions
    )


def lineage(definitions: Sequence[Feature], models: Sequence[str]) -> pd.DataFrame:
    """One row for each source and feature: what is read of the data, the feature made of it, the models that learn from it."""
    rows = []
    for each in definitions:
        if each.kinds:
            sources = [f"events: {kind}" for kind in each.kinds] + ([f"items: {each.group}"] if each.group else [])
        else:
            sources = [
                {"attribute": f"{each.entity}s: {each.of}", "given": f"retrieval: {each.of}"}.get(each.aggregation, "the request's moment")
            ]
        rows += [{"source": source, "feature": each.name, "models": ", ".join(models)} for source in sources]
    return pd.DataFrame(rows)
