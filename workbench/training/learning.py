"""What every model that learns by gradient can be told about its training. A model's config inherits these fields and adds its own."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field


@dataclass(frozen=True, kw_only=True)
class Learning:
    epochs: Annotated[int, Field(ge=1)] = 20
    """Passes over the training examples, at most."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Judgements on validation without a better one after which training ends early; 0 takes all epochs. The best epoch's weights are kept
    either way, when there is a validation part to judge on."""
    stop_after: Annotated[int, Field(ge=0)] = 0
    """Epochs after which training ends although the schedule of the learning rate is made for more; 0 takes all."""
    judge_every: Annotated[int, Field(ge=1)] = 1
    """Epochs from one judgement on validation to the next; the last epoch is always judged."""
    watch: Annotated[str, Field(pattern=r"^[a-z_]+@[1-9]\d*$")] = "ndcg@10"
    """What is judged there: a metric at a cut-off."""
    batch_size: Annotated[int, Field(ge=1)] = 2048
    """Examples for each step of the optimiser, over all processes together."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    """Of Adam (Kingma and Ba, ICLR 2015), at its highest."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Whether the learning rate stays, or falls to zero at the last epoch along half a cosine."""
    warmup: Annotated[int, Field(ge=0)] = 0
    """Steps over which the learning rate rises from zero."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Share of each weight taken away a step, times the learning rate (AdamW: Loshchilov and Hutter, ICLR 2019)."""
    clip: Annotated[float, Field(ge=0)] = 0.0
    """Largest norm of a step's gradient, which is scaled down to it; 0 leaves gradients as they are."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of the weights that training starts from, the order of examples, negatives and dropout."""

    @property
    def last_epoch(self) -> int:
        """The epoch after which training ends, if nothing ends it before."""
        return min(self.epochs, self.stop_after or self.epochs)
