"""Rankers as ONNX: trees to the threshold, networks with their scaling inside, files that hold nothing of where they were made."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.ranking.made import COLOURS, frame, learnable, made
from workbench.errors import WorkError
from workbench.models import create
from workbench.promotion.export import RetrieverGraph, export_ranker, export_retriever
from workbench.promotion.graphs import graph_of
from workbench.ranking import create_ranker
from workbench.serving.onnx_files import external_tensors
from workbench.serving.rank import Ranker
from workbench.testing import checkerboard

TREES = ("trees", "log_loss_trees")
NETWORKS = ("multi_task",)
QUICK = {
    **{name: {"rounds": 30, "least": 20, "learning_rate": 0.15} for name in TREES},
    **{name: {"epochs": 3, "batch_size": 16, "learning_rate": 0.01} for name in NETWORKS},
}
NAMES = ("taste", "noise", "gap", "colour")
TRAIN, VALID, TEST = (learnable(n, seed=seed) for n, seed in ((150, 0), (40, 1), (100, 2)))
TIES = torch.randperm(40, generator=torch.Generator().manual_seed(3))
KNOWN = (*COLOURS, "violet")
"""The last is one that no ranker saw."""


@pytest.fixture(scope="module")
def rankers():
    """The first ones stop early, so that not all of their trees count; the second have all of them."""
    return {
        name: create_ranker(name, **told).fit(TRAIN, *(() if name == "log_loss_trees" else (VALID, TIES))) for name, told in QUICK.items()
    }


@pytest.fixture(scope="module")
def exported(rankers, tmp_path_factory):
    """By name: the file, and what serves it."""
    folder, found = tmp_path_factory.mktemp("rankers"), {}
    for name, ranker in rankers.items():
        kind = export_ranker(folder / f"{name}.onnx", ranker, NAMES)
        content = (folder / f"{name}.onnx").read_bytes()
        found[name] = content, Ranker(content, {"dtype": kind, "calibration": None})
    return found


def examples(taste, noise, gap, colour):
    """One request with these candidates; colour: places in KNOWN, NaN for none."""
    values = {"taste": taste, "noise": noise, "gap": gap, "colour": colour}
    told = {name: torch.as_tensor(np.asarray(each, np.float64)) for name, each in values.items()}
    return made([list(range(len(taste)))], features=frame(told, {"colour": KNOWN}))


def codes(ranker):
    """By place in KNOWN the ranker's own code, as a bundle's tables have it; NaN for a name that it does not know, and for none."""
    if hasattr(ranker, "categories"):
        told = {name: float(code) for code, name in enumerate(ranker.categories["colour"])}
    else:
        told = {name: float(code) for code, name in enumerate(ranker.inputs.categories["colour"], start=1)}
    return np.array([*(told.get(name, np.nan) for name in KNOWN), np.nan])


def features(ranker, some):
    """float64 (n, d), as a bundle computes them."""
    matrix = torch.stack([some.features.column(name) for name in NAMES], dim=1).numpy().copy()
    matrix[:, 3] = codes(ranker)[np.nan_to_num(matrix[:, 3], nan=len(KNOWN)).astype(int)]
    return matrix


def same(ranker, served, some):
    """To 1e-5 of the largest, and in the same order: whoever is above by more than that stays above, equals stay equal."""
    wanted, found = ranker.score(some).numpy(), served.scores(features(ranker, some))
    least = 1e-5 * max(np.abs(wanted).max(initial=0), 1e-3)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=least)
    apart = (wanted[:, None] - wanted[None, :]) > 2 * least
    assert (found[:, None] > found[None, :])[apart].all()
    return wanted, found


def leaves(ranker, some):
    """int (n, trees): the leaf that each candidate falls into."""
    return ranker.booster.predict(ranker._matrix(some.features), pred_leaf=True, num_iteration=ranker.best_round)


numbers = arrays.arrays(
    np.float32,
    12,
    elements=st.one_of(
        st.floats(-4, 4, width=32),
        st.floats(width=32, allow_infinity=False),
        st.sampled_from([0.0, -0.0, np.nan, 1e-38, 3e38, -3e38]),
    ),
)
names = arrays.arrays(np.float64, 12, elements=st.sampled_from([0.0, 1.0, 2.0, 3.0, np.nan]))


@pytest.mark.parametrize("name", TREES)
@settings(max_examples=40, deadline=None)
@given(numbers, numbers, numbers, names)
def test_trees_of_any_numbers_score_as_lightgbm(rankers, exported, name, taste, noise, gap, colour):
    """Missing ones, categories that nobody saw, numbers as small and large as 32 bits have them."""
    some = examples(taste, noise, gap, colour)
    wanted, found = same(rankers[name], exported[name][1], some)
    own = leaves(rankers[name], some)
    for row in range(len(own)):
        alike = (own == own[row]).all(1)
        assert len(set(found[alike].tolist())) == 1, "the same leaves are the same score"
        assert len(set(wanted[alike].tolist())) == 1


def thresholds(ranker, feature):
    """float64: of every split on a number; of "colour" there are sets."""
    found = []
    for tree in ranker.booster.model_to_string(num_iteration=ranker.best_round).split("\nTree=")[1:]:
        told = dict(line.split("=", 1) for line in tree.splitlines() if "=" in line)
        on = np.array(told["split_feature"].split(), int)
        found += np.array(told["threshold"].split(), float)[on == NAMES.index(feature)].tolist()
    return np.array(found)


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("feature", ["taste", "noise", "gap"])
def test_at_every_threshold_and_just_beside_it_both_go_the_same_way(name, feature, rankers, exported):
    """A threshold is a number of 64 bits, between two of 32."""
    ranker = rankers[name]
    exact = thresholds(ranker, feature)
    assert len(exact) > 5
    at = exact.astype(np.float32)
    beside = [np.nextafter(at, np.float32(to)) for to in (-np.inf, np.inf)]
    values = np.concatenate(
        [at, *beside, *(np.nextafter(each, np.float32(to)) for each, to in zip(beside, (-np.inf, np.inf), strict=True))]
    )
    others = {"taste": 0.1, "noise": 0.2, "gap": np.nan} | {"colour": 2.0}
    columns = {key: np.full(len(values), value) for key, value in others.items()} | {feature: values}
    some = examples(**columns)
    same(ranker, exported[name][1], some)
    assert len(np.unique(leaves(ranker, some), axis=0)) > 2, "the values do fall on both sides"


@pytest.mark.parametrize("name", TREES)
def test_what_was_never_missing_in_training_may_be_missing_now(name, rankers, exported):
    """LightGBM takes such a gap for 0, and a file should too."""
    grid = np.array([np.nan, 0.0, -1.0, 1.0])
    taste, noise = (each.ravel() for each in np.meshgrid(grid, grid))
    same(rankers[name], exported[name][1], examples(taste, noise, np.full(16, 0.5), np.tile([0.0, 1.0, 2.0, np.nan], 4)))


@pytest.mark.parametrize("name", [*TREES, *NETWORKS])
def test_a_category_that_nobody_saw_is_as_good_as_none(name, rankers, exported):
    zeros = np.zeros(2)
    found = exported[name][1].scores(features(rankers[name], examples(zeros, zeros, zeros, [3.0, np.nan])))
    assert found[0] == found[1]
    seen = exported[name][1].scores(features(rankers[name], examples(np.zeros(3), np.zeros(3), np.zeros(3), [0.0, 1.0, 2.0])))
    assert seen.argmax() == 2, "red is what is watched"


@pytest.mark.parametrize("name", [*TREES, *NETWORKS])
def test_a_whole_test_set_is_scored_and_ordered_as_by_the_ranker(name, rankers, exported):
    some = TEST.with_values(frame({each: TEST.features.column(each) for each in NAMES}, {"colour": KNOWN}))
    wanted, found = same(rankers[name], exported[name][1], some)
    assert len(wanted) == len(TEST.items)
    ndcg = [TEST.ndcg(torch.from_numpy(each), TIES, 10).nanmean().item() for each in (wanted, found)]
    assert ndcg[0] == pytest.approx(ndcg[1], abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(numbers, numbers, numbers, names)
def test_a_chain_of_tasks_scores_any_numbers_as_the_network(rankers, exported, taste, noise, gap, colour):
    ranker, some = rankers["multi_task"], examples(taste, noise, gap, colour)
    wanted, found = ranker.score(some).numpy(), exported["multi_task"][1].scores(features(ranker, some))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)  # logits of 32 bits
    np.testing.assert_allclose(1 / (1 + np.exp(-found)), 1 / (1 + np.exp(-wanted)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [*TREES, *NETWORKS])
def test_a_candidate_is_scored_by_itself_and_none_are_none(name, rankers, exported):
    some = TEST.with_values(frame({each: TEST.features.column(each) for each in NAMES}, {"colour": KNOWN}))
    matrix, served = features(rankers[name], some)[:8], exported[name][1]
    alone = np.concatenate([served.scores(matrix[[row]]) for row in range(8)])
    np.testing.assert_allclose(alone, served.scores(matrix), rtol=1e-6)
    assert served.scores(matrix[:0]).shape == (0,)


@pytest.mark.parametrize("name", [*TREES, *(pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS)])
def test_a_ranker_exported_again_is_the_same_file(name, rankers, exported, tmp_path):
    export_ranker(tmp_path / "again.onnx", rankers[name], NAMES)
    assert (tmp_path / "again.onnx").read_bytes() == exported[name][0]


def test_a_ranker_scores_as_before_it_was_exported(rankers, exported):
    again = create_ranker("multi_task", **QUICK["multi_task"]).fit(TRAIN, VALID, TIES)
    assert torch.equal(again.score(TEST), rankers["multi_task"].score(TEST))
    assert exported


@pytest.mark.parametrize("name", [*TREES, *NETWORKS])
def test_a_file_is_whole_and_says_nothing_of_this_machine(name, exported):
    content = exported[name][0]
    assert external_tensors(content) == []
    for told in (b"/work", b"site-packages", b"/root", b"/home", b"/tmp", b".py"):
        assert told not in content, told


@pytest.mark.slow
def test_a_retriever_exported_twice_is_the_same_file(tmp_path):
    known, holdout = checkerboard()
    model = create("popularity").fit(known)
    for name in ("once", "twice"):
        graph = RetrieverGraph([graph_of(model)], [None], holdout.ties, 5, scores=False)
        export_retriever(tmp_path / f"{name}.onnx", graph.eval())
    content = (tmp_path / "once.onnx").read_bytes()
    assert content == (tmp_path / "twice.onnx").read_bytes()
    assert not re.search(rb"/work|site-packages|/root|\.py", content)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["once.onnx", "twice.onnx"], "nothing half written is left"


def test_what_cannot_be_exported_is_told_in_one_line_and_nothing_is_written(tmp_path):
    class Odd(torch.nn.Module):
        def forward(self, users, history, lengths):
            return torch.zeros(users.shape[0], 20) if history.sum().item() > 3 else torch.ones(users.shape[0], 20)

    _, holdout = checkerboard()
    with pytest.raises(WorkError, match=r"the graph for odd\.onnx cannot be exported") as error:
        export_retriever(tmp_path / "odd.onnx", RetrieverGraph([Odd()], [None], holdout.ties, 5, scores=False).eval())
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_ranker_that_gives_no_number_is_told():
    served = Ranker.__new__(Ranker)
    served.input, served.kind = "features", np.dtype("float32")

    class Broken:
        def run(self, outputs, fed):
            return [np.array([1.0, np.nan], np.float32)]

    served.session = Broken()
    with pytest.raises(ValueError, match="not finite"):
        served.scores(np.zeros((2, 4)))


@pytest.mark.parametrize(
    "told", [{"method": "platt", "slope": 2.0, "offset": -1.0}, {"method": "isotonic", "scores": [-1, 0, 2], "chances": [0, 0.25, 1]}]
)
def test_chances_are_those_of_the_calibration(told, exported):
    served = Ranker(exported["trees"][0], {"dtype": "float32", "calibration": told})
    found = served.chances(np.array([-1e4, -1.0, 0.0, 1.0, 1e4]))
    wanted = [0, 1 / (1 + np.exp(3)), 1 / (1 + np.exp(1)), 1 / (1 + np.exp(-1)), 1] if told["method"] == "platt" else [0, 0, 0.25, 0.625, 1]
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    assert Ranker(exported["trees"][0], {"dtype": "float32", "calibration": None}).chances(np.zeros(3)) is None
