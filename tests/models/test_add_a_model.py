"""The example of docs/add_a_model.md works as it stands there."""

import importlib
import re
import sys

import pytest

from tests.conftest import ROOT
from workbench.errors import RequestError
from workbench.models import MODELS, create, grid, learns, parse_names, search_space
from workbench.testing import check_recommender


@pytest.fixture
def markov(tmp_path, monkeypatch):
    """The file of the page as a module, and the page's other pieces of Python: the line, the test."""
    file, line, test = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "add_a_model.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "markov.py").write_text(file, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return importlib.import_module("markov"), line, test


def test_the_test_of_the_page_passes(markov):
    written: dict[str, object] = {}
    exec(compile(markov[2], "page", "exec"), written)
    written["test_the_contract_holds"]()


def test_one_line_makes_the_model_known(markov, monkeypatch):
    monkeypatch.setattr("workbench.models.MODELS", dict(MODELS))
    exec(compile(markov[1], "page", "exec"), {})
    assert parse_names("ease, markov") == ["ease", "markov"]
    assert create("markov", decay=0.5).config.decay == 0.5
    assert set(search_space("markov")) == {"decay"}
    assert not learns("markov")
    assert grid("markov") == {}
    with pytest.raises(RequestError, match=r'there is no setting of markov "decy"\. Did you mean "decay"\?'):
        create("markov", decy=1)
    with pytest.raises(RequestError, match=r"markov: decay = 2: input should be less than or equal to 1\."):
        create("markov", decay=2)


def test_the_suite_would_notice_a_model_that_learns_nothing(markov):
    class Lazy(markov[0].Markov):
        def score(self, batch):
            return super().score(batch) * 0

    with pytest.raises(AssertionError, match="missing items at rank 1"):
        check_recommender(Lazy)
