"""How training is run: where, in what arithmetic, with which checkpoints. What is learnt is an `Objective` and its `Learning`."""

import contextlib
import hashlib
import logging
import signal
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from workbench.data import Holdout, Interactions
from workbench.errors import RequestError
from workbench.evaluation.scoring import name_of
from workbench.training.checkpoint import Checkpoints
from workbench.training.device import Device, choose_device, threads
from workbench.training.judge import Judge, JudgeCall
from workbench.training.learning import Learning
from workbench.training.objective import Objective
from workbench.training.progress import Progress
from workbench.training.record import Epoch, Meter, Training


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Nothing here changes what is learnt, but for rounding: another device or precision adds up in another order.

    Several processes do where a batch's examples see each other or draw at random: each process has its own share of the batch as in-batch
    negatives, its own further negatives and its own dropout.
    """

    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps; see `choose_device`."""
    precision: str = "auto"
    """auto, 32 or bf16."""
    threads: int = 0
    """CPU threads; 0 for what torch takes."""
    compile: bool = False
    """Compile the loss (torch.compile); needs a C++ compiler on a CPU, and a minute before the first step."""
    devices: int = 1
    """Processes on this machine, one a device; Lightning starts them, or finds that something like torchrun did."""
    num_nodes: int = 1
    """Machines."""
    strategy: str = "auto"
    """Lightning's name of how processes work together, such as "ddp"."""
    checkpoints: Path | None = None
    """A folder for the state after each epoch. Where there is one, training goes on from it."""
    minutes: float | None = None
    """Wall time after which training stops at the end of an epoch, to go on from its checkpoint another time; None for no limit."""
    progress: bool | None = None
    """Whether to show a bar; None for when somebody watches."""
    on_epoch: Callable[[Epoch], None] | None = field(default=None, repr=False)
    """Called after each epoch, in each process; what it raises ends training and reaches whoever trains."""

    def chosen(self) -> Device:
        return choose_device(self.device, self.precision, self.threads)

    def train(
        self,
        objective: Objective,
        learning: Learning,
        *,
        model: Any,
        kind: str,
        train: Interactions | None = None,
        valid: Holdout | None = None,
        judge: JudgeCall | None = None,
    ) -> Training:
        """Teach the objective's network, and leave it on the CPU with the weights of the best epoch on `valid`, or else the last ones.

        model: what is judged on `valid` after an epoch, it scores with the same network. kind: its name in `MODELS`. train: what the
        objective's examples come from; a checkpoint of other data is refused, so without it there are none. judge: in place of `valid`,
        what says how good the network is after an epoch.

        Raises WorkError when a loss is not finite (with step and examples) and when a checkpoint is damaged; RequestError for a device that
        is not here and for checkpoints of another training. Ctrl-C and SIGTERM end training as KeyboardInterrupt; its checkpoints stay.
        """
        device, processes = self.chosen(), self.devices * self.num_nodes
        if objective.n_examples < processes:
            raise RequestError(f"{name_of(model)} has {objective.n_examples} examples to learn from; each process needs one at least.")
        judge = Judge.of(model, valid, learning.watch) if valid is not None else judge
        if self.checkpoints and train is None:
            raise RequestError(f"{name_of(model)} keeps no checkpoints: train it in one go.")
        identity = self._identity(objective, kind, model, train, valid) if train is not None else {}
        kept = Checkpoints(self.checkpoints, identity) if self.checkpoints else None
        start = kept.newest() if kept else None
        if self.minutes is not None and not self.checkpoints:
            raise RequestError(f"minutes = {self.minutes:g} needs a folder for checkpoints to go on from.")
        if kept:
            kept.begin()
        with threads(device.threads):
            return self._run(objective, learning, name_of(model), device, judge, kept, start)

    def _run(
        self,
        objective: Objective,
        learning: Learning,
        name: str,
        device: Device,
        judge: JudgeCall | None,
        kept: Checkpoints | None,
        start: Path | None,
    ) -> Training:
        from pytorch_lightning import Trainer  # takes five seconds, and only models that learn need it

        from workbench.training.loop import Loop, SafeCheckpointIO, Watch

        meter = Meter(device)
        loop = Loop(objective, learning, name, self.compile)
        seconds = None if self.minutes is None else 60 * self.minutes
        watch = Watch(judge, kept, Progress(name, learning.watch, self.progress), meter, seconds, self.on_epoch)
        with _quiet(), _interruptible():
            trainer = Trainer(
                accelerator={"cuda": "gpu"}.get(device.kind, device.kind),
                devices=[int(device.name.split(":")[1])] if device.kind == "cuda" and self.devices == 1 else self.devices,
                num_nodes=self.num_nodes,
                strategy=self.strategy,
                precision="bf16-mixed" if device.precision == "bf16" else "32-true",
                max_epochs=learning.last_epoch,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                limit_val_batches=0,
                num_sanity_val_steps=0,
                callbacks=[watch],
                plugins=[SafeCheckpointIO()],
                use_distributed_sampler=False,
            )
            trainer.fit(loop, ckpt_path=start, weights_only=True)
        if watch.best_weights is not None:
            objective.load_state_dict(watch.best_weights)
        objective.cpu().eval()
        return Training(
            device=device,
            watch=learning.watch,
            curve=watch.curve,
            best_epoch=watch.best_epoch,
            finished=watch.finished,
            seconds=meter.seconds(),
            utilisation=meter.utilisation(),
            peak_memory=meter.peak_memory(),
            resumed_from=watch.resumed_from,
        )

    def _identity(self, objective: Objective, kind: str, model: Any, train: Interactions, valid: Holdout | None) -> dict[str, Any]:
        digest = hashlib.sha256(f"{train.n_users} {train.n_items}".encode())
        for part in (train, *([valid.truth] if valid else [])):
            for column in (part.users, part.items, part.timestamps):
                digest.update(column.numpy().tobytes())
        for table in objective.buffers():  # features, say
            digest.update(table.cpu().numpy().tobytes())
        return {
            "model": kind,
            "settings": asdict(model.config),
            "data": digest.hexdigest()[:16],
            "processes": self.devices * self.num_nodes,
        }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Lightning tells of GPUs that are not there, of workers that a resident data set does not need, and of its products."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric", "lightning")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric|torch\.jit|torchmetrics)\b")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Lightning turns Ctrl-C into `sys.exit(1)` and leaves the signal ignored, and SIGTERM into `sys.exit()`, which says success; both
    become KeyboardInterrupt."""
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    try:
        handler = signal.getsignal(signal.SIGINT)
        yield
    except SIGTERMException:
        raise KeyboardInterrupt from None
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
                signal.signal(signal.SIGINT, handler)
            raise KeyboardInterrupt from None
        raise
