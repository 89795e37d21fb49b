"""Candidates of requests: the graph of all sources, the index where there is one, and the lists of several sources as one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from workbench.serving.requests import NOTHING, Asked

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
CELLS = 2**20
"""Scores that a graph works on at once, at most: it may hold as many numbers for each as there are neighbours."""
EVENTS = 2**13
"""Of histories, with what pads them: it may hold some thousand numbers for each."""
DAMPING = 60.0
"""Of reciprocal rank fusion, as `workbench.retrieval.blend` has it: part of what a bundle of this schema means."""


@dataclass(frozen=True, eq=False)
class Retrieved:
    items: Codes
    """int64 (m,), best first."""
    scores: Floats
    """(m,): of the one source, or the place, negative, where there are several."""
    given: dict[str, Floats]
    """By column that features may read, (m,)."""
    by: Codes
    """int64 (m,): a bit for each source."""


def session(content: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


class Retriever:
    def __init__(self, content: bytes, told: Mapping[str, Any], ties: Codes, trained: npt.NDArray[np.bool_], index: Any = None) -> None:
        """told: as the manifest has it. ties: int64 (n_items,), the order among equals. trained: bool (n_users,)."""
        self.session = session(content)
        self.names: list[str] = [each["name"] for each in told["sources"]]
        self.told, self.ties, self.trained, self.index = told, ties, trained, index
        self.together = told["together"]
        self.outputs = [each.name for each in self.session.get_outputs()]
        self.n_items = len(ties)
        self.by_tie = np.argsort(ties)
        self.places = np.arange(1.0, len(ties) + 1)
        self.worth = 1.0 / (DAMPING + self.places)  # of a place, in reciprocal rank fusion

    def candidates(self, asked: Sequence[Asked]) -> list[Retrieved]:
        """In the order asked."""
        found: dict[int, Retrieved] = {}
        for numbers in self._batches([len(each.history) for each in asked]):
            some = [asked[number] for number in numbers]
            answers = dict(zip(self.outputs, self.session.run(None, self.fed(some)), strict=True))
            for row, number in enumerate(numbers):
                found[number] = self._of_one(some[row], {name: values[row] for name, values in answers.items()})
        return [found[number] for number in range(len(asked))]

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """The requests by the length of their histories, so that little is padded, as many at a time as memory allows."""
        most, batch = max(1, CELLS // self.n_items) if self.together else 1, list[int]()
        for number in sorted(range(len(lengths)), key=lengths.__getitem__):
            if len(batch) == most or (batch and (len(batch) + 1) * lengths[number] > EVENTS):
                yield batch
                batch = []
            batch.append(number)
        if batch:
            yield batch

    def fed(self, asked: Sequence[Asked]) -> dict[str, Codes]:
        """The graph's inputs: all have a row for each request."""
        lengths = [len(each.history) for each in asked]
        history = np.zeros((len(asked), max(1, *lengths, 1)), np.int64)
        seen = np.full((len(asked), max(1, *(len(each.seen) for each in asked), 1)), -1, np.int64)
        for row, each in enumerate(asked):
            history[row, : lengths[row]] = each.history
            seen[row, : len(each.seen)] = each.seen
        told = {"user": np.array([each.user for each in asked]), "history": history, "lengths": np.array(lengths), "seen": seen}
        return {each.name: told[each.name] for each in self.session.get_inputs()}

    def able(self, asked: Asked) -> list[bool]:
        """By source, whether it can serve the request."""
        known = len(asked.history) > 0
        learnt = asked.user >= 0 and bool(self.trained[asked.user])
        return [not each["personal"] or (known if each["inductive"] else learnt) for each in self.told["sources"]]

    def _of_one(self, asked: Asked, answers: dict[str, Any]) -> Retrieved:
        able = self.able(asked)
        if self.index is not None:
            items, scores = (
                self.index.search(answers["vector"], self.told["depth"], asked.seen) if able[0] else (np.empty(0, np.int64), np.empty(0))
            )
            return self._alone(items, scores, {})
        lists = [answers[f"items.{place}"] if can else np.empty(0, np.int64) for place, can in enumerate(able)]
        lists = [each[each >= 0] for each in lists]
        whole = {place: answers[f"scores.{place}"] for place, can in enumerate(able) if can and f"scores.{place}" in answers}
        if len(lists) == 1:
            best = answers["best.0"][: len(lists[0])].astype(np.float64)
            return self._alone(lists[0], best, whole)
        items, bits = self._fused(lists)
        return Retrieved(items, -self.places[: len(items)], self._given(items, bits, lists, whole), bits)

    def _alone(self, items: Codes, scores: Floats, whole: dict[int, Any]) -> Retrieved:
        bits = np.ones(len(items), np.int64)
        return Retrieved(items, scores, self._given(items, bits, [items], whole), bits)

    def _fused(self, lists: list[Codes]) -> tuple[Codes, Codes]:
        """At most `depth` items by the sum of 1 / (damping + rank), equals by ties, then what fallbacks have, where the others leave room;
        and a bit for each source that gave them."""
        n, depth, fallbacks = self.n_items, self.told["depth"], self.told["fallbacks"]
        blended = [place for place, name in enumerate(self.names) if name not in fallbacks]
        sizes = [len(lists[place]) for place in blended]
        at = self.ties[np.concatenate([NOTHING, *(lists[place] for place in blended)])]  # by their order among equals
        worth = np.concatenate([self.worth[:0], *(self.worth[:size] for size in sizes)])
        bits = np.bincount(at, np.repeat([2.0**place for place in blended], sizes), n).astype(np.int64)
        there = np.flatnonzero(bits)
        scores = np.rint(np.bincount(at, worth, n)[there] * 1e12).astype(np.int64)  # sums in another order are the same to 12 places
        order = np.sort(there - n * scores)[:depth] % n  # one integer: the larger score first, then the order among equals
        for name in fallbacks:
            if len(order) >= depth:
                break
            at = self.ties[lists[self.names.index(name)]]
            order = np.concatenate([order, at[bits[at] == 0]])[:depth]
            bits[at] |= 1 << self.names.index(name)
        return self.by_tie[order], bits[order]

    def _given(self, items: Codes, bits: Codes, lists: list[Codes], whole: dict[int, Any]) -> dict[str, Floats]:
        if not self.told["scores"]:
            return {}
        given = {"place": self.places[: len(items)], "sources": np.bitwise_count(bits).astype(np.float64)}
        ranks = np.full((len(lists), self.n_items), np.nan)
        for place, found in enumerate(lists):
            ranks[place, found] = self.places[: len(found)]
        ranks = ranks[:, items]
        for place, name in enumerate(self.names):
            given[f"rank {name}"] = ranks[place]
            given[f"score {name}"] = whole[place][items].astype(np.float64) if place in whole else np.full(len(items), np.nan)
        return given
