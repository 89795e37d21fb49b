"""The second stage: candidates ordered with features of the moment, by scores that can be made probabilities, and where relevance is lost."""

from workbench.ranking.calibration import METHODS, Calibrated, Isotonic, Platt, corrected
from workbench.ranking.candidates import TASKS, make_examples
from workbench.ranking.deep import Deep, DeepConfig
from workbench.ranking.examples import Examples, joined
from workbench.ranking.explain import explained, permutation_importance, trace
from workbench.ranking.funnel import Changed, Funnel, Loss, gained_and_lost, judge_funnel, judge_ranking, list_of
from workbench.ranking.logged import logged_examples
from workbench.ranking.multitask import MultiTask, MultiTaskConfig
from workbench.ranking.named import RANKERS, RankerField, create_ranker, parse_rankers, train_rankers
from workbench.ranking.position import debiased, examination
from workbench.ranking.prepare import Prepared, prepare, single_stage
from workbench.ranking.stages import Stage, Stages, audit_stages, audited_stages, folds, stages
from workbench.ranking.trees import Trees, TreesConfig

__all__ = [
    "METHODS",
    "RANKERS",
    "TASKS",
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
    "audit_stages",
    "audited_stages",
    "corrected",
    "create_ranker",
    "debiased",
    "examination",
    "explained",
    "folds",
    "gained_and_lost",
    "joined",
    "judge_funnel",
    "judge_ranking",
    "list_of",
    "logged_examples",
    "make_examples",
    "parse_rankers",
    "permutation_importance",
    "prepare",
    "single_stage",
    "stages",
    "trace",
    "train_rankers",
]
