"""A log of requests, shows and what people did, out of thin air: any length, deterministic, with a truth one can compute.

    world = World(WorldConfig(unfairness=0.5, seed=3))      # or World.sized(1_000_000)
    paths = world.write(folder)                             # events, users, items; streamed
    world.truth.value(world.truth.greedy, users, times)     # what a policy is worth: see workbench.testing.truth

The log is made in blocks, each from its own generator seeded by (seed, block), so its content depends on the config alone: not on how it
is cut into chunks, and not on what was made before. What a block leads to after its end (a long dwell) waits for its moment.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv, parquet

from workbench.errors import RequestError, unknown
from workbench.files import whole_file
from workbench.testing.truth import EVENTS, HOUR, LABELS, Floats, Ints, Truth, WorldConfig

KINDS: Final = ("impression", "click", "like", "purchase", "hide", "dwell")
IMPRESSION, CLICK, LIKE, PURCHASE, HIDE, DWELL = range(len(KINDS))
DEVICES: Final = {"phone": 0.6, "desktop": 0.3, "tablet": 0.1}
AGE_BANDS: Final = {"18-24": 0.2, "25-34": 0.3, "35-49": 0.3, "50+": 0.2}
BLOCK: Final = 65_536  # impressions made at once
LONGEST_SESSION: Final = 5  # requests
SECOND: Final = 1_000_000  # microseconds
# A session's last request, its click and the end of the dwell are less than an hour after its first request:
# 4 gaps of 300 s + 30 s + 1800 s = 3030 s. `_requests` relies on it.
GAP, DELAY, LONGEST_DWELL = (30.0, 300.0), (1.0, 30.0), 1800.0

Rows = NDArray[np.void]
ROW: Final = np.dtype(
    [
        ("user", np.int64),
        ("item", np.int64),
        ("timestamp", np.int64),
        ("event", np.int8),
        ("value", np.float64),
        ("request", np.int64),
        ("position", np.int16),
        ("propensity", np.float64),
        ("session", np.int64),
        ("device", np.int8),
    ]
)
SCHEMA: Final = pa.schema(
    [
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("timestamp", pa.int64()),
        ("event", pa.string()),
        ("value", pa.float64()),
        ("request_id", pa.string()),
        ("position", pa.int16()),
        ("propensity", pa.float64()),
        ("session_id", pa.string()),
        ("device", pa.string()),
    ]
)
Format = Literal["parquet", "csv"]


class World:
    """The tables one would get from a real service. `truth` is what one would not get."""

    def __init__(self, config: WorldConfig = WorldConfig()) -> None:  # noqa: B008, frozen
        self.config = config
        self.truth = Truth(config)
        self._user_ids, self._item_ids = _ids("u", config.n_users), _ids("i", config.n_items)
        self._edges = self.truth.activity.cumsum()[:-1]  # where one person's share of the requests ends and the next one's starts

    def __repr__(self) -> str:
        c = self.config
        return f"World({c.n_users:,} people, {c.n_items:,} items, {c.n_requests:,} requests of {c.slots}, seed {c.seed})"

    @classmethod
    def sized(cls, rows: int, seed: int = 0) -> Self:
        """A world whose log has `rows` rows, give or take 10 %; 100 <= rows <= 10 million.

        200 rows a person, 4 √rows items. For other settings, `replace` them in its config; the number of rows changes with them.
        """
        if not 100 <= rows <= 10_000_000:
            raise RequestError(f"rows = {rows} is not a number from 100 to 10,000,000.")
        requests, people = rows // 6, max(10, rows // 200)
        while True:
            config = WorldConfig(n_users=people, n_items=max(20, int(4 * rows**0.5)), n_requests=requests, seed=seed)
            sample = min(requests, 5000)  # spread over the whole span too
            each = sum(map(len, cls(replace(config, n_requests=sample))._blocks())) / sample
            if abs(each * requests - rows) <= 0.05 * rows:
                return cls(config)
            requests, people = round(rows / each), people + 1  # the shortest logs vary most: one more person is another draw

    def users(self) -> pd.DataFrame:
        """user_id, group (majority, minority), age_band; a row's number is the person's code in `truth`. No column but group matters."""
        rng = np.random.default_rng([self.config.seed, LABELS, 0])
        return pd.DataFrame(
            {
                "user_id": self._user_ids.to_pandas(),
                "group": np.where(self.truth.minority, "minority", "majority"),
                "age_band": rng.choice(list(AGE_BANDS), size=self.config.n_users, p=list(AGE_BANDS.values())),
            }
        )

    def items(self) -> pd.DataFrame:
        """item_id, category, provider, released (microseconds since 1970 UTC); a row's number is the item's code in `truth`.

        The number of a category is that of the segment who lean to it. A few providers have most items; they don't matter.
        """
        rng, n = np.random.default_rng([self.config.seed, LABELS, 1]), self.config.n_items
        providers = np.minimum(rng.geometric(0.2, size=n), 30)
        return pd.DataFrame(
            {
                "item_id": self._item_ids.to_pandas(),
                "category": _ids("c", self.config.segments).take(self.truth.category).to_pandas(),
                "provider": _ids("p", 31).take(providers).to_pandas(),
                "released": self.truth.released,
            }
        )

    def chunks(self, rows: int = 100_000) -> Iterator[pa.Table]:
        """The log in order of time, `rows` rows at a time (the last chunk may be shorter). Holds a block and a chunk, however long it is.

        timestamp: microseconds since 1970 UTC, never falling. event: one of KINDS. value: seconds for a dwell, null for everything else.
        position: slot, from 1. propensity: probability that the logging policy filled the slot with this item, given person and time.
        request_id, session_id, position, propensity and device stand on an impression and again on each event it led to, so that
        what people did can be weighted without a join. A session is up to five requests of one person, minutes apart, on one device.
        """
        if rows < 1:
            raise RequestError(f"rows = {rows} is not a positive number.")
        waiting: list[pa.Table] = []
        for table in map(self._table, self._blocks()):
            waiting.append(table)
            if sum(map(len, waiting)) >= rows:
                whole = pa.concat_tables(waiting)
                full = len(whole) // rows * rows
                yield from (whole.slice(at, rows) for at in range(0, full, rows))
                waiting = [whole.slice(full)]
        if rest := sum(map(len, waiting)):
            yield pa.concat_tables(waiting).slice(0, rest)

    def frame(self) -> pd.DataFrame:
        """The whole log; for the small ones."""
        return pa.concat_tables(self.chunks()).to_pandas()

    def write(self, folder: Path, format: Format = "parquet") -> dict[str, Path]:
        """`events`, `users` and `items` as files in `folder`, which is made; each appears under its name when it is complete."""
        if format not in ("parquet", "csv"):
            raise unknown("format", format, ("parquet", "csv"))
        folder.mkdir(parents=True, exist_ok=True)
        tables = {"events": self.chunks(), "users": _tables(self.users()), "items": _tables(self.items())}
        return {name: _write(folder / f"{name}.{format}", parts) for name, parts in tables.items()}

    def _blocks(self) -> Iterator[Rows]:
        """The log in order of time; the next block starts no earlier than the last one ended."""
        each = max(1, BLOCK // self.config.slots)
        late = np.empty(0, dtype=ROW)
        for block, first in enumerate(range(0, self.config.n_requests, each)):
            last = min(first + each, self.config.n_requests)
            rows = np.concatenate([late, self._block(block, first, last)])
            rows = rows[np.argsort(rows["timestamp"], kind="stable")]
            done = len(rows) if last == self.config.n_requests else np.searchsorted(rows["timestamp"], self._moment(last))
            late = rows[done:].copy()
            yield rows[:done]

    def _block(self, block: int, first: int, last: int) -> Rows:
        """Requests [first, last) and all they lead to."""
        rng = np.random.default_rng([self.config.seed, EVENTS, block])
        shown = self._impressions(self._requests(first, last, rng), rng)
        return np.concatenate([shown, *self._reactions(shown, rng)])

    def _moment(self, request: Any) -> Any:
        """Where the share of the span that belongs to a request starts (a fraction of a share later for request + fraction)."""
        step = (self.config.span - HOUR) / self.config.n_requests
        return self.config.first_moment + np.floor(np.asarray(request) * step).astype(np.int64)

    def _requests(self, first: int, last: int, rng: np.random.Generator) -> Rows:
        """One row a request; a session starts somewhere in the share of the span of its first request."""
        n = last - first
        lengths = rng.integers(1, LONGEST_SESSION + 1, size=n)
        session = np.repeat(np.arange(n), lengths)[:n]
        opening = np.searchsorted(session, np.arange(session[-1] + 1))  # the first request of each session
        gaps = np.cumsum(rng.uniform(*GAP, size=n))
        people = np.searchsorted(self._edges, rng.random(len(opening)), side="right")
        devices = rng.choice(len(DEVICES), size=len(opening), p=list(DEVICES.values()))
        rows = np.zeros(n, dtype=ROW)
        rows["request"], rows["session"] = np.arange(first, last), first + opening[session]
        rows["user"], rows["device"] = people[session], devices[session]
        since = (gaps - gaps[opening][session]) * SECOND
        rows["timestamp"] = self._moment(first + opening + rng.random(len(opening)))[session] + since.astype(np.int64)
        return rows

    def _impressions(self, requests: Rows, rng: np.random.Generator) -> Rows:
        """`slots` rows for each request, filled by the logging policy."""
        rows = np.repeat(requests, self.config.slots)
        rows["position"] = np.tile(np.arange(1, self.config.slots + 1), len(requests))
        rows["event"], rows["value"] = IMPRESSION, np.nan
        periods = self.truth.period(rows["timestamp"])
        for period in np.unique(periods):
            at = periods == period
            rows["item"][at], rows["propensity"][at] = self.truth.draw(rows["user"][at], int(period), rng)
        return rows

    def _reactions(self, shown: Rows, rng: np.random.Generator) -> list[Rows]:
        """Rows of every other kind, each kind in the order of the impressions that led to it."""
        c = self.config
        seen = shown[rng.random(len(shown)) < self.truth.examination(shown["position"])]
        liking = self.truth.preference(seen["user"], seen["item"], seen["timestamp"])
        clicked = rng.random(len(seen)) < liking
        hidden = ~clicked & (rng.random(len(seen)) < c.hide * (1 - liking))
        hides = _later(seen[hidden], HIDE, rng.uniform(*DELAY, size=hidden.sum()))
        clicks, liking = _later(seen[clicked], CLICK, rng.uniform(*DELAY, size=clicked.sum())), liking[clicked]
        seconds = np.minimum(c.dwell * (0.5 + liking) * np.exp(0.8 * rng.normal(size=len(clicks))), LONGEST_DWELL)
        dwells = _later(clicks, DWELL, seconds)
        dwells["value"] = seconds
        rows = [clicks, dwells, hides]
        for kind, share in ((LIKE, c.like), (PURCHASE, c.purchase)):
            chosen = rng.random(len(clicks)) < share * liking
            rows.append(_later(clicks[chosen], kind, seconds[chosen] * rng.random(chosen.sum())))  # before they leave
        return rows

    def _table(self, rows: Rows) -> pa.Table:
        columns = [
            self._user_ids.take(rows["user"]),
            self._item_ids.take(rows["item"]),
            rows["timestamp"],
            pa.array(KINDS).take(rows["event"]),
            pa.array(rows["value"], from_pandas=True),  # NaN is null
            _ids("r", self.config.n_requests, of=rows["request"]),
            rows["position"],
            rows["propensity"],
            _ids("s", self.config.n_requests, of=rows["session"]),
            pa.array(DEVICES).take(rows["device"]),
        ]
        return pa.table(columns, schema=SCHEMA)


def _later(rows: Rows, kind: int, seconds: Floats) -> Rows:
    """Copies of rows, as another kind of event some seconds later."""
    copies = rows.copy()
    copies["event"] = kind
    copies["timestamp"] += (seconds * SECOND).astype(np.int64)
    return copies


def _ids(letter: str, n: int, of: Ints | None = None) -> pa.Array:
    """The letter and the number (of all n, or those given), padded so that text sorts like numbers."""
    numbers = pa.array(np.arange(n) if of is None else of).cast(pa.string())
    return pc.binary_join_element_wise(letter, pc.utf8_lpad(numbers, max(6, len(str(n - 1))), "0"), "")


def _tables(frame: pd.DataFrame) -> Iterator[pa.Table]:
    yield pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)


def _write(path: Path, tables: Iterator[pa.Table]) -> Path:
    first = next(tables)
    kind = parquet.ParquetWriter if path.suffix == ".parquet" else csv.CSVWriter
    with whole_file(path) as partial, kind(partial, first.schema) as writer:
        for table in chain([first], tables):
            writer.write_table(table)
    return path
