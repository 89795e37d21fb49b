"""One decision about the device, with its reason."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from workbench.errors import RequestError

Precision = Literal["32", "bf16"]
PRECISIONS = ("auto", "32", "bf16")


@dataclass(frozen=True)
class Device:
    name: str
    """What torch calls it: "cpu", "cuda:0", "mps"."""
    precision: Precision
    """Of the arithmetic in training: "32", or "bf16" where products of matrices are rounded to 16 bits. Weights are float32."""
    threads: int
    """CPU threads torch may use."""
    reason: str

    @property
    def kind(self) -> str:
        """ "cpu", "cuda" or "mps"."""
        return self.name.split(":")[0]


def choose_device(wanted: str = "auto", precision: str = "auto", threads: int = 0) -> Device:
    """`auto` takes the first CUDA device, then Apple's, then the CPU; and 16 bits where the device multiplies them natively, which a CPU is
    not taken to do. `threads` = 0 leaves torch's number as it is.

    Raises RequestError for a device that is not here, and for a precision or number of threads that does not exist.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", wanted):
        raise RequestError(f'device = "{wanted}" should be auto, cpu, cuda, cuda:N or mps.')
    if precision not in PRECISIONS:
        raise RequestError(f'precision = "{precision}" should be one of {", ".join(PRECISIONS)}.')
    if threads < 0:
        raise RequestError(f"threads = {threads} should be at least 1, or 0 for what torch takes.")
    name, reason = _found() if wanted == "auto" else (wanted if wanted != "cuda" else "cuda:0", "asked for")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise RequestError(f'device = "{wanted}" is not here: {str(error).splitlines()[0]}. Use "auto" or "cpu".') from None
    arithmetic, because = _precision(name, precision)
    return Device(name, arithmetic, threads or torch.get_num_threads(), f"{reason}; {because}")


def _found() -> tuple[str, str]:
    if torch.cuda.is_available():
        return "cuda:0", "the first CUDA device"
    if torch.backends.mps.is_available():
        return "mps", "Apple's GPU"
    return "cpu", "no GPU found"


def _precision(name: str, wanted: str) -> tuple[Precision, str]:
    if wanted != "auto":
        return ("bf16" if wanted == "bf16" else "32"), f"{wanted} bits asked for" if wanted == "32" else "bf16 asked for"
    if name.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16", "bf16, which it multiplies natively"
    return "32", "32 bits"


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Let torch use `n` CPU threads, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
