"""The ledger of looks: one line each, whatever happens to the others."""

import json
import os
import subprocess
import sys

import pytest

from workbench.data.holdout import sealed_part
from workbench.data.ledger import Ledger, Looks
from workbench.errors import WorkError
from workbench.paths import RUN_FOLDER

PART = "tiny@1/user_time/{}/test"


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "looks.jsonl")


def test_looks_are_counted_and_so_are_the_different_models_and_settings(ledger):
    assert not ledger.looks(PART)
    for model, settings in (("EASE", {"l2": 1}), ("EASE", {"l2": 1}), ("EASE", {"l2": 2}), ("Popularity", {})):
        ledger.add(PART, model, settings)
    ledger.add("tiny@2/user_time/{}/test", "EASE", {})
    assert ledger.looks(PART) == Looks(total=4, models=3)
    assert str(ledger.looks(PART)) == "4 looks, 3 different models or settings"
    assert ledger.looks("tiny@2/user_time/{}/test") == Looks(1, 1)


def test_an_entry_says_when_and_in_which_run(ledger, monkeypatch):
    ledger.add(PART, "EASE", {"l2": 1.5, "path": ledger.path})
    monkeypatch.setenv(RUN_FOLDER, "/somewhere/.2026-01-31-retrieval.partial")
    ledger.add(PART, "EASE", {})
    alone, inside = (json.loads(line) for line in ledger.path.read_text(encoding="utf-8").splitlines())
    assert alone["run"] is None
    assert inside["run"] == "2026-01-31-retrieval"
    assert alone["when"].endswith("+00:00")
    assert alone["settings"] == {"l2": 1.5, "path": str(ledger.path)}  # what JSON has no word for is text


def test_the_same_part_under_another_seed_is_the_same_part():
    assert sealed_part('ml-1m@0a/user_time/{"n": 1}/7/test') == sealed_part('ml-1m@0a/user_time/{"n": 1}/8/test')
    assert sealed_part('ml-1m@0a/user_time/{"n": 1}/7/test') == 'ml-1m@0a/user_time/{"n": 1}/test'


def test_lines_that_cannot_be_read_are_counted_as_such(ledger):
    ledger.add(PART, "EASE", {})
    with ledger.path.open("ab") as file:
        file.write(b'{"part": \n[1, 2]\n{"model": "EASE"}\n\xff\xfe\n\n')
    looks = ledger.looks(PART)
    assert looks == Looks(total=1, models=1, unreadable=4)
    assert str(looks) == "1 look, 1 different models or settings; 4 entries of the ledger cannot be read"
    assert Looks(0, 0, unreadable=1)  # each was a look at something


def test_a_torn_line_does_not_swallow_the_next(ledger):
    """A process that was killed, or a full disk, left half a line without an end."""
    ledger.add(PART, "EASE", {})
    with ledger.path.open("ab") as file:
        file.write(b'{"part": "tiny@1/user_ti')
    ledger.add(PART, "Popularity", {})
    assert ledger.looks(PART) == Looks(total=2, models=2, unreadable=1)


def test_a_ledger_that_cannot_be_written_is_an_error(tmp_path):
    for path in (tmp_path / "nowhere" / "looks.jsonl", tmp_path):
        with pytest.raises(WorkError, match="could not be written down"):
            Ledger(path).add(PART, "EASE", {})


def test_half_a_line_on_a_full_disk_is_an_error(ledger, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:10]))
    with pytest.raises(WorkError, match=r"could not be written down in .*: No space left on device"):
        ledger.add(PART, "EASE", {})


def test_processes_that_write_at_once_lose_nothing(ledger):
    script = (
        "import sys; from pathlib import Path; from workbench.data.ledger import Ledger\n"
        "for n in range(200): Ledger(Path(sys.argv[1])).add(sys.argv[2], sys.argv[3], {'n': n, 'long': 'x' * 2000})"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, str(ledger.path), PART, name]) for name in ("one", "other")]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    assert ledger.looks(PART) == Looks(total=400, models=400)
