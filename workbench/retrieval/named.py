"""Sources by name, as a notebook's parameter lists them, and what a blend of them is worth at each of the three tasks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from workbench.data import Dataset, Interactions, Side, Split, item_texts
from workbench.errors import NotApplicable, check_once, names_in, reason, unknown
from workbench.evaluation import Comparison, compare
from workbench.models import MODELS, HasVectors, Recommender, create, learns
from workbench.retrieval.blend import PLAIN, Fusion
from workbench.retrieval.config import EXACT, IndexConfig
from workbench.retrieval.content import Lexical, SameGroups
from workbench.retrieval.index import VectorIndex
from workbench.retrieval.judge import BlendWorth, gather, judge_blend
from workbench.retrieval.sources import ItemVectors, PersonVectors, ScorerSource, Source
from workbench.retrieval.tasks import TASKS

SILENT_AT_ZERO = ("item_knn", "user_knn", "session_knn", "rp3beta")
"""Models whose score of an item that nothing speaks for is 0, and of no item below it."""
OTHERS = ("vectors", "neighbours", "same_groups", "lexical")
"""Sources beside the models: an index of a model's vectors asked by the person or by the last item, the items' groups, their words."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Made:
    """Sources that could be made, and why the others could not."""

    sources: list[Source]
    absent: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(source.name for source in self.sources)

    def fusion(self) -> Fusion:
        """Whoever the blend leaves short gets what is popular, where that is among the sources."""
        impersonal = [name for name in ("popularity", "recent_popularity") if name in self.names]
        return Fusion(fallback=tuple(impersonal[:1])) if len(self.names) > 1 else PLAIN


def parse_sources(text: str) -> list[str]:
    """Names out of "ease, vectors". Raises RequestError for an unknown one, one that takes a training, a repeated one, none at all."""
    names = names_in(text)
    known = [*(name for name in MODELS if not learns(name)), *OTHERS]
    for name in names:
        if name not in known:
            raise unknown("source", name, known)
    check_once(names, f'sources = "{text}"', "source", known)
    return names


def make_sources(
    names: Sequence[str],
    data: Dataset,
    log: Interactions,
    ties: Tensor,
    *,
    models: Mapping[str, Recommender],
    side: Side,
    failed: Mapping[str, str] | None = None,
    vectors_of: HasVectors | None = None,
    config: IndexConfig = EXACT,
) -> Made:
    """The sources of these names, as `parse_sources` gives them, for a log.

    models: those that were trained on it already; others are trained here with their defaults. ties: as `Split.ties` has it. vectors_of:
    whose vectors "vectors", by `config`, and "neighbours", by exact cosine, look in. failed: models that are not to be tried again, and
    why. What the data has nothing for, and what fails, is left out with its reason.

    Raises NotApplicable when nothing is left.
    """
    made: list[Source] = []
    absent: dict[str, str] = {}
    makers: dict[str, Callable[[], Source]] = {
        "vectors": lambda: _by_person(vectors_of, config),
        "neighbours": lambda: _by_item(vectors_of),
        "same_groups": lambda: ScorerSource("same_groups", same_groups(side, log), ties, floor=0.0),
        "lexical": lambda: ScorerSource("lexical", _lexical(data), ties, floor=0.0),
    }
    for name in names:
        if failed and name in failed:
            absent[name] = failed[name]
            continue
        try:
            if name in makers:
                made.append(makers[name]())
            else:
                model = models[name] if name in models else create(name).fit(log)
                made.append(ScorerSource(name, model, ties, floor=0.0 if name in SILENT_AT_ZERO else None))
        except Exception as error:
            absent[name] = reason(error)
    if not made:
        raise NotApplicable("; ".join(absent.values()))
    return Made(sources=made, absent=absent)


@dataclass(frozen=True, eq=False, kw_only=True)
class TaskWorth:
    """A blend at one task, beside the source that was best by itself on validation."""

    worth: BlendWorth
    best: str
    gain: Comparison
    """Recall of the blend minus that of `best`."""


def judge_tasks(
    made: Made, names: Sequence[str], best: str, parts: Split, k: int, part: str = "test", fusion: Fusion = PLAIN
) -> dict[str, TaskWorth]:
    """By task: the blend of the sources of these names, and the source `best` alone. A task that leaves nobody to judge is left out, and
    without times those that ask for what was last or next.
    """
    found = {}
    asked = [source for source in made.sources if source.name in {*names, best}]
    for task, view in TASKS.items():
        if task != "home" and not parts.has_times:
            continue
        holdout = view(parts, part)
        if len(holdout.users):
            worth = judge_blend(gather(asked, holdout, k), names, holdout, k, fusion, alone=(best,), contributions=False)
            alone = worth.sources[best].alone
            found[task] = TaskWorth(worth=worth, best=best, gain=compare(worth.blend, alone, f"recall@{k}"))
    return found


def _by_person(model: HasVectors | None, config: IndexConfig) -> Source:
    vectors = _vectors(model)
    return PersonVectors("vectors", vectors, VectorIndex.build(vectors.item_vectors(), config))


def _by_item(model: HasVectors | None) -> Source:
    vectors = _vectors(model).item_vectors()
    return ItemVectors("neighbours", vectors, VectorIndex.build(vectors, IndexConfig(metric="cosine")))


def _vectors(model: HasVectors | None) -> HasVectors:
    if model is None:
        raise NotApplicable("no model that was judged has vectors")
    return model


def same_groups(side: Side, log: Interactions) -> SameGroups:
    """Raises NotApplicable where there is no grouping of items."""
    if side.items is None:
        raise NotApplicable("the card names no grouping of items")
    return SameGroups(side.items, log.events_per_item)


def _lexical(data: Dataset) -> Lexical:
    texts = item_texts(data)
    if texts is None or not any(texts):
        raise NotApplicable("the item table has no public column with words")
    return Lexical(texts)
