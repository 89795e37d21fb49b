"""The whole of what a ranking page needs: for each stage its retriever, trained on what came before, and the examples made of it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch

from workbench.data import Dataset, Holdout, Side
from workbench.errors import NotApplicable
from workbench.evaluation import Evaluation, evaluate_lists
from workbench.evaluation.ranking import NOTHING
from workbench.features import Tables, chosen_features, standard_features
from workbench.features.catalogue import GROUPS
from workbench.ranking.candidates import TASKS, given_columns, make_examples
from workbench.ranking.examples import Examples, joined
from workbench.ranking.funnel import judge_ranking
from workbench.ranking.stages import Stage, Stages, folds
from workbench.retrieval import Made, gather, make_sources


@dataclass(frozen=True, eq=False, kw_only=True)
class Prepared:
    train: Examples
    """Of all periods."""
    stop: Examples
    """Half of validation's people: they end the training and choose the ranker."""
    calibrate: Examples
    """The other half."""
    test: Examples
    stages: Stages
    made: dict[str, Made]
    """The sources of "validation" and of "test"."""
    absent: dict[str, str]
    """Sources that could not be made, and why."""

    @property
    def stop_holdout(self) -> Holdout:
        """Of validation, the people of `stop`."""
        return _among(self.stages.valid.holdout, self.stop)

    @property
    def everybody(self) -> Holdout:
        """Of test, everyone who asked, whether they then liked something or not: to slice probabilities by; its truth is that of those who
        did."""
        return replace(self.stages.test.holdout, users=self.test.users)

    @property
    def calibrate_holdout(self) -> Holdout:
        return _among(self.stages.valid.holdout, self.calibrate)


def prepare(
    found: Stages,
    data: Dataset,
    names: Sequence[str],
    k: int,
    *,
    side: Side,
    groups: Collection[str] = GROUPS,
    sensitive: Collection[str] = (),
    tasks: tuple[str, ...] = TASKS,
    seed: int = 0,
) -> Prepared:
    """names: of the sources, as `parse_sources` gives them; those that cannot be made at some stage are left out of all. k: candidates for
    each request. groups: of features. sensitive: columns of people that may be learnt from, each named on purpose.

    Raises NotApplicable when no source is left or no request got a candidate.
    """
    tables = Tables.of(data)
    every = {stage.name: make_sources(names, data, stage.log, stage.holdout.ties, models={}, side=side) for stage in found}
    absent = {name: why for each in every.values() for name, why in each.absent.items()}
    kept = [name for name in names if name not in absent]
    if not kept:
        raise NotApplicable("; ".join(absent.values()))
    made = {stage: Made(sources=[source for source in each.sources if source.name in kept], absent=absent) for stage, each in every.items()}
    definitions = chosen_features(standard_features(tables, given_columns(kept), sensitive), groups)

    def examples_of(stage: Stage) -> Examples:
        return make_examples(stage, made[stage.name], k, tables, definitions=definitions, tasks=tasks, sensitive=sensitive)

    valid = examples_of(found.valid)
    first, second = folds(valid.users, seed)
    return Prepared(
        train=joined([examples_of(stage) for stage in found.periods]),
        stop=valid.select(first),
        calibrate=valid.select(second),
        test=examples_of(found.test),
        stages=found,
        made={name: made[name] for name in ("validation", "test")},
        absent=absent,
    )


def single_stage(ready: Prepared, part: str, ks: Sequence[int]) -> dict[str, Evaluation]:
    """Retrieval by itself: each source alone, and the order of the blend. part: "validation", of its `stop` people, or "test"."""
    holdout = ready.stop_holdout if part == "validation" else ready.stages.test.holdout
    examples = ready.stop if part == "validation" else ready.test
    made = ready.made[part]
    results = {}
    titles = {source.name: str(getattr(getattr(source, "scorer", None), "title", source.name)) for source in made.sources}
    for name, items in gather(made.sources, holdout, max(ks)).items():
        served, told = items[:, 0] != NOTHING, titles[name]
        results[name] = evaluate_lists(items, holdout, name=name, title=told, ks=ks, served=served, fallback_name="nobody")
    if len(results) > 1:
        results["blend"] = judge_ranking(examples, -examples.places.double(), holdout, name="blend", title="Blend", ks=ks)
    return results


def _among(holdout: Holdout, examples: Examples) -> Holdout:
    return holdout.select(torch.isin(holdout.users, examples.users))
