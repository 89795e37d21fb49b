"""What the engine trains: something that plans an epoch's batches and has a loss."""

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn


class Objective(nn.Module):
    """A network, the examples it learns from, and its loss.

    The examples are tensors that live on the training device, moved there once by `place`; a batch is a selection of them. They are plain
    attributes, not buffers: a checkpoint holds what was learnt and no data. A step works on tensors alone, without reading one back.
    """

    n_examples: int
    own_gradients = False
    """Whether `loss` leaves the gradients of the mean loss in the weights itself. For one process alone; others are differentiated."""

    @abstractmethod
    def place(self, device: torch.device) -> None:
        """Move the examples to `device`; the weights are moved by the engine."""

    def plan(self, batch_size: int, generator: Generator) -> list[Tensor]:
        """One epoch: the places of each batch's examples, int64, each example once; on the generator's device."""
        return list(torch.randperm(self.n_examples, generator=generator, device=generator.device).split(batch_size))

    @abstractmethod
    def draw(self, places: Tensor, generator: Generator) -> tuple[Tensor, ...]:
        """What `loss` needs of the examples at these places, their negatives among it; every tensor has a row for each place.

        Called once for many batches together. The generator is the same in all processes of a training.
        """

    @abstractmethod
    def loss(self, *drawn: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Of one batch, or one process's share of it: the sum of the losses, a scalar, and how many losses that is, an int64 scalar.

        The generator differs between processes; dropout draws from it.
        """


def draw_weights(network: nn.Module, seed: int, spread: Callable[[Tensor], float]) -> None:
    """The weights that training starts from: tables and matrices normal with the standard deviation `spread` of each, biases zero."""
    generator = Generator().manual_seed(seed)
    for name, weight in network.named_parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=spread(weight), generator=generator)
        elif name.endswith("bias"):
            nn.init.zeros_(weight)
