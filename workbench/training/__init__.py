"""How models that learn by gradient are trained: the device, the loop, checkpoints, negatives, losses."""

from workbench.training.device import Device, choose_device
from workbench.training.engine import Engine
from workbench.training.learning import Learning
from workbench.training.negatives import Negatives
from workbench.training.objective import Objective
from workbench.training.record import Epoch, Training

__all__ = ["Device", "Engine", "Epoch", "Learning", "Negatives", "Objective", "Training", "choose_device"]
