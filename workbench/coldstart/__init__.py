"""Serving who and what is new: protocols, methods, curves over what is known, exploration in a world with known truth."""

from workbench.coldstart.blend import EvidenceBlend, Trust, learn_trust
from workbench.coldstart.curves import Curve, Switching, curves, switch
from workbench.coldstart.methods import Methods, parse_methods, train_methods
from workbench.coldstart.newcomers import DEPTHS, Newcomers, new_items, newcomers, parse_depths, unmet
from workbench.coldstart.segments import SegmentPopularity, person_segments

__all__ = [
    "DEPTHS",
    "Curve",
    "EvidenceBlend",
    "Methods",
    "Newcomers",
    "SegmentPopularity",
    "Switching",
    "Trust",
    "curves",
    "learn_trust",
    "new_items",
    "newcomers",
    "parse_depths",
    "parse_methods",
    "person_segments",
    "switch",
    "train_methods",
    "unmet",
]
