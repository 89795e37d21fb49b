"""Candidates: indexes of item vectors, sources, blends, and what each is worth."""

from workbench.retrieval.blend import Blend, Candidates, Fusion, fuse
from workbench.retrieval.config import IndexConfig, sweep
from workbench.retrieval.content import TEXTS, Lexical, LikeVectors, SameGroups, text_vectors
from workbench.retrieval.index import VectorIndex
from workbench.retrieval.judge import BlendWorth, SourceWorth, choose_sources, gather, judge_blend
from workbench.retrieval.named import Made, TaskWorth, judge_tasks, make_sources, parse_sources
from workbench.retrieval.recall import Recall, recall_against
from workbench.retrieval.refresh import Limits, Staleness, refresh, staleness
from workbench.retrieval.sources import ItemVectors, PersonVectors, ScorerSource, Source
from workbench.retrieval.store import Manifest, StoredIndex, open_index, read_manifest, save_index
from workbench.retrieval.tasks import TASKS, Requests, home, next_in_session, related
from workbench.retrieval.tune import Frontier, Measured, Pick, measure, parse_budget, tune

__all__ = [
    "TASKS",
    "TEXTS",
    "Blend",
    "BlendWorth",
    "Candidates",
    "Frontier",
    "Fusion",
    "IndexConfig",
    "ItemVectors",
    "Lexical",
    "LikeVectors",
    "Limits",
    "Made",
    "Manifest",
    "Measured",
    "PersonVectors",
    "Pick",
    "Recall",
    "Requests",
    "SameGroups",
    "ScorerSource",
    "Source",
    "SourceWorth",
    "Staleness",
    "StoredIndex",
    "TaskWorth",
    "VectorIndex",
    "choose_sources",
    "fuse",
    "gather",
    "home",
    "judge_blend",
    "judge_tasks",
    "make_sources",
    "measure",
    "next_in_session",
    "open_index",
    "parse_budget",
    "parse_sources",
    "read_manifest",
    "recall_against",
    "refresh",
    "related",
    "save_index",
    "staleness",
    "sweep",
    "text_vectors",
    "tune",
]
