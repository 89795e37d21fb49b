import pytest

from workbench.errors import RequestError, WorkError
from workbench.parameters import Parameter, check_ranges, declared, load_plans, resolve, with_texts_of_files

KNOWN = {
    "k": Parameter("k", "int", 10, ""),
    "rate": Parameter("rate", "float", 0.5, ""),
    "tuned": Parameter("tuned", "bool", False, ""),
    "name": Parameter("name", "str", "a", ""),
}


def test_text_becomes_the_type_the_notebook_declares():
    given = {"k": " 7 ", "rate": "1e-3", "tuned": "True", "name": "7"}
    assert resolve("n", KNOWN, given) == {"k": 7, "rate": 0.001, "tuned": True, "name": "7"}
    assert resolve("n", KNOWN, {"rate": 2}) == {"k": 10, "rate": 2.0, "tuned": False, "name": "a"}


@pytest.mark.parametrize(
    "given",
    [
        *({"k": value} for value in (True, 1.0, None, "0x10", "1_0", "__import__('os')")),
        *({"rate": value} for value in ("nan", "inf", "", True)),
        *({"tuned": value} for value in (1, "1", "yes")),
        {"name": 7},
    ],
)
def test_nothing_is_guessed(given):
    with pytest.raises(RequestError, match="should be"):
        resolve("n", KNOWN, given)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"epochs": -1}, "epochs = -1 should be at least 1, or 0 for what each model's settings say."),
        ({"device": "abacus"}, 'device = "abacus" should be auto, cpu, cuda, cuda:N or mps.'),
        ({"device": "cuda:x"}, 'device = "cuda:x" should be auto, cpu, cuda, cuda:N or mps.'),
    ],
)
def test_what_training_cannot_do_is_refused_before_a_kernel_starts(values, line):
    with pytest.raises(RequestError) as caught:
        check_ranges(values, set(values))
    assert str(caught.value) == line


def test_how_training_is_run_may_be_left_to_the_models_and_the_machine():
    check_ranges({"epochs": 0, "device": "auto"}, ())
    check_ranges({"epochs": 1, "device": "cpu"}, ())


POLICY = '[[step]]\nkind = "mmr"\n'


def test_a_run_is_handed_the_text_of_a_file_that_a_parameter_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text(POLICY, encoding="utf-8")
    rest = {"model": "own.toml", "k": 5, "tuned": True}
    for given, text in (("own.toml", POLICY), (str(tmp_path / "own.toml"), POLICY), (POLICY, POLICY), ("", "")):
        assert with_texts_of_files({"policy": given, **rest}) == {"policy": text, **rest}
    assert with_texts_of_files(rest) == rest


def test_a_policy_may_be_given_as_a_file_or_as_text_and_is_read_before_a_kernel_starts(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(POLICY, encoding="utf-8")
    for policy in ("", str(path), POLICY):
        check_ranges({"policy": policy}, ())
    for policy, reason in ((str(tmp_path / "no.toml"), "cannot be read"), (POLICY.replace("mmr", "mrm"), 'Did you mean "mmr"')):
        with pytest.raises(RequestError, match=reason) as caught:
            check_ranges({"policy": policy}, {"policy"})
        assert "\n" not in str(caught.value)


def test_a_parameter_needs_a_type_and_a_literal():
    good = {"name": "k", "inferred_type_name": "int", "default": "10", "help": "cut-off"}
    assert declared({"k": good}, "n")["k"] == Parameter("k", "int", 10, "cut-off")
    for wrong in ({"inferred_type_name": "None"}, {"default": "f()"}, {"default": "'10'"}, {"default": "True"}):
        with pytest.raises(WorkError, match="n, parameter k: write it as"):
            declared({"k": {**good, **wrong}}, "n")


def test_the_suites_order_follows_what_notebooks_need(home):
    plans = home / "notebooks" / "profiles.toml"
    plans.write_text('[c]\nneeds = ["b"]\n[a]\n[b]\nneeds = ["a"]\nfull = { k = 3 }\n')
    assert list(load_plans()) == ["a", "b", "c"]
    assert load_plans()["b"].full == {"k": 3}
    plans.write_text('[a]\nneeds = ["b"]\n[b]\nneeds = ["a"]\n')
    with pytest.raises(WorkError, match="a, b need one another"):
        load_plans()
    for damage in ("[a", "a = 1", "[a]\nfull = 3", "[a]\nneds = []", None):
        plans.write_text(damage) if damage else plans.unlink()
        with pytest.raises(WorkError, match=r"profiles\.toml cannot be read"):
            load_plans()
