"""From a challenger to a champion: gates, export with proof, bundles, the registry."""

from workbench.promotion.bundle import write_bundle
from workbench.promotion.decide import Decision, Result, decide
from workbench.promotion.gates import Gates, load_gates
from workbench.promotion.page import Contest, Smaller, decided, enter, finish, hold, in_8_bits, shipped, strongest
from workbench.promotion.plan import Characteristic, Planned, characteristics, plan
from workbench.promotion.replay import replay
from workbench.promotion.rival import Champion, Entry, champion_of, on_validation
from workbench.promotion.spec import Spec, make_spec, parse_ranker, parse_retriever
from workbench.promotion.system import System, Trained, train_system
from workbench.serving.registry import Registry, Version

__all__ = [
    "Champion",
    "Characteristic",
    "Contest",
    "Decision",
    "Entry",
    "Gates",
    "Planned",
    "Registry",
    "Result",
    "Smaller",
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
    "in_8_bits",
    "load_gates",
    "make_spec",
    "on_validation",
    "parse_ranker",
    "parse_retriever",
    "plan",
    "replay",
    "shipped",
    "strongest",
    "train_system",
    "write_bundle",
]
