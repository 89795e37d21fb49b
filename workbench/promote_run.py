"""From a run's record to the registry: whether the run may be promoted, and what another notebook's run would promote."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit

from workbench.data import load_dataset
from workbench.environment import code_state, packages_hash
from workbench.errors import RequestError, WorkError, unknown
from workbench.policy import BASE, Policy, parse_steps, policies_to_try, policy_of
from workbench.promotion.page import BUNDLE, DECISION
from workbench.reporting.compare_runs import check_file, found_run, hashes_of
from workbench.serving import Bundle
from workbench.serving.registry import Registry, Version
from workbench.serving.verify import verify_bundle


def run_folder(text: str) -> tuple[Path, dict[str, Any]]:
    """A run and its record, "RUN" or "RUN:MODEL". Raises RequestError where there is none, or it did not succeed."""
    folder, run = found_run(text.partition(":")[0])
    if run["status"] != "succeeded":
        raise RequestError(f"{folder.name} ({run['notebook']}) {run['status']}: there is nothing to promote.")
    return folder, run


def challenger_of(folder: Path, run: Mapping[str, Any], asked: str) -> dict[str, Any]:
    """Parameters of 07_promotion for what another notebook's run chose, or for RUN:MODEL. Raises RequestError where it chose nothing that
    can be promoted.
    """
    told, chosen = run["parameters"], asked.partition(":")[2] or run.get("chosen")
    if not chosen:
        raise RequestError(f"{folder.name} ({run['notebook']}) chose nothing: name one, {folder.name}:MODEL.")
    shared = {name: told[name] for name in ("dataset", "split", "refit", "seed") if name in told}
    match run["notebook"]:
        case "02_retrieval":
            return {
                **shared,
                "retriever": chosen,
                "tuned": told["tuned"],
                "epochs": told["epochs"],
                "candidates": told["candidates"],
            }
        case "03_ranking":
            return {**shared, **_ranking(told, chosen, folder)}
        case "06_reranking":
            policy = {} if chosen == BASE else {"policy": policy_toml(_policy(told, chosen))}
            return {**shared, "retriever": told["model"], "candidates": told["candidates"], **policy}
    raise RequestError(
        f"{folder.name} is a run of {run['notebook']}: runs of 02_retrieval, 03_ranking, 06_reranking and 07_promotion are promoted."
    )


def _ranking(told: Mapping[str, Any], chosen: str, folder: Path) -> dict[str, Any]:
    if told["features"] != "all" or told["sensitive"]:
        raise RequestError(f"{folder.name} learnt from features of its own choice, and 07_promotion knows all but sensitive ones alone.")
    names = [name.strip() for name in told["sources"].split(",")]
    if chosen in names:
        return {"retriever": chosen}
    together = {"retriever": told["sources"], "candidates": told["candidates"], "epochs": told["epochs"], "periods": told["periods"]}
    return together if chosen == "blend" else {**together, "ranker": chosen}


def _policy(told: Mapping[str, Any], chosen: str) -> Policy:
    from workbench.policy import Facts

    data = load_dataset(told["dataset"])
    by = (
        Facts.of(data, data.split(told["split"], seed=told["seed"]).holdout("valid")).first_grouping()
        if told["by"] == "auto"
        else told["by"]
    )
    own = policy_of(told["policy"]) if told["policy"] else None
    known = policies_to_try(parse_steps(told["steps"]), by, told["group"], told["seed"], own)
    if chosen not in known:
        raise unknown("policy of this run", chosen, known)
    return known[chosen]


def policy_toml(policy: Policy) -> str:
    """The policy as `policy_of` reads it."""
    steps = tomlkit.aot()
    for step in policy.steps:
        table = tomlkit.table()
        for name, value in step.model_dump(exclude_defaults=True).items():
            table.add(name, list(value) if isinstance(value, tuple) else value)
        steps.append(table)
    return tomlkit.dumps({"step": steps})


def promote_run(folder: Path, run: Mapping[str, Any], *, allow_dirty: bool) -> Version:
    """The run's bundle as the new champion.

    Raises RequestError where the data, code or packages are not those of the run any more, where its code was in no commit and that is not
    allowed, and where another was promoted in the meantime; WorkError where the gates say no, where a file was changed, and where the
    bundle does not answer as it did. Nothing is registered then.
    """
    decision = _decision(folder, run)
    _check_same(run, allow_dirty)
    if decision["state"] != "pass":
        raise WorkError(f"{folder.name} is not promoted. {decision['headline']}")
    bundle = Bundle.open(folder / BUNDLE)
    for name, found in verify_bundle(bundle).items():
        if not found.holds:
            raise WorkError(f"{folder.name} is not promoted: its bundle does not answer as it did (golden requests, {name}): {found.text}.")
    registry = Registry()
    dataset, surface = decision["dataset"], decision["surface"]
    again = f"Run {run['notebook']} again, and promote that run."
    registry.check_rival(dataset, surface, decision["replaces"], again)
    tags = {
        "run": run["run_id"],
        "report": f"reports/{run['notebook']}/{run['run_id']}/report.html",
        "system": decision["system"],
        "snapshot": run["dataset"]["snapshot"],
        "commit": str(run["code"]["commit"]),
        "dirty": str(run["code"]["diff_hash"] is not None).lower(),
        "gates": decision["gates"],
        "rival": decision["rival"],
        "mlflow_run": registry.log_run(run, dataset, surface),
    }
    return registry.promote(folder / BUNDLE, dataset, surface, tags, replaces=decision["replaces"], lookup=again)


def _decision(folder: Path, run: Mapping[str, Any]) -> dict[str, Any]:
    """Raises WorkError for a file that is not as the run wrote it, RequestError where there is no decision."""
    hashes = hashes_of(run)
    if DECISION not in hashes:
        why = run["verdict"]["headline"] if run["verdict"] else "it has none"
        raise RequestError(f"{folder.name} holds no decision to promote by: {why}")
    for name, expected in hashes.items():
        if name == DECISION or name.startswith(f"{BUNDLE}/"):
            if not (folder / name).is_file():
                raise WorkError(f"{folder.name}: {name} is lost, and run.json names it.")
            check_file(folder / name, expected, f"{folder.name}: {name}")
    found: dict[str, Any] = json.loads((folder / DECISION).read_text(encoding="utf-8"))
    return found


def _check_same(run: Mapping[str, Any], allow_dirty: bool) -> None:
    """Data, code and packages are those of the run."""
    name = run["run_id"]
    snapshot = load_dataset(run["dataset"]["name"]).snapshot.id
    if snapshot != run["dataset"]["snapshot"]:
        raise RequestError(f"{name} judged {run['dataset']['snapshot']}, and the data are {snapshot} now: run it again.")
    if run["code"]["diff_hash"] is not None and not allow_dirty:
        raise RequestError(f"{name} ran code with changes that are in no commit: commit them and run it again, or pass --allow-dirty.")
    now = code_state()
    for what in ("commit", "diff_hash"):
        if run["code"][what] != now[what]:
            told = {"commit": "at commit", "diff_hash": "with changes"}[what]
            raise RequestError(f"{name} ran {told} {run['code'][what]}, and the code is {told} {now[what]} now: run it again.")
    if run["environment"]["packages_hash"] != (packages := packages_hash()):
        raise RequestError(f"{name} ran with packages {run['environment']['packages_hash']}, and they are {packages} now: run it again.")
