"""One decision about the device, with its reason."""

from dataclasses import dataclass

import torch

from workbench.errors import RequestError


@dataclass(frozen=True)
class Device:
    name: str
    """What torch calls it: "cpu", "cuda:0", "mps"."""
    reason: str
    threads: int
    """CPU threads torch may use."""


def choose_device(wanted: str = "auto") -> Device:
    """`auto` takes the first CUDA device, then Apple's, then the CPU. Raises RequestError for a device that is not here."""
    threads = torch.get_num_threads()
    if wanted == "auto":
        if torch.cuda.is_available():
            return Device("cuda:0", "the first CUDA device", threads)
        if torch.backends.mps.is_available():
            return Device("mps", "Apple's GPU", threads)
        return Device("cpu", "no GPU found", threads)
    try:
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise RequestError(f'device = "{wanted}" is not here: {str(error).splitlines()[0]}. Use "auto" or "cpu".') from None
    return Device(wanted, "asked for", threads)
