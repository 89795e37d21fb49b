"""A model of RecBole under its own trainer and loaders, on a log of ours, judged as ours are."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from workbench.data import Interactions, UserBatch
from workbench.models.recbole import FAMILY
from workbench.models.recbole.library import (
    create_dataset,
    data_preparation,
    get_model,
    get_trainer,
    init_seed,
    interaction,
    recbole_config,
)

NAME = "log"
"""Of the data set; of "ml-100k" RecBole takes its own copy, whatever the path."""


class Theirs:
    """Trained by `epoch`, on all but the last two events of each person; RecBole's defaults but for `settings`."""

    inductive, personal = True, True

    def __init__(self, name: str, folder: Path, whole: Interactions, *, seed: int = 2020, **settings: Any) -> None:
        """folder: where RecBole's file of the log stands, or is written."""
        _write(folder / NAME, whole)
        given = {"data_path": str(folder), "checkpoint_dir": str(folder), "device": "cpu", "seed": seed, "show_progress": False}
        given |= {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
        given |= {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": None}}
        self.sequential = FAMILY[name] == "sequential"
        given |= {"train_neg_sample_args": None} if self.sequential else {}
        config = recbole_config(name, NAME, given | settings)
        init_seed(seed, config["reproducibility"])
        self.title = f"RecBole {name}"
        self.loader = data_preparation(config, create_dataset(config))[0]
        dataset = self.loader.dataset
        self.model = get_model(name)(config, dataset)
        self.trainer = get_trainer(config["MODEL_TYPE"], name)(config, self.model)
        people, items = (dataset.field2token_id[field] for field in ("user_id", "item_id"))
        self.users = torch.tensor([people.get(f"u{user}", 0) for user in range(whole.n_users)])
        self.codes = torch.tensor([items.get(f"i{item}", 0) for item in range(whole.n_items)])
        self.length = config["MAX_ITEM_LIST_LENGTH"]
        self.n_examples = len(dataset)
        self.number = 0

    def epoch(self, **how: Any) -> None:
        self.trainer._train_epoch(self.loader, self.number, **how)
        self.number += 1

    @torch.no_grad()
    def score(self, batch: UserBatch) -> Tensor:
        columns = {"user_id": self.users[batch.users]} | (self._histories(batch) if self.sequential else {})
        self.model.eval()
        scores: Tensor = self.model.full_sort_predict(interaction(columns)).float()
        self.model.train()
        return scores.view(len(batch), -1)[:, self.codes]

    def _histories(self, batch: UserBatch) -> dict[str, Tensor]:
        lengths = batch.lengths.clamp(max=self.length)
        steps = torch.arange(self.length)
        places = ((batch.offsets[1:] - lengths)[:, None] + steps).clamp(max=len(batch.items) - 1)
        return {"item_id_list": self.codes[batch.items[places]].masked_fill(steps >= lengths[:, None], 0), "item_length": lengths}


def _write(folder: Path, whole: Interactions) -> None:
    frame = pd.DataFrame(
        {
            "user_id:token": [f"u{user}" for user in whole.users.tolist()],
            "item_id:token": [f"i{item}" for item in whole.items.tolist()],
            "timestamp:float": range(len(whole)),  # an order without ties, the same for both
        }
    )
    folder.mkdir(exist_ok=True)
    frame.to_csv(folder / f"{NAME}.inter", sep="\t", index=False)
