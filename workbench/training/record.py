"""What a training cost and how it went: beside a model's quality stands its price."""

import contextlib
import os
import resource
import sys
import time
from dataclasses import dataclass, field
from statistics import fmean

import torch

from workbench.training.device import Device


@dataclass(frozen=True, kw_only=True)
class Epoch:
    number: int
    """From 1 on."""
    loss: float
    """Mean over the epoch's examples, while the weights changed."""
    seconds: float
    """Of training since the first epoch, up to the end of this one, without judging; over all pieces of a resumed training."""
    value: float | None = None
    """Of the metric watched, on validation; None where it was not judged."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a model came to be."""

    device: Device
    watch: str
    """The metric watched on validation."""
    curve: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    """The epoch whose weights were kept: the best on validation, or the last one where nothing was judged."""
    finished: bool = True
    """False where the time allowed was over before the epochs were: train once more with the same checkpoints to go on."""
    seconds: float = 0.0
    """From beginning to end, judging and checkpoints included; of this piece alone where a training was resumed."""
    utilisation: float | None = None
    """Share of the device's time that was used: on a CPU processor time over threads × seconds, on a GPU the mean of what its driver said
    at the end of each epoch; None where nobody can tell."""
    peak_memory: int = 0
    """Bytes: with CUDA the most that tensors took in training, with MPS what the driver holds at its end, on a CPU the most that the whole
    process has taken so far."""
    resumed_from: int = 0
    """The epoch after which this piece began."""

    @property
    def best(self) -> float | None:
        """Of the metric watched, at the best epoch."""
        return self.curve[self.best_epoch - 1].value if self.curve else None


class Meter:
    """Time, processor time and memory from its making on."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.seen: list[float] = []
        self.start, self.worked = time.perf_counter(), _processor_seconds()
        if device.kind == "cuda":
            torch.cuda.reset_peak_memory_stats(device.name)

    def seconds(self) -> float:
        return time.perf_counter() - self.start

    def look(self) -> None:
        """At the end of an epoch's training: the driver tells what a GPU did in the last moments and no more."""
        if self.device.kind == "cuda":
            with contextlib.suppress(RuntimeError, ModuleNotFoundError, AssertionError):
                self.seen.append(torch.cuda.utilization(self.device.name) / 100)

    def utilisation(self) -> float | None:
        if self.device.kind == "cpu":
            return (_processor_seconds() - self.worked) / (self.device.threads * max(self.seconds(), 1e-9))
        return fmean(self.seen) if self.seen else None

    def peak_memory(self) -> int:
        if self.device.kind == "cuda":
            return torch.cuda.max_memory_allocated(self.device.name)
        if self.device.kind == "mps":
            return torch.mps.driver_allocated_memory()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


def _processor_seconds() -> float:
    used = os.times()
    return used.user + used.system
