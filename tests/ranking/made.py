"""Requests with candidates, made up: by hand, at random, with labels that features explain, and as clicks on pages whose bias is known."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from workbench.data import Holdout
from workbench.features import FeatureFrame, feature
from workbench.ranking import Examples
from workbench.testing import interactions
from workbench.testing.synthetic import holdout

N_ITEMS = 12
TIES = torch.randperm(N_ITEMS, generator=torch.Generator().manual_seed(9))


def frame(values: Mapping[str, Sequence[float] | Tensor], names: Mapping[str, tuple[str, ...]] | None = None) -> FeatureFrame:
    """Columns of numbers; those in `names` are codes of these names."""
    names = dict(names or {})
    definitions = tuple(
        feature(name, "item", "attribute", of=name, category=True) if name in names else feature(name, "candidate", "given", of=name)
        for name in values
    )
    columns = [torch.as_tensor(each, dtype=torch.float64) for each in values.values()]
    return FeatureFrame(definitions, torch.stack(columns, dim=1) if columns else torch.empty(0, 0, dtype=torch.float64), names)


def made(
    items: Sequence[Sequence[int]],
    labels: Sequence[Sequence[object]] | None = None,
    *,
    features: FeatureFrame | None = None,
    tasks: tuple[str, ...] = ("liked",),
    n_relevant: Sequence[int] | None = None,
    users: Sequence[int] | None = None,
    given_by: Sequence[int] | None = None,
    sources: tuple[str, ...] = ("a",),
    retriever: str = "a; 10 candidates",
    **more: object,
) -> Examples:
    """A list of items for each request, and as many labels, each a bool or a tuple with one for each task."""
    flat = [item for each in items for item in each]
    told = [
        label if isinstance(label, tuple) else (label,) * len(tasks)
        for each in labels or [[False] * len(i) for i in items]
        for label in each
    ]
    came = torch.tensor(told, dtype=torch.bool).view(len(flat), len(tasks))
    offsets = torch.tensor([0, *(len(each) for each in items)]).cumsum(0)
    hits = [int(came[offsets[row] : offsets[row + 1], -1].sum()) for row in range(len(items))]
    return Examples(
        users=torch.tensor(range(len(items)) if users is None else users, dtype=torch.int64),
        moments=torch.arange(len(items)) * 1000,
        offsets=offsets,
        items=torch.tensor(flat, dtype=torch.int64),
        features=features or frame({"number": torch.arange(len(flat))}),
        labels=came,
        tasks=tasks,
        n_relevant=torch.tensor(hits if n_relevant is None else n_relevant, dtype=torch.int64),
        given_by=torch.tensor([1] * len(flat) if given_by is None else given_by, dtype=torch.int64),
        sources=sources,
        retriever=retriever,
        **more,
    )


@st.composite
def few(draw: st.DrawFn, least: int = 0) -> Examples:
    """Up to five requests, some without candidates; two tasks; more may be relevant than was found."""
    items = draw(st.lists(st.lists(st.integers(0, N_ITEMS - 1), unique=True, max_size=6), min_size=least, max_size=5))
    labels = [[(watched, watched and liked) for watched, liked in draw(pairs_of(len(each)))] for each in items]
    missed = draw(st.lists(st.integers(0, 3), min_size=len(items), max_size=len(items)))
    n_relevant = [sum(liked for _, liked in each) + more for each, more in zip(labels, missed, strict=True)]
    return made(items, labels, tasks=("all", "liked"), n_relevant=n_relevant)


def pairs_of(n: int) -> st.SearchStrategy[list[tuple[bool, bool]]]:
    return st.lists(st.tuples(st.booleans(), st.booleans()), min_size=n, max_size=n)


def listed(examples: Examples, row: int) -> list[int]:
    """Places of a request's candidates."""
    return list(range(int(examples.offsets[row]), int(examples.offsets[row + 1])))


COLOURS = ("blue", "green", "red")


def learnable(n: int = 150, each: int = 12, seed: int = 0) -> Examples:
    """Whether a candidate is watched says `taste` and the colour red, with noise; of what is watched half is liked, the tastier the sooner.

    `noise` says nothing, `gap` is missing for a third and says what `taste` does where it is there.
    """
    rng = np.random.default_rng(seed)
    size = n * each
    taste, noise, colour = rng.normal(size=size), rng.normal(size=size), rng.integers(3, size=size)
    utility = 2.0 * taste + 1.5 * (colour == 2) - 2.0
    watched = rng.random(size) < 1 / (1 + np.exp(-utility))
    liked = watched & (rng.random(size) < 1 / (1 + np.exp(-taste)))
    gap = np.where(rng.random(size) < 1 / 3, np.nan, taste + 0.5 * rng.normal(size=size))
    items = np.argsort(rng.random((n, 40)), axis=1)[:, :each]
    values = {"taste": taste, "noise": noise, "gap": gap, "colour": colour.astype(float)}
    labels = np.stack([watched, liked], axis=1).reshape(n, each, 2).tolist()
    return made(
        items.tolist(),
        [[tuple(label) for label in row] for row in labels],
        features=frame({name: torch.from_numpy(column) for name, column in values.items()}, {"colour": COLOURS}),
        tasks=("all", "liked"),
    )


class Pages(NamedTuple):
    """What a log has of pages, and what is true of them."""

    examples: Examples
    """Candidates in the order of the page; labels are clicks; features `good`, which says what is relevant, and `loud`, which does not."""
    positions: Tensor
    """int64 (n,), from 1."""
    relevance: Tensor
    """float64 (n,): probability of a click on what is examined."""
    looked: Tensor
    """float64 (slots,): probability that a position is examined."""


def pages(n: int, slots: int = 8, seed: int = 0, *, bias: float = 1.5, loudness: float = 2.0, rate: float = 0.5) -> Pages:
    """n pages ordered by `loudness` · loud + noise, whatever is relevant. A slot at p is examined with p^−bias; a click needs that and
    relevance.

    Positions say what is loud, so whoever learns from clicks as they are takes `loud` for relevance.
    """
    rng = np.random.default_rng(seed)
    good, loud = rng.normal(size=(n, slots)), rng.normal(size=(n, slots))
    order = np.argsort(-(loudness * loud + rng.normal(size=(n, slots))), axis=1)
    good, loud = np.take_along_axis(good, order, 1), np.take_along_axis(loud, order, 1)
    relevance = rate / (1 + np.exp(-2 * good))
    looked = np.arange(1.0, slots + 1) ** -bias
    clicked = rng.random((n, slots)) < relevance * looked
    items = np.argsort(rng.random((n, 60)), axis=1)[:, :slots]
    values = {"good": torch.from_numpy(good.ravel()), "loud": torch.from_numpy(loud.ravel())}
    examples = made(items.tolist(), clicked.tolist(), features=frame(values), tasks=("click",))
    positions = torch.arange(1, slots + 1).repeat(n)
    return Pages(examples, positions, torch.from_numpy(relevance.ravel()), torch.from_numpy(looked))


def kendall(scores: Tensor, truth: Tensor, each: int) -> Tensor:
    """float64 (requests,): Kendall's tau of every `each` scores with the truth, in which nothing is equal."""
    s, t = scores.double().view(-1, each), truth.double().view(-1, each)
    over, of = (torch.sign(x[:, :, None] - x[:, None, :]) for x in (s, t))
    return (over * of).sum((1, 2)) / (each * (each - 1))


class Column:
    """A ranker that takes a feature for the score."""

    title = "Column"

    def __init__(self, name: str = "number") -> None:
        self.name = name

    def score(self, examples: Examples) -> Tensor:
        return examples.features.column(self.name)


def judged(examples: Examples) -> Holdout:
    """People who liked what the labels say and, where more is relevant, items that are no candidates."""
    truth = []
    for row in range(len(examples)):
        own = examples.items[listed(examples, row)].tolist()
        hits = [int(examples.items[place]) for place in listed(examples, row) if examples.label[place]]
        others = [item for item in range(N_ITEMS) if item not in own]
        truth += [(row, item) for item in hits + others[: int(examples.n_relevant[row]) - len(hits)]]
    return holdout(interactions([], len(examples), N_ITEMS), interactions(truth, len(examples), N_ITEMS))
