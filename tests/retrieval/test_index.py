"""Of every kind of index: nothing seen, nothing twice, nothing missing; of exact search: the very answers."""

from dataclasses import replace
from itertools import pairwise

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from tests.retrieval.made import DIMENSIONS, KINDS, had, some_vectors
from workbench.errors import RequestError
from workbench.evaluation.ranking import NOTHING
from workbench.retrieval import IndexConfig, VectorIndex, cells, recall_against
from workbench.retrieval.recall import overlap

N, PEOPLE = 200, 8
VECTORS, QUERIES = some_vectors(N), some_vectors(PEOPLE, seed=1)


def histories(codes, seed=2):
    """Of nothing, a little with repeats, half, all but three, all but one, everything, everything twice, and what is not there at all."""
    codes = np.random.default_rng(seed).permutation(codes).tolist()
    half = len(codes) // 2
    return [[], codes[:3] * 2, codes[:half], codes[3:], codes[1:], codes, codes * 2, [5000, *codes[:1]]]


def check(index, present, k, told=None):
    """The contract, for people who had `told` or less, `present` being what there is."""
    told = histories(sorted(present)) if told is None else told
    items, scores = index.search(QUERIES[: len(told)], k, had(told, 6000))
    assert items.shape == scores.shape == (len(told), k)
    assert items.dtype == torch.int64
    assert scores.dtype == torch.float32
    for history, row, value in zip(told, items.tolist(), scores.tolist(), strict=True):
        left = present - set(history)
        found = row[: min(k, len(left))]
        assert NOTHING not in found
        assert len(set(found)) == len(found)
        assert set(found) <= left
        assert row[len(found) :] == [NOTHING] * (k - len(found))
        assert value[len(found) :] == [-np.inf] * (k - len(found))
        assert all(first >= second for first, second in pairwise(value))
    return items


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def built(kind):
    return VectorIndex.build(VECTORS, IndexConfig(factory=kind))


def fresh(kind, n=N, **settings):
    return VectorIndex.build(VECTORS[:n], IndexConfig(factory=kind, **settings))


def thorough(kind, vectors=VECTORS, **settings):
    return VectorIndex.build(vectors, IndexConfig(factory=kind, probes=8 if "IVF" in kind else None, **settings))


@pytest.mark.parametrize("k", [1, 7, 50, N, N + 30])
def test_nothing_seen_nothing_twice_and_all_that_is_left(built, k):
    check(built, set(range(N)), k)


def test_without_a_history_everyone_gets_k(built):
    for seen in (None, had([[]] * PEOPLE)):
        items, scores = built.search(QUERIES, 40, seen)
        assert all(len(set(row)) == 40 and NOTHING not in row for row in items.tolist())
        assert (scores.diff(dim=1) <= 0).all()
    assert torch.equal(items, built.search(QUERIES, 40)[0])


def test_one_cell_of_many_small_ones_is_enough_to_start_from(kind):
    index = VectorIndex.build(VECTORS[:40], IndexConfig(factory=kind, probes=1 if "IVF" in kind else None))
    check(index, set(range(40)), 30)
    if "IVF" in kind:
        assert faiss.extract_index_ivf(index.index).nprobe == 1  # looking further was for those people alone


def test_a_query_gets_the_same_alone_and_among_others(built):
    told = histories(range(N))
    together = check(built, set(range(N)), 10, told)
    for row, history in enumerate(told):
        alone = built.search(QUERIES[row : row + 1], 10, had([history], 6000))[0]
        assert torch.equal(alone[0], together[row])


def test_after_remove_update_and_add_the_contract_holds(kind):
    index = fresh(kind)
    index.remove(torch.arange(0, 60))
    check(index, set(range(60, N)), 150)
    index.update(torch.arange(60, 120), some_vectors(60, seed=3))
    check(index, set(range(60, N)), 150)
    index.add(torch.tensor([0, 700, 3]), some_vectors(3, seed=4))
    check(index, {0, 3, 700, *range(60, N)}, 150)
    assert len(index) == N - 60 + 3
    assert index.dead_share == pytest.approx(120 / (N + 60 + 3))


def test_everything_removed_finds_nothing(kind):
    index = fresh(kind)
    index.remove(torch.arange(N))
    check(index, set(), 5)
    assert (len(index), index.dead_share) == (0, 1.0)


def test_codes_need_not_be_row_numbers(kind):
    codes = torch.from_numpy(np.random.default_rng(5).permutation(900)[:N])
    index = VectorIndex.build(VECTORS, IndexConfig(factory=kind), codes)
    check(index, set(codes.tolist()), 50)
    rows = VectorIndex.build(VECTORS, IndexConfig(factory=kind)).search(QUERIES, 10)[0]
    if kind != "HNSW16":  # its graph depends on threads
        assert torch.equal(index.search(QUERIES, 10)[0], codes[rows])


def test_an_update_changes_the_answer(kind):
    index = thorough(kind)
    last = int(index.search(QUERIES[:1], N)[0][0, -1])
    assert last not in index.search(QUERIES[:1], 5)[0]
    index.update(torch.tensor([last]), 3 * QUERIES[:1])
    assert int(index.search(QUERIES[:1], 1)[0]) == last
    index.update(torch.tensor([last]), -3 * QUERIES[:1])
    assert int(index.search(QUERIES[:1], N)[0][0, -1]) == last


def test_what_was_removed_comes_back_only_when_added(kind):
    index = thorough(kind)
    best = index.search(QUERIES[:1], 1)[0][0]
    index.remove(best)
    assert int(best) not in index.search(QUERIES[:1], N)[0]
    index.add(best, 3 * QUERIES[:1])
    assert int(index.search(QUERIES[:1], 1)[0]) == int(best)


@given(data=st.data())
def test_exact_search_is_a_masked_sort(data):
    """Of whole numbers, so that sums have no rounding; people's histories are from none to all of the catalogue."""
    n, k = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 70))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    shares = data.draw(st.lists(st.sampled_from([0.0, 0.02, 0.3, 0.9, 0.99, 1.0]), min_size=1, max_size=9))
    codes = rng.permutation(200)[:n]
    vectors, queries = (torch.from_numpy(rng.integers(-999, 999, (rows, 6))).float() for rows in (n, len(shares)))
    told = [rng.choice(codes, round(share * n), replace=False).tolist() * data.draw(st.integers(1, 3)) for share in shares]
    items, scores = VectorIndex.build(vectors, items=torch.from_numpy(codes)).search(queries, k, had(told))
    for row, history in enumerate(told):
        exact = dict(zip(codes.tolist(), (vectors @ queries[row]).tolist(), strict=True))
        left = sorted((exact[code] for code in exact if code not in history), reverse=True)[:k]
        found = [code for code in items[row].tolist() if code != NOTHING]
        assert scores[row, : len(found)].tolist() == left == [exact[code] for code in found]
        assert len(set(found)) == len(found)
        assert not set(found) & set(history)


def test_exact_search_is_a_masked_sort_of_a_larger_catalogue():
    vectors, queries = some_vectors(3000, seed=6).double(), some_vectors(40, seed=7).double()
    rng = np.random.default_rng(8)
    told = [rng.integers(0, 3000, length).tolist() for length in rng.choice([0, 1, 20, 400, 8000], 40)]
    batch = had(told, 3000)
    wanted = (queries @ vectors.T).masked_fill(batch.history_matrix().bool(), -torch.inf).topk(25)
    items, scores = VectorIndex.build(vectors).search(queries, 25, batch)
    assert torch.equal(items, wanted.indices)
    torch.testing.assert_close(scores.double(), wanted.values, rtol=1e-5, atol=1e-5)


def test_cosine_is_the_inner_product_of_normalised_vectors(kind):
    scale = torch.from_numpy(np.random.default_rng(9).lognormal(size=(N, 1))).float()
    cosine = thorough(kind, VECTORS * scale, metric="cosine").search(5 * QUERIES, 20)
    product = thorough(kind, normalize(VECTORS, dim=1)).search(normalize(QUERIES, dim=1), 20)
    if kind == "Flat":
        assert torch.equal(cosine[0], product[0])
        torch.testing.assert_close(cosine[1], product[1])
        assert (cosine[1] <= 1.0 + 1e-6).all()
    assert overlap(cosine[0], product[0]) > 0.9  # codes of vectors that differ in their last bit may differ


def test_all_cells_of_whole_vectors_are_exact_search():
    for config in (IndexConfig(factory="IVF8,Flat", probes=8), IndexConfig(factory="HNSW16", ef_search=N)):
        assert recall_against(VectorIndex.build(VECTORS, config), VECTORS, QUERIES, 20).value == 1.0


@pytest.mark.parametrize("factory", ["IVF64,Flat", "IVF64,SQ8", "IVF64,PQ8x4fs,RFlat"])
def test_long_vectors_are_found_in_fewer_cells_than_by_faiss_alone(factory):
    """The same factory, the same cells searched; FAISS puts vectors where the product with the centre is largest."""
    lengths = np.random.default_rng(10).lognormal(sigma=1.0, size=(4000, 1)).astype(np.float32)
    vectors, queries = normalize(some_vectors(4000, seed=11), dim=1) * torch.from_numpy(lengths), some_vectors(200, seed=12)
    wanted = VectorIndex.build(vectors).search(queries, 20)[0]
    raw = faiss.index_factory(DIMENSIONS, factory, faiss.METRIC_INNER_PRODUCT)
    raw.train(vectors.numpy())
    raw.add(vectors.numpy())
    faiss.ParameterSpace().set_index_parameter(raw, "nprobe", 4)
    theirs = overlap(torch.from_numpy(raw.search(queries.numpy(), 20)[1]), wanted)
    ours = overlap(VectorIndex.build(vectors, IndexConfig(factory=factory, probes=4)).search(queries, 20)[0], wanted)
    assert theirs + 0.1 < ours <= 1.0


def test_a_sample_to_learn_from_takes_long_vectors_and_none_twice(monkeypatch):
    monkeypatch.setattr(cells, "LEAST_SAMPLE", 50)
    monkeypatch.setattr(cells, "SAMPLE_PER_CELL", 1)
    table = VECTORS.numpy() * np.where(np.arange(N) < 50, 1000, 1e-3).astype(np.float32)[:, None]
    sample = cells.sampled(table, VectorIndex.build(VECTORS).index, seed=0)
    assert np.array_equal(sample, table[:50])
    check(VectorIndex.build(VECTORS, IndexConfig(factory="IVF8,Flat")), set(range(N)), 20)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "HNSW16"])
def test_the_same_seed_gives_the_same_answers(kind):
    first, second = (fresh(kind, seed=3).search(QUERIES, 30) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_another_seed_learns_other_cells():
    indexes = [fresh("IVF8,Flat", seed=seed) for seed in (0, 1, 0)]
    first, second, again = (faiss.extract_index_ivf(each.index).quantizer.reconstruct_n(0, 8) for each in indexes)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, again)


def test_knobs_say_how_the_index_is_searched_from_now_on():
    index = fresh("IVF8,Flat", probes=1)
    assert recall_against(index, VECTORS, QUERIES, 20).value < 0.9
    index.set_knobs(replace(index.config, probes=8))
    assert index.config.probes == 8
    assert recall_against(index, VECTORS, QUERIES, 20).value == 1.0
    for other in (IndexConfig(factory="SQ8"), replace(index.config, seed=1), replace(index.config, metric="cosine")):
        with pytest.raises(RequestError, match="this index was built as IVF8,Flat"):
            index.set_knobs(other)
    assert index.config.probes == 8


@pytest.mark.parametrize(
    ("knobs", "factory", "known"),
    [({"probes": 8}, "IVF8,Flat", ("nprobe", 1)), ({"ef_search": 99}, "HNSW16", ("efSearch", 16))],
)
def test_a_knob_that_is_not_given_is_what_faiss_has_whatever_was_given_before(knobs, factory, known):
    index = fresh(factory, **knobs)
    index.set_knobs(IndexConfig(factory=factory))
    assert knob(index, known[0]) == known[1]


def knob(index, name):
    inner = faiss.downcast_index(index.index)
    return inner.nprobe if name == "nprobe" else inner.hnsw.efSearch


@pytest.mark.parametrize(("knobs", "factory", "name"), [({"probes": 8}, "IVF8,Flat", "nprobe"), ({"ef_search": 99}, "HNSW16", "efSearch")])
def test_knobs_are_set_all_or_none(knobs, factory, name):
    index = fresh(factory)
    before = (index.config, knob(index, name))
    with pytest.raises(RequestError, match=f'refine = 3 means nothing to the factory "{factory}"'):
        index.set_knobs(IndexConfig(factory=factory, **knobs, refine=3))
    assert (index.config, knob(index, name)) == before


def test_held_vectors_are_those_that_went_in():
    index = fresh("IVF8,Flat")
    index.remove(torch.tensor([4]))
    codes, held = index.vectors()
    assert torch.equal(codes, torch.tensor([code for code in range(N) if code != 4]))
    assert torch.equal(held, VECTORS[codes])


def test_no_queries_at_all_get_no_answers(built):
    for seen in (None, had([])):
        items, scores = built.search(torch.empty(0, DIMENSIONS), 7, seen)
        assert items.shape == scores.shape == (0, 7)


def broken(n, row, value):
    vectors = some_vectors(n).double()
    vectors[row, 2] = value
    return vectors


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e300])
def test_what_is_not_finite_is_refused_with_its_row(value):
    """1e300 is finite, and is not in float32."""
    with pytest.raises(RequestError, match="vector 17 holds a number that is not finite"):
        VectorIndex.build(broken(N, 17, value))
    index = fresh("Flat")
    with pytest.raises(RequestError, match="query 3 holds a number that is not finite"):
        index.search(broken(PEOPLE, 3, value), 5)
    for ask in (index.update, index.add):
        with pytest.raises(RequestError, match="vector 1 holds a number that is not finite"):
            ask(torch.tensor([9, 10]), broken(2, 1, value))
    check(index, set(range(N)), 10)


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda index: index.search(QUERIES[:, :5], 3), r"the queries have shape \(8, 5\), expected \(n, 16\)"),
        (lambda index: index.search(QUERIES[0], 3), r"the queries have shape \(16,\)"),
        (lambda index: index.search(QUERIES, 0), "k = 0 should be at least 1"),
        (lambda index: index.search(QUERIES, 3, had([[1]] * 5)), "there are 8 queries, and 5 rows of what was seen"),
        (lambda index: index.search(QUERIES, 3, had([])), "there are 8 queries, and 0 rows of what was seen"),
        (lambda index: index.add(torch.tensor([900]), VECTORS[:1, :4]), r"the vectors have shape \(1, 4\), expected \(n, 16\)"),
        (lambda index: index.add(torch.tensor([900, 7]), VECTORS[:2]), "item 7 is in the index already: update it"),
        (lambda index: index.add(torch.tensor([900, 900]), VECTORS[:2]), "item 900 has more than one vector"),
        (lambda index: index.add(torch.tensor([900, 901]), VECTORS[:1]), r"there are 1 vectors for items of shape \(2,\)"),
        (lambda index: index.remove(torch.tensor([3, 900])), "item 900 is not in the index"),
        (lambda index: index.update(torch.tensor([3, 900]), VECTORS[:2]), "item 900 is not in the index"),
        (lambda index: index.update(torch.tensor([3, 3]), VECTORS[:2]), "item 3 has more than one vector"),
        (lambda index: index.update(torch.tensor([3, 4]), VECTORS[:1]), r"there are 1 vectors for items of shape \(2,\)"),
    ],
)
def test_what_cannot_be_done_is_refused_and_the_index_is_as_it_was(ask, told):
    index = fresh("IVF8,Flat")
    before = index.search(QUERIES, N)[0]
    with pytest.raises(RequestError, match=told):
        ask(index)
    assert torch.equal(index.search(QUERIES, N)[0], before)


def test_an_item_removed_once_cannot_be_removed_or_updated():
    index = fresh("Flat")
    index.remove(torch.tensor([3]))
    for ask in (lambda: index.remove(torch.tensor([3])), lambda: index.update(torch.tensor([3]), VECTORS[:1])):
        with pytest.raises(RequestError, match="item 3 is not in the index"):
            ask()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"factory": "Nope"}, r'factory = "Nope" is no index of vectors of 16 numbers to FAISS \(.*Nope\)'),
        ({"factory": ""}, 'factory = "" is no index'),
        ({"factory": "IVF8,PQ5x4fs"}, r"IVF8,PQ5x4fs.*should be a multiple"),
        ({"factory": "IVF500,Flat"}, '"IVF500,Flat" has 500 cells to learn, and there are 200 vectors'),
        ({"factory": "PQ4"}, '"PQ4" has 256 codes to learn, and there are 200 vectors'),
        ({"factory": "IVF8,PQ4"}, '"IVF8,PQ4" has 256 codes to learn'),
        ({"probes": 2}, 'probes = 2 means nothing to the factory "Flat"'),
        ({"factory": "HNSW16", "probes": 2}, 'probes = 2 means nothing to the factory "HNSW16"'),
        ({"factory": "IVF8,Flat", "ef_search": 40}, 'ef_search = 40 means nothing to the factory "IVF8,Flat"'),
        ({"factory": "IVF8,Flat", "refine": 2.5}, r'refine = 2\.5 means nothing to the factory "IVF8,Flat"'),
    ],
)
def test_settings_that_make_no_index_are_refused(settings, told):
    with pytest.raises(RequestError, match=told):
        VectorIndex.build(VECTORS, IndexConfig(**settings))


def test_fewer_vectors_than_fast_codes_are_refused():
    with pytest.raises(RequestError, match="has 16 codes to learn, and there are 12 vectors"):
        fresh("IVF8,PQ4x4fs", n=12)
    check(fresh("IVF8,PQ4x4fs", n=16), set(range(16)), 10)


@pytest.mark.parametrize(("setting", "value"), [("probes", 0), ("ef_search", 0), ("refine", 0.5), ("metric", "euclid"), ("seed", -1)])
def test_a_setting_out_of_range_is_refused_by_name(setting, value):
    with pytest.raises(RequestError, match=f"index: {setting} = "):
        IndexConfig.checked(**{setting: value})


def test_a_setting_nobody_knows_is_refused_with_the_nearest():
    with pytest.raises(RequestError, match=r'there is no setting of an index "prbes"\. Did you mean "probes"\?'):
        IndexConfig.checked(prbes=3)


@pytest.mark.parametrize("vectors", [torch.empty(0, 4), torch.empty(3, 0), torch.ones(4), torch.ones(2, 2, 2)])
def test_no_vectors_are_no_index(vectors):
    with pytest.raises(RequestError, match="the vectors have shape"):
        VectorIndex.build(vectors)


@pytest.mark.parametrize("codes", [torch.tensor([0, 1, 1]), torch.tensor([0, 1])])
def test_codes_that_repeat_or_are_too_few_are_refused(codes):
    with pytest.raises(RequestError, match=r"item 1 has more than one vector|there are 3 vectors for items of shape \(2,\)"):
        VectorIndex.build(VECTORS[:3], items=codes)


@pytest.mark.skipif(hasattr(faiss, "StandardGpuResources"), reason="this FAISS may have a GPU")
def test_a_gpu_is_refused_where_there_is_none():
    with pytest.raises(RequestError, match="this FAISS sees no GPU 0: faiss-cpu is installed, or no device is there"):
        fresh("Flat").on_gpu()
