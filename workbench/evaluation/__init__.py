"""Metrics, the harness, intervals, comparisons, decisions. Takes anything that scores; knows no model."""

from workbench.evaluation.comparison import Comparison, by_mean, compare, compare_groups, letters
from workbench.evaluation.decision import Decision, decide
from workbench.evaluation.groups import by_activity
from workbench.evaluation.harness import Evaluation, Scorer, check_cutoff, cutoffs, evaluate
from workbench.evaluation.intervals import Interval, bootstrap_mean, bootstrap_means
from workbench.evaluation.metrics import METRICS, label

__all__ = [
    "METRICS",
    "Comparison",
    "Decision",
    "Evaluation",
    "Interval",
    "Scorer",
    "bootstrap_mean",
    "bootstrap_means",
    "by_activity",
    "by_mean",
    "check_cutoff",
    "compare",
    "compare_groups",
    "cutoffs",
    "decide",
    "evaluate",
    "label",
    "letters",
]
