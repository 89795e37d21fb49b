"""The model card: front matter that a machine reads, and tables that no name breaks out of."""

import math
import re
from types import SimpleNamespace

import pytest
import torch
import yaml

from tests.evaluation.made import METRIC, everyone, valued
from workbench.evaluation import Slice
from workbench.promotion.card import _table, card
from workbench.promotion.decide import Decision, Result
from workbench.serving.verify import Parity

PARITY = Parity(requests=257, largest_absolute=1e-7, largest_relative=1e-7, identical=257, up_to_ties=257)
TOLD = {
    "name": "own/home_feed",
    "surface": "home_feed",
    "lists": {"k": 20},
    "made": {
        "system": "trees over ease",
        "run": "20261121T120000Z-0123abcd",
        "dataset": "own",
        "snapshot": "own@0123456789ab",
        "split": {"name": "user_time", "rule": "Each person's events by time", "seed": 0, "refit": "train"},
        "as_of": 1_000_000,
        "code": {"commit": "a" * 40, "diff_hash": None},
        "environment": "b" * 12,
    },
}


def made(slices=(), results=None, told=TOLD, title="Own log", licence="made up", rival="popularity"):
    results = results or (Result(name="ndcg@10, primary", state="pass", found="+0.020", asked="above 0"),)
    data = SimpleNamespace(card=SimpleNamespace(title=title, licence=licence))
    result = valued(torch.linspace(0, 1, 40), judged=everyone(40))
    decision = Decision(results=tuple(results), challenger="trees over ease", rival=rival, gates="c" * 12)
    measures = {"p50_ms": 1.234567, "size_mb": 2.0}
    return card(told, data, result, slices, decision, {"golden requests": PARITY}, measures, METRIC)


def front(text):
    """As Hugging Face's hub finds it, and what comes after it."""
    found = re.match(r"---\n([\S\s]*?)\n---\n", text)
    return yaml.safe_load(found[1]), text[found.end() :]


def test_the_front_matter_is_that_of_a_card_on_hugging_face():
    told, rest = front(made())
    assert set(told) == {
        "language", "library_name", "pipeline_tag", "tags", "datasets", "license", "license_name", "model-index",
    }  # fmt: skip
    assert told["tags"] == ["recommender", "onnx", "home_feed"]
    (model,) = told["model-index"]
    assert model["name"] == "own/home_feed"
    (result,) = model["results"]
    assert result["dataset"] == {"name": "Own log", "type": "own", "revision": "own@0123456789ab"}
    assert result["metrics"] == [{"type": METRIC, "name": "NDCG@10", "value": 0.5}]
    assert rest.lstrip().startswith("# own/home_feed: trees over ease\n")


ODD = ["a: b", "- x", "---", "é\n---\nkey: 1", "#", "{", "null", "2026", '"', "'", "ü 界", "@x", "\t", "a" * 300]


@pytest.mark.parametrize("text", ODD)
def test_whatever_a_data_set_is_called_the_front_matter_is_yaml(text):
    told, _ = front(made(title=text, licence=text))
    assert told["license_name"] == text
    assert told["model-index"][0]["results"][0]["dataset"]["name"] == text


def test_it_says_what_was_found_and_of_whom():
    text = made([Slice("gender", "F", torch.arange(40) < 10)])
    assert "Promote trees over ease: it passes all 1 gates against popularity.\n" in text
    assert re.search(r"^NDCG@10 on test: 0\.500 \(0\.\d+ to 0\.\d+\), 40 people;", text, re.MULTILINE)
    assert re.search(r"^\| gender: F \| 0\.115 \(\S+ to \S+\) \| 10 \|$", text, re.MULTILINE)
    assert "| ndcg@10, primary | pass | +0.020 | above 0 |\n" in text
    assert "Held against popularity; gates `cccccccccccc`." in text
    assert "- golden requests: 257 of 257 lists are identical, 257 up to ties;" in text
    assert "- p50_ms 1.23; size_mb 2.\n" in text
    assert "with changes that are in no commit" not in text
    dirty = {**TOLD, "made": {**TOLD["made"], "run": "", "code": {"commit": None, "diff_hash": "d" * 12}}}
    assert "Code `None` with changes that are in no commit, environment `bbbbbbbbbbbb`, run `none`." in made(told=dirty)


HOSTILE = ["a | b", "<script>alert(1)</script>", "x\n| y | z | 1 |\n\n# Heading", "\\", "a\\|b", "\\\\|", "|" * 9, "<!--", "a\n\nb"]


def cells(line):
    """Of a table's row as GitHub reads it: at each | that no backslash escapes; a backslash escapes the next sign, another one too."""
    found, here, signs = [], "", iter(line)
    for sign in signs:
        if sign == "\\":
            here += sign + next(signs)
        elif sign == "|":
            found.append(here)
            here = ""
        else:
            here += sign
    return found[1:], here


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_breaks_out_of_its_cell(name):
    results = [Result(name=name, state="pass", found=name, asked=name), Result(name="last", state="pass", found="", asked="")]
    text = made([Slice("group", name, torch.arange(40) < 10), Slice("group", "last", torch.arange(40) >= 10)], results)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert [len(cells(row)[0]) for row in rows] == [4, 4, 4, 4, 3, 3, 3, 3], rows
    assert all(rest == "" for _, rest in map(cells, rows))
    for row in rows:
        assert "<" not in row


@pytest.mark.parametrize("name", ["x\ry", "x\r\n| y | z | 1 |"])
def test_a_carriage_return_is_an_end_of_line_in_markdown_too(name):
    assert "\r" not in _table(["a"], [[name]])


BREAKS_OUT = ["<script>alert(1)</script>", "x\n\n# Heading", "<img src=x onerror=alert(1)>"]


@pytest.mark.parametrize("name", BREAKS_OUT)
def test_no_name_of_a_group_breaks_out_of_the_headline(name):
    _, rest = front(made(results=[Result(name=f"ndcg@10, gender: {name}", state="fail", found="", asked="")]))
    assert "<script" not in rest
    assert "<img" not in rest
    assert not re.search(r"^# Heading", rest, re.MULTILINE)


@pytest.mark.parametrize("name", BREAKS_OUT)
def test_no_name_of_a_step_breaks_out_of_heading_or_sentence(name):
    """A policy's step may be called anything, and the system's title names it."""
    told = {**TOLD, "made": {**TOLD["made"], "system": f"ease, {name}"}}
    _, rest = front(made(told=told, rival=f"the champion, version 1 (ease, {name})"))
    assert "<script" not in rest
    assert "<img" not in rest
    assert not re.search(r"^# Heading", rest, re.MULTILINE)


def test_a_slice_of_one_person_has_no_interval_and_no_nan():
    text = made([Slice("gender", "F", torch.arange(40) < 1)])
    assert "| gender: F | 0.000 (no interval, 1 person) | 1 |" in text
    assert str(math.nan) not in text.split("## For whom")[1].split("##")[0]
