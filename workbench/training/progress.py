"""A line that says where a training is, for whoever watches; nothing where nobody does."""

import os
import sys

from tqdm import tqdm

from workbench.training.record import Epoch


def is_watched() -> bool:
    """At a terminal, or in a notebook that a person has open: a server that starts a kernel for one names the notebook's session."""
    return sys.stderr.isatty() or "JPY_SESSION_NAME" in os.environ


class Progress:
    """One bar over epochs, which is gone when training is over."""

    def __init__(self, name: str, watch: str, shown: bool | None = None) -> None:
        """shown: None for when somebody watches."""
        self.name, self.watch = name, watch
        self.shown = is_watched() if shown is None else shown
        self.bar: tqdm | None = None

    def begin(self, epochs: int, done: int) -> None:
        if self.shown:
            self.bar = tqdm(total=epochs, initial=done, desc=self.name, unit="epoch", leave=False)

    def show(self, epoch: Epoch, best: Epoch | None) -> None:
        if self.bar is not None:
            told = {"loss": f"{epoch.loss:.4f}"}
            if epoch.value is not None and best is not None:
                told |= {self.watch: f"{epoch.value:.4f}", "best": f"{best.value:.4f} in epoch {best.number}"}
            self.bar.set_postfix(told, refresh=False)
            self.bar.update()

    def end(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
