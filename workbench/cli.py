"""The console script `workbench`. Exit codes: 0 done, 1 the work failed, 2 the request was wrong, 130 interrupted."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from workbench import PROFILES
from workbench.errors import RequestError, WorkError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{message}. See `{self.prog} --help`.")


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        options = _parser().parse_args(arguments)
        return int(options.command(options))
    except (RequestError, WorkError) as error:
        print(f"workbench: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("workbench: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="workbench", description="Research workbench for recommender systems.", allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    data = commands.add_parser("data", help="list, prepare or describe data sets").add_subparsers(required=True, metavar="ACTION")
    listing = data.add_parser("list", help="the data sets that have a card")
    listing.set_defaults(command=_data_list)
    for action, command, text in (
        ("prepare", _data_prepare, "make the snapshot, or mend it"),
        ("describe", _data_describe, "what is in it"),
    ):
        sub = data.add_parser(action, help=text)
        sub.add_argument("name", metavar="NAME")
        sub.set_defaults(command=command)

    run = commands.add_parser("run", help="one notebook into one report", allow_abbrev=False)
    run.add_argument("notebook", metavar="NOTEBOOK")
    run.add_argument(
        "-p", dest="parameters", metavar="name=value", action="append", default=[], help="a parameter of the notebook; repeatable"
    )
    _add_execution(run, "quick")
    run.set_defaults(command=_run)

    report = commands.add_parser("report", help="the whole suite, then the index", allow_abbrev=False)
    report.add_argument("--dataset", metavar="NAME", help="instead of the one the notebooks name")
    _add_execution(report, "full")
    report.set_defaults(command=_report)
    return parser


def _add_execution(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("--profile", default=default, choices=PROFILES, help=f"default: {default}")
    parser.add_argument("--cell-timeout", type=int, metavar="SECONDS", help="how long one cell may take")


def _data_list(_: argparse.Namespace) -> int:
    from workbench.data import list_cards, load_card

    for name in list_cards():
        print(f"{name:20} {load_card(name).title}")
    return 0


def _data_prepare(options: argparse.Namespace) -> int:
    from workbench.data import prepare

    snapshot = prepare(options.name)
    print(f"{snapshot.id}  {snapshot.origin['events']:,} events  {os.path.relpath(snapshot.folder)}")
    return 0


def _data_describe(options: argparse.Namespace) -> int:
    from workbench.data import load_dataset

    data = load_dataset(options.name)
    print(f"{data.card.title}, {data.snapshot.id}")
    for _, (fact, value) in data.describe().iterrows():
        print(f"  {fact:52} {value}")
    return 0


def _run(options: argparse.Namespace) -> int:
    from workbench.suite import run_one

    return run_one(options.notebook, _pairs(options.parameters), options.profile, _timeout(options))


def _report(options: argparse.Namespace) -> int:
    from workbench.suite import run_suite

    return run_suite(options.profile, options.dataset, _timeout(options))


def _timeout(options: argparse.Namespace) -> int | None:
    if options.cell_timeout is not None and options.cell_timeout < 1:
        raise RequestError(f"--cell-timeout {options.cell_timeout} should be at least 1.")
    return options.cell_timeout  # type: ignore[no-any-return]


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise RequestError(f'-p "{text}" should be name=value.')
        if name in pairs:
            raise RequestError(f"-p {name} is given twice.")
        pairs[name] = value
    return pairs


if __name__ == "__main__":
    sys.exit(main())
