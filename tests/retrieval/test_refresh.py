"""An index is called stale for the reason it is, and a refresh mends that and touches nothing else."""

import datetime
import math
from dataclasses import replace

import faiss
import numpy as np
import pytest
import torch

from tests.retrieval.made import names, some_vectors, stored
from workbench.errors import RequestError, WorkError
from workbench.retrieval import IndexConfig, Limits, Recall, VectorIndex, open_index, read_manifest, refresh, staleness
from workbench.retrieval import store as store_module
from workbench.retrieval.index import digests_of

N = 40
VECTORS, IDS, QUERIES = some_vectors(N), names(N), some_vectors(6, seed=1)
LONG_AGO = "2020-01-01T00:00:00+00:00"
ANYTHING = Limits(age_days=math.inf, missing=1, gone=1, drift=2, recall_lost=1, changed=1, grown=math.inf, dead=1)


@pytest.fixture
def folder(tmp_path):
    stored(tmp_path, VECTORS, built=LONG_AGO)
    return tmp_path


def turned(vectors, rows, cosine):
    """The vectors, those of these rows turned until their cosine with what they were is this one."""
    found = vectors.clone()
    for row in rows:
        was = vectors[row] / vectors[row].norm()
        across = torch.zeros_like(was).index_fill(0, torch.tensor([0]), 1.0)
        across = across - (across @ was) * was
        found[row] = vectors[row].norm() * (cosine * was + math.sqrt(1 - cosine**2) * across / across.norm())
    return found


def renew(folder, vectors, ids, **settings):
    return refresh(folder, vectors, ids, **{"model": "mf", "snapshot": "tiny@2", "limits": ANYTHING, **settings})


def test_what_did_not_change_is_fresh(folder):
    found = staleness(open_index(folder), VECTORS, IDS, queries=QUERIES)
    assert (found.verdict, found.reasons, str(found)) == ("fresh", (), "fresh.")
    assert (found.missing, found.gone, found.changed, found.dead, found.drift) == (0, 0, 0, 0, 0)
    assert (found.recall, found.recall_at_build) == (1.0, None)
    assert 0 <= found.age_days < 1
    assert staleness(open_index(folder), VECTORS, IDS).recall is None


def test_each_share_is_of_its_own_whole(folder):
    """Of 40 items 4 are gone and 3 turned by 60 degrees; of 46 in the catalogue 10 are new."""
    vectors, ids = torch.cat([turned(VECTORS, [5, 6, 7], 0.5)[4:], some_vectors(10, seed=3)]), [*IDS[4:], *(f"new{n}" for n in range(10))]
    found = staleness(open_index(folder), vectors, ids)
    assert found.missing == 10 / 46
    assert found.gone == 4 / 40
    assert found.changed == 3 / 40
    assert found.drift == pytest.approx(3 / 36 * (1 - 0.5), abs=1e-6)
    assert found.dead == 0
    assert found.verdict == "refresh"
    assert [reason.split(" ")[0] for reason in found.reasons] == ["21.7%", "10.0%", "vectors"]


def with_recall(folder, value):
    stored(folder, VECTORS, recall=Recall(k=10, value=value, queries=6))


def add_new(folder):
    return torch.cat([VECTORS, some_vectors(10, seed=3)]), [*IDS, *(f"new{n}" for n in range(10))]


def drop(folder):
    return VECTORS[:30], IDS[:30]


def turn(folder):
    return turned(VECTORS, range(8), 0.0), IDS


def lengthen(folder):
    return torch.cat([2 * VECTORS[:8], VECTORS[8:]]), IDS


def die(folder):
    index = VectorIndex.build(VECTORS)
    index.update(torch.arange(10), VECTORS[:10])
    store_module.save_index(folder, index, IDS, model="mf", snapshot="tiny@1")
    return VECTORS, IDS


def forget(folder):
    """A recall that nothing has, so that what is there has less."""
    with_recall(folder, 1.25)
    return VECTORS, IDS


CASES = [
    (add_new, "missing", 10 / 50, "refresh", "20.0% of the catalogue missing, 19.9% allowed"),
    (drop, "gone", 10 / 40, "refresh", "25.0% of the items are gone, 24.9% allowed"),
    (turn, "drift", 8 / 40, "refresh", "vectors drifted by 0.200, 0.199 allowed"),
    (lengthen, "changed", 8 / 40, "rebuild", "20% of the vectors changed, 20% allowed"),
    (die, "dead", 10 / 50, "rebuild", "20% of the places are dead, 20% allowed"),
    (forget, "recall_lost", 0.25, "refresh", "recall fell by 0.250, 0.249 allowed"),
]


@pytest.mark.parametrize(("change", "limit", "value", "verdict", "reason"), CASES, ids=[case[1] for case in CASES])
def test_each_limit_is_passed_for_its_own_reason(change, limit, value, verdict, reason, folder):
    vectors, ids = change(folder)
    below, above = (replace(ANYTHING, **{limit: value + step}) for step in (-0.001, 0.001))
    found = staleness(open_index(folder), vectors, ids, queries=QUERIES, limits=below)
    assert (found.verdict, found.reasons, str(found)) == (verdict, (reason,), f"{verdict}: {reason}.")
    assert getattr(found, limit, found.recall) == pytest.approx(1.0 if limit == "recall_lost" else value, abs=1e-6)
    assert staleness(open_index(folder), vectors, ids, queries=QUERIES, limits=above).verdict == "fresh"


def test_age_counts_from_the_last_refresh(folder):
    then = datetime.datetime.fromisoformat(read_manifest(folder).refreshed)
    for days, verdict in ((7.0, "fresh"), (7.5, "refresh")):
        found = staleness(open_index(folder), VECTORS, IDS, now=then + datetime.timedelta(days=days))
        assert (found.age_days, found.verdict) == (days, verdict)
    assert found.reasons == ("7.5 days old, 7 allowed",)


def test_a_reason_to_rebuild_is_told_first(folder):
    vectors = turned(VECTORS, range(30), 0.0)
    found = staleness(open_index(folder), vectors[1:], IDS[1:])
    assert (found.verdict, len(found.reasons)) == ("rebuild", 3)
    assert found.reasons[0].startswith("72% of the vectors changed")  # 29 of 40


def test_another_catalogue_altogether_has_no_drift_to_tell(folder):
    found = staleness(open_index(folder), some_vectors(5), [f"new{n}" for n in range(5)], limits=ANYTHING)
    assert math.isnan(found.drift)
    assert (found.missing, found.gone, found.changed) == (1, 1, 0)
    found = staleness(open_index(folder), some_vectors(5), [f"new{n}" for n in range(5)])
    assert found.verdict == "refresh"


@pytest.mark.parametrize("factory", ["SQ8", "IVF4,PQ8x4fs", "IVF4,PQ8x4fs,RFlat"])
def test_what_the_codes_lose_is_not_drift(factory, tmp_path):
    stored(tmp_path, VECTORS, config=IndexConfig(factory=factory))
    assert staleness(open_index(tmp_path), VECTORS, IDS).drift == 0
    found = staleness(open_index(tmp_path), turned(VECTORS, range(4), -1.0), IDS)
    assert 0.1 < found.drift < 0.21  # 4 of 40 turned round: 2 × 0.1 of what the codes kept
    assert found.changed == 0.1


def test_recall_is_measured_as_it_was_at_build_and_without_the_gone(tmp_path):
    stored(tmp_path, VECTORS, recall=Recall(k=4, value=1.0, queries=6))
    best = (QUERIES @ VECTORS.T).topk(4).indices
    kept = [code for code in range(N) if code != int(best[0, 0])]
    found = staleness(open_index(tmp_path), VECTORS[kept], [IDS[code] for code in kept], queries=QUERIES, limits=ANYTHING)
    assert found.recall == 1.0
    new = 100 * QUERIES[:1]
    found = staleness(open_index(tmp_path), torch.cat([VECTORS, new]), [*IDS, "new"], queries=QUERIES[:1])
    assert found.recall == 3 / 4


@pytest.mark.parametrize(
    ("vectors", "ids", "told"),
    [
        (VECTORS[:, :5], IDS, r"the vectors have shape \(40, 5\), expected \(n, 16\)"),
        (VECTORS, IDS[1:], "there are 40 vectors for 39 items"),
    ],
)
def test_vectors_that_do_not_fit_are_refused_and_the_index_stays(vectors, ids, told, folder):
    before = read_manifest(folder)
    for ask in (lambda: staleness(open_index(folder), vectors, ids), lambda: renew(folder, vectors, ids)):
        with pytest.raises(RequestError, match=told):
            ask()
    assert read_manifest(folder) == before


def test_items_are_matched_by_id_when_their_codes_moved(folder):
    """Ids put in at the front and in the middle; the vectors are what they were."""
    new = some_vectors(2, seed=3)
    vectors, ids = torch.cat([new[:1], VECTORS[:20], new[1:], VECTORS[20:]]), ["a", *IDS[:20], "i019b", *IDS[20:]]
    found = staleness(open_index(folder), vectors, ids, queries=QUERIES)
    assert (found.missing, found.gone, found.changed, found.drift) == (2 / 42, 0, 0, 0)
    manifest, before = renew(folder, vectors, ids)
    assert before.changed == 0
    opened = open_index(folder, snapshot="tiny@2", vectors=vectors)
    assert opened.manifest == manifest
    assert opened.index.items[:N].tolist() == [*range(1, 21), *range(22, 42)]  # the places of old, with new codes
    assert opened.index.items[N:].tolist() == [0, 21]
    assert opened.item_ids == (*IDS, "a", "i019b")
    assert torch.equal(opened.index.search(QUERIES, 42)[0], (QUERIES @ vectors.T).topk(42).indices)


def test_a_catalogue_in_another_order_has_nothing_to_append(folder):
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    renew(folder, VECTORS[order], [IDS[code] for code in order.tolist()])
    index = open_index(folder, vectors=VECTORS[order]).index
    assert len(index.items) == N
    assert torch.equal(index.search(QUERIES, N)[0], VectorIndex.build(VECTORS[order]).search(QUERIES, N)[0])


def changed_catalogue():
    """Of i000 … i039 the first two are gone, i010 and i020 have other vectors, and two are new, one of them before all others."""
    vectors = VECTORS.clone()
    vectors[[10, 20]] = some_vectors(2, seed=4)
    new = some_vectors(2, seed=5)
    return torch.cat([new[:1], vectors[2:], new[1:]]), ["a", *IDS[2:], "z"]


def test_only_what_changed_is_taken_in(folder):
    vectors, ids = changed_catalogue()
    manifest, before = renew(folder, vectors, ids)
    assert (before.missing, before.gone, before.changed) == (2 / 40, 2 / 40, 2 / 40)
    opened = open_index(folder, snapshot="tiny@2", vectors=vectors)
    index = opened.index
    assert [opened.item_ids[place] for place in range(N, len(index.items))] == ["i010", "i020", "a", "z"]
    assert np.flatnonzero(~index.alive).tolist() == [0, 1, 10, 20]
    assert np.array_equal(index.digests[:N], digests_of(VECTORS.numpy()))
    assert torch.equal(torch.from_numpy(index.decoded()[:N]), VECTORS)
    assert (manifest.n_items, manifest.built) == (40, LONG_AGO)
    assert manifest.refreshed > LONG_AGO
    after = staleness(opened, vectors, ids, queries=QUERIES)
    assert (after.verdict, after.missing, after.gone, after.changed, after.recall) == ("fresh", 0, 0, 0, 1)
    assert after.dead == pytest.approx(4 / 44)


@pytest.mark.parametrize("metric", ["inner_product", "cosine"])
def test_after_a_refresh_answers_are_those_of_an_index_built_anew(metric, tmp_path):
    config = IndexConfig(metric=metric)
    stored(tmp_path, VECTORS, config=config)
    vectors, ids = changed_catalogue()
    renew(tmp_path, vectors, ids)
    found, wanted = open_index(tmp_path).index.search(QUERIES, 50), VectorIndex.build(vectors, config).search(QUERIES, 50)
    assert torch.equal(found[0], wanted[0])
    torch.testing.assert_close(found[1], wanted[1])


@pytest.mark.parametrize("factory", ["SQ8", "IVF4,Flat", "IVF4,PQ8x4fs", "IVF4,PQ8x4fs,RFlat", "HNSW16"])
def test_an_index_refreshed_again_and_again_holds_the_catalogue(factory, tmp_path):
    stored(tmp_path, VECTORS, config=IndexConfig(factory=factory), built=LONG_AGO)
    rng = np.random.default_rng(6)
    vectors, ids = VECTORS, IDS
    for step in range(5):
        kept = np.sort(rng.permutation(len(ids))[4:])
        vectors = torch.cat([some_vectors(4, seed=10 + step), vectors[kept]])
        ids = [*(f"s{step}-{n}" for n in range(4)), *(ids[n] for n in kept)]
        vectors[rng.integers(4, len(ids), 3)] *= -1
        renew(tmp_path, vectors, ids)
        index = open_index(tmp_path, vectors=vectors).index
        assert all(sorted(row) == list(range(len(ids))) for row in index.search(QUERIES, len(ids))[0].tolist())
    assert read_manifest(tmp_path).built == LONG_AGO


def test_an_item_that_comes_back_is_found_again(folder):
    renew(folder, VECTORS[1:], IDS[1:])
    assert len(open_index(folder).index) == N - 1
    renew(folder, VECTORS, IDS)
    opened = open_index(folder, vectors=VECTORS)
    assert torch.equal(opened.index.search(QUERIES, N)[0], (QUERIES @ VECTORS.T).topk(N).indices)


def test_a_place_of_an_item_that_is_gone_is_not_named_after_another(folder):
    renew(folder, VECTORS[1:], IDS[1:])
    assert open_index(folder).item_ids[0] not in IDS[1:]


@pytest.mark.parametrize(
    ("limits", "rebuilt"),
    [
        ({}, False),
        ({"changed": 0.06}, False),
        ({"changed": 0.04}, True),
        ({"dead": 0.1}, False),  # 4 of 44 places after the refresh, none before it
        ({"dead": 0.09}, True),
    ],
)
def test_all_is_built_anew_where_the_limits_say_so(limits, rebuilt, folder):
    vectors, ids = changed_catalogue()
    manifest, before = renew(folder, vectors, ids, limits=replace(ANYTHING, **limits))
    assert (manifest.built != LONG_AGO) == rebuilt
    index = open_index(folder, vectors=vectors).index
    assert (index.dead_share == 0) == rebuilt
    assert before.verdict == ("rebuild" if limits.get("changed") == 0.04 else "fresh")
    assert torch.equal(index.search(QUERIES, 40)[0], (QUERIES @ vectors.T).topk(40).indices)


def test_a_refresh_that_finds_too_little_is_a_rebuild(tmp_path):
    """One cell of 16 finds far less than the manifest says it did."""
    config, recall = IndexConfig(factory="IVF16,Flat"), Recall(k=10, value=0.99, queries=50)
    old, new, ids, queries = some_vectors(400), turned(some_vectors(400), range(40), 0.0), names(400), some_vectors(50, seed=2)
    found = {}
    for lost in (1.0, 0.0):
        stored(tmp_path, old, ids, config=config, recall=recall, built=LONG_AGO)
        found[lost], before = renew(tmp_path, new, ids, queries=queries, limits=replace(ANYTHING, recall_lost=lost))
        assert before.recall < 0.9
        assert (before.recall_at_build, before.verdict) == (0.99, "fresh" if lost else "refresh")
    kept, rebuilt = found[1.0], found[0.0]
    assert kept.built == LONG_AGO != rebuilt.built
    assert rebuilt.config == kept.config == config
    anew, wanted = VectorIndex.build(new, config).search(queries, 10)[0].tolist(), (queries @ new.T).topk(10).indices.tolist()
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(anew, wanted, strict=True)]
    assert rebuilt.recall == Recall(k=10, value=pytest.approx(sum(shares) / 50), queries=50)
    assert open_index(tmp_path, vectors=new).index.dead_share == 0


def test_a_refresh_measures_recall_where_it_has_queries(folder):
    assert renew(folder, VECTORS, IDS)[0].last_recall is None
    manifest = renew(folder, VECTORS, IDS, queries=QUERIES)[0]
    assert manifest.last_recall == Recall(k=40, value=1.0, queries=6)  # of 100 there are 40
    assert manifest.recall is None, "what it was when built is not known, and stays so"


def test_recall_is_held_against_that_of_the_build_however_often_it_was_refreshed(folder):
    """Each refresh may lose a little; that the last one lost little says nothing."""
    built = Recall(k=10, value=1.02, queries=6)
    stored(folder, VECTORS, recall=built)
    for _ in range(2):
        manifest, before = renew(folder, turned(VECTORS, [1], 0.5), IDS, queries=QUERIES)
        assert manifest.recall == built
        assert before.recall_at_build == 1.02
    renew(folder, VECTORS, IDS)  # without queries
    assert staleness(open_index(folder), VECTORS, IDS, queries=QUERIES, limits=replace(ANYTHING, recall_lost=0.015)).verdict == "refresh"


def test_an_index_of_a_catalogue_that_doubled_since_it_was_built_is_built_anew(folder):
    more = torch.cat([VECTORS, some_vectors(30, seed=3)])
    ids = [*IDS, *(f"new{n}" for n in range(30))]
    limits = replace(ANYTHING, grown=0.99)
    assert renew(folder, more, ids, limits=limits)[0].n_built == N, "three quarters more"
    found = staleness(
        open_index(folder), torch.cat([more, some_vectors(20, seed=4)]), [*ids, *(f"newer{n}" for n in range(20))], limits=limits
    )
    assert (found.grown, found.verdict) == (1.25, "rebuild")
    assert "125% more items than it was built for, 99% allowed" in found.reasons


def test_vectors_of_nothing_hide_no_drift(tmp_path):
    """Items that nobody had have zeros before and after a training; the others all turned by 60 degrees."""
    vectors = VECTORS.clone()
    vectors[:4] = 0
    stored(tmp_path, vectors)
    found = staleness(open_index(tmp_path), turned(vectors, range(4, N), 0.5), IDS)
    assert found.drift == pytest.approx(0.5 * (N - 4) / N, abs=1e-6)


def test_vectors_that_grew_have_drifted_where_lengths_count(tmp_path):
    stored(tmp_path, VECTORS)
    longer = VECTORS.clone()
    longer[:10] *= 5
    assert staleness(open_index(tmp_path), longer, IDS).drift == pytest.approx(10 / N * (1 - 1 / 5), abs=1e-6)


@pytest.mark.parametrize("dies_at", ["add", "serialize_index", "write_json"])
def test_a_refresh_that_fails_half_way_leaves_the_old_index(dies_at, folder, monkeypatch):
    vectors, ids = changed_catalogue()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def dies(*_):
        raise MemoryError(dies_at)

    with monkeypatch.context() as patch:
        patch.setattr({"add": VectorIndex, "serialize_index": faiss, "write_json": store_module}[dies_at], dies_at, dies)
        with pytest.raises(MemoryError, match=dies_at):
            renew(folder, vectors, ids)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert before.items() <= after.items()
    assert torch.equal(open_index(folder, snapshot="tiny@1", vectors=VECTORS).index.search(QUERIES, N)[0], order_of(VECTORS))
    renew(folder, vectors, ids)
    assert torch.equal(open_index(folder, snapshot="tiny@2", vectors=vectors).index.search(QUERIES, N)[0], order_of(vectors))


def order_of(vectors):
    return (QUERIES @ vectors.T).topk(N).indices


def test_a_vector_that_is_not_finite_leaves_the_old_index(folder):
    vectors = VECTORS.clone()
    vectors[7, 0] = float("nan")
    with pytest.raises(RequestError, match="vector 7 holds a number that is not finite"):
        renew(folder, vectors, IDS)
    assert len(open_index(folder, snapshot="tiny@1", vectors=VECTORS).index) == N


def test_an_empty_catalogue_is_refused(folder):
    for ask in (lambda: staleness(open_index(folder), VECTORS[:0], []), lambda: renew(folder, VECTORS[:0], [])):
        with pytest.raises(RequestError):
            ask()
    assert len(open_index(folder).index) == N


def test_a_damaged_index_is_not_refreshed(folder):
    (path,) = folder.glob("index-*.bin")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WorkError, match="is damaged"):
        renew(folder, VECTORS, IDS)
