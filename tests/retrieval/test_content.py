"""Words and groups against their formulas, written out as loops over dictionaries."""

import re
from collections import Counter
from math import log, log1p, sqrt
from types import SimpleNamespace

import pytest
import torch

from tests.evaluation.made import tables
from workbench.data.side import item_texts
from workbench.errors import RequestError
from workbench.retrieval import Lexical, SameGroups
from workbench.testing import interactions

TEXTS = [
    "The red fox",
    "red RED wolf, red moon",
    "",
    "Blue whale; blue sea. The blue sea",
    "Straße 7: Ёлка, 東京!",
    "ЁЛКА in the STRASSE",
    "…",
    "the wolf",
]
HISTORIES = [[0], [1, 5], [2], [], [4, 1, 1], [6, 0, 3, 7], [2, 6]]
WEIGHTINGS = ("bm25", "tfidf")


def asked(histories, n_items=8):
    pairs = [(user, item) for user, items in enumerate(histories) for item in items]
    return interactions(pairs, len(histories), n_items).batch(torch.arange(len(histories)))


def words(text):
    return Counter(re.findall(r"\w+", text.casefold()))


def wanted_words(texts, history):
    """Of all the texts of the history, each word as often as it occurs."""
    return sum((words(texts[item]) for item in history), Counter())


def bm25(texts, history, item, k1=1.2, b=0.75):
    """Robertson and Zaragoza (2009), eq. 3.15, times the usual k1 + 1."""
    documents = [words(text) for text in texts]
    mean = sum(document.total() for document in documents) / len(documents)
    total = 0.0
    for word, often in wanted_words(texts, history).items():
        having = sum(word in document for document in documents)
        tf = documents[item][word]
        rarity = log(1 + (len(texts) - having + 0.5) / (having + 0.5))
        total += often * rarity * tf * (k1 + 1) / (tf + k1 * (1 - b + b * documents[item].total() / mean))
    return total


def tfidf(texts, history, item):
    documents = [words(text) for text in texts]

    def weighed(counts):
        return {word: (1 + log(tf)) * log(len(texts) / sum(word in each for each in documents)) for word, tf in counts.items()}

    one, other = weighed(wanted_words(texts, history)), weighed(documents[item])
    norms = sqrt(sum(x**2 for x in one.values())) * sqrt(sum(x**2 for x in other.values()))
    return sum(one[word] * other[word] for word in one.keys() & other.keys()) / norms if norms else 0.0


@pytest.mark.parametrize(("weighting", "formula"), [("bm25", bm25), ("tfidf", tfidf)])
def test_words_are_weighed_as_the_formula_says(weighting, formula):
    scores = Lexical(TEXTS, weighting).score(asked(HISTORIES))
    assert scores.dtype == torch.float32
    for row, history in enumerate(HISTORIES):
        assert scores[row].tolist() == pytest.approx([formula(TEXTS, history, item) for item in range(len(TEXTS))], abs=1e-5)


@pytest.mark.parametrize("item", range(len(TEXTS)))
def test_of_one_item_tfidf_is_the_cosine(item):
    scores = Lexical(TEXTS, "tfidf").score(asked([[item]]))[0]
    assert scores.tolist() == pytest.approx([tfidf(TEXTS, [item], other) for other in range(len(TEXTS))], abs=1e-5)
    assert scores[item].item() == pytest.approx(1.0 if words(TEXTS[item]) else 0.0)


def test_a_rare_word_says_more_than_a_common_one():
    """By hand: four texts of one word each, so that the length plays no part; "a" is in three of them, "b" in one."""
    scores = Lexical(["a", "a", "a", "b"]).score(asked([[0], [3]], 4))
    assert scores[0].tolist() == pytest.approx([log(1 + 1.5 / 3.5)] * 3 + [0])
    assert scores[1].tolist() == pytest.approx([0] * 3 + [log(1 + 3.5 / 1.5)])


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_only_the_last_events_are_looked_at(weighting):
    model = Lexical(TEXTS, weighting, length=2)
    assert torch.equal(model.score(asked([[3, 3, 0, 1]])), model.score(asked([[0, 1]])))
    assert not torch.equal(Lexical(TEXTS, weighting, length=3).score(asked([[3, 3, 0, 1]])), model.score(asked([[0, 1]])))


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_case_and_script_are_no_matter(weighting):
    scores = Lexical(["STRASSE", "straße", "Ёлка", "ёлка", "東京", "東京 大阪", "x", "y", "z"], weighting).score(asked([[0], [2], [4]], 9))
    assert [set(torch.nonzero(row)[:, 0].tolist()) for row in scores] == [{0, 1}, {2, 3}, {4, 5}]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}", True),
        ("हिन्दी", "हानदू", False),  # three consonants are all they share
        ("İSTANBUL", "I", False),
        ("war_film", "film", True),
    ],
    ids=["composed or not", "vowels that are marks", "a dot that is a mark", "underscore"],
)
def test_a_word_is_letters_with_their_marks_and_digits(one, other, same):
    assert (Lexical([one, other, "x"]).score(asked([[0]], 3))[0, 1] > 0).item() == same


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_scores_are_finite_and_never_below_0(weighting):
    """Nor where every text has the word, or most have none."""
    for texts in (TEXTS, ["same"] * 3, ["same", "", ""], ["same same", "same", "same other"]):
        scores = Lexical(texts, weighting).score(asked([[item] for item in range(len(texts))] + [[0, 1, 2]], len(texts)))
        assert scores.isfinite().all()
        assert (scores >= 0).all()


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_who_has_no_history_or_no_words_in_it_gets_zeros(weighting):
    model = Lexical(TEXTS, weighting)
    scores = model.score(asked([[], [2], [2, 6], [0]]))
    assert scores[:3].eq(0).all()
    assert scores[3].any()
    assert model.score(asked([])).shape == (0, len(TEXTS))
    assert model.score(asked([[], []])).tolist() == [[0.0] * len(TEXTS)] * 2


@pytest.mark.parametrize("texts", [[], ["", ""], ["…", " - "]])
def test_without_a_word_there_is_nothing_to_compare(texts):
    with pytest.raises(RequestError, match="none of the items' texts has a word: there is nothing to compare them by"):
        Lexical(texts)


def test_groups_are_a_cosine_and_of_a_group_the_popular_come_first():
    """Groups: comedy, war. Item 2 is in both, item 4 in none; nobody had item 3."""
    groups = torch.tensor([[1, 0], [0, 1], [1, 1], [1, 0], [0, 0], [1, 0]])
    events = torch.tensor([5, 2, 8, 0, 9, 1])
    scores = SameGroups(groups, events).score(asked([[0], [2], [0, 1], [4], [], [0, 4, 0, 1]], 6))
    half = 1 / sqrt(2)
    assert scores[0].tolist() == pytest.approx([log(6), 0, half * log(9), 0, 0, log(2)])
    both = [half * log(6), half * log(3), log(9), 0, 0, half * log(2)]
    assert scores[1].tolist() == pytest.approx(both)
    assert scores[2].tolist() == pytest.approx(both)  # one of each, as one of both
    assert scores[3:5].eq(0).all()
    twice = 1 / sqrt(5)  # two events of comedy, one of war
    assert scores[5].tolist() == pytest.approx([2 * twice * log(6), twice * log(3), 3 * twice * half * log(9), 0, 0, 2 * twice * log(2)])


def test_groups_of_nobody_or_of_nothing_give_zeros():
    model = SameGroups(torch.zeros(6, 2), torch.arange(6))
    assert model.score(asked([[0, 1], []], 6)).eq(0).all()
    assert model.score(asked([], 6)).shape == (0, 6)
    assert SameGroups(torch.ones(6, 1), torch.arange(6)).score(asked([[0]], 6))[0].tolist() == pytest.approx([log1p(n) for n in range(6)])


COLUMNS = {
    "item_id": ["i0", "i1", "i2"],
    "item_code": ["0", "1", "2"],
    "title": ["Fox", "", None],
    "maker": ["ann", "bob", "cid"],
    "secret": ["x", "y", "z"],
    "year": ["1999", "2001", None],
    "stars": ["5", "4", "3"],
}
CLASSES = {"item_id": "public", "title": "public", "maker": "identifier", "secret": "sensitive", "year": "public", "stars": "behavioural"}


def described(**privacy):
    data = tables(items=COLUMNS)
    data.card.privacy = privacy
    return SimpleNamespace(card=data.card, snapshot=data.snapshot)


def test_texts_are_made_of_public_columns_only():
    assert item_texts(described(**CLASSES)) == ["Fox 1999", "2001", ""]


@pytest.mark.parametrize("hidden", ["identifier", "sensitive", "behavioural", None])
def test_a_column_that_is_not_called_public_never_gets_in(hidden):
    told = {**CLASSES, **({"title": hidden} if hidden else {})}
    if not hidden:
        del told["title"]
    assert item_texts(described(**told)) == ["1999", "2001", ""]


def test_without_a_public_column_there_are_no_texts():
    assert item_texts(described(**dict.fromkeys(COLUMNS, "sensitive"))) is None
    assert item_texts(described(item_id="public", item_code="public")) is None  # a code is no text


def test_films_of_ml_100k_are_told_by_title_year_and_class(ml100k):
    texts = item_texts(ml100k)
    assert len(texts) == ml100k.n_items
    assert texts[ml100k.item_ids.index("1")] == "Animation Children's Comedy Toy Story 1995"
