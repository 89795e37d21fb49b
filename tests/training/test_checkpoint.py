"""A training killed at any moment goes on to the same end; a checkpoint that is not what was written is refused."""

import json
import signal
import subprocess
import sys
from dataclasses import asdict

import pytest
import torch

from tests.conftest import ROOT
from tests.training.made import EVENTS, Line, files_in, same, told, train_line, weights_of
from workbench.errors import RequestError, WorkError
from workbench.evaluation import evaluate
from workbench.models import create
from workbench.testing import interactions, latent_log
from workbench.training import Engine
from workbench.training.checkpoint import KEPT, Checkpoints, read_checkpoint, write_checkpoint

KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from workbench.models import create
from workbench.testing import latent_log
from workbench.training import Engine
from workbench.training.loop import Loop

name, settings, folder, last = sys.argv[1], eval(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
rate = Loop.rate

def dies(loop, step):
    if step == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return rate(loop, step)

Loop.rate = dies
create(name, **settings).fit(*latent_log(), Engine(device="cpu", threads=1, checkpoints=folder))
"""

SETTINGS = {
    "mf": {"learning_rate": 0.1, "batch_size": 512, "dimensions": 16},
    "sasrec": {"learning_rate": 0.02, "batch_size": 32, "dimensions": 16, "length": 20, "dropout": 0.3},
}
"""High rates, so that the best epoch is not the last one."""


@pytest.mark.parametrize(("name", "steps_an_epoch"), [("mf", 10), ("sasrec", 9)])
def test_a_killed_training_ends_like_an_undisturbed_one(name, steps_an_epoch, tmp_path):
    """SIGKILL in the middle of the fifth epoch of six: the curve, the best weights and what they are worth are the same to the last bit."""
    settings = {**SETTINGS[name], "epochs": 6, "schedule": "cosine", "warmup": 7, "seed": 2}
    train, valid = latent_log()
    last = 4 * steps_an_epoch + steps_an_epoch // 2
    command = [sys.executable, "-c", KILLED, name, repr(settings), str(tmp_path), str(last)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == ["epoch-00003.ckpt", "epoch-00004.ckpt"]

    undisturbed = create(name, **settings).fit(train, valid, Engine(device="cpu", threads=1))
    resumed = create(name, **settings).fit(train, valid, Engine(device="cpu", threads=1, checkpoints=tmp_path))
    assert resumed.training.resumed_from == 4
    assert told(resumed.training) == told(undisturbed.training)
    assert resumed.training.best_epoch == undisturbed.training.best_epoch
    assert same(weights_of(resumed.network), weights_of(undisturbed.network))
    assert evaluate(resumed, valid, ks=(10,)).mean("ndcg@10") == undisturbed.training.best
    state = read_checkpoint(tmp_path / "epoch-00006.ckpt")
    assert state["step"] == 6 * steps_an_epoch  # so the kill was in the middle of an epoch


@pytest.fixture
def kept(tmp_path):
    """The folder of a training that was stopped in its fourth epoch."""

    def spoil(step: int) -> float:
        if step == 35:
            raise KeyboardInterrupt
        return 1.0

    with pytest.raises(KeyboardInterrupt):
        train_line(Line(spoil=spoil), Engine(device="cpu", checkpoints=tmp_path / "kept"), epochs=5)
    return tmp_path / "kept"


def go_on(folder, train=EVENTS, line=None, **learning):
    return train_line(line or Line(), Engine(device="cpu", checkpoints=folder), train, **{"epochs": 5, **learning})


def test_the_last_two_are_kept_each_with_its_hash(kept):
    assert KEPT == 2
    names = [f"epoch-0000{n}.ckpt{end}" for n in (2, 3) for end in ("", ".sha256")]
    assert sorted(files_in(kept)) == [*names, "training.json"]


def primitive(value) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str | int) and primitive(each) for key, each in value.items())
    if isinstance(value, list | tuple):
        return all(map(primitive, value))
    return value is None or isinstance(value, torch.Tensor | str | int | float | bool)


def test_a_checkpoint_holds_tensors_and_primitives_and_no_examples(kept):
    state = torch.load(kept / "epoch-00003.ckpt", weights_only=True)
    assert primitive(state)
    assert list(state["state_dict"]) == ["objective.weight"]
    for name in ("mf", "sasrec"):
        train, valid = latent_log(n_users=60)
        model = create(name, epochs=1).fit(train, valid, Engine(device="cpu", checkpoints=kept.parent / name))
        state = torch.load(kept.parent / name / "epoch-00001.ckpt", weights_only=True)
        assert primitive(state)
        learnt = sum(tensor.nbytes for tensor in model.network.state_dict().values())
        size = (kept.parent / name / "epoch-00001.ckpt").stat().st_size
        assert size < 5 * learnt  # the weights, Adam's two moments, the best weights; the rest is names


def truncated(content: bytes) -> bytes:
    return content[:-100]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("harm", [truncated, flipped, lambda content: b""], ids=["truncated", "one bit", "empty"])
def test_a_damaged_checkpoint_is_refused_and_left(kept, harm):
    path = kept / "epoch-00003.ckpt"
    expected = (kept / "epoch-00003.ckpt.sha256").read_text()[:12]
    path.write_bytes(harm(path.read_bytes()))
    before = files_in(kept)
    with pytest.raises(WorkError) as error:
        go_on(kept)
    assert f"{path} is damaged: it hashes to " in str(error.value)
    assert f"beside it stands {expected}…. Remove it to go on from epoch-00002.ckpt." in str(error.value)
    assert files_in(kept) == before

    path.unlink()  # as it says
    resumed, undisturbed = Line(), Line()
    assert go_on(kept, line=resumed).resumed_from == 2
    train_line(undisturbed, epochs=5)
    assert same(weights_of(resumed), weights_of(undisturbed))


def test_the_only_checkpoint_damaged_means_starting_anew(kept):
    for path in kept.glob("epoch-00002*"):
        path.unlink()
    (kept / "epoch-00003.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(WorkError, match=r"Remove it to start anew\."):
        go_on(kept)


def test_a_checkpoint_without_its_hash_is_not_trusted(kept):
    (kept / "epoch-00003.ckpt.sha256").unlink()
    with pytest.raises(WorkError, match=r"epoch-00003\.ckpt cannot be checked"):
        go_on(kept)


@pytest.mark.parametrize("content", [None, "{", "[]", '"text"', b"\xff"])
def test_a_folder_that_does_not_say_whose_it_is_is_not_trusted(kept, content):
    path = kept / "training.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(WorkError, match=r"training\.json cannot be read"):
        go_on(kept)


OTHER_TIMES = interactions([(0, 1), (0, 0), (1, 1)], n_users=2, n_items=3)
MORE_ITEMS = interactions([(0, 0), (0, 1), (1, 1)], n_users=2, n_items=4)


@pytest.mark.parametrize(
    ("change", "told_as"),
    [
        ({"learning_rate": 0.2}, r"settings learning_rate is 0\.1 there and 0\.2 here"),
        ({"epochs": 6}, r"settings epochs is 5 there and 6 here"),
        ({"seed": 1}, r"settings seed is 0 there and 1 here"),
        ({"train": OTHER_TIMES}, r"data is '\w{16}' there and '\w{16}' here"),
        ({"train": MORE_ITEMS}, r"data is '\w{16}' there and '\w{16}' here"),
    ],
    ids=["rate", "epochs", "seed", "order of events", "size of the catalogue"],
)
def test_checkpoints_of_another_training_are_refused_with_what_differs(kept, change, told_as):
    before = files_in(kept)
    with pytest.raises(RequestError, match=rf"kept holds checkpoints of another training: {told_as}\. Choose another folder\."):
        go_on(kept, **change)
    assert files_in(kept) == before


def test_checkpoints_of_another_model_or_validation_are_refused(tmp_path):
    train, valid = latent_log(n_users=60)
    engine = Engine(device="cpu", checkpoints=tmp_path)
    create("mf", epochs=1).fit(train, valid, engine)
    before = files_in(tmp_path)
    with pytest.raises(RequestError, match="model is 'mf' there and 'sasrec' here"):
        create("sasrec", epochs=1).fit(train, valid, engine)
    for other in (None, valid.select(torch.arange(len(valid.users)) > 0)):
        with pytest.raises(RequestError, match="of another training: data is"):
            create("mf", epochs=1).fit(train, other, engine)
    assert files_in(tmp_path) == before


@pytest.mark.parametrize(
    ("kind", "words"), [(OSError, "No space left on device"), (RuntimeError, "PytorchStreamWriter failed writing file")]
)
def test_a_full_disk_leaves_the_earlier_checkpoint_usable(tmp_path, monkeypatch, kind, words):
    engine = Engine(device="cpu", checkpoints=tmp_path)
    save, calls = torch.save, []

    def full(state, path):
        calls.append(path)
        if len(calls) == 3:
            path.write_bytes(b"half of it")
            raise kind(words)
        save(state, path)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(WorkError, match=rf"epoch-00003\.ckpt cannot be written: {words}\. Earlier"):
        train_line(Line(), engine, epochs=4)
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(f"epoch-0000{n}.ckpt{end}" for n in (1, 2) for end in ("", ".sha256")),
        "training.json",
    ]
    resumed, undisturbed = Line(), Line()
    assert train_line(resumed, engine, epochs=4).resumed_from == 2
    train_line(undisturbed, epochs=4)
    assert same(weights_of(resumed), weights_of(undisturbed))


def test_killed_between_checksum_and_name_there_is_no_checkpoint_but_the_one_before(tmp_path):
    """The order of writing: whatever has the name has its checksum."""
    write_checkpoint({"a": torch.ones(2)}, tmp_path / "epoch-00001.ckpt")
    (tmp_path / "epoch-00002.ckpt.sha256").write_text("0" * 64)
    (tmp_path / ".epoch-00002.ckpt.1.partial").write_bytes(b"half of it")
    checkpoints = Checkpoints(tmp_path, {"model": "line"})
    checkpoints.begin()
    assert checkpoints.newest() == tmp_path / "epoch-00001.ckpt"
    assert torch.equal(read_checkpoint(checkpoints.newest())["a"], torch.ones(2))


def test_code_in_a_checkpoint_does_not_run(tmp_path):
    class Code:
        def __reduce__(self):
            return (print, ("ran",))

    write_checkpoint({"a": Code()}, tmp_path / "epoch-00001.ckpt")
    with pytest.raises(Exception, match="Weights only load failed"):
        read_checkpoint(tmp_path / "epoch-00001.ckpt")


def test_a_folder_that_cannot_be_made_is_a_request_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="file/kept cannot be a folder for checkpoints"):
        train_line(Line(), Engine(device="cpu", checkpoints=tmp_path / "file" / "kept"))


def test_the_identity_is_readable_json(kept):
    identity = json.loads((kept / "training.json").read_text())
    assert identity["model"] == "line"
    assert identity["processes"] == 1
    assert identity["settings"]["epochs"] == 5
    training = go_on(kept)
    assert asdict(training)["resumed_from"] == 3
