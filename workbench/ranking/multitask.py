"""Several tasks of one funnel learnt together: experts shared, a gate and a tower for each (MMoE, Ma et al., KDD 2018).

One expert is the shared-bottom network. As a chain, the chance of a task is the product of its own and those before it, all learnt over
every candidate shown, not over those alone that came so far (ESMM, Ma et al., SIGIR 2018): p(like) = p(watch) · p(like | watch).
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from workbench.ranking.networks import Network, NetworkConfig


@dataclass(frozen=True, kw_only=True)
class MultiTaskConfig(NetworkConfig):
    loss: Literal["pointwise", "pairwise", "listwise"] = "pointwise"
    """pointwise learns all tasks; the others order by the last one."""
    experts: Annotated[int, Field(ge=1)] = 4
    """1 is the shared-bottom network."""
    chain: bool = True
    """Whether each task is meant given the one before."""
    embedding_size: Annotated[int, Field(ge=1)] = 8
    """Numbers for a category."""
    hidden: tuple[int, ...] = (64, 32)
    """Widths of an expert's layers."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1


class MultiTask(Network):
    kind = "multi_task"

    def __init__(self, config: MultiTaskConfig = MultiTaskConfig()) -> None:
        self.config = config
        self.title = "Multi-task, shared bottom" if config.experts == 1 else f"Multi-task, {config.experts} experts"

    def build(self) -> nn.Module:
        return _Experts(self.inputs.width, self.inputs.sizes, len(self.tasks), self.config)

    def log_chances(self, logits: Tensor) -> Tensor:
        """Of a chain: the logit of the product of the chances so far."""
        if not self.config.chain:
            return logits
        logs = logsigmoid(logits).cumsum(-1)
        return logs - torch.log(-torch.expm1(logs.clamp(max=-1e-7)))


class _Experts(nn.Module):
    def __init__(self, width: int, sizes: list[int], tasks: int, config: MultiTaskConfig) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, config.embedding_size) for size in sizes)
        given = width + len(sizes) * config.embedding_size
        self.experts = nn.ModuleList(_layers(given, config.hidden, config.dropout) for _ in range(config.experts))
        last = config.hidden[-1] if config.hidden else given
        self.gates = nn.ModuleList(nn.Linear(given, config.experts) for _ in range(tasks))
        self.towers = nn.ModuleList(nn.Sequential(nn.Linear(last, 16), nn.ReLU(), nn.Linear(16, 1)) for _ in range(tasks))

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """float (n, tasks), logits. numbers: float (n, width); codes: int64 (n, categories)."""
        given = torch.cat([numbers, *(table(codes[:, place]) for place, table in enumerate(self.tables))], dim=1)
        found = torch.stack([expert(given) for expert in self.experts], dim=1)  # (n, experts, last)
        mixed = [(gate(given).softmax(1)[:, :, None] * found).sum(1) for gate in self.gates]
        return torch.cat([tower(each) for tower, each in zip(self.towers, mixed, strict=True)], dim=1)


def _layers(given: int, hidden: tuple[int, ...], dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in zip((given, *hidden), hidden, strict=False):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)
