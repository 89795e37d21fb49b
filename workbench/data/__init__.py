"""Cards, snapshots, interactions, splits, the audit of leaks."""

from workbench.data.add import add
from workbench.data.audit import Finding, audit, audit_counts, audited
from workbench.data.card import Card, list_cards, load_card
from workbench.data.dataset import Dataset, load_dataset
from workbench.data.difference import difference
from workbench.data.groups import grouping, groups, item_vectors
from workbench.data.holdout import Holdout, tie_ranks
from workbench.data.interactions import Interactions, UserBatch
from workbench.data.ledger import Ledger, Looks
from workbench.data.power import detectable_difference
from workbench.data.rules import RULES
from workbench.data.side import Side, item_texts, item_titles, side_information
from workbench.data.snapshot import Snapshot, prepare, version, versions
from workbench.data.splits import REFITS, Split, rolling_origin, write_split

__all__ = [
    "REFITS",
    "RULES",
    "Card",
    "Dataset",
    "Finding",
    "Holdout",
    "Interactions",
    "Ledger",
    "Looks",
    "Side",
    "Snapshot",
    "Split",
    "UserBatch",
    "add",
    "audit",
    "audit_counts",
    "audited",
    "detectable_difference",
    "difference",
    "grouping",
    "groups",
    "item_texts",
    "item_titles",
    "item_vectors",
    "list_cards",
    "load_card",
    "load_dataset",
    "prepare",
    "rolling_origin",
    "side_information",
    "tie_ranks",
    "version",
    "versions",
    "write_split",
]
