"""Tables, figures, verdicts, the run record: what a notebook calls to say what it found."""

from workbench.reporting.candidates import (
    candidate_rows,
    checked_candidates,
    frontier_figure,
    frontier_table,
    shipping_guardrails,
    sources_table,
    tasks_table,
)
from workbench.reporting.data_audit import (
    contents_table,
    contract_table,
    drift_figure,
    newcomers_figure,
    popular_items_table,
    tail_figure,
    ties_table,
    timeline_figure,
)
from workbench.reporting.display import Figure, Table
from workbench.reporting.field import against_strongest, beside_table, field_figure, field_table, tradeoff_figure
from workbench.reporting.for_whom import activity_table, over_time, slices_figure, slices_table
from workbench.reporting.learning import learning_figure, learning_table, training_rows
from workbench.reporting.record import metric_rows, record
from workbench.reporting.retrieval import checked_lines, retrieval_verdict, trials_table
from workbench.reporting.split_audit import (
    audit_metrics,
    audit_verdict,
    backtest_figure,
    examine,
    full_log_table,
    judged_lines,
    leaks_table,
    power_table,
    rules_table,
)
from workbench.reporting.verdict import Guardrail, Headline, Verdict

__all__ = [
    "Figure",
    "Guardrail",
    "Headline",
    "Table",
    "Verdict",
    "activity_table",
    "against_strongest",
    "audit_metrics",
    "audit_verdict",
    "backtest_figure",
    "beside_table",
    "candidate_rows",
    "checked_candidates",
    "checked_lines",
    "contents_table",
    "contract_table",
    "drift_figure",
    "examine",
    "field_figure",
    "field_table",
    "frontier_figure",
    "frontier_table",
    "full_log_table",
    "judged_lines",
    "leaks_table",
    "learning_figure",
    "learning_table",
    "metric_rows",
    "newcomers_figure",
    "over_time",
    "popular_items_table",
    "power_table",
    "record",
    "retrieval_verdict",
    "rules_table",
    "shipping_guardrails",
    "slices_figure",
    "slices_table",
    "sources_table",
    "tail_figure",
    "tasks_table",
    "ties_table",
    "timeline_figure",
    "tradeoff_figure",
    "training_rows",
    "trials_table",
]
