"""What a scorer may hand in, what is refused, and that its scores come back as they went."""

import warnings

import numpy as np
import pytest
import torch

from tests.evaluation.made import Scores
from workbench.errors import WorkError
from workbench.evaluation import evaluate
from workbench.testing import interactions, latent_log
from workbench.testing.synthetic import holdout

N, N_ITEMS = 60, 40


@pytest.fixture(scope="module")
def judged():
    return latent_log(n_users=N, n_items=N_ITEMS, events_each=20)[1]


@pytest.fixture(scope="module")
def scores():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 9, size=(N, N_ITEMS)) / 8).float()  # with ties, exact in half precision


class Stored:
    """Hands out one and the same tensor, made by a function of the scores, for everybody at once."""

    inductive, personal, title = True, False, "Stored"

    def __init__(self, tensor):
        self.tensor = tensor

    def score(self, batch):
        return self.tensor


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_score_that_is_not_finite_stops_the_evaluation(judged, scores, bad):
    scores, unseen = scores.clone(), judged.truth.items[0]
    scores[judged.truth.users[0], unseen] = bad
    n_unseen = N_ITEMS - 16
    with pytest.raises(ValueError, match=r"^the scores of Scores are not all finite\.$"):
        evaluate(Scores(scores), judged, ks=(n_unseen,))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_whatever_the_score_of_what_may_not_be_shown(judged, scores, bad):
    changed = scores.clone()
    changed[judged.seen.users, judged.seen.items] = bad
    assert torch.equal(evaluate(Scores(changed), judged).top, evaluate(Scores(scores), judged).top)


@pytest.mark.parametrize("shape", [(N, N_ITEMS - 1), (1, N_ITEMS), (N * N_ITEMS,), (N_ITEMS, N)])
def test_scores_of_another_shape_are_refused(judged, shape):
    with pytest.raises(ValueError, match=r"scores have shape .* expected \(60, 40\)"):
        evaluate(Stored(torch.zeros(shape)), judged)


AS = {
    "contiguous": torch.Tensor.clone,
    "double": torch.Tensor.double,
    "half": torch.Tensor.half,
    "bfloat16": torch.Tensor.bfloat16,
    "transposed": lambda scores: scores.T.contiguous().T,
    "part of a larger one": lambda scores: torch.cat([scores, scores], dim=1)[:, :N_ITEMS],
    "wants a gradient": lambda scores: scores.clone().requires_grad_(),
    "has a gradient function": lambda scores: scores.clone().requires_grad_() * 1,
    "made in inference mode": lambda scores: torch.inference_mode()(torch.clone)(scores),
}


@pytest.mark.parametrize("form", AS)
def test_scores_in_any_form_give_the_same_lists_and_are_left_as_they_were(judged, scores, form):
    stored = AS[form](scores)
    result = evaluate(Stored(stored), judged)
    assert torch.equal(result.top, evaluate(Scores(scores), judged).top)
    assert torch.equal(stored.detach().float(), scores)
    assert torch.equal(evaluate(Stored(stored), judged).top, result.top)  # and once more: nothing of the mask has stayed
    assert stored.grad is None if stored.is_leaf else stored.grad_fn is not None


def test_one_row_for_everybody_is_not_masked_for_all_of_them(judged, scores):
    """An expanded tensor has one row in memory, however many it shows."""
    row = scores[0].clone()
    result = evaluate(Stored(row.expand(N, N_ITEMS)), judged)
    assert torch.equal(result.top, evaluate(Scores(row.repeat(N, 1)), judged).top)
    assert torch.equal(row, scores[0])
    column = evaluate(Stored(torch.arange(N).float()[:, None].expand(N, N_ITEMS)), judged)
    assert torch.equal(column.top, evaluate(Scores(torch.zeros(N, N_ITEMS)), judged).top)


def test_scores_are_left_as_they_were_when_they_are_refused(judged, scores):
    stored = scores.clone()
    stored[judged.truth.users[0], judged.truth.items[0]] = torch.nan
    before = stored.clone()
    with pytest.raises(ValueError, match="not all finite"):
        evaluate(Stored(stored), judged)
    assert torch.equal(stored.nan_to_num(-1), before.nan_to_num(-1))


def test_an_item_that_a_person_had_twice_is_masked_once_and_its_score_comes_back():
    known = interactions([(0, 1), (0, 1), (0, 2), (1, 0)], 2, 4)
    judged, stored = holdout(known, interactions([(0, 3), (1, 3)], 2, 4)), torch.tensor([[1.0, 9, 8, 2], [9, 3, 2, 1]])
    before = stored.clone()
    result = evaluate(Stored(stored), judged, ks=(3,))
    assert result.top.tolist() == [[3, 0, -1], [1, 2, 3]]
    assert torch.equal(stored, before)


class Hungry(Scores):
    """Does not fit into memory for more people than `most`."""

    title = "Hungry"

    def __init__(self, scores, most, error, words=""):
        super().__init__(scores)
        self.most, self.error, self.words, self.asked = most, error, words, []

    def score(self, batch):
        self.asked.append(len(batch))
        if len(batch) > self.most:
            raise self.error(self.words)
        return super().score(batch)


TOO_LARGE = {
    "CUDA": (torch.OutOfMemoryError, "CUDA out of memory."),
    "Python": (MemoryError, ""),
    "CPU": (RuntimeError, "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte."),
}


@pytest.mark.parametrize("where", TOO_LARGE)
def test_a_batch_that_does_not_fit_is_halved_with_a_warning(judged, scores, where):
    hungry = Hungry(scores, 20, *TOO_LARGE[where])
    with pytest.warns(RuntimeWarning) as warned:
        result = evaluate(hungry, judged)
    assert [str(each.message) for each in warned] == [
        "out of memory with 60 people at once; going on with 30",
        "out of memory with 30 people at once; going on with 15",
    ]
    assert warned[0].filename == __file__  # points at who called `evaluate`
    assert hungry.asked == [60, 30, 15, 15, 15, 15]
    whole = evaluate(Scores(scores), judged)
    assert torch.equal(result.top, whole.top)
    assert all(torch.equal(result.per_user[metric], whole.per_user[metric]) for metric in whole.per_user)
    assert result.tied_share == whole.tied_share


def test_one_person_who_does_not_fit_is_the_end(judged, scores):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with pytest.raises(WorkError, match="the scores of one person for 40 items do not fit into memory"):
            evaluate(Hungry(scores, 0, torch.OutOfMemoryError), judged)


def test_any_other_error_of_a_scorer_is_its_own(judged, scores):
    hungry = Hungry(scores, 0, RuntimeError, "shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        evaluate(hungry, judged)
    assert hungry.asked == [60]


@pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"))]
)
def test_requests_come_on_the_device_asked_for_and_lists_go_back_to_the_processor(judged, scores, device):
    class Located(Scores):
        def score(self, batch):
            assert {batch.users.device.type, batch.items.device.type} == {device}
            return super().score(batch)

    model = Located(scores)
    model.scores = model.scores.to(device)
    result = evaluate(model, judged, device=device)
    assert result.top.device.type == "cpu"
    assert torch.equal(result.top, evaluate(Scores(scores), judged).top)


def test_a_device_that_does_not_exist_is_refused(judged, scores):
    with pytest.raises(RuntimeError, match="device"):
        evaluate(Scores(scores), judged, device="abacus")
