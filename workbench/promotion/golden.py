"""Requests that a bundle is held to: real people, strangers with short, long and empty histories, items that nobody had in training."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from workbench.data import Dataset, Interactions, UserBatch
from workbench.data.interactions import offsets_of
from workbench.evaluation.ranking import NOTHING
from workbench.policy import Facts
from workbench.promotion.system import Listed, System
from workbench.retrieval import Requests
from workbench.serving.bundle import Bundle
from workbench.serving.requests import Request

BATCH = 257
STRANGERS = 64
LONG = 300
"""Events of the longest history that a stranger has."""


def golden_requests(data: Dataset, learnt: Interactions, as_of: int, seed: int = 0) -> list[Request]:
    """BATCH of them, the first ones of people of the data, the last STRANGERS of nobody. learnt: what the models learnt from."""
    draw = np.random.default_rng([seed, 9])
    people = np.linspace(0, data.n_users - 1, BATCH - STRANGERS).round().astype(int)
    moments = as_of + draw.integers(0, 3 * 86_400_000_000, BATCH)
    found = [Request(user_id=data.user_ids[code], timestamp=int(moment)) for code, moment in zip(people, moments, strict=False)]
    weights = (learnt.events_per_item + 1).double().numpy()
    unmet = np.flatnonzero(learnt.events_per_item.numpy() == 0)
    for number in range(STRANGERS):
        length = min((0, 1, 2, 3, 5, 20, 60, min(LONG, data.n_items // 2))[number % 8], data.n_items)
        codes = draw.choice(data.n_items, length, replace=False, p=weights / weights.sum())
        if number % 16 >= 8 and len(unmet) and length:  # with one that nobody had in training
            codes[-1] = unmet[number % len(unmet)]
        if number % 32 >= 16 and length > 2:  # with one that comes twice
            codes[0] = codes[-1]
        history = [data.item_ids[code] for code in codes]
        found.append(Request(history=history, timestamp=int(moments[BATCH - STRANGERS + number])))
    return found


def answered(system: System, bundle: Bundle, requests: list[Request], facts: Facts, trained: Tensor) -> Listed:
    """What the system answers in torch. facts: of the data set; trained: bool (n_users,)."""
    asked = [bundle.encode(each) for each in requests]
    lengths = torch.tensor([len(each.history) for each in asked])
    items = torch.from_numpy(np.concatenate([each.history for each in asked]))
    users = torch.tensor([each.user for each in asked])
    n = len(facts.data.item_ids)
    batch = UserBatch(users=users, items=items, timestamps=torch.zeros_like(items), offsets=offsets_of(lengths), n_items=n)
    liked = [np.isin(each.history, each.liked) for each in asked]
    told = torch.from_numpy(np.concatenate(liked)).to(torch.int8)
    rows = torch.arange(len(asked)).repeat_interleave(lengths)
    nothing = torch.zeros_like(items)
    history = Interactions(len(asked), n, rows, items, nothing, nothing.double(), told, torch.arange(len(items)))
    known = trained[users.clamp(min=0)] & (users >= 0)
    wanted = Requests(asked=batch, seen=None if bundle.repeats else batch, trained=known)
    own = Facts(facts.data, history, facts.own_vectors, facts.history)
    return system.answer(wanted, torch.tensor([each.moment for each in asked]), own, torch.arange(len(asked)))


def write_golden(path: Path, requests: list[Request], listed: Listed, item_ids: list[str]) -> None:
    lists = [[item for item in row if item != NOTHING] for row in listed.items.tolist()]
    table = pa.table(
        {
            "user_id": pa.array([each.user_id for each in requests], pa.string()),
            "history": pa.array([None if each.history is None else list(each.history) for each in requests], pa.list_(pa.string())),
            "timestamp": pa.array([each.timestamp for each in requests], pa.int64()),
            "items": pa.array([[item_ids[item] for item in row] for row in lists], pa.list_(pa.string())),
            "scores": pa.array(
                [scores[: len(row)] for row, scores in zip(lists, listed.scores.tolist(), strict=True)], pa.list_(pa.float64())
            ),
        }
    )
    pq.write_table(table, path)
