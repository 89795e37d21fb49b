"""Two processes learn together what one learns alone: the same batches, losses, judgements and, but for rounding, weights."""

import os
import subprocess
import sys

import pytest
import torch

from tests.conftest import ROOT
from tests.training.made import same
from tests.training.two_processes import N_USERS, SETTINGS
from workbench.errors import RequestError
from workbench.models import create
from workbench.testing import latent_log
from workbench.training import Engine
from workbench.training.judge import Judge
from workbench.training.loop import _no_small_one


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "tests.training.two_processes"]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([*command, str(found)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert ended.returncode == 0, ended.stderr
    return found


@pytest.fixture(scope="module")
def seen(folder):
    return [torch.load(folder / f"seen-{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.fixture(params=SETTINGS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def alone():
    """The same trainings in this process."""
    train, valid = latent_log(n_users=N_USERS)
    return {name: create(name, **settings).fit(train, valid, Engine(device="cpu", threads=1)) for name, settings in SETTINGS.items()}


def test_two_processes_end_where_one_does(seen, alone, name):
    """Sums in another order: differences of a few units in the last place, which Adam's first steps enlarge."""
    curve = [(epoch.loss, epoch.value) for epoch in alone[name].training.curve]
    for ours, theirs in zip(seen[0][name]["curve"], curve, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    moved = alone[name].network.state_dict()
    for key, weights in seen[0][name]["weights"].items():
        assert torch.allclose(weights.float(), moved[key].float(), atol=1e-4), key


def test_both_processes_agree_to_the_last_bit(seen, name):
    assert seen[0][name]["curve"] == seen[1][name]["curve"]
    assert same(seen[0][name]["weights"], seen[1][name]["weights"])


def test_everyone_is_judged_once_an_epoch(seen, name):
    _, valid = latent_log(n_users=N_USERS)
    for epoch in range(SETTINGS[name]["epochs"]):
        people = torch.cat([seen[rank][name]["judged"][epoch] for rank in (0, 1)])
        assert people.sort().values.tolist() == valid.users.tolist()
    assert len(seen[0][name]["judged"]) == len(seen[1][name]["judged"]) == SETTINGS[name]["epochs"]


def test_one_process_writes_the_checkpoints(seen, folder, name):
    epochs = [f"epoch-0000{n}.ckpt" for n in (1, 2, 3)]
    assert seen[0][name]["written"] == epochs
    assert seen[1][name]["written"] == []
    kept = [f"{epoch}{end}" for epoch in epochs[1:] for end in ("", ".sha256")]
    assert sorted(path.name for path in (folder / name).iterdir()) == [*kept, "training.json"]


def test_time_that_is_over_for_one_is_over_for_both_and_the_rest_is_the_same(seen, name):
    for each in (seen[0][name], seen[1][name]):
        assert each["part"] == (1, False)
        assert each["resumed_from"] == 1
        assert each["resumed_curve"] == each["curve"]
        assert same(each["resumed"], each["weights"])


def test_checkpoints_of_two_processes_are_not_ones(folder, name):
    train, valid = latent_log(n_users=N_USERS)
    with pytest.raises(RequestError, match="processes is 2 there and 1 here"):
        create(name, **SETTINGS[name]).fit(train, valid, Engine(device="cpu", checkpoints=folder / name))


def test_more_processes_than_examples_are_refused(seen):
    assert seen[0]["too few"] == seen[1]["too few"] == "Matrix factorisation has 1 examples to learn from; each process needs one at least."


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("sizes", [[5, 5, 1], [1, 5, 5], [1, 1, 5], [1, 1, 1], [2, 1, 2, 1], [3]])
def test_no_process_gets_an_empty_share(sizes, world):
    """SASRec's batches come in random order, so the small one may be the first."""
    batches = list(torch.arange(sum(sizes)).split(sizes))
    joined = _no_small_one(batches, world)
    assert torch.cat(joined).tolist() == list(range(sum(sizes)))
    assert all(len(batch[rank::world]) for batch in joined for rank in range(world))
    if world == 1:
        assert joined == batches


@pytest.mark.parametrize("world", [1, 2, 7, 500])
def test_the_mean_of_all_processes_is_that_of_one(world):
    """Even of more processes than people."""
    train, valid = latent_log(n_users=60)
    model = create("popularity").fit(train)
    judge = Judge.of(model, valid, "ndcg@10")
    shares = []
    for rank in range(min(world, 70)):
        judge("cpu", rank, world, lambda values: shares.append(values) or values)
    assert torch.stack(shares).sum(0).mean().item() == pytest.approx(judge("cpu"), rel=1e-12)
    assert (torch.stack(shares) != 0).sum(0).max() <= 1  # nobody twice
