"""`workbench tune`: its options and what it prints."""

import argparse
import os
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.models.tuned import Tried


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--dataset", metavar="NAME", required=True, help="a card in datasets/")
    parser.add_argument(
        "--budget", metavar="B", required=True, help="trials of the study in all, like 50; or the time of this call, like 20m or 2h"
    )
    parser.add_argument("--split", metavar="NAME", default="default", help="default: the one that the card recommends")
    parser.add_argument("--seed", type=int, metavar="N", default=0, help="of the split and of the search; default: 0")
    parser.add_argument("--metric", default="ndcg@10", help="what decides, on validation; default: ndcg@10")
    parser.add_argument("-p", dest="settings", metavar="setting=value", action="append", default=[], help="not to be searched; repeatable")


def tune(options: argparse.Namespace, given: Mapping[str, str]) -> int:
    """given: the settings of `-p`. Raises RequestError for a wrong request before anything is read or written."""
    from workbench.data import load_dataset, side_information
    from workbench.evaluation import split_name
    from workbench.models.tuned import tuned_path
    from workbench.parameters import check_ranges
    from workbench.selection import study
    from workbench.selection.question import Question, parse_budget

    budget = parse_budget(options.budget)
    Question.of(options.model, options.metric, given)
    asked = {"dataset": options.dataset, "split": options.split, "seed": options.seed, "k": split_name(options.metric)[1]}
    check_ranges(asked, set(asked))
    written = tuned_path(options.dataset, options.model)
    data = load_dataset(options.dataset)
    parts = data.split(options.split, seed=options.seed)
    complete = []

    def told(trial: "Tried") -> None:
        complete.extend([trial] if trial.state == "complete" else [])
        print(_line(trial), flush=True)

    try:
        found = study.tune(
            options.model,
            parts,
            options.metric,
            budget,
            storage=written.with_suffix(".db"),
            given=given,
            side=side_information(data),
            seed=options.seed,
            command=_command(options),
            told=told,
        )
    except KeyboardInterrupt:
        if complete:
            _print_best(options)
        raise
    _print_best(options, found.value)
    return 0


def _line(trial: "Tried") -> str:
    settings = ", ".join(f"{name} = {value}" for name, value in trial.settings.items())
    value = trial.state if trial.value is None else f"{trial.value:.4f}"
    return f"{trial.number:4}  {value:8}  {settings}  {trial.seconds:.1f} s{f'  {trial.why}' if trial.why else ''}"


def _print_best(options: argparse.Namespace, reached: float | None = None) -> None:
    """What stands in the file, which may be better than what this study reached."""
    from workbench.models.tuned import read_tuned, tuned_path

    found = read_tuned(options.dataset, options.model)
    assert found is not None, "written before"
    if reached is not None and reached < found.value:
        print(f"reached {found.metric} {reached:.4f}, less than what stands there already:")
    settings = ", ".join(f"{name} = {value}" for name, value in found.settings.items())
    default = "failed" if found.default_value is None else f"{found.default_value:.4f}"
    print(f"best: {found.metric} {found.value:.4f} on validation, with {settings}; the defaults: {default}")
    print(f"{found.trials} trials, {found.pruned} pruned, {found.failed} failed, {found.seconds:.0f} s in all")
    print(os.path.relpath(tuned_path(options.dataset, options.model)))


def _command(options: argparse.Namespace) -> str:
    words = ["workbench", "tune", options.model, "--dataset", options.dataset, "--budget", options.budget]
    for name, default in (("split", "default"), ("seed", 0), ("metric", "ndcg@10")):
        if (value := getattr(options, name)) != default:
            words += [f"--{name}", str(value)]
    for setting in options.settings:
        words += ["-p", setting]
    return shlex.join(words)
