from dataclasses import replace

import torch

from workbench.data import Holdout, tie_ranks
from workbench.testing import interactions


def holdout(train, truth, people, seen=True):
    known, liked = interactions(train, 4, 5), interactions(truth, 4, 5)
    return Holdout.build(
        label="",
        truth=liked,
        people=torch.tensor(people),
        history=known,
        seen=known if seen else None,
        trained=known.events_per_user > 0,
        ties=torch.arange(5),
    )


def test_people_without_truth_are_left_out_and_counted():
    judged = holdout([(0, 0)], [(0, 1), (2, 3)], [True, True, True, False])
    assert judged.users.tolist() == [0, 2]
    assert (judged.n_people, judged.n_without_truth) == (3, 1)
    assert judged.history_lengths.tolist() == [1, 0]


def test_truth_that_may_not_be_shown_is_no_truth():
    judged = holdout([(0, 0), (1, 1)], [(0, 0), (1, 1), (1, 2)], [True, True, False, False])
    assert judged.users.tolist() == [1]
    assert judged.n_relevant.tolist() == [1]
    assert judged.n_masked_truth == 2


def test_where_repeats_are_legitimate_nothing_is_masked():
    judged = holdout([(0, 0)], [(0, 0)], [True, False, False, False], seen=False)
    assert judged.users.tolist() == [0]
    assert judged.n_masked_truth == 0


def test_an_item_liked_twice_is_to_be_found_once():
    assert holdout([], [(0, 1), (0, 1), (0, 2)], [True, False, False, False]).n_relevant.tolist() == [2]


def test_an_item_liked_twice_has_its_highest_grade_and_its_first_moment():
    log = interactions([(0, 1), (0, 2), (0, 1), (0, 1), (1, 1)], 2, 5)
    log = replace(log, grades=torch.tensor([1, 1, 3, 2, 2], dtype=torch.int8))
    judged = Holdout.build(
        label="", truth=log, people=torch.ones(2, dtype=torch.bool), history=log.select(torch.zeros(5, dtype=torch.bool)),
        seen=None, trained=torch.zeros(2, dtype=torch.bool), ties=torch.arange(5),
    )  # fmt: skip
    assert judged.truth.items.tolist() == [1, 2, 1]
    assert judged.truth.grades.tolist() == [3, 1, 2]
    assert judged.truth.timestamps.tolist() == [0, 1, 4]


def test_only_a_test_part_has_a_ledger(ml100k):
    parts = ml100k.split()
    assert parts.holdout("valid").ledger is None
    assert parts.holdout("test").ledger.path == ml100k.snapshot.folder.parent / "looks.jsonl"


def test_histories_of_a_batch_are_in_order_of_time():
    log = interactions([(1, 4), (0, 2), (1, 0), (0, 3)], 3, 5)
    batch = log.batch(torch.tensor([1, 2, 0]))
    assert batch.offsets.tolist() == [0, 2, 2, 4]
    assert batch.items.tolist() == [4, 0, 2, 3]
    assert batch.history_matrix().tolist() == [[1, 0, 0, 0, 1], [0] * 5, [0, 0, 1, 1, 0]]


def test_parts_put_together_are_in_order_again():
    log = interactions([(0, 0), (0, 1), (1, 2), (0, 3), (1, 4)], 2, 5)
    late, early = log.select(torch.tensor([1, 4])), log.select(torch.tensor([0, 2, 3]))
    both = late.plus(early)
    assert both.items.tolist() == log.items.tolist()
    assert both.csr().toarray().tolist() == [[1, 1, 0, 1, 0], [0, 0, 1, 0, 1]]


def test_tie_ranks_are_a_permutation_that_follows_ids_and_seed_only():
    ids = [f"item {n}" for n in range(100)]
    ranks = tie_ranks(ids, seed=0)
    assert sorted(ranks.tolist()) == list(range(100))
    assert tie_ranks(ids[::-1], seed=0).tolist() == ranks.tolist()[::-1]
    assert tie_ranks(ids, seed=1).tolist() != ranks.tolist()
