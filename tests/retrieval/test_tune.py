"""The front and the choice by hand, and on a model what an index finds against what exact search finds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.retrieval.made import some_vectors
from workbench.errors import NotApplicable, RequestError
from workbench.evaluation import evaluate
from workbench.models import create
from workbench.retrieval import Frontier, IndexConfig, Measured, VectorIndex, measure, parse_budget, recall_against, sweep, tune
from workbench.retrieval.recall import overlap
from workbench.testing import latent_log
from workbench.training import Engine

EXACT = IndexConfig()


def row(recall, speed, p99=1.0, room=100.0, config=None):
    """Times of one query are no part of what is asked below but for the 99th percentile."""
    config = config or IndexConfig(factory=f"IVF{round(speed)},Flat")
    return Measured(
        config=config,
        recall=recall,
        p50_ms=p99 / 3,
        p95_ms=p99 / 2,
        p99_ms=p99,
        queries_per_second=speed,
        build_seconds=1.0,
        bytes_per_item=room,
    )


def frontier(*rows):
    return Frontier((row(1.0, 1000.0, config=EXACT), *rows), 10, "", 500, 20)


def test_the_front_is_whatever_nothing_beats():
    measured = frontier(
        row(0.9, 3000),  # quicker than exact search
        row(0.9, 2000),  # beaten by the one before in speed alone
        row(0.9, 2000, room=50),  # smaller
        row(0.8, 2000, p99=0.5, room=50),  # a shorter tail
        row(0.8, 2000, p99=0.5, room=51),  # beaten in room alone
        row(0.9, 3000),  # the equal of the first: neither beats the other
        row(0.1, 10, p99=9, room=900),  # worst in everything
    )
    assert measured.best == [True, True, False, True, True, False, True, False]


def test_the_frame_has_a_row_for_each_in_their_order():
    measured = frontier(row(0.9, 3000, config=IndexConfig(factory="IVF8,Flat", probes=2)), row(0.5, 500))
    frame = measured.frame()
    assert frame["index"].tolist() == ["Flat", "IVF8,Flat, probes 2", "IVF500,Flat"]
    assert frame["recall@10"].tolist() == [1.0, 0.9, 0.5]
    assert frame["on the front"].tolist() == [True, True, False]


def test_the_cheapest_that_keeps_to_the_budget_is_chosen():
    found = frontier(row(0.90, 9000), row(0.95, 4000), row(0.97, 5000), row(0.99, 3000))
    pick = found.choose(recall=0.95)
    assert (pick.measured, pick.missed) == (found.measured[3], {})
    assert pick.reason == "IVF5000,Flat answers 5.0 times the queries a second of exact search."
    assert found.choose(recall=0.9).measured.recall == 0.90  # as much as asked for is enough
    assert found.choose(recall=0.98).measured.recall == 0.99


def test_each_part_of_the_budget_counts():
    found = frontier(row(0.97, 8000, p99=5.0), row(0.97, 6000, room=500), row(0.97, 4000))
    assert [found.choose(**budget).measured.queries_per_second for budget in ({}, {"p99_ms": 1}, {"p99_ms": 1, "bytes_per_item": 100})] == [
        8000,
        6000,
        4000,
    ]


def test_of_equally_quick_ones_the_smallest_is_chosen():
    found = frontier(row(0.97, 4000, room=90), row(0.99, 4000, room=80), row(0.98, 4000, room=85))
    assert found.choose().measured.bytes_per_item == 80


@pytest.mark.parametrize(("worth", "exact"), [(2.0, False), (2.99, False), (3.0, False), (3.01, True)])
def test_exact_search_is_kept_where_the_gain_is_not_worth_it(worth, exact):
    pick = frontier(row(0.97, 3000)).choose(worth=worth)
    assert (pick.measured.config == EXACT) == exact
    if exact:
        near = "IVF3000,Flat would answer 3.0 times as many queries a second. 3.01 times would be worth it."
        assert pick.reason == f"Exact search keeps to the budget; {near}"


def test_exact_search_that_is_the_quickest_says_no_more():
    pick = frontier(row(0.97, 900)).choose()
    assert (pick.measured.config, pick.reason) == (EXACT, "Exact search keeps to the budget. 2 times would be worth it.")


def test_a_gain_too_small_is_taken_where_exact_search_breaks_the_budget():
    pick = frontier(row(0.97, 1100, room=40)).choose(bytes_per_item=50)
    assert (pick.measured.queries_per_second, pick.missed) == (1100, {})


def test_where_nothing_keeps_to_the_budget_the_nearest_is_told_and_by_how_much():
    """Exact search needs 100 of 40 bytes: 150 % too many; the next has 0.76 of 0.95: 20 %; the last 0.19 / 0.95, and 44 of 40 bytes."""
    pick = frontier(row(0.76, 2000, room=30), row(0.93, 3000, room=44)).choose(recall=0.95, bytes_per_item=40)
    assert pick.measured.queries_per_second == 3000  # 10 % of the bytes is more than 2 % of the recall, and less than 20 %
    assert pick.missed == pytest.approx({"recall": 0.02, "bytes_per_item": 4.0})
    assert pick.reason == "No index keeps to the budget. The nearest, IVF3000,Flat, misses recall by 0.020 and memory by 4 bytes an item."
    pick = frontier(row(0.76, 2000, p99=2.0)).choose(p99_ms=0.75)
    assert (pick.measured.config, pick.missed) == (EXACT, {"p99_ms": 0.25})
    assert pick.reason == "No index keeps to the budget. The nearest, Flat, misses p99 by 0.25 ms."


@pytest.mark.parametrize(
    ("found", "wanted", "share"),
    [
        ([[1, 2, 3]], [[3, 2, 1]], 1),
        ([[1, 2, 3]], [[4, 5, 6]], 0),
        ([[1, 2], [5, 6]], [[2, 9], [5, 6]], (1 / 2 + 1) / 2),
        ([[1, 2], [3, 4]], [[3, 4], [1, 2]], 0),  # found for somebody else
        ([[1, -1]], [[1, -1]], 1),  # of one item that there is
        ([[-1, -1]], [[1, -1]], 0),
        ([[-1], [9]], [[9], [0]], 0),
    ],
)
def test_overlap_is_the_mean_share_of_what_was_wanted(found, wanted, share):
    assert overlap(torch.tensor(found), torch.tensor(wanted)) == pytest.approx(share)


def shares(found, wanted):
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), wanted.tolist(), strict=True)]))


@pytest.mark.parametrize("factory", ["Flat", "SQ8", "IVF8,Flat", "IVF8,PQ4x4fs", "HNSW16"])
def test_measured_recall_is_the_overlap_by_brute_force(factory):
    vectors, queries = some_vectors(300), some_vectors(20, seed=1)
    index, wanted = VectorIndex.build(vectors, IndexConfig(factory=factory)), (queries @ vectors.T).topk(12).indices
    found = measure(index, queries, wanted, 1.5, singles=3)
    assert found.recall == pytest.approx(shares(index.search(queries, 12)[0], wanted))
    assert recall_against(index, vectors, queries, 12).value == pytest.approx(found.recall)
    assert (found.config, found.build_seconds, found.bytes_per_item) == (index.config, 1.5, index.bytes_per_item)
    assert 0 < found.p50_ms <= found.p95_ms <= found.p99_ms


def test_recall_of_more_than_there_is_is_of_all():
    vectors = some_vectors(30)
    found = recall_against(VectorIndex.build(vectors, IndexConfig(factory="IVF4,Flat")), vectors, some_vectors(5, seed=1), 100)
    assert (found.k, found.value, found.queries) == (30, 1.0, 5)


@pytest.mark.parametrize(("n", "dimensions", "k"), [(1, 4, 100), (10, 3, 5), (16, 4, 10), (100, 7, 100), (700, 8, 20)])
def test_every_config_of_a_sweep_can_be_built_and_searched(n, dimensions, k):
    found = sweep(n, dimensions, k)
    assert found[0] == EXACT
    assert len(set(found)) == len(found)
    for config in found:
        items = VectorIndex.build(some_vectors(n, dimensions=dimensions), config).search(some_vectors(2, 1, dimensions), k)[0]
        assert [len(set(each) - {-1}) for each in items.tolist()] == [min(k, n)] * 2


@pytest.fixture(scope="module")
def fitted():
    train, valid = latent_log()
    return create("ials", factors=16, iterations=5).fit(train), valid


CONFIGS = [
    IndexConfig(factory="IVF8,Flat", probes=1),
    IndexConfig(factory="SQ8"),
    IndexConfig(factory="IVF8,Flat", probes=8),
    IndexConfig(factory="IVF8,Flat"),
]


def test_exact_search_comes_first_finds_all_and_loses_nothing(fitted):
    model, valid = fitted
    found = tune(model, valid, CONFIGS, k=20, singles=2)
    assert (found.k, found.metric, found.n_items, found.n_queries) == (20, "ndcg@10", 100, 200)
    assert (found.exact.config, found.exact.recall) == (EXACT, 1.0)
    assert (found.exact.loss.value, found.exact.loss.low, found.exact.loss.high) == (0, 0, 0)
    assert sorted(map(str, CONFIGS)) == sorted(str(each.config) for each in found.measured[1:])
    by_name = {str(each.config): each for each in found.measured}
    assert by_name["IVF8,Flat, probes 8"].recall == 1.0
    assert by_name["IVF8,Flat, probes 8"].loss.value == 0
    assert 0.1 < by_name["IVF8,Flat, probes 1"].recall < 0.9
    assert by_name["IVF8,Flat"].recall == by_name["IVF8,Flat, probes 1"].recall  # FAISS's 1
    assert by_name["SQ8"].recall > 0.9


def test_recall_and_loss_are_those_of_the_lists(fitted):
    model, valid = fitted
    found = tune(model, valid, CONFIGS[:1], k=20, metric="recall@5", singles=2).measured[1]
    queries, vectors = model.person_vectors(valid.batch(valid.users)), model.item_vectors()
    index = VectorIndex.build(vectors, CONFIGS[0])
    seen = valid.requests(valid.users)[1]
    best = (queries @ vectors.T).masked_fill(seen.history_matrix().bool(), -torch.inf).topk(20).indices
    assert found.recall == pytest.approx(shares(index.search(queries, 20, seen)[0], best)), "of what may be shown"
    lists = index.search(queries, 5, seen)[0]
    truth = [set(valid.truth.items[valid.truth.users == user].tolist()) for user in valid.users]
    hits = np.mean([len(set(row) & liked) / len(liked) for row, liked in zip(lists.tolist(), truth, strict=True)])
    exact = evaluate(model, valid, ks=(5,)).mean("recall@5")
    assert found.loss.value == pytest.approx(hits - exact)
    assert found.loss.low <= found.loss.value <= found.loss.high


def test_configs_that_share_a_build_share_an_index(fitted, monkeypatch):
    built, build = [], VectorIndex.build

    def counted(vectors, config):
        built.append(config)
        return build(vectors, config)

    monkeypatch.setattr(VectorIndex, "build", counted)
    found = tune(*fitted, CONFIGS, k=10, singles=1)
    assert built == [EXACT, IndexConfig(factory="IVF8,Flat"), IndexConfig(factory="SQ8")]
    assert len(found.measured) == 5
    assert len({each.build_seconds for each in found.measured if each.config.factory == "IVF8,Flat"}) == 1


def test_exact_search_among_the_configs_is_not_measured_twice(fitted):
    found = tune(*fitted, [CONFIGS[1], EXACT], k=10, singles=1)
    assert [str(each.config) for each in found.measured] == ["Flat", "SQ8"]


def test_exact_search_is_by_the_measure_of_the_others(fitted):
    found = tune(*fitted, [IndexConfig(factory="SQ8", metric="cosine")], k=10, singles=1)
    assert found.exact.config == IndexConfig(metric="cosine")
    assert found.measured[1].recall > 0.9


def test_without_configs_a_sweep_is_measured_and_k_is_at_most_the_catalogue(fitted):
    found = tune(*fitted, k=1000, singles=1)
    assert {each.config for each in found.measured} == set(sweep(100, 16, 100))
    assert found.k == 100
    assert {each.recall for each in found.measured} == {1.0}  # of everything, all is found


@pytest.fixture(scope="module")
def partly():
    """A model that was trained without every fourth of 60 people."""
    _, valid = latent_log(n_users=60)
    train = valid.history.select(valid.history.users % 4 != 0)
    model = create("mf", dimensions=8, epochs=1).fit(train, None, Engine(device="cpu", threads=1))
    return model, replace(valid, trained=train.events_per_user > 0)


def test_only_those_whom_the_model_can_serve_are_asked(partly):
    found = tune(*partly, [EXACT], k=10, singles=1)
    assert (found.n_queries, len(found.measured)) == (45, 1)
    assert found.exact.recall == 1.0


def test_a_model_that_can_serve_nobody_has_no_answer(partly):
    model, valid = partly
    strangers = valid.select(valid.users % 4 == 0)
    with pytest.raises(NotApplicable, match="the model has a vector for nobody who is judged"):
        tune(model, strangers, [EXACT])


def test_what_cannot_be_built_is_refused(fitted):
    with pytest.raises(RequestError, match="has 256 cells to learn, and there are 100 vectors"):
        tune(*fitted, [IndexConfig(factory="IVF256,Flat")], singles=1)


def test_no_configs_leave_exact_search_alone(fitted):
    assert [each.config for each in tune(*fitted, [], k=10, singles=1).measured] == [EXACT]


def test_a_budget_is_read_as_typed():
    assert parse_budget("recall 0.9, p99_ms 5, bytes_per_item 100") == {"recall": 0.9, "p99_ms": 5.0, "bytes_per_item": 100.0}
    assert parse_budget(" recall 1 ,") == {"recall": 1.0}
    assert parse_budget("") == {}


@pytest.mark.parametrize(
    "text", ["recall 1.1", "recall 0", "recall", "p99_ms five", "p99_ms nan", "p99_ms inf", "recall 0.9, recall 0.8", "p99_ms -1"]
)
def test_a_budget_of_no_such_number_is_refused(text):
    with pytest.raises(RequestError, match=f'budget = "{text}": '):
        parse_budget(text)


def test_an_unknown_part_of_a_budget_is_refused_with_the_nearest():
    with pytest.raises(RequestError, match='there is no part of an index\'s budget "recal"\\. Did you mean "recall"'):
        parse_budget("recal 0.9")


def test_inner_products_and_cosines_are_not_tuned_together(fitted):
    with pytest.raises(RequestError, match="tune for one of them"):
        tune(*fitted, [IndexConfig(), IndexConfig(metric="cosine")], k=5, singles=1)
