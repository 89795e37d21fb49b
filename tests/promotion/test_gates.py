"""What may be written down as gates, and what is refused with the file, the table and the field."""

import tomllib

import pytest

from tests.conftest import ROOT
from workbench.errors import RequestError
from workbench.promotion.gates import MEASURES, Gates, gates_hash, load_gates, surfaces

WHOLE = """
[home]
because = "It is a test."
primary = { metric = "ndcg@10", must = "be better", effect = 0.02 }
"""


@pytest.fixture
def write(home):
    """`write(text)` makes it the gates of the data set "own"."""
    (home / "datasets" / "gates").mkdir()
    return lambda text: (home / "datasets" / "gates" / "own.toml").write_text(text, encoding="utf-8")


def test_what_is_written_is_what_is_loaded(write):
    write(WHOLE + '[[home.guardrail]]\nmetric = "gini@5"\nmargin = 0.1\n[[home.guardrail]]\nmeasure = "p99_ms"\nmost = 0\n')
    gates = load_gates("own", "home")
    assert (gates.primary.metric, gates.primary.must, gates.primary.effect, gates.primary.margin) == ("ndcg@10", "be better", 0.02, 0)
    assert [(each.metric, each.measure, each.most) for each in gates.guardrail] == [("gini@5", "", None), ("", "p99_ms", 0)]
    assert gates.metrics == ["ndcg@10", "gini@5"]
    assert (gates.places, gates.power) == (20, 0.8)


def test_cut_offs_are_the_usual_ones_and_those_of_the_gates_within_the_list(write):
    write(WHOLE.replace("ndcg@10", "recall@7") + "places = 9\n")
    assert load_gates("own", "home").cutoffs == (5, 7)
    write(WHOLE + '[[home.guardrail]]\nmetric = "ndcg@20"\nmargin = 0.1\n')
    assert load_gates("own", "home").cutoffs == (5, 10, 20)


def test_a_surface_nobody_knows_is_answered_with_the_nearest(write):
    write(WHOLE)
    with pytest.raises(RequestError, match=r'^there is no surface in datasets/gates/own.toml "hom"\. Did you mean "home"\?  \(home\)$'):
        load_gates("own", "hom")


def test_without_a_file_one_line_says_where_to_write_them(home):
    assert surfaces("own") == {}
    with pytest.raises(RequestError) as refused:
        load_gates("own", "home")
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith("own has no gates yet: write them down in datasets/gates/own.toml, ")


@pytest.mark.parametrize("name", ["../x", "a/b", "", "..", "default"])
def test_no_path_is_made_of_a_name_that_leads_elsewhere(write, name):
    with pytest.raises(RequestError, match="cannot be the name of a data set"):
        load_gates(name, "home")


@pytest.mark.parametrize("name", ["../x", "a b", ""])
def test_a_surface_becomes_a_folder_so_its_name_is_checked(write, name):
    write(WHOLE.replace("[home]", f'["{name}"]'))
    for asked in (name, "home"):
        with pytest.raises(RequestError, match=f'^"{name}" cannot be the name of a surface'):
            load_gates("own", asked)


@pytest.mark.parametrize(("text", "why"), [("[home", "cannot be read: Expected"), ("because = \x00", "cannot be read: ")])
def test_what_is_no_toml_names_the_file(write, text, why):
    write(text)
    with pytest.raises(RequestError, match=r"^datasets/gates/own\.toml cannot be read: ") as refused:
        load_gates("own", "home")
    assert why in str(refused.value)


def test_a_file_in_another_encoding_is_no_traceback(write, home):
    (home / "datasets" / "gates" / "own.toml").write_bytes(WHOLE.replace("a test", "é").encode("latin-1"))
    with pytest.raises(RequestError, match=r"^datasets/gates/own\.toml cannot be read: "):
        load_gates("own", "home")


PRIMARY = '{ metric = "ndcg@10", must = "be better", effect = 0.02 }'


@pytest.mark.parametrize(
    ("primary", "what"),
    [
        ('{ metric = "ndcg@10" }', 'primary: "be better" goes with effect, above 0, and not with margin.'),
        ('{ metric = "ndcg@10", effect = 0 }', 'primary: "be better" goes with effect'),
        ('{ metric = "ndcg@10", effect = 0.1, margin = 0.1 }', 'primary: "be better" goes with effect'),
        (
            '{ metric = "ndcg@10", must = "not be worse", effect = 0.1 }',
            'primary: "not be worse" goes with margin, above 0, and not with effect.',
        ),
        ('{ metric = "ndcg@10", must = "not be worse", margin = 0 }', 'primary: "not be worse" goes with margin'),
        ('{ metric = "ndcg@10", must = "win", effect = 0.1 }', "primary.must: input should be 'be better' or 'not be worse'."),
        ('{ metric = "ndcg@10", effect = nan }', "primary.effect: input should be a finite number."),
        ('{ metric = "ndcg@10", effect = inf }', "primary.effect: input should be a finite number."),
        ('{ metric = "ndcg@10", effect = -0.1 }', "primary.effect: input should be greater than or equal to 0."),
        ('{ metric = "ndcg@10", effect = "much" }', "primary.effect: input should be a valid number"),
        ('{ metric = "ndcg@10", effect = 0.1, slice = "gender" }', "primary.slice: extra inputs are not permitted."),
        ("{ effect = 0.1 }", "primary.metric: field required."),
        ('"ndcg@10"', "primary: input should be a valid dictionary"),
    ],
)
def test_a_malformed_primary_metric_names_file_table_and_field(write, primary, what):
    write(WHOLE.replace(PRIMARY, primary))
    with pytest.raises(RequestError) as refused:
        load_gates("own", "home")
    assert str(refused.value).startswith(f"own.toml, [home], {what}"), refused.value
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("guardrail", "what"),
    [
        ('metric = "recall@10"', "a metric goes with a margin above 0."),
        ('metric = "recall@10"\nmargin = 0', "a metric goes with a margin above 0."),
        ('metric = "recall@10"\nmargin = 0.1\nmost = 1', "a metric goes with a margin above 0."),
        ('metric = "recall@10"\nmeasure = "p99_ms"\nmost = 1', "a guardrail has either a metric or a measure."),
        ("margin = 0.1", "a guardrail has either a metric or a measure."),
        ('measure = "p99_ms"', 'a measure goes with "most", and with nothing else.'),
        ('measure = "p99_ms"\nmost = 1\nmargin = 0.1', 'a measure goes with "most", and with nothing else.'),
        ('measure = "p99_ms"\nmost = 1\nslice = "gender"', 'a measure goes with "most", and with nothing else.'),
    ],
)
def test_a_malformed_guardrail_names_file_table_and_its_place(write, guardrail, what):
    write(f'{WHOLE}[[home.guardrail]]\nmeasure = "size_mb"\nmost = 5\n[[home.guardrail]]\n{guardrail}\n')
    with pytest.raises(RequestError) as refused:
        load_gates("own", "home")
    assert str(refused.value) == f"own.toml, [home], guardrail.1: {what}"


@pytest.mark.parametrize(
    ("guardrail", "field", "why"),
    [
        ('measure = "p99_ms"\nmost = nan', "most", "finite"),
        ('measure = "p99_ms"\nmost = inf', "most", "finite"),
        ('measure = "p99_ms"\nmost = -1', "most", "greater than or equal to 0"),
        ('metric = "recall@10"\nmargin = inf', "margin", "finite"),
        ('metric = "recall@10"\nmargin = nan', "margin", "finite"),
        ('metric = "recall@10"\nmargin = -0.1', "margin", "greater than or equal to 0"),
        ('metric = "recall@10"\nmargn = 0.1', "margn", "not permitted"),
        ('metric = ["recall@10"]\nmargin = 0.1', "metric", "valid string"),
    ],
)
def test_a_number_or_key_that_no_guardrail_has_is_named(write, guardrail, field, why):
    write(f"{WHOLE}[[home.guardrail]]\n{guardrail}\n")
    with pytest.raises(RequestError, match=rf"^own\.toml, \[home\], guardrail\.0\.{field}: .*{why}"):
        load_gates("own", "home")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("places = 0", r", places: input should be greater than or equal to 1\.$"),
        ("places = 1.5", ", places: input should be a valid integer"),
        ("power = 1", r", power: input should be less than 1\.$"),
        ("power = nan", ", power: input should be"),
        ("pover = 0.8", r", pover: extra inputs are not permitted\.$"),
        ("slices = 3", r", slices: input should be a valid string\.$"),
    ],
)
def test_a_wrong_line_of_the_table_is_named(write, line, what):
    write(f"{WHOLE}{line}\n")
    with pytest.raises(RequestError, match=rf"^own\.toml, \[home\]{what}"):
        load_gates("own", "home")


def test_a_surface_that_is_no_table_is_named(write):
    write("home = 3\n")
    with pytest.raises(RequestError, match=r"^own\.toml, \[home\]: input should be a valid dictionary"):
        load_gates("own", "home")


@pytest.mark.parametrize(
    ("metric", "what"),
    [
        ("ndgc@10", r'^there is no metric \(own\.toml, \[home\]\) "ndgc"\. Did you mean "ndcg"\?'),
        ("covrage@10", r'^there is no metric \(own\.toml, \[home\]\) "covrage"\. Did you mean "coverage"\?'),
        ("ndcg", r'^own\.toml, \[home\]: metric = "ndcg" should be a metric at a cut-off of the list\'s 20 places, like ndcg@10\.$'),
        ("ndcg@0", '"ndcg@0" should be a metric at a cut-off'),
        ("ndcg@21", '"ndcg@21" should be a metric at a cut-off'),
        ("ndcg@-5", '"ndcg@-5" should be a metric at a cut-off'),
        ("ndcg@ten", '"ndcg@ten" should be a metric at a cut-off'),
    ],
)
@pytest.mark.parametrize("place", ["primary", "guardrail"])
def test_a_metric_that_no_list_of_this_surface_has_is_refused(write, metric, what, place):
    write(WHOLE.replace("ndcg@10", metric) if place == "primary" else f'{WHOLE}[[home.guardrail]]\nmetric = "{metric}"\nmargin = 0.1\n')
    with pytest.raises(RequestError, match=what):
        load_gates("own", "home")


@pytest.mark.parametrize("metric", ["ndcg@²", "ndcg@010", "ndcg@１０"])
def test_a_cut_off_in_other_digits_is_refused(write, metric):
    """`str.isdigit` lets all three by; the first is no number, and no evaluation calls its metric by the others."""
    write(WHOLE.replace("ndcg@10", metric))
    with pytest.raises(RequestError, match="should be a metric at a cut-off"):
        load_gates("own", "home")


def test_a_metric_of_all_lists_together_cannot_be_the_primary_one(write):
    write(WHOLE.replace("ndcg@10", "coverage@10"))
    with pytest.raises(RequestError, match=r"^own\.toml, \[home\]: the primary metric is one of people, and coverage@10 is of all lists"):
        load_gates("own", "home")


def test_a_metric_of_all_lists_together_has_no_slice(write):
    write(f'{WHOLE}[[home.guardrail]]\nmetric = "coverage@10"\nslice = "gender"\nmargin = 0.1\n')
    with pytest.raises(RequestError, match="slice"):
        load_gates("own", "home")


def test_a_metric_that_the_lists_of_a_promotion_do_not_have_is_refused(write):
    """Diversity asks for vectors of items, which `evaluate_lists` is not given there."""
    write(f'{WHOLE}[[home.guardrail]]\nmetric = "diversity@10"\nmargin = 0.1\n')
    with pytest.raises(RequestError, match="diversity"):
        load_gates("own", "home")


def test_an_unknown_measure_is_answered_with_the_nearest(write):
    write(f'{WHOLE}[[home.guardrail]]\nmeasure = "p95_ms"\nmost = 1\n')
    with pytest.raises(RequestError, match=r'^there is no measure \(own\.toml, \[home\]\) "p95_ms"\. Did you mean "p99_ms"\?'):
        load_gates("own", "home")
    for measure in MEASURES:
        write(f'{WHOLE}[[home.guardrail]]\nmeasure = "{measure}"\nmost = 1\n')
        assert load_gates("own", "home").guardrail[0].measure == measure


def test_the_gates_that_are_shipped_can_be_read(project, monkeypatch):
    files = sorted((ROOT / "datasets" / "gates").glob("*.toml"))
    assert "ml-100k.toml" in [path.name for path in files]
    for path in files:
        for surface in tomllib.loads(path.read_text(encoding="utf-8")):
            gates = load_gates(path.stem, surface)
            assert gates.because
            assert gates.primary.must == "be better"
            assert {each.measure for each in gates.guardrail} >= {"p99_ms", "size_mb"}


GATES = {
    "because": "It is a test.",
    "primary": {"metric": "ndcg@10", "must": "be better", "effect": 0.02},
    "guardrail": [{"metric": "recall@10", "slice": "gender", "margin": 0.04}, {"measure": "p99_ms", "most": 100}],
    "slices": "activity",
    "places": 20,
    "power": 0.8,
}


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told["primary"].update(effect=0.021),
        lambda told: told["primary"].update(metric="ndcg@5"),
        lambda told: told.update(primary={"metric": "ndcg@10", "must": "not be worse", "margin": 0.02}),
        lambda told: told["guardrail"][0].update(margin=0.041),
        lambda told: told["guardrail"][0].update(slice="activity"),
        lambda told: told["guardrail"][1].update(most=101),
        lambda told: told["guardrail"].pop(),
        lambda told: told.update(places=19),
        lambda told: told.update(power=0.81),
    ],
)
def test_the_hash_is_another_when_anything_that_decides_is(change):
    from copy import deepcopy

    told = deepcopy(GATES)
    before = gates_hash(Gates.model_validate(told))
    change(told)
    assert gates_hash(Gates.model_validate(told)) != before
    assert len(before) == 12
    int(before, 16)


def test_the_hash_is_the_same_when_the_file_is_only_written_otherwise(write):
    write(WHOLE + '[[home.guardrail]]\nmetric = "recall@10"\nmargin = 0.10\n')
    before = gates_hash(load_gates("own", "home"))
    write(
        '# said otherwise\n[home.primary]\neffect = 2e-2 # hoped for\nmetric = "ndcg@10"\n\n'
        '[[home.guardrail]]\nmargin = 0.1\nmetric = "recall@10"\nslice = ""\n[home]\nbecause = "It is a test."\nplaces = 20\n'
    )
    assert gates_hash(load_gates("own", "home")) == before
