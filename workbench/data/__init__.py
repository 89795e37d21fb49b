"""Cards, snapshots, interactions, splits."""

from workbench.data.audit import Finding, audit
from workbench.data.card import Card, list_cards, load_card
from workbench.data.dataset import Dataset, load_dataset
from workbench.data.holdout import Holdout, tie_ranks
from workbench.data.interactions import Interactions, UserBatch
from workbench.data.snapshot import Snapshot, prepare
from workbench.data.splits import Split

__all__ = [
    "Card",
    "Dataset",
    "Finding",
    "Holdout",
    "Interactions",
    "Snapshot",
    "Split",
    "UserBatch",
    "audit",
    "list_cards",
    "load_card",
    "load_dataset",
    "prepare",
    "tie_ranks",
]
