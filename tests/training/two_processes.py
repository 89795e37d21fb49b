"""What each of two processes does in `test_distributed.py`: train both models together, and write down what it saw.

Run by torch.distributed.run, with a folder as the argument.
"""

import os
import sys
from pathlib import Path

import torch

from workbench.errors import RequestError
from workbench.models import create
from workbench.testing import latent_log
from workbench.training import Engine, judge, loop
from workbench.training.record import Meter

SETTINGS = {
    "mf": {"loss": "bpr", "epochs": 3, "learning_rate": 0.02, "batch_size": 501, "dimensions": 16, "clip": 0.01, "negatives": 2},
    "sasrec": {"epochs": 3, "learning_rate": 0.005, "batch_size": 33, "dimensions": 16, "length": 20, "dropout": 0.0, "schedule": "cosine"},
}
"""Batches of an odd size, so that two processes have unequal shares."""
N_USERS = 201


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    train, valid = latent_log(n_users=N_USERS)
    seen = {}
    for name, settings in SETTINGS.items():
        judged, written = [], []
        evaluate, write = judge.evaluate, loop.write_checkpoint
        judge.evaluate = lambda model, holdout, evaluate=evaluate, judged=judged, **k: (
            judged.append(holdout.users) or evaluate(model, holdout, **k)
        )
        loop.write_checkpoint = lambda state, path, write=write, written=written: written.append(path.name) or write(state, path)
        two = {"device": "cpu", "threads": 1, "devices": 2, "strategy": "ddp"}
        whole = create(name, **settings).fit(train, valid, Engine(**two, checkpoints=folder / name))
        judge.evaluate, loop.write_checkpoint = evaluate, write

        seconds = Meter.seconds
        Meter.seconds = lambda meter, seconds=seconds: seconds(meter) + 3600 * rank  # for one process time is over
        part = create(name, **settings).fit(train, valid, Engine(**two, checkpoints=folder / f"{name}-part", minutes=30))
        Meter.seconds = seconds
        resumed = create(name, **settings).fit(train, valid, Engine(**two, checkpoints=folder / f"{name}-part"))
        seen[name] = {
            "judged": judged,
            "written": written,
            "weights": whole.network.state_dict(),
            "curve": [(epoch.loss, epoch.value) for epoch in whole.training.curve],
            "part": (len(part.training.curve), part.training.finished),
            "resumed": resumed.network.state_dict(),
            "resumed_from": resumed.training.resumed_from,
            "resumed_curve": [(epoch.loss, epoch.value) for epoch in resumed.training.curve],
        }
    try:
        create("mf", **SETTINGS["mf"]).fit(train.select(torch.arange(1)), None, Engine(**two))
    except RequestError as error:
        seen["too few"] = str(error)
    torch.save(seen, folder / f"seen-{rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
