"""Ways to serve somebody new, by name: models, what the items are, what is popular among people of a kind, and the blend of them."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import torch

from workbench.coldstart.blend import EvidenceBlend, HalfAndHalf, Trust, learn_trust
from workbench.coldstart.newcomers import Newcomers
from workbench.coldstart.segments import SegmentPopularity, person_segments
from workbench.data import Dataset, Interactions, Side, Split
from workbench.data.side import sensitive_columns
from workbench.errors import NotApplicable, check_once, names_in, reason, unknown
from workbench.evaluation import Scorer, by_mean, evaluate, split_name
from workbench.models import MODELS, ZOO, create, parse_names
from workbench.ranking.stages import folds
from workbench.retrieval.content import LikeVectors
from workbench.retrieval.named import same_groups
from workbench.selection import How, search_all

OTHERS = ("content", "same_groups", "segment_popularity", "evidence_blend")
"""Methods beside the models: nearest by the items' texts, by their groups, what is popular among people of a kind, the blend."""
PRIORS = ("segment_popularity", "popularity", "recent_popularity")
"""What a blend begins with: the first that there is."""

HOW = How()


@dataclass(eq=False, kw_only=True)
class Methods:
    """Each method twice: as it was before validation, and before test."""

    early: dict[str, Scorer] = field(default_factory=dict)
    late: dict[str, Scorer] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    """To train the model, of those that are trained."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why, by name, of the others."""
    trust: Trust | None = None
    """What the blend learnt on validation."""
    made_of: tuple[str, ...] = ()
    """The blend's prior, content and behaviour."""


def parse_methods(text: str) -> list[str]:
    """Names out of "popularity, content, ease". Raises RequestError for an unknown one, a repeated one or none at all."""
    names = names_in(text)
    for name in names:
        if name not in OTHERS and not name.startswith(ZOO) and name not in MODELS:
            raise unknown("method", name, {*MODELS, *OTHERS})
    if models := [name for name in names if name not in OTHERS]:
        parse_names(", ".join(dict.fromkeys(models)))
    check_once(names, f'methods = "{text}"', "method", sorted({*MODELS, *OTHERS}))
    return names


def train_methods(
    names: Sequence[str],
    data: Dataset,
    parts: Split,
    valid: Newcomers | None,
    metric: str,
    *,
    sensitive: Collection[str] = (),
    how: How = HOW,
) -> Methods:
    """names: as `parse_methods` gives them. valid: the new people of validation, on whom the blend is learnt; None: no blend. how: the
    features in it are what content is compared by too.

    What the data cannot feed is left out with its reason. Raises NotApplicable when nothing is left, RequestError for an unknown sensitive
    column.
    """
    made, side = Methods(), how.side or Side()
    if "segment_popularity" in names:
        sensitive_columns(data, sensitive)  # a wrong name is told before anything is trained
    _train_models(made, [name for name in names if name not in OTHERS], parts, metric, how)
    makers: dict[str, Callable[[Interactions], Scorer]] = {
        "content": lambda _: _content(side),
        "same_groups": lambda log: same_groups(side, log),
        "segment_popularity": lambda log: SegmentPopularity(person_segments(data, sensitive).values(), log),
    }
    for name in names:
        if name in makers:
            try:
                made.early[name], made.late[name] = makers[name](parts.train), makers[name](parts.fit_on)
            except NotApplicable as error:
                made.failed[name] = reason(error)
    if "evidence_blend" in names:
        _add_blend(made, valid, metric)
    if not made.late:
        raise NotApplicable("; ".join(made.failed.values()))
    ordered = [name for name in names if name in made.late]
    made.early, made.late = ({name: each[name] for name in ordered} for each in (made.early, made.late))
    return made


def _train_models(made: Methods, models: Sequence[str], parts: Split, metric: str, how: How) -> None:
    if not models:
        return
    fallback = create("popularity").fit(parts.train)
    try:
        trained = search_all(models, parts, metric, tuned=False, how=how, ks=(split_name(metric)[1],), fallback=fallback)
    except Exception as error:  # none of the models: what needs none may still do
        made.failed |= dict.fromkeys(models, reason(error))
        return
    made.failed |= trained.failed
    for name, choice in trained.choices.items():
        made.early[name], made.late[name], made.seconds[name] = choice.early, choice.models[0], choice.seconds


def _add_blend(made: Methods, valid: Newcomers | None, metric: str) -> None:
    """Of the first prior there is, of the texts or else the groups, and of the personal model that is best with the most known."""
    prior = next((name for name in PRIORS if name in made.early), None)
    content = next((name for name in ("content", "same_groups") if name in made.early), None)
    kinds = {name: scorer for name, scorer in made.early.items() if name not in OTHERS and scorer.personal and scorer.inductive}
    if valid is None:
        made.failed["evidence_blend"] = "a blend is learnt on new people of validation"
        return
    if prior is None or content is None or not kinds:
        made.failed["evidence_blend"] = "a blend needs something popular, something by content and a model that works from histories"
        return
    k, most = split_name(metric)[1], valid.depths[max(valid.depths)]
    best = by_mean(
        {name: evaluate(scorer, most, name=name, ks=(k,), fallback=made.early[prior]) for name, scorer in kinds.items()}, metric
    )[0]
    made.made_of = (prior, content, best)
    early, late = ([scorers[name] for name in made.made_of] for scorers in (made.early, made.late))
    depths = list(valid.depths.values())
    made.trust = learn_trust(early, depths, metric)
    made.late["evidence_blend"] = EvidenceBlend(late, made.trust)
    in_first = torch.zeros(most.truth.n_users, dtype=torch.bool)
    in_first[valid.users] = folds(valid.users, 0)[0]
    try:
        halves = [EvidenceBlend(early, learn_trust(early, depths, metric, among)) for among in (~in_first, in_first)]
    except NotApplicable:  # one half has nobody
        halves = [EvidenceBlend(early, made.trust)] * 2
    made.early["evidence_blend"] = HalfAndHalf(halves[0], halves[1], in_first)


def _content(side: Side) -> Scorer:
    if side.texts is None:
        raise NotApplicable("the item table has no public column with words")
    return LikeVectors(side.texts)
