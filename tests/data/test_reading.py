"""Every format is the same content, and every fault is told with file, row, column, value and mend."""

import gzip
import json
import subprocess
import sys

import duckdb
import pandas as pd
import pytest

from workbench.data import load_dataset
from workbench.data.add import add
from workbench.data.request import Request
from workbench.errors import RequestError

HEADER = ("user", "item", "when", "stars")
ROWS = [
    ("007", "a|b", "978300760", "5"),
    ("7", "a", "978300761", "3.5"),
    ("7", 'say "hi"', "978300761", "1"),
    ("Zoë", "b", "978300762", "4"),
]
COLUMNS = dict(zip(("user_id", "item_id", "timestamp", "value"), HEADER, strict=True))
PLACES = dict(zip(COLUMNS, "0123", strict=True))


def text(rows, delimiter, header=HEADER, quote=""):
    def cell(value):
        return f"{quote}{value.replace(quote, quote * 2)}{quote}" if quote and (quote in value or delimiter in value) else value

    return "".join(delimiter.join(cell(value) for value in row) + "\n" for row in ([header] if header else []) + rows)


def parquet(path, rows):
    frame = pd.DataFrame(rows, columns=HEADER).astype({"when": "int64", "stars": "float64"})
    frame.to_parquet(path, index=False)


def jsonl(path, rows):
    lines = (json.dumps(dict(zip(HEADER, (user, item, int(when), float(stars)), strict=True))) for user, item, when, stars in rows)
    path.write_text("\n".join(lines) + "\n")


def atomic(path, rows):
    header = tuple(f"{name}:{kind}" for name, kind in zip(HEADER, ("token", "token", "float", "float"), strict=True))
    path.write_text(text(rows, "\t", header))


FORMATS = {
    "log.csv": (lambda path: path.write_text(text(ROWS, ",", quote='"')), {}, COLUMNS),
    "log.csv.gz": (lambda path: path.write_bytes(gzip.compress(text(ROWS, ",", quote='"').encode())), {}, COLUMNS),
    "crlf.csv": (lambda path: path.write_bytes(text(ROWS, ",", quote='"').replace("\n", "\r\n").encode()), {}, COLUMNS),
    "bom.csv": (lambda path: path.write_text("\ufeff" + text(ROWS, ",", quote='"')), {}, COLUMNS),
    "semicolon.csv": (lambda path: path.write_text(text(ROWS, ";", quote='"')), {"delimiter": ";"}, COLUMNS),
    "log.tsv": (lambda path: path.write_text(text(ROWS, "\t")), {}, COLUMNS),
    "bare.tsv": (lambda path: path.write_text(text(ROWS, "\t", None)), {}, PLACES),
    "ratings.dat": (lambda path: path.write_text(text(ROWS, "::", None)), {"delimiter": "::"}, PLACES),
    "long.dat": (lambda path: path.write_text(text(ROWS, " <=> ", HEADER)), {"delimiter": " <=> "}, COLUMNS),
    "latin.csv": (lambda path: path.write_text(text(ROWS, ",", quote='"'), encoding="latin-1"), {"encoding": "latin-1"}, COLUMNS),
    "log.inter": (lambda path: atomic(path, ROWS), {}, COLUMNS),
    "log.parquet": (lambda path: parquet(path, ROWS), {}, COLUMNS),
    "log.jsonl": (lambda path: jsonl(path, ROWS), {}, COLUMNS),
    "shuffled.csv": (lambda path: path.write_text(text(ROWS[::-1], ",", quote='"')), {}, COLUMNS),
}


def bring(path, columns, reading=None, **more):
    return add(Request(file=path, name="own", columns=columns, reading=reading or {}, title="Own", **more))[1]


def test_every_format_and_order_is_one_content(home, tmp_path):
    ids = {}
    for name, (write, reading, columns) in FORMATS.items():
        write(tmp_path / name)
        ids[name] = add(Request(file=tmp_path / name, name=name.replace(".", "_"), columns=columns, reading=reading, title="Own"))[
            1
        ].manifest
    hashes = {name: manifest["content_hash"] for name, manifest in ids.items()}
    assert len(set(hashes.values())) == 1, hashes
    assert len(hashes) == len(FORMATS) == 14


def test_ids_are_text_whatever_they_look_like(home, tmp_path):
    FORMATS["log.parquet"][0](tmp_path / "log.parquet")
    bring(tmp_path / "log.parquet", COLUMNS)
    data = load_dataset("own")
    assert data.user_ids == ["007", "7", "Zoë"]
    assert data.item_ids == ["a", "a|b", "b", 'say "hi"']


def test_several_columns_make_one_id_and_none_merges_with_another(home, tmp_path):
    (tmp_path / "log.csv").write_text("a,b,item\nx|y,z,1\nx,y|z,2\nx\\,y,3\n")
    bring(tmp_path / "log.csv", {"user_id": "a,b", "item_id": "item"})
    assert load_dataset("own").user_ids == ["x\\\\|y", "x\\|y|z", "x|y\\|z"]


TIMES = {
    ("s", None): ("978300760", "978300761.25"),
    ("ms", None): ("978300760000", "978300761250"),
    ("us", None): ("978300760000000", "978300761250000"),
    ("ns", None): ("978300760000000000", "978300761250000999"),
    ("text", None): ("2000-12-31T22:12:40Z", "2000-12-31 23:12:41.25+01:00"),
    ("text", "UTC"): ("2000-12-31 22:12:40", "2000-12-31T22:12:41.250"),
    ("text", "Europe/Berlin"): ("2000-12-31 23:12:40", "2000-12-31 22:12:41.25Z"),
}


@pytest.mark.parametrize(("unit", "zone"), TIMES)
def test_a_moment_is_a_moment_in_every_unit_and_zone(home, tmp_path, unit, zone):
    first, second = TIMES[unit, zone]
    (tmp_path / "log.csv").write_text(f"user,item,time\nu,a,{first}\nu,b,{second}\n")
    bring(tmp_path / "log.csv", {}, zone=zone)  # the unit is guessed
    times = load_dataset("own").sql("SELECT timestamp FROM events ORDER BY timestamp")["timestamp"].tolist()
    assert times == [978300760_000000, 978300761_250000]


def test_times_that_are_not_iso_have_a_format(home, tmp_path):
    (tmp_path / "log.csv").write_text("user,item,time\nu,a,31/12/2000 22.12\n")
    bring(tmp_path / "log.csv", {}, zone="UTC", time_format="%d/%m/%Y %H.%M")
    assert load_dataset("own").sql("SELECT timestamp FROM events")["timestamp"].tolist() == [978300720_000000]


GOOD = [("u1", "i1", "1600000000", "4"), ("u2", "i2", "1600000001", "3"), ("u3", "i3", "1600000002", "5")]
MEND = "Mend the row, or pass --quarantine to set such rows apart."
FAULTS = {
    "no user": (("", "i9", "1600000003", "4"), 'column "user": "" is no id'),
    "nan for a user": (("nan", "i9", "1600000003", "4"), 'column "user": "nan" is no id'),
    "a blank for an item": (("u9", " ", "1600000003", "4"), 'column "item": " " is no id'),
    "no value": (("u9", "i9", "1600000003", ""), 'column "stars": "" is not a finite number; an empty cell is not a zero'),
    "no number": (("u9", "i9", "1600000003", "n/a"), 'column "stars": "n/a" is not a finite number'),
    "infinite": (("u9", "i9", "1600000003", "inf"), 'column "stars": "inf" is not a finite number'),
    "not a number": (("u9", "i9", "1600000003", "NaN"), 'column "stars": "NaN" is not a finite number'),
    "no time": (("u9", "i9", "", "4"), 'column "when": an empty cell is not a time'),
    "unparsable": (("u9", "i9", "yesterday", "4"), 'column "when": "yesterday" is not a time, read as seconds since 1970'),
    "too large to be one": (("u9", "i9", "9" * 25, "4"), f'column "when": "{"9" * 25}" is not a time'),
    "another unit": (("u9", "i9", "1600000003000", "4"), 'column "when": "1600000003000" does not look like seconds'),
    "the future": (("u9", "i9", "9600000000", "4"), 'column "when": "9600000000" is in the future'),
    "before 1970": (("u9", "i9", "-5", "4"), 'column "when": "-5" is before 1970'),
    "twice": (GOOD[1], 'column "user, item, when, stars": the same event as in row 3'),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_a_fault_is_told_with_its_row_and_mend_or_set_apart(home, tmp_path, kind, name):
    bad, message = FAULTS[kind]
    rows, path = [*GOOD, bad, ("u4", "i4", "1600000004", "2")], tmp_path / name
    if name == "log.csv":
        path.write_text(text(rows, ",").replace("u3,", "\nu3,"))  # an empty line counts as one
        place = 6
    else:
        path.write_text("\n".join(json.dumps(dict(zip(HEADER, row, strict=True))) for row in rows))
        place, message = 4, message.replace("in row 3", "in row 2")
    before = sorted(home.rglob("*"))
    with pytest.raises(RequestError) as caught:
        bring(path, COLUMNS, unit="s")
    told = str(caught.value)
    assert told.startswith(f"{name}, row {place}, {message}")
    assert "--quarantine" in told
    assert sorted(home.rglob("*")) == before

    snapshot = bring(path, COLUMNS, unit="s", quarantine=True)
    assert snapshot.rows("events") == 4
    apart = duckdb.execute("SELECT * FROM read_parquet(?)", [str(snapshot.folder / "quarantine.parquet")]).df()
    assert len(apart) == 1
    assert apart["file"][0] == name
    assert apart["row"][0] == place
    assert apart["reason"][0].startswith(message.split(": ", 1)[1])
    assert json.loads(apart["record"][0])["item"] == (bad[1] if bad[1] or name == "log.jsonl" else None)
    assert sum(each["rows"] for each in snapshot.manifest["quarantined"]) == 1


def test_broken_rows_are_set_apart_with_their_text(home, tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(text([*GOOD, ("u9", "i9")], ",") + "u4,i4,1600000004,2,too,many\nu5,i5,1600000005,1\nu6,,1600000006,1\n")
    with pytest.raises(RequestError, match=r'log.csv, row 5: it has 2 columns by ",", where 4 are expected'):
        bring(path, COLUMNS)
    snapshot = bring(path, COLUMNS, quarantine=True)
    assert snapshot.rows("events") == 4
    apart = duckdb.execute(
        'SELECT row, "check", record FROM read_parquet(?) ORDER BY row', [str(snapshot.folder / "quarantine.parquet")]
    ).fetchall()
    assert [(row, check) for row, check, _ in apart] == [(5, "broken row"), (6, "broken row"), (8, "no id")]
    assert apart[0][2] == "u9,i9"


def test_a_row_is_counted_as_an_editor_counts_lines(home, tmp_path):
    path = tmp_path / "log.csv"
    path.write_text('user,item,note\nu1,i1,"two\nlines"\n\nu2,,x\n')
    with pytest.raises(RequestError, match=r'log.csv, row 5, column "item"'):
        bring(path, {})


@pytest.mark.parametrize(
    ("content", "reading", "columns", "message"),
    [
        (b"", {}, {}, "log.csv is empty."),
        (b"user,item\n", {}, {}, "log.csv has no events."),
        (bytes(range(256)), {}, {}, "log.csv is a binary file (byte 0 is 0), not text, Parquet or JSON lines."),
        (b"PAR1" + b"x" * 40, {}, {}, "log.csv is not a Parquet file that can be read: "),
        (b"user,item\nu,i\n", {"delimiter": ";"}, COLUMNS, 'With ";" between columns there is only one: is that the delimiter?'),
        (b"user,item\nu,i\n", {}, {"user_id": "person"}, 'log.csv: there is no column "person". (item, user).'),
        (b"user,item\nu,i\n", {}, {"item_id": "5"}, "log.csv has no column 5: it has 2, counted from 0."),
        (b"a,b\nu,i\n", {}, {}, "log.csv: no column is called like a user. Name it with --user"),
        (b"user,item,user\nu,i,u\n", {}, {}, 'log.csv has the column "user" twice.'),
        ("user,item\nZoë,i\n".encode("latin-1"), {}, {}, "log.csv is not utf-8 (byte 12). Name the encoding with --encoding"),
        (b"user,item\r\nu,i\nu,j\r\n", {}, {}, "log.csv, row 2: its end is not that of the rows before"),
        (b'user,item\n"u,i\nu,j\n', {}, {}, "log.csv, row 2: a quote that is never closed."),
        (b"nothing here\nat all\n", {}, {}, "log.csv: nobody can tell what stands between its columns. Say it with --delimiter."),
        (b"user,item\n,i\n,j\n", {}, {}, 'log.csv, row 2, column "user": "" is no id (the first of 2 rows that fail).'),
        (b"user,item,time\nu,i,2024-01-01 10:00\n", {}, {}, '"2024-01-01 10:00" names no time zone. Say which one with --zone UTC'),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_understood_is_one_line_and_nothing_is_written(home, tmp_path, content, reading, columns, message):
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    before = sorted(home.rglob("*"))
    with pytest.raises(RequestError) as caught:
        bring(path, columns, reading)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(home.rglob("*")) == before


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ("2025-10-26 02:30:00", '"2025-10-26 02:30:00" happened twice in Europe/Berlin: clocks went back'),
        ("2025-03-30 02:30:00", '"2025-03-30 02:30:00" did not happen in Europe/Berlin: clocks went forward'),
    ],
)
def test_a_local_time_that_is_no_one_moment_is_refused(home, tmp_path, when, message):
    path = tmp_path / "log.csv"
    path.write_text(f"user,item,time\nu,i,2025-01-01 02:30:00\nu,j,{when}\n")
    with pytest.raises(RequestError, match=r"log\.csv, row 3") as caught:
        bring(path, {}, zone="Europe/Berlin")
    assert message in str(caught.value)


def people(home, path, columns=None, **more):
    add(Request(file=path, name="own", columns=columns or {}, **more))
    return load_dataset("own").user_ids


def test_a_file_name_is_no_pattern(home, tmp_path):
    (tmp_path / "p[ab]*.csv").write_text("user,item\nright,i\nright,j\n")
    (tmp_path / "pa.csv").write_text("user,item\nwrong,i\n")
    (tmp_path / "p[ab]x.csv").write_text("user,item\nwrong,i\n")
    assert people(home, tmp_path / "p[ab]*.csv") == ["right"]


@pytest.mark.parametrize(
    "cell",
    ["2024-01-01 10:00:00 EST", "2024-05-03 10:00:00 PM", "2024-01-01 10:00 America/New_York", "2024-01-01 10:00:00 garbage", "2024-13-01"],
)
def test_words_behind_a_time_are_not_passed_over(home, tmp_path, cell):
    (tmp_path / "log.csv").write_text(f"user,item,time\nu,i,2024-01-01 10:00:00\nu,j,{cell}\n")
    with pytest.raises(RequestError, match=r'log\.csv, row 3, column "time": ".*" is not a time by ISO 8601\. .*--time-format'):
        people(home, tmp_path / "log.csv", zone="UTC")


@pytest.mark.parametrize(
    ("cell", "format_", "zone"),
    [
        ("2024-05-03 10:00:00+0000", "%Y-%d-%m %H:%M:%S%z", None),
        ("05/03/2024 11:00 +0100", "%m/%d/%Y %H:%M %z", None),
        ("10:00 05-03-2024", "%H:%M %d-%m-%Y", "UTC"),
        ("20240305", None, "UTC"),
    ],
)
def test_a_format_is_what_decides(home, tmp_path, cell, format_, zone):
    (tmp_path / "log.csv").write_text(f"user,item,time\nu,i,{cell}\n")
    people(home, tmp_path / "log.csv", zone=zone, time_format=format_)
    expected = {"05/03/2024 11:00 +0100": "2024-05-03 10:00", "20240305": "2024-03-05"}.get(cell, "2024-03-05 10:00")
    assert load_dataset("own").sql("SELECT timestamp FROM events")["timestamp"][0] == pd.Timestamp(expected).value // 1000


def test_rows_behind_quoted_line_ends_and_broken_rows_keep_their_numbers(home, tmp_path):
    path = tmp_path / "log.csv"
    path.write_text('user,item,stars\n"a\nb",i,5\nx,y\nu,i,6\nz,z,bad\n')
    with pytest.raises(RequestError, match=r"log\.csv, row 4: it has 2 columns"):
        people(home, path)
    snapshot = bring(path, {"user_id": "user", "item_id": "item", "value": "stars"}, quarantine=True)
    apart = duckdb.execute("SELECT row FROM read_parquet(?) ORDER BY row", [str(snapshot.folder / "quarantine.parquet")]).fetchall()
    assert apart == [(4,), (6,)]


def test_empty_lines_before_the_header_are_none_of_the_data(home, tmp_path):
    (tmp_path / "log.csv").write_text("\n\nuser,item\n1,2\n,4\n")
    with pytest.raises(RequestError, match=r'log\.csv, row 5, column "user"'):
        people(home, tmp_path / "log.csv")
    (tmp_path / "log.csv").write_text("\n1,2\n3,4\n")
    assert people(home, tmp_path / "log.csv", {"user_id": "0", "item_id": "1"}) == ["1", "3"]


def test_a_header_of_known_names_is_seen_over_texts(home, tmp_path):
    (tmp_path / "log.csv").write_text("user,item\nalice,book\nbob,pen\n")
    assert people(home, tmp_path / "log.csv", {"user_id": "0", "item_id": "1"}) == ["alice", "bob"]


def test_an_event_that_looks_like_a_name_is_no_header(home, tmp_path):
    (tmp_path / "log.csv").write_text("u1,i1,rating,5\nu1,i2,view,4\nu2,i1,view,3\n")
    assert people(home, tmp_path / "log.csv", {"user_id": "0", "item_id": "1", "event": "2", "value": "3"}) == ["u1", "u2"]
    assert load_dataset("own").snapshot.rows("events") == 3


def test_ids_of_parquet_files_are_what_a_person_would_read(home, tmp_path):
    frame = pd.DataFrame({"user": [7.0, 12.0], "item": ["Zoë".encode(), b"a\\b"], "value": [0.5, 1.0]})
    frame.to_parquet(tmp_path / "log.parquet")
    assert people(home, tmp_path / "log.parquet") == ["12", "7"]
    assert load_dataset("own").item_ids == ["Zoë", "a\\b"]
    assert load_dataset("own").sql("SELECT value FROM events ORDER BY value")["value"].tolist() == [0.5, 1.0]


def test_an_id_of_several_columns_is_none_when_one_is_none(home, tmp_path):
    (tmp_path / "log.csv").write_text("a,b,item\n1,2,i\n1,,i\n")
    with pytest.raises(RequestError, match=r'log\.csv, row 3, column "a, b": "" is no id'):
        people(home, tmp_path / "log.csv", {"user_id": "a,b"})


@pytest.mark.parametrize(
    ("name", "content", "request_", "message"),
    [
        ("log.csv", b"user,item,Value,value\nu,i,1,2\n", {}, "log.csv has columns that differ only in case: Value, value."),
        ("log.csv", b"user,item,place\nu,i,1\n", {"context": ("place",)}, 'context cannot have a column "place": that name is taken'),
        ("log.csv", b"user,item,stars\nu,i,1\n", {"positive_min": float("nan")}, "min and max should be numbers"),
        ("log.csv", b"user,item,stars\nu,i,1\n", {"reading": {"quote": "ab"}}, '--quote "ab" should be one character, or none.'),
        ("log.csv", b"user,item\nu,i\n", {"columns": {"user_id": "\u00b2"}}, 'there is no column "\u00b2"'),
        ("log.csv", b"user,item,time\nu,i,2024-01-01\n", {"zone": "localtime"}, 'there is no time zone "localtime"'),
        ("log.csv.gz", b"\x1f\x8b\x08\x00" + b"\x07" * 50, {}, "log.csv.gz cannot be read"),
        ("log.jsonl", b'[{"user":"a","item":"b"}]', {}, "log.jsonl, row 1: it begins a list; write one object a line"),
        ("log.jsonl", b'\xef\xbb\xbf{"user":"a","item":"b"}', {}, "log.jsonl begins with a byte order mark"),
        ("log.csv", b"user,item,event\nu,i,click\n", {"positive_events": ("clik",)}, 'event type in log.csv "clik". Did you mean "click"?'),
        ("log.csv", b"user,item,stars\nu,i,3\n", {"positive_min": 2.0, "negative_max": 4.0}, "1 events are positive and negative at once"),
        ("log.csv", b"user,item\nu,i\n", {"allow": ("volumes",)}, 'there is no check to --allow "volumes". Did you mean "volume"?'),
    ],
)  # fmt: skip
def test_what_no_one_can_mean_is_one_line(home, tmp_path, name, content, request_, message):
    (tmp_path / name).write_bytes(content)
    before = sorted(home.rglob("*"))
    with pytest.raises(RequestError) as caught:
        add(Request(file=tmp_path / name, name="own", **request_))
    assert message in str(caught.value)
    assert sorted(home.rglob("*")) == before


def test_braces_in_names_are_letters(home, tmp_path):
    (tmp_path / "items{0}.csv").write_text("item,title\nj,x\n")
    (tmp_path / "log.csv").write_text("user,item\nu,i\n")
    with pytest.raises(RequestError, match=r'"i" is not in items\{0\}\.csv'):
        people(home, tmp_path / "log.csv", item_table=tmp_path / "items{0}.csv")


def test_a_broken_line_of_json_is_set_apart(home, tmp_path):
    (tmp_path / "log.jsonl").write_text('{"user":"a","item":"b"}\nnope\n{"user":"c","item":"d"}\n')
    assert people(home, tmp_path / "log.jsonl", quarantine=True) == ["a", "c"]
    (apart,) = duckdb.execute(
        'SELECT "row", "check", reason, record FROM read_parquet(?)', [str(load_dataset("own").snapshot.folder / "quarantine.parquet")]
    ).fetchall()
    assert apart == (2, "broken row", "nope is not JSON", "nope")
    (tmp_path / "log.jsonl").write_text('{"user":"a","item":"b"}\n[1]\n{"user":"c","item":"d"}\n')
    with pytest.raises(RequestError, match=r"log\.jsonl, row 2: \[1\] is not an object"):
        add(Request(file=tmp_path / "log.jsonl", name="other"))
    add(Request(file=tmp_path / "log.jsonl", name="other", quarantine=True))
    assert load_dataset("other").user_ids == ["a", "c"]


def test_what_is_set_apart_stays_apart_when_the_card_is_edited(home, tmp_path):
    (tmp_path / "log.csv").write_text("user,item\nu,i\n,j\nu,k\n")
    people(home, tmp_path / "log.csv", quarantine=True)
    card = home / "datasets" / "own.toml"
    card.write_text(card.read_text().replace("repeats = false", "repeats = true"))
    assert load_dataset("own").snapshot.manifest["quarantined"][0]["rows"] == 1


def test_a_log_of_impressions_alone_has_nothing_that_counts_as_liked(home, tmp_path):
    (tmp_path / "log.csv").write_text("user,item,time,event\n" + "".join(f"u{n % 3},i{n},{1700000000 + n},impression\n" for n in range(30)))
    card = add(Request(file=tmp_path / "log.csv", name="own"))[0]
    assert card.meaning.positive == ()
    parts = load_dataset("own").split()
    assert (len(parts.train), parts.n_exposures) == (0, 30)


def test_two_processes_that_take_one_name_do_not_share_it(home, tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("user,item\n" + "".join(f"{name}{n},i{n}\n" for n in range(1000)))
    code = "import sys; from workbench.cli import main; sys.exit(main(['data', 'add', sys.argv[1], '--name', 'own']))"
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / f"{name}.csv")], stderr=subprocess.PIPE, text=True) for name in "ab"
    ]
    said = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2]
    assert 'there is a data set "own" already' in "".join(said)
    (kept,) = (name for name, process in zip("ab", both, strict=True) if process.returncode == 0)
    assert load_dataset("own").user_ids[0] == f"{kept}0"
    assert not list((home / "datasets").glob(".*.lock"))
