"""From a challenger to a champion: gates, export with proof, bundles, the registry."""

from workbench.promotion.bundle import write_bundle
from workbench.promotion.decide import Decision, Result, decide
from workbench.promotion.gates import Gates, load_gates
from workbench.promotion.page import Contest, Entry, champion_of, decided, enter, finish, hold, strongest
from workbench.promotion.plan import Characteristic, Planned, characteristics, plan
from workbench.promotion.registry import Registry, Version
from workbench.promotion.replay import replay
from workbench.promotion.system import Spec, System, Trained, parse_ranker, parse_retriever, train_system

__all__ = [
    "Characteristic",
    "Contest",
    "Decision",
    "Entry",
    "Gates",
    "Planned",
    "Registry",
    "Result",
    "Spec",
    "System",
    "Trained",
    "Version",
    "champion_of",
    "characteristics",
    "decide",
    "decided",
    "enter",
    "finish",
    "hold",
    "load_gates",
    "parse_ranker",
    "parse_retriever",
    "plan",
    "replay",
    "strongest",
    "train_system",
    "write_bundle",
]
