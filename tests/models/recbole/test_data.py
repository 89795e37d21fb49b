"""What stands in for RecBole's data set says what RecBole's own would, and its examples are those of a plain loop."""

import numpy as np
import pytest
import torch

from workbench.data import Side
from workbench.errors import RequestError
from workbench.models.recbole.dataset import ITEM, LABEL, LENGTH, NEGATIVE, SEQUENCE, USER, Data, padded
from workbench.models.recbole.examples import Events, Masked, People, Rows, Whole, all_pairs, sequences, with_features, with_inverse
from workbench.models.recbole.library import FeatureType
from workbench.testing import interactions, latent_log

PAIRS = [(0, 2), (0, 0), (0, 2), (2, 1), (2, 3), (2, 0), (2, 2), (3, 1)]
"""Person 0 has item 2 twice, person 1 nothing."""
CONFIG = {"MAX_ITEM_LIST_LENGTH": 3}


@pytest.fixture
def log():
    return interactions(PAIRS, 4, 5)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_codes_are_ours_plus_one_and_pairs_are_told_once(log):
    data = Data("BPR", log, Side(), CONFIG)
    assert (data.num(USER), data.num(ITEM), data.inter_num) == (5, 6, 8)
    expected = np.zeros((5, 6))
    for user, item in PAIRS:
        expected[user + 1, item + 1] = 1
    for form in ("coo", "csr"):
        assert (data.inter_matrix(form).toarray() == expected).all()
    items, values, lengths = data.history_item_matrix()
    assert items.tolist() == [[0, 0, 0, 0], [1, 3, 0, 0], [0, 0, 0, 0], [2, 4, 1, 3], [2, 0, 0, 0]]  # the last event of a pair counts
    assert ((values > 0) == (items > 0)).all()
    assert lengths.tolist() == [0, 2, 0, 4, 1]
    assert data.history_item_matrix(max_history_len=2)[0].tolist() == [[0, 0], [1, 3], [0, 0], [1, 3], [2, 0]]
    people, _, counts = data.history_user_matrix()
    assert people[:, :2].tolist() == [[0, 0], [1, 3], [3, 4], [1, 3], [3, 0], [0, 0]]
    assert counts.tolist() == [0, 2, 2, 2, 1, 0]


def test_padding_keeps_the_last_of_each_row():
    ids, values, counts = padded(torch.tensor([1, 1, 1, 3]), torch.tensor([7, 8, 9, 5]), torch.tensor([0.1, 0.2, 0.3, 0.4]), 4, longest=2)
    assert ids.tolist() == [[0, 0], [8, 9], [0, 0], [5, 0]]
    assert torch.equal(values, torch.tensor([[0, 0], [0.2, 0.3], [0, 0], [0.4, 0]]))
    assert counts.tolist() == [0, 2, 0, 1]


def test_a_feature_is_a_code_a_list_of_codes_or_numbers(log):
    one = torch.tensor([[1, 0], [0, 1], [1, 0], [0, 0], [0, 1]])
    several = torch.tensor([[1, 1, 0], [0, 0, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1]])
    numbers = torch.tensor([[0.5], [1.0], [-2.0], [0.0], [3.0]])
    side = Side(items=torch.cat([one, several, numbers], dim=1), item_fields=(("genre", 2), ("tags", 3), ("length", 1)))
    data = Data("FM", log, side, CONFIG)
    table = data.get_item_feature()
    assert data.item_fields == ["item:genre", "item:tags", "item:length"]
    assert data.numerical == ["item:length"]
    assert [data.field2type[field] for field in data.item_fields] == [FeatureType.TOKEN, FeatureType.TOKEN_SEQ, FeatureType.FLOAT_SEQ]
    assert [data.num(field) for field in data.item_fields] == [3, 4, 2]
    assert table["item:genre"].tolist() == [0, 1, 2, 1, 0, 2]  # of padding and of the fourth item none is known
    assert table["item:tags"].tolist() == [[0, 0, 0], [1, 2, 0], [0, 0, 0], [3, 0, 0], [1, 3, 0], [1, 2, 3]]
    assert table["item:length"].tolist() == [[[0.0, 1.0]], [[0.5, 1.0]], [[1.0, 1.0]], [[-2.0, 1.0]], [[0.0, 1.0]], [[3.0, 1.0]]]
    columns = with_features({USER: torch.tensor([1, 3]), ITEM: torch.tensor([5, 2])}, data)
    assert columns["item:genre"].tolist() == [2, 2]
    whole = Data("FM", log, Side(items=numbers), CONFIG)
    assert whole.item_fields == ["item:features"]


def test_what_the_data_lacks_is_said_in_a_line(log):
    data = Data("KGAT", log, Side(), CONFIG)
    for ask in (data.kg_graph, lambda: data.get_preload_weight("ent_id"), lambda: data.head_entities):
        with pytest.raises(RequestError, match=r"^recbole:KGAT needs .*, which this data lacks\.$"):
            ask()


def test_an_event_comes_with_items_that_the_person_never_had(log):
    examples = Events(log, negatives=2, labelled=False)
    drawn = examples.draw(torch.arange(8), generator())
    columns = examples.columns(*drawn, generator=generator())
    assert columns[USER].tolist() == 2 * [user + 1 for user, _ in PAIRS]
    assert columns[ITEM].tolist() == 2 * [item + 1 for _, item in PAIRS]
    had = {(user + 1, item + 1) for user, item in PAIRS}
    assert not had & set(zip(columns[USER].tolist(), columns[NEGATIVE].tolist(), strict=True))
    assert columns[NEGATIVE].min() >= 1
    labelled = Events(log, negatives=2, labelled=True)
    told = labelled.columns(*labelled.draw(torch.arange(8), generator()), generator=generator())
    assert told[LABEL].tolist() == 8 * [1.0] + 16 * [0.0]
    rows = list(zip(told[USER].tolist(), told[ITEM].tolist(), strict=True))
    assert set(rows[:8]) == had
    assert not had & set(rows[8:])


def test_a_row_is_what_was_before_an_event(log):
    examples = Rows(log, length=3, paired=True)
    assert examples.n == len(PAIRS) - 3  # but for everyone's first
    columns = examples.columns(*examples.draw(torch.arange(examples.n), generator()), generator=generator())
    found = [
        (user, [item for item in items if item], length, item)
        for user, items, length, item in zip(*(columns[name].tolist() for name in (USER, SEQUENCE, LENGTH, ITEM)), strict=True)
    ]
    assert found == [
        (1, [3], 1, 1),
        (1, [3, 1], 2, 3),
        (3, [2], 1, 4),
        (3, [2, 4], 2, 1),
        (3, [2, 4, 1], 3, 3),
    ]
    assert columns[SEQUENCE][0].tolist() == [3, 0, 0]
    assert columns[f"Inverse_{SEQUENCE}"][1].tolist() == [0, 3, 1]


def test_windows_ask_for_the_same_targets_as_rows():
    log = latent_log(n_users=8, n_items=12, events_each=7)[0]
    rows, whole = Rows(log, length=50), Whole(log, length=50)
    of_rows = rows.columns(*rows.draw(torch.arange(rows.n), generator()), generator=generator())
    columns = whole.columns(*whole.draw(torch.arange(whole.n), generator()), generator=generator())
    prefixes = [
        (items[: place + 1], target)
        for items, targets in zip(columns[SEQUENCE].tolist(), columns[ITEM].tolist(), strict=True)
        for place, target in enumerate(targets)
        if target
    ]
    expected = [
        (items[:length], target)
        for items, length, target in zip(of_rows[SEQUENCE].tolist(), of_rows[LENGTH].tolist(), of_rows[ITEM].tolist(), strict=True)
    ]
    assert sorted(prefixes) == sorted(expected)


def test_hidden_items_are_those_to_be_found():
    log = latent_log(n_users=30, n_items=12, events_each=10)[0]
    examples = Masked(log, length=8, share=0.4, last=0.5)
    places = torch.arange(examples.n)
    whole = {
        tuple((examples.windows.items[start : start + length + 1] + 1).tolist())
        for start, length in zip(examples.windows.starts.tolist(), examples.windows.lengths.tolist(), strict=True)
    }
    cut = 0
    for seed in range(20):
        columns = examples.columns(*examples.draw(places, generator()), generator=generator(seed))
        for items, told, index in zip(*(columns[name].tolist() for name in (f"Mask_{SEQUENCE}", f"Pos_{ITEM}", "MASK_INDEX")), strict=True):
            real = [place for place in index if place]
            assert all(items[place] == 13 for place in real)
            assert items.count(13) == len(real) == len(set(real)) <= 3
            answers = dict(zip(index, told, strict=True))
            sequence = [answers.get(place, item) if item == 13 else item for place, item in enumerate(items) if item]
            assert any(tuple(sequence) == window[: len(sequence)] for window in whole)
            cut += tuple(sequence) not in whole
    assert 0.2 < cut / (20 * examples.n) < 0.5  # half of the windows, some of them at their end


def test_people_are_all_that_they_had(log):
    people = People(log)
    (users,) = people.draw(torch.arange(people.n), generator())
    assert users.tolist() == [1, 3, 4]
    expected = torch.zeros(3, 6)
    for row, user in enumerate((0, 2, 3)):
        expected[row, [item + 1 for owner, item in PAIRS if owner == user]] = 1
    assert torch.equal(people.ratings(users), expected)
    assert torch.equal(people.ratings(users.flip(0)), expected.flip(0))


def test_histories_are_cut_and_padded_as_recbole_has_them(log):
    columns = sequences(log.batch(torch.tensor([2, 1, 0])), length=3)
    assert columns[SEQUENCE].tolist() == [[4, 1, 3], [0, 0, 0], [3, 1, 3]]
    assert columns[LENGTH].tolist() == [3, 1, 3]  # RecBole looks at the last one; who has none is scored 0
    assert columns[USER].tolist() == [3, 2, 1]
    short = with_inverse({SEQUENCE: torch.tensor([[5, 6, 0]]), LENGTH: torch.tensor([2])})
    assert short[f"Inverse_{SEQUENCE}"].tolist() == [[0, 5, 6]]


def test_all_pairs_go_person_by_person():
    columns = all_pairs(torch.tensor([4, 0]), 3)
    assert columns[USER].tolist() == [5, 5, 5, 1, 1, 1]
    assert columns[ITEM].tolist() == [1, 2, 3, 1, 2, 3]
