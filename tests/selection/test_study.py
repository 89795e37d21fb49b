"""A study goes on where it ended, looks at validation alone, and leaves a file that makes the model it found."""

import signal
import subprocess
import sys
from dataclasses import dataclass, replace

import optuna
import pytest
from filelock import FileLock

from tests.conftest import ROOT
from workbench.cli import main
from workbench.data import Holdout, Interactions, load_dataset
from workbench.errors import NotApplicable, RequestError, WorkError
from workbench.evaluation import evaluate
from workbench.models import create
from workbench.models.mf import Mf, MfConfig
from workbench.models.space import Range
from workbench.models.tuned import read_tuned, read_tuned_file, tuned_path, write_tuned
from workbench.selection import study
from workbench.selection.question import Budget, Question, parse_budget
from workbench.selection.study import tune
from workbench.testing import latent_log
from workbench.training import Engine, Epoch


@dataclass
class Parts:
    """What a study may touch of a split."""

    train: Interactions
    valid: Holdout

    def holdout(self, part: str) -> Holdout:
        assert part == "valid"
        return self.valid


@pytest.fixture(scope="module")
def parts():
    return Parts(*latent_log(n_users=60, n_items=40, events_each=15))


@pytest.fixture
def storage(home):
    return tuned_path("own", "ease").with_suffix(".db")


def settings_of(tuned):
    return [trial.settings for trial in tuned.tried]


@pytest.mark.parametrize(("text", "budget"), [("50", Budget(trials=50)), ("20m", Budget(minutes=20)), ("2h", Budget(minutes=120))])
def test_a_budget_is_a_number_of_trials_or_a_time(text, budget):
    assert parse_budget(text) == budget


@pytest.mark.parametrize("text", ["", "0", "-3", "ten", "5s", "1.5h", "0m", " 5", "5 m", "٣"])
def test_any_other_budget_is_refused_by_its_name(text):
    with pytest.raises(RequestError) as caught:
        parse_budget(text)
    assert str(caught.value) == f'budget = "{text}" should be a number of trials in all, like 50, or a time, like 20m or 2h.'


def test_a_budget_of_trials_counts_all_and_one_of_time_this_call():
    assert [Budget(trials=3).allows(n, 1e9) for n in (2, 3)] == [True, False]
    assert [Budget(minutes=2).allows(10**9, seconds) for seconds in (119.0, 120.0)] == [True, False]


def test_the_first_trial_is_the_defaults_and_the_best_makes_the_model_again(parts, storage):
    found = tune("ease", parts, "ndcg@10", "12", storage=storage, command="as typed")
    assert found == read_tuned("own", "ease")
    assert settings_of(found)[0] == {"l2": 250.0}
    assert found.default_value == found.tried[0].value
    assert found.value == max(trial.value for trial in found.tried) > found.default_value
    assert (found.trials, found.pruned, found.failed, found.command) == (12, 0, 0, "as typed")
    assert found.found_on == parts.valid.label
    again = evaluate(create("ease", tuned_for="own").fit(parts.train), parts.valid, ks=(10,))
    assert again.mean("ndcg@10") == found.value


def test_a_seed_decides_what_is_tried_and_so_does_no_interruption(parts, storage, tmp_path):
    whole = tune("ease", parts, "ndcg@10", "12", storage=tmp_path / "a" / "ease.db")
    for budget in ("3", "3", "11", "12"):
        pieces = tune("ease", parts, "ndcg@10", budget, storage=storage)
    assert settings_of(pieces) == settings_of(whole)
    assert len({str(settings) for settings in settings_of(whole)}) == 12, "a call that goes on draws nothing twice"
    other = tune("ease", parts, "ndcg@10", "2", storage=tmp_path / "b" / "ease.db", seed=1)
    assert settings_of(other)[0] == settings_of(whole)[0]
    assert settings_of(other)[1] != settings_of(whole)[1]


def test_another_question_is_another_study(parts, storage):
    """In one database, where every question finds its own again."""

    def asked(where, metric, budget, **said):
        storage.with_suffix(".toml").unlink(missing_ok=True)
        return tune("item_knn", where, metric, budget, storage=storage, **said)

    asked(parts, "ndcg@10", "3")
    assert asked(parts, "recall@10", "1").trials == 1
    assert asked(parts, "ndcg@10", "1", given={"shrink": "5"}).settings == {"shrink": 5.0, "k": 100}
    elsewhere = Parts(parts.train, replace(parts.valid, label="another"))
    assert asked(elsewhere, "ndcg@10", "1").found_on == "another"
    assert asked(parts, "ndcg@10", "3").trials == 3


def test_only_validation_is_looked_at(tiny, home):
    tiny()
    whole = load_dataset("tiny").split()

    class Sealed:
        def __getattr__(self, name):
            raise AssertionError(f"the test part was touched: {name}")

    sealed = replace(whole, test=Sealed())
    with pytest.raises(AssertionError, match="was touched"):
        sealed.holdout("test")
    found = tune("rp3beta", sealed, "ndcg@5", "2", storage=tuned_path("tiny", "rp3beta").with_suffix(".db"))
    assert found.found_on == whole.holdout("valid").label
    assert not whole.looks()


KILLED = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from workbench.selection import study
from workbench.testing import latent_log

train, valid = latent_log(n_users=60, n_items=40, events_each=15)
judge, calls = study.evaluate, []

def slow(*arguments, **options):
    calls.append(1)
    if len(calls) == 3:
        print("in the third", flush=True)
        time.sleep(600)
    return judge(*arguments, **options)

study.evaluate = slow
study.tune("ease", SimpleNamespace(train=train, holdout=lambda part: valid), "ndcg@10", "5", storage=Path(sys.argv[1]))
"""


def test_after_a_kill_the_study_goes_on_without_the_trial_that_died(parts, storage, tmp_path):
    with subprocess.Popen([sys.executable, "-c", KILLED, str(storage)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "in the third\n"
        with pytest.raises(RequestError, match="another process is tuning ease for own: wait until it is done"):
            tune("ease", parts, "ndcg@10", "5", storage=storage)
        process.send_signal(signal.SIGKILL)
    assert len(read_tuned("own", "ease").tried) >= 1, "the best so far was on disk"
    found = tune("ease", parts, "ndcg@10", "5", storage=storage)
    assert [trial.number for trial in found.tried] == [0, 1, 3, 4, 5], "the third had number 2"
    assert (found.trials, found.failed) == (5, 0)
    undisturbed = tune("ease", parts, "ndcg@10", "5", storage=tmp_path / "own" / "ease.db")
    assert settings_of(found) == settings_of(undisturbed)


def test_settings_that_kill_the_process_are_tried_twice_and_no_more(parts, storage, monkeypatch):
    asked = []

    def dies(model, *arguments, **options):
        asked.append(model.config.l2)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(study, "evaluate", dies)
        for _ in range(4):
            with pytest.raises(KeyboardInterrupt):
                tune("ease", parts, "ndcg@10", "5", storage=storage)
    assert asked[:2] == [250.0, 250.0]
    assert len(set(asked)) == 3
    assert read_tuned("own", "ease") is None
    assert tune("ease", parts, "ndcg@10", "2", storage=storage).default_value is None


def test_two_at_once_is_one_too_many(parts, storage):
    storage.parent.mkdir(parents=True)
    with FileLock(f"{storage}.lock"), pytest.raises(RequestError, match="another process is tuning ease for own: wait until it is done"):
        tune("ease", parts, "ndcg@10", "1", storage=storage)
    tune("ease", parts, "ndcg@10", "1", storage=storage)
    assert sorted(path.name for path in storage.parent.iterdir()) == ["ease.db", "ease.toml"]


def test_a_damaged_database_is_named(parts, storage):
    storage.parent.mkdir(parents=True)
    storage.write_bytes(b"no database at all" * 1000)
    with pytest.raises(WorkError, match=r"the study in ease\.db cannot be read or written: .* If it is damaged, remove it to begin anew\."):
        tune("ease", parts, "ndcg@10", "1", storage=storage)


def test_better_settings_that_stand_there_stay(parts, storage):
    """Shipped ones come without their database, so a study begins anew with the defaults."""
    better = tune("ease", parts, "ndcg@10", "12", storage=storage)
    assert better.value > better.default_value
    written = storage.with_suffix(".toml").read_text()
    storage.unlink()
    assert tune("ease", parts, "ndcg@10", "1", storage=storage).value == better.default_value
    assert storage.with_suffix(".toml").read_text() == written
    again = tune("ease", parts, "ndcg@10", "12", storage=storage, command="again")
    assert again.settings == better.settings
    assert read_tuned_file(storage.with_suffix(".toml")) == again, "as good, and newer"


def test_settings_for_another_question_are_not_overwritten(parts, storage):
    tune("ease", parts, "ndcg@10", "1", storage=storage)
    written = storage.with_suffix(".toml").read_text()
    with pytest.raises(
        RequestError, match=r"ease\.toml holds what was found for ndcg@10 on .*: move it away before you tune for recall@5 on "
    ):
        tune("ease", parts, "recall@5", "1", storage=storage)
    assert storage.with_suffix(".toml").read_text() == written


def test_a_damaged_file_is_replaced(parts, storage):
    storage.parent.mkdir(parents=True)
    storage.with_suffix(".toml").write_text("[settings")
    found = tune("ease", parts, "ndcg@10", "1", storage=storage)
    assert read_tuned_file(storage.with_suffix(".toml")) == found


@pytest.mark.parametrize("metric", ["diversity@5", "mean_popularity@5"])
def test_what_is_not_to_be_maximised_or_needs_vectors_is_refused(metric):
    with pytest.raises(RequestError, match=f'no metric to tune for "{metric[:-2]}"'):
        Question.of("ease", metric)


def test_graded_gains_need_grades(parts, storage):
    with pytest.raises(NotApplicable, match=r"ndcg_linear@5 to tune for needs more than one grade of relevance"):
        tune("ease", parts, "ndcg_linear@5", "1", storage=storage)


def test_a_model_that_learns_is_pruned_and_trains_as_long_as_its_best_epoch(parts, home, monkeypatch):
    monkeypatch.setitem(Mf.space, "weight_decay", Range(0.5, 3.0))
    told = []
    path = tuned_path("own", "mf").with_suffix(".db")
    given = {"epochs": "5", "batch_size": "64", "dimensions": 8}
    found = tune("mf", parts, "ndcg@10", "9", storage=path, given=given, told=told.append)
    assert tuple(told) == found.tried
    assert found.pruned >= 1
    pruned = [trial for trial in found.tried if trial.state == "pruned"]
    assert all(trial.value is None for trial in pruned)
    assert found.shared == {"epochs": 5, "patience": 5, "batch_size": 64, "dimensions": 8, "watch": "ndcg@10"}
    assert found.settings["patience"] == 0
    assert found.settings["epochs"] == 5, "the schedule of the learning rate stays what it was"
    assert 1 <= found.settings["stop_after"] <= 5
    assert found.tried[0].settings["weight_decay"] == MfConfig().weight_decay < 0.5, "outside of the space, and tried all the same"
    again = create("mf", tuned_for="own").fit(parts.train)
    judged = evaluate(again, parts.valid, ks=(10,), fallback=create("popularity").fit(parts.train))
    assert judged.mean("ndcg@10") == found.value


def test_what_an_epochs_hearer_raises_ends_training_and_arrives(parts):
    heard: list[Epoch] = []

    def hear(epoch):
        heard.append(epoch)
        if epoch.number == 2:
            raise optuna.TrialPruned

    with pytest.raises(optuna.TrialPruned):
        create("mf", epochs=5).fit(parts.train, parts.valid, Engine(on_epoch=hear))
    assert [epoch.number for epoch in heard] == [1, 2]
    assert all(epoch.value is not None for epoch in heard)


def test_settings_that_fail_are_written_down_and_the_study_goes_on(parts, storage, monkeypatch):
    judge, calls = study.evaluate, []

    def sometimes(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise WorkError("the loss is nan\nin epoch 3.")
        return judge(*arguments, **options)

    monkeypatch.setattr(study, "evaluate", sometimes)
    found = tune("ease", parts, "ndcg@10", "3", storage=storage)
    assert [trial.state for trial in found.tried] == ["complete", "failed", "complete"]
    assert found.tried[1].why == "the loss is nan in epoch 3."
    assert (found.trials, found.failed) == (3, 1)


def test_where_every_trial_fails_the_study_gives_up(parts, storage, monkeypatch):
    def never(*arguments, **options):
        raise WorkError("it is broken.")

    monkeypatch.setattr(study, "evaluate", never)
    with pytest.raises(WorkError, match=r"no trial of ease came to an end; the last one: it is broken\."):
        tune("ease", parts, "ndcg@10", "2h", storage=storage)
    assert not storage.with_suffix(".toml").exists()


def test_a_question_takes_text_as_typed():
    question = Question.of("mf", "ndcg@10", {"epochs": "3", "loss": "bce"})
    assert question.shared == {"epochs": 3, "patience": 5, "loss": "bce", "watch": "ndcg@10"}
    assert "loss" not in question.space


def test_the_command_says_what_it_tried_and_where_the_best_is(tiny, home, capsys, monkeypatch):
    tiny()
    monkeypatch.chdir(home)
    command = "tune item_knn --dataset tiny --metric ndcg@5 -p shrink=1 --budget"
    assert main([*command.split(), "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 3
    assert lines[0].startswith("   0  0.")
    assert "  k = 100  " in lines[0]
    assert lines[2].startswith("best: ndcg@5 0.")
    assert lines[3].startswith("2 trials, 0 pruned, 0 failed, ")
    assert lines[4] == "datasets/tuned/tiny/item_knn.toml"
    found = read_tuned("tiny", "item_knn")
    assert found.command == "workbench tune item_knn --dataset tiny --budget 2 --metric ndcg@5 -p shrink=1"
    assert found.settings["shrink"] == 1.0


def test_the_command_says_so_when_better_settings_stand_there(tiny, home, capsys):
    tiny()
    command = ["tune", "item_knn", "--dataset", "tiny", "--metric", "ndcg@5", "--budget", "1"]
    assert main(command) == 0
    path = tuned_path("tiny", "item_knn")
    found = read_tuned("tiny", "item_knn")
    write_tuned(path, replace(found, value=0.99))
    path.with_suffix(".db").unlink()
    capsys.readouterr()
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"reached ndcg@5 {found.value:.4f}, less than what stands there already:"
    assert lines[2].startswith("best: ndcg@5 0.9900 on validation")


def test_ctrl_c_writes_the_best_so_far_and_is_130(tiny, home, capsys, monkeypatch):
    tiny()
    judge, calls = study.evaluate, []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return judge(*arguments, **options)

    monkeypatch.setattr(study, "evaluate", interrupted)
    command = ["tune", "item_knn", "--dataset", "tiny", "--metric", "ndcg@5", "--budget", "4"]
    assert main(command) == 130
    said = capsys.readouterr()
    assert said.err == "workbench: interrupted\n"
    assert len(said.out.splitlines()) == 2 + 3
    assert read_tuned("tiny", "item_knn").trials == 2
    assert main(command) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + 3
    assert read_tuned("tiny", "item_knn").trials == 4
