"""The choice of a device says why it was made, and what is not here is refused."""

import pytest
import torch

from workbench.errors import RequestError
from workbench.training import choose_device
from workbench.training.device import threads


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_without_a_gpu_it_is_the_cpu_in_32_bits(no_gpu):
    device = choose_device()
    assert (device.name, device.kind, device.precision, device.threads) == ("cpu", "cpu", "32", torch.get_num_threads())
    assert device.reason == "no GPU found; 32 bits"


def test_what_was_asked_for_is_what_one_gets_and_the_reason_says_so():
    device = choose_device("cpu", "bf16", threads=3)
    assert (device.name, device.precision, device.threads) == ("cpu", "bf16", 3)
    assert device.reason == "asked for; bf16 asked for"
    assert choose_device("cpu", "32").reason == "asked for; 32 bits asked for"


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_is_taken_first_and_16_bits_where_it_has_them(monkeypatch, native):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    monkeypatch.setattr(torch, "empty", lambda *size, device: None)  # the probe
    device = choose_device()
    assert (device.name, device.kind) == ("cuda:0", "cuda")
    assert device.precision == ("bf16" if native else "32")
    assert device.reason.startswith("the first CUDA device; ")
    assert choose_device("cuda").name == "cuda:0"
    assert choose_device("cuda:3").name == "cuda:3"
    assert choose_device(precision="32").precision == "32"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_a_gpu_that_is_not_here_is_refused(name):
    with pytest.raises(RequestError, match=rf'device = "{name}" is not here: .*\. Use "auto" or "cpu"\.'):
        choose_device(name)


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "cpu:0", "CPU", "", "cuda:0,1"])
def test_a_device_that_does_not_exist_is_refused(name):
    with pytest.raises(RequestError, match=r"should be auto, cpu, cuda, cuda:N or mps"):
        choose_device(name)


@pytest.mark.parametrize("precision", ["16", "bf16-mixed", "64", ""])
def test_a_precision_that_does_not_exist_is_refused(precision):
    with pytest.raises(RequestError, match=r"should be one of auto, 32, bf16"):
        choose_device("cpu", precision)


def test_threads_are_at_least_one():
    with pytest.raises(RequestError, match="threads = -1 should be at least 1"):
        choose_device("cpu", threads=-1)


def test_threads_are_lent_and_given_back_whatever_happens():
    before = torch.get_num_threads()
    lent = []

    def work():
        with threads(before + 2):
            lent.append(torch.get_num_threads())
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert lent == [before + 2]
    assert torch.get_num_threads() == before
