"""RecBole's models under our engine beside RecBole's own trainer: the same class, log, epochs, batches and rate.

`python -m benchmarks.zoo` prints the table and writes benchmarks/results/zoo.json; names of models do those alone, which are printed. Two
threads for both. ML-100k, leave-last-out, items with at least 5 events; judged on the validation part, full ranking, by our `evaluate`.

- Seconds: the quickest epoch of each, taking turns. Ours from the end of one epoch to the end of the next, theirs its `_train_epoch`.
- NDCG@10 after so many epochs, over seeds: weights, order and negatives differ with each, and between the two. They match where the means
  differ by at most two standard deviations over seeds (pooled).
- GRU4Rec and SASRec twice: by rows, as RecBole does (one target a row, with the events before it), and by our default, in which every
  event of a window is a target, here of as many windows a step as have as many targets. SASRec looks back on 20 events, for both.
"""

import argparse
import contextlib
import statistics
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.long_run import leave_last_out
from benchmarks.report import Row, show, write
from benchmarks.theirs import Theirs
from benchmarks.timing import seconds, taking_turns
from benchmarks.training import epoch_seconds
from workbench.data import Holdout, Interactions, prepare
from workbench.evaluation import evaluate
from workbench.models import create
from workbench.training.device import threads

THREADS = 2
METRIC = "ndcg@10"


@dataclass(frozen=True)
class Match:
    epochs: int
    seeds: int
    batch: int = 2048
    ours: dict[str, Any] = field(default_factory=dict)
    theirs: dict[str, Any] = field(default_factory=dict)
    goal: float = 1.0
    """Largest share of RecBole's seconds."""


ROWS = {"every_position": False}
DROPOUT = {"hidden_dropout_prob": 0.5, "attn_dropout_prob": 0.5}
"""RecBole's; our default is less."""
MATCHES = {
    "BPR": Match(20, 5, goal=1 / 6),
    "LightGCN": Match(6, 5),
    "MultiVAE": Match(40, 5),
    "GRU4Rec": Match(1, 3, 512, ROWS),
    "SASRec": Match(1, 3, 512, ROWS | DROPOUT | {"length": 20}, {"MAX_ITEM_LIST_LENGTH": 20}),
}
WHOLE = {"GRU4Rec": {"batch_size": 10}, "SASRec": DROPOUT | {"batch_size": 25, "length": 20}}
"""Windows of 50 or 20 targets: about 512 of them a step."""


@contextlib.contextmanager
def their_model(name: str, whole: Interactions, seed: int, settings: dict[str, Any]) -> Iterator[Theirs]:
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # RecBole logs into the working directory
        yield Theirs(name, Path(folder), whole, seed=seed, **settings)


def ours_after(name: str, match: Match, log: Interactions, valid: Holdout, seed: int) -> float:
    settings = {"batch_size": match.batch, **match.ours}
    model = create(f"recbole:{name}", **settings, epochs=match.epochs, seed=seed, learning_rate=1e-3)
    return evaluate(model.fit(log), valid, ks=(10,)).mean(METRIC)


def theirs_after(name: str, match: Match, whole: Interactions, valid: Holdout, seed: int) -> float:
    with their_model(name, whole, seed, {"train_batch_size": match.batch, **match.theirs}) as theirs:
        for _ in range(match.epochs):
            theirs.epoch()
        return evaluate(theirs, valid, ks=(10,)).mean(METRIC)


def quality_row(name: str, match: Match, log: Interactions, whole: Interactions, valid: Holdout) -> Row:
    ours = [ours_after(name, match, log, valid, seed) for seed in range(match.seeds)]
    theirs = [theirs_after(name, match, whole, valid, 2020 + seed) for seed in range(match.seeds)]
    spread = ((statistics.variance(ours) + statistics.variance(theirs)) / 2) ** 0.5
    own, peer = statistics.fmean(ours), statistics.fmean(theirs)
    return Row(
        work=f"{name} NDCG@10, {match.epochs} epochs",
        size=f"ml-100k, leave-last-out, {len(log):,} events, {match.seeds} seeds, standard deviation over them {spread:.4f}",
        ours=own,
        peer="RecBole",
        peer_value=peer,
        goal=f"within {2 * spread:.4f}",
        met=abs(own - peer) <= 2 * spread,
    )


def seconds_rows(name: str, match: Match, log: Interactions, whole: Interactions) -> list[Row]:
    size = f"ml-100k, leave-last-out, {len(log):,} events, batches of {match.batch:,}"
    slow = name in WHOLE
    with their_model(name, whole, 2020, {"train_batch_size": match.batch, **match.theirs}) as theirs:
        settings = {"batch_size": match.batch, **match.ours}
        own, peer = taking_turns(
            lambda: epoch_seconds(log, settings, f"recbole:{name}", checkpoints=False, epochs=2 if slow else 6),
            lambda: min(seconds(theirs.epoch) for _ in range(1 if slow else 4)),
            turns=1 if slow else 3,
        )
    told = "never slower" if match.goal == 1 else f"at most 1/{1 / match.goal:.0f}"
    row = Row(work=f"{name} epoch, seconds", size=size, ours=own, peer="RecBole", peer_value=peer, goal=told, met=own <= match.goal * peer)
    if not slow:
        return [row]
    quick = epoch_seconds(log, WHOLE[name], f"recbole:{name}", checkpoints=False)
    work = f"{name} epoch, every position"
    return [row, Row(work=work, size=size, ours=quick, peer="RecBole", peer_value=peer, goal="never slower", met=quick <= peer)]


def rows_of(name: str, log: Interactions, whole: Interactions, valid: Holdout) -> list[Row]:
    match = MATCHES[name]
    found = [*seconds_rows(name, match, log, whole), quality_row(name, match, log, whole, valid)]
    if name in WHOLE:
        own = statistics.fmean(
            ours_after(name, Match(match.epochs, 1, match.batch, WHOLE[name]), log, valid, seed) for seed in range(match.seeds)
        )
        work = f"{name} NDCG@10, every position"
        found.append(Row(work=work, size=found[-1].size, ours=own, peer="RecBole", peer_value=found[-1].peer_value, goal="shown", met=None))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("models", nargs="*", choices=[[], *MATCHES], help="default: all")
    asked = parser.parse_args().models
    warnings.simplefilter("ignore")  # RecBole's own, about pandas and torch
    prepare("ml-100k")
    log, valid, test = leave_last_out("ml-100k")
    whole = log.plus(valid.truth).plus(test.truth)
    with threads(THREADS):
        found = [row for name in asked or MATCHES for row in rows_of(name, log, whole, valid)]
    if asked:
        show(found)
    else:
        write(Path(__file__).stem, found)


if __name__ == "__main__":
    main()
