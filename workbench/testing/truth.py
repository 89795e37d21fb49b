"""What is true of a made-up world: who likes what, what was on offer, and how the policy that wrote the log chose.

The span is cut into `PERIODS` equal parts; tastes, popularity and what is on offer change only from one part to the next, so that each
probability is a number in a table of segments × items. With σ the logistic function, k the segment of person u, and p the period:

    shift(i, p)         = drift · trend_i · ((p + ½) / PERIODS − ½)                 trend_i ~ N(0, 1)
    preference(u, i, p) = σ(logit(click_rate) + taste · u·v_i + appeal_i + shift(i, p))
    matched(i | k, p)   ∝ rank_i^−skew · exp(taste · c_k·v_i + shift(i, p))         over the n(p) items on offer
    propensity(i | u)   = e_u / n(p) + (1 − e_u) · matched(i | k, p)
    e_u                 = explore, and explore + (1 − explore) · unfairness for the minority

c_k is the centre of a category of items and of a segment of people alike; v_i and u are unit vectors around it. Slots are filled one
by one, independently and with replacement: an item can stand twice in one request, and its propensity is the same in every slot.
A click needs two things: that the slot is examined, position^−position_bias, and then `preference`.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Annotated, Any, Final, get_type_hints

import numpy as np
from numpy.typing import NDArray

from workbench.errors import RequestError

Floats = NDArray[np.floating[Any]]  # float64, all of them
Ints = NDArray[np.int64]
Policy = Callable[[Ints, int], Floats]
"""(user codes (n,), time) → probability of each item in any one slot, (n, n_items), rows sum to one; 0 for what is not on offer."""

PERIODS: Final = 16
FIRST_COLD_PERIOD: Final = 12
"""Cold items are released at the start of one of the periods from here on: in the last quarter of the span."""
SPREAD: Final = 0.5
"""Expected length of what sets a person or an item apart from the centre, itself of length 1."""
APPEAL: Final = 0.3
"""Log-odds of a click that one standard deviation of log rank is worth: the well-known are a little better liked."""
HOUR: Final = 3_600_000_000  # microseconds
DAY: Final = 24 * HOUR
CELLS: Final = 4_000_000  # people × items held at once
CENTRES, PEOPLE, ITEMS, LABELS, EVENTS = range(5)  # second word of a stream's seed: one part of the world never shifts the draws of another


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """A world is a pure function of these. A value out of range, given beside the type, raises RequestError."""

    n_users: Annotated[int, 2, 10_000_000] = 1000
    """People who exist; the least active may never appear in the log."""
    n_items: Annotated[int, 2, 1_000_000] = 500
    """Items in the catalogue, cold ones included."""
    n_requests: Annotated[int, 1, 1_000_000_000] = 10_000
    """Requests served; each logs `slots` impressions."""
    slots: Annotated[int, 1, 100] = 5
    """Items shown for a request."""
    segments: Annotated[int, 1, 1000] = 12
    """Segments of people, and categories of items; segment k leans to category k. The policy knows a person's segment, no more."""
    dimensions: Annotated[int, 1, 1000] = 8
    """Length of the latent vectors."""
    taste: Annotated[float, 0, 10] = 2.0
    """Log-odds of a click between a perfect match and no relation; 0: everyone likes the same."""
    skew: Annotated[float, 0, 3] = 1.0
    """Zipf exponent of the weight by which the policy shows items; 0: none is favoured."""
    activity: Annotated[float, 0, 3] = 1.0
    """Standard deviation of the log of how often a person comes; 0: all alike."""
    drift: Annotated[float, 0, 10] = 0.5
    """Log-odds (clicks) and log weight (shows) an item moves over the span, as a standard deviation over items; 0: none."""
    start: str = "2024-01-01"
    """First moment of the span, an ISO date or time from 1970 to 2199; UTC where it names no zone."""
    days: Annotated[int, 1, 3650] = 60
    """Length of the span. Requests end an hour before it does, so that all they lead to falls inside."""
    explore: Annotated[float, 0.001, 1] = 0.1
    """Probability that a slot gets a uniform draw from what is on offer; positive, so that every propensity is."""
    position_bias: Annotated[float, 0, 3] = 0.7
    """Exponent of examination, position^−position_bias (as in Joachims et al., WSDM 2017); 0: every slot is examined."""
    click_rate: Annotated[float, 0.001, 0.999] = 0.1
    """Probability of a click on an examined item of no relation to the person and of mean appeal."""
    like: Annotated[float, 0, 1] = 0.4
    """A click leads to a like with probability like · preference."""
    purchase: Annotated[float, 0, 1] = 0.1
    """A click leads to a purchase with probability purchase · preference."""
    hide: Annotated[float, 0, 1] = 0.01
    """An examined item that is not clicked is hidden with probability hide · (1 − preference)."""
    dwell: Annotated[float, 0.1, 600] = 40.0
    """Median dwell after a click at preference ½, in seconds; in proportion to ½ + preference, at most half an hour."""
    group_share: Annotated[float, 0.01, 0.5] = 0.2
    """Share of people in the minority (at least one), whatever their segment and activity."""
    unfairness: Annotated[float, 0, 1] = 0.3
    """Share of the matched shows that the minority gets as uniform draws instead; `Truth.planted_gap` is what that costs them."""
    cold_items: Annotated[float, 0, 0.9] = 0.1
    """Share of items released only in the last quarter of the span."""
    seed: Annotated[int, 0, 2**63 - 1] = 0

    def __post_init__(self) -> None:
        types = get_type_hints(WorldConfig, include_extras=True)
        for name in (field.name for field in fields(self) if field.name != "start"):
            low, high = types[name].__metadata__
            value, kind = getattr(self, name), types[name].__origin__
            number = isinstance(value, int | np.integer if kind is int else int | float | np.number) and not isinstance(value, bool)
            if not (number and low <= value <= high):
                raise RequestError(f"{name} = {value!r} is not {'a whole' if kind is int else 'a'} number from {low} to {high}.")
        try:
            year = datetime.fromisoformat(self.start).year
        except (ValueError, TypeError):
            year = 0
        if not 1970 <= year < 2200:
            raise RequestError(f'start = {self.start!r} is not a date from 1970 to 2199, such as "2024-01-01".')

    @property
    def first_moment(self) -> int:
        """Microseconds since 1970 UTC."""
        start = datetime.fromisoformat(self.start)
        since = (start if start.tzinfo else start.replace(tzinfo=UTC)) - datetime.fromtimestamp(0, UTC)
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds

    @property
    def span(self) -> int:
        """Microseconds; PERIODS divide it."""
        return self.days * DAY


@dataclass(frozen=True)
class Offer:
    """What the logging policy chooses from during one period."""

    items: Ints
    """Codes of the items on offer, (n,)."""
    matched: Floats
    """Probability of each when the policy does not explore, (segments, n); rows sum to one."""
    edges: Floats
    """Row k: k + the cumulated `matched`, flattened, so that one search draws for people of every segment."""


class Truth:
    """People and items are codes: row numbers of `World.users()` and `World.items()`. Times are microseconds since 1970 UTC."""

    def __init__(self, config: WorldConfig) -> None:
        self.config = config
        self.centres = _unit(np.random.default_rng([config.seed, CENTRES]).normal(size=(config.segments, config.dimensions)))
        self._draw_people(np.random.default_rng([config.seed, PEOPLE]))
        self._draw_items(np.random.default_rng([config.seed, ITEMS]))
        self._latest: tuple[int, Offer] | None = None  # the log asks for one period after the other

    def _draw_people(self, rng: np.random.Generator) -> None:
        c, n = self.config, self.config.n_users
        self.segment = rng.integers(c.segments, size=n)
        self.people = _around(self.centres[self.segment], rng)
        self.minority = rng.permutation(n) < max(1, round(c.group_share * n))
        activity = np.exp(c.activity * rng.normal(size=n))
        self.activity = activity / activity.sum()  # each person's share of the requests
        self.explore = c.explore + (1 - c.explore) * c.unfairness * self.minority  # e_u; exactly `explore` for those served fairly

    def _draw_items(self, rng: np.random.Generator) -> None:
        c, n = self.config, self.config.n_items
        self.category = rng.integers(c.segments, size=n)
        self.vectors = _around(self.centres[self.category], rng)
        self.rank = rng.permutation(n) + 1  # 1: shown most; the code says nothing of it
        fame = -np.log(self.rank)
        self.appeal = APPEAL * (fame - fame.mean()) / fame.std()
        self.trend = rng.normal(size=n)
        self.cold = rng.permutation(n) < int(c.cold_items * n)
        self.first_period = np.where(self.cold, rng.integers(FIRST_COLD_PERIOD, PERIODS, size=n), 0)
        age = rng.integers(1, 365, size=n) * DAY
        self.released = c.first_moment + np.where(self.cold, self.first_period * (c.span // PERIODS), -age)

    def period(self, times: Any) -> Ints:
        """Number of the period that holds each time, in [0, PERIODS); times outside the span belong to the nearest one."""
        since = np.asarray(times, dtype=np.int64) - self.config.first_moment
        return np.clip(since * PERIODS // self.config.span, 0, PERIODS - 1)

    def examination(self, positions: Any) -> Floats:
        """Probability that a slot is looked at; positions count from 1."""
        looked_at: Floats = np.asarray(positions, dtype=np.float64) ** -self.config.position_bias
        return looked_at

    def preference(self, users: Ints, items: Ints, times: Any) -> Floats:
        """Probability that the person clicks the item, given that they examine it; arrays of one length, or broadcast to one. (n,)"""
        match: Floats = np.einsum("...d,...d->...", self.people[users], self.vectors[items])
        return self._click(match, items, self.period(times))

    def propensity(self, users: Ints, items: Ints, times: Any) -> Floats:
        """Probability that the logging policy puts the item in any one slot: what the log says of each impression. (n,)"""
        periods = np.broadcast_to(self.period(times), np.shape(users))
        result = np.zeros(len(users))
        for period in np.unique(periods):
            offer, at = self.offer(int(period)), periods == period
            place = np.minimum(np.searchsorted(offer.items, items[at]), len(offer.items) - 1)
            chance = _mix(self.explore[users[at]], len(offer.items), offer.matched[self.segment[users[at]], place])
            result[at] = np.where(offer.items[place] == items[at], chance, 0.0)
        return result

    def propensities(self, users: Ints, time: int) -> Floats:
        """The logging policy, as a Policy."""
        return self._serve(users, time, self.explore[users])

    def fair(self, users: Ints, time: int) -> Floats:
        """What everybody would get if the minority were served like the majority, as a Policy."""
        return self._serve(users, time, np.full(len(users), self.config.explore))

    def uniform(self, users: Ints, time: int) -> Floats:
        """Anything on offer, as a Policy."""
        return self._serve(users, time, np.ones(len(users)))

    def greedy(self, users: Ints, time: int) -> Floats:
        """Always the item on offer that the person prefers, as a Policy: no policy has a higher value."""
        on_offer = self.first_period <= self.period(time)
        best = np.where(on_offer, self._preferences(users, time), -1.0).argmax(1)
        served = np.zeros((len(users), self.config.n_items))
        served[np.arange(len(users)), best] = 1.0
        return served

    def value(self, policy: Policy, users: Ints, times: Ints) -> Floats:
        """Expected clicks of each request if `policy` filled its slots independently: float64 (n,) in [0, slots].

        users, times: (n,), one for each request. Divide by `slots` for clicks per impression. Costs n × n_items; memory is bounded.
        """
        periods, result = self.period(times), np.empty(len(users))
        for period in np.unique(periods):
            at = np.flatnonzero(periods == period)
            time = self.config.first_moment + int(period) * (self.config.span // PERIODS)
            for part in np.array_split(at, 1 + len(at) * self.config.n_items // CELLS):
                result[part] = (policy(users[part], time) * self._preferences(users[part], time)).sum(1)
        return result * float(self.examination(np.arange(1, self.config.slots + 1)).sum())

    def planted_gap(self, people: int = 1000) -> float:
        """Clicks per impression that unfairness takes from the minority: `fair` minus what they get; 0 without unfairness.

        Mean over the requests of the first `people` of them (all, where there are no more), every period alike. Groups are drawn whatever
        the taste, so the majority's mean clicks per impression exceed the minority's by this, but for who happens to be in them.
        """
        minority = np.flatnonzero(self.minority)[:people]
        times = self.config.first_moment + np.arange(PERIODS) * (self.config.span // PERIODS)
        users, times = np.repeat(minority, PERIODS), np.tile(times, len(minority))
        lost = self.value(self.fair, users, times) - self.value(self.propensities, users, times)
        return float(np.average(lost, weights=self.activity[users]) / self.config.slots)

    def draw(self, users: Ints, period: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
        """One show for each entry of `users` in a period: items (n,) and their propensities (n,)."""
        offer, n = self.offer(period), len(users)
        on_offer, segment = len(offer.items), self.segment[users]
        found = np.searchsorted(offer.edges, segment + rng.random(n), side="right") - segment * on_offer
        matched = np.minimum(found, on_offer - 1)  # k + 0.99… can round up to k + 1
        place = np.where(rng.random(n) < self.explore[users], rng.integers(on_offer, size=n), matched)
        return offer.items[place], _mix(self.explore[users], on_offer, offer.matched[segment, place])

    def offer(self, period: int) -> Offer:
        """What is on offer in a period in [0, PERIODS), and the policy's tables for it."""
        if self._latest is None or self._latest[0] != period:
            items = np.flatnonzero(self.first_period <= period)
            weights = self.config.taste * np.einsum("kd,id->ki", self.centres, self.vectors[items]) - self.config.skew * np.log(
                self.rank[items]
            )
            weights += self._shift(items, period)
            matched = np.exp(weights - weights.max(1, keepdims=True))
            matched /= matched.sum(1, keepdims=True)
            edges = np.minimum(matched.cumsum(1), 1.0)
            edges[:, -1] = 1.0  # rounding left it a little beside
            self._latest = period, Offer(items, matched, (edges + np.arange(len(edges))[:, None]).ravel())
        return self._latest[1]

    def _serve(self, users: Ints, time: int, explore: Floats) -> Floats:
        offer = self.offer(int(self.period(time)))
        served = np.zeros((len(users), self.config.n_items))
        served[:, offer.items] = _mix(explore[:, None], len(offer.items), offer.matched[self.segment[users]])
        return served

    def _shift(self, items: Ints, periods: Any) -> Floats:
        shift: Floats = self.config.drift * self.trend[items] * ((periods + 0.5) / PERIODS - 0.5)
        return shift

    def _click(self, match: Floats, items: Ints, periods: Any) -> Floats:
        base = np.log(self.config.click_rate / (1 - self.config.click_rate))
        chance: Floats = 1 / (1 + np.exp(-(base + self.config.taste * match + self.appeal[items] + self._shift(items, periods))))
        return chance

    def _preferences(self, users: Ints, time: int) -> Floats:
        """`preference` of everyone in `users` for every item, (n, n_items)."""
        return self._click(self.people[users] @ self.vectors.T, np.arange(self.config.n_items), self.period(time))


def _mix(explore: Floats, on_offer: int, matched: Floats) -> Floats:
    return explore / on_offer + (1 - explore) * matched


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit


def _around(centres: Floats, rng: np.random.Generator) -> Floats:
    """Unit vectors, one near each centre; (n, dimensions)."""
    return _unit(centres + rng.normal(size=centres.shape) * SPREAD / centres.shape[1] ** 0.5)
