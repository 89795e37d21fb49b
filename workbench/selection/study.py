"""The search for settings: an Optuna study in SQLite that goes on where it ended. The test part is never looked at here.

Only one process at a time has a study: it holds a lock that the operating system lets go of when the process dies. So whoever holds it
knows that a trial still running is a dead process's, and needs no heartbeat to tell.
"""

import contextlib
import datetime
import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
import sqlalchemy
import torch
from filelock import FileLock, Timeout
from optuna import Study, Trial
from optuna.trial import FrozenTrial, TrialState
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from workbench.data import Holdout, Side, Split
from workbench.errors import RequestError, WorkError
from workbench.evaluation import check_judged, check_maximised, evaluate, split_name
from workbench.models import Recommender, create, fit
from workbench.models.space import Choices, Range
from workbench.models.tuned import Tried, Tuned, read_tuned_file, write_tuned
from workbench.selection.question import Budget, Question, parse_budget
from workbench.training import Engine, Epoch
from workbench.training.judge import Judge

COMPARED = 5
"""Complete trials before one is pruned for being behind their median …"""
WARMUP = 3
"""… and the first epoch at which that may happen."""
ATTEMPTS = 2
"""Times that the same settings are tried when the process dies in the middle: they may be what it dies of."""
DIGITS = 4
"""Significant digits of a setting: enough for any model, and few enough to read."""
STATES: dict[TrialState, Literal["complete", "pruned", "failed"]] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


def tune(
    name: str,
    parts: Split,
    metric: str,
    budget: Budget | str,
    *,
    storage: Path,
    given: Mapping[str, Any] | None = None,
    engine: Engine | None = None,
    side: Side | None = None,
    seed: int = 0,
    command: str = "",
    told: Callable[[Tried], None] | None = None,
) -> Tuned:
    """Search for the settings of `name` that make `metric` best on validation, trained on the training part.

    storage: the study's database, a file `<model>.db`, made if need be. A study of the same question (model, validation part, metric,
    space, `given`) in it goes on. Beside it, in `<model>.toml`, stands the best so far with all that was tried; it is written whenever
    something better is found, and at the end, however that comes, but for when better settings stand there already.

    given: settings that are not searched, values or text. side: for a model that learns from features. seed: of the sampler; what is tried
    depends on it and on the trials before, not on how often the study was interrupted. command: what the record says was run. told: hears
    of each trial.

    The first trial has the default settings. A model that learns by gradient trains at most its `epochs` and with patience, and may be
    pruned; the best settings stop after the best epoch, because without a validation part nothing else ends training there.

    Raises RequestError for a wrong request, when another process has the study and when what stands in the file answers another question
    (another metric or validation part), NotApplicable when nobody can be judged on validation,
    WorkError when the database is damaged or no trial came to an end. KeyboardInterrupt ends the study after writing.
    """
    budget = parse_budget(budget) if isinstance(budget, str) else budget
    question = Question.of(name, metric, given)
    objective = _Objective(question, parts, engine or Engine(), side)
    earlier = _best_before(storage.with_suffix(".toml"), metric, objective.holdout.label)
    started = time.monotonic()
    with _held(storage), _opened(storage, question.study_name(objective.holdout.label)) as study:
        searching = _Search(study, objective, seed)
        searching.bury()

        def keep(best: FrozenTrial | None) -> None:
            if best and (best.value or 0.0) >= earlier:
                write_tuned(storage.with_suffix(".toml"), searching.tuned(best, command))

        try:
            while budget.allows(len(searching.finished()), time.monotonic() - started) and not searching.hopeless():
                tried = searching.step()
                if told:
                    told(tried)
                if (best := searching.best()) and best.number == tried.number:
                    keep(best)
        finally:
            keep(best := searching.best())
        if best is None:
            failed = searching.finished()
            raise WorkError(f"no trial of {name} came to an end; the last one: {failed[-1].user_attrs.get('why', 'pruned')}")
        return searching.tuned(best, command)


def _best_before(path: Path, metric: str, label: str) -> float:
    """The value of the settings that stand there, −∞ where none can be read: they may be of a study whose database is elsewhere."""
    try:
        found = read_tuned_file(path)
    except WorkError:
        return -math.inf
    if found is None:
        return -math.inf
    if (found.metric, found.found_on) != (metric, label):
        raise RequestError(
            f"{path.name} holds what was found for {found.metric} on {found.found_on}: "
            f"move it away before you tune for {metric} on {label}."
        )
    return found.value


class _Objective:
    """Settings in, the metric's mean on validation out."""

    def __init__(self, question: Question, parts: Split, engine: Engine, side: Side | None) -> None:
        """Raises as `tune` does for what can be known before training."""
        self.question, self.parts, self.engine, self.side = question, parts, engine, side
        self.holdout: Holdout = parts.holdout("valid")
        self.device = engine.chosen()
        self.k = split_name(question.metric)[1]
        check_maximised(question.metric, "to tune for", self.holdout)
        check_judged(self.holdout)
        if engine.devices * engine.num_nodes > 1:
            raise RequestError("a study trains in one process: give an engine with one device.")
        if question.learned:
            Judge.of(create(question.model, **question.shared), self.holdout, question.metric)

    @cached_property
    def fallback(self) -> Recommender:
        return create("popularity").fit(self.parts.train)

    def __call__(self, settings: dict[str, Any], trial: Trial) -> tuple[float, int]:
        """The mean over everyone, served by popularity where the model cannot; and the best epoch, 0 for a model that has none."""
        model: Any = create(self.question.model, **{**self.question.shared, **settings})
        engine = replace(self.engine, checkpoints=None, minutes=None, on_epoch=lambda epoch: _report(trial, epoch))
        fit(self.question.model, model, self.parts.train, self.holdout, engine=engine, side=self.side)
        device = self.device.name if self.question.learned else "cpu"
        found = evaluate(model, self.holdout, name=self.question.model, ks=(self.k,), fallback=self.fallback, device=device)
        return found.mean(self.question.metric), model.training.best_epoch if self.question.learned else 0


def _report(trial: Trial, epoch: Epoch) -> None:
    if epoch.value is not None:
        trial.report(epoch.value, epoch.number)
        if trial.should_prune():
            raise optuna.TrialPruned


class _Search:
    """One study in the hands of the process that holds its lock."""

    def __init__(self, study: Study, objective: _Objective, seed: int) -> None:
        self.study, self.objective, self.seed = study, objective, seed

    def bury(self) -> None:
        """Trials of dead processes have failed."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.study.tell(trial.number, state=TrialState.FAIL)

    def finished(self) -> list[FrozenTrial]:
        """Those that ended by themselves, in order."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if _ended(trial)]

    def hopeless(self) -> bool:
        """Whether it is not the settings that fail."""
        finished = self.finished()
        return len(finished) >= COMPARED and all(trial.state is TrialState.FAIL for trial in finished)

    def best(self) -> FrozenTrial | None:
        """The first of the best."""
        complete = [trial for trial in self.finished() if trial.state is TrialState.COMPLETE]
        return max(complete, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)

    def step(self) -> Tried:
        trial = self.begin()
        try:
            settings = {name: _suggest(trial, name, options, self.preset(trial)) for name, options in self.objective.question.space.items()}
            trial.set_user_attr("settings", settings)
            self.end(trial, settings)
        except BaseException:  # Ctrl-C too
            self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
            raise
        return _tried(self.finished()[-1])

    def begin(self) -> Trial:
        """The next trial, its random numbers those of its place in the study: one that takes over from a dead one draws the same."""
        place = len(self.finished())
        dead = 0
        for trial in reversed(self.study.get_trials(deepcopy=False)):
            if _ended(trial):
                break
            dead += trial.state is TrialState.FAIL
        words = np.random.SeedSequence((self.seed, place, max(0, dead + 1 - ATTEMPTS))).generate_state(1)
        self.study.sampler = optuna.samplers.TPESampler(seed=int(words[0]))
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if place == 0 and dead < ATTEMPTS and not waiting:
            question = self.objective.question
            inside = {name: value for name, value in question.defaults.items() if value in question.space[name]}
            self.study.enqueue_trial(inside, user_attrs={"default": True})
        return self.study.ask()

    def preset(self, trial: Trial) -> dict[str, Any]:
        return self.objective.question.defaults if trial.user_attrs.get("default") else {}

    def end(self, trial: Trial, settings: dict[str, Any]) -> None:
        """Train, judge, and write down how that went. A loss or a score that is no number is the settings' failure, not the study's."""
        start, value, state, why = time.perf_counter(), None, TrialState.COMPLETE, ""
        try:
            value, epoch = self.objective(settings, trial)
            trial.set_user_attr("epoch", epoch)
        except optuna.TrialPruned:
            state = TrialState.PRUNED
        except (WorkError, ValueError, LinAlgError, torch.OutOfMemoryError) as error:
            state, why = TrialState.FAIL, " ".join(str(error).splitlines())
        trial.set_user_attr("seconds", round(time.perf_counter() - start, 2))
        if state is TrialState.FAIL:
            trial.set_user_attr("why", why)
        self.study.tell(trial, value, state=state)

    def tuned(self, best: FrozenTrial, command: str) -> Tuned:
        question, tried = self.objective.question, [_tried(trial) for trial in self.finished()]
        default = next((trial for trial in self.finished() if trial.user_attrs.get("default")), None)
        ending = {"stop_after": best.user_attrs["epoch"], "patience": 0} if question.learned else {}
        shared = {name: value for name, value in question.shared.items() if name != "watch"}
        return Tuned(
            settings={**shared, **best.user_attrs["settings"], **ending},
            found_on=self.objective.holdout.label,
            metric=question.metric,
            value=best.value or 0.0,
            default_value=default.value if default and default.state is TrialState.COMPLETE else None,
            trials=len(tried),
            pruned=sum(trial.state == "pruned" for trial in tried),
            failed=sum(trial.state == "failed" for trial in tried),
            seconds=round(sum(trial.seconds for trial in tried), 1),
            date=datetime.datetime.now(datetime.UTC).date(),
            command=command,
            shared=question.shared,
            versions={name: version(name) for name in ("torch", "optuna")} | {"python": platform.python_version()},
            threads=self.objective.device.threads,
            tried=tuple(tried),
        )


def _ended(trial: FrozenTrial) -> bool:
    """By itself: one that failed says of what, or else its process died."""
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or (trial.state is TrialState.FAIL and "why" in trial.user_attrs)


def _tried(trial: FrozenTrial) -> Tried:
    known = trial.user_attrs
    return Tried(
        number=trial.number,
        state=STATES[trial.state],
        value=trial.value if trial.state is TrialState.COMPLETE else None,  # of a pruned one Optuna has the last epoch's
        seconds=known["seconds"],
        settings=known["settings"],
        why=known.get("why"),
    )


def _suggest(trial: Trial, name: str, options: Range | Choices, preset: Mapping[str, Any]) -> Any:
    """A value out of the options; a preset one outside of them is taken as it is, and the sampler does not hear of it."""
    if name in preset and preset[name] not in options:
        return preset[name]
    if isinstance(options, Choices):
        return trial.suggest_categorical(name, options.values)
    if isinstance(options.low, int) and isinstance(options.high, int):
        return trial.suggest_int(name, options.low, options.high, log=options.log)
    return float(f"{trial.suggest_float(name, options.low, options.high, log=options.log):.{DIGITS}g}")


@contextlib.contextmanager
def _held(storage: Path) -> Iterator[None]:
    """The right to the database, for this process alone. Raises RequestError when another one has it."""
    storage.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(storage.with_name(f"{storage.name}.lock"), blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise RequestError(f"another process is tuning {storage.stem} for {storage.parent.name}: wait until it is done.") from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)  # while it is held: filelock doesn't take a lock whose file has no name any more
        lock.release()


@contextlib.contextmanager
def _opened(storage: Path, name: str) -> Iterator[Study]:
    said = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    database = None
    try:
        database = optuna.storages.RDBStorage(f"sqlite:///{storage}")
        pruner = optuna.pruners.MedianPruner(n_startup_trials=COMPARED, n_warmup_steps=WARMUP)
        yield optuna.create_study(study_name=name, storage=database, direction="maximize", pruner=pruner, load_if_exists=True)
    except (sqlalchemy.exc.DatabaseError, optuna.exceptions.StorageInternalError) as error:
        why = " ".join(str(error.__cause__ or error).splitlines()[:1])
        raise WorkError(
            f"the study in {storage.name} cannot be read or written: {why}. If it is damaged, remove it to begin anew."
        ) from None
    finally:
        optuna.logging.set_verbosity(said)
        if database is not None:
            database.remove_session()
            database.engine.dispose()
