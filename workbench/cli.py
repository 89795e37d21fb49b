"""The console script `workbench`. Exit codes: 0 done, 1 the work failed, 2 the request was wrong, 130 interrupted."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from workbench import PROFILES, data_commands, promote_command, serving_commands, train_command, tune_command
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
    except Exception as error:
        if type(error).__module__ not in ("duckdb", "_duckdb") and not isinstance(error, OSError):
            raise
        print(f"workbench: the work failed: {' '.join(str(error).splitlines()[:1])}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("workbench: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="workbench", description="Research workbench for recommender systems.", allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    _add_data_commands(commands.add_parser("data", help="bring, prepare, list, describe and compare data sets"))

    run = commands.add_parser("run", help="one notebook into one report", allow_abbrev=False)
    run.add_argument("notebook", metavar="NOTEBOOK")
    run.add_argument(
        "-p", dest="parameters", metavar="name=value", action="append", default=[], help="a parameter of the notebook; repeatable"
    )
    _add_execution(run, "quick")
    run.set_defaults(command=_run)

    report = commands.add_parser("report", help="the whole suite, then the index", allow_abbrev=False)
    report.add_argument("--dataset", metavar="NAME", help="instead of the one the notebooks name")
    report.add_argument("--resume", action="store_true", help="re-use finished runs of which nothing that decides the result has changed")
    _add_execution(report, "full")
    report.set_defaults(command=_report)
    compare = commands.add_parser("compare", help="two runs, person by person", allow_abbrev=False)
    for which in ("a", "b"):
        compare.add_argument(
            which, metavar=f"RUN_{which.upper()}", help="its name or folder; RUN:MODEL for another than its verdict is about"
        )
    compare.add_argument("--metric", action="append", default=[], help="like ndcg@10; repeatable; default: all at the headline's cut-off")
    compare.set_defaults(command=_compare)
    train = commands.add_parser("train", help="one model, saved; in pieces where it takes long", allow_abbrev=False)
    train_command.add_options(train)
    train.set_defaults(command=lambda options: train_command.train(options, _pairs(options.settings)))
    tune = commands.add_parser("tune", help="search for a model's settings on validation; goes on where it ended", allow_abbrev=False)
    tune_command.add_options(tune)
    tune.set_defaults(command=lambda options: tune_command.tune(options, _pairs(options.settings)))
    _add_promotion(commands)
    return parser


def _add_promotion(commands: Any) -> None:
    promote = commands.add_parser("promote", help="a run's challenger, where the gates say so, as champion", allow_abbrev=False)
    promote_command.add_options(promote)
    promote.set_defaults(command=lambda options: promote_command.promote(options, _pairs(options.parameters)))
    rollback = commands.add_parser("rollback", help="the champion before this one is champion again", allow_abbrev=False)
    promote_command.add_surface(rollback)
    rollback.set_defaults(command=promote_command.rollback)
    registry = commands.add_parser("registry", help="champions and all versions before them", allow_abbrev=False)
    registry.add_argument("dataset", metavar="DATASET", nargs="?")
    registry.set_defaults(command=promote_command.show_registry)
    verify = commands.add_parser("verify", help="a bundle's files and answers, against what they were", allow_abbrev=False)
    serving_commands.add_verify_options(verify)
    verify.set_defaults(command=serving_commands.verify)
    score = commands.add_parser("score", help="a file of requests into a file of lists, by a bundle", allow_abbrev=False)
    serving_commands.add_score_options(score)
    score.set_defaults(command=serving_commands.score)


def _add_data_commands(parser: argparse.ArgumentParser) -> None:
    data = parser.add_subparsers(required=True, metavar="ACTION", parser_class=_Parser)
    listing = data.add_parser("list", help="the data sets that have a card")
    listing.set_defaults(command=data_commands.list_all)
    data_commands.add_options(data.add_parser("add", help="a file of your own: a card and a snapshot of it", allow_abbrev=False))
    prepare = data.add_parser("prepare", help="make the snapshot, or mend it", allow_abbrev=False)
    prepare.add_argument("name", metavar="NAME")
    data_commands.add_building(prepare)
    prepare.set_defaults(command=data_commands.prepare_one)
    for action, command, text in (
        ("describe", data_commands.describe, "what is in it"),
        ("versions", data_commands.list_versions, "its snapshots, oldest first"),
    ):
        sub = data.add_parser(action, help=text)
        sub.add_argument("name", metavar="NAME")
        sub.set_defaults(command=command)
    diff = data.add_parser("diff", help="what changed between two snapshots")
    diff.add_argument("before", metavar="A", help="name@hash, or a name for its current snapshot")
    diff.add_argument("after", metavar="B")
    diff.set_defaults(command=data_commands.diff)


def _add_execution(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("--profile", default=default, choices=PROFILES, help=f"default: {default}")
    parser.add_argument("--cell-timeout", type=int, metavar="SECONDS", help="how long one cell may take")


def _run(options: argparse.Namespace) -> int:
    from workbench.suite import run_one

    return run_one(options.notebook, _pairs(options.parameters), options.profile, _timeout(options))


def _report(options: argparse.Namespace) -> int:
    from workbench.suite import run_suite

    return run_suite(options.profile, options.dataset, _timeout(options), options.resume)


def _compare(options: argparse.Namespace) -> int:
    from workbench.reporting.compare_runs import compare_runs, describe_comparisons

    for line in describe_comparisons(compare_runs(options.a, options.b, options.metric)):
        print(line)
    return 0


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
