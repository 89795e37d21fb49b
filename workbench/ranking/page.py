"""Questions about a chosen ranker that ask for more trainings: what a group of features is worth, and whether it was so before."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

import torch

from workbench.data import Dataset, Side, Split
from workbench.errors import NotApplicable
from workbench.evaluation import Calibration, Comparison, Evaluation, Slice, calibration_by, evaluate_calibration
from workbench.evaluation.comparison import compare_models
from workbench.features.catalogue import group_of
from workbench.ranking.calibration import METHODS, Calibrated
from workbench.ranking.funnel import judge_ranking
from workbench.ranking.named import AnyRanker, RankerField, train_rankers
from workbench.ranking.prepare import Prepared, prepare, single_stage
from workbench.ranking.stages import audited_stages, stages


def judge_rankers(field: RankerField, ready: Prepared, part: str, ks: Sequence[int]) -> dict[str, Evaluation]:
    """Each ranker on the people of "validation" that stopped it, or on those of "test"."""
    examples, holdout = (ready.stop, ready.stop_holdout) if part == "validation" else (ready.test, ready.stages.test.holdout)
    return {
        name: judge_ranking(
            examples, scores, holdout, name=name, title=field.rankers[name].title, ks=ks, settings=asdict(field.rankers[name].config)
        )
        for name, scores in field.scores(examples).items()
    }


def calibrations(ranker: AnyRanker, ready: Prepared, slices: Sequence[Slice] = ()) -> tuple[dict[str, Calibration], dict[str, Calibration]]:
    """Of every candidate of the test part: by each way of making probabilities, and by the first of them in each slice of
    `ready.everybody`. Empty where there is nothing to learn or to judge.
    """
    try:
        scores = ranker.score(ready.test)
        people, label = ready.test.users[ready.test.rows], ready.test.label
        made: dict[str, Calibrated] = {method: Calibrated.fit(method, ranker.score(ready.calibrate), ready.calibrate) for method in METHODS}
        said = {method: each(scores, ready.test) for method, each in made.items()}
        found = {method: evaluate_calibration(chances, label, people) for method, chances in said.items()}
    except NotApplicable:
        return {}, {}
    inside = {of.label: torch.isin(people, ready.everybody.users[of.people]) for of in slices if of.people is not None}
    return found, calibration_by(said[METHODS[0]], label, people, inside)


def groups_of(ready: Prepared) -> dict[str, list[str]]:
    """The features of each group that is there."""
    found: dict[str, list[str]] = {}
    for each in ready.train.features.definitions:
        found.setdefault(group_of(each), []).append(each.name)
    return found


def ablate(name: str, ranker: AnyRanker, ready: Prepared, metric: str, k: int, **how: Any) -> list[Comparison]:
    """The ranker trained anew without each group of features, minus the whole one; on the validation people that calibrate, who neither
    trained nor chose it. how: `epochs` and `engine`, for `train_rankers`. Empty where there is one group.
    """
    groups = groups_of(ready)
    if len(groups) < 2:
        return []
    holdout, ties = ready.calibrate_holdout, ready.stages.valid.holdout.ties
    whole = judge_ranking(ready.calibrate, ranker.score(ready.calibrate), holdout, name="whole", title="Every group", ks=(k,))
    without: dict[str, Evaluation] = {}
    for group in groups:
        kept = [feature for other, features in groups.items() if other != group for feature in features]
        train, stop, judged = (each.with_features(kept) for each in (ready.train, ready.stop, ready.calibrate))
        less = train_rankers([name], train, stop, ties, k=k, **how).rankers[name]
        without[group] = judge_ranking(judged, less.score(judged), holdout, name=f"without {group}", title=group, ks=(k,))
    return compare_models(without, whole, metric)


def ranking_over_windows(
    windows: Sequence[Split],
    data: Dataset,
    sources: Sequence[str],
    candidates: int,
    names: tuple[str, str],
    k: int,
    *,
    side: Side,
    groups: Collection[str],
    sensitive: Collection[str] = (),
    periods: int = 2,
    seed: int = 0,
    **how: Any,
) -> list[list[Evaluation]]:
    """The ranker and the single stage of these names, retrievers and features made anew, in each window that has somebody to judge and
    something to learn from.
    """
    found: list[list[Evaluation]] = [[], []]
    ranker, rival = names
    for window in windows:
        try:
            ready = prepare(
                audited_stages(stages(window, periods)), data, sources, candidates, side=side, groups=groups, sensitive=sensitive, seed=seed
            )
            trained = train_rankers([ranker], ready.train, ready.stop, window.ties, k=k, **how).rankers[ranker]
            one = judge_ranking(ready.test, trained.score(ready.test), ready.stages.test.holdout, name=ranker, title=trained.title, ks=(k,))
        except NotApplicable:
            continue
        alone = single_stage(ready, "test", (k,))
        if rival in alone:
            found[0].append(one)
            found[1].append(alone[rival])
    return found
