"""RecBole's networks, called with tensors, against RecBole's own way of looking up a column at a time."""

import pytest
import torch

from workbench.models.recbole import ranker as own
from workbench.models.recbole.ranker import context_network

WAYS = ("DeepFM", "DCNV2", "AutoInt")


def theirs(monkeypatch, *told):
    """RecBole's class as it is, with the weights it drew."""
    with monkeypatch.context() as patch:
        patch.setattr(own, "_Plain", lambda model: model)
        patch.setattr(own, "SQUASHED", ())
        return context_network(*told)


def columns(numbers, codes):
    """As RecBole has a batch: of a number its value and its place among the field's values, of which there is one."""
    found = {f"number_{place}": torch.stack([each, torch.zeros_like(each)], dim=1) for place, each in enumerate(numbers.T)}
    return found | {f"category_{place}": each for place, each in enumerate(codes.T)}


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize(("width", "sizes"), [(5, (4, 7)), (3, (2,)), (4, ()), (0, (3, 5)), (1, (1,))])
def test_the_quick_way_is_recboles_own(name, width, sizes, monkeypatch):
    told = (name, width, sizes, 4, (8, 4), 0.0)
    torch.manual_seed(0)
    slow = theirs(monkeypatch, *told).eval()
    torch.manual_seed(0)
    quick = context_network(*told).eval()
    for theirs_, ours in zip(slow.parameters(), quick.model.parameters(), strict=True):
        assert torch.equal(theirs_, ours)
    with torch.no_grad():
        for parameter in (*slow.parameters(), *quick.parameters()):  # biases begin at 0 and would hide
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter))
    generator = torch.Generator().manual_seed(1)
    numbers = torch.randn(6, width, generator=generator)
    codes = (
        torch.stack([torch.randint(size, (6,), generator=generator) for size in sizes], dim=1)
        if sizes
        else torch.empty(6, 0, dtype=torch.int64)
    )
    found = quick(numbers, codes)
    assert found.shape == (6, 1)
    said = slow.predict(columns(numbers, codes))  # a chance, of every model
    torch.testing.assert_close(found[:, 0].sigmoid(), said, rtol=1e-5, atol=1e-5)
    assert len(found.unique()) > 1


@pytest.mark.parametrize("name", WAYS)
def test_gradients_are_recboles_own(name, monkeypatch):
    told = (name, 3, (4, 5), 4, (8, 4), 0.0)
    torch.manual_seed(0)
    slow = theirs(monkeypatch, *told)
    torch.manual_seed(0)
    quick = context_network(*told)
    numbers, codes = torch.randn(6, 3), torch.stack([torch.randint(4, (6,)), torch.randint(5, (6,))], dim=1)
    quick.eval()(numbers, codes).sigmoid().square().sum().backward()
    slow.eval().predict(columns(numbers, codes)).square().sum().backward()
    for theirs_, ours in zip(slow.parameters(), quick.model.parameters(), strict=True):
        assert (ours.grad is None) == (theirs_.grad is None)
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs_.grad, rtol=1e-4, atol=1e-6)
