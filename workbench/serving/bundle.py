"""A bundle: what was promoted, opened, checked, and asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from workbench.errors import RequestError, WorkError
from workbench.serving.features import State
from workbench.serving.manifest import check_files, check_tables, inside, read_manifest, read_onnx
from workbench.serving.policy import Policy, Pool
from workbench.serving.rank import Ranker
from workbench.serving.requests import NOTHING, Answer, Asked, Codes, Request
from workbench.serving.retrieve import Retrieved, Retriever

TOGETHER = 512
"""Requests that are retrieved for together."""


@dataclass(frozen=True, eq=False)
class Known:
    """What a bundle knows of people: events one after another, by person and time."""

    items: Codes
    starts: Codes
    """int64 (n_users + 1,)."""
    liked: npt.NDArray[np.bool_]

    def of(self, user: int) -> tuple[Codes, Codes]:
        """The history, and what of it was liked."""
        own = slice(self.starts[user], self.starts[user + 1])
        return self.items[own], self.items[own][self.liked[own]]


@dataclass(frozen=True, eq=False)
class Moments:
    """Features' state, by codes that may be those of other data than the bundle's own."""

    state: State
    users: Codes | None = None
    """int64 (n_users,): the state's code of each of the bundle's people, -1 for none; None: the same."""
    items: Codes | None = None


class Bundle:
    """Answers requests. For one thread at a time."""

    def __init__(self, folder: Path, told: dict[str, Any]) -> None:
        """See `open`."""
        self.folder, self.manifest = folder, told
        items, users = (pq.read_table(inside(folder, f"{name}.parquet")) for name in ("items", "users"))
        self.item_ids: list[str] = items["item_id"].to_pylist()
        self.user_ids: list[str] = users["user_id"].to_pylist()
        if len(self.item_ids) != told["items"]:
            raise WorkError(f"{folder.name} is damaged: its table has {len(self.item_ids):,} items, its manifest says {told['items']}.")
        self.ties = items["tie"].to_numpy()
        self.codes = {each: code for code, each in enumerate(self.item_ids)}
        self.people = {each: code for code, each in enumerate(self.user_ids)}
        self.popular = items["popularity_rank"].to_numpy().argsort(kind="stable")
        self.trained = users["trained"].to_numpy(zero_copy_only=False)
        self.known = _known(folder, len(self.user_ids))
        retriever, ranker = told["retriever"], told["ranker"]
        index = None
        if retriever["index"]:
            from workbench.serving.index import Index  # FAISS, which a bundle without an index does without

            index = Index(inside(folder, retriever["index"]["file"]).read_bytes(), retriever["index"])
        self.retriever = Retriever(read_onnx(folder, retriever["file"]), retriever, self.ties, self.trained, index)
        self.ranker = Ranker(read_onnx(folder, ranker["file"]), ranker) if ranker else None
        self.moments = Moments(State.read(folder / "features")) if ranker else None
        self.policy = Policy.read(folder / "policy") if told["policy"] else None
        self.k, self.repeats = int(told["lists"]["k"]), bool(told["lists"]["repeats"])

    @classmethod
    def open(cls, folder: Path | str) -> "Bundle":
        """Every file is compared with the manifest before anything of it is read.

        Raises RequestError where there is no bundle, or one of a newer schema; WorkError, with both hashes, for a file that was changed.
        """
        folder = Path(folder)
        told = read_manifest(folder)
        check_files(folder, told)
        check_tables(folder, told)
        try:
            return cls(folder, told)
        except (RequestError, WorkError):
            raise
        except Exception as error:  # ONNX Runtime, FAISS and Arrow have kinds of their own
            raise WorkError(f"{folder.name} cannot be read: {type(error).__name__}: {' '.join(str(error).split())}.") from error

    def __repr__(self) -> str:
        return f"Bundle({self.manifest['name']}: {self.manifest['made']['system']}, {len(self.item_ids):,} items)"

    def encode(self, request: Request) -> Asked:
        """In codes. Raises RequestError for a moment before the bundle's features begin."""
        user = self.people.get(request.user_id, -1) if request.user_id is not None else -1
        moment = int(self.manifest["made"]["as_of"]) if request.timestamp is None else request.timestamp
        if self.moments and moment < self.moments.state.since:
            raise RequestError(
                f"timestamp = {moment}: this bundle's features begin at {self.moments.state.since}; ask about then or later."
            )
        if request.history is not None:
            known = np.array([self.codes[each] for each in request.history if each in self.codes], np.int64)
            unknown = tuple(each for each in request.history if each not in self.codes)
            return Asked(user=user, history=known, seen=self._seen(known), liked=known, moment=moment, unknown=unknown)
        history, liked = self.known.of(user) if user >= 0 else (NOTHING, NOTHING)
        return Asked(user=user, history=history, seen=self._seen(history), liked=liked, moment=moment)

    def _seen(self, history: Codes) -> Codes:
        return NOTHING if self.repeats else history

    def answer(self, asked: Sequence[Asked], k: int | None = None) -> list[Answer]:
        """Lists of at most `k`, and of no more than the candidates; None: as long as was promoted. Raises RequestError for k below 1."""
        if k is not None and k < 1:
            raise RequestError(f"k = {k} should be at least 1.")
        found = []
        for start in range(0, len(asked), TOGETHER):
            some = asked[start : start + TOGETHER]
            found += [self._list(each, got, k or self.k) for each, got in zip(some, self.retriever.candidates(some), strict=True)]
        return found

    def recommend(self, request: Request, k: int | None = None) -> list[tuple[str, float]]:
        """Ids and scores of one request's list, best first."""
        found = self.answer([self.encode(request)], k)[0]
        return [(self.item_ids[item], float(score)) for item, score in zip(found.items, found.scores, strict=True)]

    def features(self, asked: Asked, got: Retrieved) -> npt.NDArray[np.float64]:
        """float64 (m, d), of the candidates, in the order the ranker takes them."""
        assert self.moments is not None
        user = asked.user if self.moments.users is None or asked.user < 0 else int(self.moments.users[asked.user])
        items = got.items if self.moments.items is None else self.moments.items[got.items]
        return self.moments.state.values(user, items, asked.moment, got.given)

    def _list(self, asked: Asked, got: Retrieved, k: int) -> Answer:
        fallback = not len(got.items)
        items, scores, chances = got.items, got.scores, None
        if fallback:
            items = self.popular[~np.isin(self.popular, asked.seen)][: max(k, self.manifest["retriever"]["depth"])]
            scores = -np.arange(1.0, len(items) + 1)
        elif self.ranker:
            scores = self.ranker.scores(self.features(asked, got))
            order = np.lexsort((self.ties[items], -scores))
            items, scores = items[order], scores[order]
        pool, told = Pool(items, scores.astype(np.float64), k), list[dict[str, Any]]()
        if self.policy:
            pool, told = self.policy.apply(pool, asked.seen if not self.repeats else asked.history, asked.liked)
        shown, n = pool.shown, len(pool.shown)
        if self.ranker and not fallback:
            chances = self.ranker.chances(pool.scores[:n])
        served = self.manifest["lists"]["fallback" if fallback else "served_by"]
        return Answer(
            items=shown,
            scores=pool.scores[:n],
            served_by=served,
            fallback=fallback,
            candidates=got.items,
            given_by=got.by,
            chances=chances,
            trace={"policy": told},
        )

    def with_moments(self, moments: Moments | None) -> "Bundle":
        """The same, with another state of features."""
        other = object.__new__(Bundle)
        other.__dict__ = {**self.__dict__, "moments": moments}
        return other

    def trace(self, asked: Asked, answer: Answer) -> dict[str, Any]:
        """How the list came about, in ids: what was known, where retrieval had each item, who gave it, what each step did."""
        place = {int(item): number for number, item in enumerate(answer.candidates, start=1)}
        told = []
        for number, item in enumerate(answer.items):
            row: dict[str, Any] = {"item_id": self.item_ids[item], "score": float(answer.scores[number]), "retrieved": place.get(int(item))}
            if row["retrieved"]:
                bits = int(answer.given_by[row["retrieved"] - 1])
                row["by"] = [name for bit, name in enumerate(self.retriever.names) if bits >> bit & 1]
            told.append(row | ({} if answer.chances is None else {"chance": float(answer.chances[number])}))
        return {
            "bundle": self.manifest["name"],
            "person": "stranger" if asked.user < 0 else "known",
            "history": len(asked.history),
            "not_in_catalogue": list(asked.unknown),
            "candidates": len(answer.candidates),
            "served_by": answer.served_by,
            "items": told,
            **answer.trace,
        }


def _known(folder: Path, n_users: int) -> Known:
    table = pq.read_table(inside(folder, "histories.parquet"))
    counts = np.bincount(table["user_code"].to_numpy(), minlength=n_users)
    return Known(table["item_code"].to_numpy(), np.append(0, counts.cumsum()), table["liked"].to_numpy(zero_copy_only=False))
