"""Serving who and what is new: protocols, methods, curves over what is known, exploration in a world with known truth."""

from workbench.coldstart.blend import EvidenceBlend, Trust, learn_trust
from workbench.coldstart.curves import Curve, Switching, against_floor, curves, switch
from workbench.coldstart.exploration import Explored, Setting, explore
from workbench.coldstart.loop import Round, closed_loop
from workbench.coldstart.methods import Methods, parse_methods, train_methods
from workbench.coldstart.newcomers import DEPTHS, Newcomers, new_items, newcomers, parse_depths, unmet
from workbench.coldstart.page import NewItems, curves_by_time, in_closed_form, judge_new_items, small_worlds
from workbench.coldstart.segments import SegmentPopularity, person_segments

__all__ = [
    "DEPTHS",
    "Curve",
    "EvidenceBlend",
    "Explored",
    "Methods",
    "NewItems",
    "Newcomers",
    "Round",
    "SegmentPopularity",
    "Setting",
    "Switching",
    "Trust",
    "against_floor",
    "closed_loop",
    "curves",
    "curves_by_time",
    "explore",
    "in_closed_form",
    "judge_new_items",
    "learn_trust",
    "new_items",
    "newcomers",
    "parse_depths",
    "parse_methods",
    "person_segments",
    "small_worlds",
    "switch",
    "train_methods",
    "unmet",
]
