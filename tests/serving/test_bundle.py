"""A bundle as the world sees it: strangers, unknown items, long lists, old moments, traces, damage, indexes."""

import json
import shutil

import numpy as np
import pytest
import torch

from tests.serving.made import made_data
from workbench.data import UserBatch
from workbench.data.interactions import offsets_of
from workbench.errors import RequestError, WorkError
from workbench.evaluation.ranking import NOTHING
from workbench.files import sha256_of
from workbench.promotion.bundle import write_manifest
from workbench.promotion.system import moments_of
from workbench.retrieval import Requests
from workbench.serving import Bundle, Request
from workbench.serving.manifest import MANIFEST, SCHEMA, read_manifest
from workbench.serving.verify import GOLDEN, verify

BUNDLES = ("ranked", "flat", *(pytest.param(name, marks=pytest.mark.slow) for name in ("cells", "cosine")))


@pytest.fixture
def copied(ranked, tmp_path):
    """A copy to damage."""
    return shutil.copytree(ranked.folder, tmp_path / "copy")


def hashed_again(folder):
    """As whoever changes a file and its hash too would leave it."""
    told = read_manifest(folder)
    told["sha256"] = {name: sha256_of(folder / name) for name in told["sha256"]}
    (folder / MANIFEST).write_text(json.dumps(told), encoding="utf-8")


SCHEMA_1 = {
    "": "inputs items lists made name policy ranker retriever schema sha256 surface",
    "lists": "fallback k repeats served_by",
    "made": "as_of code created dataset environment opset run snapshot split system",
    "ranker": "calibration dtype features file title",
    "retriever": "depth fallbacks file index scores sources together",
}


@pytest.mark.parametrize("name", ["ranked", "flat"])
def test_a_manifest_has_what_its_schema_has_so_that_bundles_of_before_can_be_opened(name, request):
    """What is read but was not written in earlier bundles needs a newer schema, and code for both."""
    told = read_manifest(request.getfixturevalue(name).folder)
    found = {"": told, **{key: told[key] for key in SCHEMA_1 if key and told[key]}}
    assert {key: " ".join(sorted(value)) for key, value in found.items()} == {key: SCHEMA_1[key] for key in found}
    assert told["schema"] == SCHEMA == 1


def ids(bundle, request, k=None):
    return [item for item, _ in bundle.recommend(request, k)]


def told(bundle, request):
    asked = bundle.encode(request)
    return bundle.trace(asked, bundle.answer([asked])[0])


def various(bundle):
    """Requests of everybody known, and of strangers with all kinds of histories."""
    rng = np.random.default_rng(1)
    drawn = [rng.choice(bundle.item_ids, length).tolist() for length in (0, 1, 2, 5, 30, 200)]
    return [
        *(Request(user_id=each) for each in bundle.user_ids),
        *(Request(history=each) for each in drawn),
        *(Request(history=each[::-1], timestamp=bundle.manifest["made"]["as_of"] + 10**10) for each in drawn),
        Request(),
        Request(user_id="nobody"),
        Request(history=["no such item", *drawn[3], "nor this"]),
        Request(history=bundle.item_ids),
    ]


@pytest.mark.parametrize("name", BUNDLES)
def test_golden_requests_are_answered_as_the_system_answered_them(name, request):
    """One by one and all together, after opening."""
    written = request.getfixturevalue(name)
    found = verify(written.folder)
    assert set(found) == {"one by one", "257 together"}
    for parity in found.values():
        assert parity.holds, parity.text
        assert parity.requests == 257


@pytest.mark.parametrize("name", ["ranked", "cells"])
def test_the_test_parts_requests_are_answered_as_by_the_system(name, request):
    """Everybody at their own moment, by what was known of them before it."""
    from workbench.policy import Facts
    from workbench.promotion import replay
    from workbench.serving.verify import compared

    written = request.getfixturevalue(name)
    holdout = written.parts.holdout("test")
    replayed = replay(written.bundle, written.data, written.parts)
    requests = Requests.of(holdout, holdout.users)
    wanted = written.system.answer(requests, moments_of(written.parts, "test", holdout), Facts.of(written.data, holdout))
    assert torch.equal(replayed.served, wanted.served)

    def pairs(listed):
        shown = [items != NOTHING for items in listed.items]
        return [(items[own].numpy(), scores[own].numpy()) for items, scores, own in zip(listed.items, listed.scores, shown, strict=True)]

    parity = compared(pairs(wanted), pairs(replayed))
    assert parity.holds, parity.text
    assert len(replayed.seconds) > 0


@pytest.mark.parametrize("name", ["ranked", "flat", "cells"])
@pytest.mark.parametrize("events", [40, 2**15])
def test_requests_together_are_answered_as_one_by_one(name, events, request, monkeypatch):
    """In batches of requests with histories of like length, however small."""
    monkeypatch.setattr("workbench.serving.retrieve.EVENTS", events)
    bundle = request.getfixturevalue(name).bundle
    asked = [bundle.encode(each) for each in various(bundle)]
    together = bundle.answer(asked)
    for each, whole in zip(asked, together, strict=True):
        (alone,) = bundle.answer([each])
        assert alone.items.tolist() == whole.items.tolist()
        np.testing.assert_allclose(alone.scores, whole.scores, rtol=1e-5, atol=1e-6)
        assert (alone.served_by, alone.fallback, alone.candidates.tolist()) == (whole.served_by, whole.fallback, whole.candidates.tolist())
        assert [row["item_id"] for row in bundle.trace(each, alone)["items"]] == [bundle.item_ids[item] for item in whole.items]
    assert bundle.answer([]) == []


def test_more_requests_than_go_together_are_answered_in_their_order(ranked):
    asked = [ranked.bundle.encode(Request(history=[ranked.bundle.item_ids[n % 64]])) for n in range(600)]
    found = ranked.bundle.answer(asked)
    assert len(found) == 600
    assert [each.items.tolist() for each in found[64:128]] == [each.items.tolist() for each in found[:64]]
    for place in (0, 511, 512, 599):
        assert found[place].items.tolist() == ranked.bundle.answer([asked[place]])[0].items.tolist()


@pytest.mark.parametrize("name", ["ranked", "flat", "cells"])
def test_nothing_is_there_twice_or_had_before_and_lists_are_as_long_as_they_may_be(name, request):
    bundle = request.getfixturevalue(name).bundle
    for each in various(bundle):
        asked = bundle.encode(each)
        (answer,) = bundle.answer([asked])
        assert len(set(answer.items.tolist())) == len(answer.items) <= 5
        assert not set(answer.items.tolist()) & set(asked.seen.tolist())
        assert len(answer.scores) == len(answer.items)
        if name != "ranked":
            assert len(answer.items) == min(5, 64 - len(set(asked.seen.tolist())))


def test_the_policy_holds_for_everybody(ranked):
    """At most two of a genre, and of items in two of them as well."""
    genres = dict(zip(ranked.data.item_ids, ranked.data.snapshot.cells("items", "genre"), strict=True))
    for each in various(ranked.bundle):
        for k in (3, 5, 20):
            own = [group for item in ids(ranked.bundle, each, k) for group in (genres[item] or "").split("|") if group]
            assert all(own.count(group) <= 2 for group in own)


def test_a_person_that_nobody_knows_is_a_stranger(ranked):
    assert ids(ranked.bundle, Request(user_id="nobody")) == ids(ranked.bundle, Request()) == ids(ranked.bundle, Request(history=[]))
    assert told(ranked.bundle, Request(user_id="nobody"))["person"] == "stranger"


def test_a_history_that_is_told_counts_and_not_the_one_that_was_known(ranked):
    person = ranked.bundle.user_ids[0]
    asked = ranked.bundle.encode(Request(user_id=person, history=["i05", "i03"]))
    assert asked.user == 0
    assert [ranked.bundle.item_ids[item] for item in asked.history] == ["i05", "i03"]
    known = ranked.bundle.encode(Request(user_id=person))
    assert len(known.history) == 20
    assert set(ids(ranked.bundle, Request(user_id=person))) & {ranked.bundle.item_ids[item] for item in known.history} == set()
    empty = ranked.bundle.encode(Request(user_id=person, history=[]))
    assert (empty.user, len(empty.history)) == (0, 0)


def test_what_is_known_of_people_is_their_whole_log_oldest_first(ranked):
    log = ranked.parts.train.plus(ranked.parts.valid).plus(ranked.parts.known).plus(ranked.parts.test)
    for code, person in enumerate(ranked.data.user_ids):
        own = log.users == code
        asked = ranked.bundle.encode(Request(user_id=person))
        assert asked.history.tolist() == log.items[own].tolist()
        assert sorted(asked.liked.tolist()) == sorted(log.items[own & log.positive].tolist())
        assert (np.diff(log.timestamps[own].numpy()) >= 0).all()


def test_items_that_the_catalogue_does_not_have_are_left_out_and_told(ranked):
    with_them = Request(history=["gone", "i01", "i02", "", "gone"])
    without = Request(history=["i01", "i02"])
    assert ranked.bundle.recommend(with_them) == ranked.bundle.recommend(without)
    assert told(ranked.bundle, with_them)["not_in_catalogue"] == ["gone", "", "gone"]
    assert told(ranked.bundle, with_them)["history"] == 2
    assert told(ranked.bundle, without)["not_in_catalogue"] == []


def test_a_history_of_nothing_but_unknown_items_is_an_empty_one(flat):
    request = Request(history=["gone", "lost"])
    assert flat.bundle.recommend(request) == flat.bundle.recommend(Request(history=[]))
    assert told(flat.bundle, request)["served_by"] == flat.bundle.manifest["lists"]["fallback"]


@pytest.mark.parametrize("name", ["ranked", "flat"])
def test_an_item_that_was_had_twice_counts_once(name, request):
    """As far as the model is concerned, which counts what somebody has."""
    bundle = request.getfixturevalue(name).bundle
    assert ids(bundle, Request(history=["i01", "i02", "i01", "i01"])) == ids(bundle, Request(history=["i02", "i01"]))


@pytest.mark.parametrize("k", [64, 65, 1000])
def test_lists_longer_than_the_catalogue_have_what_there_is(k, flat, ranked):
    """Retrieval looks twenty deep."""
    request = Request(history=["i01", "i02"])
    assert len(ids(flat.bundle, request, k)) == 20
    assert len(set(ids(ranked.bundle, request, k))) == len(ids(ranked.bundle, request, k)) <= 20
    everything = ids(flat.bundle, Request(), k)
    assert sorted(everything) == sorted(flat.bundle.item_ids), "the fallback has the whole catalogue"
    assert ids(flat.bundle, Request(), 3) == everything[:3]


def test_who_had_everything_gets_an_empty_list(ranked, flat):
    for written in (ranked, flat):
        assert written.bundle.recommend(Request(history=written.bundle.item_ids)) == []
        assert told(written.bundle, Request(history=written.bundle.item_ids))["items"] == []


def test_the_fallback_is_popularity_without_what_was_had(flat):
    """Counts of what the models learnt from; equals by ties."""
    counts, ties = flat.parts.fit_on.events_per_item.numpy(), flat.parts.ties.numpy()
    order = [flat.bundle.item_ids[item] for item in np.lexsort((ties, -counts))]
    assert ids(flat.bundle, Request(), 64) == order
    assert ids(flat.bundle, Request(user_id="nobody"), 5) == order[:5]


def test_a_moment_before_the_features_begin_is_refused_with_both_moments(ranked):
    since = ranked.bundle.manifest["made"]["as_of"]
    assert since == ranked.bundle.moments.state.since
    assert ranked.bundle.recommend(Request(user_id="u01", timestamp=since)) == ranked.bundle.recommend(Request(user_id="u01"))
    for moment in (since - 1, 0, -(10**18)):
        with pytest.raises(RequestError, match=rf"timestamp = {moment}: .* begin at {since}") as error:
            ranked.bundle.recommend(Request(user_id="u01", timestamp=moment))
        assert "\n" not in str(error.value)


def test_without_features_any_moment_will_do(flat):
    assert flat.bundle.recommend(Request(user_id="u01", timestamp=0)) == flat.bundle.recommend(Request(user_id="u01"))


def test_later_moments_are_other_features(ranked):
    day = 86_400_000_000
    asked = [ranked.bundle.encode(Request(user_id="u01", timestamp=ranked.bundle.manifest["made"]["as_of"] + n * day)) for n in (0, 400)]
    got = ranked.bundle.retriever.candidates(asked)
    now, later = (ranked.bundle.features(each, found) for each, found in zip(asked, got, strict=True))
    assert now.shape == later.shape == (20, len(ranked.bundle.manifest["ranker"]["features"]))
    assert not np.array_equal(now, later, equal_nan=True)


def test_a_trace_says_how_the_list_came_about(ranked):
    trace = told(ranked.bundle, Request(history=["i01", "gone", "i02"]))
    assert trace["bundle"] == ranked.bundle.manifest["name"] == "small/home"
    assert (trace["person"], trace["history"], trace["candidates"]) == ("stranger", 2, 20)
    assert trace["served_by"] == ranked.system.title
    assert [row["item_id"] for row in trace["items"]] == ids(ranked.bundle, Request(history=["i01", "i02"]))
    for row in trace["items"]:
        assert 1 <= row["retrieved"] <= 20
        assert row["by"]
        assert set(row["by"]) <= {"popularity", "ease"}
        assert 0 <= row["chance"] <= 1
    assert len({row["retrieved"] for row in trace["items"]}) == len(trace["items"])
    assert [each["step"] for each in trace["policy"]] == [step.title for step in ranked.system.spec.policy.steps]
    assert json.loads(json.dumps(trace)) == trace


def test_a_trace_of_the_fallback_has_no_sources(flat):
    trace = told(flat.bundle, Request())
    assert trace["candidates"] == 0
    assert all(row["retrieved"] is None and "by" not in row and "chance" not in row for row in trace["items"])
    assert [row["score"] for row in trace["items"]] == [-1, -2, -3, -4, -5]
    assert trace["policy"] == []


def test_chances_are_the_calibrations_of_the_scores(ranked):
    asked = ranked.bundle.encode(Request(user_id="u02"))
    (answer,) = ranked.bundle.answer([asked])
    calibration = ranked.bundle.manifest["ranker"]["calibration"]
    assert calibration["method"] == "platt"
    wanted = 1 / (1 + np.exp(-(calibration["slope"] * answer.scores + calibration["offset"])))
    np.testing.assert_allclose(answer.chances, wanted, rtol=1e-12)


@pytest.mark.parametrize("name", ["flat", "cells"])
@pytest.mark.parametrize("length", [0, 1, 5, 20, 60])
def test_an_index_answers_as_the_one_it_was_written_from(name, length, request):
    """Strangers' histories up to nearly everything, where one cell holds too few and more are looked into."""
    written = request.getfixturevalue(name)
    source = written.system.made.sources[0]
    rng = np.random.default_rng(length)
    own = [rng.permutation(64)[:length] for _ in range(20)]
    items = torch.from_numpy(np.concatenate(own)).long()
    offsets = offsets_of(torch.full((20,), length))
    batch = UserBatch(users=torch.full((20,), -1), items=items, timestamps=torch.zeros_like(items), offsets=offsets, n_items=64)
    wanted = source.candidates(Requests(asked=batch, seen=batch, trained=torch.zeros(20, dtype=torch.bool)), 20)
    scores = source.model.score(batch).gather(1, wanted.clamp(min=0))
    bundle = written.bundle
    found = bundle.retriever.candidates([bundle.encode(Request(history=[bundle.item_ids[item] for item in each])) for each in own])
    for row, got in enumerate(found):
        there = wanted[row] != NOTHING
        assert got.items.tolist() == wanted[row][there].tolist()
        np.testing.assert_allclose(got.scores, scores[row][there].numpy(), rtol=1e-4, atol=1e-6)
        assert (len(got.items) > 0) == (length > 0 and own[row].tolist() != [63]), "of an item that nobody had nothing is known"


def test_a_search_leaves_the_index_as_it_was(cells):
    index = cells.bundle.retriever.index
    before = index.cells.nprobe
    cells.bundle.recommend(Request(history=cells.bundle.item_ids[:60]), 20)
    assert index.cells.nprobe == before == 1


def test_a_changed_graph_is_found_before_it_is_run(copied):
    content = bytearray((copied / "retriever.onnx").read_bytes())
    content[-20] ^= 1
    (copied / "retriever.onnx").write_bytes(content)
    for attempt in (Bundle.open, verify):
        with pytest.raises(WorkError, match=r"copy is damaged: retriever\.onnx hashes to [0-9a-f]{12}…, manifest\.json says [0-9a-f]{12}…"):
            attempt(copied)


@pytest.mark.parametrize(
    "name", ["ranker.onnx", "items.parquet", "histories.parquet", "features/features.json", "policy/policy.json", GOLDEN]
)
def test_every_part_is_held_to_its_hash(name, copied):
    with (copied / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(WorkError, match=f"copy is damaged: {name}"):
        Bundle.open(copied)


@pytest.mark.parametrize(
    ("name", "content"),
    [("retriever.onnx", b""), ("ranker.onnx", b"\x08\x0a"), ("retriever.onnx", b"no graph at all"), ("ranker.onnx", b":\0")],
)
def test_a_graph_that_is_none_is_told_although_its_hash_is_right(name, content, copied):
    (copied / name).write_bytes(content)
    hashed_again(copied)
    with pytest.raises(WorkError):
        Bundle.open(copied)


@pytest.mark.parametrize(
    "name", ["items.parquet", "users.parquet", "features/stream_0.parquet", "policy/policy.json", "features/features.json"]
)
@pytest.mark.parametrize("content", [b"", b"PAR1", b"{}", b"[]"])
def test_a_table_that_is_none_is_told_although_its_hash_is_right(name, content, copied):
    (copied / name).write_bytes(content)
    hashed_again(copied)
    with pytest.raises(WorkError, match="copy cannot be read"):
        Bundle.open(copied)


def test_an_index_that_is_none_is_told_although_its_hash_is_right(flat, tmp_path):
    folder = shutil.copytree(flat.folder, tmp_path / "copy")
    (folder / "index.faiss").write_bytes(b"no index")
    hashed_again(folder)
    with pytest.raises(WorkError):
        Bundle.open(folder)


def test_another_model_in_its_place_is_found_by_the_golden_requests(copied):
    """Popularity turned round, with hashes that are right."""
    import pyarrow.parquet as pq

    rows = pq.read_table(copied / GOLDEN)
    turned = rows.set_column(rows.column_names.index("items"), "items", rows["items"].take(np.arange(len(rows))[::-1]))
    pq.write_table(turned, copied / GOLDEN)
    hashed_again(copied)
    found = verify(copied)
    assert not any(parity.holds for parity in found.values())
    assert all("up to ties" in parity.text for parity in found.values())


def test_a_manifest_written_again_holds(copied):
    told_before = read_manifest(copied)
    write_manifest(copied, {name: value for name, value in told_before.items() if name != "sha256"})
    assert read_manifest(copied)["sha256"] == told_before["sha256"]
    assert read_manifest(copied)["inputs"] == told_before["inputs"]
    Bundle.open(copied)


def test_a_bundle_moved_elsewhere_says_the_same(ranked, copied):
    elsewhere = Bundle.open(copied)
    for each in various(ranked.bundle):
        assert elsewhere.recommend(each) == ranked.bundle.recommend(each)


def test_no_file_of_a_bundle_names_this_machine(ranked):
    for path in ranked.folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(each in content for each in (b"site-packages", str(ranked.folder.parent).encode())), path.name


def test_a_list_of_none_or_fewer_is_not_asked_for(ranked):
    for k in (0, -1):
        with pytest.raises(RequestError, match=f"k = {k} should be at least 1"):
            ranked.bundle.recommend(Request(), k)


@pytest.mark.parametrize(("table", "name"), [("lists", "served_by"), ("made", "as_of"), ("retriever", "depth")])
def test_a_manifest_that_lacks_what_is_read_later_is_told_when_it_is_opened(table, name, copied):
    told = read_manifest(copied)
    del told[table][name]
    (copied / MANIFEST).write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(WorkError, match=rf"it has no {table}\.{name}\.$"):
        Bundle.open(copied)


def test_an_item_that_the_data_lost_is_not_on_offer_and_lists_stay_full(ranked, tmp_path):
    """The champion of an older snapshot, asked about one that lacks the item it likes best, whose features nobody can tell any more."""
    from workbench.promotion import replay

    before = replay(ranked.bundle, ranked.data, ranked.parts)
    best = ranked.data.item_ids[int(before.items.flatten().mode().values)]
    data = made_data(tmp_path, without=best)
    assert best not in data.item_ids
    parts = data.split("default", seed=0)
    after = replay(ranked.bundle, data, parts)
    assert after.items.shape == (len(parts.holdout("test").users), ranked.bundle.k)
    assert (after.items >= 0).sum() >= 0.99 * (before.items >= 0).double().mean() * after.items.numel(), "lists are as long as they were"


def test_golden_requests_that_cannot_be_read_are_told_though_their_hash_is_right(copied):
    (copied / GOLDEN).write_bytes(b"no table")
    hashed_again(copied)
    with pytest.raises(WorkError, match=rf"{GOLDEN} cannot be read"):
        verify(copied)
