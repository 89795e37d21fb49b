"""Examples made of ML-100k's funnel: who is asked, what they are given, what came of it, against loops over the log."""

import math

import pyarrow.compute as pc
import pytest
import torch

from workbench.data import Side
from workbench.errors import RequestError
from workbench.evaluation.ranking import NOTHING
from workbench.features import Tables, feature
from workbench.ranking import make_examples, stages
from workbench.ranking.candidates import given_columns
from workbench.retrieval import Fusion, Requests, fuse, make_sources

K = 8
NAMES = ("item_knn", "popularity", "same_groups")
GIVEN = given_columns(NAMES)
COUNTED = [feature("person_events", "user", "count"), feature("item_events", "item", "count"), feature("recency", "user", "recency")]


@pytest.fixture(scope="module")
def tables(ml100k):
    return Tables.of(ml100k)


@pytest.fixture(scope="module")
def stage(ml100k):
    return stages(ml100k.split("user_time")).valid


@pytest.fixture(scope="module")
def sources(ml100k, stage):
    groups = torch.nn.functional.one_hot(torch.arange(ml100k.n_items) % 7).float()
    side = Side(items=groups)
    return make_sources(list(NAMES), ml100k, stage.log, stage.holdout.ties, models={}, side=side)


@pytest.fixture(scope="module")
def users(stage):
    return stage.people[::12]


@pytest.fixture(scope="module")
def examples(stage, sources, tables, users):
    definitions = [feature(name.replace(" ", "_"), "candidate", "given", of=name) for name in GIVEN] + COUNTED
    return make_examples(stage, sources, K, tables, users=users, definitions=definitions)


@pytest.fixture(scope="module")
def lists(stage, sources, users):
    requests = Requests.of(stage.holdout, users)
    return {source.name: source.candidates(requests, K) for source in sources.sources}


def test_each_request_is_at_the_moment_of_the_first_event_of_the_part(examples, stage, users):
    assert torch.equal(examples.users, users)
    for user, moment in zip(users.tolist(), examples.moments.tolist(), strict=True):
        assert moment == stage.part.timestamps[stage.part.users == user].min()
    assert examples.sources == NAMES
    assert examples.retriever == f"{', '.join(NAMES)}; {K} candidates"


def test_candidates_are_the_blend_and_nothing_that_was_seen(examples, stage, sources, lists):
    blend = fuse(lists, stage.holdout.ties, K, sources.fusion())
    for row, user in enumerate(examples.users.tolist()):
        own = examples.items[examples.rows == row].tolist()
        assert own == [item for item in blend.items[row].tolist() if item != NOTHING]
        assert not set(own) & set(stage.log.items[stage.log.users == user].tolist())
        assert len(set(own)) == len(own) <= K


def test_labels_are_what_a_loop_over_the_part_finds(examples, stage):
    assert examples.tasks == ("all", "liked")
    part = list(zip(stage.part.users.tolist(), stage.part.items.tolist(), stage.part.grades.tolist(), strict=True))
    had = {(user, item) for user, item, _ in part}
    liked = {(user, item) for user, item, grade in part if grade > 0}
    pairs = list(zip(examples.users[examples.rows].tolist(), examples.items.tolist(), strict=True))
    assert examples.task("all").tolist() == [pair in had for pair in pairs]
    assert examples.task("liked").tolist() == [pair in liked for pair in pairs]
    assert examples.label.any()
    found = [len([pair for pair in liked if pair[0] == user]) for user in examples.users.tolist()]
    assert examples.n_relevant.tolist() == found  # nothing is had twice here


def test_no_list_holds_more_than_there_is_to_find(examples, stage):
    """So that no NDCG is above 1."""
    hits = torch.zeros(len(examples), dtype=torch.int64).index_add_(0, examples.rows, examples.label.long())
    assert (hits <= examples.n_relevant).all()
    best = examples.ndcg(examples.label.double(), stage.holdout.ties, K)
    assert (best[~best.isnan()] <= 1 + 1e-12).all()


def test_features_count_what_was_strictly_before_the_request(examples, tables):
    events = tables.events
    for place in range(0, len(examples.items), 37):
        row = int(examples.rows[place])
        user, item, moment = int(examples.users[row]), int(examples.items[place]), int(examples.moments[row])
        before = events.filter(pc.less(events["timestamp"], moment))
        assert examples.features.column("person_events")[place] == pc.sum(pc.equal(before["user_code"], user)).as_py()
        assert examples.features.column("item_events")[place] == pc.sum(pc.equal(before["item_code"], item)).as_py()
        assert examples.features.column("recency")[place] > 0


def test_what_is_handed_over_is_what_the_sources_say(examples, stage, sources, lists):
    places, of_sources = examples.features.column("place"), examples.features.column("sources")
    assert torch.equal(places, examples.places + 1.0)
    scores = {source.name: source.scorer.score(stage.holdout.requests(examples.users)[0]) for source in sources.sources}
    blend = fuse(lists, stage.holdout.ties, K, sources.fusion())
    for place in range(len(examples.items)):
        row, item = int(examples.rows[place]), int(examples.items[place])
        having = [name for name in NAMES if item in lists[name][row].tolist()]
        asked = blend.sources_of(row, int(examples.places[place]))  # what is popular fills up and is asked only where there is room
        assert of_sources[place] == len(asked)
        assert int(examples.given_by[place]) == sum(1 << NAMES.index(name) for name in asked)
        assert set(asked) <= set(having) <= {*asked, "popularity"}
        for name in NAMES:
            rank = examples.features.column(f"rank_{name}")[place].item()
            assert rank == lists[name][row].tolist().index(item) + 1 if name in having else math.isnan(rank)
            assert examples.features.column(f"score_{name}")[place].item() == pytest.approx(scores[name][row, item].item(), rel=1e-5)


def test_standard_features_are_made_unless_told(stage, sources, tables, users):
    found = make_examples(stage, sources, 3, tables, users=users[:3])
    names = [each.name for each in found.features.definitions]
    assert {"place", "rank_item_knn", "person_events", "item_liked", "with_genre_mean", "hour"} <= set(names)
    assert not {"their_gender", "their_age"} & set(names)
    assert len(found) == 3


def test_sensitive_columns_are_refused_unless_named(stage, sources, tables, users):
    definitions = [feature("gender", "user", "attribute", of="gender", category=True)]
    with pytest.raises(RequestError, match="gender is sensitive and no model input; allow it by its name"):
        make_examples(stage, sources, 3, tables, users=users[:2], definitions=definitions)
    found = make_examples(stage, sources, 3, tables, users=users[:2], definitions=definitions, sensitive=["gender"])
    assert set(found.features.names["gender"]) == {"F", "M"}
    named = make_examples(stage, sources, 3, tables, users=users[:2], sensitive=["gender"])
    assert "their_gender" in [each.name for each in named.features.definitions]


def test_nobody_asks_nothing(stage, sources, tables):
    found = make_examples(stage, sources, 3, tables, users=torch.empty(0, dtype=torch.int64), definitions=COUNTED)
    assert (len(found), len(found.items)) == (0, 0)
    assert found.features.values.shape == (0, 3)
    assert found.labels.shape == (0, 2)


def test_another_blend_is_followed(stage, sources, tables, users, lists):
    fusion = Fusion(weights={"same_groups": 0.0}, quotas={"item_knn": 1})
    found = make_examples(stage, sources, K, tables, users=users[:5], definitions=COUNTED, fusion=fusion)
    blend = fuse({name: each[:5] for name, each in lists.items()}, stage.holdout.ties, K, fusion)
    assert found.offsets.diff().tolist() == blend.filled.tolist()
    assert found.items.tolist() == blend.items[blend.items != NOTHING].tolist()
