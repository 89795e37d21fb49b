"""Settings chosen on validation, and the chosen ones trained again: more than once, or in earlier windows."""

from workbench.selection.backtest import judge_over_windows
from workbench.selection.field import Field, search_all
from workbench.selection.search import Choice, How, search

__all__ = ["Choice", "Field", "How", "judge_over_windows", "search", "search_all"]
