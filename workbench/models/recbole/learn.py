"""RecBole's models as objectives of our engine: its losses, our examples, our loop."""

import logging
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import normalize, softplus

from workbench.data import Interactions
from workbench.errors import NotApplicable, WorkError
from workbench.models.recbole.dataset import ITEM, LENGTH, SEQUENCE, Data
from workbench.models.recbole.examples import Columns, Examples, People, Whole, examples_for, with_features
from workbench.models.recbole.families import FAMILY, FROM_PEOPLE
from workbench.models.recbole.faster import Graph
from workbench.models.recbole.library import Interaction, interaction
from workbench.training import Objective
from workbench.training.losses import softmax_loss

COUNTED = ("Lt_history", "Lt_count")
"""DiffRec's losses of late, by which it draws steps."""
KEPT = ("restore_user_e", "restore_item_e", "i_embedding")
"""Where models keep what they made of all people or items when they were last asked."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """RecBole's models draw from three global generators, sum in any order and make torch warn: here they draw from `seed`, sum in one
    order and are silent, and all is left as it was."""
    before, order = (random.getstate(), np.random.get_state()), torch.are_deterministic_algorithms_enabled()  # noqa: NPY002
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    with torch.random.fork_rng(), silent():
        reseed(seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(order, warn_only=warned)
            torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002


@contextmanager
def silent() -> Iterator[None]:
    """Torch tells RecBole of ways that it will do without one day, and of those that are new; RecBole tells of settings of its trainer."""
    root = logging.getLogger()
    root.addFilter(_not_recboles)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"recbole\b")
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support|.* does not have a deterministic implementation")
            yield
    finally:
        root.removeFilter(_not_recboles)


def _not_recboles(record: logging.LogRecord) -> bool:
    return Path(record.pathname).parts[-4:-2] != ("recbole", "model")


def one_line(error: BaseException) -> str:
    """An error of RecBole's in a line of ours."""
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no reason given'}".rstrip(".")


def reseed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


def move(model: nn.Module, device: torch.device) -> None:
    """In place, with the tensors that RecBole keeps beside the weights."""
    model.to(device)
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, torch.device):
                setattr(module, name, device)
            elif isinstance(value, Tensor | Graph | Interaction):
                setattr(module, name, value.to(device))


def forget(model: nn.Module) -> None:
    """What was made of other weights."""
    for name in KEPT:
        if hasattr(model, name):
            setattr(model, name, None)


class Learn(Objective):
    """RecBole's own loss, as many times as there are examples: it is a mean over a batch."""

    def __init__(self, model: Any, examples: Examples, data: Data) -> None:
        super().__init__()
        self.model, self.examples, self.data, self.n_examples = model, examples, data, examples.n
        self.epoch, self.begins = 0, False
        for place, table in enumerate(data.features()):
            self.register_buffer(f"features_{place}", table, persistent=False)  # so that a checkpoint of others is refused

    def train(self, mode: bool = True) -> Self:
        if not mode:
            return super().train(False)
        self.training = True  # the model itself follows when its epoch begins: SGL draws graphs then
        return self

    def place(self, device: torch.device) -> None:
        self.examples.to(device)
        self.data.to(device)
        move(self.model, device)

    def plan(self, batch_size: int, generator: Generator) -> list[Tensor]:
        self.begins = True
        return super().plan(batch_size, generator)

    def draw(self, places: Tensor, generator: Generator) -> tuple[Tensor, ...]:
        return self.examples.draw(places, generator)

    def loss(self, *drawn: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        if self.begins:
            self.begin(generator)
        return self.counted(self.examples.columns(*drawn, generator=generator), torch.full((), len(drawn[0]), device=drawn[0].device))

    def counted(self, columns: Columns, count: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of a batch's losses, and how many that is; count: its examples, an int64 scalar."""
        return self.of(columns) * count, count

    def begin(self, generator: Generator) -> None:
        """An epoch: its random numbers depend on it and the seed alone, and what a model prepares for it is made of them."""
        self.begins, self.epoch = False, self.epoch + 1
        reseed(int(torch.randint(2**31, (), generator=generator, device=generator.device)))
        self.model.train()
        if hasattr(self.model, "random_list"):  # LINE goes through people in an order of its own, from wherever it was
            self.model.random_list, self.model.random_pr = np.random.permutation(self.model.get_user_id_list()), 0  # noqa: NPY002

    def of(self, columns: Columns) -> Tensor:
        """The loss of a batch."""
        return torch.stack(self.losses(columns)).sum()

    def losses(self, columns: Columns, **how: Any) -> list[Tensor]:
        """What it is the sum of, scalars. Raises WorkError when RecBole's code fails."""
        try:
            found = self.model.calculate_loss(interaction(columns), **how)
        except Exception as error:
            raise WorkError(f"recbole:{type(self.model).__name__} failed in training: {one_line(error)}.") from error
        return [part.sum() for part in (found if isinstance(found, tuple) else (found,))]  # some are a list of one

    def get_extra_state(self) -> Tensor:
        """Numbers that change in training and are no weights: a checkpoint must hold them."""
        counts = torch.tensor([self.epoch, getattr(self.model, "update", 0)], dtype=torch.float64)
        return torch.cat([counts, *(getattr(self.model, name).double().flatten().cpu() for name in self._tables())])

    def set_extra_state(self, state: Tensor) -> None:
        self.epoch = int(state[0])
        if hasattr(self.model, "update"):
            self.model.update = int(state[1])
        tables = [getattr(self.model, name) for name in self._tables()]
        for table, values in zip(tables, state[2:].split([table.numel() for table in tables]), strict=True):
            table.copy_(values.view_as(table))

    def _tables(self) -> list[str]:
        return [name for name in COUNTED if hasattr(self.model, name)]


class WithFeatures(Learn):
    """Context models: people and items come with their features."""

    def of(self, columns: Columns) -> Tensor:
        return super().of(with_features(columns, self.data))


class InTurns(Learn):
    """RecVAE (Shenbin et al., WSDM 2020): each epoch passes over people for the encoder, keeps it as the prior, then for the decoder."""

    def __init__(self, model: Any, examples: Examples, data: Data, passes: tuple[int, int]) -> None:
        """passes: of the encoder, and of the decoder."""
        super().__init__(model, examples, data)
        self.passes = passes
        self.encoder: bool | None = None
        """Whether it is the encoder's turn."""

    def plan(self, batch_size: int, generator: Generator) -> list[Tensor]:
        plans = [super(InTurns, self).plan(batch_size, generator) for _ in range(sum(self.passes))]
        return [batch + number * self.n_examples for number, plan in enumerate(plans) for batch in plan]

    def draw(self, places: Tensor, generator: Generator) -> tuple[Tensor, ...]:
        return *self.examples.draw(places % self.n_examples, generator), places // self.n_examples

    def loss(self, *drawn: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        *people, number = drawn
        self.turn(encoder=int(number[0]) < self.passes[0])
        return super().loss(*people, generator=generator)

    def turn(self, encoder: bool) -> None:
        if encoder is self.encoder:
            return
        if not encoder:
            self.model.update_prior()
        self.model.encoder.requires_grad_(encoder)
        self.model.decoder.requires_grad_(not encoder)
        self.encoder = encoder

    def of(self, columns: Columns) -> Tensor:
        return torch.stack(self.losses(columns, encoder_flag=self.encoder)).sum()


class WithClusters(Learn):
    """NCL (Lin et al., WWW 2022): people and items are clustered before each epoch; the loss that needs them joins after the warm-up."""

    def __init__(self, model: Any, examples: Examples, data: Data, warm_up: int) -> None:
        super().__init__(model, examples, data)
        self.warm_up = warm_up
        model.run_kmeans = self.cluster  # RecBole's asks for a GPU, and fails with fewer points than clusters

    def begin(self, generator: Generator) -> None:
        super().begin(generator)
        self.model.e_step()

    def of(self, columns: Columns) -> Tensor:
        losses = self.losses(columns)
        return torch.stack(losses[:-1] if self.epoch <= self.warm_up else losses).sum()

    def cluster(self, points: np.ndarray) -> tuple[Tensor, Tensor]:
        """float (k, d), of length 1: the centres; int64 (n,): the nearest one to each point, float (n, d)."""
        import faiss

        means = faiss.Kmeans(points.shape[1], min(self.model.k, len(points)), min_points_per_centroid=1, max_points_per_centroid=10**9)
        means.train(points)
        nearest = torch.from_numpy(means.index.search(points, 1)[1][:, 0])
        return normalize(torch.from_numpy(means.centroids), dim=1).to(self.model.device), nearest.to(self.model.device)


class EveryPosition(Learn):
    """Each event of a window is asked for the next in one pass; RecBole passes over the same prefix anew for each."""

    def plan(self, batch_size: int, generator: Generator) -> list[Tensor]:
        self.begins = True
        return cast(Whole, self.examples).windows.plan(batch_size, generator)

    def counted(self, columns: Columns, count: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002, targets are counted
        self.model.gather_indexes = lambda states, _: states  # the state after every event, not after the last
        try:
            states = self.model.forward(columns[SEQUENCE], columns[LENGTH])
        finally:
            del self.model.gather_indexes
        real = columns[ITEM] > 0
        items, targets = self.model.item_embedding.weight[1:], (columns[ITEM] - 1).clamp(min=0)
        return softmax_loss(states.flatten(0, 1), items, targets.flatten(), counted=real.flatten()), real.sum()


class Bpr(Learn):
    """BPR (Rendle et al., UAI 2009, eq. 4) by the gradient on paper, in a third of automatic differentiation's time: steps this small are
    mostly its bookkeeping. RecBole's loss but for its 1e-10 within the logarithm.
    """

    own_gradients = True

    def place(self, device: torch.device) -> None:
        super().place(device)
        tables = self.model.user_embedding.weight, self.model.item_embedding.weight
        self.tables = [(table, torch.zeros_like(table)) for table in tables]

    @torch.no_grad()
    def loss(self, *drawn: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:  # noqa: ARG002, all of it was drawn
        users, items, unseen = drawn
        (people, of_people), (catalogue, of_items) = self.tables
        n, k = unseen.shape
        pairs = torch.cat([items, unseen.T.flatten()])
        person = people.index_select(0, users)
        found = catalogue.index_select(0, pairs).view(1 + k, n, -1)
        gaps = found[1:] - found[:1]  # (k, n, d): from the item liked to each that was not
        wrong = (gaps * person).sum(2)
        slopes = wrong.sigmoid().div_(n * k)[:, :, None]
        pulls = torch.empty(1 + k, *person.shape, device=person.device)
        torch.mul(slopes, person, out=pulls[1:])
        torch.neg(_summed(pulls[1:]), out=pulls[0])
        of_people.zero_().index_add_(0, users, _summed(gaps.mul_(slopes)))
        of_items.zero_().index_add_(0, pairs, pulls.flatten(0, 1))
        people.grad, catalogue.grad = of_people, of_items
        return softplus(wrong).sum() / k, torch.full((), n, device=users.device)


def _summed(parts: Tensor) -> Tensor:
    """float (n, d), of (k, n, d); a sum of one takes as long as any."""
    return parts[0] if len(parts) == 1 else parts.sum(0)


def objective_for(name: str, model: Any, data: Data, log: Interactions, config: Any) -> Learn:
    examples = examples_for(name, model, log, config)
    if not examples.n:
        lacks = "somebody with two events to learn what follows; nobody has" if FAMILY[name] == "sequential" else "events; there are none"
        raise NotApplicable(f"recbole:{name} needs {lacks}.")
    if name in FROM_PEOPLE - {"DiffRec", "ENMF"}:
        model.get_rating_matrix = cast(People, examples).ratings
    if isinstance(examples, Whole):
        return EveryPosition(model, examples, data)
    if name == "RecVAE":
        return InTurns(model, examples, data, (config.n_enc_epochs, config.n_dec_epochs))
    if name == "BPR":
        return Bpr(model, examples, data)
    if name == "NCL":
        return WithClusters(model, examples, data, config.warm_up_step)
    return (WithFeatures if FAMILY[name] == "context" else Learn)(model, examples, data)
