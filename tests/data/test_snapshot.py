import json
import random
import signal
import subprocess
import sys

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import tiny_rows
from workbench.cli import main
from workbench.data import difference, load_dataset, prepare, version, versions
from workbench.data.digest import content_digest
from workbench.data.snapshot import KEY, TABLES, catalogue_size
from workbench.errors import RequestError, WorkError

PREPARE = "import sys; from workbench.cli import main; sys.exit(main(['data', 'prepare', 'tiny']))"


def folders(home):
    return sorted(path.name for path in (home / "datasets" / "snapshots" / "tiny").iterdir() if path.name not in {".lock", KEY})


def test_ids_stay_text_and_007_is_not_7(tiny):
    tiny([("007", "1", 5, 10), ("7", "01", 4, 20), ("7", "1", 3, 30)])
    data = load_dataset("tiny")
    assert data.user_ids == ["007", "7"]
    assert data.item_ids == ["01", "1"]


def test_times_are_microseconds_and_values_floats(tiny):
    tiny([("a", "x", 4.5, 881250949)])
    row = load_dataset("tiny").sql("SELECT * FROM events").iloc[0]
    assert (row.value, row.timestamp) == (4.5, 881250949 * 1_000_000)


def test_the_content_hash_ignores_row_order_and_sees_every_cell(tiny, home):
    rows = tiny_rows()
    contents = []
    shuffled = random.Random(1).sample(rows, len(rows))
    for variant in (rows, shuffled, [(*rows[0][:2], 1.0, rows[0][3]), *rows[1:]], rows[1:], [*rows, ("u00", "i00", 1.0, 9.0)]):
        tiny(variant)
        tables = prepare("tiny").manifest["tables"]
        contents.append(tuple(tables[table]["digest"] for table in TABLES))
    assert contents[0] == contents[1]
    assert len(set(contents)) == 4


def test_a_changed_card_is_a_changed_snapshot(tiny, home):
    card = tiny()
    before = prepare("tiny").id
    card.write_text(card.read_text().replace("min = 4", "min = 3"))
    assert prepare("tiny").id != before
    assert len(folders(home)) == 2


def test_a_second_call_uses_the_snapshot_again(tiny):
    tiny()
    first = prepare("tiny")
    assert prepare("tiny").manifest["created"] == first.manifest["created"]


@pytest.mark.parametrize("table", TABLES)
def test_a_flipped_byte_is_found_with_both_hashes_and_prepare_mends_it(tiny, table):
    tiny()
    snapshot = prepare("tiny")
    path, key = snapshot.folder / f"{table}.parquet", snapshot.pseudonym_key()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(WorkError) as caught:
        load_dataset("tiny")
    message = str(caught.value)
    assert f"the snapshot {snapshot.id} is damaged: {table}.parquet hashes to" in message
    assert snapshot.manifest["files"][f"{table}.parquet"][:12] in message
    assert "workbench data prepare tiny" in message
    assert prepare("tiny").id == snapshot.id
    assert prepare("tiny").pseudonym_key() == key  # or runs from before would no longer pair


@pytest.mark.parametrize("text", ["", "{", "[]", '{"content_hash": "x"}'])
def test_a_damaged_manifest_is_found_and_mended(tiny, text):
    tiny()
    snapshot = prepare("tiny")
    (snapshot.folder / "manifest.json").write_text(text)
    with pytest.raises(WorkError, match=r"manifest\.json is damaged"):
        load_dataset("tiny")
    assert prepare("tiny").id == snapshot.id


def test_a_source_that_is_not_the_cards_is_refused_with_both_hashes(tiny, home):
    card = tiny()
    card.write_text(
        card.read_text().replace('events = { name = "tiny.inter", sha256 = "', 'events = { name = "tiny.inter", sha256 = "f')[:-1]
    )
    text = card.read_text()
    start = text.index('sha256 = "f') + len('sha256 = "')
    card.write_text(text[: start + 64] + text[start + 65 :])
    with pytest.raises(WorkError, match=r"tiny.inter hashes to [0-9a-f]{12}…, the card says f[0-9a-f]{11}…"):
        prepare("tiny")
    assert not (home / "datasets" / "snapshots").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('title = "public"\n', ""), 'the column "title" of items has no class'),
        (('value = "rating:float"', 'value = "stars:float"'), r'tiny.inter: there is no column "stars:float"'),
        (('value = "rating:float"', 'value = "item_id:token"'), r'tiny.inter, row 2, column "item_id": "i00" is not a finite number'),
    ],
)
def test_a_card_that_does_not_fit_its_files_is_refused_before_anything_is_written(tiny, home, change, message):
    card = tiny()
    card.write_text(card.read_text().replace(*change))
    with pytest.raises(RequestError, match=message):
        prepare("tiny")
    assert not (home / "datasets" / "snapshots").exists()


def test_an_old_snapshot_that_is_damaged_does_not_stand_in_the_way(tiny):
    card = tiny()
    old = prepare("tiny")
    card.write_text(card.read_text().replace("min = 4", "min = 3"))
    new = prepare("tiny")
    (old.folder / "manifest.json").write_text("{")
    assert load_dataset("tiny").snapshot.id == new.id


@pytest.mark.parametrize(
    "change", [('"rows": 80', '"rows": 81'), ('"source": "package', '"source": "pickage'), ('"digest": "', '"digest": "0')]
)
def test_any_change_to_a_manifest_is_found(tiny, change):
    tiny()
    path = prepare("tiny").folder / "manifest.json"
    assert path.read_text().count(change[0]) >= 1
    path.write_text(path.read_text().replace(*change, 1))
    with pytest.raises(WorkError, match=r"manifest.json is damaged \(it does not hash to what it says\)"):
        load_dataset("tiny")


def test_a_snapshot_under_another_name_is_found(tiny):
    tiny()
    folder = prepare("tiny").folder
    folder.rename(folder.with_name("0123456789ab"))
    with pytest.raises(WorkError, match="the folder is 0123456789ab"):
        load_dataset("tiny")


@pytest.mark.parametrize("key", [b"", b"short"])
def test_a_key_that_protects_nobody_is_found_and_replaced(tiny, key):
    tiny()
    snapshot = prepare("tiny")
    (snapshot.folder.parent / KEY).write_bytes(key)
    with pytest.raises(WorkError, match=r"pseudonyms\.key is missing or too short"):
        load_dataset("tiny")
    assert len(prepare("tiny").pseudonym_key()) == 32


def test_the_catalogue_can_be_counted_without_a_snapshot(tiny, home):
    tiny()
    assert catalogue_size("tiny") == 12
    assert not (home / "datasets" / "snapshots").exists()
    prepare("tiny")
    assert catalogue_size("tiny") == 12


def test_a_package_that_is_missing_or_another_version_is_named(tiny):
    card = tiny()
    text = card.read_text()
    card.write_text(text.replace("tinydata==1.0", "tinydata==2.0"))
    with pytest.raises(RequestError, match=r"asks for tinydata 2.0; 1.0 is installed"):
        prepare("tiny")
    card.write_text(text.replace("tinydata==1.0", "nodata==1.0"))
    with pytest.raises(RequestError, match="nodata, which is not installed"):
        prepare("tiny")
    card.write_text(text.replace("1.0/log", "1.0/../log"))
    with pytest.raises(RequestError, match="is not of the form"):
        prepare("tiny")


def test_two_processes_at_once_end_with_one_good_snapshot(tiny, home):
    tiny()
    both = [subprocess.Popen([sys.executable, "-c", PREPARE], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0] == said[1]
    assert len(folders(home)) == 1


def test_a_full_disk_is_one_line_and_leaves_nothing(tiny, home):
    tiny()
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600)); " + PREPARE  # bytes: no Parquet file fits
    done = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("workbench: could not write the snapshot of tiny under ")
    assert done.stderr.count("\n") == 1
    assert not (home / "datasets" / "snapshots").exists()
    assert prepare("tiny").manifest["tables"]["events"]["rows"] == len(tiny_rows())


def test_what_a_killed_process_left_is_never_listed_and_swept_up(tiny, home):
    tiny()
    partial = home / "datasets" / "snapshots" / "tiny" / ".partial-99999"
    partial.mkdir(parents=True)
    (partial / "manifest.json").write_text(json.dumps({"content_hash": "0" * 64}))
    snapshot = prepare("tiny")
    assert folders(home) == [snapshot.folder.name]


def test_ml_100k_is_what_its_publisher_says(ml100k):
    assert (ml100k.n_users, ml100k.n_items) == (943, 1682)
    assert ml100k.snapshot.manifest["tables"]["events"]["rows"] == 100_000
    facts = dict(ml100k.describe().itertuples(index=False, name=None))
    assert facts["liked"] == "55% of events (value ≥ 4)"
    assert facts["events that share person and moment with another"] == "76%"
    assert facts["disliked"] == "17% of events (value ≤ 2)"
    assert ml100k.snapshot.manifest["quarantined"] == ml100k.snapshot.manifest["notes"] == []


def test_the_digest_is_of_the_content_whatever_wrote_it(ml100k, tmp_path):
    """Other row groups, another compression, another writer: pyarrow in place of DuckDB."""
    connection = duckdb.connect()
    for table in TABLES:
        path = ml100k.snapshot.folder / f"{table}.parquet"
        content = pq.read_table(path)
        expected = ml100k.snapshot.manifest["tables"][table]["digest"]
        assert content_digest(connection, path) == expected
        for n, options in enumerate(({"row_group_size": 777}, {"compression": "zstd"}, {"use_dictionary": False})):
            again = tmp_path / f"{table}{n}.parquet"
            pq.write_table(content, again, **options)
            assert again.read_bytes() != path.read_bytes()
            assert content_digest(connection, again) == expected
        pq.write_table(content.slice(1), tmp_path / "short.parquet")
        assert content_digest(connection, tmp_path / "short.parquet") != expected


def test_texts_are_told_apart_wherever_the_cut_between_them_is(tmp_path):
    digests = set()
    for cells in (["ab", "c"], ["a", "bc"], ["abc", ""], ["abc", None], [None, "abc"]):
        pq.write_table(pa.table({"x": pa.array(cells, pa.string())}), tmp_path / "x.parquet")
        digests.add(content_digest(duckdb.connect(), tmp_path / "x.parquet"))
    assert len(digests) == 5


def test_codes_are_places_in_the_order_of_ids(tiny):
    tiny([("b", "y", 4, 10), ("a", "z", 4, 20), ("a", "y", 3, 5)])
    data = load_dataset("tiny")
    coded = data.sql("SELECT user_code, item_code, place FROM coded_events ORDER BY place")
    assert coded.to_numpy().tolist() == [[0, 0, 0], [0, 1, 1], [1, 0, 2]]
    assert [(data.user_ids[u], data.item_ids[i]) for u, i, _ in coded.itertuples(index=False)] == [("a", "y"), ("a", "z"), ("b", "y")]


def test_killed_in_the_middle_of_preparing_the_next_call_succeeds_and_nothing_unwhole_is_listed(tiny, home, capsys):
    """SIGKILL while the Parquet files are being written, between the first and the second."""
    tiny()
    code = (
        "import os, signal; from workbench.data import snapshot; write = snapshot._write_table\n"
        "def killed(tables, table, folder):\n"
        "    write(tables, table, folder)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "snapshot._write_table = killed\n"
    )
    done = subprocess.run([sys.executable, "-c", code + PREPARE])
    assert done.returncode == -signal.SIGKILL
    (partial,) = folders(home)
    assert partial.startswith(".partial-")
    assert versions("tiny") == []
    assert main(["data", "versions", "tiny"]) == 0
    assert capsys.readouterr().out == ""
    spill = home / "datasets" / ".spill-999999999"  # and what it had spilled to disk
    spill.mkdir()
    snapshot = prepare("tiny")
    assert folders(home) == [snapshot.folder.name]
    assert not spill.exists()


def test_versions_form_a_line_and_a_diff_says_what_changed(tiny, capsys):
    card = tiny()
    first = prepare("tiny")
    tiny([*tiny_rows()[1:], ("new", "i00", 5.0, 5000.0)])
    card.write_text(card.read_text().replace("version = 1", "version = 2"))
    second = prepare("tiny")
    assert [snapshot.id for snapshot in versions("tiny")] == [first.id, second.id]
    assert second.manifest["parent"] == first.id
    lines = difference(first, second)
    assert "events: 1 rows removed, 1 added; 80 → 80" in lines
    assert "users: 0 rows removed, 1 added; 8 → 9" in lines
    assert "card, version: 1 → 2" in lines
    assert not any(line.startswith("items") for line in lines)
    assert difference(second, second) == []
    assert version(first.id[:-4]).id == first.id
    assert version("tiny").id == second.id
    with pytest.raises(RequestError, match=r'there is no snapshot "tiny@zz"'):
        version("tiny@zz")
    assert main(["data", "diff", first.id, "tiny"]) == 0
    assert main(["data", "versions", "tiny"]) == 0
    said = capsys.readouterr().out
    assert f"{first.id} → {second.id}" in said
    assert said.count("current") == 1
    assert f"after {first.id}  current" in said
