"""One notebook, or all of them in the order in which they need one another, with what a person at a terminal wants to read."""

import os
from collections.abc import Mapping

from workbench.errors import WorkError
from workbench.parameters import load_plans
from workbench.reporting.index import build_index
from workbench.runner import CELL_TIMEOUT, Run, notebook_parameters, resolve_parameters, run


def run_one(notebook: str, given: Mapping[str, str], profile: str, cell_timeout: int | None) -> int:
    """Exit code 0 when the run succeeded, 1 when not; the report exists either way."""
    try:
        done = run(notebook, given, profile, cell_timeout or CELL_TIMEOUT)
    except KeyboardInterrupt:
        build_index()
        raise
    build_index()
    _tell(done)
    return 0 if done.succeeded else 1


def run_suite(profile: str, dataset: str | None, cell_timeout: int | None, resume: bool = False) -> int:
    """Every notebook of notebooks/profiles.toml; one whose needs failed is left out. All parameters are checked before the first starts.

    With `resume`, a notebook that has a finished run which nothing would change is not run again.
    """
    plans = load_plans()
    if not plans:
        raise WorkError("notebooks/profiles.toml names no notebook.")
    given = {name: {"dataset": dataset} if dataset and "dataset" in notebook_parameters(name) else {} for name in plans}
    for name in plans:
        resolve_parameters(name, given[name], profile)
    failed: set[str] = set()
    try:
        for name, plan in plans.items():
            if blockers := failed & set(plan.needs):
                print(f"{name}: left out, because {', '.join(sorted(blockers))} did not succeed")
                failed.add(name)
                continue
            done = run(name, given[name], profile, cell_timeout or CELL_TIMEOUT, resume)
            _tell(done)
            if not done.succeeded:
                failed.add(name)
    finally:
        index = build_index()
    print(f"\n{os.path.relpath(index)}")
    return 1 if failed else 0


def _tell(done: Run) -> None:
    record = done.record
    said = record["verdict"]["headline"] if done.succeeded else f"{record['status']}: {record['error']}"
    how = f": re-used {record['run_id']}" if done.reused else f" ({record['duration_s']:.0f} s): {said}"
    print(f"{record['notebook']}{how}\n  {os.path.relpath(done.folder / 'report.html')}")
