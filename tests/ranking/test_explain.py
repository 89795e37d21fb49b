"""Why an order is as it is: what a ranker leans on, what made a score, and one request from its candidates to its list."""

import pytest
import torch
from torch import tensor

from tests.ranking.made import TIES, Column, frame, learnable, made
from workbench.errors import NotApplicable, RequestError
from workbench.ranking import Calibrated, Trees, TreesConfig, explained, permutation_importance, trace


class Sum:
    title = "Sum"

    def score(self, examples):
        return examples.features.column("a") + examples.features.column("b")


def deciding(n=60, seed=0):
    """`a` is the label, `b` a whisper of it, `c` nothing."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.rand(n, 6, generator=generator) < 0.3
    noise = torch.randn(3, n * 6, generator=generator, dtype=torch.float64)
    columns = {"c": noise[0], "a": labels.flatten() + 0.01 * noise[1], "b": 0.3 * labels.flatten() + 0.2 * noise[2]}
    return made([list(range(6))] * n, labels.tolist(), features=frame(columns))


def test_what_decides_comes_first_and_what_is_not_used_loses_nothing():
    found = permutation_importance(Sum(), deciding(), TIES, 3)
    assert list(found) == ["a", "b", "c"]
    assert found["a"].low > 0.1
    assert found["b"].value > 0
    assert (found["c"].value, found["c"].low, found["c"].high) == (0, 0, 0)
    assert found["a"].n == int((deciding().n_relevant > 0).sum())


def test_features_dealt_together_lose_what_each_alone_hides():
    """Two copies of what decides: either can be dealt, and the other still says it."""
    labels = [[True, False, False], [False, True, False], [False, False, True]] * 20
    told = tensor(labels, dtype=torch.float64).flatten()
    examples = made([[0, 1, 2]] * 60, labels, features=frame({"a": told, "b": told, "c": told * 0}))
    alone = permutation_importance(Sum(), examples, TIES, 3)
    both = permutation_importance(Sum(), examples, TIES, 3, {"pair": ["a", "b"], "rest": ["c"]})
    assert list(both) == ["pair", "rest"]
    assert both["pair"].value > max(alone["a"].value, alone["b"].value)
    assert both["rest"].value == 0


def test_importance_is_the_same_again_and_leaves_the_examples_alone():
    examples = deciding()
    before = examples.features.values.clone()
    once, again = (permutation_importance(Sum(), examples, TIES, 3, repeats=2, seed=3) for _ in range(2))
    assert once == again
    assert torch.equal(examples.features.values, before)


def test_where_nobody_liked_anything_there_is_nothing_to_lose():
    assert permutation_importance(Column(), made([[1, 2]]), TIES, 3) == {}


@pytest.fixture(scope="module")
def trees():
    return Trees(TreesConfig(rounds=10, least=20)).fit(learnable(60))


def test_an_explanation_names_what_moved_each_score_most(trees):
    examples = learnable(10, seed=1)
    table = explained(trees, examples, 4, most=2)
    one = examples.select(tensor([4]))
    assert table["item"].tolist() == one.items.tolist()
    for told, row in zip(table["made of"], trees.contributions(one)[:, :-1], strict=True):
        order = row.abs().argsort(descending=True)[:2].tolist()
        assert told == ", ".join(f"{trees.names[each]} {row[each]:+.2f}" for each in order)
    whole = explained(trees, examples, 4, most=9)
    assert all(len(told.split(", ")) == 4 for told in whole["made of"])


@pytest.mark.parametrize("request_", [-1, 3])
def test_an_explanation_of_a_request_that_is_not_there_is_refused(trees, request_):
    with pytest.raises(RequestError, match="should be between 0 and 2"):
        explained(trees, learnable(3), request_)


def test_an_explanation_of_no_candidates_is_refused_or_empty(trees):
    columns = {name: torch.empty(0) for name in ("taste", "noise", "gap")} | {"colour": torch.empty(0)}
    examples = made([[]], features=frame(columns, {"colour": ("blue",)}), tasks=("all", "liked"))
    try:
        table = explained(trees, examples, 0)
    except NotApplicable:
        return
    assert len(table) == 0


def request():
    """Two requests; the second has four candidates of three sources, the ranker turns them round."""
    return made(
        [[9], [3, 1, 4, 5]],
        [[(False, False)], [(False, False), (True, False), (True, True), (False, False)]],
        features=frame({"number": [0, 1, 2, 3, 4], "other": [9, 8, 7, 6, 5]}),
        tasks=("all", "liked"),
        given_by=[1, 1, 6, 7, 4],
        sources=("knn", "popular", "words"),
    )


def test_a_trace_goes_from_the_candidates_to_the_list():
    table = trace(request(), 1, Column(), TIES, titles=[f"Film {item}" for item in range(12)], features=["other"])
    assert table.columns.tolist() == ["list", "item", "retrieved", "by", "other", "score", "came of it"]
    assert table["list"].tolist() == [1, 2, 3, 4]
    assert table["item"].tolist() == ["Film 5", "Film 4", "Film 1", "Film 3"]
    assert table["retrieved"].tolist() == [4, 3, 2, 1]
    assert table["by"].tolist() == ["words", "knn, popular, words", "popular, words", "knn"]
    assert table["score"].tolist() == [4, 3, 2, 1]
    assert table["other"].tolist() == [5, 6, 7, 8]
    assert table["came of it"].tolist() == ["", "liked", "all", ""]


def test_a_trace_agrees_with_scores_order_and_chances():
    examples = learnable(8, seed=3)
    ranker = Trees(TreesConfig(rounds=5, least=20)).fit(learnable(60))
    ties = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    calibrated = Calibrated.fit("platt", ranker.score(examples), examples)
    for row in range(3):
        one = examples.select(tensor([row]))
        scores = ranker.score(one)
        table = trace(examples, row, ranker, ties, calibrated=calibrated, most=100)
        assert table["item"].tolist() == examples.ranked(ranker.score(examples), ties, 12)[row].tolist()
        order = one.order(scores, ties)
        assert table["score"].tolist() == scores[order].tolist()
        assert table["chance"].tolist() == calibrated(scores, one)[order].tolist()
        assert table["retrieved"].tolist() == (order + 1).tolist()


def test_a_trace_shows_the_top_and_what_fell_from_it():
    examples = made([[0, 1, 2, 3, 4, 5]], features=frame({"number": [0, 5, 4, 3, 2, 1]}))
    table = trace(examples, 0, Column(), TIES, most=2)
    assert table["item"].tolist() == [1, 2, 0], "retrieval had 0 and 1 above, and 0 fell to the end"
    assert table["list"].tolist() == [1, 2, 6]


def test_a_trace_of_a_request_that_is_not_there_or_got_nothing_is_told():
    for place in (-1, 2, 99):
        with pytest.raises(RequestError, match=rf"request = {place} should be between 0 and 1"):
            trace(request(), place, Column(), TIES)
    with pytest.raises(NotApplicable, match="this request got no candidates"):
        trace(made([[], [1]]), 0, Column(), TIES)
    with pytest.raises(RequestError, match=r'there is no feature "othr"\. Did you mean "other"\?'):
        trace(request(), 1, Column(), TIES, features=["othr"])
