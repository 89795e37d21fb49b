"""The device that tests of training run on: the CPU, and a GPU where there is one."""

import pytest
import torch


@pytest.fixture(
    params=["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"))]
)
def device(request) -> str:
    return request.param


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors gain nothing from a second thread, and sums then have one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
