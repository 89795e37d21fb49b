"""`workbench train` as a person types it: what is said, what is written, and the ways it ends."""

import json
import re
import subprocess
import sys

import pytest

from workbench.cli import main
from workbench.models.mf import Mf
from workbench.models.sasrec import SasRec

QUICK = "--device cpu --threads 1 -p epochs=2 -p dimensions=4"


@pytest.fixture
def run(tiny, tmp_path, monkeypatch, capsys):
    """`run("mf …")`: the exit code, and what was printed and complained of."""
    tiny()
    monkeypatch.chdir(tmp_path)

    def command(text):
        code = main(["train", *text.split()])
        return code, *capsys.readouterr()

    return command


def test_a_model_is_trained_saved_and_can_be_loaded(run, tmp_path):
    code, out, _ = run(f"mf --dataset tiny --output model {QUICK}")
    assert code == 0
    assert out.splitlines()[0].startswith("device: cpu, 1 threads (asked for")
    assert sum(line.startswith("epoch ") for line in out.splitlines()) == 2
    assert "best: ndcg@10 " in out
    assert Mf.load(tmp_path / "model").config.dimensions == 4


def test_one_that_does_not_learn_by_gradient_is_trained_in_one_go(run, tmp_path):
    assert run("ease --dataset tiny --output model")[0] == 0
    assert json.loads((tmp_path / "model" / "model.json").read_text())["model"] == "ease"
    code, _, error = run("ease --dataset tiny --output other --checkpoints kept")
    assert code == 2
    assert error == "workbench: ease is trained in one go: it takes neither --checkpoints nor --minutes.\n"


def test_in_pieces_it_ends_like_in_one_go(run, tmp_path):
    assert run(f"sasrec --dataset tiny --output whole {QUICK}")[0] == 0
    code, out, _ = run(f"sasrec --dataset tiny --output pieces {QUICK} --checkpoints kept --minutes 1e-9")
    assert code == 0
    assert out.endswith("1 of 2 epochs: call again to go on\n")
    assert not (tmp_path / "pieces").exists()
    assert run(f"sasrec --dataset tiny --output pieces {QUICK} --checkpoints kept")[0] == 0
    whole, pieces = (SasRec.load(tmp_path / name).network.state_dict() for name in ("whole", "pieces"))
    assert all((whole[name] == pieces[name]).all() for name in whole)


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        ("sasrek --dataset tiny", 'there is no model "sasrek". Did you mean "sasrec"?'),
        ("mf --dataset tiny -p dimension=8", 'there is no setting of mf "dimension". Did you mean "dimensions"?'),
        ("mf --dataset tiny -p dimensions=0", "mf: dimensions = '0': input should be greater than or equal to 1."),
        ("mf --dataset tiny -p dimensions=many", "mf: dimensions = 'many': input should be a valid integer"),
        ("sasrec --dataset tiny -p heads=3", "sasrec: dimensions = 64 should be a multiple of heads = 3."),
        ("mf --dataset tiny --device abacus", 'device = "abacus" should be auto, cpu, cuda, cuda:N or mps.'),
        ("mf --dataset tiny --minutes nan", "--minutes nan should be a time above 0."),
        ("ease --dataset tiny --minutes -5", "--minutes -5 should be a time above 0."),
        ("mf --dataset tiny --minutes 5", "minutes = 5 needs a folder for checkpoints to go on from."),
        ("mf --dataset tiny -p watch=recal@10", 'there is no metric to watch "recal". Did you mean "recall"?'),
        ("mf --dataset tiny --tuned", "nobody has tuned mf for tiny yet: run `workbench tune mf --dataset tiny --budget 50`."),
        ("mf --dataset tinny", 'there is no data set "tinny". Did you mean "tiny"?'),
    ],
)
def test_a_wrong_request_is_one_line_and_writes_nothing(run, tmp_path, request_, what):
    code, _, error = run(f"{request_} --output model")
    assert code == 2
    assert error.startswith(f"workbench: {what}"), error
    assert error.count("\n") == 1
    assert not (tmp_path / "model").exists()


def test_a_folder_that_holds_a_model_is_left_alone(run):
    assert run(f"mf --dataset tiny --output model {QUICK}")[0] == 0
    code, _, error = run(f"mf --dataset tiny --output model {QUICK}")
    assert (code, error) == (2, "workbench: --output model holds a model already; choose another folder.\n")


def test_a_place_where_nothing_can_be_written_is_found_before_training(run, tmp_path):
    (tmp_path / "file").write_text("")
    code, out, error = run(f"mf --dataset tiny --output file/model {QUICK}")
    assert (code, error) == (2, f"workbench: --output file/model: {tmp_path / 'file'} is a file; name a folder.\n")
    assert "epoch" not in out


def test_settings_that_were_tuned_on_another_split_are_refused(run, home):
    assert main(["tune", "ease", "--dataset", "tiny", "--metric", "ndcg@5", "--budget", "1"]) == 0
    code, _, error = run("ease --dataset tiny --output model --tuned --split random")
    assert code == 2
    assert re.search(
        r"--tuned: ease was tuned on tiny@.*/user_time/.*, not on tiny@.*/random/.*: tune it there, or leave --tuned out\.$", error
    )
    assert run("ease --dataset tiny --output model --tuned")[0] == 0


TERMINATED = """
import os, signal, sys
import torch
from workbench.cli import main
from workbench.training.loop import Loop

torch.set_num_threads(1)
rate = Loop.rate

def told(loop, step):
    if step == 3:
        os.kill(os.getpid(), signal.SIGTERM)
    return rate(loop, step)

Loop.rate = told
sys.exit(main(sys.argv[1:]))
"""


def test_sigterm_is_no_success(tiny, home, tmp_path):
    """What a scheduler or `docker stop` sends; `train && use` must not go on."""
    tiny()
    command = "train mf --dataset tiny --output model --device cpu -p epochs=1000 -p batch_size=8 --checkpoints kept"
    done = subprocess.run([sys.executable, "-c", TERMINATED, *command.split()], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "model").exists()


def test_checkpoints_of_another_model_are_refused_and_damaged_ones_found(run, tmp_path):
    kept = tmp_path / "kept"
    assert run(f"mf --dataset tiny --output one {QUICK} --checkpoints kept")[0] == 0
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    code, _, error = run(f"sasrec --dataset tiny --output two {QUICK} --checkpoints kept")
    assert code == 2
    assert "kept holds checkpoints of another training: model is 'mf' there and 'sasrec' here" in error
    newest = sorted(kept.glob("*.ckpt"))[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    code, _, error = run(f"mf --dataset tiny --output three {QUICK} --checkpoints kept")
    assert code == 1
    assert f"{newest.name} is damaged: it hashes to" in error
    assert error.count("\n") == 1
    assert {path.name for path in kept.iterdir()} == set(before)
    assert not (tmp_path / "three").exists()
