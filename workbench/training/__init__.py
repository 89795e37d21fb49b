"""Where and how models are trained."""

from workbench.training.backtest import judge_over_windows
from workbench.training.device import Device, choose_device
from workbench.training.search import Choice, search

__all__ = ["Choice", "Device", "choose_device", "judge_over_windows", "search"]
