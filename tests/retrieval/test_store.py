"""What was saved is what is opened, and a writer stopped anywhere leaves a whole index."""

import contextlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from tests.retrieval.made import KINDS, had, names, some_vectors, stored
from workbench.errors import RequestError, WorkError
from workbench.retrieval import IndexConfig, Recall, VectorIndex, open_index, read_manifest, save_index
from workbench.retrieval import store as store_module

N = 60
VECTORS, QUERIES = some_vectors(N), some_vectors(5, seed=1)
OTHERS = some_vectors(N, seed=2)


def files(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_opened_answers_as_what_was_saved(kind, tmp_path):
    config = IndexConfig(factory=kind, probes=3 if "IVF" in kind else None, refine=2 if "RFlat" in kind else None, seed=4)
    index = VectorIndex.build(VECTORS, config)
    index.remove(torch.tensor([1, 5]))
    index.update(torch.tensor([7]), QUERIES[:1])
    save_index(tmp_path, index, names(N), model="mf", snapshot="tiny@1")
    opened = open_index(tmp_path)
    seen = had([[], [2, 3], list(range(50)), list(range(N)), [8]])
    for found, wanted in zip(opened.index.search(QUERIES, 20, seen), index.search(QUERIES, 20, seen), strict=True):
        assert torch.equal(found, wanted)
    assert opened.index.config == config
    assert opened.item_ids == (*names(N), "i007")
    for name in ("items", "alive", "digests"):
        assert np.array_equal(getattr(opened.index, name), getattr(index, name))
    opened.index.add(torch.tensor([1]), VECTORS[1:2])  # what was read may be changed
    opened.index.remove(torch.tensor([2]))
    assert len(opened.index) == N - 2


def test_the_manifest_says_what_is_there(tmp_path):
    index = VectorIndex.build(VECTORS, IndexConfig(factory="IVF8,Flat", probes=2))
    index.remove(torch.tensor([3]))
    recall = Recall(k=10, value=0.75, queries=5)
    told = save_index(tmp_path, index, names(N), model="run-1", snapshot="tiny@1", recall=recall)
    assert read_manifest(tmp_path) == told == open_index(tmp_path).manifest
    assert (told.model, told.snapshot, told.recall, told.config) == ("run-1", "tiny@1", recall, index.config)
    assert (told.n_items, told.dimensions) == (N - 1, 16)
    assert told.built == told.refreshed
    assert told.built.endswith("+00:00")
    assert sorted(told.sha256) == ["index", "items"]
    assert files(tmp_path) == sorted(["manifest.json", *(f"{name}-{told.sha256[name][:12]}.bin" for name in told.sha256)])
    again = save_index(tmp_path, index, names(N), model="run-1", snapshot="tiny@1", since=replace(told, built="2020-01-01T00:00:00+00:00"))
    assert again.built == "2020-01-01T00:00:00+00:00"
    assert (again.recall, again.last_recall, again.n_built) == (recall, None, N - 1)
    assert again.vectors_sha256 == told.vectors_sha256


def test_the_hash_of_the_vectors_does_not_depend_on_their_places(tmp_path):
    turned = torch.arange(N - 1, -1, -1)
    hashes = set()
    for index in (VectorIndex.build(VECTORS), VectorIndex.build(VECTORS[turned], items=turned)):
        hashes.add(save_index(tmp_path, index, names(N), model="mf", snapshot="tiny@1").vectors_sha256)
    assert len(hashes) == 1


def test_another_snapshot_and_other_vectors_are_refused(tmp_path):
    stored(tmp_path, VECTORS)
    for vectors in (VECTORS, VECTORS.double(), VECTORS.clone()):
        assert len(open_index(tmp_path, snapshot="tiny@1", vectors=vectors).index) == N
    with pytest.raises(RequestError, match=r"is an index of tiny@1, not of tiny@2: refresh it, or build it anew"):
        open_index(tmp_path, snapshot="tiny@2")
    nudged = VECTORS.clone()
    nudged[N - 1, 3] = torch.nextafter(nudged[N - 1, 3], torch.tensor(9.0))
    for vectors in (nudged, VECTORS[:-1], torch.cat([VECTORS, VECTORS[:1]]), VECTORS.flip(0)):
        with pytest.raises(RequestError, match="was made of other vectors of mf than these"):
            open_index(tmp_path, vectors=vectors)
    with pytest.raises(RequestError, match=r"the vectors have shape \(60, 4\), expected \(n, 16\)"):
        open_index(tmp_path, vectors=VECTORS[:, :4])


def test_cosine_vectors_are_the_same_whatever_their_lengths(tmp_path):
    stored(tmp_path, VECTORS, config=IndexConfig(metric="cosine"))
    assert open_index(tmp_path, vectors=4 * VECTORS).manifest.config.metric == "cosine"


@pytest.mark.parametrize("make", [lambda folder: None, lambda folder: folder.mkdir()], ids=["no folder", "an empty one"])
def test_no_index_is_a_request_error(make, tmp_path):
    make(tmp_path / "index")
    for ask in (open_index, read_manifest):
        with pytest.raises(RequestError, match=r"index holds no index: it has no manifest\.json"):
            ask(tmp_path / "index")


@pytest.mark.parametrize("name", ["index", "items"])
def test_a_flipped_byte_is_told_with_both_hashes(name, tmp_path):
    stored(tmp_path, VECTORS)
    expected = read_manifest(tmp_path).sha256[name][:12]
    (path,) = tmp_path.glob(f"{name}-*.bin")
    content = bytearray(path.read_bytes())
    for place in (0, len(content) // 2, len(content) - 1):
        content[place] ^= 1
        path.write_bytes(content)
        with pytest.raises(WorkError, match=rf"{name}-{expected}\.bin is damaged: it hashes to \w{{12}}…, manifest.json says {expected}…"):
            open_index(tmp_path)
        content[place] ^= 1
    path.write_bytes(content)
    assert len(open_index(tmp_path).index) == N


@pytest.mark.parametrize("name", ["index", "items"])
def test_a_file_that_is_lost_is_told(name, tmp_path):
    stored(tmp_path, VECTORS)
    (path,) = tmp_path.glob(f"{name}-*.bin")
    path.unlink()
    with pytest.raises(WorkError, match=path.name):
        open_index(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"text"', b"{}", b"\xff\xfe", b'{"model": 3}', b"null"])
def test_a_manifest_of_nonsense_is_told(content, tmp_path):
    stored(tmp_path, VECTORS)
    (tmp_path / "manifest.json").write_bytes(content)
    for ask in (open_index, read_manifest):
        with pytest.raises(WorkError, match=r"manifest\.json cannot be read"):
            ask(tmp_path)


def test_a_manifest_cut_off_anywhere_is_told(tmp_path):
    stored(tmp_path, VECTORS)
    path = tmp_path / "manifest.json"
    content = path.read_bytes().rstrip()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(WorkError, match=r"manifest\.json cannot be read"):
            read_manifest(tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"sha256": {}}, {"n_items": "many"}, {"config": {"factory": 3}}, {"config": {"probes": 0}}, {"recall": {"k": 3}}, {"built": None}],
    ids=lambda change: "-".join(change),
)
def test_a_manifest_with_a_part_of_nonsense_is_told(change, tmp_path):
    stored(tmp_path, VECTORS)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(WorkError):
        open_index(tmp_path)


def test_old_files_are_removed_once_the_new_ones_are_named(tmp_path):
    stored(tmp_path, VECTORS)
    old = set(files(tmp_path))
    (tmp_path / "notes.txt").write_text("mine")
    stored(tmp_path, OTHERS)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert len(files(tmp_path)) == 4
    assert len(old & set(files(tmp_path))) == 1  # the manifest
    kept = files(tmp_path)
    stored(tmp_path, OTHERS)
    assert files(tmp_path) == kept


def at_most(times, method):
    """The method, which fails when it is called once more than that, having written half of what it had to."""
    left = [times]

    def called(self, *args, **options):
        left[0] -= 1
        if left[0] < 0:
            if method is Path.write_bytes:
                with self.open("wb") as file:
                    file.write(args[0][: len(args[0]) // 2])
            raise OSError(28, "No space left on device")
        return method(self, *args, **options)

    return called


@pytest.mark.parametrize(("method", "times"), [*(("replace", n) for n in range(3)), ("write_bytes", 0), ("write_bytes", 1), ("open", 2)])
def test_a_writer_that_fails_leaves_the_old_index(method, times, tmp_path, monkeypatch):
    """At giving any of the three files its name, in the middle of either of the large ones, and at the manifest."""
    stored(tmp_path, VECTORS)
    new = VectorIndex.build(OTHERS)
    with monkeypatch.context() as patch:
        patch.setattr(Path, method, at_most(times, getattr(Path, method)))
        with pytest.raises(OSError, match="No space left"):
            save_index(tmp_path, new, names(N), model="mf", snapshot="tiny@2")
    assert not list(tmp_path.glob(".*.partial"))
    assert torch.equal(open_index(tmp_path, snapshot="tiny@1", vectors=VECTORS).index.search(QUERIES, 9)[0], best_of(VECTORS))
    save_index(tmp_path, new, names(N), model="mf", snapshot="tiny@2")
    assert torch.equal(open_index(tmp_path, snapshot="tiny@2", vectors=OTHERS).index.search(QUERIES, 9)[0], best_of(OTHERS))
    assert len(files(tmp_path)) == 3


def best_of(vectors):
    return (QUERIES @ vectors.T).topk(9).indices


def test_a_writer_that_fails_at_tidying_leaves_the_new_index(tmp_path, monkeypatch):
    stored(tmp_path, VECTORS)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "glob", at_most(0, Path.glob))
        with contextlib.suppress(OSError):
            stored(tmp_path, OTHERS)
    assert len(open_index(tmp_path, vectors=OTHERS).index) == N
    stored(tmp_path, OTHERS)
    assert len(files(tmp_path)) == 3


def test_a_first_writer_that_fails_leaves_no_index(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", at_most(2, Path.replace))
        with pytest.raises(OSError, match="No space left"):
            stored(tmp_path, VECTORS)
    with pytest.raises(RequestError, match="holds no index"):
        open_index(tmp_path)


def test_what_a_killed_writer_left_half_written_is_removed_by_the_next(tmp_path):
    stored(tmp_path, VECTORS)
    for others in ("adapter-model.bin", ".notes.partial"):
        (tmp_path / others).write_bytes(b"not ours")
    (tmp_path / ".run.partial").mkdir()
    (tmp_path / ".index-0123456789ab.bin.99999.partial").write_bytes(b"half of it")
    stored(tmp_path, OTHERS)
    others = {"adapter-model.bin", ".notes.partial", ".run.partial"}
    assert others < set(files(tmp_path))
    assert len(files(tmp_path)) == 3 + len(others)


@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_reader_overtaken_by_a_writer_finds_the_newest(times, tmp_path, monkeypatch):
    """The index is replaced after the reader read the manifest, and before it read the files it names."""
    stored(tmp_path, some_vectors(N, seed=100))
    whole, seeds = store_module._whole, iter(range(times))

    def overtaken(folder, name, manifest):
        seed = next(seeds, None)
        if seed is not None:
            stored(folder, some_vectors(N, seed=seed))
        return whole(folder, name, manifest)

    monkeypatch.setattr(store_module, "_whole", overtaken)
    assert len(open_index(tmp_path, vectors=some_vectors(N, seed=times - 1)).index) == N


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from tests.retrieval.made import some_vectors, stored

folder, parent, rng = Path(sys.argv[1]), os.getpid(), random.Random(0)
stored(folder, some_vectors(60))
start = time.perf_counter()
stored(folder, some_vectors(60))
once = time.perf_counter() - start
print("ready", flush=True)
for life in range(int(sys.argv[2])):
    writer, seed = os.fork(), life
    while not writer and os.getppid() == parent:
        seed += 1
        stored(folder, some_vectors(60, seed=seed % 7))
    if not writer:
        os._exit(0)
    time.sleep(once * rng.uniform(0.5, 6))
    os.kill(writer, signal.SIGKILL)
    assert os.waitpid(writer, 0)[1] == signal.SIGKILL
"""


def test_killed_writers_never_leave_less_than_a_whole_index(tmp_path):
    """Thirty of them, by SIGKILL and while this process reads all the time."""
    known = {}
    for seed in range(7):
        vectors = some_vectors(N, seed=seed)
        known[stored(tmp_path, vectors).digests.tobytes()] = vectors

    def read():
        index = open_index(tmp_path).index
        assert torch.equal(index.vectors()[1], known[index.digests.tobytes()])
        return index.digests.tobytes()

    found = set()
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), "30"], cwd=ROOT, stdout=subprocess.PIPE) as writers:
        assert writers.stdout.readline() == b"ready\n"
        try:
            while writers.poll() is None:
                found.add(read())
        finally:
            writers.kill()
    assert writers.returncode == 0
    assert len(found) > 1, "some were published while others were killed"
    read()
    stored(tmp_path, VECTORS)
    assert len(open_index(tmp_path, vectors=VECTORS).index) == N


def test_a_snapshot_that_was_replaced_under_the_reader_is_refused_all_the_same(tmp_path, monkeypatch):
    stored(tmp_path, VECTORS)
    whole, overtaken = store_module._whole, iter([True])

    def replaced(folder, name, manifest):
        if next(overtaken, False):
            save_index(folder, VectorIndex.build(OTHERS), names(len(OTHERS)), model="mf", snapshot="tiny@2")
        return whole(folder, name, manifest)

    monkeypatch.setattr(store_module, "_whole", replaced)
    with pytest.raises(RequestError, match="is an index of tiny@2, not of tiny@1"):
        open_index(tmp_path, snapshot="tiny@1")
