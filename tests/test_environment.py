"""One source of dependencies, and files made from it that say when they fall behind."""

import re
import subprocess
import sys

import yaml

from tests.conftest import ROOT
from workbench.environment import HEADER, code_state, dependencies_sha256, environment_yml, packages_hash

PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_the_lock_was_made_from_this_pyproject():
    assert LOCK.splitlines()[0] == HEADER + dependencies_sha256(PYPROJECT), "pyproject.toml changed: run `make lock`"


def test_environment_yml_was_made_from_this_pyproject():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert text == environment_yml(PYPROJECT), "pyproject.toml changed: run `make lock`"
    parsed = yaml.safe_load(text)
    assert "python=3.11" in parsed["dependencies"]
    assert parsed["dependencies"][-1]["pip"] == ["torch==2.13.0", "-r requirements.lock", "-e ."]


def test_a_changed_dependency_changes_the_hash_and_nothing_else_does():
    before = dependencies_sha256(PYPROJECT)
    assert dependencies_sha256(PYPROJECT.replace("pandas>=3.1", "pandas>=3.2")) != before
    assert dependencies_sha256(PYPROJECT.replace("pytest>=9.2", "pytest>=9.3")) != before
    assert dependencies_sha256(PYPROJECT.replace('version = "0.1.0"', 'version = "0.2.0"')) == before


def test_the_lock_is_pins_only_and_names_no_host_no_hash_no_local_build():
    pins = [line for line in LOCK.splitlines() if line and not line.lstrip().startswith("#")]
    assert len(pins) > 150
    assert all(re.fullmatch(r"[a-z0-9._-]+==[A-Za-z0-9.!]+(?:post\d+)?", pin) for pin in pins), [p for p in pins if "+" in p or " " in p]
    assert "/" not in LOCK, "a path or an address"
    names = {pin.split("==")[0] for pin in pins}
    promised = {"jupyterlab", "papermill", "pandas", "torch", "pytorch-lightning", "recbole", "faiss-cpu", "matplotlib", "nbval"}
    assert promised <= names


def test_the_state_of_the_code_is_the_commit_and_what_differs_from_it(tmp_path):
    assert code_state(tmp_path)["commit"] is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "a.py").write_text("1\n")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "a"], check=True)
    clean = code_state(tmp_path)
    assert len(clean["commit"]) == 40
    assert clean["diff_hash"] is None
    (tmp_path / "b.py").write_text("2\n")
    untracked = code_state(tmp_path)["diff_hash"]
    (tmp_path / "a.py").write_text("3\n")
    changed = code_state(tmp_path)["diff_hash"]
    assert len({None, untracked, changed}) == 3


def test_the_packages_have_one_hash():
    assert re.fullmatch(r"[0-9a-f]{12}", packages_hash())
    assert packages_hash() == packages_hash()


def test_importing_setuptools_installs_nothing():
    """It puts copies of its own on the path; torch.compile imports it, and a suite that goes on would find nothing to use again."""
    code = "from workbench.environment import packages_hash as found; before = found(); import setuptools; print(before == found())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"
