"""Sources by the names that a notebook types: what is made, what cannot be, and the three tasks in one call."""

from dataclasses import replace

import pytest
import torch

from workbench.data import Side, load_dataset
from workbench.errors import NotApplicable, RequestError
from workbench.models import create
from workbench.retrieval import IndexConfig, choose_sources, gather, judge_tasks, make_sources, parse_sources

EVERYTHING = ["popularity", "item_knn", "vectors", "neighbours", "same_groups", "lexical"]


@pytest.fixture
def data(tiny):
    rows = [
        (f"u{u:02d}", f"i{(u * 3 + n) % 24:02d}", 5.0 - 2 * (n % 3 == 1), 1000.0 + 9000 * u + 60 * n) for u in range(16) for n in range(12)
    ]
    tiny(rows, titles={f"i{item:02d}": f"{'Alien' if item % 2 else 'Love'} {item}" for item in range(24)})
    return load_dataset("tiny")


@pytest.fixture
def parts(data):
    return data.split("user_time", fractions=(0.6, 0.2, 0.2))


def made_of(names, data, parts, **asked):
    side = asked.pop("side", Side(items=torch.eye(2).repeat(data.n_items // 2, 1)))
    return make_sources(names, data, parts.train, parts.ties, models={}, side=side, **asked)


def test_names_are_read_and_what_is_none_is_refused_with_the_nearest():
    assert parse_sources(" ease, vectors ,lexical") == ["ease", "vectors", "lexical"]
    for text, told in {
        "vektors": r'there is no source "vektors"\. Did you mean "vectors"\?',
        "sasrec": r'there is no source "sasrec"\.',  # it takes a training: its vectors are a source, it is none
        "ease, ease": r'sources = "ease, ease" should name each source once',
        " , ": "at least one",
    }.items():
        with pytest.raises(RequestError, match=told):
            parse_sources(text)


def test_a_model_that_was_trained_is_taken_and_another_is_trained_here(data, parts):
    trained = create("item_knn", k=3).fit(parts.train)
    made = make_sources(["item_knn", "popularity"], data, parts.train, parts.ties, models={"item_knn": trained}, side=Side())
    assert made.names == ("item_knn", "popularity")
    assert made.sources[0].scorer is trained
    assert torch.equal(made.sources[1].scorer.counts, parts.train.events_per_item.float())
    assert made.absent == {}
    assert made.fusion().fallback == ("popularity",)


def test_what_the_data_has_nothing_for_is_left_out_with_its_reason(data, parts):
    made = made_of(EVERYTHING, data, parts, side=Side())
    assert made.names == ("popularity", "item_knn", "lexical")
    assert made.absent == {
        "vectors": "no model that was judged has vectors",
        "neighbours": "no model that was judged has vectors",
        "same_groups": "the card names no grouping of items",
    }
    with pytest.raises(NotApplicable, match="no model that was judged has vectors"):
        made_of(["vectors"], data, parts)


def test_vectors_are_looked_up_as_the_config_says_and_neighbours_by_exact_cosine(data, parts):
    model = create("ials", factors=4).fit(parts.train)
    made = made_of(["vectors", "neighbours"], data, parts, vectors_of=model, config=IndexConfig(factory="SQ8"))
    person, item = made.sources
    assert person.index.config.factory == "SQ8"
    assert (item.index.config.factory, item.index.config.metric) == ("Flat", "cosine")


def test_a_lone_source_is_no_fallback_of_itself(data, parts):
    assert made_of(["popularity"], data, parts).fusion().fallback == ()


def test_one_blend_answers_all_three_tasks_and_looks_are_few(data, parts):
    made = made_of(EVERYTHING, data, parts, vectors_of=create("ials", factors=4).fit(parts.train))
    valid = parts.holdout("valid")
    names = choose_sources(gather(made.sources, valid, 5), valid, 5, made.fusion())
    assert names[-1] == "popularity", "the fallback comes last"
    before = parts.looks().total
    tasks = judge_tasks(made, names, "item_knn", parts, 5, fusion=made.fusion())
    assert list(tasks) == ["home", "related", "session"]
    for task in tasks.values():
        assert task.worth.filled == 1.0
        assert set(task.worth.sources) == {"item_knn"}
        expected = task.worth.blend.mean("recall@5") - task.worth.sources["item_knn"].alone.mean("recall@5")
        assert task.gain.difference.value == pytest.approx(expected)
    assert parts.looks().total - before == 6, "the blend and its best source, three times"


def test_what_failed_before_is_not_tried_again_and_what_fails_now_is_a_row(data, parts, monkeypatch):
    def broken(name):
        raise MemoryError(f"no room for {name}")

    monkeypatch.setattr("workbench.retrieval.named.create", broken)
    made = made_of(["item_knn", "ease", "lexical"], data, parts, failed={"ease": "it failed before"})
    assert made.names == ("lexical",)
    assert made.absent["ease"] == "it failed before"
    assert made.absent["item_knn"].startswith("MemoryError: no room for item_knn (")


def test_without_times_nothing_is_last_or_next(data, parts):
    timeless = replace(parts, has_times=False)
    made = made_of(["popularity", "item_knn"], data, parts)
    assert list(judge_tasks(made, ("item_knn", "popularity"), "item_knn", timeless, 5, fusion=made.fusion())) == ["home"]
