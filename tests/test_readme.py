"""What the README shows is what happens."""

import re

from tests.conftest import ROOT
from workbench.models import MODELS
from workbench.runner import list_notebooks, notebook_parameters

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_error_shown_is_the_error_given(capsys):
    from workbench.cli import main

    (command, line) = re.findall(r"^\$ \.venv/bin/workbench (.*)\n(workbench: .*)$", README, re.MULTILINE)[0]
    assert main(command.split()) == 2
    assert capsys.readouterr().err.strip() == line


def test_the_tables_name_every_notebook_parameter_and_model():
    rows = dict(re.findall(r"^\| \[(\w+)\]\(notebooks/\w+\.ipynb\) \|.*\| (.*) \|$", README, re.MULTILINE))
    assert sorted(rows) == list_notebooks()
    for name, parameters in rows.items():
        assert set(re.findall(r"`(\w+)`", parameters)) == set(notebook_parameters(name))
    listed = re.search(r"^Models: (.*?)\.", README, re.MULTILINE)[1]
    assert re.findall(r"`(\w+)`", listed) == list(MODELS)
