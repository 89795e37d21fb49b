"""What a training cost: measured from the meter's making on, and missing where nobody can tell."""

import pytest
import torch

from workbench.training import Device, Epoch, Training
from workbench.training.record import Meter

CPU = Device("cpu", "32", 2, "in a test")


def test_utilisation_is_processor_time_over_threads_times_seconds(monkeypatch):
    clock, worked = iter([100.0, 110.0, 110.0]), iter([5.0, 17.0])
    monkeypatch.setattr("workbench.training.record.time.perf_counter", lambda: next(clock))
    monkeypatch.setattr("workbench.training.record._processor_seconds", lambda: next(worked))
    meter = Meter(CPU)
    assert meter.seconds() == 110 - 100
    assert meter.utilisation() == pytest.approx((17 - 5) / (2 * 10))


def test_memory_is_in_bytes_and_covers_what_was_taken():
    meter = Meter(CPU)
    held = torch.ones(2**24)  # 64 MiB, written to
    assert meter.peak_memory() >= held.nbytes
    assert meter.peak_memory() < 2**40


def test_a_gpu_that_does_not_tell_is_no_number(monkeypatch):
    def silent(name):
        raise ModuleNotFoundError("pynvml does not seem to be installed")

    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda name: None)
    monkeypatch.setattr(torch.cuda, "utilization", silent)
    meter = Meter(Device("cuda:0", "bf16", 1, "in a test"))
    meter.look()
    assert meter.utilisation() is None


def test_utilisation_of_a_gpu_is_the_mean_of_what_was_seen_in_training(monkeypatch):
    seen = iter([90, 70])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda name: None)
    monkeypatch.setattr(torch.cuda, "utilization", lambda name: next(seen))
    meter = Meter(Device("cuda:0", "bf16", 1, "in a test"))
    meter.look()
    meter.look()
    assert meter.utilisation() == pytest.approx(0.8)


def test_the_best_is_the_kept_epochs():
    curve = [Epoch(number=n, loss=1.0, seconds=1.0, value=value) for n, value in ((1, 0.2), (2, 0.5), (3, 0.4))]
    assert Training(device=CPU, watch="ndcg@10", curve=curve, best_epoch=2).best == 0.5
    assert Training(device=CPU, watch="ndcg@10").best is None
