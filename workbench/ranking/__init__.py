"""The second stage: candidates ordered with features of the moment, by scores that can be made probabilities, and where relevance is
lost."""

from workbench.ranking.calibration import METHODS, Calibrated, Isotonic, Platt, corrected
from workbench.ranking.candidates import TASKS, make_examples
from workbench.ranking.deep import Deep, DeepConfig
from workbench.ranking.examples import Examples, joined
from workbench.ranking.explain import explained, permutation_importance, trace
from workbench.ranking.funnel import Changed, Funnel, Loss, gained_and_lost, judge_funnel, judge_ranking, list_of
from workbench.ranking.logged import logged_examples
from workbench.ranking.multitask import MultiTask, MultiTaskConfig
from workbench.ranking.named import RANKERS, AnyRanker, RankerField, create_ranker, parse_rankers, train_rankers
from workbench.ranking.page import ablate, calibrations, groups_of, judge_rankers, ranking_over_windows
from workbench.ranking.position import debiased, examination
from workbench.ranking.prepare import Prepared, prepare, single_stage
from workbench.ranking.stages import MOST_PERIODS, Stage, Stages, audit_stages, audited_stages, folds, stages
from workbench.ranking.trees import Trees, TreesConfig

__all__ = [
    "METHODS",
    "MOST_PERIODS",
    "RANKERS",
    "TASKS",
    "AnyRanker",
    "Calibrated",
    "Changed",
    "Deep",
    "DeepConfig",
    "Examples",
    "Funnel",
    "Isotonic",
    "Loss",
    "MultiTask",
    "MultiTaskConfig",
    "Platt",
    "Prepared",
    "RankerField",
    "Stage",
    "Stages",
    "Trees",
    "TreesConfig",
    "ablate",
    "audit_stages",
    "audited_stages",
    "calibrations",
    "corrected",
    "create_ranker",
    "debiased",
    "examination",
    "explained",
    "folds",
    "gained_and_lost",
    "groups_of",
    "joined",
    "judge_funnel",
    "judge_rankers",
    "judge_ranking",
    "list_of",
    "logged_examples",
    "make_examples",
    "parse_rankers",
    "permutation_importance",
    "prepare",
    "ranking_over_windows",
    "single_stage",
    "stages",
    "trace",
    "train_rankers",
]
