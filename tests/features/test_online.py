"""The store answers as the frame does, at whatever moment it is asked, and what is written is whole or not there."""

import json
import math
import shutil

import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.features import oracle
from tests.features.made import DAY, QUARTER, Event, asks, every, items, logs, made, moments, one, some_asks, some_log, thorough, users
from workbench.errors import RequestError, WorkError
from workbench.features import OnlineStore, Tables, build_features, feature, parity
from workbench.features.sql import group_table

CUT = 5 * QUARTER
HEARD = [each for each in thorough(delays=(0.25,)) if each.events != "view"]
LATER = asks([(user, item, CUT + more) for user, item in ((0, 1), (1, 4)) for more in (0, 1, DAY, 30 * DAY)])


def tell(store, events, since=CUT):
    for each in sorted(events, key=lambda event: event.time):
        if each.time >= since:
            store.observe(each.user, each.item, each.time, each.kinds, each.value)
    return store


def answers(store, asked=LATER):
    rows = zip(asked.users.tolist(), asked.items.tolist(), asked.timestamps.tolist(), strict=True)
    return torch.cat([store.features(user, [item], moment) for user, item, moment in rows])


def same(found, wanted):
    return torch.equal(found.nan_to_num(nan=-99.0), wanted.nan_to_num(nan=-99.0))


@settings(max_examples=4, deadline=None)
@given(every(), logs(), moments, st.lists(st.tuples(users, items, st.sampled_from([0, 1, QUARTER, DAY]), moments), min_size=4, max_size=12))
def test_the_store_that_hears_of_every_event_answers_as_the_frame(definitions, events, cutoff, rows):
    """Asked at the cut-off, and at moments of events and beside them."""
    asked = asks([(user, item, max(cutoff + more, moment)) for user, item, more, moment in rows])
    assert max(parity(definitions, made(events), cutoff, asked).values()) < 1e-9


@settings(max_examples=3, deadline=None)
@given(every(), logs(), moments, st.lists(st.tuples(users, items, moments), min_size=4, max_size=12))
def test_who_asks_late_hears_what_was_true_then(definitions, events, cutoff, rows):
    """Although the store has heard of all that came after."""
    asked = asks([(user, item, max(cutoff, moment)) for user, item, moment in rows])
    store = tell(OnlineStore.of(definitions, made(events), cutoff), events, cutoff)
    oracle.check(answers(store, asked), definitions, events, asked)


def test_a_store_from_nothing_hears_everything():
    log, definitions = some_log(), thorough(delays=(0.25,))
    store = tell(OnlineStore(definitions, made(log)), log, -(10**18))
    asked = some_asks(12)
    oracle.check(answers(store, asked), definitions, log, asked)


def test_parity_tells_a_store_that_heard_of_less(monkeypatch):
    log = [Event(0, 0, 0, 1.0), Event(0, 0, CUT + 1, 2.0)]
    definitions = [one("user", "count"), one("user", "mean"), one("user", "count", events="liked"), one("user_item", "last", window=0.25)]
    asked = asks([(0, 0, CUT + 2)])
    assert list(parity(definitions, made(log), CUT, asked).values()) == [0, 0, 0, 0]
    monkeypatch.setattr(OnlineStore, "observe", lambda *told: None)
    assert list(parity(definitions, made(log), CUT, asked).values()) == [1, 0.5, 0, math.inf]


def test_a_store_opened_answers_and_hears_as_the_one_saved(tmp_path):
    log = some_log()
    first = [each for each in log if each.time < CUT + DAY]
    store = tell(OnlineStore.of(HEARD, made(log), CUT), first)
    opened = OnlineStore.open(store.save(tmp_path / "new" / "features"))
    assert opened.definitions == store.definitions
    assert same(answers(opened), answers(store))
    for each in (opened, store):
        tell(each, log, CUT + DAY)
    assert same(answers(opened), answers(store))
    oracle.check(answers(opened), HEARD, log, LATER)


def test_attributes_are_there_after_opening(tmp_path):
    definitions = [
        feature("age", "user", "attribute", of="age"),
        feature("year", "item", "attribute", of="year"),
        feature("city", "user", "attribute", of="city", category=True),
        feature("score", "candidate", "given", of="score"),
        feature("weekday", "context", "weekday"),
    ]
    store = OnlineStore(definitions, made([]), allowed=["city"])
    frame = build_features(definitions, made([]), asks([(0, 0, 1), (0, 3, 1)], score=[0.5, math.nan]), allowed=["city"])
    for each in (store, OnlineStore.open(store.save(tmp_path / "features"))):
        assert same(each.features(0, [0, 3], 1, {"score": [0.5, math.nan]}), frame.values)


def test_a_store_with_types_of_events_can_be_opened(tmp_path):
    log = [Event(0, 0, 0, None, ("view",))]
    store = OnlineStore.of([one("user", "count", events="view")], made(log), CUT)
    assert OnlineStore.open(store.save(tmp_path / "features")).features(0, [0], CUT).item() == 1


def test_a_store_of_events_alone_can_be_opened(tmp_path):
    """Nothing is known of people and items."""
    store = OnlineStore.of([one("user", "count")], Tables(made([Event(0, 0, 0)]).events), CUT)
    assert OnlineStore.open(store.save(tmp_path / "features")).features(0, [0], CUT).item() == 1


@pytest.mark.parametrize("name", ["run=1", "a=b"])
def test_a_folder_may_have_any_name(name, tmp_path):
    store = OnlineStore.of([one("user", "count")], made([Event(0, 0, 0)]), CUT)
    assert OnlineStore.open(store.save(tmp_path / name / "features")).features(0, [0], CUT).item() == 1


def test_a_folder_holds_no_column_that_no_feature_reads(tmp_path):
    """The sensitive above all: nobody allowed it."""
    definitions = [one("user", "count"), feature("age", "user", "attribute", of="age")]
    folder = OnlineStore(definitions, made([])).save(tmp_path / "features")
    assert not {"city", "year"} & {column for path in folder.glob("*.parquet") for column in pq.read_schema(path).names}


def test_a_type_of_event_called_as_a_kind_is_not_that_kind():
    """ "liked" is what the card calls so, whatever the log calls its events."""
    tables = made([Event(0, 0, CUT, 1.0)])
    liked = tables.events.set_column(7, tables.events.schema.field("event"), [["liked"]])
    renamed = Tables(liked, tables.attributes, tables.groups)
    assert parity([one("user", "count", events="liked")], renamed, CUT, asks([(0, 0, CUT + 1)])) == {"user_count_liked": 0}


def test_an_older_event_is_refused_and_changes_nothing():
    store = OnlineStore.of(HEARD, made(some_log()), CUT)
    before = answers(store)
    with pytest.raises(RequestError, match=rf"an event at {CUT - 1} comes after one at {CUT}: tell of events in order of time"):
        store.observe(0, 1, CUT - 1, {"all"})
    assert same(answers(store), before)
    store.observe(0, 1, CUT + 5, {"all"})
    store.observe(0, 1, CUT + 5, {"all"})
    with pytest.raises(RequestError, match="in order of time"):
        store.observe(1, 1, CUT + 4, {"all"})


def test_the_order_is_kept_by_a_store_that_is_opened(tmp_path):
    store = OnlineStore.of([one("user", "count")], made([]), CUT)
    store.observe(0, 0, CUT + 9, {"all"})
    with pytest.raises(RequestError, match="in order of time"):
        OnlineStore.open(store.save(tmp_path / "features")).observe(0, 0, CUT + 8, {"all"})


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_value_that_is_no_number_is_refused_or_missing(value):
    store = OnlineStore([one("user", "mean")], made([]))
    try:
        store.observe(0, 0, 1, {"all"}, value)
    except RequestError:
        return
    store.observe(0, 0, 2, {"all"}, 2.0)
    assert store.features(0, [0], 3).item() == 2


def test_without_candidates_there_are_no_rows():
    definitions = [one("user", "count"), feature("hour", "context", "hour"), feature("s", "candidate", "given", of="score")]
    assert OnlineStore(definitions, made([])).features(0, [], 1, {"score": []}).shape == (0, 3)
    definitions = [feature(of, entity, "attribute", of=of) for entity, of in (("user", "age"), ("item", "year"))]
    assert OnlineStore(definitions, made([])).features(0, [], 1).shape == (0, 2)


@pytest.mark.parametrize("handed", [None, {}, {"scores": [1.0]}, {"score": [1.0, math.inf, 1.0]}, {"score": [1.0, 2.0]}, {"score": [1.0]}])
def test_a_column_not_handed_over_or_infinite_or_of_other_length_is_told(handed):
    store = OnlineStore([feature("s", "candidate", "given", of="score")], made([]))
    with pytest.raises(RequestError, match="score"):
        store.features(0, [0, 1, 2], 1, handed)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    definitions = [one("user", "count"), one("user_group", "mean"), one("item", "distinct", window=1.0)]
    return OnlineStore.of(definitions, made(some_log()), CUT).save(tmp_path_factory.mktemp("kept") / "features")


@pytest.fixture
def folder(kept, tmp_path):
    """A copy to damage."""
    return shutil.copytree(kept, tmp_path / "features")


FILES = ("features.json", "stream_0.parquet", "stream_1.parquet", "pairs_2.parquet", f"{group_table('genre')}.parquet")


@pytest.mark.parametrize("name", [*FILES, "attributes_user.parquet"])
@pytest.mark.parametrize("damage", [lambda content: None, lambda content: b"", lambda content: content[: len(content) // 2]])
def test_what_is_lost_or_cut_short_is_told(damage, name, folder):
    """What is there hashes to something else; what is not, and the list of hashes itself, cannot be read."""
    content = damage((folder / name).read_bytes())
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    cut = name.endswith(".parquet") and content is not None
    told = rf"are damaged: {name} hashes to [0-9a-f]{{12}}, not [0-9a-f]{{12}}\.$" if cut else "cannot be read: "
    with pytest.raises(WorkError, match=rf"^the features in features {told}"):
        OnlineStore.open(folder)


@pytest.mark.parametrize("text", ["[]", "7", "null", "{}", '{"version": 1}', '{"version": 1, "latest": 5, "definitions": null}'])
def test_what_is_no_description_of_features_is_told(text, folder):
    (folder / "features.json").write_text(text)
    with pytest.raises(WorkError, match=r"the features in features cannot be read: "):
        OnlineStore.open(folder)


def test_a_description_without_its_moment_is_told(folder):
    told = json.loads((folder / "features.json").read_text())
    del told["latest"]
    (folder / "features.json").write_text(json.dumps(told))
    with pytest.raises(WorkError, match=r"the features in features cannot be read: "):
        OnlineStore.open(folder)


@pytest.mark.parametrize("name", ["stream_0.parquet", "pairs_2.parquet"])
def test_a_flipped_bit_is_told(name, folder):
    content = bytearray((folder / name).read_bytes())
    for place in range(4, min(len(content), 400), 7):
        content[place] ^= 1
        (folder / name).write_bytes(content)
        with pytest.raises(WorkError, match=f"are damaged: {name} hashes to"):
            OnlineStore.open(folder)
        content[place] ^= 1


def test_a_newer_version_is_told(folder):
    told = json.loads((folder / "features.json").read_text())
    (folder / "features.json").write_text(json.dumps({**told, "version": 2, "definitions": "of another kind"}))
    with pytest.raises(WorkError, match=r"^features has features of version 2; this workbench reads 1\.$"):
        OnlineStore.open(folder)


def test_a_folder_that_is_there_is_left_alone(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(RequestError, match="there is a folder features already: features are written to a new one"):
        OnlineStore([], made([])).save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["features"]


@pytest.mark.parametrize("after", [0, 2])
def test_a_writer_that_fails_leaves_nothing(after, tmp_path, monkeypatch):
    write, done = pq.write_table, []

    def failing(table, path):
        done.append(path)
        if len(done) > after:
            raise OSError("no space left")
        write(table, path)

    monkeypatch.setattr(pq, "write_table", failing)
    with pytest.raises(OSError, match="no space left"):
        OnlineStore(HEARD, made([])).save(tmp_path / "features")
    assert list(tmp_path.iterdir()) == []
