"""What is promoted: sources of candidates, and after them a ranker and a policy where there are any; as it is in torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from workbench.data import Dataset, Holdout, Interactions, Split, side_information
from workbench.data.interactions import offsets_of
from workbench.errors import NotApplicable, RequestError
from workbench.evaluation import Evaluation, evaluate_calibration, evaluate_lists
from workbench.evaluation.ranking import NOTHING
from workbench.features import Asked, Feature, FeatureFrame, Tables, build_features
from workbench.models import HasVectors, Recommender, create
from workbench.policy import Facts, Pool
from workbench.promotion.spec import Spec, parse_retriever
from workbench.ranking import AnyRanker, Calibrated, Examples, audited_stages, prepare, stages, train_rankers
from workbench.ranking.candidates import TASKS, retrieve
from workbench.retrieval import Made, PersonVectors, Requests, ScorerSource, VectorIndex, make_sources
from workbench.selection import How, search
from workbench.training import Engine

TOGETHER = 256


@dataclass(frozen=True, eq=False, kw_only=True)
class Listed:
    """Lists of n requests, and how they came about."""

    items: Tensor
    """int64 (n, k); NOTHING after the last."""
    scores: Tensor
    """float64 (n, k), of what ordered them last by score; NaN after the last."""
    served: Tensor
    """bool (n,): not by the fallback."""


@dataclass(frozen=True, eq=False, kw_only=True)
class System:
    """At one stage of a split: trained, and ready to be asked."""

    spec: Spec
    made: Made
    log_popular: Recommender
    """The fallback: what is popular in the log that was learnt from."""
    ties: Tensor
    tables: Tables | None = None
    definitions: tuple[Feature, ...] = ()
    ranker: AnyRanker | None = None
    calibrated: Calibrated | None = None

    @property
    def title(self) -> str:
        return self.spec.title

    @torch.no_grad()
    def answer(self, requests: Requests, moments: Tensor, facts: Facts, pool_users: Tensor | None = None) -> Listed:
        """moments: int64 (n,), when each asks. pool_users: int64 (n,), who they are to `facts`; None: those of the requests."""
        parts = []
        for rows in torch.arange(len(requests)).split(TOGETHER):
            users = requests.asked.users[rows] if pool_users is None else pool_users[rows]
            parts.append(self._answer(requests.select(rows), moments[rows], facts, users))
        names = ("items", "scores", "served")
        return Listed(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})

    def _answer(self, requests: Requests, moments: Tensor, facts: Facts, users: Tensor) -> Listed:
        m = min(self.spec.candidates, requests.asked.n_items)
        found, _, given = retrieve(self.made, requests, m, self.ties, self.made.fusion())
        served = (found != NOTHING).any(1)
        scores = self._retrieved_scores(requests, found) if self.ranker is None else self._ranked(requests, moments, found, given)
        items = torch.where(served[:, None], found, self._popular(requests, found.shape[1]))
        scores = torch.where(served[:, None], scores, -torch.arange(1.0, items.shape[1] + 1).double())
        order = self._order(items, scores)
        pool = Pool(users=users, items=items.gather(1, order), scores=scores.gather(1, order), k=self.spec.k)
        pool = self.spec.policy.apply(pool, facts).pool
        shown = pool.lists
        kept = torch.nn.functional.pad(pool.scores[:, : self.spec.k], (0, max(0, self.spec.k - pool.scores.shape[1])), value=torch.nan)
        return Listed(items=shown, scores=kept.masked_fill(shown == NOTHING, torch.nan), served=served)

    def _order(self, items: Tensor, scores: Tensor) -> Tensor:
        """int64 (n, m): by score where a ranker gave them, equals by ties; else as they are."""
        if self.ranker is None:
            return torch.arange(items.shape[1]).expand(items.shape)
        by_tie = torch.where(items == NOTHING, len(self.ties), self.ties[items]).argsort(1)
        ordered = scores.masked_fill(items == NOTHING, -torch.inf).gather(1, by_tie)
        return by_tie.gather(1, ordered.argsort(dim=1, descending=True, stable=True))

    def _retrieved_scores(self, requests: Requests, found: Tensor) -> Tensor:
        """float64 (n, m): of the one source, or places where there are several, or an index."""
        source = self.made.sources[0]
        places = -torch.arange(1.0, found.shape[1] + 1).double().expand(found.shape)
        if len(self.made.sources) > 1:
            return places
        rows = torch.nonzero((found != NOTHING).any(1))[:, 0]
        some, items = requests.select(rows), found[rows].clamp(min=0)
        if isinstance(source, PersonVectors):
            vectors, people = source.model.item_vectors(), source.model.person_vectors(some.asked)
            if source.index.config.metric == "cosine":
                vectors, people = normalize(vectors, dim=1), normalize(people, dim=1)
            told = torch.bmm(vectors[items], people[:, :, None])[:, :, 0]
        else:
            assert isinstance(source, ScorerSource)
            told = source.scorer.score(some.asked).gather(1, items)
        return places.clone().index_copy_(0, rows, told.double())

    def _popular(self, requests: Requests, m: int) -> Tensor:
        scores = self.log_popular.score(requests.asked)
        if requests.seen is not None:
            scores[requests.seen.rows, requests.seen.items] = -torch.inf
        order = self.ties.argsort()
        best = scores[:, order].sort(dim=1, descending=True, stable=True)
        return order[best.indices[:, :m]].masked_fill(best.values[:, :m].isneginf(), NOTHING)

    def _ranked(self, requests: Requests, moments: Tensor, found: Tensor, given: dict[str, Tensor]) -> Tensor:
        """float64 (n, m): the ranker's scores; 0 where there is no item."""
        assert self.ranker is not None
        assert self.tables is not None
        shown = found != NOTHING
        lengths = shown.sum(1)
        rows = torch.arange(len(found)).repeat_interleave(lengths)
        columns = {name: values[shown] for name, values in given.items()}
        asked = Asked(requests.asked.users[rows], found[shown], moments[rows], columns)
        examples = Examples(
            users=requests.asked.users,
            moments=moments,
            offsets=offsets_of(lengths),
            items=found[shown],
            features=self._features(asked),
            labels=torch.zeros(len(rows), len(TASKS), dtype=torch.bool),
            tasks=TASKS,
            n_relevant=torch.zeros_like(lengths),
            given_by=torch.zeros(len(rows), dtype=torch.int64),
            sources=self.made.names,
        )
        scores = torch.zeros(found.shape, dtype=torch.float64)
        scores[shown] = self.ranker.score(examples)
        return scores

    def _features(self, asked: Asked) -> FeatureFrame:
        """Of strangers, code -1, no column of the person's is known."""
        assert self.tables is not None
        own = {each.name for each in self.definitions if (each.entity, each.aggregation) == ("user", "attribute")}
        if not own:
            return build_features(self.definitions, self.tables, asked, allowed=self.spec.sensitive)
        others = [each for each in self.definitions if each.name not in own]
        known = Asked(asked.users.clamp(min=0), asked.items, asked.timestamps, asked.given)
        frame = build_features(self.definitions, self.tables, known, allowed=self.spec.sensitive)
        events = build_features(others, self.tables, asked, allowed=self.spec.sensitive)
        values = frame.values.clone()
        for place, each in enumerate(self.definitions):
            column = frame.column(each.name).masked_fill(asked.users < 0, torch.nan) if each.name in own else events.column(each.name)
            values[:, place] = column
        return FeatureFrame(frame.definitions, values, frame.names)

    def evaluate(self, holdout: Holdout, moments: Tensor, data: Dataset, *, name: str, ks: Sequence[int]) -> Evaluation:
        """The lists of a holdout's people, judged; a look at it."""
        listed = self.answer(Requests.of(holdout, holdout.users), moments, Facts.of(data, holdout))
        return judged(listed.items, listed.served, holdout, name=name, title=self.title, ks=ks)


def judged(items: Tensor, served: Tensor, holdout: Holdout, *, name: str, title: str, ks: Sequence[int]) -> Evaluation:
    """Lists of a holdout's people, by `evaluate_lists`."""
    return evaluate_lists(
        items, holdout, name=name, title=title, ks=ks, served=served, fallback_name="popularity", settings={"system": title}
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Trained:
    """A system as it is before validation, and as it is before test."""

    early: System
    late: System
    valid: Holdout
    """Who chooses on validation: with a ranker, half of its people, because the others made its scores probabilities."""
    test: Examples | None = None
    """Of a ranker: its requests of the test part, with what came of each candidate."""

    @property
    def calibration_error(self) -> float:
        """Of the chances that the ranker's scores become, on test; NaN where there are none."""
        if self.test is None or self.late.calibrated is None or self.late.ranker is None or not len(self.test.items):
            return math.nan
        chances = self.late.calibrated(self.late.ranker.score(self.test), self.test)
        return evaluate_calibration(chances, self.test.label, self.test.users[self.test.rows]).error


def train_system(spec: Spec, data: Dataset, parts: Split, engine: Engine | None = None) -> Trained:
    """Raises NotApplicable where the data has not what the system needs, RequestError for parts that do not go together."""
    names = parse_retriever(spec.retriever)
    spec.check()
    return _two_stages(spec, names, data, parts, engine) if spec.ranker else _one_stage(spec, names, data, parts, engine)


def _one_stage(spec: Spec, names: Sequence[str], data: Dataset, parts: Split, engine: Engine | None) -> Trained:
    systems: dict[str, System] = {}
    side = side_information(data)
    if len(names) == 1:
        told: dict[str, Any] = {"how": How(engine=engine, side=side, epochs=spec.epochs), "ks": (spec.cutoff,)}
        popular = create("popularity").fit(parts.train)
        choice = search(names[0], parts, f"ndcg@{spec.cutoff}", tuned=spec.tuned, fallback=popular, **told)
    for part, log in (("valid", parts.train), ("test", parts.fit_on)):
        if part == "test" and parts.refit == "train":
            systems["test"] = systems["valid"]
            continue
        if len(names) == 1:
            model = choice.early if part == "valid" else choice.models[0]
            made = Made(sources=[_source(spec, names[0], model, parts.ties)], absent={})
        else:
            made = make_sources(names, data, log, parts.ties, models={}, side=side)
            if made.absent:
                raise NotApplicable("; ".join(f"{name}: {why}" for name, why in made.absent.items()))
        systems[part] = System(spec=spec, made=made, log_popular=create("popularity").fit(log), ties=parts.ties)
    return Trained(early=systems["valid"], late=systems["test"], valid=parts.holdout("valid"))


def _source(spec: Spec, name: str, model: Any, ties: Tensor) -> ScorerSource | PersonVectors:
    if not spec.index:
        return ScorerSource(name, model, ties)
    if not isinstance(model, HasVectors):
        raise RequestError(f"{name} has no vectors to look up: leave the index out.")
    return PersonVectors(name, model, VectorIndex.build(model.item_vectors(), spec.index))


def _two_stages(spec: Spec, names: Sequence[str], data: Dataset, parts: Split, engine: Engine | None) -> Trained:
    found = audited_stages(stages(parts, spec.periods))
    told: dict[str, Any] = {"side": side_information(data), "groups": spec.groups, "sensitive": spec.sensitive, "seed": spec.seed}
    ready = prepare(found, data, names, min(spec.candidates, data.n_items), **told)
    if ready.absent:
        raise NotApplicable("; ".join(f"{name}: {why}" for name, why in ready.absent.items()))
    rankers = train_rankers([spec.ranker], ready.train, ready.stop, parts.ties, k=spec.cutoff, epochs=spec.epochs, engine=engine)
    ranker = rankers.rankers[spec.ranker]
    try:
        calibrated = Calibrated.fit("platt", ranker.score(ready.calibrate), ready.calibrate)
    except NotApplicable:
        calibrated = None
    shared: dict[str, Any] = {
        "spec": spec,
        "ties": parts.ties,
        "tables": Tables.of(data),
        "definitions": ready.train.features.definitions,
        "ranker": ranker,
        "calibrated": calibrated,
    }
    early, late = (
        System(made=ready.made[part], log_popular=create("popularity").fit(log), **shared)
        for part, log in (("validation", parts.train), ("test", parts.fit_on))
    )
    return Trained(early=early, late=late, valid=ready.stop_holdout, test=ready.test)


def moments_of(parts: Split, part: str, holdout: Holdout) -> Tensor:
    """int64 (n,), microseconds since 1970 UTC: when each person of a holdout asks, their first event of the part."""
    events: Interactions = getattr(parts, part)
    return events.first_moments(holdout.users)
