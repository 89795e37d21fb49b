"""`workbench promote`, `rollback` and `registry`: their options and what they print."""

import argparse
import os
from collections.abc import Mapping

from workbench.errors import RequestError, WorkError

PAGE = "07_promotion"
SURFACE = "home_feed"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run",
        metavar="RUN",
        help="its name or folder: of 07_promotion, or of 02, 03 or 06, whose choice is then judged by 07_promotion first",
    )
    parser.add_argument("-p", dest="parameters", metavar="name=value", action="append", default=[], help="of 07_promotion; repeatable")
    parser.add_argument("--surface", metavar="NAME", help=f"where its lists are to appear; default: {SURFACE}, or what the run says")
    parser.add_argument("--allow-dirty", action="store_true", help="although the code has changes that are in no commit")


def add_surface(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("--surface", metavar="NAME", default=SURFACE, help=f"default: {SURFACE}")


def promote(options: argparse.Namespace, given: Mapping[str, str]) -> int:
    """Exit code 1 when the gates say no: nothing is registered."""
    from workbench.promote_run import challenger_of, promote_run, run_folder
    from workbench.runner import run

    folder, told = run_folder(options.run)
    surface = {"surface": options.surface} if options.surface else {}
    if told["notebook"] != PAGE:
        parameters = {**challenger_of(folder, told, options.run), **surface, **given}
        done = run(PAGE, parameters, "quick")
        from workbench.reporting.index import build_index

        build_index()
        print(f"{PAGE}: {os.path.relpath(done.folder / 'report.html')}")
        if not done.succeeded:
            raise WorkError(f"{PAGE} did not succeed: {done.record['error']}")
        folder, told = done.folder, done.record
    elif ":" in options.run or given or (options.surface and options.surface != told["parameters"]["surface"]):
        raise RequestError(f"{options.run} is decided about as it is: a model, -p and --surface are for other runs.")
    version = promote_run(folder, told, allow_dirty=options.allow_dirty)
    print(f"{version.dataset}/{version.surface}: version {version.number} is champion\n{os.path.relpath(version.folder)}")
    return 0


def rollback(options: argparse.Namespace) -> int:
    from workbench.serving.registry import Registry, bundles_of, there_is_one

    bundles_of(options.dataset, options.surface)  # both may be the names of folders
    if not there_is_one():
        raise RequestError(f"{options.dataset}/{options.surface} has no champion: nothing was promoted yet.")
    version = Registry().rollback(options.dataset, options.surface)
    print(f"{version.dataset}/{version.surface}: version {version.number} is champion again\n{os.path.relpath(version.folder)}")
    return 0


def show_registry(options: argparse.Namespace) -> int:
    from workbench.serving.registry import Registry, there_is_one

    if not there_is_one():
        print("nothing was promoted yet")
        return 0
    registry = Registry()
    found = [each for each in registry.surfaces() if options.dataset in (None, each[0])]
    print(f"registry: {registry.uri}")
    for dataset, surface in found:
        print(f"{dataset}/{surface}")
        for version in registry.versions(dataset, surface):
            print(f"  {version.text}")
    if not found:
        print("nothing was promoted yet")
    return 0
