"""Metrics, the harness, intervals, comparisons, decisions. Takes anything that scores; knows no model."""

from workbench.evaluation.adjusted import Adjusted, adjusted_gap
from workbench.evaluation.backtest import Backtest, backtest
from workbench.evaluation.calibration import Calibration, brier, calibration_by, calibration_error, evaluate_calibration, normalised_entropy
from workbench.evaluation.comparison import Comparison, by_mean, compare, compare_models, compare_slices, letters
from workbench.evaluation.decision import Decision, decide
from workbench.evaluation.exposure import SET_METRICS, set_difference
from workbench.evaluation.gaps import Gap, group_gaps, worst_group
from workbench.evaluation.harness import Evaluation, check_cutoff, check_judged, check_maximised, cutoffs, evaluate, evaluate_lists, pool
from workbench.evaluation.intervals import Interval, bootstrap_mean, bootstrap_means
from workbench.evaluation.item_groups import ItemGroup, group_exposure, liked_shares, lorenz, membership, miscalibration, popularity_lift
from workbench.evaluation.metrics import METRICS, label, one_truth_ndcg, recall_ceiling, split_name
from workbench.evaluation.pairs import PairEvaluation, auc, evaluate_pairs, gauc, log_loss
from workbench.evaluation.sampled import SampledEvaluation, sampled_evaluation
from workbench.evaluation.scoring import Scorer
from workbench.evaluation.slices import (
    Slice,
    all_slices,
    by_activity,
    by_column,
    by_popularity,
    by_return,
    by_service,
    by_window,
    named_slices,
    people_slices,
)

__all__ = [
    "METRICS",
    "SET_METRICS",
    "Adjusted",
    "Backtest",
    "Calibration",
    "Comparison",
    "Decision",
    "Evaluation",
    "Gap",
    "Interval",
    "ItemGroup",
    "PairEvaluation",
    "SampledEvaluation",
    "Scorer",
    "Slice",
    "adjusted_gap",
    "all_slices",
    "auc",
    "backtest",
    "bootstrap_mean",
    "bootstrap_means",
    "brier",
    "by_activity",
    "by_column",
    "by_mean",
    "by_popularity",
    "by_return",
    "by_service",
    "by_window",
    "calibration_by",
    "calibration_error",
    "check_cutoff",
    "check_judged",
    "check_maximised",
    "compare",
    "compare_models",
    "compare_slices",
    "cutoffs",
    "decide",
    "evaluate",
    "evaluate_calibration",
    "evaluate_lists",
    "evaluate_pairs",
    "gauc",
    "group_exposure",
    "group_gaps",
    "label",
    "letters",
    "liked_shares",
    "log_loss",
    "lorenz",
    "membership",
    "miscalibration",
    "named_slices",
    "normalised_entropy",
    "one_truth_ndcg",
    "people_slices",
    "pool",
    "popularity_lift",
    "recall_ceiling",
    "sampled_evaluation",
    "set_difference",
    "split_name",
    "worst_group",
]
