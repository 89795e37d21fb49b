"""Why a ranker orders as it does: what it leans on in all, what made one candidate's score, and one request from retrieval to its list."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import pandas as pd
import torch
from torch import Generator, Tensor

from workbench.errors import NotApplicable, RequestError
from workbench.evaluation.contrast import Contrast
from workbench.evaluation.intervals import Interval
from workbench.features import FeatureFrame
from workbench.ranking.calibration import Calibrated
from workbench.ranking.examples import Examples


class Ranker(Protocol):
    title: str

    def score(self, examples: Examples) -> Tensor:
        """float64 (n,): higher is better among a request's candidates."""
        ...


class Explains(Protocol):
    names: tuple[str, ...]

    def contributions(self, examples: Examples) -> Tensor: ...


def permutation_importance(
    ranker: Ranker,
    examples: Examples,
    ties: Tensor,
    k: int,
    groups: Mapping[str, Sequence[str]] | None = None,
    *,
    repeats: int = 1,
    seed: int = 0,
) -> dict[str, Interval]:
    """By feature, or by group of features: NDCG@k lost when its values are dealt anew over all candidates (Breiman 2001), with its interval
    over people; the largest loss first. Features that say the same hide one another.

    groups: names of features that are dealt together; None: each by itself. Empty where nobody is to be judged.
    """
    names = [each.name for each in examples.features.definitions]
    groups = {name: [name] for name in names} if groups is None else groups
    whole = examples.ndcg(ranker.score(examples), ties, k)
    if whole.isnan().all():
        return {}
    found = {}
    for place, (group, members) in enumerate(groups.items()):
        generator = Generator().manual_seed(seed + 1000 * place)
        columns = [names.index(member) for member in members]
        lost = torch.zeros_like(whole)
        for _ in range(repeats):
            values = examples.features.values.clone()  # noqa: PD011, no pandas
            values[:, columns] = values[torch.randperm(len(values), generator=generator)][:, columns]
            frame = FeatureFrame(examples.features.definitions, values, examples.features.names)
            dealt = examples.with_values(frame)
            lost += (whole - dealt.ndcg(ranker.score(dealt), ties, k)) / repeats
        found[group] = Contrast.of([lost[None]]).intervals(seed=seed)[0]
    return dict(sorted(found.items(), key=lambda each: -each[1].value))


def explained(ranker: Explains, examples: Examples, request: int, most: int = 5) -> pd.DataFrame:
    """One row for each candidate of a request: the features that raised and lowered its score most. Raises as `trace` does."""
    one = _request(examples, request)
    values = ranker.contributions(one)[:, :-1]
    rows = []
    for place in range(len(one.items)):
        order = values[place].abs().argsort(descending=True)[:most].tolist()
        told = ", ".join(f"{ranker.names[each]} {values[place, each]:+.2f}" for each in order)
        rows.append({"item": int(one.items[place]), "made of": told})
    return pd.DataFrame(rows)


def trace(
    examples: Examples,
    request: int,
    ranker: Ranker,
    ties: Tensor,
    *,
    titles: Sequence[str] | None = None,
    calibrated: Calibrated | None = None,
    features: Sequence[str] = (),
    most: int = 10,
) -> pd.DataFrame:
    """One request from its candidates to its list: where retrieval put each, who gave it, what was known of it, its score, its chance,
    where it ends, what came of it.

    request: its place among the examples'. features: those to show; none shows none. most: places of the final list; what retrieval had
    above them and the ranker put below is shown too. Raises RequestError for a request that is not there, NotApplicable for one without
    candidates.
    """
    one = _request(examples, request)
    scores = ranker.score(one)
    order = one.order(scores, ties)
    chances = calibrated(scores, one) if calibrated else None
    rows = []
    for end, place in enumerate(order.tolist(), start=1):
        if end > most and place >= most:
            continue
        item = int(one.items[place])
        row = {
            "list": end,
            "item": titles[item] if titles else item,
            "retrieved": place + 1,
            "by": ", ".join(name for bit, name in enumerate(one.sources) if int(one.given_by[place]) >> bit & 1),
            **{name: one.features.column(name)[place].item() for name in features},
            "score": scores[place].item(),
        }
        row |= {"chance": chances[place].item()} if chances is not None else {}
        row["came of it"] = next((task for task in reversed(one.tasks) if bool(one.task(task)[place])), "")
        rows.append(row)
    return pd.DataFrame(rows)


def _request(examples: Examples, request: int) -> Examples:
    """One of them alone. Raises RequestError for one that is not there, NotApplicable for one without candidates."""
    if not 0 <= request < len(examples):
        raise RequestError(f"request = {request} should be between 0 and {len(examples) - 1}.")
    one = examples.select(torch.tensor([request]))
    if not len(one.items):
        raise NotApplicable("this request got no candidates.")
    return one
