"""The rules by which a log is split: their parameters, the SQL, what each promises.

A rule is SQL over `coded` (every event with its person's and item's places in a seeded order) that gives each event a part: 0
training, 1 validation, 2 test, 3 known (revealed of a person at the moment of the request, trained on by nobody); NULL discards it. Written
in the form that DuckDB and Spark share.
"""

import datetime
import hashlib
import math
from abc import abstractmethod
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from workbench.errors import RequestError, unknown

Fractions = tuple[float, float, float]
Promise = Literal["own time", "one moment", "new people", "new items"]

# Two events of one person at one moment are ordered by x^5 mod p, x = a · person + b · item + c (mod p), over codes; p = 2^31 - 1, and a,
# b, c follow from the seed. Fifth powers permute 0 … p - 1, so each person has an order of the items of their own, unrelated to file order
# and popularity. It costs nine products an event; md5 of every event cost half of a split. `place` is an event's place in the snapshot.
PRIME = 2_147_483_647


def _fifth_power(x: str) -> str:
    return f"{x} * {x} % {PRIME} * {x} % {PRIME} * {x} % {PRIME} * {x} % {PRIME}"


CODED = f"""
    WITH named AS (
            SELECT place, user_code, item_code, coalesce(timestamp, 0) AS timestamp, value, {{grade}} AS grade
            FROM coded_events WHERE NOT {{exposure}}),
         mixed AS (SELECT *, ({{a}} * CAST(user_code AS BIGINT) + {{c}}) % {PRIME} AS u, {{b}} * CAST(item_code AS BIGINT) % {PRIME} AS i,
                          ({{a}} * (place % {PRIME}) + {{c}}) % {PRIME} AS e FROM named),
         summed AS (SELECT *, (u + i) % {PRIME} AS x FROM mixed),
         coded AS (SELECT *, CAST({_fifth_power("x")} AS INTEGER) AS tie, {_fifth_power("e")} AS dealt FROM summed)
"""
IN_TIME = "timestamp, tie, place"
AT_RANDOM = "dealt, place"
"""Whatever the time."""


def mixers(seed: int) -> dict[str, int]:
    """a, b and c in [1, p), out of sha256(seed)."""
    digest = hashlib.sha256(str(seed).encode()).digest()
    return {name: 1 + int.from_bytes(digest[8 * n : 8 * n + 8], "big") % (PRIME - 1) for n, name in enumerate("abc")}


WITHIN_PERSON = """
    , placed AS (SELECT *, row_number() OVER (PARTITION BY user_code ORDER BY {order}) AS position,
                        count(*) OVER (PARTITION BY user_code) AS n FROM coded)
"""
# The last floor(n · f) are test, the floor(n · f) before them validation; f = test / whole in whole numbers: nothing is rounded.
BY_SHARE = """CASE WHEN position > n - floor(n * {test} / {whole}) THEN 2
                   WHEN position > n - floor(n * {test} / {whole}) - floor(n * {valid} / {whole}) THEN 1 ELSE 0 END"""


class Rule(BaseModel):
    """Parameters of a split. Raises ValidationError for one that no split can have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    needs_time: ClassVar[bool] = True
    promises: ClassVar[frozenset[Promise]] = frozenset()

    @abstractmethod
    def query(self, n_events: int) -> str:
        """Follows CODED, for a log of so many events: the columns of `coded` and `part`."""

    @property
    @abstractmethod
    def text(self) -> str:
        """The rule in a sentence without its full stop."""


class _Shares(Rule):
    fractions: Fractions = (0.8, 0.1, 0.1)
    """Training, validation, test."""

    @field_validator("fractions")
    @classmethod
    def _add_up(cls, fractions: Fractions) -> Fractions:
        if min(fractions) < 0 or fractions[0] == 0 or abs(sum(fractions) - 1) > 1e-9:
            raise ValueError("should be three shares that add up to 1, the first above 0")
        return fractions

    @property
    def ratios(self) -> dict[str, int]:
        """The shares as whole numbers: valid / whole and test / whole."""
        valid, test = (Fraction(share).limit_denominator(10_000) for share in self.fractions[1:])
        whole = math.lcm(valid.denominator, test.denominator)
        return {"valid": int(valid * whole), "test": int(test * whole), "whole": whole}

    @property
    def by_share(self) -> str:
        return BY_SHARE.format(**self.ratios)

    @property
    def shares(self) -> tuple[str, str, str]:
        train, valid, test = (f"{100 * share:.3g} %" for share in self.fractions)
        return train, valid, test


class UserTime(_Shares):
    promises = frozenset({"own time"})

    def query(self, n_events: int) -> str:  # noqa: ARG002
        return WITHIN_PERSON.format(order=IN_TIME) + f"SELECT *, {self.by_share} AS part FROM placed"

    @property
    def text(self) -> str:
        return "Each person's events by time, the first {} for training, the next {} for validation, the last {} for test".format(
            *self.shares
        )


class UserRandom(_Shares):
    needs_time = False

    def query(self, n_events: int) -> str:  # noqa: ARG002
        return WITHIN_PERSON.format(order=AT_RANDOM) + f"SELECT *, {self.by_share} AS part FROM placed"

    @property
    def text(self) -> str:
        return "Each person's events at random, {} for training, {} for validation, {} for test, whatever their time".format(*self.shares)


class Random(_Shares):
    needs_time = False

    def query(self, n_events: int) -> str:  # noqa: ARG002
        placed = f", placed AS (SELECT *, row_number() OVER (ORDER BY {AT_RANDOM}) AS position, count(*) OVER () AS n FROM coded)"
        return f"{placed} SELECT *, {self.by_share} AS part FROM placed"

    @property
    def text(self) -> str:
        return "All events at random, {} for training, {} for validation, {} for test, whatever their time and person".format(*self.shares)


class LeaveLastN(Rule):
    promises = frozenset({"own time"})
    n: Annotated[int, Field(ge=1, strict=True)] = 1
    """Events of a person in test, and as many in validation. People with fewer than 2 n + 1 are trained on and not judged."""

    def query(self, n_events: int) -> str:  # noqa: ARG002
        part = f"CASE WHEN n <= {2 * self.n} THEN 0 WHEN position > n - {self.n} THEN 2 WHEN position > n - {2 * self.n} THEN 1 ELSE 0 END"
        return WITHIN_PERSON.format(order=IN_TIME) + f"SELECT *, {part} AS part FROM placed"

    @property
    def text(self) -> str:
        last, before = ("event", "one before it") if self.n == 1 else (f"{self.n} events", f"{self.n} before them")
        return (
            f"Each person's last {last} for test, the {before} for validation; "
            f"people with fewer than {2 * self.n + 1} are trained on and not judged"
        )


def _moment_of(behind: int, n_events: int) -> str:
    """SQL for the moment from which on the last `behind` of all events happen, with whatever else happened at that very moment."""
    if behind <= 0 or not n_events:
        return "min(CAST(NULL AS BIGINT))"
    return f"percentile_disc({(n_events - behind + 0.5) / n_events!r}) WITHIN GROUP (ORDER BY timestamp)"


class GlobalTime(_Shares):
    promises = frozenset({"own time", "one moment"})
    valid_from: str | None = None
    """Date, or date and time, UTC; with `test_from` instead of fractions."""
    test_from: str | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if (self.valid_from is None) != (self.test_from is None):
            raise ValueError("valid_from and test_from go together")
        if self.valid_from and self.test_from and not 0 <= _moment(self.valid_from) < _moment(self.test_from):
            raise ValueError(f"valid_from {self.valid_from} should be before test_from {self.test_from}")
        return self

    def query(self, n_events: int) -> str:
        part = "CASE WHEN timestamp >= first_test THEN 2 WHEN timestamp >= first_valid THEN 1 ELSE 0 END AS part"
        if self.valid_from and self.test_from:
            cuts = f"SELECT {_moment(self.valid_from)} AS first_valid, {_moment(self.test_from)} AS first_test"
            return f", cuts AS ({cuts}) SELECT coded.*, {part} FROM coded, cuts"
        given = self.ratios
        n_valid, n_test = (n_events * given[part] // given["whole"] for part in ("valid", "test"))
        cuts = f"SELECT {_moment_of(n_valid + n_test, n_events)} AS first_valid, {_moment_of(n_test, n_events)} AS first_test FROM coded"
        return f", cuts AS ({cuts}) SELECT coded.*, {part} FROM coded, cuts"

    @property
    def text(self) -> str:
        if self.test_from:
            return f"One moment for everyone: validation from {self.valid_from}, test from {self.test_from} (UTC)"
        return "One moment for everyone: the first {} of events for training, the next {} for validation, the last {} for test".format(
            *self.shares
        )


class RollingOrigin(Rule):
    promises = frozenset({"own time", "one moment"})
    windows: Annotated[int, Field(ge=1, le=20, strict=True)] = 4
    share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Of all events, in each window."""
    window: Annotated[int, Field(ge=1, strict=True)] | None = None
    """Which one, from 1, the earliest; None is the last."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.share * (self.windows + 1) >= 1:
            raise ValueError(f"{self.windows} windows and a validation window of {self.share:g} each leave nothing to train on")
        if self.window is not None and self.window > self.windows:
            raise ValueError(f"window {self.window} should be between 1 and {self.windows}")
        return self

    @property
    def number(self) -> int:
        return self.window or self.windows

    def query(self, n_events: int) -> str:
        each = math.floor(n_events * Fraction(self.share).limit_denominator(10_000))
        later = self.windows - self.number
        moments = {"first_valid": later + 2, "first_test": later + 1, "behind": later}
        edges = ", ".join(f"{_moment_of(each * back, n_events)} AS {name}" for name, back in moments.items())
        part = "CASE WHEN timestamp >= behind THEN NULL WHEN timestamp >= first_test THEN 2 WHEN timestamp >= first_valid THEN 1 ELSE 0 END"
        return f", edges AS (SELECT {edges} FROM coded) SELECT coded.*, {part} AS part FROM coded, edges"

    @property
    def text(self) -> str:
        return (
            f"Window {self.number} of {self.windows}: {100 * self.share:.3g} % of events for test, as many right before "
            "them for validation, all earlier ones for training; later ones are discarded"
        )


class NewUser(_Shares):
    needs_time = False
    promises = frozenset({"new people"})
    revealed: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of a held-out person's events, the earliest, that is known of them when they are judged on the rest."""

    def query(self, n_events: int) -> str:  # noqa: ARG002
        dealt, known = _dealt("user_code", "u", self.by_share), Fraction(self.revealed).limit_denominator(10_000)
        part = f"CASE WHEN held = 0 THEN 0 WHEN position <= floor(n * {known.numerator} / {known.denominator}) THEN 3 ELSE held END"
        return (
            WITHIN_PERSON.format(order=IN_TIME)
            + f", held_out AS ({dealt}) SELECT placed.*, {part} AS part FROM placed JOIN held_out ON placed.user_code = held_out.code"
        )

    @property
    def text(self) -> str:
        return (
            "People at random, {} for training, {} for validation, {} for test; of the latter two the first "
            f"{100 * self.revealed:.3g} % of events are known and the rest is to be found"
        ).format(*self.shares)


class NewItem(_Shares):
    needs_time = False
    promises = frozenset({"new items"})

    def query(self, n_events: int) -> str:  # noqa: ARG002
        dealt = _dealt("item_code", "i", self.by_share)
        return f", held_out AS ({dealt}) SELECT coded.*, held AS part FROM coded JOIN held_out ON coded.item_code = held_out.code"

    @property
    def text(self) -> str:
        return "Items at random, {} for training, {} for validation, {} for test: nobody's event with a held-out item is trained on".format(
            *self.shares
        )


def _dealt(code: str, mixed: str, by_share: str) -> str:
    """SQL for (code, held): the people or items that occur, dealt by the fifth power of a mix of their code."""
    return f"""
        SELECT code, {by_share} AS held
        FROM (SELECT code, row_number() OVER (ORDER BY {_fifth_power("m")}, code) AS position, count(*) OVER () AS n
              FROM (SELECT {code} AS code, min({mixed}) AS m FROM coded GROUP BY {code}) AS those_there) AS numbered"""


def _moment(text: str) -> int:
    """Microseconds since 1970 UTC. Raises ValueError for a text that is no date, or names another zone."""
    moment = datetime.datetime.fromisoformat(text)
    if moment.utcoffset():
        raise ValueError(f"{text} should be in UTC")
    since = moment.replace(tzinfo=datetime.UTC) - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return since // datetime.timedelta(microseconds=1)


RULES: Mapping[str, type[Rule]] = {
    "global_time": GlobalTime,
    "rolling_origin": RollingOrigin,
    "user_time": UserTime,
    "leave_last_n": LeaveLastN,
    "user_random": UserRandom,
    "random": Random,
    "new_user": NewUser,
    "new_item": NewItem,
}
TIMELESS = ", ".join(name for name, rule in RULES.items() if not rule.needs_time)
"""The rules for a log without times, as a message lists them."""


def make_rule(name: str, options: Mapping[str, Any]) -> Rule:
    """Raises RequestError for an unknown rule or parameter, with the nearest name, and for a value no split can have."""
    if name not in RULES:
        raise unknown("split", name, [*RULES, "default"])
    for option in options:
        if option not in RULES[name].model_fields:
            raise unknown(f"parameter of the split {name}", option, RULES[name].model_fields)
    try:
        return RULES[name](**options)
    except ValidationError as error:
        first = error.errors()[0]
        place = f"{first['loc'][0]} = {options[str(first['loc'][0])]!r}: " if first["loc"] and str(first["loc"][0]) in options else ""
        reason = first["msg"].removeprefix("Value error, ")
        raise RequestError(f"the split {name}, {place}{reason[:1].lower()}{reason[1:]}.") from None
