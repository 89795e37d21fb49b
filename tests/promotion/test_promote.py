"""From a run to the registry: what another notebook's run would promote, and every reason for which nothing is promoted."""

import json
import re
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from tests.reporting.test_html import RUN
from workbench import promote_run as promote
from workbench.cli import main
from workbench.errors import RequestError, WorkError
from workbench.policy import BASE, Policy, make_policy, policies_to_try, policy_of
from workbench.promote_run import challenger_of, policy_toml, promote_run, run_folder
from workbench.reporting.record import write_run
from workbench.serving import manifest
from workbench.serving.verify import Parity

NAME = RUN["run_id"]
RETRIEVAL = {
    "dataset": "own",
    "k": 10,
    "models": "ease, mf",
    "split": "user_time",
    "refit": "train+valid",
    "tuned": True,
    "trainings": 3,
    "epochs": 7,
    "candidates": 50,
    "seed": 3,
}
RANKING = {
    "dataset": "own",
    "k": 10,
    "sources": "popularity, ease",
    "candidates": 60,
    "rankers": "trees",
    "features": "all",
    "sensitive": "",
    "split": "default",
    "refit": "train+valid",
    "periods": 2,
    "epochs": 4,
    "seed": 5,
}
RERANKING = {
    "dataset": "own",
    "k": 10,
    "model": "ease",
    "candidates": 80,
    "steps": "mmr, cap, floor",
    "by": "genre",
    "group": "popularity: tail",
    "policy": "",
    "split": "default",
    "refit": "train",
    "seed": 0,
}


def made(notebook, parameters, chosen):
    return {"notebook": notebook, "parameters": parameters, "chosen": chosen}


def challenger(notebook, parameters, chosen, asked=NAME):
    return challenger_of(Path(NAME), made(notebook, parameters, chosen), asked)


def parameters_of(notebook):
    cells = nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", as_version=4).cells
    (cell,) = (each for each in cells if "parameters" in each.metadata.get("tags", []))
    return set(re.findall(r"^(\w+):", cell.source, re.MULTILINE))


def test_the_runs_that_these_tests_make_have_parameters_of_the_notebooks():
    for notebook, told in (("02_retrieval", RETRIEVAL), ("03_ranking", RANKING), ("06_reranking", RERANKING)):
        assert set(told) <= parameters_of(notebook), notebook


def test_a_retriever_is_promoted_as_it_was_chosen():
    shared = {"dataset": "own", "split": "user_time", "refit": "train+valid", "seed": 3, "tuned": True, "epochs": 7}
    found = challenger("02_retrieval", RETRIEVAL, "ease")
    assert found == {**shared, "retriever": "ease", "candidates": 50}
    assert set(found) <= parameters_of("07_promotion")
    assert challenger("02_retrieval", {**RETRIEVAL, "candidates": 300}, "ease")["candidates"] == 300


def test_another_model_of_the_run_is_promoted_by_its_name():
    assert challenger("02_retrieval", RETRIEVAL, "ease", asked=f"{NAME}:mf")["retriever"] == "mf"
    assert challenger("02_retrieval", RETRIEVAL, None, asked=f"{NAME}:mf")["retriever"] == "mf"


def test_a_model_whose_name_holds_a_colon_can_be_named(home):
    folder = home / "reports" / "02_retrieval" / NAME
    folder.mkdir(parents=True)
    write_run(folder, {**RUN, "parameters": RETRIEVAL})
    asked = f"{NAME}:recbole:LightGCN"
    found, run = run_folder(asked)
    assert challenger_of(found, run, asked)["retriever"] == "recbole:LightGCN"


RANKED = {"dataset": "own", "split": "default", "refit": "train+valid", "seed": 5}


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("trees", {"retriever": "popularity, ease", "candidates": 60, "epochs": 4, "periods": 2, "ranker": "trees"}),
        ("blend", {"retriever": "popularity, ease", "candidates": 60, "epochs": 4, "periods": 2}),
        ("ease", {"retriever": "ease"}),
    ],
)
def test_of_a_ranking_a_ranker_a_source_or_the_blend_is_promoted(chosen, expected):
    found = challenger("03_ranking", RANKING, chosen)
    assert found == {**RANKED, **expected}
    assert set(found) <= parameters_of("07_promotion")


@pytest.mark.parametrize("change", [{"features": "retrieval, item"}, {"sensitive": "gender"}])
@pytest.mark.parametrize("chosen", ["trees", "blend"])
def test_features_that_were_chosen_by_hand_are_refused(change, chosen):
    with pytest.raises(RequestError, match=rf"^{NAME} learnt from features of its own choice"):
        challenger("03_ranking", {**RANKING, **change}, chosen)


def test_lists_as_they_were_ranked_are_promoted_without_a_policy(monkeypatch):
    found = challenger("06_reranking", RERANKING, BASE)
    assert found == {"dataset": "own", "split": "default", "refit": "train", "seed": 0, "retriever": "ease", "candidates": 80}
    assert set(found) <= parameters_of("07_promotion")


@pytest.mark.parametrize("chosen", ["MMR, relevance 0.7", "at most 4 of a genre", "tail (popularity) in 10% of places at least"])
def test_the_policy_that_was_chosen_is_promoted_as_text(monkeypatch, chosen):
    monkeypatch.setattr(promote, "load_dataset", lambda name: None)
    found = challenger("06_reranking", RERANKING, chosen)
    assert set(found) == {"dataset", "split", "refit", "seed", "retriever", "candidates", "policy"} <= parameters_of("07_promotion")
    policy = policy_of(found["policy"])
    assert policy.text == chosen
    assert policy == policies_to_try(["mmr", "cap", "floor"], "genre", "popularity: tail", 0)[chosen]


def test_a_policy_of_ones_own_is_promoted_as_it_was(monkeypatch):
    monkeypatch.setattr(promote, "load_dataset", lambda name: None)
    text = '[[step]]\nkind = "block"\nitems = ["a", "b"]\n[[step]]\nkind = "dpp"\nlikeness = 0.5\nname = "variety"\n'
    found = challenger("06_reranking", {**RERANKING, "policy": text}, "own policy")
    assert policy_of(found["policy"]) == policy_of(text)


def test_what_items_were_grouped_by_is_found_again(tiny):
    tiny()
    told = {**RERANKING, "dataset": "tiny", "by": "auto"}
    assert policy_of(challenger("06_reranking", told, "at most 4 of a popularity")["policy"]).steps[0].by == "popularity"


def test_a_policy_that_was_not_tried_is_refused(monkeypatch):
    monkeypatch.setattr(promote, "load_dataset", lambda name: None)
    with pytest.raises(RequestError, match="MMR"):
        challenger("06_reranking", RERANKING, BASE, asked=f"{NAME}:MMR")


@pytest.mark.parametrize("notebook", ["01_data_audit", "04_cold_start", "05_fairness"])
def test_other_notebooks_choose_nothing_that_can_be_promoted(notebook):
    with pytest.raises(RequestError, match=rf"^{NAME} is a run of {notebook}: runs of 02_retrieval, 03_ranking, 06_reranking and 07"):
        challenger(notebook, {"dataset": "own"}, "ease")
    with pytest.raises(RequestError, match=rf"^{NAME} \({notebook}\) chose nothing: name one, {NAME}:MODEL\.$"):
        challenger(notebook, {"dataset": "own"}, None)


STEPS = [
    {"kind": "block", "items": ["a", 'b"', "c\\", "ü\n界", ""]},
    {"kind": "require", "column": "genre", "among": ["war", "sci-fi"]},
    {"kind": "require", "column": "year", "at_least": 1950},
    {"kind": "require", "column": "year", "at_most": -0.5, "empty": "allow"},
    {"kind": "require", "column": "year", "at_least": 0, "at_most": 1e300},
    {"kind": "available", "at": 5, "since": "from"},
    {"kind": "available", "at": 1.5, "until": "to"},
    {"kind": "available", "at": "2026-03-29", "since": "from", "until": "to"},
    {"kind": "unseen"},
    {"kind": "unseen", "name": "not again"},
    {"kind": "cap", "by": "genre", "most": 2},
    {"kind": "once", "by": "series"},
    {"kind": "mmr"},
    {"kind": "mmr", "weight": 0.0},
    {"kind": "mmr", "weight": 1.0},
    {"kind": "mmr", "weight": 1 / 3},
    {"kind": "dpp", "weight": 0.5, "likeness": 0.0},
    {"kind": "calibrate", "by": "genre", "weight": 1e-12},
    {"kind": "floor", "by": "popularity", "group": "tail", "share": 0.1},
    {"kind": "randomise", "share": 0.05, "seed": 0},
    {"kind": "randomise", "share": 0.05, "seed": 2**63 - 1},
]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step["kind"])
def test_a_step_of_any_kind_is_read_as_it_was_written(step):
    policy = make_policy([step])
    assert policy_of(policy_toml(policy)) == policy


def test_a_policy_of_many_steps_keeps_their_order():
    policy = make_policy([STEPS[0], STEPS[1], STEPS[8], STEPS[10], STEPS[12], STEPS[15]])
    assert policy_of(policy_toml(policy)) == policy


def test_a_date_as_toml_has_it_is_read_again():
    policy = policy_of('[[step]]\nkind = "available"\nat = 2026-03-29T12:00:00Z\nsince = "from"\n')
    assert policy_of(policy_toml(policy)) == policy


TEXT = st.text(min_size=1).filter(lambda text: max(text) < "\ud800" or min(text) > "\udfff")


@settings(max_examples=40)
@given(name=TEXT, column=TEXT, among=st.lists(TEXT, min_size=1, max_size=3), weight=st.floats(0, 1))
def test_any_text_and_any_weight_survive(name, column, among, weight):
    policy = make_policy(
        [{"kind": "require", "column": column, "among": among, "name": name}, {"kind": "calibrate", "by": column, "weight": weight}]
    )
    assert policy_of(policy_toml(policy)) == policy


def test_a_policy_without_steps_is_read_as_one():
    assert policy_of(policy_toml(Policy(()))) == Policy(())


SNAPSHOT, COMMIT, PACKAGES = "own@0123456789ab", "a" * 40, "b" * 12


class Recorded:
    """A registry that only writes down what it is asked to do."""

    def __init__(self, calls) -> None:
        self.calls = calls

    def log_run(self, run, *of):
        self.calls.append(("log", run["run_id"], *of))
        return "mlflow1"

    def check_rival(self, *of):
        """Nobody was promoted in the meantime."""

    def promote(self, bundle, *of, replaces, lookup):
        self.calls.append(("promote", bundle, of, replaces, lookup))
        return "version"


@pytest.fixture
def ready(tmp_path, monkeypatch):
    """A run of 07_promotion in a folder that may be promoted: `folder`, `run`, and `calls` of the registry."""
    folder = tmp_path / NAME
    (folder / "bundle").mkdir(parents=True)
    (folder / "bundle" / "README.md").write_text("card")
    told = {name: {} for name in manifest.FACTS} | {
        "schema": 1,
        "sha256": {"README.md": manifest.sha256_of(folder / "bundle" / "README.md")},
    }
    (folder / "bundle" / "manifest.json").write_text(json.dumps(told))
    run = {**deepcopy(RUN), "notebook": "07_promotion", "dataset": {"name": "own", "snapshot": SNAPSHOT}}
    calls, parity = [], Parity(requests=1, largest_absolute=0, largest_relative=0, identical=1, up_to_ties=1)
    monkeypatch.setattr(promote, "load_dataset", lambda name: SimpleNamespace(snapshot=SimpleNamespace(id=SNAPSHOT)))
    monkeypatch.setattr(promote, "code_state", lambda: {"commit": COMMIT, "diff_hash": None})
    monkeypatch.setattr(promote, "packages_hash", lambda: PACKAGES)
    monkeypatch.setattr(promote, "verify_bundle", lambda bundle: {"one by one": parity, "1 together": parity})
    monkeypatch.setattr(promote.Bundle, "open", staticmethod(lambda folder: manifest.check_files(folder, manifest.read_manifest(folder))))
    monkeypatch.setattr(promote, "Registry", lambda: Recorded(calls))
    found = SimpleNamespace(folder=folder, run=run, calls=calls)
    decide(found)
    return found


def decide(ready, state="pass", **told):
    """Write the decision, and into the record what is in the folder now."""
    decision = {"state": state, "headline": f"It is a {state}.", "dataset": "own", "surface": "home", "replaces": 3, "system": "ease"}
    (ready.folder / "decision.json").write_text(json.dumps({**decision, "gates": "c" * 12, "rival": "mf", **told}))
    files = [path for path in ready.folder.rglob("*") if path.is_file()]
    ready.run["artifacts"] = [{"path": path.relative_to(ready.folder).as_posix(), "sha256": manifest.sha256_of(path)} for path in files]


def refused(ready, error, allow_dirty=False):
    with pytest.raises(error) as told:
        promote_run(ready.folder, ready.run, allow_dirty=allow_dirty)
    assert ready.calls == [], "nothing is registered"
    said = str(told.value)
    assert said.count("\n") == 0
    return said


def test_what_may_be_promoted_is_registered_with_where_it_came_from(ready, monkeypatch):
    told = {}
    monkeypatch.setattr(
        Recorded, "promote", lambda self, bundle, dataset, surface, tags, **how: told.update(tags=tags, of=(dataset, surface), how=how)
    )
    promote_run(ready.folder, ready.run, allow_dirty=False)
    assert ready.calls == [("log", NAME, "own", "home")]
    assert told["of"] == ("own", "home")
    assert told["how"] == {"replaces": 3, "lookup": "Run 07_promotion again, and promote that run."}
    assert told["tags"] == {
        "run": NAME,
        "report": f"reports/07_promotion/{NAME}/report.html",
        "system": "ease",
        "snapshot": SNAPSHOT,
        "commit": COMMIT,
        "dirty": "false",
        "gates": "c" * 12,
        "rival": "mf",
        "mlflow_run": "mlflow1",
    }


@pytest.mark.parametrize("state", ["fail", "unknown"])
def test_what_the_gates_do_not_let_pass_is_not_promoted(ready, state):
    decide(ready, state)
    assert refused(ready, WorkError) == f"{NAME} is not promoted. It is a {state}."


def test_data_that_changed_since_are_named_both(ready, monkeypatch):
    monkeypatch.setattr(promote, "load_dataset", lambda name: SimpleNamespace(snapshot=SimpleNamespace(id="own@ffffffffffff")))
    assert refused(ready, RequestError) == f"{NAME} judged {SNAPSHOT}, and the data are own@ffffffffffff now: run it again."


@pytest.mark.parametrize("allowed", [False, True])
def test_another_commit_is_named_and_allowed_to_nobody(ready, monkeypatch, allowed):
    monkeypatch.setattr(promote, "code_state", lambda: {"commit": "f" * 40, "diff_hash": None})
    assert (
        refused(ready, RequestError, allowed) == f"{NAME} ran at commit {COMMIT}, and the code is at commit {'f' * 40} now: run it again."
    )


def test_other_packages_are_named(ready, monkeypatch):
    monkeypatch.setattr(promote, "packages_hash", lambda: "f" * 12)
    assert refused(ready, RequestError) == f"{NAME} ran with packages {PACKAGES}, and they are {'f' * 12} now: run it again."


def test_code_that_is_in_no_commit_is_refused_unless_that_is_allowed(ready, monkeypatch):
    ready.run["code"]["diff_hash"] = "d" * 12
    monkeypatch.setattr(promote, "code_state", lambda: {"commit": COMMIT, "diff_hash": "d" * 12})
    said = refused(ready, RequestError)
    assert said == f"{NAME} ran code with changes that are in no commit: commit them and run it again, or pass --allow-dirty."
    told = {}
    monkeypatch.setattr(Recorded, "promote", lambda self, *of, **how: told.update(of[3]))
    promote_run(ready.folder, ready.run, allow_dirty=True)
    assert told["dirty"] == "true"


@pytest.mark.parametrize(("ran", "now"), [(None, "d" * 12), ("d" * 12, None), ("d" * 12, "e" * 12)])
def test_changes_that_are_others_now_are_refused_whatever_is_allowed(ready, monkeypatch, ran, now):
    ready.run["code"]["diff_hash"] = ran
    monkeypatch.setattr(promote, "code_state", lambda: {"commit": COMMIT, "diff_hash": now})
    said = refused(ready, RequestError, allow_dirty=True)
    assert said == f"{NAME} ran with changes {ran}, and the code is with changes {now} now: run it again."


@pytest.mark.parametrize("name", ["decision.json", "bundle/README.md", "bundle/manifest.json"])
def test_a_file_that_was_changed_or_lost_since_the_run_is_named(ready, name):
    path = ready.folder / name
    expected = manifest.sha256_of(path)
    path.write_text(path.read_text() + " ")
    said = refused(ready, WorkError)
    assert said == f"{NAME}: {name} is damaged: it hashes to {manifest.sha256_of(path)[:12]}…, run.json says {expected[:12]}…."
    path.unlink()
    assert refused(ready, WorkError) == f"{NAME}: {name} is lost, and run.json names it."


def test_a_decision_that_was_written_by_hand_is_no_decision(ready):
    """A failed one made to pass, and one put beside a run that made none."""
    decide(ready, "fail")
    path = ready.folder / "decision.json"
    path.write_text(path.read_text().replace('"fail"', '"pass"'))
    assert "decision.json is damaged" in refused(ready, WorkError)
    ready.run["artifacts"] = [each for each in ready.run["artifacts"] if each["path"] != "decision.json"]
    assert refused(ready, RequestError) == f"{NAME} holds no decision to promote by: A beats B."
    ready.run["verdict"] = None
    assert refused(ready, RequestError) == f"{NAME} holds no decision to promote by: it has none"


def test_a_file_that_was_put_into_the_bundle_is_found(ready):
    (ready.folder / "bundle" / "more.json").write_text("{}")
    assert "holds more.json, which manifest.json does not name" in refused(ready, WorkError)


def test_a_bundle_that_does_not_answer_as_it_did_is_not_promoted(ready, monkeypatch):
    broken = Parity(requests=2, largest_absolute=0, largest_relative=0, identical=1, up_to_ties=1)
    holds = Parity(requests=2, largest_absolute=0, largest_relative=0, identical=2, up_to_ties=2)
    monkeypatch.setattr(promote, "verify_bundle", lambda bundle: {"one by one": holds, "2 together": broken})
    said = refused(ready, WorkError)
    assert said == f"{NAME} is not promoted: its bundle does not answer as it did (golden requests, 2 together): {broken.text}."


def test_a_run_that_did_not_succeed_and_one_that_cannot_be_read_are_no_runs(home):
    folder = home / "reports" / "07_promotion" / NAME
    folder.mkdir(parents=True)
    write_run(folder, {**RUN, "notebook": "07_promotion", "status": "failed", "error": "oh", "verdict": None})
    with pytest.raises(RequestError, match=rf"^{NAME} \(07_promotion\) failed: there is nothing to promote\.$"):
        run_folder(NAME)
    (folder / "run.json").write_text("{")
    with pytest.raises(WorkError, match=rf"^{NAME}: its run\.json cannot be read: "):
        run_folder(NAME)
    (folder / "run.json").unlink()
    with pytest.raises(WorkError, match=rf"^{NAME}: its run\.json cannot be read: "):
        run_folder(str(folder))


@pytest.fixture
def typed(home, tmp_path, monkeypatch, capsys):
    """`typed("verify nowhere")`: the exit code, and the one line that was said."""
    monkeypatch.chdir(tmp_path)

    def command(text):
        code = main(text.split())
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
        return code, said.err

    return command


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("verify nowhere", "nowhere holds no bundle: it has no manifest.json."),
        ("verify", "the following arguments are required: BUNDLE"),
        ("score nowhere --input x.csv --output y.csv", "nowhere holds no bundle: it has no manifest.json."),
        ("score nowhere --input x --output y", "nowhere holds no bundle: it has no manifest.json."),
        ("score nowhere --output y.csv", "the following arguments are required: --input"),
        ("score nowhere --input x.csv --output y.csv -k many", "argument -k: invalid int value: 'many'"),
        ("promote nothing", 'there is no run "nothing": write the name of a folder in reports/<notebook>/, or its path.'),
        ("promote nothing:ease", 'there is no run "nothing"'),
        ("promote ../../etc", 'there is no run "../../etc"'),
        (f"promote {NAME}", f'there is no run "{NAME}"'),
        ("promote nothing -p k", '-p "k" should be name=value.'),
        ("promote", "the following arguments are required: RUN"),
        ("rollback", "the following arguments are required: DATASET"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_code_2(typed, home, text, line):
    before = sorted(home.rglob("*"))
    code, said = typed(text)
    assert code == 2
    assert said.startswith(f"workbench: {line}"), said
    assert sorted(home.rglob("*")) == before


def a_run(home, notebook, **told):
    folder = home / "reports" / notebook / NAME
    folder.mkdir(parents=True)
    write_run(folder, {**RUN, "notebook": notebook, **told})
    return folder


def test_a_decided_run_is_not_promoted_otherwise_than_as_it_was_decided(typed, home):
    a_run(home, "07_promotion", parameters={"surface": "home_feed"})
    for asked in (f"{NAME} -p seed=1", f"{NAME} --surface mail", f"{NAME}:ease"):
        told = f"{asked.split()[0]} is decided about as it is: a model, -p and --surface are for other runs."
        assert typed(f"promote {asked}") == (2, f"workbench: {told}\n")


def test_a_run_without_a_decision_is_not_promoted(typed, home):
    a_run(home, "07_promotion", parameters={"surface": "home_feed"}, artifacts=[])
    assert typed(f"promote {NAME} --surface home_feed") == (2, f"workbench: {NAME} holds no decision to promote by: A beats B.\n")


def test_a_choice_out_of_a_small_catalogue_can_be_promoted(tiny, home):
    from workbench.parameters import check_against_data

    tiny()
    from workbench.data import load_dataset

    load_dataset("tiny")
    told = challenger("02_retrieval", {**RETRIEVAL, "dataset": "tiny", "split": "default", "candidates": 12}, "ease")
    check_against_data(told, set(told))
