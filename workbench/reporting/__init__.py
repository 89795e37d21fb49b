"""Tables, figures, verdicts, the run record: what a notebook calls to say what it found."""

from workbench.reporting.data_audit import (
    audit_metrics,
    audit_verdict,
    contents_table,
    leaks_table,
    popular_items_table,
    splits_table,
    tail_figure,
    timeline_figure,
)
from workbench.reporting.display import Figure, Table
from workbench.reporting.record import metric_rows, record
from workbench.reporting.retrieval import by_group, field_figure, field_table, retrieval_verdict, trials_table
from workbench.reporting.verdict import Guardrail, Headline, Verdict

__all__ = [
    "Figure",
    "Guardrail",
    "Headline",
    "Table",
    "Verdict",
    "audit_metrics",
    "audit_verdict",
    "by_group",
    "contents_table",
    "field_figure",
    "field_table",
    "leaks_table",
    "metric_rows",
    "popular_items_table",
    "record",
    "retrieval_verdict",
    "splits_table",
    "tail_figure",
    "timeline_figure",
    "trials_table",
]
