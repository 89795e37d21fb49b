"""Lightning's loop, lean: many steps of the optimiser in one of its own, nothing logged or read back from the device in between.

Lightning runs epochs, processes, precision and restoring; `engine.py` decides and this file is what Lightning calls.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Generator, Tensor
from torch.nn.utils import clip_grad_norm_

from workbench.errors import WorkError
from workbench.training.checkpoint import Checkpoints, read_checkpoint, write_checkpoint
from workbench.training.judge import JudgeCall
from workbench.training.learning import Learning
from workbench.training.objective import Objective
from workbench.training.progress import Progress
from workbench.training.record import Epoch, Meter

BLOCK = 32
"""Steps of the optimiser in one of Lightning's, and from one look at the losses to the next."""
COMMON, OWN = 0, 1
"""Streams of random numbers in an epoch: the same in all processes, and from here on one for each process."""


class Loop(LightningModule):
    """One objective in training. Steps are counted from 0 over all epochs; epochs from 0 here, from 1 where people read them."""

    def __init__(self, objective: Objective, learning: Learning, name: str, compiled: bool) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.objective, self.learning, self.name = objective, learning, name
        self.loss = torch.compile(objective.loss) if compiled else objective.loss
        self.step = 0
        self.epoch = 0
        """In training. Lightning's own number is one behind when a training that goes on plans its first epoch."""
        self.steps_an_epoch = 0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        rate, decay, fused = self.learning.learning_rate, self.learning.weight_decay, self.device.type in ("cpu", "cuda")
        if decay:
            return torch.optim.AdamW(self.objective.parameters(), lr=rate, weight_decay=decay, fused=fused)
        return torch.optim.Adam(self.objective.parameters(), lr=rate, fused=fused)

    def train_dataloader(self) -> "Blocks":
        return Blocks(self)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:  # noqa: ARG002
        return batch  # the examples are there already

    def on_train_start(self) -> None:
        self.objective.place(self.device)

    def on_train_epoch_start(self) -> None:
        self.objective.train()
        self.own = self.generator(OWN + self.global_rank)
        self.common = self.generator(COMMON)
        self.total, self.count = torch.zeros((), device=self.device), torch.zeros((), dtype=torch.int64, device=self.device)

    def generator(self, stream: int) -> Generator:
        """Of this epoch: a training that goes on at an epoch's edge draws what an undisturbed one draws."""
        words = np.random.SeedSequence((self.learning.seed, self.epoch, stream)).generate_state(1)
        return Generator(device=self.device).manual_seed(int(words[0]))  # on a CPU torch reads 32 bits of a seed and no more

    def training_step(self, block: list[Tensor]) -> None:
        """Some steps of the optimiser on these batches, one after another."""
        optimiser = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimiser, torch.optim.Optimizer)
        drawn = self.objective.draw(torch.cat(block), self.common)
        sizes, losses, counts = [len(places) for places in block], [], []
        for step, batch in enumerate(zip(*(each.split(sizes) for each in drawn), strict=True), self.step):
            total, count = self.loss(*(each[self.global_rank :: self.trainer.world_size] for each in batch), generator=self.own)
            if not self.objective.own_gradients:
                optimiser.zero_grad()
                self.descend(total, count)
            if self.learning.clip:
                clip_grad_norm_(self.objective.parameters(), self.learning.clip)
            for group in optimiser.param_groups:
                group["lr"] = self.rate(step)
            optimiser.step()
            losses.append(total.detach())
            counts.append(count)
        self.step += len(block)
        found = torch.stack(losses)
        self.total += found.sum()
        self.count += torch.stack(counts).sum()
        self.check(found, block)

    def descend(self, total: Tensor, count: Tensor) -> None:
        """Gradients of the mean loss. Of several processes Lightning takes the mean, so each divides by what makes that the right one."""
        if self.trainer.world_size == 1:
            total.backward(1.0 / count)  # its hooks would take a tenth of a small step and do nothing
        else:
            self.manual_backward(total / self.trainer.strategy.reduce(count.double(), reduce_op="mean"))

    def rate(self, step: int) -> float:
        """The learning rate of this step."""
        learning, rate = self.learning, self.learning.learning_rate
        if learning.schedule == "cosine":
            rate *= (1 + math.cos(math.pi * min(1.0, step / (learning.epochs * self.steps_an_epoch)))) / 2
        return rate * min(1.0, (step + 1) / learning.warmup) if learning.warmup else rate

    def check(self, losses: Tensor, block: list[Tensor]) -> None:
        """Raises WorkError, naming the first step whose loss is not finite: one look at the device for the whole block."""
        broken = torch.nonzero(~losses.isfinite())
        if len(broken):
            at = int(broken[0])
            examples = ", ".join(str(place) for place in block[at][:3].tolist())
            where = f"epoch {self.epoch + 1}, step {self.step - len(block) + at} (examples {examples}, …)"
            raise WorkError(f"{self.name}: the loss is {losses[at].item()} in {where}. Lower learning_rate, or set clip.")

    def check_weights(self) -> None:
        """Raises WorkError when the last step left something that is not finite: no loss tells of it any more."""
        for name, weight in self.objective.named_parameters():
            if not weight.isfinite().all():
                where = f"epoch {self.epoch + 1}, step {self.step - 1}"
                raise WorkError(f"{self.name}: {name} is not finite after {where}. Lower learning_rate, or set clip.")

    def on_train_epoch_end(self) -> None:
        self.epoch += 1

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["step"] = self.step

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.step, self.epoch = checkpoint["step"], checkpoint["epoch"] + 1  # written at an epoch's end, before Lightning counts it

    def mean_loss(self) -> float:
        """Of the epoch so far, over all processes."""
        if self.trainer.world_size == 1:
            return float(self.total) / int(self.count)
        total, count = self.trainer.strategy.reduce(torch.stack([self.total.double(), self.count.double()]), reduce_op="sum")
        return float(total / count)


class Blocks:
    """An epoch's batches, some at a time; planned anew whenever an epoch begins."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop

    def __iter__(self) -> Iterator[list[Tensor]]:
        loop = self.loop
        batches = loop.objective.plan(loop.learning.batch_size, loop.generator(COMMON))
        batches = _no_small_one(batches, loop.trainer.world_size)
        loop.steps_an_epoch = len(batches)
        left = iter(batches)
        while block := list(islice(left, BLOCK)):
            yield block


def _no_small_one(batches: list[Tensor], world: int) -> list[Tensor]:
    """A batch with fewer examples than there are processes joins the one before; the first one has the next one join it."""
    joined: list[Tensor] = []
    for batch in batches:
        if joined and min(len(batch), len(joined[-1])) < world:
            joined[-1] = torch.cat([joined[-1], batch])
        else:
            joined.append(batch)
    return joined


class Watch(Callback):
    """After each epoch: judge, remember the best weights, write a checkpoint, say where we are, stop in time."""

    def __init__(
        self,
        judge: JudgeCall | None,
        checkpoints: Checkpoints | None,
        progress: Progress,
        meter: Meter,
        seconds: float | None,
        on_epoch: Callable[[Epoch], None] | None,
    ) -> None:
        self.judge, self.checkpoints, self.progress, self.meter, self.allowed = judge, checkpoints, progress, meter, seconds
        self.on_epoch = on_epoch
        self.curve: list[Epoch] = []
        self.best_epoch = 0
        self.best_weights: dict[str, Tensor] | None = None
        self.resumed_from, self.finished = 0, True

    def on_train_start(self, trainer: Trainer, loop: Loop) -> None:  # type: ignore[override]
        self.progress.begin(loop.learning.last_epoch, len(self.curve))
        trainer.should_stop = not self.patient(loop.learning)  # where a training that goes on was over already

    def on_train_epoch_start(self, trainer: Trainer, loop: Loop) -> None:  # type: ignore[override]  # noqa: ARG002
        self.began = self.meter.seconds()

    def on_train_epoch_end(self, trainer: Trainer, loop: Loop) -> None:  # type: ignore[override]
        loss = loop.mean_loss()  # waits for the device
        self.meter.look()
        loop.check_weights()
        seconds = (self.curve[-1].seconds if self.curve else 0.0) + self.meter.seconds() - self.began
        number, last = len(self.curve) + 1, len(self.curve) + 1 >= loop.learning.last_epoch
        value = None
        if self.judge and (last or number % loop.learning.judge_every == 0):
            loop.objective.eval()
            value = self.judge(
                str(loop.device), loop.global_rank, trainer.world_size, _sum_over(trainer) if trainer.world_size > 1 else None
            )
        self.curve.append(Epoch(number=number, loss=loss, seconds=seconds, value=value))
        self.keep(loop)
        self.progress.show(self.curve[-1], self.best())
        patient = self.patient(loop.learning)
        over = self.allowed is not None and self.meter.seconds() >= self.allowed and not last
        over = trainer.strategy.reduce_boolean_decision(over, all=False)
        self.finished = not (patient and over)
        trainer.should_stop = over or not patient
        if self.checkpoints:
            path = self.checkpoints.path(number)
            trainer.save_checkpoint(path)
            if trainer.is_global_zero:
                self.checkpoints.sweep()
        if self.on_epoch is not None:
            self.on_epoch(self.curve[-1])

    def keep(self, loop: Loop) -> None:
        best = self.best()
        if best is None or self.curve[-1] is best:
            self.best_epoch = self.curve[-1].number
            if best is not None:
                self.best_weights = {name: tensor.detach().cpu().clone() for name, tensor in loop.objective.state_dict().items()}

    def best(self) -> Epoch | None:
        """The first of the best."""
        judged = [(epoch.value, -epoch.number) for epoch in self.curve if epoch.value is not None]
        return self.curve[-max(judged)[1] - 1] if judged else None

    def patient(self, learning: Learning) -> bool:
        """Whether another epoch may still be better."""
        since_best = sum(epoch.value is not None for epoch in self.curve[self.best_epoch :])
        return learning.patience == 0 or since_best < learning.patience

    def state_dict(self) -> dict[str, Any]:
        return {"curve": [asdict(epoch) for epoch in self.curve], "best_epoch": self.best_epoch, "best_weights": self.best_weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.curve = [Epoch(**epoch) for epoch in state_dict["curve"]]
        self.best_epoch, self.best_weights = state_dict["best_epoch"], state_dict["best_weights"]
        self.resumed_from = len(self.curve)

    def on_exception(self, trainer: Trainer, loop: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        self.progress.end()

    def on_train_end(self, trainer: Trainer, loop: LightningModule) -> None:  # noqa: ARG002
        self.progress.end()


def _sum_over(trainer: Trainer) -> Any:
    return lambda values: trainer.strategy.reduce(values.to(trainer.strategy.root_device), reduce_op="sum").cpu()


class SafeCheckpointIO(TorchCheckpointIO):
    """Reading and writing by `checkpoint.py`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:  # noqa: ARG002
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:  # noqa: ARG002
        return read_checkpoint(Path(path), map_location)
