"""Methods by name: what is left out says why, who learnt from what, and what the blend is made of."""

from dataclasses import replace

import pytest
import torch

from tests.coldstart.made import by_colour, coloured, described, log, new_people, people, unsealed
from workbench.coldstart import SegmentPopularity, learn_trust, methods, newcomers, parse_methods, train_methods
from workbench.coldstart.methods import OTHERS, PRIORS
from workbench.data import Side
from workbench.data.splits import split
from workbench.errors import NotApplicable, RequestError
from workbench.evaluation import evaluate
from workbench.models import MODELS, create
from workbench.models.ease import Ease
from workbench.models.item_knn import ItemKnn
from workbench.retrieval import SameGroups
from workbench.retrieval.content import LikeVectors
from workbench.selection import How

METRIC, N_ITEMS = "ndcg@5", 60
EVERY = ["popularity", "segment_popularity", "content", "same_groups", "item_knn", "ease", "evidence_blend"]
NO_TEXTS = "the item table has no public column with words"
NO_GROUPS = "the card names no grouping of items"
NO_BLEND = "a blend needs something popular, something by content and a model that works from histories"


@pytest.fixture(scope="module")
def parts():
    return new_people(coloured(), N_ITEMS, refit="train+valid")


@pytest.fixture(scope="module")
def valid(parts):
    return newcomers(parts, "valid", (0, 1, 3))


@pytest.fixture
def learnt(monkeypatch):
    """By model, the events each training learnt from; on a trained model, its own."""
    found = {"ease": [], "item_knn": []}
    for name, kind in (("ease", Ease), ("item_knn", ItemKnn)):

        def fit(self, train, valid=None, *, name=name, real=kind.fit):
            found[name].append(train.order.tolist())
            self.learnt_from = train.order.tolist()
            return real(self, train, valid)

        monkeypatch.setattr(kind, "fit", fit)
    return found


def trained(names, parts, valid, data=None, side=None, **more):
    return train_methods(names, data or by_colour(), parts, valid, METRIC, how=How(side=side or described()), **more)


def test_every_method_is_there_before_validation_and_before_test(parts, valid):
    made = trained(EVERY, parts, valid)
    assert made.failed == {}
    assert list(made.early) == list(made.late) == EVERY, "in the order asked for"
    assert made.seconds.keys() == {"popularity", "item_knn", "ease"}, "what is not trained takes no time to train"
    assert isinstance(made.late["content"], LikeVectors)
    assert isinstance(made.late["same_groups"], SameGroups)
    assert isinstance(made.late["segment_popularity"], SegmentPopularity)


@pytest.mark.parametrize("refit", ["train", "train+valid"])
def test_before_validation_they_learnt_from_training_alone_and_before_test_from_what_the_refit_says(refit, learnt):
    parts = new_people(coloured(), N_ITEMS, refit=refit)
    made = trained(["ease", "item_knn", "segment_popularity", "same_groups"], parts, newcomers(parts, "valid", (0, 1)))
    train, fit_on = parts.train.order.tolist(), parts.fit_on.order.tolist()
    assert (len(fit_on) > len(train)) == (refit != "train")
    for name in ("ease", "item_knn"):
        assert made.early[name].learnt_from == train
        assert made.late[name].learnt_from == fit_on
        assert learnt[name] == ([train] if refit == "train" else [train, fit_on])
    for scorers, part in ((made.early, parts.train), (made.late, parts.fit_on)):
        counts = part.events_per_item.double() + 1
        assert torch.allclose(scorers["segment_popularity"].prior, (counts / counts.sum()).log())
        assert torch.allclose(scorers["same_groups"].weight, torch.log1p(part.events_per_item.float()))


def test_the_blend_that_is_judged_on_test_is_made_of_what_is(parts, valid):
    """Its trust is what all of validation said, its parts are those of the moment."""
    made = trained(EVERY, parts, valid)
    early, late = made.early["evidence_blend"], made.late["evidence_blend"]
    for blend, scorers in ((early.first, made.early), (early.second, made.early), (late, made.late)):
        assert all(mine is scorers[name] for mine, name in zip(blend.scorers, made.made_of, strict=True))
    assert late.config is made.trust
    assert made.trust == learn_trust([made.early[name] for name in made.made_of], list(valid.depths.values()), METRIC)
    assert made.early["ease"] is not made.late["ease"]


def test_nobody_of_validation_taught_the_blend_that_serves_them(parts, valid, monkeypatch):
    """Of each half the trust is what the other half says; the halves are of the new people, and both have some."""
    taught = []

    def learn(scorers, holdouts, metric, among=None):
        taught.append(among)
        return learn_trust(scorers, holdouts, metric, among)

    monkeypatch.setattr(methods, "learn_trust", learn)
    blend = trained(EVERY, parts, valid).early["evidence_blend"]
    everybody, of_first, of_second = taught
    assert everybody is None
    first = blend.in_first[valid.users]
    assert 0 < int(first.sum()) < len(valid.users)
    assert not (of_first[valid.users] & first).any()
    assert not (of_second[valid.users] & ~first).any()
    assert (of_first ^ of_second)[valid.users].all(), "each of them taught one"
    scorers = blend.first.scorers
    for half, among in ((blend.first, of_first), (blend.second, of_second)):
        assert half.config == learn_trust(scorers, list(valid.depths.values()), METRIC, among)


def test_a_half_that_changes_its_mind_changes_nothing_for_itself(parts, valid):
    """What is to be found by the people of the first half becomes something else: they are served as before."""
    blend = trained(EVERY, parts, valid).early["evidence_blend"]
    first = blend.in_first
    turned = {}
    for depth, each in valid.depths.items():
        truth = each.truth
        items = torch.where(first[truth.users], (truth.items + 1) % N_ITEMS, truth.items)
        turned[depth] = replace(each, truth=replace(truth, items=items))
    again = trained(EVERY, parts, replace(valid, depths=turned)).early["evidence_blend"]
    assert torch.equal(again.in_first, first)
    assert again.first.config == blend.first.config


def test_where_one_half_has_nobody_both_are_served_as_all_have_said(parts, valid, monkeypatch):
    monkeypatch.setattr(methods, "folds", lambda users, seed: (torch.ones(len(users), dtype=torch.bool), None))
    made = trained(EVERY, parts, valid)
    assert (made.early["evidence_blend"].first.config, made.early["evidence_blend"].second.config) == (made.trust, made.trust)


def test_the_blend_is_made_of_the_first_prior_the_texts_and_the_best_model_with_the_most_known(parts, valid):
    made = trained(EVERY, parts, valid)
    most = {name: evaluate(made.early[name], valid.depths[3], ks=(5,)).mean(METRIC) for name in ("item_knn", "ease")}
    assert made.made_of == ("segment_popularity", "content", max(most, key=most.get))


@pytest.mark.parametrize(
    ("names", "made_of"),
    [
        (["ease", "content", "popularity", "evidence_blend"], ("popularity", "content", "ease")),
        (["ease", "same_groups", "recent_popularity", "evidence_blend"], ("recent_popularity", "same_groups", "ease")),
        (["evidence_blend", "recent_popularity", "popularity", "same_groups", "content", "ease"], ("popularity", "content", "ease")),
    ],
)
def test_the_blend_takes_what_there_is_whatever_the_order_of_the_names(parts, valid, names, made_of):
    made = trained(names, parts, valid)
    assert made.made_of == made_of
    assert list(made.late) == names
    assert made_of[0] in PRIORS


@pytest.mark.parametrize("left_out", ["popularity", "content", "ease"])
def test_without_a_prior_content_or_a_model_there_is_no_blend(parts, valid, left_out):
    names = [name for name in ("popularity", "content", "ease", "evidence_blend") if name != left_out]
    made = trained(names, parts, valid)
    assert made.failed == {"evidence_blend": NO_BLEND}
    assert (made.trust, made.made_of) == (None, ())
    assert list(made.late) == names[:-1]


def test_a_model_that_needs_a_place_in_training_is_no_behaviour_of_newcomers(parts, valid, monkeypatch):
    monkeypatch.setattr(Ease, "inductive", False)
    assert trained(["popularity", "content", "ease", "evidence_blend"], parts, valid).failed == {"evidence_blend": NO_BLEND}


def test_without_people_of_validation_there_is_no_blend_and_no_word_of_it(parts):
    made = trained(["popularity", "content", "ease", "evidence_blend"], parts, None)
    assert list(made.late) == ["popularity", "content", "ease"]
    assert made.trust is None


def test_the_blend_can_be_learnt_on_people_of_whom_nothing_is_known(parts):
    """The depths "0" are what `parse_depths` lets through: then nothing but the prior matters, and no model can be asked."""
    alone = newcomers(parts, "valid", (0,))
    made = trained(["popularity", "content", "ease", "evidence_blend"], parts, alone)
    assert {"popularity", "content", "ease"} <= made.late.keys()
    assert ("evidence_blend" in made.late) != ("evidence_blend" in made.failed), "it is there, or says why not"


def test_what_the_data_cannot_feed_is_left_out_with_its_reason(parts, valid):
    """No texts, no groups of items, and of people sensitive groupings alone."""
    slices = {name: {"table": "users", "column": name} for name in ("gender", "town")}
    cells = {"gender": [("F", "M")[user % 2] for user in range(80)], "town": ["x"] * 80}
    data = people(dict.fromkeys(slices, "sensitive"), cells, **slices)
    made = train_methods(["content", "same_groups", "segment_popularity", "popularity"], data, parts, valid, METRIC)
    assert list(made.early) == list(made.late) == ["popularity"]
    assert made.failed == {
        "content": NO_TEXTS,
        "same_groups": NO_GROUPS,
        "segment_popularity": "the card names no grouping of people that may be learnt from; gender, town are sensitive and not allowed "
        "by name",
    }
    allowed = train_methods(["segment_popularity"], data, parts, valid, METRIC, sensitive=["gender"])
    assert (list(allowed.late), allowed.failed) == (["segment_popularity"], {})


def test_a_sensitive_column_that_nothing_uses_is_a_mistake_and_no_row(parts, valid):
    with pytest.raises(RequestError, match='there is no sensitive column that a grouping uses "gendr"'):
        trained(["popularity", "segment_popularity"], parts, valid, sensitive=["gendr"])


def test_that_mistake_is_told_before_anything_is_trained(parts, valid, learnt):
    with pytest.raises(RequestError):
        trained(["ease", "segment_popularity"], parts, valid, sensitive=["gendr"])
    assert learnt["ease"] == []


def breaks(self, train, valid=None):
    raise RuntimeError("no luck")


def starves(self, train, valid=None):
    raise NotApplicable("there is nothing to learn from here")


def test_a_model_that_fails_is_a_row_with_its_reason_and_the_others_go_on(parts, valid, monkeypatch):
    monkeypatch.setattr(ItemKnn, "fit", breaks)
    made = trained(EVERY, parts, valid)
    assert list(made.failed) == ["item_knn"]
    assert made.failed["item_knn"].startswith("RuntimeError: no luck (test_methods.py, line ")
    assert list(made.late) == list(made.early) == [name for name in EVERY if name != "item_knn"]
    assert made.made_of[2] == "ease"


@pytest.mark.parametrize("fails", [starves, breaks])
def test_where_no_model_can_be_trained_what_needs_none_goes_on(parts, valid, monkeypatch, fails):
    monkeypatch.setattr(Ease, "fit", fails)
    made = trained(["ease", "content", "segment_popularity"], parts, valid)
    assert list(made.late) == ["content", "segment_popularity"]
    assert list(made.failed) == ["ease"]


def test_where_nothing_is_left_the_reasons_are_the_error(parts, valid):
    with pytest.raises(NotApplicable) as caught:
        train_methods(["content", "same_groups"], by_colour(), parts, valid, METRIC)
    assert str(caught.value) == f"{NO_TEXTS}; {NO_GROUPS}"


def test_a_blend_alone_that_nobody_can_be_asked_about_says_why_there_is_nothing(parts):
    with pytest.raises(NotApplicable) as caught:
        trained(["evidence_blend"], parts, None)
    assert str(caught.value).strip()


def test_texts_alone_are_enough_for_content_and_groups_alone_for_the_groups(parts, valid):
    side = described()
    for given, left, why in (
        (Side(texts=side.texts), "content", {"same_groups": NO_GROUPS}),
        (Side(items=side.items), "same_groups", {"content": NO_TEXTS}),
    ):
        made = trained(["content", "same_groups"], parts, valid, side=given)
        assert (list(made.late), made.failed) == ([left], why)


def test_the_blend_is_as_good_as_what_it_is_made_of_where_the_truth_is_plain(parts):
    """People go by colour: with nothing known only who tells it is served well, with one event known everybody is."""
    valid, test = (newcomers(parts, part, (0, 1, 3)) for part in ("valid", "test"))
    made = trained(["popularity", "content", "ease", "evidence_blend"], parts, valid)
    nothing, one, three = (
        {
            name: evaluate(scorer, unsealed(each), ks=(5,), fallback=made.late["popularity"]).mean(METRIC)
            for name, scorer in made.late.items()
        }
        for each in test.depths.values()
    )
    assert nothing["evidence_blend"] == pytest.approx(nothing["popularity"])
    for known in (one, three):
        assert known["evidence_blend"] > known["popularity"] + 0.05
        assert known["evidence_blend"] > max(known["content"], known["ease"]) - 0.1


@pytest.mark.parametrize("name", ["user_time", "leave_last_n"])
def test_methods_do_not_ask_for_new_people_where_there_is_no_blend(name):
    parts = split(log(coloured(20), N_ITEMS), name)
    assert list(train_methods(["popularity", "content"], by_colour(20), parts, None, METRIC, how=How(side=described())).late) == [
        "popularity",
        "content",
    ]


def test_names_are_read_as_typed():
    assert parse_methods(" popularity , content,ease,, evidence_blend ") == ["popularity", "content", "ease", "evidence_blend"]
    assert parse_methods("recbole:LightGCN, same_groups") == ["recbole:LightGCN", "same_groups"]
    assert parse_methods(", ".join([*MODELS, *OTHERS])) == [*MODELS, *OTHERS]
    assert all(create(name) for name in MODELS), "no other method has a model's name"
    assert not set(OTHERS) & set(MODELS)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("popularty", 'there is no method "popularty". Did you mean "popularity"?'),
        ("popularity, evidence_blnd", 'there is no method "evidence_blnd". Did you mean "evidence_blend"?'),
        ("Content", 'there is no method "Content". Did you mean "content"?'),
        ("content, content", 'methods = "content, content" should name each method once, at least one. (content, ease,'),
        ("ease, content, ease", 'methods = "ease, content, ease" should name each method once, at least one. (content, ease,'),
        ("", 'methods = "" should name each method once, at least one. (content, ease,'),
        (" , ", 'methods = " , " should name each method once, at least one. (content, ease,'),
        ("content, recbole:LightGNC", 'there is no model of RecBole "LightGNC". Did you mean "LightGCN"?'),
    ],
)
def test_what_is_no_method_is_refused_in_one_line(text, line):
    with pytest.raises(RequestError) as caught:
        parse_methods(text)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
