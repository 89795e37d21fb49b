"""Where and how models are trained."""

from workbench.training.device import Device, choose_device
from workbench.training.search import Choice, search

__all__ = ["Choice", "Device", "choose_device", "search"]
