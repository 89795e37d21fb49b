"""RecBole's deep rankers over our features, with a list's loss where one is wanted."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from workbench.ranking.networks import Network, NetworkConfig


@dataclass(frozen=True, kw_only=True)
class DeepConfig(NetworkConfig):
    network: Literal["DeepFM", "DCNV2", "AutoInt"] = "DeepFM"
    """RecBole's class: Guo et al., IJCAI 2017; Wang et al., WWW 2021; Song et al., CIKM 2019."""
    embedding_size: Annotated[int, Field(ge=1)] = 10
    """Numbers for each feature."""
    hidden: tuple[int, ...] = (64, 32)
    """Widths of the layers of its deep part."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1


class Deep(Network):
    """Learns the last task alone."""

    def __init__(self, config: DeepConfig = DeepConfig()) -> None:
        self.config = config
        self.kind, self.title = config.network.lower(), config.network

    @property
    def outputs(self) -> int:
        return 1

    def build(self) -> nn.Module:
        from workbench.models.recbole.ranker import context_network  # takes three seconds, and changes what NumPy and SciPy have

        config = self.config
        sizes = self.inputs.sizes
        return context_network(config.network, self.inputs.width, sizes, config.embedding_size, config.hidden, config.dropout)
