"""Bring your own: what is guessed, what is written, the next version, and the contract between versions."""

import argparse
import subprocess
import sys
from typing import get_args

import pytest

from tests.data.test_reading import COLUMNS, GOOD, text
from workbench import data_commands
from workbench.cli import main
from workbench.data import load_card, load_dataset, prepare, versions
from workbench.data.add import add
from workbench.data.card import Allowance, Unit
from workbench.data.guess import guess_time
from workbench.data.request import Request
from workbench.errors import RequestError, WorkError


def write(path, content):
    path.write_text(content)
    return path


def log(tmp_path, rows=GOOD, name="own.csv"):
    return write(tmp_path / name, text(rows, ","))


EVENTS = [
    ("u1", "i1", "1700000000", "impression", "r1", "1", "0.5", "ios"),
    ("u1", "i2", "1700000000", "impression", "r1", "2", "0.25", "ios"),
    ("u1", "i1", "1700000009", "click", "r1", "1", "", "ios"),
    ("u2", "i1", "1700000020", "hide", "r2", "", "", "web"),
]
EVENT_COLUMNS = ("visitorid", "itemid", "timestamp", "event", "request_id", "position", "propensity", "device")


def test_what_is_not_said_is_guessed_told_and_written(home, tmp_path, capsys):
    path = write(tmp_path / "events.csv", text(EVENTS, ",", EVENT_COLUMNS))
    assert main(["data", "add", str(path), "--name", "shop"]) == 0
    said = capsys.readouterr().out
    for line in (
        "columns: user_id ← visitorid, item_id ← itemid, timestamp ← timestamp (s, UTC), event ← event",
        "context: device",
        "event types                                          impression 2, click 1, hide 1",
        "only shown                                           2 events (event impression)",
        "liked                                                50% of events (event click)",
        "disliked                                             50% of events (event hide)",
        "time span                                            14 Nov 2023 to 14 Nov 2023",
        "workbench report --dataset shop",
    ):
        assert line in said
    card = load_card("shop")
    assert [rule.text for rule in (*card.meaning.positive, *card.meaning.negative, *card.meaning.exposure)] == [
        "event click",
        "event hide",
        "event impression",
    ]
    assert card.privacy["user_id"] == card.privacy["request_id"] == "identifier"
    frame = load_dataset("shop").sql("SELECT * FROM events ORDER BY timestamp, item_id")
    assert frame["propensity"].tolist()[:2] == [0.5, 0.25]
    assert frame["position"].tolist()[:3] == [1, 2, 1]
    assert frame["device"].tolist() == ["ios", "ios", "ios", "web"]


@pytest.mark.parametrize(
    ("values", "positive", "negative"),
    [
        ([1, 2, 3, 4, 5], "value ≥ 4", "value ≤ 2"),
        ([0.5, 2.5, 3.5, 4, 5], "value ≥ 4", "value ≤ 0.5"),
        ([0, 1], "value ≥ 1", "value ≤ 0"),
        ([-1, 1], "value ≥ 1", "value ≤ -1"),
        ([2, 10, 8, 6], "value ≥ 8", "value ≤ 2"),
        ([17, 300, 2], "every event", None),
        ([1], "every event", None),
    ],
)
def test_values_that_look_like_ratings_are_read_as_ratings(home, tmp_path, values, positive, negative):
    path = log(tmp_path, [(f"u{n}", "i", "1700000000", str(value)) for n, value in enumerate(values)])
    card = add(Request(file=path, name="own", columns=COLUMNS))[0]
    assert [rule.text for rule in card.meaning.positive] == [positive]
    assert [rule.text for rule in card.meaning.negative] == ([negative] if negative else [])


def test_what_is_said_overrules_the_guess(home, tmp_path):
    said = {"positive_min": 3.0, "negative_max": 1.0, "repeats": True, "title": 'Our "log"', "licence": "ours"}
    card = add(Request(file=log(tmp_path), name="own", columns=COLUMNS, **said))[0]
    assert [rule.text for rule in (*card.meaning.positive, *card.meaning.negative)] == ["value ≥ 3", "value ≤ 1"]
    assert load_card("own") == card, "what is written is what was meant"
    assert (card.title, card.licence, card.meaning.repeats) == ('Our "log"', "ours", True)


@pytest.mark.parametrize(
    ("cells", "unit"),
    [
        (["1700000000", "n/a", "1700000001"], "s"),
        (["1700000000000"], "ms"),
        (["1.7e15"], "us"),
        (["1700000000000000000"], "ns"),
        (["1", "2"], "s"),
        (["2024-01-01"], "text"),
        (["20240101", "20231231"], "text"),
        ([], "s"),
    ],
)
def test_the_unit_of_time_is_told_by_its_size(cells, unit):
    assert guess_time(cells) == (unit, "%Y%m%d" if cells[:1] == ["20240101"] else None)


def test_a_header_over_numbers_is_seen_although_columns_go_by_place(home, tmp_path):
    add(Request(file=log(tmp_path), name="own", columns={"user_id": "0", "item_id": "1", "timestamp": "2"}))
    assert load_dataset("own").user_ids == ["u1", "u2", "u3"]


def test_people_and_items_of_the_tables_are_in_the_catalogue(home, tmp_path):
    items = write(tmp_path / "items.csv", "sku,title,group\ni1,A,x\ni2,B,y\ni3,C,y\ni9,Never taken,z\n")
    users = write(tmp_path / "people.tsv", "user\tage\nu1\t20\nu2\t\nu3\t40\n")
    request = Request(file=log(tmp_path), name="own", columns={**COLUMNS, "item_key": "sku"}, item_table=items, user_table=users)
    card, snapshot, _ = add(request)
    data = load_dataset("own")
    assert data.item_ids == ["i1", "i2", "i3", "i9"]
    assert snapshot.columns("items") == {"item_code": "INTEGER", "item_id": "VARCHAR", "title": "VARCHAR", "group": "VARCHAR"}
    assert data.sql("SELECT age FROM users ORDER BY user_code")["age"].tolist()[0] == "20"
    assert (card.privacy["age"], card.privacy["title"]) == ("sensitive", "public")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("sku,title\ni1,A\n", 'own.csv, row 3, column "item": "i2" is not in items.csv (the first of 2 rows that fail).'),
        ("sku,title\ni1,A\ni2,B\ni3,C\ni2,D\n", 'items.csv, row 5, column "sku": "i2" stands there a second time.'),
        ("sku,title\ni1,A\n,B\n", 'items.csv, row 3, column "sku": "" is no id.'),
        ("sku,user_id\ni1,A\n", 'items.csv: the column "user_id" has a name that is taken.'),
        ("title,name\nA,B\n", "items.csv: no column is its key. Name it with --item-key"),
    ],
)
def test_a_table_that_does_not_go_with_the_log_is_refused(home, tmp_path, table, message):
    items = write(tmp_path / "items.csv", table)
    key = {"item_key": "sku"} if table.startswith("sku") else {}
    with pytest.raises(RequestError) as caught:
        add(Request(file=log(tmp_path), name="own", columns={**COLUMNS, **key}, item_table=items))
    assert message in str(caught.value)
    assert list((home / "datasets").iterdir()) == []


def test_what_the_card_allows_is_noted(home, tmp_path):
    items = write(tmp_path / "items.csv", "sku,title\ni1,A\n")
    rows = [*GOOD, GOOD[0]]
    request = {"columns": {**COLUMNS, "item_key": "sku"}, "item_table": items, "allow": ("missing from table", "duplicate")}
    _, snapshot, understood = add(Request(file=log(tmp_path, rows), name="own", **request))
    assert snapshot.rows("events") == 4
    assert any("1 events of own.csv are the same as another" in line for line in understood)
    assert any('2 rows of own.csv fail the check "missing from table"' in note for note in snapshot.manifest["notes"])


@pytest.mark.parametrize("name", ["../x", "snapshots", "CON", "a b", "", "ml-1m"])
def test_a_name_that_is_none_or_taken_is_refused(project, tmp_path, name):
    before = sorted(project.rglob("*"))
    with pytest.raises(RequestError, match=r"cannot be the name of a data set|is taken by MovieLens 1M"):
        add(Request(file=log(tmp_path), name=name, columns=COLUMNS))
    assert sorted(project.rglob("*")) == before


def test_the_next_version_keeps_what_a_person_wrote(home, tmp_path):
    add(Request(file=log(tmp_path), name="own", columns=COLUMNS))
    path = home / "datasets" / "own.toml"
    path.write_text(path.read_text().replace("min = 4.0", "min = 5.0").replace("[meaning]", "# mine\n[meaning]"))
    prepare("own")
    more = log(tmp_path, [*GOOD, ("u4", "i1", "1600000009", "5")], "more.csv")
    with pytest.raises(RequestError, match='there is a data set "own" already'):
        add(Request(file=more, name="own", columns=COLUMNS))
    card, snapshot, _ = add(Request(file=more, name="own", update=True))
    assert card.version == 2
    assert "# mine" in path.read_text()
    assert [rule.text for rule in load_card("own").meaning.positive] == ["value ≥ 5"]
    assert snapshot.manifest["parent"] == versions("own")[1].id
    assert [each.rows("events") for each in versions("own")] == [3, 3, 4]
    with pytest.raises(RequestError, match='there is no data set "other" to update'):
        add(Request(file=more, name="other", columns=COLUMNS, update=True))


BEFORE = "user,age,city\nu1,20,Rome\nu2,30,Oslo\nu3,40,Oslo\n"


@pytest.mark.parametrize(
    ("users", "rows", "outcome"),
    [
        (BEFORE.replace("city", "city,plan").replace("Rome", "Rome,a").replace("Oslo", "Oslo,b"), 3, "users has a new column, plan"),
        ("user,age\nu1,20\nu2,30\nu3,40\n", 3, "users has lost the column city"),
        (BEFORE.replace("40", "forty"), 3, "age of users was whole number and is text"),
        (BEFORE.replace("40", "40.5"), 3, "age of users was whole number and is number"),
        (BEFORE.replace("Rome", "").replace("Oslo\nu3", "\nu3"), 3, "city of users is empty in 67% of rows, 67% more than before"),
        (BEFORE, 1, "1 events are 0.33 times the 3 before, outside 0.5 to 10"),
        (BEFORE, 3, None),
    ],
)
def test_a_version_is_held_against_the_one_before(home, tmp_path, users, rows, outcome):
    first = write(tmp_path / "users.csv", BEFORE)
    add(Request(file=log(tmp_path), name="own", columns=COLUMNS, user_table=first))
    request = {
        "file": log(tmp_path, GOOD[:rows], "next.csv"),
        "user_table": write(tmp_path / "next_users.csv", users),
        "name": "own",
        "update": True,
    }
    noted = outcome is None or "new column" in outcome or "and is number" in outcome
    if noted:
        assert add(Request(**request))[1].manifest["notes"] == ([outcome] if outcome else [])
        return
    check = {"lost": "removed", "text": "retyped", "empty": "null share", "times": "volume"}[
        next(w for w in ("lost", "text", "empty", "times") if w in outcome)
    ]
    with pytest.raises(RequestError) as caught:
        add(Request(**request))
    assert outcome in str(caught.value)
    assert f"--allow '{check}'" in str(caught.value)
    assert load_card("own").version == 1
    assert len(versions("own")) == 1
    assert add(Request(**request, allow=(check,)))[1].manifest["notes"] == [outcome]


def test_a_file_that_moved_is_asked_for_and_a_changed_one_is_noticed(home, tmp_path):
    path = log(tmp_path)
    add(Request(file=path, name="own", columns=COLUMNS))
    assert load_dataset("own").snapshot.rows("events") == 3
    card = home / "datasets" / "own.toml"
    card.write_text(card.read_text().replace("min = 4.0", "min = 5.0"))
    path.write_text(path.read_text() + "\n")
    with pytest.raises(WorkError, match=r"own.csv hashes to \w{12}…, the card says \w{12}…. If it is a new version"):
        prepare("own")
    path.unlink()
    with pytest.raises(RequestError, match=r"there is no such file\. Put it back"):
        prepare("own")


def test_killed_before_the_card_is_written_nothing_is_listed_and_the_next_call_succeeds(home, tmp_path, capsys):
    path = log(tmp_path)
    arguments = ["data", "add", str(path), "--name", "own"]
    code = (
        "import importlib, os, signal; module = importlib.import_module('workbench.data.add')\n"
        "module.card_text = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"from workbench.cli import main; main({arguments!r})"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert main(["data", "list"]) == 0
    assert capsys.readouterr().out == ""
    assert main([*arguments, "--user", "user"]) == 0
    assert main(["data", "list"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("own ")
    assert len(versions("own")) == 1


def test_a_memory_limit_is_a_size(home, tmp_path, capsys):
    arguments = ["data", "add", str(log(tmp_path)), "--name", "own"]
    assert main([*arguments, "--memory-limit", "plenty"]) == 2
    assert 'memory limit "plenty" should be a size like 500MB or 2GB.' in capsys.readouterr().err
    assert main([*arguments, "--memory-limit", "100MB"]) == 0


def test_what_the_command_line_lists_is_what_a_card_may_say():
    """Listed apart, because `--help` should not wait for the data package."""
    assert get_args(Allowance) == data_commands.ALLOWED
    parser = argparse.ArgumentParser()
    data_commands.add_options(parser)
    (unit,) = (action for action in parser._actions if action.dest == "unit")
    assert unit.choices == get_args(Unit)


def test_what_an_update_says_is_done_and_the_rest_stays(home, tmp_path):
    add(Request(file=log(tmp_path), name="own", columns=COLUMNS))
    path = home / "datasets" / "own.toml"
    path.write_text(path.read_text().replace('licence = "not stated"', 'licence = "ours"  # ask before use'))
    said = {"positive_min": 2.0, "negative_max": 1.0, "repeats": True, "title": "New", "zone": "Europe/Berlin"}
    add(Request(file=log(tmp_path, [*GOOD, ("u9", "i1", "1600000009", "5")], "more.csv"), name="own", update=True, **said))
    card = load_card("own")
    assert [rule.text for rule in (*card.meaning.positive, *card.meaning.negative)] == ["value ≥ 2", "value ≤ 1"]
    assert (card.meaning.repeats, card.title, card.licence, card.columns.timestamp.zone) == (True, "New", "ours", "Europe/Berlin")
    assert "# ask before use" in path.read_text()


@pytest.mark.parametrize(
    ("each", "times", "split"),
    [(12, True, "user_time"), (12, False, "user_random"), (6, True, "leave_last_n"), (6, False, "random")],
)
def test_the_split_that_is_recommended_leaves_somebody_to_judge(home, tmp_path, each, times, split):
    rows = [(f"u{u}", f"i{(u * 7 + n) % 60}", str(1600000000 + u * 100 + n), "5") for u in range(40) for n in range(each)]
    columns = COLUMNS if times else {key: value for key, value in COLUMNS.items() if key != "timestamp"}
    path = (
        log(tmp_path, rows)
        if times
        else write(tmp_path / "own.csv", text([(u, i, "5") for u, i, _, _ in rows], ",", ("user", "item", "stars")))
    )
    card = add(Request(file=path, name="own", columns=columns))[0]
    assert card.split.default == split
    parts = load_dataset("own").split()
    assert len(parts.holdout("valid").users)
    assert len(parts.holdout("test").users)


def test_exposures_are_no_repeats_no_ties_and_no_part_of_the_choice_of_a_split(home, tmp_path):
    shown = [("u1", f"i{n % 3}", str(1600000000), "impression") for n in range(3)] + [
        ("u1", "i0", str(1600000001 + n), "impression") for n in range(9)
    ]
    clicks = [("u1", f"i{n}", str(1600000100 + n), "click") for n in range(4)]
    add(Request(file=write(tmp_path / "own.csv", text(shown + clicks, ",", ("user", "item", "time", "event"))), name="own"))
    facts = dict(load_dataset("own").describe().itertuples(index=False, name=None))
    assert facts["events that share person and moment with another"] == "0%"
    assert facts["repeats of a person and item"].startswith("0,")
    assert facts["liked"] == "100% of events (event click)"


def test_an_update_reads_as_before_but_for_what_is_said(home, tmp_path):
    bare = write(tmp_path / "own.csv", text(GOOD, ",", None))
    columns = {"user_id": "0", "item_id": "1", "timestamp": "2", "value": "3"}
    add(Request(file=bare, name="own", columns=columns))
    with pytest.raises(RequestError, match=r"nothing would change: own.csv is what version 1 was made of"):
        add(Request(file=bare, name="own", update=True))
    items = write(tmp_path / "items.csv", "item_id,title\ni1,A\ni2,B\ni3,C\n")
    add(Request(file=bare, name="own", update=True, reading={"quote": ""}, item_table=items))
    card = load_card("own")
    assert (card.files.events.header, card.files.events.quote, card.columns.item_key) == (False, "", "item_id")
    assert load_dataset("own").snapshot.rows("events") == 3


def test_the_reason_of_a_guessed_split_is_of_the_version_it_is_said_of(home, tmp_path):
    add(Request(file=log(tmp_path), name="own", columns=COLUMNS))
    assert "of 3 people" in load_card("own").split.because
    add(Request(file=log(tmp_path, GOOD[:2], "fewer.csv"), name="own", update=True))
    assert "of 2 people" in load_card("own").split.because


def test_when_all_share_one_moment_nothing_is_the_last(home, tmp_path):
    rows = [(f"u{n % 9}", f"i{n}", "1600000000", "5") for n in range(90)]
    card = add(Request(file=log(tmp_path, rows), name="own", columns=COLUMNS))[0]
    assert (card.split.default, card.split.because.split(",")[0]) == ("user_random", "all events share one moment")
