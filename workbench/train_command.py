"""`workbench train`: its options and what it prints."""

import argparse
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import RequestError

if TYPE_CHECKING:
    from workbench.training import Epoch


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--dataset", metavar="NAME", required=True, help="a card in datasets/")
    parser.add_argument("--output", metavar="FOLDER", type=Path, required=True, help="where the model goes; made if need be")
    parser.add_argument("--split", metavar="NAME", default="default", help="default: the one that the card recommends")
    parser.add_argument("--seed", type=int, metavar="N", default=0, help="of the split; default: 0")
    parser.add_argument("--tuned", action="store_true", help="with the settings that `workbench tune` found for this data set")
    parser.add_argument("-p", dest="settings", metavar="setting=value", action="append", default=[], help="of the model; repeatable")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--precision", default="auto", help="auto, 32 or bf16")
    parser.add_argument("--threads", type=int, metavar="N", default=0, help="of the CPU; default: what torch takes")
    parser.add_argument("--checkpoints", metavar="FOLDER", type=Path, help="the state after each epoch; goes on from what is there")
    parser.add_argument("--minutes", type=float, metavar="M", help="stop at the end of an epoch, to go on from its checkpoint another time")


def train(options: argparse.Namespace, given: Mapping[str, str]) -> int:
    """given: the settings of `-p`. Raises RequestError for a wrong request before anything is written."""
    from workbench.data import load_dataset, side_information
    from workbench.models import create, fit, learns
    from workbench.parameters import check_ranges
    from workbench.training import Engine

    model: Any = create(options.model, tuned_for=options.dataset if options.tuned else None, **given)
    check_ranges({"dataset": options.dataset, "split": options.split, "seed": options.seed}, {"dataset", "split", "seed"})
    _check_output(options.output)
    if options.minutes is not None and not 0 < options.minutes < math.inf:
        raise RequestError(f"--minutes {options.minutes:g} should be a time above 0.")
    if not learns(options.model) and (options.checkpoints or options.minutes):
        raise RequestError(f"{options.model} is trained in one go: it takes neither --checkpoints nor --minutes.")
    engine = Engine(
        device=options.device,
        precision=options.precision,
        threads=options.threads,
        checkpoints=options.checkpoints,
        minutes=options.minutes,
        on_epoch=_print_epoch,
    )
    print(f"device: {engine.chosen().name}, {engine.chosen().threads} threads ({engine.chosen().reason})")
    data = load_dataset(options.dataset)
    parts = data.split(options.split, seed=options.seed)
    if options.tuned:
        _check_tuned(options, parts.holdout("valid").label)
    fit(options.model, model, parts.train, parts.holdout("valid"), engine=engine, side=side_information(data))
    if learns(options.model):
        if not model.training.finished:
            print(f"{len(model.training.curve)} of {model.config.last_epoch} epochs: call again to go on")
            return 0
        print(f"best: {model.training.watch} {model.training.best:.4f} on validation, in epoch {model.training.best_epoch}")
    model.save(options.output)
    print(options.output)
    return 0


def _check_output(folder: Path) -> None:
    """What would stop the model from being written after hours."""
    if (folder / "model.json").exists():
        raise RequestError(f"--output {folder} holds a model already; choose another folder.")
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise RequestError(f"--output {folder}: {there} is a file; name a folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RequestError(f"--output {folder}: nothing can be written in {there}; choose another folder.")


def _check_tuned(options: argparse.Namespace, label: str) -> None:
    """On another split, the validation part that settings were chosen on may be what this one tests on."""
    from workbench.models import read_tuned

    found = read_tuned(options.dataset, options.model)
    if found is not None and found.found_on != label:
        raise RequestError(f"--tuned: {options.model} was tuned on {found.found_on}, not on {label}: tune it there, or leave --tuned out.")


def _print_epoch(epoch: "Epoch") -> None:
    value = "" if epoch.value is None else f"  {epoch.value:.4f} on validation"
    print(f"epoch {epoch.number:4}  loss {epoch.loss:.4f}{value}  {epoch.seconds:.0f} s", flush=True)
