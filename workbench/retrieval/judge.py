"""What sources and their blend are worth: how much of what people then liked is among the candidates, by whose merit, for how many."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from workbench.data import Holdout
from workbench.errors import RequestError, unknown
from workbench.evaluation import Comparison, Evaluation, compare, evaluate_lists
from workbench.evaluation.lists import Lists
from workbench.evaluation.metrics import METRICS
from workbench.evaluation.ranking import NOTHING
from workbench.retrieval.blend import PLAIN, Candidates, Fusion, fuse
from workbench.retrieval.sources import Source
from workbench.retrieval.tasks import Requests

PEOPLE = 1024
"""Requests that a source answers together."""
GAIN = 0.002
"""Recall that a source must add on validation to be taken into the blend."""


def gather(sources: Sequence[Source], holdout: Holdout, k: int) -> dict[str, Tensor]:
    """By source: int64 (n, k), its candidates for everyone in the holdout."""
    return {
        source.name: torch.cat([source.candidates(Requests.of(holdout, users), k) for users in holdout.users.split(PEOPLE)])
        for source in sources
    }


def choose_sources(lists: Mapping[str, Tensor], holdout: Holdout, k: int, fusion: Fusion = PLAIN, gain: float = GAIN) -> tuple[str, ...]:
    """The sources worth blending, by recall at `k`: the best alone first, then whichever adds most to those before, while it adds `gain`.

    lists: of validation people, as `gather` gives them. Of equals the first in the order given. Sources of the fusion's fallback are not
    asked whether they add: they come last, as they are.
    """
    chosen: list[str] = []
    reached = -gain
    left = [name for name in lists if name not in fusion.fallback]
    while left:
        found = {name: _recall({each: lists[each] for each in (*chosen, name)}, holdout, k, fusion) for name in left}
        best = max(left, key=lambda name: found[name])
        if found[best] < reached + gain:
            break
        chosen.append(best)
        left.remove(best)
        reached = found[best]
    return (*chosen, *(name for name in fusion.fallback if name in lists))


@dataclass(frozen=True, kw_only=True)
class SourceWorth:
    """What one source is to a blend."""

    alone: Evaluation
    """Its own candidates; its recall is the ceiling of any ranker that is given these alone."""
    served: float
    """Share of requests for which it had any."""
    adds: Comparison | None
    """Recall of the blend minus that of the blend without it; None for a source that is not in the blend, is all of it, or the fallback."""
    given: float
    """Share of the blend's candidates that it had too."""
    only: float
    """Share of the blend's candidates that it alone had."""
    hits: float
    """Share of the liked candidates of the blend that it had too; NaN where there are none."""
    only_hits: float
    """Share of the liked candidates of the blend that it alone had."""


@dataclass(frozen=True, eq=False, kw_only=True)
class BlendWorth:
    k: int
    names: tuple[str, ...]
    """Of the blend's sources."""
    blend: Evaluation
    candidates: Candidates
    filled: float
    """Share of requests that got `k` candidates, or all there are for them where that is less."""
    sources: dict[str, SourceWorth]
    """Of every source that was looked at by itself, whether in the blend or not."""

    @property
    def best_alone(self) -> str:
        """The source with the highest recall by itself."""
        return max(self.sources, key=lambda name: self.sources[name].alone.mean(f"recall@{self.k}"))


def judge_blend(
    lists: Mapping[str, Tensor],
    names: Sequence[str],
    holdout: Holdout,
    k: int,
    fusion: Fusion = PLAIN,
    *,
    alone: Sequence[str] | None = None,
    contributions: bool = True,
) -> BlendWorth:
    """The blend of these sources at `k` candidates, each source by itself, and the blend without each.

    lists: of the holdout's people, as `gather` gives them, of these sources and any others. alone: the sources to look at by themselves;
    None: all that there are lists of. contributions: False leaves out what each adds. Every list judged is a look at the holdout.

    Raises RequestError for a name there is no list of, and as `fuse` and `evaluate_lists` do.
    """
    if not names:
        raise RequestError("a blend needs at least one source.")
    for name in (*names, *(alone or ())):
        if name not in lists:
            raise unknown("source that there are candidates of", name, lists)
    found = _fused(lists, names, holdout, k, fusion)
    served = found.filled > 0
    told = {"sources": list(names), "k": k, **asdict(fusion)}
    blend = evaluate_lists(found.items, holdout, name="blend", title="Blend", ks=(k,), served=served, fallback_name="nobody", settings=told)
    worth = {}
    for name in lists if alone is None else alone:
        adds = None
        others = [each for each in names if each != name]
        if contributions and name in names and name not in fusion.fallback and set(others) - set(fusion.fallback):
            less = _fused(lists, others, holdout, k, _among(fusion, others))
            adds = compare(blend, evaluate_lists(less.items, holdout, name=f"without {name}", ks=(k,), settings=told), f"recall@{k}")
        worth[name] = _worth(name, lists[name][:, :k], blend, found, adds)
    left = holdout.n_items - _excluded(holdout)
    filled = (found.filled >= left.clamp(max=k)).double().mean().item()
    return BlendWorth(k=k, names=tuple(names), blend=blend, candidates=found, filled=filled, sources=worth)


def _worth(name: str, own: Tensor, blend: Evaluation, found: Candidates, adds: Comparison | None) -> SourceWorth:
    shown, hit = found.items != NOTHING, blend.lists.hits
    given = found.from_source(name) if name in found.names else torch.zeros_like(shown)
    only = given & (found.given_by == (1 << found.names.index(name) if name in found.names else -1))
    return SourceWorth(
        alone=evaluate_lists(own, blend.holdout, name=name, ks=blend.ks),
        served=(own[:, 0] != NOTHING).double().mean().item(),
        adds=adds,
        given=_share(given & shown, shown),
        only=_share(only & shown, shown),
        hits=_share(given & hit, hit),
        only_hits=_share(only & hit, hit),
    )


def _fused(lists: Mapping[str, Tensor], names: Sequence[str], holdout: Holdout, k: int, fusion: Fusion) -> Candidates:
    return fuse({name: lists[name] for name in names}, holdout.ties, k, fusion)


def _recall(lists: Mapping[str, Tensor], holdout: Holdout, k: int, fusion: Fusion) -> float:
    items = fuse(lists, holdout.ties, k, _among(fusion, lists)).items
    served = torch.ones(len(items), dtype=torch.bool)
    return METRICS["recall"].values(Lists.build(holdout, items, served), k).nanmean().item()


def _among(fusion: Fusion, names: Collection[str]) -> Fusion:
    """What it says of these sources."""
    return Fusion(
        weights={name: weight for name, weight in fusion.weights.items() if name in names},
        quotas={name: quota for name, quota in fusion.quotas.items() if name in names},
        fallback=tuple(name for name in fusion.fallback if name in names),
    )


def _excluded(holdout: Holdout) -> Tensor:
    """int64 (n,): different items that may not be shown to each person judged."""
    if holdout.seen is None:
        return torch.zeros_like(holdout.users)
    keys = (holdout.seen.users * holdout.n_items + holdout.seen.items).unique()
    return torch.bincount(keys // holdout.n_items, minlength=holdout.truth.n_users)[holdout.users]


def _share(part: Tensor, whole: Tensor) -> float:
    return part.sum().item() / whole.sum().item() if whole.any() else float("nan")
