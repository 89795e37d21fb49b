"""A file of requests into a file of lists: what goes in comes out, and what cannot be read leaves everything as it was."""

import contextlib
import csv
import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workbench.errors import RequestError
from workbench.serving.requests import Answer, Asked
from workbench.serving.score import FORMATS, SCHEMA, TOGETHER, read_requests, score_file

ODD = ["i,1", 'i"2"', "i\n3", "ü 界", " i 5 ", "", "=i7", "i\r8", "null", "1"]
"""Ids that a format could mistake for its own."""


class Fake:
    """Answers everybody with its items in order, without those of the history; who is not "known" gets the fallback, without chances."""

    def __init__(self, items=ODD, moments_from=None) -> None:
        self.item_ids, self.moments_from, self.asked, self.folder = list(items), moments_from, [], Path("bundle of nobody")

    def encode(self, request):
        if self.moments_from is not None and request.timestamp is not None and request.timestamp < self.moments_from:
            raise RequestError(f"timestamp = {request.timestamp}: too early.")
        self.asked.append(request)
        history = [self.item_ids.index(each) for each in request.history or () if each in self.item_ids]
        nothing = np.empty(0, np.int64)
        user = 0 if request.user_id == "known" else -1
        return Asked(user=user, history=np.array(history, np.int64), seen=nothing, liked=nothing, moment=request.timestamp or 0)

    def answer(self, asked, k=None):
        assert len(asked) <= TOGETHER
        found = []
        for each in asked:
            items = np.array([code for code in range(len(self.item_ids)) if code not in each.history][: k or 3], np.int64)
            known = each.user == 0
            scores = 1 / 3 - np.arange(len(items), dtype=np.float64)
            chances = np.full(len(items), 0.1) if known else None
            found.append(
                Answer(items=items, scores=scores, served_by="a, b" if known else "popularity", fallback=not known, chances=chances)
            )
        return found

    def trace(self, asked, answer):
        return {"history": len(asked.history), "said": 'ü, "quoted"\nand more'}


def write_requests(path, rows):
    """Rows of user_id, history, timestamp; a key that is missing is not in the file, or empty."""
    if path.suffix == ".parquet":
        table = {name: [row.get(name) for row in rows] for name in ("user_id", "history", "timestamp")}
        types = {"user_id": pa.string(), "history": pa.list_(pa.string()), "timestamp": pa.int64()}
        pq.write_table(pa.table({name: pa.array(column, types[name]) for name, column in table.items()}), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["user_id", "history", "timestamp"])
            writer.writeheader()
            writer.writerows({**row, "history": json.dumps(row["history"]) if row.get("history") is not None else ""} for row in rows)
    return path


def read_lists(path):
    """Rows as they are in the file, every value but text and None a number."""
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    kinds = {"request": int, "place": int, "score": float, "chance": lambda text: float(text) if text else None}
    return [
        {name: kinds.get(name, lambda text: text)(value) for name, value in row.items()} | {"user_id": row["user_id"] or None}
        for row in rows
    ]


REQUESTS = [
    {"user_id": "known", "history": ["i\n3", "ü 界"], "timestamp": 5},
    {"user_id": 'p "1", the\nfirst'},
    {"history": []},
    {"user_id": "ü", "history": [each for each in ODD if each], "timestamp": -1},
]


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", FORMATS)
def test_odd_ids_pass_through_every_pair_of_formats(tmp_path, source, target):
    bundle = Fake()
    path = tmp_path / f"lists{target}"
    assert score_file(bundle, write_requests(tmp_path / f"requests{source}", REQUESTS), path, k=4)[:2] == (4, 13)
    assert [(each.user_id, each.history, each.timestamp) for each in bundle.asked] == [
        (row.get("user_id"), row.get("history"), row.get("timestamp")) for row in REQUESTS
    ]
    rows = read_lists(path)
    assert [list(row) for row in rows] == [SCHEMA.names] * 13
    first = [row for row in rows if row["request"] == 1]
    assert [row["item_id"] for row in first] == ["i,1", 'i"2"', " i 5 ", ""]
    assert [row["place"] for row in first] == [1, 2, 3, 4]
    assert [row["score"] for row in first] == [1 / 3 - place for place in range(4)], "to the last bit"
    assert {(row["chance"], row["served_by"]) for row in first} == {(0.1, "a, b")}
    assert [row["user_id"] for row in rows if row["request"] == 2] == ['p "1", the\nfirst'] * 4
    assert {(row["request"], row["user_id"], row["chance"]) for row in rows if row["request"] == 3} == {(3, None, None)}
    assert [row["item_id"] for row in rows if row["request"] == 4] == [""], "all else was there before"
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([f"requests{source}", f"lists{target}"])


def test_requests_are_answered_some_at_a_time_and_numbered_through(tmp_path):
    n = TOGETHER + 5
    source = write_requests(tmp_path / "requests.jsonl", [{"user_id": f"u{number}"} for number in range(n)])
    assert score_file(Fake(), source, tmp_path / "lists.parquet", k=1)[:2] == (n, n)
    table = pq.read_table(tmp_path / "lists.parquet")
    assert table["request"].to_pylist() == list(range(1, n + 1))
    assert table["user_id"].to_pylist() == [f"u{number}" for number in range(n)]
    assert table.schema.equals(SCHEMA)


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize(("name", "content"), [("a.csv", ""), ("a.csv", "user_id,history\n"), ("a.jsonl", ""), ("a.jsonl", "\n\n")])
def test_a_file_without_requests_is_a_file_without_lists(tmp_path, target, name, content):
    (tmp_path / name).write_text(content)
    assert score_file(Fake(), tmp_path / name, tmp_path / f"lists{target}")[:2] == (0, 0)
    assert read_lists(tmp_path / f"lists{target}") == []


def test_a_table_without_rows_is_one_without_lists(tmp_path):
    source = write_requests(tmp_path / "requests.parquet", [])
    assert score_file(Fake(), source, tmp_path / "lists.csv")[:2] == (0, 0)
    assert (tmp_path / "lists.csv").read_text().strip() == ",".join(SCHEMA.names)


@pytest.mark.parametrize("target", FORMATS)
def test_the_trace_is_json_in_a_column_of_its_own(tmp_path, target):
    source, path = write_requests(tmp_path / "requests.csv", REQUESTS[:2]), tmp_path / f"lists{target}"
    score_file(Fake(), source, path, k=2, trace=True)
    rows = read_lists(path)
    assert [json.loads(row["trace"])["history"] for row in rows] == [2, 2, 0, 0]
    assert json.loads(rows[0]["trace"])["said"] == 'ü, "quoted"\nand more'


def test_without_k_lists_are_as_long_as_was_promoted(tmp_path):
    source = write_requests(tmp_path / "requests.csv", [{"user_id": "known"}])
    assert score_file(Fake(), source, tmp_path / "lists.csv")[:2] == (1, 3)
    assert score_file(Fake(), source, tmp_path / "lists.csv", k=1000)[:2] == (1, len(ODD))


def moment_of(tmp_path, line, suffix=".csv"):
    path = tmp_path / f"requests{suffix}"
    path.write_text(line, encoding="utf-8")
    (found,) = read_requests(path)
    return found.timestamp


NOON = int(datetime(2026, 3, 29, 12, tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-29T12:00:00", NOON),
        ("2026-03-29 12:00", NOON),
        ("2026-03-29T12:00:00Z", NOON),
        ("2026-03-29T14:00:00+02:00", NOON),
        ("2026-03-29T06:30:00-05:30", NOON),
        ("2026-03-29T12:00:00.000001", NOON + 1),
        ("2026-03-29T12:00:00.999999+00:00", NOON + 999_999),
        ("2026-03-29", NOON - 12 * 3_600_000_000),
        ("1969-12-31T23:59:59.999999Z", -1),
        (str(NOON), NOON),
        (f" {NOON} ", NOON),
        ("0", 0),
        ("-1", -1),
        ("", None),
    ],
)
def test_a_moment_is_microseconds_or_iso_8601_and_utc_where_no_zone_is_named(tmp_path, monkeypatch, text, moment):
    import time

    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert moment_of(tmp_path, f"user_id,timestamp\nu,{text}\n") == moment
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_a_column_of_times_is_read_whatever_its_zone(tmp_path, zone):
    times = pd.Series(pd.to_datetime([NOON + 1, None], unit="us"), dtype="datetime64[us]").dt.tz_localize("UTC")
    times = times.dt.tz_localize(None) if zone is None else times.dt.tz_convert(zone)
    pd.DataFrame({"user_id": ["u", "v"], "timestamp": times}).to_parquet(tmp_path / "requests.parquet")
    assert [each.timestamp for each in read_requests(tmp_path / "requests.parquet")] == [NOON + 1, None]


def test_numbers_as_ids_are_their_text(tmp_path):
    pd.DataFrame({"user_id": [7], "history": [[1, 2]]}).to_parquet(tmp_path / "requests.parquet")
    (found,) = read_requests(tmp_path / "requests.parquet")
    assert (found.user_id, found.history) == ("7", ["1", "2"])


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    (tmp_path / "requests.csv").write_text("\ufeffuser_id\nu\n", encoding="utf-8")
    assert [each.user_id for each in read_requests(tmp_path / "requests.csv")] == ["u"]


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.csv", "user_id,history\nu,\nv,oops\n", 'a.csv, row 2, history: "oops" is no list in JSON, like ["1", "2"].'),
        ("a.csv", 'user_id,history\nu,"[1, "\n', 'a.csv, row 1, history: "[1, " is no list in JSON'),
        ("a.csv", "user_id,history\nu,5\n", "a.csv, row 1, history: it should be a list of item ids."),
        ("a.csv", 'user_id,history\nu,"{}"\n', "a.csv, row 1, history: it should be a list of item ids."),
        ("a.csv", "user_id,history\nu,[[1]]\n", "a.csv, row 1, history: it should be a list of item ids."),
        ("a.jsonl", '{"history": [null]}\n', "a.jsonl, row 1, history: it should be a list of item ids."),
        ("a.jsonl", '{"history": [true]}\n', "a.jsonl, row 1, history: it should be a list of item ids."),
        ("a.csv", "user_id,timestamp\nu,soon\n", 'a.csv, row 1, timestamp: "soon" is neither microseconds since 1970 nor ISO 8601.'),
        ("a.csv", "user_id,timestamp\nu,2026-02-30\n", 'a.csv, row 1, timestamp: "2026-02-30" is neither'),
        ("a.csv", "user_id,timestamp\nu,nan\n", 'a.csv, row 1, timestamp: "nan" is neither'),
        ("a.jsonl", '{"user_id": "u", "timestamp": NaN}\n', 'a.jsonl, row 1, timestamp: "nan" is neither'),
        ("a.jsonl", '{"user_id": "u", "timestamp": true}\n', "a.jsonl, row 1, timestamp: True is no time."),
        ("a.jsonl", '{"user_id": "u", "timestamp": [1]}\n', 'a.jsonl, row 1, timestamp: "[1]" is neither'),
        ("a.csv", "user,item\nu,1\n", "a.csv, its header: a request has user_id, history or both."),
        ("a.csv", "user_id,item\nu,1\n", "a.csv, its header: there is no column item; a request has user_id, history, timestamp."),
        ("a.jsonl", '{"user_id": "u"}\n\n{"user_id": "v", "k": 3}\n', "a.jsonl, row 2: there is no column k;"),
        ("a.jsonl", '{"user_id": "u"}\n{user_id: 3}\n', "a.jsonl, line 2: this is no JSON."),
        ("a.jsonl", "[1]\n", "a.jsonl, row 1: a request has user_id, history or both."),
        ("a.jsonl", "3\n", "a.jsonl, row 1: a request has user_id, history or both."),
        ("a.parquet", "this is no table", "a.parquet cannot be read: "),
        ("a.parquet", "", "a.parquet cannot be read: "),
        ("a.csv", b"user_id\n\xff\xfe\n", "a.csv cannot be read: "),
        ("a.csv", None, "a.csv cannot be read: "),
        ("a.csv", "user_id,timestamp\nu,5\nknown,1\n", "row 2: timestamp = 1: too early."),
    ],
)
def test_what_cannot_be_read_names_the_row_and_leaves_the_old_lists_alone(tmp_path, name, content, what):
    source, target = tmp_path / "in" / name, tmp_path / "out" / "lists.csv"
    for folder in (source.parent, target.parent):
        folder.mkdir()
    target.write_text("as it was")
    if content is not None:
        source.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RequestError) as refused:
        score_file(Fake(moments_from=2), source, target)
    said = str(refused.value)
    assert said.replace(f"{tmp_path}/in/", "").removeprefix("--input ").startswith(what), said
    assert "\n" not in said
    assert target.read_text() == "as it was"
    assert [each.name for each in target.parent.iterdir()] == ["lists.csv"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a.csv", "user_id,x\nu,1,2\n", id="more cells than names, one of them unknown"),
        pytest.param(
            "a.csv",
            'user_id,history\nu,"' + "[" + "1," * 70_000 + '1]"\n',
            id="a longer cell than Python's csv takes",
        ),
        pytest.param("a.csv", "user_id\nu\x00\n", id="a zero byte"),
        pytest.param("a.jsonl", '{"user_id": "u", "timestamp": Infinity}\n', id="an infinite moment"),
        pytest.param("a.jsonl", '{"user_id": "\\ud800"}\n', id="half of a character"),
    ],
)
def test_what_is_odd_is_answered_or_refused_and_no_traceback(tmp_path, request, name, content):
    request.addfinalizer(partial(csv.field_size_limit, csv.field_size_limit(131_072)))  # as it is in a process of its own
    (tmp_path / name).write_text(content, encoding="utf-8")
    with contextlib.suppress(RequestError):
        score_file(Fake(), tmp_path / name, tmp_path / "lists.csv")
        return
    assert not (tmp_path / "lists.csv").exists()


def test_more_cells_than_names_are_told_in_words(tmp_path):
    (tmp_path / "a.csv").write_text("user_id,history\nu,,x\n")
    with pytest.raises(RequestError, match="row 1") as refused:
        score_file(Fake(), tmp_path / "a.csv", tmp_path / "lists.csv")
    assert "None" not in str(refused.value)


def test_only_a_line_feed_ends_a_line_of_json(tmp_path):
    """JSON may hold U+2028 and U+0085 as they are; `str.splitlines` ends lines there."""
    (tmp_path / "a.jsonl").write_text('{"user_id": "a\u2028b\u0085c"}\n', encoding="utf-8")
    assert [each.user_id for each in read_requests(tmp_path / "a.jsonl")] == ["a\u2028b\u0085c"]


@pytest.mark.parametrize(
    ("source", "target", "k", "what"),
    [
        ("a.csv", "lists.csv", 0, "-k 0 should be at least 1."),
        ("a.csv", "lists.csv", -3, "-k -3 should be at least 1."),
        ("a.txt", "lists.csv", None, "--input a.txt should end in one of .parquet, .csv, .jsonl."),
        ("a.csv", "lists.tsv", None, "--output lists.tsv should end in one of .parquet, .csv, .jsonl."),
        ("a.csv", "lists", None, "--output lists should end in one of"),
        ("a.csv", "nowhere/lists.csv", None, "--output nowhere/lists.csv: there is no folder "),
        ("b.csv", "lists.csv", None, "--input b.csv cannot be read: "),
        (".", "lists.csv", None, "--input . should end in one of"),
    ],
)
def test_what_was_typed_wrong_is_said_before_anything_is_read_or_written(tmp_path, monkeypatch, source, target, k, what):
    from pathlib import Path

    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "a.txt"):
        Path(name).write_text("user_id\nu\n")
    with pytest.raises(RequestError) as refused:
        score_file(Fake(), Path(source), Path(target), k=k)
    assert str(refused.value).startswith(what)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.csv", "a.txt"]


def test_a_failure_while_answering_leaves_the_old_lists_and_no_other_file(tmp_path):
    source = write_requests(tmp_path / "requests.csv", [{"user_id": "u"}] * (TOGETHER + 1))
    target = tmp_path / "lists.parquet"
    target.write_text("as it was")
    bundle, calls = Fake(), []

    def answer(asked, k=None):
        calls.append(len(asked))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return Fake.answer(bundle, asked, k)

    bundle.answer = answer
    with pytest.raises(KeyboardInterrupt):
        score_file(bundle, source, target)
    assert calls == [TOGETHER, 1]
    assert target.read_text() == "as it was"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["lists.parquet", "requests.csv"]


def test_lists_take_the_place_neither_of_their_requests_nor_of_a_file_of_the_bundle(tmp_path):
    path = write_requests(tmp_path / "both.csv", REQUESTS)
    before, bundle = path.read_bytes(), Fake()
    with pytest.raises(RequestError, match="is the input: name another file"):
        score_file(bundle, path, tmp_path / "." / "both.csv")
    bundle.folder = tmp_path / "bundle"
    (bundle.folder / "policy").mkdir(parents=True)
    for place in ("items.parquet", "policy/lists.csv"):
        with pytest.raises(RequestError, match="is in the bundle"):
            score_file(bundle, path, bundle.folder / place)
    assert path.read_bytes() == before
    assert [each.name for each in bundle.folder.rglob("*")] == ["policy"]


def test_a_history_may_be_longer_than_a_cell_of_pythons_csv(tmp_path, request):
    request.addfinalizer(partial(csv.field_size_limit, csv.field_size_limit(131_072)))
    path = write_requests(tmp_path / "long.csv", [{"history": ["x"] * 60_000}])
    assert [len(each.history) for each in read_requests(path)] == [60_000]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.jsonl", '{"user_id": "u"}\n' + "[" * 100_000 + "\n", "a.jsonl, line 2: this is no JSON."),
        ("a.csv", "history\n" + "[" * 100_000 + "\n", "a.csv, row 1, history: "),
        ("a.csv", "user_id,user_id\na,b\n", "a.csv, its header: user_id is there twice."),
        ("a.jsonl", '{"user_id": "a", "user_id": "b"}\n', "a.jsonl, line 1: user_id is there twice."),
        ("a.jsonl", '{"history": ["x", ""]}\n', "a.jsonl, row 1, history: place 2 holds no item id."),
        ("a.jsonl", '{"history": [NaN]}\n', "a.jsonl, row 1, history: place 1 holds no item id."),
    ],
)
def test_what_is_too_deep_or_there_twice_is_told_in_a_line(tmp_path, request, name, content, told):
    request.addfinalizer(partial(csv.field_size_limit, csv.field_size_limit(131_072)))
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(RequestError) as refused:
        list(read_requests(tmp_path / name))
    assert str(refused.value).startswith(told)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [(b'user_id,history\n"1,[5]\n2,\n3,\n', "unexpected end of data"), ("user_id\nü\n".encode("latin-1"), "it is no UTF-8")],
)
def test_a_quote_that_is_never_closed_and_another_encoding_are_told_with_the_file(tmp_path, content, told):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(RequestError, match=rf"a.csv cannot be read: .*{told}"):
        list(read_requests(tmp_path / "a.csv"))


def test_lists_go_into_no_folders_place_and_whom_the_fallback_serves_is_counted(tmp_path):
    path = write_requests(tmp_path / "a.csv", [{"user_id": "known"}, {"user_id": "v"}, {"user_id": "w"}])
    (tmp_path / "lists.csv").mkdir()
    with pytest.raises(RequestError, match="is a folder: name a file"):
        score_file(Fake(), path, tmp_path / "lists.csv")
    assert score_file(Fake(), path, tmp_path / "lists.parquet") == (3, 9, 2)


def test_a_moment_that_no_calendar_has_is_told_in_a_line(tmp_path):
    table = pa.table({"user_id": ["u"], "timestamp": pa.array([2**62], pa.timestamp("us"))})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(RequestError, match=r"a.parquet cannot be read: "):
        list(read_requests(tmp_path / "a.parquet"))
