"""A bar for whoever watches, which is gone afterwards, and nothing for anybody else."""

import sys

import pytest

from tests.training.made import Line, train_line
from workbench.training import Engine, Epoch
from workbench.training.progress import Progress, is_watched


def test_it_tells_of_each_epoch_and_clears_up(capsys):
    progress = Progress("MF", "ndcg@10", shown=True)
    progress.begin(epochs=5, done=1)
    progress.bar.mininterval = 0  # draw at once
    best = Epoch(number=2, loss=1.5, seconds=1.0, value=0.7)
    progress.show(best, best)
    progress.show(Epoch(number=3, loss=1.25, seconds=2.0), best)
    progress.show(Epoch(number=4, loss=1.125, seconds=3.0, value=0.6), best)
    out, err = capsys.readouterr()
    assert out == ""
    first, second, third = (line for line in err.split("\r") if "loss" in line)
    assert "2/5" in first
    assert "loss=1.5000, ndcg@10=0.7000, best=0.7000 in epoch 2" in first
    assert "loss=1.2500]" in second.rstrip()
    assert "loss=1.1250, ndcg@10=0.6000, best=0.7000 in epoch 2" in third
    progress.end()
    progress.end()
    assert capsys.readouterr().err.endswith("\r")  # the line is gone


def test_unwatched_there_is_nothing_at_all(capfd):
    train_line(Line(), Engine(device="cpu", progress=False))
    assert tuple(capfd.readouterr()) == ("", "")


def test_the_bar_is_closed_when_training_fails(capsys):
    def spoil(step: int) -> float:
        raise KeyError

    with pytest.raises(KeyError):
        train_line(Line(spoil=spoil), Engine(device="cpu", progress=True))
    assert capsys.readouterr().err.endswith("\r")


@pytest.mark.parametrize(("terminal", "notebook", "watched"), [(True, False, True), (False, True, True), (False, False, False)])
def test_who_watches(monkeypatch, terminal, notebook, watched):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    if notebook:
        monkeypatch.setenv("JPY_SESSION_NAME", "/some/notebook.ipynb")
    assert is_watched() == watched
