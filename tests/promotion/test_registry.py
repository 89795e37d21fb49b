"""Champions, and who was before: promoted, taken back, refused, stopped at any step, and all at once."""

import itertools
import json
import logging
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.cli import main
from workbench.errors import RequestError, WorkError
from workbench.paths import home
from workbench.serving import manifest, registry
from workbench.serving.registry import CHAMPION, INTERRUPTED, PREVIOUS, READY, WITHDRAWN, WRITING, Registry, bundles_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # MLflow's own, of what it is made of


SURFACES = itertools.count()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One for all of these tests, because making its database takes seconds; each has a surface of its own."""
    root = tmp_path_factory.mktemp("shared")
    levels = {name: logging.getLogger(name).level for name in ("mlflow", "alembic")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_HOME", str(root))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield root, Registry()
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def own(shared, monkeypatch):
    """The registry, which opens bundles by their hashes alone: they are fakes."""
    root, found = shared
    monkeypatch.setenv("WORKBENCH_HOME", str(root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(registry.Bundle, "open", staticmethod(_opened))
    return found


@pytest.fixture
def of():
    """A data set and a surface that no other test has."""
    return "own", f"s{next(SURFACES)}"


def _opened(folder):
    told = manifest.read_manifest(folder)
    manifest.check_files(folder, told)
    return told


def made(folder: Path, text: str) -> Path:
    """A bundle of one file."""
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(text, encoding="utf-8")
    told = {name: {} for name in manifest.FACTS} | {
        "schema": 1,
        "name": text,
        "sha256": {"README.md": manifest.sha256_of(folder / "README.md")},
    }
    (folder / manifest.MANIFEST).write_text(json.dumps(told), encoding="utf-8")
    return folder


@pytest.fixture
def bundle(tmp_path):
    """`bundle("a")`: the folder of a fake bundle that says so."""
    return lambda text: made(tmp_path / "made" / text, text)


def facts(found: Registry, of):
    """By number: its state and its aliases."""
    return {each.number: (each.state, set(each.aliases)) for each in found.versions(*of)}


def check_sound(found: Registry, of, champion: int | None = None):
    """At most one champion, its bundle whole, `previous` is whom it replaced, and whatever is called ready is there."""
    versions = found.versions(*of)
    champions = [each for each in versions if CHAMPION in each.aliases]
    assert len(champions) <= 1
    for each in champions:
        each.open()
        assert each.state == READY
        previous = [other.number for other in versions if PREVIOUS in other.aliases]
        assert previous == ([int(each.tags["replaces"])] if each.tags["replaces"] else [])
    for each in versions:
        if each.state in (READY, WITHDRAWN):
            each.open()
        assert each.state != WRITING
    if champion:
        assert [each.number for each in champions] == [champion]


def test_nothing_is_champion_before_the_first_promotion(own, of):
    assert own.versions(*of) == []
    assert own.champion(*of) is None
    assert of not in own.surfaces()
    with pytest.raises(RequestError, match=rf"^{'/'.join(of)} has no champion: nothing was promoted yet\.$"):
        own.rollback(*of)


def test_the_commands_say_so_in_one_line(own, of, bundle, capsys):
    dataset, surface = "nothing", of[1]
    assert main(["rollback", dataset, "--surface", surface]) == 2
    assert capsys.readouterr().err == f"workbench: nothing/{surface} has no champion: nothing was promoted yet.\n"
    assert main(["rollback", "../x"]) == 2
    assert capsys.readouterr().err.startswith('workbench: "../x" cannot be the name of a data set: ')
    assert main(["registry", dataset]) == 0
    assert capsys.readouterr().out == f"registry: {own.uri}\nnothing was promoted yet\n"


def test_the_commands_tell_who_is_champion(own, of, bundle, capsys):
    of = ("told", of[1])
    for text in "ab":
        own.promote(bundle(text), *of, {"system": text, "run": "r", "snapshot": "s"})
    assert main(["registry", "told"]) == 0
    lines = [
        f"registry: {own.uri}",
        "/".join(of),
        "  version 1 [previous]  ready  a  run r  s",
        "  version 2 [champion]  ready  b  run r  s",
    ]
    assert capsys.readouterr().out.splitlines() == lines
    assert main(["rollback", of[0], "--surface", of[1]]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"{'/'.join(of)}: version 1 is champion again"
    assert main(["rollback", of[0], "--surface", of[1]]) == 2
    assert "version 1 replaced nobody" in capsys.readouterr().err


def test_the_first_is_champion_and_the_second_leaves_it_behind(own, of, bundle):
    first = own.promote(bundle("a"), *of, {"system": "ease", "run": "r1", "snapshot": "own@1"}, replaces=None)
    assert (first.number, first.state, first.aliases) == (1, READY, (CHAMPION,))
    assert first.folder == home() / "reports" / "bundles" / of[0] / of[1] / "1"
    assert first.open()["name"] == "a"
    assert first.text == "version 1 [champion]  ready  ease  run r1  own@1"
    second = own.promote(bundle("b"), *of, {"system": "mf"}, replaces=1)
    assert (second.number, second.aliases, second.tags["replaces"]) == (2, (CHAMPION,), "1")
    assert facts(own, of) == {1: (READY, {PREVIOUS}), 2: (READY, {CHAMPION})}
    assert own.champion(*of).open()["name"] == "b"
    assert of in own.surfaces()
    check_sound(own, of, 2)


def test_surfaces_and_data_sets_have_champions_of_their_own(own, of, bundle):
    a = bundle("a")
    three = [("another", of[1]), ("another", f"{of[1]}x"), of]
    for each in reversed(three):
        assert own.promote(a, *each, {}, replaces=None).number == 1
    assert [each for each in own.surfaces() if each in three] == three
    assert len({str(own.champion(*each).folder) for each in three}) == 3


def test_what_was_promoted_is_a_copy(own, of, bundle):
    folder = bundle("a")
    version = own.promote(folder, *of, {})
    shutil.rmtree(folder)
    assert version.open()["name"] == "a"


def test_back_is_to_whom_the_champion_replaced_until_there_is_nobody(own, of, bundle):
    for text in "abc":
        own.promote(bundle(text), *of, {})
    assert own.rollback(*of).number == 2
    assert facts(own, of) == {1: (READY, {PREVIOUS}), 2: (READY, {CHAMPION}), 3: (WITHDRAWN, set())}
    back = own.rollback(*of)
    assert (back.number, back.open()["name"]) == (1, "a")
    assert facts(own, of) == {1: (READY, {CHAMPION}), 2: (WITHDRAWN, set()), 3: (WITHDRAWN, set())}
    assert {each.tags["withdrawn"][:2] for each in own.versions(*of) if each.state == WITHDRAWN} == {"20"}
    before = facts(own, of)
    with pytest.raises(RequestError, match=rf"^{'/'.join(of)}: version 1 replaced nobody, so there is nothing to go back to\.$"):
        own.rollback(*of)
    assert facts(own, of) == before


def test_after_going_back_the_next_one_replaces_whom_was_gone_back_to(own, of, bundle):
    for text in "ab":
        own.promote(bundle(text), *of, {})
    own.rollback(*of)
    third = own.promote(bundle("c"), *of, {}, replaces=1)
    assert (third.number, third.tags["replaces"]) == (3, "1")
    check_sound(own, of, 3)
    assert own.rollback(*of).number == 1
    check_sound(own, of, 1)


def test_no_way_back_to_a_bundle_that_was_changed(own, of, bundle):
    for text in "ab":
        own.promote(bundle(text), *of, {})
    path = own.versions(*of)[0].folder / manifest.MANIFEST
    expected = manifest.sha256_of(path)
    path.write_text(path.read_text() + "\n")
    before = facts(own, of)
    with pytest.raises(WorkError) as refused:
        own.rollback(*of)
    said = str(refused.value)
    assert said.startswith(f"{'/'.join(of)}, version 1, is damaged: manifest.json hashes to ")
    assert manifest.sha256_of(path)[:12] in said
    assert expected[:12] in said
    assert facts(own, of) == before
    shutil.rmtree(path.parent)
    with pytest.raises(WorkError, match=rf"^{'/'.join(of)}, version 1: its bundle is not at "):
        own.rollback(*of)
    assert facts(own, of) == before


def test_no_way_back_to_a_bundle_one_file_of_which_was_changed(own, of, bundle):
    for text in "ab":
        own.promote(bundle(text), *of, {})
    (own.versions(*of)[0].folder / "README.md").write_text("other")
    before = facts(own, of)
    with pytest.raises(WorkError, match=r"1 is damaged: README.md hashes to "):
        own.rollback(*of)
    assert facts(own, of) == before


@pytest.mark.parametrize(
    ("promoted", "replaces", "what"),
    [
        (0, 1, "the champion is nobody, and the challenger was held against version 1."),
        (1, None, "the champion is version 1, and the challenger was held against a baseline."),
        (2, 1, "the champion is version 2, and the challenger was held against version 1."),
    ],
)
def test_who_was_held_against_another_is_refused_naming_both(own, of, bundle, promoted, replaces, what):
    for text in "ab"[:promoted]:
        own.promote(bundle(text), *of, {})
    before = facts(own, of)
    with pytest.raises(RequestError) as refused:
        own.promote(bundle("late"), *of, {}, replaces=replaces, lookup="Run it again.")
    assert str(refused.value) == f"{'/'.join(of)}: {what} Run it again."
    assert facts(own, of) == before
    assert len(list(bundles_of(*of).glob("*"))) == promoted


@pytest.mark.parametrize("of", [("../x", "home_feed"), ("own", "../x"), ("own", ""), ("own'", "home_feed")])
def test_names_that_lead_elsewhere_are_refused(own, bundle, of):
    with pytest.raises(RequestError, match="cannot be the name of a"):
        own.promote(bundle("a"), *of, {})
    with pytest.raises(RequestError, match="cannot be the name of a"):
        own.versions(*of)


def test_a_tag_that_is_longer_than_mlflow_takes_is_cut(own, of, bundle):
    version = own.promote(bundle("a"), *of, {"system": "x" * 6000, "report": ""})
    assert len(version.tags["system"]) == registry.MOST
    assert version.tags["system"].endswith("…")
    assert version.open()


RUN = {
    "run_id": "20261121T120000Z-0123abcd",
    "notebook": "07_promotion",
    "dataset": {"name": "own", "snapshot": "own@0123456789ab"},
    "parameters": {"retriever": "ease", "k": 10, "policy": "x" * 3000},
    "metrics": [
        {"model": "challenger", "name": "ndcg", "k": 10, "slice": "everyone", "value": 0.25},
        {"model": "recbole:LightGCN, tuned", "name": "ndcg", "k": 10, "slice": "everyone", "value": 0.125},
        {"model": "challenger", "name": "ndcg", "k": 10, "slice": "gender: F", "value": 0.5},
        {"model": "challenger", "name": "recall", "k": 5, "slice": "everyone", "value": math.nan},
        {"model": "challenger", "name": "map", "k": 5, "slice": "everyone", "value": math.inf},
        {"model": "challenger", "name": "mrr", "k": 5, "slice": "everyone", "value": None},
        {"model": None, "name": "coverage", "k": None, "slice": "everyone", "value": 0.75},
    ],
}


def test_what_is_no_finite_number_is_left_out_and_named_and_a_run_is_logged_once(own, of):
    first = own.log_run(RUN, *of)
    assert own.log_run(RUN, *of) == first
    experiment = own.client.get_experiment_by_name(".".join(of))
    (run,) = own.client.search_runs([experiment.experiment_id])
    assert run.info.run_id == first
    assert run.info.status == "FINISHED"
    assert sorted(run.data.metrics.values()) == [0.125, 0.25, 0.75]
    assert run.data.metrics["ndcg_10/challenger"] == 0.25
    assert run.data.tags["not_a_number"] == "map_5/challenger, mrr_5/challenger, recall_5/challenger"
    assert run.data.tags["workbench_run"] == RUN["run_id"]
    assert (run.data.params["k"], len(run.data.params["policy"])) == ("10", registry.MOST)


def test_a_metric_that_is_finite_for_one_model_and_not_for_another_is_named_too(own, of):
    rows = [{"model": name, "name": "ndcg", "k": 10, "slice": "everyone", "value": value} for name, value in (("a", 0.5), ("b", math.nan))]
    run = own.client.get_run(own.log_run({**RUN, "metrics": rows}, *of))
    assert list(run.data.metrics) == ["ndcg_10/a"]
    assert run.data.tags["not_a_number"] == "ndcg_10/b"


def test_a_run_without_metrics_and_without_parameters_is_logged(own, of):
    run = own.client.get_run(own.log_run({**RUN, "metrics": [], "parameters": {}}, *of))
    assert run.info.status == "FINISHED"
    assert "not_a_number" not in run.data.tags


def test_a_run_that_was_stopped_while_it_was_logged_is_logged_whole_the_next_time(own, of, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(own.client, "log_batch", stopping(own.client.log_batch, "before"))
        with pytest.raises(KeyboardInterrupt):
            own.log_run(RUN, *of)
    run = own.client.get_run(own.log_run(RUN, *of))
    assert run.data.metrics["ndcg_10/challenger"] == 0.25


def stopping(function, when, call=1):
    """The function, stopped before, or after, it is called for the so manieth time."""
    calls = 0

    def stopped(*arguments, **named):
        nonlocal calls
        calls += 1
        if calls == call and when == "before":
            raise KeyboardInterrupt
        found = function(*arguments, **named)
        if calls == call:
            raise KeyboardInterrupt
        return found

    return stopped


BEFORE = ["before", pytest.param("after", marks=pytest.mark.slow)]
"""After a step is before the next one, but for what the step itself left."""
STEPS = {
    "made": ("client", "create_model_version", 1),
    "copied": ("shutil", "copytree", 1),
    "published": ("registry", "publish_folder", 1),
    "ready": ("client", "set_model_version_tag", 1),
    "champion": ("client", "set_registered_model_alias", 1),
    "previous": ("client", "set_registered_model_alias", 2),
}


def stop_at(patch, found, step, when):
    """Dead at this step: nothing is tidied up either."""
    place, name, call = STEPS[step]
    where = {"client": found.client, "shutil": registry.shutil, "registry": registry}[place]
    patch.setattr(where, name, stopping(getattr(where, name), when, call))
    patch.setattr(registry.shutil, "rmtree", lambda *_, **__: None)


@pytest.mark.parametrize("when", BEFORE)
@pytest.mark.parametrize("step", STEPS)
def test_stopped_at_any_step_one_is_champion_and_the_next_promotion_settles_the_rest(own, of, bundle, monkeypatch, step, when):
    own.promote(bundle("a"), *of, {})
    b, c = bundle("b"), bundle("c")
    with monkeypatch.context() as patch:
        stop_at(patch, own, step, when)
        with pytest.raises(KeyboardInterrupt):
            own.promote(b, *of, {}, replaces=1)
    crowned = step == "previous" or (step, when) == ("champion", "after")
    champion = own.champion(*of)
    assert champion.number == (2 if crowned else 1)
    assert champion.open()["name"] == ("b" if crowned else "a")
    there = facts(own, of)
    assert set(there) == ({1} if (step, when) == ("made", "before") else {1, 2})
    third = own.promote(c, *of, {}, replaces=champion.number)
    assert third.number == len(there) + 1
    check_sound(own, of, third.number)
    if 2 in there:
        whole = step in ("ready", "champion", "previous") or (step, when) == ("published", "after")
        assert facts(own, of)[2][0] == (READY if whole else INTERRUPTED)
    assert facts(own, of)[1] == (READY, set() if crowned else {PREVIOUS})
    assert own.rollback(*of).number == champion.number
    check_sound(own, of, champion.number)


@pytest.mark.parametrize("when", BEFORE)
@pytest.mark.parametrize("step", ["made", "copied", "published", "ready", "champion"])
def test_the_first_promotion_stopped_is_nobody_or_the_champion(own, of, bundle, monkeypatch, step, when):
    a, b = bundle("a"), bundle("b")
    with monkeypatch.context() as patch:
        stop_at(patch, own, step, when)
        with pytest.raises(KeyboardInterrupt):
            own.promote(a, *of, {}, replaces=None)
    champion = own.champion(*of)
    assert (champion is not None) == ((step, when) == ("champion", "after"))
    own.promote(b, *of, {}, replaces=champion.number if champion else None)
    check_sound(own, of)
    assert own.champion(*of).open()["name"] == "b"


def test_what_a_stopped_promotion_left_on_disk_is_gone_after_the_next(own, of, bundle, monkeypatch):
    a, b = bundle("a"), bundle("b")
    with monkeypatch.context() as patch:
        stop_at(patch, own, "published", "before")
        with pytest.raises(KeyboardInterrupt):
            own.promote(a, *of, {})
    own.promote(b, *of, {})
    folder = bundles_of(*of)
    named = {str(each.number) for each in own.versions(*of) if each.state == READY}
    assert {path.name for path in folder.iterdir()} == named


@pytest.mark.parametrize(
    ("name", "call"), [("set_registered_model_alias", 1), ("delete_registered_model_alias", 1), ("set_model_version_tag", 1)]
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_stopped_on_the_way_back_one_is_champion_and_going_on_works(own, of, bundle, monkeypatch, name, call, when):
    for text in "ab":
        own.promote(bundle(text), *of, {})
    with monkeypatch.context() as patch:
        patch.setattr(own.client, name, stopping(getattr(own.client, name), when, call))
        with pytest.raises(KeyboardInterrupt):
            own.rollback(*of)
    back = name != "set_model_version_tag" and (name, when) != ("set_registered_model_alias", "before")
    assert own.champion(*of).number == (1 if back else 2)
    if not back:
        own.rollback(*of)
    third = own.promote(bundle("c"), *of, {}, replaces=1)
    assert third.number == 3
    check_sound(own, of, 3)
    assert own.rollback(*of).number == 1


def test_a_champion_that_was_taken_back_is_called_so_even_when_that_was_interrupted(own, of, bundle, monkeypatch):
    for text in "ab":
        own.promote(bundle(text), *of, {})
    with monkeypatch.context() as patch:
        patch.setattr(own.client, "set_registered_model_alias", stopping(own.client.set_registered_model_alias, "after"))
        with pytest.raises(KeyboardInterrupt):
            own.rollback(*of)
    own.promote(bundle("c"), *of, {})
    assert facts(own, of)[2][0] == WITHDRAWN


def test_a_champion_that_was_to_be_taken_back_and_was_not_is_ready(own, of, bundle, monkeypatch):
    for text in "ab":
        own.promote(bundle(text), *of, {})
    with monkeypatch.context() as patch:
        patch.setattr(own.client, "set_registered_model_alias", stopping(own.client.set_registered_model_alias, "before"))
        with pytest.raises(KeyboardInterrupt):
            own.rollback(*of)
    own.promote(bundle("c"), *of, {}, replaces=2)
    assert facts(own, of)[2][0] == READY


def test_a_store_that_cannot_be_reached_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "mlflow.db").write_bytes(b"this is no database, whatever it is called" * 100)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(WorkError, match=r"^the registry at sqlite:///.*mlflow\.db cannot be reached: ") as refused:
        Registry()
    assert "\n" not in str(refused.value)


PROMOTES = """
import os, sys
from pathlib import Path
from workbench.serving import registry

folder, of, kill = Path(sys.argv[1]), sys.argv[2].split("/"), sys.argv[3]
found = registry.Registry()
if kill:
    alias, calls = found.client.set_registered_model_alias, []

    def dead(*told):
        calls.append(told)
        if len(calls) == 2:
            os._exit(9)
        alias(*told)

    found.client.set_registered_model_alias = dead
print(found.promote(folder, *of, {"system": folder.name}).number)
"""


def start(folder, of, kill=""):
    return subprocess.Popen(
        [sys.executable, "-c", PROMOTES, str(folder), "/".join(of), kill], env=os.environ, stdout=-1, stderr=-1, text=True
    )


def test_a_process_killed_between_both_aliases_leaves_the_new_champion_and_no_lock(own, of, bundle):
    own.promote(bundle("a"), *of, {})
    process = start(bundle("b"), of, kill="yes")
    process.communicate(timeout=120)
    assert process.returncode == 9
    assert facts(own, of) == {1: (READY, set()), 2: (READY, {CHAMPION})}
    assert own.champion(*of).tags["replaces"] == "1"
    assert own.rollback(*of).number == 1
    check_sound(own, of, 1)


@pytest.mark.slow
def test_four_at_once_are_four_versions_one_of_them_champion(of, tmp_path, bundle, monkeypatch):
    """The first of them makes the database, too."""
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    processes = [start(bundle(text), of) for text in "abcd"]
    said = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, said
    assert sorted(int(out) for out, _ in said) == [1, 2, 3, 4]
    monkeypatch.setattr(registry.Bundle, "open", staticmethod(_opened))
    found = Registry()
    versions = found.versions(*of)
    assert [each.state for each in versions] == [READY] * 4
    assert {each.open()["name"] for each in versions} == set("abcd")
    assert [each.open()["name"] == each.tags["system"] for each in versions] == [True] * 4
    assert [each.tags["replaces"] for each in versions] == ["", "1", "2", "3"]
    check_sound(found, of, 4)
    assert {path.name for path in versions[0].folder.parent.iterdir()} == {"1", "2", "3", "4"}


def test_a_bundle_of_another_registry_is_neither_overwritten_nor_taken_for_ones_own(own, of, bundle):
    """As when MLFLOW_TRACKING_URI is another than before, and numbers begin at 1 again."""
    own.promote(bundle("a"), *of, {})
    there = made(bundles_of(*of) / "2", "of another")
    with pytest.raises(WorkError, match=r"2 is there, and not of ") as refused:
        own.promote(bundle("b"), *of, {})
    assert own.uri in str(refused.value)
    assert (there / "README.md").read_text() == "of another"
    assert facts(own, of) == {1: (READY, {CHAMPION}), 2: (INTERRUPTED, set())}
    assert own.promote(bundle("c"), *of, {}).number == 3


def test_what_stands_where_a_stopped_version_was_to_be_written_does_not_make_it_ready(own, of, bundle, monkeypatch):
    own.promote(bundle("a"), *of, {})
    with monkeypatch.context() as patch:
        patch.setattr(registry, "publish_folder", stopped)
        with pytest.raises(KeyboardInterrupt):
            own.promote(bundle("b"), *of, {})
    made(bundles_of(*of) / "2", "of another")
    own.promote(bundle("c"), *of, {})
    assert facts(own, of) == {1: (READY, {PREVIOUS}), 2: (INTERRUPTED, set()), 3: (READY, {CHAMPION})}


def stopped(*_):
    raise KeyboardInterrupt
