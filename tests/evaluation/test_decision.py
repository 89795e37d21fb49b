"""The sentences of a decision, computed from numbers that call for each of them."""

import re

import numpy as np
import pytest
import torch

from tests.evaluation.made import METRIC, valued
from workbench.errors import RequestError
from workbench.evaluation import Slice, decide

N = 200


def decision(chosen, rival, effect=0.01, slices=()):
    """A is the best on validation; on test A and B have these values."""
    n = len(chosen)
    validation = {"a": valued([1.0] * n, "A"), "b": valued([0.0] * n, "B")}
    return decide(validation, {"a": valued(chosen, "A"), "b": valued(rival, "B")}, METRIC, slices, effect=effect)


def noise(scale):
    drawn = np.random.default_rng(0).normal(size=N)
    return scale * (drawn - drawn.mean())


@pytest.mark.parametrize(
    ("differences", "sentence"),
    [
        (0.05 + noise(0.01), r"^A ranks what people like next higher than B: NDCG@10 up 0\.050 \(95 % interval \+0\.049 to \+0\.051\)\.$"),
        (0.005 + noise(0.001), r"^A is ahead of B by less than the 0\.01 that would matter: NDCG@10 up 0\.005 \("),
        (-0.05 + noise(0.01), r"^A, the best on validation, lost to B on test: NDCG@10 down 0\.050 \(.*Choose neither on this evidence\.$"),
        (
            -0.005 + noise(0.001),
            r"^A, the best on validation, is behind B by less than the 0\.01 that would matter: NDCG@10 down 0\.005 \(",
        ),
        (noise(0.01), r"^A and B do equally well: NDCG@10 differs by 0\.000 \(.*, and 0\.01 would matter\.$"),
        (noise(1), r"^We cannot tell A from B: .*, and with 200 people a difference below 0\.\d{3} often goes unseen\.$"),
        (noise(1)[:20], r"^We cannot tell A from B: .*, and 20 people are too few\.$"),
    ],
    ids=["better", "ahead", "lost", "behind", "equal", "unseen", "too few"],
)
def test_the_sentence_says_what_the_numbers_say(differences, sentence):
    headline = decision(differences, np.zeros(len(differences))).headline()
    assert re.search(sentence, headline), headline


def test_the_choice_is_validations_even_when_test_disagrees():
    found = decision(np.zeros(N), np.ones(N))
    assert (found.chosen.title, found.rival.title) == ("A", "B")
    assert found.overall.difference.value == -1


def test_a_third_model_is_no_part_of_the_comparison():
    values = {"a": 0.2, "b": 0.1, "c": 0.3}
    validation = {name: valued([value] * N, name) for name, value in values.items()}
    test = {name: valued([0.5] * N, name) for name in values}
    found = decide(validation, test, METRIC, [], effect=0.01)
    assert (found.chosen.model, found.rival.model) == ("c", "a")


def people(names):
    """Slices of the first three people and the rest, of the first forty and the others."""
    everyone = torch.arange(N)
    inside = {"few": everyone < 3, "rest": everyone >= 3, "forty": everyone < 40, "others": everyone >= 40}
    return [Slice("people", name, inside[name]) for name in names.split()]


def gains(first, other=0.1):
    """0.1 for everyone but the first so many."""
    values = np.full(N, other)
    values[: len(first)] = first
    return values


@pytest.mark.parametrize(
    ("gain", "slices", "sentence"),
    [
        (gains([]), "forty others", "The difference shows in every one of 2 slices."),
        (gains([0.2, -0.2, 0.1]), "few rest", "For people few we cannot tell."),
        (gains([0.001, -0.001] * 20), "forty others", "In some of 2 slices there is no difference."),
        (gains([-0.1] * 40), "forty others", "It is the other way round for people forty."),
        (gains([0.2, -0.2, 0.1]), "few rest few", "Taken alone, 2 of 3 slices are too few people to say."),
        (gains([]), "", ""),
    ],
)
def test_slices_that_differ_are_named(gain, slices, sentence):
    headline = decision(gain, np.zeros(N), slices=people(slices)).headline()
    assert headline.startswith("A ranks what people like next higher than B")
    assert headline.endswith(f"). {sentence}" if sentence else ").")


def test_slices_are_not_spoken_of_where_the_models_do_not_differ():
    assert "slice" not in decision(noise(0.01), np.zeros(N), slices=people("forty others")).headline()


def test_whom_the_fallback_serves_is_a_slice_of_its_own():
    test = {"a": valued([1.0] * N, "A"), "b": valued([0.0] * N, "B")}
    test["a"].lists.served[:50] = False
    found = decide(test, test, METRIC, people("forty"), effect=0.01)
    assert [each.label for each in found.asked] == ["people: forty", "served by: the fallback", "served by: the model"]
    assert [(each.group, each.difference.n) for each in found.slices] == [("forty", 40), ("the fallback", 50), ("the model", 150)]


@pytest.mark.parametrize(("others", "told"), [(0, False), (1, False), (9, False), (10, True), (190, True), (191, False), (200, False)])
def test_whom_the_fallback_serves_is_told_where_ten_are_on_either_side(others, told):
    test = {"a": valued([1.0] * N, "A"), "b": valued([0.0] * N, "B")}
    test["a"].lists.served[:others] = False
    assert [each.name for each in decide(test, test, METRIC, [], effect=0.01).asked] == ["the fallback", "the model"] * told


def test_one_model_alone_is_said_to_be_alone():
    alone = {"a": valued([0.25] * N, "A")}
    assert decide(alone, alone, METRIC, people("forty"), effect=0.01).headline() == (
        "A was the only model tried: NDCG@10 0.250, with nothing to compare."
    )


@pytest.mark.parametrize("names", [("a", "b"), ("", "")])
def test_both_parts_need_the_same_models_and_one_at_least(names):
    one, other = ({name: valued([0.25] * N, name)} if name else {} for name in names)
    with pytest.raises(RequestError, match="a choice needs the same models in both"):
        decide(one, other, METRIC, [], effect=0.01)
