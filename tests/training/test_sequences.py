"""Windows hold every target once, padding is where it is said to be, and dropout draws from its generator alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator

from workbench.testing import interactions, latent_log
from workbench.training.sequences import Dropout, Windows, last_events

PAD = 99


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def log_of(lengths):
    """Person u has events 100 u, 100 u + 1, …: an item tells whose it is and where it stands."""
    pairs = [(user, 100 * user + n) for user, length in enumerate(lengths) for n in range(length)]
    return interactions(pairs, len(lengths), 100 * max(1, len(lengths)))


def contents(windows):
    """The events of each window, targets' context included."""
    return [
        windows.items[start : start + length + 1].tolist()
        for start, length in zip(windows.starts.tolist(), windows.lengths.tolist(), strict=True)
    ]


@given(lengths=st.lists(st.integers(0, 23), min_size=1, max_size=8), length=st.integers(1, 9))
@settings(max_examples=200, deadline=None)
def test_every_event_but_a_persons_first_is_a_target_once(lengths, length):
    windows = Windows.of(log_of(lengths), length)
    found = contents(windows)
    targets = sorted(item for events in found for item in events[1:])
    assert targets == [100 * user + n for user, events in enumerate(lengths) for n in range(1, events)]
    for events in found:
        assert len({item // 100 for item in events}) == 1  # of one person
        assert events == list(range(events[0], events[-1] + 1))  # in order, without a gap
        assert 1 <= len(events) - 1 <= length


@given(lengths=st.lists(st.integers(0, 23), min_size=1, max_size=8), length=st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_only_the_last_window_of_each_person(lengths, length):
    found = contents(Windows.of(log_of(lengths), length, whole=False))
    assert found == [[100 * user + n for n in range(events)][-(length + 1) :] for user, events in enumerate(lengths) if events > 1]


def test_windows_are_cut_from_the_end():
    assert contents(Windows.of(log_of([6]), 2)) == [[3, 4, 5], [1, 2, 3], [0, 1]]


@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=60), length=st.integers(1, 20), batch=st.integers(1, 12), seed=st.integers(0)
)
@settings(max_examples=150, deadline=None)
def test_a_plan_has_each_window_once_in_batches_of_bounded_work(lengths, length, batch, seed):
    windows = Windows.of(log_of(lengths), length)
    plan = windows.plan(batch, seeded(seed % 2**32))
    places = torch.cat([torch.empty(0, dtype=torch.int64), *plan])
    assert sorted(places.tolist()) == list(range(len(windows)))
    longest = int(windows.lengths.max()) if len(windows) else 0
    for part in plan:
        assert 1 <= len(part) <= 4 * batch
        assert windows.lengths[part].sum() <= batch * longest  # targets in a batch


def test_little_of_a_batch_is_padding():
    """3,000 people with 1 to 100 events: unsorted batches would be half padding, these share their length up to the few they span."""
    lengths = torch.randint(1, 101, (3000,), generator=seeded()).tolist()
    users = torch.arange(3000).repeat_interleave(torch.tensor(lengths)).tolist()
    windows = Windows.of(interactions([(user, 0) for user in users], 3000, 1), 100)
    plan = windows.plan(16, seeded())
    cells = sum(len(part) * int(windows.lengths[part].max()) for part in plan)
    assert 1 - int(windows.lengths.sum()) / cells < 0.05
    shuffled = torch.randperm(len(windows), generator=seeded()).split(16)
    assert 1 - int(windows.lengths.sum()) / sum(len(part) * int(windows.lengths[part].max()) for part in shuffled) > 0.4


def test_a_plan_is_its_generators_and_batches_come_in_random_order():
    train, _ = latent_log()
    windows = Windows.of(train, 10)
    first, again, other = (windows.plan(16, seeded(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert [part.tolist() for part in first] != [part.tolist() for part in other]
    assert {frozenset(part.tolist()) for part in first} != {frozenset(part.tolist()) for part in other}  # other company, too
    tops = [int(windows.lengths[part].max()) for part in first]
    assert tops != sorted(tops, reverse=True)


def test_inputs_and_targets_are_one_event_apart():
    windows = Windows.of(log_of([4, 0, 1, 3]), 3)
    inputs, targets, real = windows.gather(windows.starts, windows.lengths, PAD)
    assert inputs.tolist() == [[0, 1, 2], [300, 301, PAD]]
    assert targets.tolist() == [[1, 2, 3], [301, 302, PAD]]
    assert real.tolist() == [[True, True, True], [True, True, False]]


@given(lengths=st.lists(st.integers(0, 12), min_size=1, max_size=6).filter(lambda lengths: max(lengths) > 1), length=st.integers(1, 7))
@settings(max_examples=100, deadline=None)
def test_a_batch_is_its_windows(lengths, length):
    windows = Windows.of(log_of(lengths), length)
    inputs, targets, real = windows.gather(windows.starts, windows.lengths, PAD + 10_000)
    assert inputs.shape == targets.shape == real.shape == (len(windows), int(windows.lengths.max()))
    for row, events in enumerate(contents(windows)):
        assert inputs[row][real[row]].tolist() == events[:-1]
        assert targets[row][real[row]].tolist() == events[1:]
        assert set(inputs[row][~real[row]].tolist()) | set(targets[row][~real[row]].tolist()) <= {PAD + 10_000}


@given(lengths=st.lists(st.integers(0, 9), max_size=6), length=st.integers(1, 7))
@settings(max_examples=100, deadline=None)
def test_the_last_events_oldest_first_then_padding(lengths, length):
    batch = log_of(lengths).batch(torch.arange(len(lengths)))
    items, counts = last_events(batch, length, PAD + 10_000)
    assert items.dtype == counts.dtype == torch.int64
    kept = [[100 * user + n for n in range(events)][-length:] for user, events in enumerate(lengths)]
    widest = max([1, *map(len, kept)])
    assert items.tolist() == [row + [PAD + 10_000] * (widest - len(row)) for row in kept]
    assert counts.tolist() == [len(row) for row in kept]


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.9])
def test_dropout_sets_its_share_to_zero_and_keeps_the_mean(share, device):
    """Within five standard errors, of a share that is rounded to 1/256."""
    layer, n = Dropout(share).train(), 400_001  # no multiple of eight
    out = layer(torch.ones(n, device=device), Generator(device=device).manual_seed(0)).cpu()
    rounded = round(256 * share) / 256
    error = (rounded * (1 - rounded) / n) ** 0.5
    assert abs(rounded - share) <= 1 / 512
    assert abs((out == 0).double().mean().item() - rounded) < 5 * error
    assert out[out != 0].unique().tolist() == pytest.approx([1 / (1 - rounded)])
    assert abs(out.double().mean().item() - 1) < 5 * error / (1 - rounded)


def test_dropout_drops_neighbours_independently():
    """Eight numbers share a draw: the eight bytes agree no more often than chance has them, within five standard errors."""
    out = Dropout(0.25).train()(torch.ones(80_000), seeded()).view(-1, 8) == 0
    both = (out[:, :7] & out[:, 1:]).double().mean().item()
    assert abs(both - 1 / 16) < 5 * (1 / 16 * 15 / 16 / 70_000) ** 0.5 * 1.5  # neighbouring pairs share a number
    assert (out.double().mean(0) - 0.25).abs().max() < 5 * (0.25 * 0.75 / 10_000) ** 0.5


def test_dropout_is_its_generators():
    layer, x = Dropout(0.5).train(), torch.randn(7, 5, generator=seeded())
    state = torch.get_rng_state()
    assert torch.equal(layer(x, seeded(1)), layer(x, seeded(1)))
    assert not torch.equal(layer(x, seeded(1)), layer(x, seeded(2)))
    assert torch.equal(torch.get_rng_state(), state)


def test_dropout_passes_the_gradient_of_what_it_kept():
    x = torch.ones(1000, requires_grad=True)
    out = Dropout(0.5).train()(x, seeded())
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())  # x is 1: both are the factor


def test_dropout_does_nothing_when_it_should_not():
    x = torch.randn(100, generator=seeded())
    assert Dropout(0.5).eval()(x, seeded()) is x
    assert Dropout(0.0).train()(x, seeded()) is x
    assert Dropout(0.001).train()(x, seeded()) is x  # rounds to nothing


def test_dropout_of_nearly_all_is_finite():
    """0.999 is 255.7 of 256, and all of them would be a division by nothing."""
    out = Dropout(0.999).train()(torch.ones(100_000), seeded())
    assert out.unique().tolist() == [0.0, 256.0]


def test_dropout_keeps_the_type():
    assert Dropout(0.5).train()(torch.ones(9, dtype=torch.bfloat16), seeded()).dtype == torch.bfloat16
