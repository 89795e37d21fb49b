"""Interactions out of thin air, deterministic under a seed, with a truth one can compute."""

from collections.abc import Sequence

import numpy as np
import torch

from workbench.data import Holdout, Interactions


def interactions(pairs: Sequence[tuple[int, int]], n_users: int, n_items: int) -> Interactions:
    """Events (user, item), all liked, one microsecond apart in the order given."""
    table = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
    times = torch.arange(len(table))
    log = Interactions(
        n_users=n_users,
        n_items=n_items,
        users=table[:, 0],
        items=table[:, 1],
        timestamps=times,
        values=torch.ones(len(table), dtype=torch.float64),
        grades=torch.ones(len(table), dtype=torch.int8),
        order=times,
    )
    ordered = log.select(torch.argsort(log.users, stable=True))
    return Interactions(**{**vars(ordered), "order": torch.arange(len(table))})


def checkerboard(n_users: int = 40, n_items: int = 20) -> tuple[Interactions, Holdout]:
    """People like the items of their own colour: user u has every item i with u + i even, but for one, which is to be found.

    A model that learns anything from behaviour ranks that item first among the unseen; popularity cannot tell it from the other colour's.
    Everyone goes round their colour in the same order and began just behind the missing item, so that it is also what comes next.
    """
    train, truth = [], []
    for user in range(n_users):
        own = [item for item in range(n_items) if (user + item) % 2 == 0]
        place = (user // 2) % len(own)
        train += [(user, item) for item in own[place + 1 :] + own[:place]]
        truth.append((user, own[place]))
    known = interactions(train, n_users, n_items)
    return known, holdout(known, interactions(truth, n_users, n_items))


def latent_log(n_users: int = 200, n_items: int = 100, events_each: int = 30, seed: int = 0) -> tuple[Interactions, Holdout]:
    """A log with skewed popularity and taste: item i of person u is drawn with probability ∝ exp(a_i + 3 u·v), without repeats.

    a_i falls with the item's place like a Zipf law; u and v are unit vectors in 4 dimensions. The last fifth of each person is to be found.
    """
    rng = np.random.default_rng(seed)
    people, items = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (rng.normal(size=(n, 4)) for n in (n_users, n_items)))
    utility = (
        3 * people @ items.T - np.log1p(np.arange(n_items)) + rng.gumbel(size=(n_users, n_items))
    )  # Gumbel-max: a draw without repeats
    drawn = np.argsort(-utility, axis=1)[:, :events_each]
    first = events_each - events_each // 5
    known, later = (
        interactions([(u, int(i)) for u in range(n_users) for i in drawn[u, part]], n_users, n_items)
        for part in (slice(None, first), slice(first, None))
    )
    return known, holdout(known, later)


def holdout(known: Interactions, truth: Interactions, seed: int = 0, label: str = "synthetic") -> Holdout:
    """Everyone in `truth` is judged on it; `known` is their history and masked."""
    ties = torch.from_numpy(np.random.default_rng(seed).permutation(known.n_items))
    people, trained = truth.events_per_user > 0, known.events_per_user > 0
    return Holdout.build(label=label, truth=truth, people=people, history=known, seen=known, trained=trained, ties=ties)
