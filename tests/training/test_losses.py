"""The losses are the papers' formulas, with gradients that are theirs, in bounded memory."""

import math

import pytest
import torch
from torch import Generator, tensor
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from workbench.training import losses
from workbench.training.losses import gbce_beta, gbce_loss, in_batch_softmax_loss, softmax_loss


@pytest.fixture(params=[1, 3, 100], ids=lambda rows: f"blocks of {rows}")
def blocks(request, monkeypatch):
    """Rows of scores that fit, at 6 items of 8 bytes."""
    monkeypatch.setattr(losses, "SCORE_BYTES", request.param * 6 * 8)
    return request.param


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_gbce_by_hand():
    positive, negative = tensor([2.0, 0.0]), tensor([[1.0, -1.0], [0.0, 3.0]])
    liked = math.log(sigmoid(2)) + math.log(sigmoid(0))
    not_liked = math.log(1 - sigmoid(1)) + math.log(1 - sigmoid(-1)) + math.log(1 - sigmoid(0)) + math.log(1 - sigmoid(3))
    assert gbce_loss(positive, negative, beta=0.3).item() == pytest.approx(-0.3 * liked - not_liked)
    assert math.log(sigmoid(2) ** 0.3) == pytest.approx(0.3 * math.log(sigmoid(2)))  # eq. 13 has the power, we the factor


def test_beta_at_its_ends():
    """α = k / (|I| − 1) = 10 / 100."""
    assert gbce_beta(10, 101, calibration=0.0) == pytest.approx(1.0)
    assert gbce_beta(10, 101, calibration=1.0) == pytest.approx(10 / 100)
    assert gbce_beta(10, 101, calibration=0.75) == pytest.approx(0.1 * (0.75 * (1 - 10) + 10))
    assert gbce_beta(500, 101, calibration=1.0) == 1.0  # more were drawn than there are: nothing was sampled
    assert gbce_beta(3, 1, calibration=0.5) == 1.0


def test_gbce_at_full_calibration_is_calibrated():
    """Theorem 5.1 of gSASRec: at β = α the loss of sampled negatives is least where σ(s) is the item's true probability.

    For one item of probability p the expected loss is −β p log σ − (1 − p) α log(1 − σ), as α of the negatives are drawn. It is convex, so
    it is least where its slope is nothing: at σ = p for β = α, and for plain cross-entropy at p / (p + α (1 − p)), which is too much.
    """
    p, alpha = 0.05, 0.1
    for beta, least in ((alpha, p), (1.0, p / (p + alpha * (1 - p)))):
        score = torch.logit(tensor([least], dtype=torch.float64)).requires_grad_()
        positive = gbce_loss(score, torch.empty(1, 0), beta)
        negative = gbce_loss(score, score[:, None], 0.0)
        (p * positive + (1 - p) * alpha * negative).backward()
        assert score.grad.item() == pytest.approx(0.0, abs=1e-12)
    assert least > 6 * p


def plain_in_batch(scores, items, candidates, log_q) -> float:
    total = 0.0
    for row, item in enumerate(items.tolist()):
        own = scores[row, row].item()
        others = [math.exp(scores[row, c].item() - log_q[c].item()) for c, candidate in enumerate(candidates.tolist()) if candidate != item]
        total += math.log(math.exp(own) + sum(others)) - own
    return total


def test_in_batch_softmax_is_the_plain_loop():
    """Own items that stand a second time, among the batch's and among the further candidates, and another's that does."""
    items = tensor([4, 2, 4, 7, 2, 9, 9])
    generator = Generator().manual_seed(0)
    states, vectors = torch.randn(4, 3, generator=generator), torch.randn(7, 3, generator=generator)
    log_q = torch.linspace(-3, 1, 7)
    expected = plain_in_batch(states @ vectors.T, items[:4], items, log_q)
    assert in_batch_softmax_loss(states, vectors, items, log_q).item() == pytest.approx(expected, rel=1e-5)


def test_in_batch_softmax_has_the_gradients_of_its_value(blocks):
    generator = Generator().manual_seed(0)
    states, vectors = (torch.randn(n, 3, generator=generator, dtype=torch.float64).requires_grad_() for n in (4, 6))
    items, log_q = tensor([4, 2, 4, 7, 2, 9]), torch.linspace(-2, 1, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s, v: in_batch_softmax_loss(s, v, items, log_q), (states, vectors))


def test_in_batch_softmax_by_hand():
    """Two examples, items 0 and 1, each expected once: log(e¹ + e⁰) − 1 and log(e⁰ + e²) − 2."""
    states, vectors = tensor([[1.0, 0.0], [0.0, 2.0]]), torch.eye(2)  # so that states are scores
    loss = in_batch_softmax_loss(states, vectors, tensor([0, 1]), torch.zeros(2))
    assert loss.item() == pytest.approx(math.log(math.e + 1) - 1 + math.log(1 + math.e**2) - 2)
    # a candidate that is expected twice counts half
    loss = in_batch_softmax_loss(states, vectors, tensor([0, 1]), tensor([0.0, math.log(2)]))
    assert loss.item() == pytest.approx(math.log(math.e + 1 / 2) - 1 + math.log(1 + math.e**2) - 2)


def test_in_batch_softmax_alone_in_the_batch_has_nothing_to_learn():
    states = tensor([[3.0, 1.0]], requires_grad=True)
    loss = in_batch_softmax_loss(states, torch.eye(2), tensor([5, 5]), torch.zeros(2))
    loss.backward()
    assert loss.item() == 0.0
    assert states.grad.tolist() == [[0.0, 0.0]]


def made(n: int, m: int, d: int, dtype=torch.float64, seed: int = 0):
    generator = Generator().manual_seed(seed)
    states = torch.randn(n, d, generator=generator, dtype=dtype).requires_grad_()
    items = torch.randn(m, d, generator=generator, dtype=dtype).requires_grad_()
    return states, items, torch.randint(m, (n,), generator=generator)


def test_softmax_is_torchs_cross_entropy(blocks):
    ours, theirs = made(8, 6, 4), made(8, 6, 4)
    loss = softmax_loss(*ours)
    expected = cross_entropy(theirs[0] @ theirs[1].T, theirs[2], reduction="sum")
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    (3.0 * loss).backward()
    (3.0 * expected).backward()
    for mine, other in zip(ours[:2], theirs[:2], strict=True):
        assert torch.allclose(mine.grad, other.grad, rtol=1e-10, atol=1e-12)


def test_the_gradients_are_those_of_the_loss(blocks):
    """By finite differences, at every input; negatives with repeats and with targets among them."""
    states, items, targets = made(5, 6, 3)
    assert torch.autograd.gradcheck(lambda s, i: softmax_loss(s, i, targets), (states, items))
    negatives = torch.cat([targets[:2], tensor([0, 3, 3, 5])])
    shift = torch.linspace(-1, 1, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s, i: softmax_loss(s, i, targets, negatives, shift), (states, items))
    assert torch.autograd.gradcheck(lambda s, i: softmax_loss(s, i, targets, negatives), (states, items))


def test_softmax_among_negatives_is_torchs_over_the_target_and_these(blocks):
    """Plainly: for each state the scores of its target and of the negatives that are not it, less their shift."""
    ours, (states, items, targets) = made(8, 6, 4), made(8, 6, 4)
    negatives = torch.cat([targets[:1], tensor([1, 2, 2, 5, 0])])
    shift = torch.linspace(-2, 1, 6, dtype=torch.float64)
    loss = softmax_loss(*ours, negatives, shift)
    expected = torch.zeros((), dtype=torch.float64)
    for state, target in zip(states, targets, strict=True):
        kept = negatives != target
        scores = torch.cat([(state @ items[target])[None], items[negatives[kept]] @ state - shift[kept]])
        expected = expected + cross_entropy(scores[None], tensor([0]))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    loss.backward()
    expected.backward()
    assert torch.allclose(ours[0].grad, states.grad, rtol=1e-10, atol=1e-12)
    assert torch.allclose(ours[1].grad, items.grad, rtol=1e-10, atol=1e-12)


def test_every_item_once_as_a_negative_is_the_full_softmax():
    states, items, targets = made(8, 6, 4)
    assert softmax_loss(states, items, targets, torch.arange(6), torch.zeros(6)).item() == pytest.approx(
        softmax_loss(states, items, targets).item(), rel=1e-12
    )


@pytest.mark.parametrize("skewed", [False, True], ids=["uniform", "skewed"])
def test_sampled_softmax_estimates_the_full_one(skewed):
    """With the shift log(k q), the sum over k negatives has the mean Σ exp(s) over all other items, whatever q is: without bias.

    Its log is below that sum's on average (Jensen), so few negatives understate the loss; with many the two meet. 400 draws of k
    negatives; the bound is five standard errors of their mean.
    """
    states, items, targets = made(1, 50, 8, seed=3)
    states, items = states.detach() / 2, items.detach()
    q = torch.softmax(torch.linspace(0, 3 if skewed else 0, 50, dtype=torch.float64), 0)
    scores = (states @ items.T)[0]
    others = torch.logsumexp(scores[torch.arange(50) != targets[0]], 0).exp().item()
    own, full = scores[targets[0]].item(), softmax_loss(states, items, targets).item()
    generator = Generator().manual_seed(1)

    def sampled(k: int) -> torch.Tensor:
        drawn = torch.multinomial(q, 400 * k, replacement=True, generator=generator).view(400, k)
        return torch.stack([softmax_loss(states, items, targets, each, q[each].log() + math.log(k)) for each in drawn])

    few = sampled(10)
    normaliser = (few + own).exp() - math.exp(own)
    assert abs(normaliser.mean().item() - others) < 5 * normaliser.std().item() / 400**0.5
    assert few.mean().item() < full
    many = sampled(5000)
    assert abs(many.mean().item() - full) < 0.01 < abs(few.mean().item() - full)
    assert many.std() < few.std() / 10  # 500 times the draws: √500 = 22 times less noise


class Sizes(TorchDispatchMode):
    """Bytes of the largest block of scores for 1,000 items that any operation returned."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.dim() == 2 and out.shape[1] == 1000:  # a block of scores, by its width
            self.largest = max(self.largest, out.nbytes)
        return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sampled", [False, True])
def test_no_more_scores_are_held_than_said(monkeypatch, dtype, sampled):
    """2,000 states and 1,000 items: 8 or 16 MB at once, in blocks of at most 64 KiB."""
    monkeypatch.setattr(losses, "SCORE_BYTES", 2**16)
    states, items, targets = made(2000, 1000, 4, dtype)
    negatives = torch.randperm(1000, generator=Generator().manual_seed(0)) if sampled else None
    with Sizes() as sizes:
        softmax_loss(states, items, targets, negatives).backward()
    assert 2**15 < sizes.largest <= 2**16


def test_under_autocast_scores_are_float32_and_close():
    ours, theirs = made(50, 30, 16, torch.float32), made(50, 30, 16, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = softmax_loss(*ours)
    wide = softmax_loss(*theirs)
    narrow.backward()
    wide.backward()
    assert narrow.dtype == torch.float32
    assert narrow.item() == pytest.approx(wide.item(), rel=0.01)  # bfloat16 has 8 bits: 1/256 a number
    assert ours[0].grad.dtype == ours[1].grad.dtype == torch.float32
    assert (ours[0].grad - theirs[0].grad).norm() < 0.02 * theirs[0].grad.norm()
    assert (ours[1].grad - theirs[1].grad).norm() < 0.02 * theirs[1].grad.norm()


def test_softmax_does_not_overflow():
    states, items = torch.full((1, 1), 1e3, requires_grad=True), tensor([[1.0], [-1.0]])
    loss = softmax_loss(states, items, tensor([1]))
    loss.backward()
    assert loss.item() == pytest.approx(2e3)
    assert states.grad.item() == pytest.approx(2.0)


def test_losses_work_on_every_device(device):
    states, items, targets = (part.detach().to(device) for part in made(8, 6, 4, torch.float32))
    assert softmax_loss(states, items, targets).item() == pytest.approx(softmax_loss(states.cpu(), items.cpu(), targets.cpu()).item())
