"""The audit sees every leak that is put in, and a known offender of RecBole's."""

import dataclasses

import pytest
import torch

from workbench.data import Interactions, Split, audit, audit_counts, audited, load_dataset
from workbench.data.rules import GlobalTime
from workbench.data.source import source_folder
from workbench.errors import WorkError


def found(parts, words, log=None):
    (finding,) = (finding for finding in audit(parts, log) if words in finding.what)
    return finding


@pytest.mark.parametrize(
    "name", ["user_time", "global_time", "leave_last_n", "rolling_origin", "random", "user_random", "new_user", "new_item"]
)
def test_every_split_keeps_its_promises(ml100k, name):
    findings = audit(ml100k.split(name, seed=1), ml100k)
    assert len(findings) >= 9
    assert any(finding.promised for finding in findings)
    assert all(finding.ok for finding in findings)


def test_a_broken_promise_ends_whatever_is_built_on_it(ml100k):
    parts = ml100k.split("global_time")
    assert audited(parts) is parts
    with pytest.raises(
        WorkError, match=r"global_time promised none, and 9,691 of 100,000 \(10%\) are events known of a person that are later"
    ):
        audited(dataclasses.replace(parts, repeats=True, train=parts.train.plus(parts.test)))


def test_a_pair_in_both_parts_is_seen(ml100k):
    parts = ml100k.split()
    moved = parts.test.select(torch.arange(10))
    finding = found(dataclasses.replace(parts, train=parts.train.plus(moved)), "test events of a person and item")
    assert (finding.events, finding.people, finding.ok) == (10, len(moved.users.unique()), False)
    assert finding.places.tolist() == moved.order.tolist()
    finding = found(
        dataclasses.replace(parts, train=parts.train.plus(parts.valid.select(torch.arange(7)))), "validation events of a person and item"
    )
    assert (finding.events, finding.ok) == (7, False)


def test_where_repeats_are_normal_a_pair_in_both_is_noted(ml100k):
    parts = ml100k.split()
    leaky = dataclasses.replace(parts, repeats=True, train=parts.train.plus(parts.test.select(torch.arange(10))))
    finding = found(leaky, "test events of a person and item")
    assert (finding.events, finding.ok, finding.noted) == (10, True, True)


def test_swapped_parts_are_seen_by_time(ml100k):
    """Validation after test, training after test, and a person's own future: what `global_time` promised not to do."""
    parts = ml100k.split("global_time")
    swapped = dataclasses.replace(parts, valid=parts.test, test=parts.valid)
    late = found(swapped, "validation events at or after the earliest test event")
    assert (late.events, late.ok) == (len(parts.test), False)
    backwards = dataclasses.replace(parts, train=parts.test, test=parts.train)
    finding = found(backwards, "training events at or after the earliest test event of anybody")
    assert (finding.events, finding.ok) == (len(parts.test), False)
    own = found(backwards, "later than their first test event")
    first = torch.full((943,), 2**62).scatter_reduce_(0, parts.train.users, parts.train.timestamps, "amin")
    expected = sum(int((part.timestamps > first[part.users]).sum()) for part in (parts.test, parts.valid))
    assert (own.events, own.ok) == (expected, False)


def test_held_out_people_and_items_in_training_are_seen(ml100k):
    for name, words in (
        ("new_user", "training events of people who are judged"),
        ("new_item", "training events of items that are to be found"),
    ):
        parts = ml100k.split(name)
        leaky = dataclasses.replace(
            parts, train=parts.train.plus(parts.test.select(torch.arange(5))), test=parts.test.select(torch.arange(5, len(parts.test)))
        )
        finding = found(leaky, words)
        assert finding.events >= 1
        assert not finding.ok
    assert not any("people who are judged" in finding.what for finding in audit(ml100k.split()))


def test_people_and_items_only_in_test_are_counted(ml100k):
    parts = ml100k.split("global_time")
    trained_people, trained_items = parts.train.events_per_user > 0, parts.train.events_per_item > 0
    strangers, new = found(parts, "people without a training event"), found(parts, "items without a training event")
    assert strangers.events == int((~trained_people[parts.test.users]).sum())
    assert strangers.people == 166 - 69
    assert new.events == int((~trained_items[parts.test.items]).sum())
    assert strangers.noted
    assert new.noted


def test_one_person_under_two_spellings_is_noted(tiny):
    """ "007" and "7" are two people; that their events say the same thing on both sides of the cut is worth a note."""
    rows = [("007", "i1", 5, 1), ("x", "i2", 5, 2), ("x", "i3", 5, 3), ("y", "i1", 5, 4), ("y ", "I1", 5, 100), ("7", "i1", 5, 101)]
    tiny(rows)
    data = load_dataset("tiny")
    assert data.n_users == 5
    parts = data.split("global_time", fractions=(0.6, 0.0, 0.4))
    finding = found(parts, "another spelling", data)
    assert (finding.events, finding.people, finding.noted) == (2, 2, True)
    assert found(data.split("global_time", fractions=(0.5, 0.5, 0.0)), "another spelling", data).events == 0


def test_a_count_over_the_full_log_is_seen(ml100k):
    parts = ml100k.split("global_time")
    assert audit_counts(parts.train.events_per_item, parts).ok
    whole = parts.train.plus(parts.valid).plus(parts.test).events_per_item
    finding = audit_counts(whole, parts)
    assert (finding.events, finding.of, finding.ok) == (20_001, 100_000, False)
    assert audit_counts(whole - parts.test.events_per_item, dataclasses.replace(parts, refit="train+valid")).ok


@pytest.mark.filterwarnings("ignore")  # RecBole's own, about pandas
def test_recboles_ts_split_with_its_default_order_is_caught(ml100k, tmp_path, monkeypatch):
    """RecBole's time-based split with `order: RO` claims to cut each person's events by time. It shuffles the events first."""
    from workbench.models.recbole.library import create_dataset, data_preparation, init_seed, recbole_config

    monkeypatch.chdir(tmp_path)
    folder = source_folder("package:recbole==1.2.1/dataset_example/ml-100k").parent
    split_args = {"split": {"TS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": "user", "mode": "full"}
    config = recbole_config(
        "Pop", "ml-100k", {"data_path": str(folder), "eval_args": split_args, "device": "cpu", "checkpoint_dir": str(tmp_path)}
    )
    init_seed(2020, True)
    loaders = data_preparation(config, create_dataset(config))
    parts = _as_split(ml100k, [loader.dataset for loader in loaders])
    late = found(parts, "training events at or after the earliest test event of anybody")
    assert not late.ok
    assert late.share > 0.9, "nearly all training rows are after the earliest test row"
    own = found(parts, "later than their first test event")
    assert not own.ok


def _as_split(data, datasets):
    """RecBole's parts as a split that promises what a cut by time promises."""
    codes = [{key: code for code, key in enumerate(ids)} for ids in (data.user_ids, data.item_ids)]
    parts = []
    for dataset in datasets:
        users, items = (
            torch.tensor([code[str(token)] for token in dataset.id2token(name, dataset.inter_feat[name].numpy())])
            for name, code in zip(("user_id", "item_id"), codes, strict=True)
        )
        order = torch.argsort(users, stable=True)
        times = (dataset.inter_feat["timestamp"].double() * 1e6).long()
        ones = torch.ones(len(users))
        parts.append(
            Interactions(943, 1682, users[order], items[order], times[order], ones.double(), ones.bool(), torch.arange(len(users)))
        )
    empty = parts[0].select(torch.arange(0))
    return Split(
        name="TS",
        rule=GlobalTime(),
        seed=2020,
        snapshot_id="recbole",
        repeats=False,
        ties=torch.arange(1682),
        **dict(zip(("train", "valid", "test"), parts, strict=True)),
        known=empty,
    )
