"""Features as of the moment of a request: defined once, made by an engine for many requests or by a store for one."""

from workbench.features.build import FeatureFrame, build_features
from workbench.features.catalogue import GROUPS, chosen_features, group_of, parse_columns, parse_groups, standard_features
from workbench.features.definition import Feature, check_features, feature
from workbench.features.online import OnlineStore
from workbench.features.parity import parity
from workbench.features.report import feature_docs, feature_report, lineage, stability_index, suspicion
from workbench.features.tables import Asked, Tables

__all__ = [
    "GROUPS",
    "Asked",
    "Feature",
    "FeatureFrame",
    "OnlineStore",
    "Tables",
    "build_features",
    "check_features",
    "chosen_features",
    "feature",
    "feature_docs",
    "feature_report",
    "group_of",
    "lineage",
    "parity",
    "parse_columns",
    "parse_groups",
    "stability_index",
    "standard_features",
    "suspicion",
]
