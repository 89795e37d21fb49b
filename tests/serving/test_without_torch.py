"""A bundle is opened, asked and checked where there is nothing but NumPy, PyArrow and ONNX Runtime, and FAISS for one with an index."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

BANNED = [
    *("torch", "recbole", "pytorch_lightning", "lightning", "duckdb", "pandas", "pydantic", "mlflow", "lightgbm", "onnx", "onnxmltools"),
    *("onnxscript", "sklearn", "scipy", "jinja2", "implicit", "matplotlib"),
]
SCRIPT = """
import json
import sys

BANNED = {banned}


class Nobody:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BANNED:
            raise ImportError(name + " is not installed here")


sys.meta_path.insert(0, Nobody())

from workbench.serving import Bundle, Request
from workbench.serving.verify import verify

folder, person, items = sys.argv[1], sys.argv[2], sys.argv[3].split()
bundle = Bundle.open(folder)
told = {{}}
for name, request in {{
    "known": Request(user_id=person),
    "stranger": Request(history=items),
    "nobody": Request(),
    "unheard of": Request(user_id="nobody there is"),
}}.items():
    asked = bundle.encode(request)
    (answer,) = bundle.answer([asked])
    listed = bundle.recommend(request)
    assert [each for each, _ in listed] == [bundle.item_ids[item] for item in answer.items]
    told[name] = {{"trace": bundle.trace(asked, answer), "fallback": answer.fallback, "list": listed}}
told["parity"] = {{name: found.as_json() for name, found in verify(bundle.folder).items()}}
told["modules"] = sorted(name for name in sys.modules if name.partition(".")[0] in BANNED and sys.modules[name] is not None)
told["faiss"] = "faiss" in sys.modules
print(json.dumps(told))
"""


def run(folder, person="u03", items="i01 i02 i05", banned=BANNED):
    """What a process without these packages says of a bundle."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-c", SCRIPT.format(banned=list(banned)), str(folder), person, items]
    done = subprocess.run(call, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def told(ranked):
    return run(ranked.folder, banned=[*BANNED, "faiss"])


def test_nothing_of_what_is_missing_was_imported(told):
    assert told["modules"] == []
    assert not told["faiss"], "a bundle without an index does without FAISS"


def test_somebody_known_gets_what_the_model_says(told, ranked):
    assert told["known"]["trace"]["person"] == "known"
    assert told["known"]["trace"]["served_by"] == ranked.system.title
    assert not told["known"]["fallback"]
    assert len(told["known"]["list"]) == 5


def test_a_stranger_with_a_history_is_served_from_it(told, ranked):
    trace = told["stranger"]["trace"]
    assert (trace["person"], trace["history"], trace["served_by"]) == ("stranger", 3, ranked.system.title)
    assert not {"i01", "i02", "i05"} & {item for item, _ in told["stranger"]["list"]}
    assert told["stranger"]["list"] != told["nobody"]["list"]


def test_a_stranger_without_a_history_gets_what_needs_to_know_nobody(told):
    """Popularity is a source, and serves everyone."""
    for name in ("nobody", "unheard of"):
        assert told[name]["trace"]["person"] == "stranger"
        assert told[name]["trace"]["history"] == 0
        assert {each for row in told[name]["trace"]["items"] for each in row["by"]} == {"popularity"}
    assert told["nobody"]["list"] == told["unheard of"]["list"]


def test_the_golden_requests_are_answered_as_they_were(told):
    assert [each["holds"] for each in told["parity"].values()] == [True, True]
    assert all(each["requests"] > 200 and each["identical"] == each["requests"] for each in told["parity"].values())


def test_what_is_said_is_what_this_process_says(told, ranked):
    from workbench.serving import Request

    for name, request in (("known", Request(user_id="u03")), ("stranger", Request(history=["i01", "i02", "i05"]))):
        assert [tuple(each) for each in told[name]["list"]] == ranked.bundle.recommend(request)


def test_with_an_index_the_fallback_is_named_for_whom_it_cannot_serve(cells):
    told = run(cells.folder)
    assert told["modules"] == []
    assert told["faiss"]
    assert [told[name]["fallback"] for name in ("known", "stranger", "nobody", "unheard of")] == [False, False, True, True]
    assert told["nobody"]["trace"]["served_by"] == cells.bundle.manifest["lists"]["fallback"] == "popularity, the fallback"
    assert all(each["holds"] for each in told["parity"].values())


def test_the_hook_does_keep_packages_out():
    """Or the tests above would say nothing."""
    script = SCRIPT.format(banned=["numpy"]).split("folder, person")[0]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode != 0
    assert "numpy is not installed here" in done.stderr
