"""Examples out of the funnel: candidates of a stage's retriever, features as of the request, labels from what came after."""

from collections.abc import Collection, Sequence

import pandas as pd
import pyarrow.compute as pc
import torch
from torch import Tensor

from workbench.data import Interactions
from workbench.data.interactions import offsets_of
from workbench.evaluation.ranking import NOTHING
from workbench.evaluation.scoring import SCORE_BYTES
from workbench.features import Asked, Feature, Tables, build_features, standard_features
from workbench.features.sql import CONDITIONS
from workbench.ranking.examples import Examples
from workbench.ranking.stages import Stage
from workbench.retrieval import Fusion, Made, Requests, ScorerSource, fuse
from workbench.retrieval.judge import PEOPLE
from workbench.retrieval.sources import servable

TASKS = ("all", "liked")
"""Of MovieLens: watched, and liked given watched."""


def given_columns(names: Sequence[str]) -> list[str]:
    """What retrieval hands over with each candidate: its place in the blend, how many sources had it, its rank and score with each."""
    return ["place", "sources", *(f"{what} {name}" for name in names for what in ("rank", "score"))]


def make_examples(
    stage: Stage,
    made: Made,
    k: int,
    tables: Tables,
    *,
    users: Tensor | None = None,
    definitions: Sequence[Feature] | None = None,
    tasks: tuple[str, ...] = TASKS,
    sensitive: Collection[str] = (),
    fusion: Fusion | None = None,
) -> Examples:
    """One request for each of these people, int64 (r,) ascending, at the moment of their first event in the stage's part; None: everyone
    with an event there.

    made: sources that learnt from `stage.log`. k: candidates for each request. definitions: of features; None for the standard ones.
    tasks: kinds of events that labels are about. sensitive: columns of people that may be learnt from, each named on purpose.
    """
    users = stage.people if users is None else users
    first = stage.moments(users)
    items, given_by, given = _retrieved(stage, made, k, users, made.fusion() if fusion is None else fusion)
    shown = items != NOTHING
    lengths = shown.sum(1)
    rows = torch.arange(len(users)).repeat_interleave(lengths)
    flat = items[shown]
    columns = {name: values[shown] for name, values in given.items()}
    asked = Asked(users[rows], flat, first[rows], columns)
    if definitions is None:
        definitions = standard_features(tables, list(columns), sensitive)
    labels = torch.stack([_came_of(tables, kind, stage.part, users[rows] * stage.part.n_items + flat) for kind in tasks], dim=1)
    return Examples(
        users=users,
        moments=first,
        offsets=offsets_of(lengths),
        items=flat,
        features=build_features(definitions, tables, asked, allowed=sensitive),
        labels=labels,
        tasks=tasks,
        n_relevant=stage.holdout.truth.events_per_user[users],
        given_by=given_by[shown],
        sources=made.names,
        retriever=f"{', '.join(made.names)}; {k} candidates",
    )


def _retrieved(stage: Stage, made: Made, k: int, users: Tensor, fusion: Fusion) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Of these people, as the stage knows them; what `retrieve` gives."""
    size = max(1, min(PEOPLE, SCORE_BYTES // (4 * stage.part.n_items)))
    found = [retrieve(made, Requests.of(stage.holdout, some), k, stage.holdout.ties, fusion) for some in users.split(size)]
    empty = torch.empty(0, k, dtype=torch.int64)
    items, given_by = torch.cat([empty, *(each[0] for each in found)]), torch.cat([empty, *(each[1] for each in found)])
    columns = {
        name: torch.cat([torch.empty(0, k, dtype=torch.float64), *(each[2][name] for each in found)]) for name in given_columns(made.names)
    }
    return items, given_by, columns


def retrieve(made: Made, requests: Requests, k: int, ties: Tensor, fusion: Fusion) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """int64 (r, k): items and who gave them; and by column, see `given_columns`, float64 (r, k): what is handed over with them."""
    lists = {source.name: source.candidates(requests, k) for source in made.sources}
    found = fuse(lists, ties, k, fusion)
    return found.items, found.given_by, _handed_over(made, requests, lists, found.items, found.given_by)


def _handed_over(made: Made, requests: Requests, lists: dict[str, Tensor], items: Tensor, given_by: Tensor) -> dict[str, Tensor]:
    n, k = items.shape
    n_items = requests.asked.n_items
    bits = sum(((given_by >> place) & 1 for place in range(len(lists))), torch.zeros_like(given_by))
    given = {"place": torch.arange(1.0, k + 1, dtype=torch.float64).expand(n, k), "sources": bits.double()}
    safe = items.clamp(min=0)
    for source in made.sources:
        ranks = torch.full((n, n_items + 1), torch.nan)
        own = lists[source.name]
        ranks.scatter_(1, torch.where(own == NOTHING, n_items, own), torch.arange(1.0, own.shape[1] + 1).expand(n, -1))
        given[f"rank {source.name}"] = ranks.gather(1, safe).double()
        scores = torch.full((n, k), torch.nan, dtype=torch.float64)
        if isinstance(source, ScorerSource):
            able = torch.nonzero(servable(source.scorer, requests))[:, 0]
            if len(able):
                with torch.no_grad():
                    scores[able] = source.scorer.score(requests.asked.select(able)).double().cpu().gather(1, safe[able])
        given[f"score {source.name}"] = scores
    return given


def _came_of(tables: Tables, kind: str, part: Interactions, pairs: Tensor) -> Tensor:
    """bool (n,): an event of the kind in the part, by the request's person with the candidate. pairs: int64 (n,), person · n_items +
    item."""
    if kind in ("all", "liked"):
        some = part if kind == "all" else part.positives()
        return torch.isin(pairs, some.users * part.n_items + some.items)
    events = tables.events
    chosen = events[CONDITIONS[kind]] if kind in CONDITIONS else pc.fill_null(pc.equal(events["event"], kind), False)
    columns = ["user_code", "item_code", "timestamp"]
    typed = events.select(columns).filter(chosen).to_pandas()
    inside = dict(zip(columns, (each.numpy() for each in (part.users, part.items, part.timestamps)), strict=True))
    both = typed.merge(pd.DataFrame(inside).drop_duplicates(), on=columns)
    return torch.isin(pairs, torch.from_numpy((both["user_code"] * part.n_items + both["item_code"]).to_numpy(copy=True)))
