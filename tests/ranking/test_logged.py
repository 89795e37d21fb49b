"""Pages of a log against a loop over a world's own frame."""

import pytest
import torch

from workbench.data import load_dataset
from workbench.errors import NotApplicable
from workbench.features import Tables, feature
from workbench.ranking import logged_examples

COUNTED = [feature("shown", "item", "count", events="impression"), feature("clicked", "item", "count", events="click")]


@pytest.fixture(scope="module")
def tables(known):
    return Tables.of(known.data)


@pytest.fixture(scope="module")
def pages(known, tables):
    return logged_examples(known.data, tables, ("click", "like"), definitions=COUNTED)


@pytest.fixture(scope="module")
def frame(known):
    return known.world.frame()


@pytest.fixture(scope="module")
def by_loop(frame, known):
    """(moment, request) → user, and a row of item, position, propensity, clicked, liked for each show, in the order of the page."""
    item_codes = {name: code for code, name in enumerate(known.data.item_ids)}
    user_codes = {name: code for code, name in enumerate(known.data.user_ids)}
    happened = {}
    for event in frame.itertuples():
        happened.setdefault((event.request_id, event.item_id, event.position), set()).add(event.event)
    found = {}
    for show in frame[frame["event"] == "impression"].itertuples():
        kinds = happened[show.request_id, show.item_id, show.position]
        row = (int(show.position), item_codes[show.item_id], show.propensity, "click" in kinds, "like" in kinds)
        _, moment, rows = found.setdefault(show.request_id, (user_codes[show.user_id], show.timestamp, []))
        rows.append(row)
        assert moment == show.timestamp
    return sorted((moment, request, user, sorted(rows)) for request, (user, moment, rows) in found.items())


def test_every_page_is_what_the_loop_finds(pages, by_loop):
    examples, shown = pages
    assert len(examples) == len(by_loop)
    assert examples.tasks == ("click", "like")
    for row, (moment, _, user, rows) in enumerate(by_loop):
        places = slice(int(examples.offsets[row]), int(examples.offsets[row + 1]))
        assert (int(examples.users[row]), int(examples.moments[row])) == (user, moment)
        assert shown["position"][places].tolist() == [each[0] for each in rows]
        assert examples.items[places].tolist() == [each[1] for each in rows]
        assert shown["propensity"][places].tolist() == pytest.approx([each[2] for each in rows])
        assert examples.labels[places].tolist() == [[each[3], each[4]] for each in rows]
        assert int(examples.n_relevant[row]) == sum(each[4] for each in rows)
    assert examples.labels.any(0).all()


def test_an_item_that_stands_twice_on_a_page_has_two_rows(by_loop, pages):
    twice = [row for row, (*_, rows) in enumerate(by_loop) if len({each[1] for each in rows}) < len(rows)]
    assert twice, "slots are filled independently"
    examples, _ = pages
    assert int(examples.offsets.diff()[twice[0]]) == 5


def test_features_see_nothing_of_the_page_itself(pages, frame, known):
    examples, _ = pages
    for place in range(0, len(examples.items), 911):
        item, moment = known.data.item_ids[int(examples.items[place])], int(examples.moments[examples.rows[place]])
        before = frame[(frame["item_id"] == item) & (frame["timestamp"] < moment)]
        for name, kind in (("shown", "impression"), ("clicked", "click")):
            assert examples.features.column(name)[place] == (before["event"] == kind).sum()


def test_kinds_that_the_card_names_are_tasks_too(known, tables, pages):
    """Liked is what the card calls so, a like; all is whatever people did."""
    examples, _ = logged_examples(known.data, tables, ("all", "liked", "disliked"), definitions=[])
    assert torch.equal(examples.task("liked"), pages[0].task("like"))
    assert (examples.task("all") >= pages[0].task("click")).all()
    assert torch.equal(examples.task("all"), pages[0].task("click") | examples.task("disliked"))


def test_standard_features_are_made_unless_told(known, tables):
    some = Tables(tables.events, tables.attributes, {}, tables.privacy)
    examples, _ = logged_examples(known.data, some, ("click",))
    names = [each.name for each in examples.features.definitions]
    assert {"person_events_clicks", "item_events_impressions", "item_liked", "hour"} <= set(names)
    assert not [name for name in names if "place" in name]


def test_a_log_without_pages_is_told(tiny):
    tiny()
    data = load_dataset("tiny")
    with pytest.raises(NotApplicable, match="pages of a log need request_id, and tiny has none"):
        logged_examples(data, Tables.of(data), ("all",))
