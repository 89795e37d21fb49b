"""What is told of learning: the curves, what each training cost, how far trainings of one model are apart."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.evaluation.made import METRIC, valued
from tests.reporting.test_html import RUN
from workbench.evaluation import pool
from workbench.models import create
from workbench.reporting import learning_figure, learning_table, training_rows, trials_table
from workbench.reporting.record import validate_run
from workbench.selection import Choice, How, search
from workbench.testing import latent_log
from workbench.training import Device, Engine, Epoch, Training

CPU = Device("cpu", "32", 2, "no GPU found; 32 bits")
MB = 2**20


def training(*values, **said) -> Training:
    """An epoch for each value, two seconds each; of equal ones the first is the best."""
    curve = [Epoch(number=n, loss=1 / n, seconds=2.0 * n, value=value) for n, value in enumerate(values, 1)]
    judged = [value for value in values if value is not None]
    best = values.index(max(judged)) + 1 if judged else len(values)
    known = {"seconds": 10.0, "utilisation": 0.5, "peak_memory": 300 * MB, **said}
    return Training(**{"device": CPU, "watch": METRIC, "curve": curve, "best_epoch": best, **known})


def choice(name: str, people: list[list[float]], *trainings: Training, trials: int = 1, tuned_by: int = 0) -> Choice:
    """people: of each training the metric of each person."""
    validation = pool([valued(values, name) for values in people])
    told = [{"model": name, "settings": {"k": n}, "value": 0.1} for n in range(trials)]
    return Choice(
        name=name,
        settings={},
        models=(),
        early=create("random"),
        validation=validation,
        seconds=1.0,
        trials=told,
        tuned_by=tuned_by,
        trainings=trainings,
    )


@pytest.fixture
def choices():
    """Two trainings of a, whose means are 0.2 and 0.3; one of b, mean 0.4; c does not learn by gradient."""
    return {
        "a": choice(
            "a",
            [[0.1, 0.3], [0.2, 0.4]],
            training(0.1, 0.2, 0.15),
            training(0.1, 0.2, 0.25, 0.3, seconds=21.0, utilisation=0.9, peak_memory=1500 * MB),
        ),
        "b": choice("b", [[0.3, 0.5]], training(0.4, None, 0.4, seconds=0.4, utilisation=None)),
        "c": choice("c", [[0.0, 0.0]]),
    }


def test_a_row_for_each_model_that_learns(choices):
    table = learning_table(choices, METRIC)
    rows = table.frame.set_index("model")
    assert list(rows.index) == ["a", "b"]
    assert rows["NDCG@10 on validation"].tolist() == pytest.approx([(0.2 + 0.3) / 2, 0.4])
    assert rows["trainings"].tolist() == [2, 1]
    assert rows["epochs"].tolist() == ["2 of 3, 4 of 4", "1 of 3"]
    assert rows["seconds, each"].tolist() == ["16", "0"]  # (10 + 21) / 2 rounds to the even one
    assert rows["device"].tolist() == ["cpu, 32, 2 threads"] * 2
    assert rows["used"].tolist() == ["70%", ""], "what nobody can tell is not told"
    assert rows["memory"].tolist() == ["1,500 MB", "300 MB"], "the most of them"


def test_the_spread_is_the_standard_deviation_over_trainings_and_of_one_there_is_none(choices):
    """Of 0.2 and 0.3: √((0.05² + 0.05²) / (2 − 1))."""
    spread = learning_table(choices, METRIC).frame["spread"]
    assert spread[0] == pytest.approx(math.sqrt(0.05**2 + 0.05**2))
    assert math.isnan(spread[1])
    page = learning_table(choices, METRIC)._repr_html_()
    assert '<td class="right">0.071</td>' in page
    assert "nan" not in page


def test_the_caption_says_what_the_numbers_are(choices):
    caption = learning_table(choices, METRIC).caption
    assert caption.startswith("Spread: standard deviation of NDCG@10 over trainings that differ by their seed alone. Epochs: the best ")
    assert caption.endswith("Memory: on a CPU the most that the whole process has taken so far.")


def test_the_figure_has_a_line_for_each_training_at_what_was_judged(choices):
    figure = learning_figure(choices)
    (axes,) = figure.figure.axes
    lines = [np.column_stack(line.get_data()).tolist() for line in axes.lines]
    assert lines == [
        [[2, 0.1], [4, 0.2], [6, 0.15]],
        [[2, 0.1], [4, 0.2], [6, 0.25], [8, 0.3]],
        [[2, 0.4], [6, 0.4]],
    ]
    first, second, other = ((line.get_color(), line.get_linestyle()) for line in axes.lines)
    assert first == second != other, "a model is a colour or a style"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
    assert axes.get_ylabel() == "NDCG@10 on validation"
    assert figure.name == "learning"


def test_the_alt_text_has_the_numbers(choices):
    figure = learning_figure(choices)
    assert figure.alt == f"{figure.caption} a at best 0.200 in epoch 2, 0.300 in epoch 4; b at best 0.400 in epoch 1."
    assert figure.caption == (
        "NDCG@10 on validation after each epoch, against the seconds that training took so far; a line for each training."
    )


def test_as_many_models_as_there_are_can_be_told_apart():
    many = {f"m{n}": choice(f"m{n}", [[0.1]], training(0.1, 0.2)) for n in range(9)}
    (axes,) = learning_figure(many).figure.axes
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 9


def test_where_nothing_learns_by_gradient_there_is_a_sentence(choices):
    alone = {"c": choices["c"]}
    sentence = "Not applicable, because none of these models learns by gradient."
    assert learning_figure(alone).text == learning_table(alone, METRIC).text == sentence
    assert training_rows(alone) == []


def test_a_training_that_nobody_judged_has_a_row_and_no_line(choices):
    unjudged = choice("d", [[0.2]], training(None, None))
    assert learning_table({"d": unjudged}, METRIC).frame["epochs"].tolist() == ["2 of 2"]
    (axes,) = learning_figure({**choices, "d": unjudged}).figure.axes
    assert len(axes.lines) == 3
    (row,) = training_rows({"d": unjudged})
    assert row["best"] is None


def test_the_record_has_each_training_and_the_schema_takes_it(choices):
    rows = training_rows(choices)
    assert [(row["model"], row["training"]) for row in rows] == [("a", 0), ("a", 1), ("b", 0)]
    assert rows[1] == {
        "model": "a",
        "training": 1,
        "device": "cpu",
        "precision": "32",
        "threads": 2,
        "reason": "no GPU found; 32 bits",
        "watch": "ndcg@10",
        "epochs": 4,
        "best_epoch": 4,
        "best": 0.3,
        "seconds": 21.0,
        "utilisation": 0.9,
        "peak_memory": 1500 * MB,
    }
    validate_run({**RUN, "trainings": rows})
    for broken in ({"best_epoch": 0}, {"precision": "16"}, {"surprise": 1}):
        with pytest.raises(ValueError, match="trainings"):
            validate_run({**RUN, "trainings": [{**rows[0], **broken}]})


class Parts:
    """What a search reads of a split."""

    snapshot_id, refit = "own@1", "train"

    def __init__(self) -> None:
        self.train, self.valid = latent_log(n_users=30, n_items=20, events_each=10)

    def holdout(self, part):
        return self.valid


def test_what_a_search_found_is_told(home):
    """Two real trainings, from the search to the record."""
    found = search("mf", Parts(), METRIC, tuned=False, trainings=2, how=How(engine=Engine(device="cpu", threads=1), epochs=2), ks=(10,))
    told = {"mf": found}
    rows = training_rows(told)
    validate_run({**RUN, "trainings": rows})
    assert [row["epochs"] for row in rows] == [2, 2]
    spread = np.std([row["best"] for row in rows], ddof=1)
    assert learning_table(told, METRIC).frame["spread"][0] == pytest.approx(spread)
    assert len(learning_figure(told).figure.axes[0].lines) == 2


def test_settings_out_of_a_study_are_said_to_be(choices):
    told = trials_table(choices, METRIC).caption
    assert told == "Validation part, 2 people. 3 settings tried; all went on to test."
    studied = {**choices, "a": replace(choices["a"], tuned_by=50), "c": replace(choices["c"], tuned_by=7)}
    assert trials_table(studied, METRIC).caption == (
        f"{told} `workbench tune` had tried others on the same part before, and its best are used: a 50, c 7 trials."
    )
    several = {"a": choice("a", [[0.1]], trials=5), "b": choice("b", [[0.2]], tuned_by=9)}
    table = trials_table(several, METRIC)
    assert table.frame["model"].tolist() == ["b", "a", "a", "a"]
    assert "6 settings tried; of each model the best 3 are shown, and the first went on to test. `workbench tune`" in table.caption


def test_a_models_name_is_its_title():
    """Where it has one, everywhere alike."""
    assert create("mf").title == "Matrix factorisation"
    named = replace(choice("mf", [[0.1]], training(0.1)), validation=replace(valued([0.1], "mf"), title="Matrix factorisation"))
    assert learning_table({"mf": named}, METRIC).frame["model"].tolist() == ["Matrix factorisation"]
    assert "Matrix factorisation at best 0.100 in epoch 1." in learning_figure({"mf": named}).alt
    assert training_rows({"mf": named})[0]["model"] == "mf", "the record keeps the name that makes the model"
