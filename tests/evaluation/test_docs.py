"""docs/metrics.md: every example is run, and every metric has its section."""

import doctest
import re

from tests.conftest import ROOT
from workbench.evaluation import METRICS, SET_METRICS

PAGE = ROOT / "docs" / "metrics.md"


class Fenced(doctest.DocTestParser):
    """Reads examples between fences, which would otherwise be taken for what is expected."""

    def parse(self, string, name="<string>"):
        return super().parse(re.sub(r"^```\w*$", "", string, flags=re.MULTILINE), name)


def test_the_examples_are_true():
    found = doctest.testfile(str(PAGE), module_relative=False, parser=Fenced())
    assert found.failed == 0
    assert found.attempted >= 56


def test_every_metric_has_a_section_with_an_example():
    sections = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##)", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL))
    assert set(sections) >= {*METRICS, *SET_METRICS, "recall_ceiling", "one_truth_ndcg", "auc", "gauc", "log_loss"}
    assert all(">>>" in text for text in sections.values()), [name for name, text in sections.items() if ">>>" not in text]
