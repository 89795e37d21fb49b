"""SASRec to its limit: ML-1M, leave-last-out, full ranking, until it learns no more. Takes an hour or more; goes on where it stopped.

`python -m benchmarks.long_run` trains, prints the curve and writes benchmarks/results/long_run.json; `--minutes 20` does a piece of it,
and the next call goes on from there. Checkpoints are in .checkpoints/, which git ignores.

The protocol is that of the numbers it is held against (Klenitskiy and Vasilev, RecSys 2023; Petrov and Macdonald, RecSys 2023): all
ratings are events, items with fewer than 5 are left out, a person's events are ordered by time and, at one moment, by their place in the
file; the last one is test, the one before it validation, the rest training. All items are ranked but those that the person had. Test is
looked at once, when training has ended, with the weights that were best on validation.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch

from benchmarks.report import Row, write
from workbench.data import Holdout, Interactions, load_card, tie_ranks
from workbench.data.source import source_files
from workbench.evaluation import evaluate
from workbench.models import create
from workbench.testing import interactions
from workbench.training import Engine

SETTINGS = {
    "dimensions": 128,
    "layers": 2,
    "heads": 2,
    "length": 200,
    "dropout": 0.25,
    "loss": "sampled_softmax",
    "negatives": 1024,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "warmup": 200,
    "epochs": 40,
    "judge_every": 2,
}
PUBLISHED = {  # recall@10, NDCG@10
    "SASRec, original recipe": (0.2500, 0.1341),
    "gSASRec": (0.3003, 0.1726),
    "RecTools SASRec": (0.3058, 0.1779),
    "SASRec, sampled cross-entropy": (0.3152, 0.1821),
}
FLOOR = 0.150


def leave_last_out(name: str = "ml-1m") -> tuple[Interactions, Holdout, Holdout]:
    """Training part, validation, test of a MovieLens data set, straight from its file."""
    log = pd.read_csv(source_files(load_card(name))["events"], sep="\t")
    log.columns = [name.split(":")[0] for name in log.columns]
    log = log[log.groupby("item_id")["item_id"].transform("size") >= 5]
    log = log.sort_values("timestamp", kind="stable")
    users, items = (sorted(log[column].astype(str).unique()) for column in ("user_id", "item_id"))
    codes = (pd.Index(ids).get_indexer(log[column].astype(str)) for ids, column in ((users, "user_id"), (items, "item_id")))
    pairs = [(int(user), int(item)) for user, item in zip(*codes, strict=True)]
    whole = interactions(pairs, len(users), len(items))
    left = whole.offsets[1:][whole.users] - torch.arange(len(whole))  # 1: a person's last event
    train, valid, test = whole.select(left > 2), whole.select(left == 2), whole.select(left == 1)
    return train, _holdout(f"{name}/valid", valid, train, train, items), _holdout(f"{name}/test", test, train.plus(valid), train, items)


def _holdout(part: str, truth: Interactions, known: Interactions, train: Interactions, items: list[str]) -> Holdout:
    return Holdout.build(
        label=f"leave-last-out/{part}",
        truth=truth,
        people=truth.events_per_user > 0,
        history=known,
        seen=known,
        trained=train.events_per_user > 0,
        ties=tie_ranks(items, seed=0),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, help="stop at the end of an epoch after so many; default: go on to the end")
    options = parser.parse_args()
    train, valid, test = leave_last_out()
    engine = Engine(checkpoints=Path(".checkpoints") / "long_run", minutes=options.minutes, progress=True)
    model = create("sasrec", **SETTINGS).fit(train, valid, engine)
    training = model.training
    for epoch in training.curve:
        print(epoch)
    if not training.finished:
        print(f"{len(training.curve)} of {SETTINGS['epochs']} epochs: call again to go on")
        return
    result = evaluate(model, test, ks=(10,))
    minutes = training.curve[-1].seconds / 60
    size = f"ml-1m, {len(test.users):,} people, {test.n_items:,} items, {len(training.curve)} epochs, {minutes:.0f} min of training"
    ndcg, recall = result.mean("ndcg@10"), result.mean("recall@10")
    rows = [Row(work="NDCG@10", size=size, ours=ndcg, peer="the floor", peer_value=FLOOR, goal="at least 1", met=ndcg >= FLOOR)]
    for peer, (theirs_recall, theirs_ndcg) in PUBLISHED.items():
        rows.append(Row(work="NDCG@10", size=size, ours=ndcg, peer=peer, peer_value=theirs_ndcg, goal="shown", met=None))
        rows.append(Row(work="recall@10", size=size, ours=recall, peer=peer, peer_value=theirs_recall, goal="shown", met=None))
    for epoch in training.curve:
        if epoch.value is not None:
            at = f"epoch {epoch.number}, {epoch.seconds / 60:.0f} min"
            rows.append(
                Row(work="curve, NDCG@10", size=at, ours=epoch.value, peer="on validation", peer_value=FLOOR, goal="shown", met=None)
            )
    write(Path(__file__).stem, rows)


if __name__ == "__main__":
    main()
