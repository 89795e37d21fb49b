"""How fast models learn, and what they have learnt after the same time, beside a bare PyTorch loop and RecBole's own trainer.

`python -m benchmarks.training` prints the table and writes benchmarks/results/training.json; `mf`, `ml-100k`, `ml-1m` name
parts of it, which are printed alone. Two threads for everybody. ML-1M is fetched on first use.

- MF epoch: BPR, 64 dimensions, batches of 2,048, one unseen negative an event, on ML-1M's training part by `user_time`. Ours is the engine
  with checkpoints on, from the end of one epoch to the end of the next. The bare loop has the same tensors, optimiser and negatives, and
  nothing else: no checks, no checkpoints. A second bare loop draws negatives without a look at what people have.
- RecBole's BPR: its own trainer on its own split (8:1:1 at random), same batch and dimensions; ours on the same training events.
- SASRec epoch: ML-100k, leave-last-out, items with at least 5 events, every event of training but each person's first is a target once, for
  both. RecBole's defaults (64 dimensions, two layers and heads, the last 50 events, width 256 between, dropout 0.5, batches of 2,048 rows);
  ours has the same sizes. RecBole makes a row of each target, with the 50 events before it; ours cuts sequences into windows of 50 and asks
  at every position, so that a target has 25 events before it on average. Theirs is its first epoch, ours the quickest but the first.
- Quality: NDCG@10 on the validation part of leave-last-out, full ranking, judged by our `evaluate` for both, after the same seconds of
  training; judging stops the clock. Ours has its default dropout of 0.2. Events at one moment are ordered by their place in the file, for
  both.
"""

import argparse
import contextlib
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from benchmarks.anchors import our_parts
from benchmarks.evaluation import recbole_bpr
from benchmarks.long_run import leave_last_out
from benchmarks.report import Row, show, write
from benchmarks.theirs import Theirs
from benchmarks.timing import seconds, taking_turns
from workbench.data import Holdout, Interactions, load_card, load_dataset, prepare
from workbench.data.source import source_files
from workbench.evaluation import evaluate
from workbench.models import create
from workbench.training import Engine, Epoch, Negatives
from workbench.training.device import threads

DIMENSIONS, BATCH, EPOCHS, TURNS = 64, 2048, 4, 3
THREADS = 2
SAME_SIZE = {"dimensions": 64, "layers": 2, "heads": 2, "expansion": 4, "length": 50}
BUDGETS = {"ml-100k": (75, 150, 300), "ml-1m": (100, 200, 400)}
"""Seconds after which both are judged."""


def epoch_seconds(
    log: Interactions, settings: dict[str, Any], model: str = "mf", *, checkpoints: bool = True, epochs: int = EPOCHS
) -> float:
    """Ours: the quickest epoch, from the end of the one before to its own end, checkpoint included."""
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "kept" if checkpoints else None
        engine = Engine(checkpoints=kept, progress=False, on_epoch=lambda _: ends.append(time.perf_counter()))
        create(model, epochs=epochs, **settings).fit(log, engine=engine)
    return min(after - before for before, after in pairwise(ends))


def bare_seconds(log: Interactions, draw: Callable[[Tensor, torch.Generator], Tensor]) -> float:
    """The quickest epoch of a bare loop. draw: negatives, int64 (n,), for these users."""
    generator = torch.Generator().manual_seed(0)
    people, items = nn.Embedding(log.n_users, DIMENSIONS), nn.Embedding(log.n_items, DIMENSIONS)
    for table in (people, items):
        nn.init.normal_(table.weight, std=0.1 / DIMENSIONS**0.5)
    optimiser = torch.optim.Adam([people.weight, items.weight], lr=1e-3, fused=True)

    def epoch() -> None:
        order = torch.randperm(len(log), generator=generator)
        users, liked = log.users[order], log.items[order]
        others = draw(users, generator)
        for u, i, j in zip(users.split(BATCH), liked.split(BATCH), others.split(BATCH), strict=True):
            person = people(u)
            loss = -logsigmoid((person * items(i)).sum(1) - (person * items(j)).sum(1)).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return min(seconds(epoch) for _ in range(EPOCHS))


def mf_rows() -> list[Row]:
    log = load_dataset("ml-1m").split("user_time").train
    negatives = Negatives.of(log, seen=True)
    settings = {"loss": "bpr", "dimensions": DIMENSIONS, "batch_size": BATCH}
    ours, floor, careless = taking_turns(
        lambda: epoch_seconds(log, settings),
        lambda: bare_seconds(log, lambda users, generator: negatives.draw_for(users, 1, generator)[:, 0]),
        lambda: bare_seconds(log, lambda users, generator: torch.randint(log.n_items, users.shape, generator=generator)),
        turns=TURNS,
    )
    size, work = f"ml-1m, {len(log):,} events, batches of {BATCH:,}", "MF epoch, seconds"
    return [
        Row(work=work, size=size, ours=ours, peer="bare loop", peer_value=floor, goal="at most 1.25", met=ours <= 1.25 * floor),
        Row(work=work, size=size, ours=ours, peer="bare loop, careless negatives", peer_value=careless, goal="shown", met=None),
        _against_recbole_bpr(settings),
    ]


def _against_recbole_bpr(settings: dict[str, Any]) -> Row:
    atomic = source_files(load_card("ml-1m"))["events"]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        trainer, loaders, _ = recbole_bpr(Path(folder), atomic)
        log = our_parts(loaders)[0]
        ours, theirs = taking_turns(
            lambda: epoch_seconds(log, settings),
            lambda: seconds(lambda: trainer._train_epoch(loaders[0], 1)),
            turns=TURNS,
        )
    size = f"ml-1m, RecBole's split, {len(log):,} events, batches of {BATCH:,}"
    return Row(
        work="BPR epoch, seconds", size=size, ours=ours, peer="RecBole", peer_value=theirs, goal="at most 1/6", met=ours <= theirs / 6
    )


class _Over(Exception):  # noqa: N818, it is none
    """The time to learn is over."""


def learn_theirs(theirs: Theirs, valid: Holdout, marks: Sequence[float]) -> tuple[list[float], float | None]:
    """NDCG@10 after so many seconds of training each; the seconds of the first epoch, None where it did not end."""
    found: list[float] = []
    first: float | None = None
    judging, start = 0.0, time.perf_counter()

    def loss(batch: Any) -> Any:
        nonlocal judging
        if time.perf_counter() - start - judging >= marks[len(found)]:
            began = time.perf_counter()
            found.append(evaluate(theirs, valid, ks=(10,)).mean("ndcg@10"))
            judging += time.perf_counter() - began
            if len(found) == len(marks):
                raise _Over
        return theirs.model.calculate_loss(batch)

    with contextlib.suppress(_Over):
        while True:
            theirs.epoch(loss_func=loss)
            first = first or time.perf_counter() - start - judging
    return found, first


def learn_ours(log: Interactions, valid: Holdout, marks: Sequence[float]) -> list[float]:
    """NDCG@10 at the last epoch that ended within so many seconds of training each."""
    curve: list[Epoch] = []

    def on_epoch(epoch: Epoch) -> None:
        curve.append(epoch)
        if epoch.seconds > max(marks):
            raise _Over

    with contextlib.suppress(_Over):
        create("sasrec", epochs=10_000, **SAME_SIZE).fit(log, valid, Engine(progress=False, on_epoch=on_epoch))
    return [max((e for e in curve if e.seconds <= mark), key=lambda e: e.number, default=curve[0]).value or 0.0 for mark in marks]


def quality_rows(name: str) -> list[Row]:
    train, valid, test = leave_last_out(name)
    marks = BUDGETS[name]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        theirs = Theirs("SASRec", Path(folder), train.plus(valid.truth).plus(test.truth))
        peer, first = learn_theirs(theirs, valid, marks)
    ours = learn_ours(train, valid, marks)
    size = f"{name}, leave-last-out, {len(valid.users):,} people, {valid.n_items:,} items"
    rows = [
        Row(
            work=f"SASRec NDCG@10 after {mark} s",
            size=size,
            ours=own,
            peer="RecBole",
            peer_value=value,
            goal="above 1" if mark == marks[-1] else "shown",
            met=own > value if mark == marks[-1] else None,
        )
        for mark, own, value in zip(marks, ours, peer, strict=True)
    ]
    return [*rows, *([_epoch_row(name, train, theirs.n_examples, first)] if first is not None else [])]


def _epoch_row(name: str, train: Interactions, n_targets: int, theirs: float) -> Row:
    """Raises AssertionError unless both learn from as many targets."""
    assert n_targets == int((train.events_per_user - 1).clamp(min=0).sum())
    ours = epoch_seconds(train, {**SAME_SIZE, "dropout": 0.5}, "sasrec", checkpoints=False)
    size, work = f"{name}, leave-last-out, {n_targets:,} targets", "SASRec epoch, seconds"
    return Row(work=work, size=size, ours=ours, peer="RecBole", peer_value=theirs, goal="at most 1/10", met=ours <= theirs / 10)


PARTS: dict[str, Callable[[], list[Row]]] = {
    "mf": mf_rows,
    "ml-100k": partial(quality_rows, "ml-100k"),
    "ml-1m": partial(quality_rows, "ml-1m"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="default: all")
    asked = parser.parse_args().parts
    warnings.simplefilter("ignore")  # RecBole's own, about pandas and torch
    for name in ("ml-100k", "ml-1m"):
        prepare(name)
    with threads(THREADS):
        rows = [row for part in asked or PARTS for row in PARTS[part]()]
    if asked:
        show(rows)
    else:
        write(Path(__file__).stem, rows)


if __name__ == "__main__":
    main()
