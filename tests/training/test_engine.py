"""The engine trains as a plain loop would, the same each time, and ends well or says why not."""

import json
import math
import shutil
import signal
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import Generator, nn

from tests.training.made import EVENTS, Judged, Line, LineConfig, same, told, train_line, weights_of
from workbench.errors import NotApplicable, RequestError, WorkError
from workbench.evaluation import evaluate
from workbench.models import create
from workbench.testing import checkerboard, latent_log
from workbench.training import Engine
from workbench.training.loop import BLOCK, COMMON, OWN

CPU = Engine(device="cpu", threads=1)


def stream(seed: int, epoch: int, which: int) -> Generator:
    """What an epoch, from 0, draws from."""
    return Generator().manual_seed(int(np.random.SeedSequence((seed, epoch, which)).generate_state(1)[0]))


def by_hand(objective: Line, config: LineConfig, decay: type[torch.optim.Optimizer] = torch.optim.Adam, **settings) -> list[float]:
    """The plain loop that the engine should be: an optimiser of torch, the schedule's formula, one batch after another."""
    objective.train()
    optimiser = decay([objective.weight], lr=config.learning_rate, fused=True, **settings)
    losses, step = [], 0
    steps = config.epochs * math.ceil(objective.n_examples / config.batch_size)
    for epoch in range(config.epochs):
        total, common, own = 0.0, stream(config.seed, epoch, COMMON), stream(config.seed, epoch, OWN)
        for places in torch.randperm(objective.n_examples, generator=stream(config.seed, epoch, COMMON)).split(config.batch_size):
            loss, count = objective.loss(*objective.draw(places, common), generator=own)
            optimiser.zero_grad()
            (loss / count).backward()
            if config.clip:
                torch.nn.utils.clip_grad_norm_([objective.weight], config.clip)
            rate = config.learning_rate
            if config.schedule == "cosine":
                rate *= (1 + math.cos(math.pi * step / steps)) / 2
            if config.warmup:
                rate *= min(1, (step + 1) / config.warmup)
            optimiser.param_groups[0]["lr"] = rate
            optimiser.step()
            step += 1
            total += loss.item()
        losses.append(total / objective.n_examples)
    return losses


@pytest.mark.parametrize(
    ("learning", "optimiser", "settings"),
    [
        ({}, torch.optim.Adam, {}),
        ({"clip": 0.5}, torch.optim.Adam, {}),
        ({"weight_decay": 0.3}, torch.optim.AdamW, {"weight_decay": 0.3}),
        ({"schedule": "cosine"}, torch.optim.Adam, {}),
        ({"warmup": 25}, torch.optim.Adam, {}),
        ({"schedule": "cosine", "warmup": 7, "clip": 1.0, "weight_decay": 0.1, "seed": 5}, torch.optim.AdamW, {"weight_decay": 0.1}),
    ],
    ids=["plain", "clip", "decay", "cosine", "warmup", "all"],
)
def test_the_engine_is_the_plain_loop(learning, optimiser, settings):
    """To the last bit, with 40 steps an epoch: more than a block of them, and a block that the epoch's end cuts short."""
    assert BLOCK < 40 < 2 * BLOCK
    config = LineConfig(epochs=3, batch_size=5, **learning)
    ours, plain = Line(198), Line(198)
    training = train_line(ours, CPU, **asdict(config))
    losses = by_hand(plain, config, optimiser, **settings)
    assert same(weights_of(ours), weights_of(plain))
    assert ours.batches == plain.batches
    assert ours.random == plain.random
    assert [epoch.loss for epoch in training.curve] == pytest.approx(losses, rel=1e-5)


def steps_taken(monkeypatch, optimiser: type, **learning) -> list[dict[str, float]]:
    """The rate and the gradient's norm at each step of the optimiser, as the optimiser sees them."""
    seen = []
    take = optimiser.step

    def step(self, *args, **kwargs):
        (group,) = self.param_groups
        seen.append({"rate": group["lr"], "norm": group["params"][0].grad.norm().item()})
        return take(self, *args, **kwargs)

    monkeypatch.setattr(optimiser, "step", step)
    train_line(Line(), CPU, **learning)
    return seen


def test_gradients_are_scaled_down_to_the_norm_and_never_up(monkeypatch):
    """The first gradient is that of least squares at w = 0: 2/n · Xᵀ(Xw − y) = −2/n · Xᵀy."""
    line = Line()
    first = (2 / 100 * line.x.T @ line.y).norm().item()
    (unclipped,) = steps_taken(monkeypatch, torch.optim.Adam, epochs=1, batch_size=100)
    assert unclipped["norm"] == pytest.approx(first, rel=1e-5)
    monkeypatch.undo()
    (clipped,) = steps_taken(monkeypatch, torch.optim.Adam, epochs=1, batch_size=100, clip=first / 4)
    assert clipped["norm"] == pytest.approx(first / 4, rel=1e-5)
    monkeypatch.undo()
    norms = [step["norm"] for step in steps_taken(monkeypatch, torch.optim.Adam, epochs=6, clip=2.0)]
    assert max(norms) <= 2.0 * (1 + 1e-5)
    assert min(norms) < 0.5  # a small one stays small


def test_the_rate_rises_along_the_warmup_and_falls_along_half_a_cosine(monkeypatch):
    steps = steps_taken(monkeypatch, torch.optim.Adam, epochs=4, learning_rate=0.2, schedule="cosine", warmup=4)
    rates = [step["rate"] for step in steps]
    assert len(rates) == 4 * 10
    assert rates[0] == pytest.approx(0.2 * 1 / 4)  # cos(0) = 1
    assert rates[2] == pytest.approx(0.2 * 3 / 4 * (1 + math.cos(math.pi * 2 / 40)) / 2)
    assert rates[20] == pytest.approx(0.2 / 2)  # cos(π / 2) = 0: half of it, half way
    assert rates[39] == pytest.approx(0.2 * (1 + math.cos(math.pi * 39 / 40)) / 2)
    assert rates[39] < 0.2 * 0.002
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_weight_decay_alone_shrinks_by_rate_times_decay():
    """A loss of zero has no gradient; AdamW then only takes its share: w ← w (1 − rate · decay), 20 times."""
    line = Line(spoil=lambda step: 0.0)
    with torch.no_grad():
        line.weight.copy_(torch.tensor([1.0, -2.0, 4.0]))
    train_line(line, CPU, learning_rate=0.1, weight_decay=0.5)
    left = (1 - 0.1 * 0.5) ** 20
    assert line.weight.tolist() == pytest.approx([left, -2 * left, 4 * left], rel=1e-5)


def test_two_trainings_of_one_seed_are_equal_and_touch_no_global_state():
    first, second = Line(), Line()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    curve = told(train_line(first, CPU))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert told(train_line(second, CPU)) == curve
    assert same(weights_of(first), weights_of(second))
    assert (first.batches, first.random) == (second.batches, second.random)


@pytest.mark.parametrize("name", ["mf", "sasrec"])
def test_a_model_is_the_same_whatever_was_drawn_before_and_leaves_the_global_generator_alone(name):
    train, _ = latent_log(n_users=60)
    torch.manual_seed(1)
    first = create(name, epochs=1, seed=3).fit(train)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = create(name, epochs=1, seed=3).fit(train)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(weights_of(first.network), weights_of(second.network))
    assert not same(weights_of(first.network), weights_of(create(name, epochs=1, seed=4).fit(train).network))


def test_epochs_and_seeds_differ_in_the_order_of_examples_and_in_what_is_drawn():
    """Seeds that are equal in their lower or upper 16 bits too."""
    orders, draws = set(), set()
    for seed in (0, 1, 2**16, 2**31, 2**32 - 1):
        line = Line()
        train_line(line, CPU, epochs=3, batch_size=50, seed=seed)
        orders |= {tuple(line.batches[at] + line.batches[at + 1]) for at in (0, 2, 4)}
        draws |= set(line.random)
    assert len(orders) == 5 * 3
    assert len(draws) == 5 * 6
    assert all(sorted(order) == list(range(100)) for order in orders)  # each example once an epoch


@pytest.mark.parametrize("at", [0, 5, BLOCK - 1, BLOCK, 99, 100, 100 + BLOCK], ids=lambda at: f"step {at}")
def test_a_loss_that_is_not_finite_ends_training_and_is_named(at):
    """100 steps an epoch in blocks of 32: the first and the last of a block, of an epoch, and of a block in the second epoch."""
    line = Line(1000, spoil=lambda step: math.nan if step == at else 1.0)
    with pytest.raises(WorkError) as error:
        train_line(line, CPU)
    examples = ", ".join(map(str, line.batches[at][:3]))
    assert f"Line: the loss is nan in epoch {1 + at // 100}, step {at} (examples {examples}, …)" in str(error.value)


def test_an_infinite_loss_is_told_as_such():
    with pytest.raises(WorkError, match=r"the loss is inf in epoch 1, step 3 "):
        train_line(Line(spoil=lambda step: math.inf if step == 3 else 1.0), CPU)


def test_a_last_step_that_breaks_the_weights_is_no_model(tmp_path):
    """No loss follows that could tell, and a checkpoint of it would go on for ever."""

    class Broken(Line):
        def loss(self, *drawn, generator):
            loss, count = super().loss(*drawn, generator=generator)
            return loss + (0.0 if self.steps < 20 else (0.0 * self.weight.sum()).sqrt()), count  # √ has an infinite slope at 0

    with pytest.raises(WorkError, match=r"Line: weight is not finite after epoch 2, step 19\."):
        train_line(Broken(), Engine(device="cpu", checkpoints=tmp_path))
    assert [path.name for path in tmp_path.glob("*.ckpt")] == ["epoch-00001.ckpt"]


class StopError(Exception):
    pass


def stopped_at(step: int, error: type[BaseException] = StopError) -> Line:
    def spoil(at: int) -> float:
        if at == step:
            raise error
        return 1.0

    return Line(spoil=spoil)


def test_ctrl_c_is_a_keyboard_interrupt_and_checkpoints_stay(tmp_path):
    engine = Engine(device="cpu", checkpoints=tmp_path)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train_line(stopped_at(25, KeyboardInterrupt), engine, epochs=4)
    assert signal.getsignal(signal.SIGINT) is handler
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == ["epoch-00001.ckpt", "epoch-00002.ckpt"]
    resumed, undisturbed = Line(), Line()
    assert train_line(resumed, engine, epochs=4).resumed_from == 2
    train_line(undisturbed, CPU, epochs=4)
    assert same(weights_of(resumed), weights_of(undisturbed))


def test_a_real_ctrl_c_in_the_middle_of_a_step_is_one():
    def spoil(step: int) -> float:
        if step == 15:
            signal.raise_signal(signal.SIGINT)
        return 1.0

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train_line(Line(spoil=spoil), CPU)
    assert signal.getsignal(signal.SIGINT) is handler


def test_what_fails_in_a_step_comes_out_as_it_is():
    with pytest.raises(StopError):
        train_line(stopped_at(3), CPU)
    with pytest.raises(SystemExit) as error:  # not a Ctrl-C
        train_line(stopped_at(3, SystemExit), CPU)
    assert error.value.__context__ is None


@pytest.mark.parametrize("killed", [11, 20, 29, 30, 39])
def test_a_training_that_goes_on_is_the_undisturbed_one(tmp_path, killed):
    """It draws the same batches in the same order, whichever epoch of four was not finished and wherever in it."""
    learning = {"epochs": 4, "schedule": "cosine", "warmup": 15}
    undisturbed, resumed = Line(), Line()
    curve = told(train_line(undisturbed, CPU, **learning))
    engine = Engine(device="cpu", checkpoints=tmp_path)
    with pytest.raises(StopError):
        train_line(stopped_at(killed), engine, **learning)
    training = train_line(resumed, engine, **learning)
    assert training.resumed_from == killed // 10
    assert resumed.batches == undisturbed.batches[10 * (killed // 10) :]
    assert resumed.random == undisturbed.random[10 * (killed // 10) :]
    assert told(training) == curve
    assert same(weights_of(resumed), weights_of(undisturbed))


def test_minutes_end_at_an_epochs_edge_and_the_next_call_goes_on(tmp_path):
    """No time at all: an epoch a call, and a last call that finds nothing left to do."""
    engine = Engine(device="cpu", checkpoints=tmp_path, minutes=0)
    undisturbed = Line()
    curve = told(train_line(undisturbed, CPU, epochs=3))
    for call, (done, finished, before) in enumerate([(1, False, 0), (2, False, 1), (3, True, 2), (3, True, 3)]):
        line = Line()
        training = train_line(line, engine, epochs=3)
        assert (len(training.curve), training.finished, training.resumed_from) == (done, finished, before)
        assert training.best_epoch == done
        assert len(line.batches) == (0 if call == 3 else 10)
    assert told(training) == curve
    assert same(weights_of(line), weights_of(undisturbed))


def test_minutes_without_checkpoints_would_be_lost():
    with pytest.raises(RequestError, match="minutes = 5 needs a folder for checkpoints to go on from"):
        train_line(Line(), Engine(device="cpu", minutes=5))


def test_nothing_to_learn_from_is_said():
    with pytest.raises(RequestError, match="Line has 0 examples to learn from"):
        train_line(Line(0), CPU)


@pytest.fixture(scope="module")
def board():
    return checkerboard()[1]  # 40 people with one item to find


def test_the_best_epochs_weights_are_kept(board):
    model = Judged(board, [0.2, 0.5, 0.7, 0.7, 0.1])
    training = model.train()
    assert [epoch.value for epoch in training.curve] == [0.2, 0.5, 0.7, 0.7, 0.1]
    assert (training.best_epoch, training.best, training.finished) == (3, 0.7, True)  # the first of the best
    assert torch.equal(model.objective.weight, model.weights[2])
    assert not torch.equal(model.weights[2], model.weights[4])


def test_patience_counts_judgements_without_a_better_one(board):
    model = Judged(board, [0.2, 0.5, 0.3, 0.5, 0.9], patience=2)  # as good as the best is no better
    training = model.train()
    assert [epoch.value for epoch in training.curve] == [0.2, 0.5, 0.3, 0.5]
    assert (training.best_epoch, training.finished) == (2, True)
    assert torch.equal(model.objective.weight, model.weights[1])
    patient = Judged(board, [0.2, 0.5, 0.3, 0.9, 0.5], patience=2).train()
    assert (len(patient.curve), patient.best_epoch) == (5, 4)


def test_a_training_that_lost_patience_is_over_when_asked_again(board, tmp_path):
    engine = Engine(device="cpu", checkpoints=tmp_path)
    first = Judged(board, [0.2, 0.5, 0.3, 0.3, 0.9, 0.9], patience=2)
    curve = told(first.train(engine))
    again = Judged(board, [1.0] * 6, patience=2)
    training = again.train(engine)
    assert again.asked == 0
    assert told(training) == curve
    assert (training.best_epoch, training.resumed_from, training.finished) == (2, 4, True)
    assert torch.equal(again.objective.weight, first.weights[1])


def test_a_finished_training_asked_again_gives_the_best_weights(board, tmp_path):
    """Killed after the last checkpoint and before anybody had the model, say."""
    engine = Engine(device="cpu", checkpoints=tmp_path)
    first = Judged(board, [0.2, 0.5, 0.3])
    curve = told(first.train(engine))
    again = Judged(board, [1.0] * 3)
    training = again.train(engine)
    assert (told(training), training.best_epoch, training.resumed_from, again.asked) == (curve, 2, 3, 0)
    assert torch.equal(again.objective.weight, first.weights[1])
    assert not torch.equal(first.weights[1], first.weights[2])


def test_patience_and_the_best_weights_survive_a_stop(board, tmp_path):
    """The best epoch lies two checkpoints back, and one more judgement without a better one is the last."""
    qualities = [0.2, 0.8, 0.3, 0.4, 0.5, 0.9]
    engine = Engine(device="cpu", checkpoints=tmp_path)
    killed = Judged(board, qualities, patience=3)
    killed.objective = stopped_at(45)
    with pytest.raises(StopError):
        killed.train(engine)
    resumed = Judged(board, qualities, patience=3)
    resumed.asked = 4
    training = resumed.train(engine)
    assert [epoch.value for epoch in training.curve] == [0.2, 0.8, 0.3, 0.4, 0.5]
    assert (training.best_epoch, training.resumed_from) == (2, 4)
    assert torch.equal(resumed.objective.weight, killed.weights[1])


def test_it_is_judged_every_so_many_epochs_and_at_the_last(board):
    training = Judged(board, [0.5, 0.7, 0.6], epochs=5, judge_every=2).train()
    assert [epoch.value for epoch in training.curve] == [None, 0.5, None, 0.7, 0.6]
    assert training.best_epoch == 4
    never_better = Judged(board, [0.7, 0.5, 0.6, 0.1], epochs=12, judge_every=2, patience=2).train()
    assert [epoch.value for epoch in never_better.curve] == [None, 0.7, None, 0.5, None, 0.6]


def test_before_the_first_judgement_the_last_weights_are_the_best_there_are(board, tmp_path):
    model = Judged(board, [], epochs=5, judge_every=3)
    training = model.train(Engine(device="cpu", checkpoints=tmp_path, minutes=0))
    assert (training.best_epoch, training.best, len(training.curve), training.finished) == (1, None, 1, False)


def test_without_validation_the_last_weights_are_kept():
    line, plain = Line(), Line()
    training = train_line(line, CPU, epochs=3)
    by_hand(plain, LineConfig(epochs=3))
    assert (training.best_epoch, training.best) == (3, None)
    assert same(weights_of(line), weights_of(plain))


def test_what_is_watched_is_what_evaluate_says():
    train, hold = latent_log(n_users=60)
    model = create("mf", epochs=3, learning_rate=0.05, watch="recall@5").fit(train, hold, CPU)
    assert evaluate(model, hold, ks=(5,)).mean("recall@5") == model.training.best
    assert model.training.best == max(epoch.value for epoch in model.training.curve)


@pytest.mark.parametrize(
    ("watch", "error", "words"),
    [
        ("ndgc@10", RequestError, 'no metric to watch "ndgc". Did you mean "ndcg"'),
        ("ndcg@21", NotApplicable, "ndcg@21 to watch: k = 21 should be between 1 and 20"),
        ("diversity@5", RequestError, 'no metric to watch "diversity"'),
        ("ndcg_exponential@5", NotApplicable, "ndcg_exponential@5 to watch needs more than one grade of relevance"),
    ],
)
def test_what_cannot_be_watched_is_refused(board, watch, error, words):
    model = Judged(board, [0.5], watch=watch)
    with pytest.raises(error, match=words.replace(".", r"\.")):
        model.train()
    assert model.objective.steps == 0


def test_the_record_is_complete_and_json():
    train, hold = latent_log(n_users=60)
    training = create("sasrec", epochs=2, dimensions=16).fit(train, hold, CPU).training
    record = json.loads(json.dumps(asdict(training), allow_nan=False))
    assert record["seconds"] >= record["curve"][1]["seconds"] > record["curve"][0]["seconds"] > 0
    assert 0 < record["utilisation"] <= 1.5  # of one thread, and processor time comes in hundredths of a second
    assert record["peak_memory"] > 2**20
    assert [epoch["number"] for epoch in record["curve"]] == [1, 2]
    assert (record["device"]["name"], record["device"]["precision"], record["device"]["threads"]) == ("cpu", "32", 1)


def test_training_leaves_nothing_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train_line(Line(), CPU)
    assert list(tmp_path.iterdir()) == []


def test_the_number_of_threads_is_given_back():
    before = torch.get_num_threads()
    train_line(Line(), Engine(device="cpu", threads=before + 1))
    assert torch.get_num_threads() == before


def test_the_network_is_left_on_the_cpu_ready_to_score(device):
    train, hold = latent_log(n_users=60)
    model = create("sasrec", epochs=2, dimensions=16).fit(train, hold, Engine(device=device, precision="32"))
    assert not model.network.training
    assert {weight.device.type for weight in model.network.parameters()} == {"cpu"}
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.network.parameters())


@pytest.mark.parametrize("name", ["mf", "sasrec"])
def test_every_device_trains_to_about_the_same(name, device):
    """Dropout and negatives draw from another generator on a GPU, so the two agree as two seeds do."""
    train, hold = latent_log()
    learning = {"epochs": 15, "learning_rate": 0.01, "dimensions": 16}
    there, here = (create(name, **learning).fit(train, hold, Engine(device=where, precision="32")) for where in (device, "cpu"))
    assert there.training.best == pytest.approx(here.training.best, abs=0.08)
    assert there.training.best > create_popularity(train, hold)


def create_popularity(train, hold) -> float:
    return evaluate(create("popularity").fit(train), hold, ks=(10,)).mean("ndcg@10")


@pytest.mark.parametrize("name", ["mf", "sasrec"])
def test_sixteen_bits_train_too(name, device):
    """The weights stay float32, every step sees the weights of the step before, and the curve is close to that of 32 bits."""
    train, hold = latent_log()
    learning = {"epochs": 5, "learning_rate": 0.01, "dimensions": 32, "batch_size": {"mf": 256, "sasrec": 16}[name]}
    narrow, wide = (create(name, **learning).fit(train, hold, Engine(device=device, precision=p)) for p in ("bf16", "32"))
    assert narrow.training.device.precision == "bf16"
    assert all(weight.dtype == torch.float32 and weight.isfinite().all() for weight in narrow.network.parameters())
    losses = [[epoch.loss for epoch in model.training.curve] for model in (narrow, wide)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]
    assert losses[0][-1] < losses[0][0] * 0.95


class Tower(Line):
    """Least squares through a linear layer, which autocast computes in 16 bits."""

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.layer = nn.Linear(3, 1, bias=False)
        with torch.no_grad():
            self.layer.weight.zero_()

    def loss(self, *drawn, generator):
        x, y, _ = drawn
        return (self.layer(x)[:, 0].float() - y).square().sum() + 0 * self.weight.sum(), torch.tensor(len(x))


def test_sixteen_bits_are_those_of_the_weights_of_this_step():
    """Autocast may keep a rounded copy of the weights for as long as it is entered, and a block of steps is one entry."""
    ours, plain = Tower(200), Tower(200)
    train_line(ours, Engine(device="cpu", precision="bf16"), epochs=1, batch_size=10)
    optimiser = torch.optim.Adam(plain.parameters(), lr=0.1, fused=True)
    for places in torch.randperm(200, generator=stream(0, 0, COMMON)).split(10):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss, count = plain.loss(*plain.draw(places, None), generator=None)
        optimiser.zero_grad()
        (loss / count).backward()
        optimiser.step()
    assert torch.equal(ours.layer.weight, plain.layer.weight)
    assert ours.layer.weight.norm() > 0.5


@pytest.mark.skipif(shutil.which("c++") is None and shutil.which("g++") is None, reason="no C++ compiler, which torch.compile needs")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # torch's own, of what it imports to compile
def test_a_compiled_loss_learns_the_same():
    compiled, plain = Tower(100), Tower(100)
    losses = [epoch[1] for epoch in told(train_line(compiled, Engine(device="cpu", threads=1, compile=True)))]
    assert losses == pytest.approx([epoch[1] for epoch in told(train_line(plain, CPU))], rel=1e-5)
    assert torch.allclose(compiled.layer.weight, plain.layer.weight, rtol=1e-5)
    assert compiled.layer.weight.norm() > 0.5


def test_an_engine_that_asks_for_a_device_that_is_not_here_changes_nothing(tmp_path):
    line = Line()
    with pytest.raises(RequestError, match=r"tpu"):
        train_line(line, Engine(device="tpu", checkpoints=tmp_path / "kept"), train=EVENTS)
    assert line.steps == 0
    assert not (tmp_path / "kept").exists()
