"""The world is what it says: every planted number is found again in the log, within a bound that is computed beside it.

Seeds are fixed, so nothing here is flaky; a bound of four standard errors says how surprising a failure would be (6 in 100,000).
"""

from dataclasses import replace

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from workbench.errors import RequestError
from workbench.testing import World, WorldConfig
from workbench.testing.truth import DAY, HOUR, PERIODS
from workbench.testing.world import BLOCK, KINDS, SCHEMA

SMALL = WorldConfig(n_users=50, n_items=40, n_requests=200)


@pytest.fixture(scope="module")
def world():
    return World(WorldConfig(n_users=2000, n_items=60, segments=3, n_requests=30_000, unfairness=0.6, explore=0.2))


@pytest.fixture(scope="module")
def log(world):
    return world.frame()


@pytest.fixture(scope="module")
def shown(log):
    return impressions(log)


def code(ids):
    return ids.str[1:].astype("int64").to_numpy()


def impressions(log):
    """One row an impression, with codes, and whether it was clicked."""
    shown = log[log["event"] == "impression"].drop(columns=["event", "value"])
    clicks = log.loc[log["event"] == "click", ["request_id", "position"]].assign(clicked=True)
    shown = shown.merge(clicks, how="left", on=["request_id", "position"], validate="one_to_one")
    return shown.assign(clicked=shown["clicked"].notna().astype(float), user=code(shown["user_id"]), item=code(shown["item_id"]))


def requests(shown):
    return shown.drop_duplicates("request_id")


def events(config):
    return pa.concat_tables(World(config).chunks())


# How the log is made


def test_the_config_decides_and_nothing_else():
    world = World(SMALL)
    once, again = (pa.concat_tables(world.chunks()) for _ in range(2))
    assert once.equals(again)
    assert once.equals(events(SMALL))
    assert not once.equals(events(replace(SMALL, seed=1)))
    assert world.users().equals(World(SMALL).users())
    assert world.items().equals(World(SMALL).items())


def test_asking_for_the_truth_leaves_the_log_alone():
    world = World(SMALL)
    chunks = world.chunks(rows=300)
    parts = [next(chunks)]
    world.truth.planted_gap()
    assert pa.concat_tables([*parts, *chunks]).equals(events(SMALL))


@pytest.mark.parametrize("rows", [7919, 65_536, 10_000_000])
def test_the_content_does_not_depend_on_the_chunks(world, rows):
    chunks = list(world.chunks(rows))
    assert {len(chunk) for chunk in chunks[:-1]} <= {rows}
    assert 0 < len(chunks[-1]) <= rows
    assert pa.concat_tables(chunks).equals(pa.concat_tables(world.chunks()))


def test_blocks_join_without_a_seam():
    """Four blocks in a day: at each seam hundreds of dwells end after the next block has begun."""
    world = World(WorldConfig(n_requests=20_000, slots=10, days=1))
    log = world.frame()
    assert log["timestamp"].is_monotonic_increasing
    shown = impressions(log)
    assert shown["request_id"].nunique() == 20_000
    assert (log["event"] == "dwell").sum() == (log["event"] == "click").sum() == shown["clicked"].sum()
    slates = shown.groupby("request_id")["item"].apply(tuple).to_numpy()
    each = BLOCK // 10
    assert not (slates[:each] == slates[each : 2 * each]).any()  # ten items each: blocks with one stream would agree everywhere


def test_a_longer_log_has_the_same_people_and_items():
    short, long = World(SMALL), World(replace(SMALL, n_requests=900, unfairness=1.0))
    assert short.users().equals(long.users())
    assert short.items().equals(long.items())


def test_columns_types_and_what_is_null(world, log):
    table = next(world.chunks())
    assert table.schema.equals(SCHEMA)
    assert set(log["event"]) == set(KINDS)
    assert log.drop(columns="value").notna().all(axis=None)
    assert (log["value"].notna() == (log["event"] == "dwell")).all()
    assert table["value"].null_count == pa.compute.sum(pa.compute.not_equal(table["event"], "dwell")).as_py()  # null, not NaN


def test_each_request_logs_its_slots_at_one_moment(world, shown):
    assert len(shown) == 30_000 * 5
    assert (shown.groupby("request_id")["position"].apply(tuple) == (1, 2, 3, 4, 5)).all()
    context = ["request_id", "timestamp", "user_id", "session_id", "device"]
    assert len(shown.drop_duplicates(context)) == 30_000
    assert set(shown["user_id"]) <= set(world.users()["user_id"])
    assert set(shown["item_id"]) <= set(world.items()["item_id"])


def test_time_never_falls_and_stays_in_the_span(world, log):
    start = 1_704_067_200_000_000  # `date -u -d 2024-01-01 +%s`, in microseconds
    assert world.config.first_moment == start
    assert log["timestamp"].is_monotonic_increasing
    assert start <= log["timestamp"].iloc[0] < start + HOUR  # 30,000 requests in 60 days: one in 3 minutes
    assert start + 60 * DAY - 2 * HOUR < log["timestamp"].iloc[-1] < start + 60 * DAY


def test_one_request_in_one_day_stays_in_the_span_too():
    for seed in range(20):
        log = World(replace(SMALL, n_requests=1, days=1, dwell=600.0, click_rate=0.9, seed=seed)).frame()
        assert log["timestamp"].iloc[-1] < 1_704_067_200_000_000 + DAY


def test_a_zone_in_the_start_counts():
    assert replace(SMALL, start="2024-01-01T02:00+02:00").first_moment == SMALL.first_moment


def test_events_follow_what_led_to_them(log):
    when = log.pivot_table(index=["request_id", "position"], columns="event", values="timestamp", aggfunc="min")
    for kind in ("click", "hide"):
        followed = when[when[kind].notna()]
        assert (followed["impression"] < followed[kind]).all()
    clicked = when["click"].notna()
    assert (when["dwell"].notna() == clicked).all()
    for kind in ("like", "purchase"):
        followed = when[when[kind].notna()]
        assert (followed["click"] <= followed[kind]).all()
        assert (followed[kind] <= followed["dwell"]).all()
    assert when.loc[clicked, "hide"].isna().all()
    dwell = log[log["event"] == "dwell"].set_index(["request_id", "position"])
    seconds = (when["dwell"] - when["click"]).dropna() / 1e6
    assert dwell["value"].sub(seconds).abs().max() < 2e-6  # whole microseconds


def test_a_session_is_one_person_on_one_device_within_the_hour(shown):
    sessions = requests(shown).groupby("session_id")
    assert len(shown.drop_duplicates(["session_id", "user_id", "device"])) == len(sessions)
    assert sessions.size().between(1, 5).all()
    assert sessions["timestamp"].agg(lambda times: times.max() - times.min()).max() < HOUR


@pytest.mark.parametrize("rows", [100, 137, 1000, 20_000, 300_000])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_sized_world_has_about_that_many_rows(rows, seed):
    assert sum(map(len, World.sized(rows, seed).chunks())) == pytest.approx(rows, rel=0.1)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_files_hold_what_the_frames_hold(tmp_path, kind):
    world = World(SMALL)
    paths = world.write(tmp_path / "new", format=kind)
    assert {name: path.name for name, path in paths.items()} == {name: f"{name}.{kind}" for name in ("events", "users", "items")}
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(path.name for path in paths.values())
    read = parquet.read_table if kind == "parquet" else csv.read_csv
    for name, frame in (("events", world.frame()), ("users", world.users()), ("items", world.items())):
        pd.testing.assert_frame_equal(read(paths[name]).to_pandas(), frame, check_dtype=False)
    counted = duckdb.sql(f"SELECT count(*), count(value) FROM '{paths['events']}'").fetchall()
    assert counted == [(len(world.frame()), world.frame()["value"].count())]


# Who and what there is


def test_ids_say_nothing_of_popularity_or_activity():
    """Rank correlation of code and popularity; over random orders its standard deviation is 1 / √(n − 1)."""
    truth = World(WorldConfig(n_users=4000, n_items=3000)).truth
    for values in (truth.rank, truth.activity, truth.cold, truth.minority):
        assert abs(pd.Series(values).rank().corr(pd.Series(np.arange(len(values))))) < 4 / (len(values) - 1) ** 0.5


@pytest.mark.parametrize("skew", [0.0, 0.8, 1.6])
def test_popularity_is_as_skewed_as_asked(skew):
    """Without taste the first tenth of n ranks get explore / 10 + (1 − explore) · Σ_{r ≤ n/10} r^−skew / Σ_{r ≤ n} r^−skew of the shows."""
    world = World(WorldConfig(n_items=500, n_requests=8000, taste=0.0, drift=0.0, cold_items=0.0, unfairness=0.0, explore=0.1, skew=skew))
    shown = impressions(world.frame())
    weights = np.arange(1, 501) ** -skew
    expected = 0.1 / 10 + 0.9 * weights[:50].sum() / weights.sum()
    assert (world.truth.rank[shown["item"]] <= 50).mean() == pytest.approx(
        expected, abs=4 * (expected * (1 - expected) / len(shown)) ** 0.5
    )


def test_cold_items_appear_when_they_are_released_and_not_before(world, shown):
    items, first = world.items(), shown.groupby("item_id")["timestamp"].min()
    span, start = world.config.span, world.config.first_moment
    cold = items[world.truth.cold].set_index("item_id")["released"]
    assert len(cold) == 6  # a tenth of 60
    assert cold.between(start + span * 3 // 4, start + span).all()
    assert (items.loc[~world.truth.cold, "released"] < start).all()
    assert (first.reindex(cold.index) >= cold).all()  # each is shown: none is missing in `first`
    assert (first.drop(cold.index) < start + span // 4).all()


def test_groups_have_the_share_asked_for_whatever_the_taste(world):
    users = world.users()
    assert (users["group"] == "minority").sum() == 0.2 * 2000
    segments = pd.crosstab(users["group"], world.truth.segment, normalize="index")
    half = 4 * (1 / 4 * (1 / 400 + 1 / 1600)) ** 0.5  # a share's standard error is at most 1/2 · √(1/n + 1/m)
    assert (segments.loc["minority"] - segments.loc["majority"]).abs().max() < half


# How it was served


def test_a_logged_propensity_is_the_formula(world, shown):
    """The formula of the module's docstring, written out for single rows: a second implementation."""
    truth, c = world.truth, world.config
    for row in shown.sample(50, random_state=0).itertuples():
        period = (row.timestamp - c.first_moment) * PERIODS // (60 * DAY)
        shift = c.drift * truth.trend * ((period + 0.5) / PERIODS - 0.5)
        centre = truth.centres[truth.segment[row.user]]
        weight = truth.rank**-c.skew * np.exp(c.taste * (truth.vectors * centre).sum(1) + shift)
        on_offer = world.items()["released"].to_numpy() <= row.timestamp
        explore = 0.2 + 0.8 * 0.6 if truth.minority[row.user] else 0.2
        expected = explore / on_offer.sum() + (1 - explore) * weight[row.item] / weight[on_offer].sum()
        assert row.propensity == pytest.approx(expected, rel=1e-12)


def test_every_logged_propensity_can_be_computed_again(world, shown):
    again = world.truth.propensity(shown["user"].to_numpy(), shown["item"].to_numpy(), shown["timestamp"].to_numpy())
    assert (again == shown["propensity"]).all()
    assert again.min() > 0.2 / 60  # explore over all items


def test_propensities_sum_to_one_over_what_is_on_offer(world):
    truth, people = world.truth, np.arange(0, 2000, 40)
    for share in (0.0, 0.8, 0.99):
        time = world.config.first_moment + int(share * world.config.span)
        table = truth.propensities(people, time)
        on_offer = world.items()["released"].to_numpy() <= time
        assert table.sum(1) == pytest.approx(1, abs=1e-12)
        assert (table[:, on_offer] > 0).all()
        assert (table[:, ~on_offer] == 0).all()
        users, items = (codes.ravel() for codes in np.broadcast_arrays(people[:, None], np.arange(60)))
        assert (truth.propensity(users, items, time).reshape(table.shape) == table).all()


def test_items_are_shown_as_often_as_their_propensity_says(world, shown):
    """For each segment and item, shows minus Σ p over the segment's impressions; Var = Σ p (1 − p). Of 180 z none should pass 4.5."""
    truth, c = world.truth, world.config
    difference, variance = np.zeros((3, 60)), np.zeros((3, 60))
    for period, part in shown.groupby(truth.period(shown["timestamp"])):
        p = truth.propensities(part["user"].to_numpy(), c.first_moment + period * c.span // PERIODS)
        segment = truth.segment[part["user"]]
        np.add.at(difference, (segment, part["item"]), 1)
        np.subtract.at(difference, segment, p)
        np.add.at(variance, segment, p * (1 - p))
    assert np.abs(difference / variance**0.5).max() < 4.5


@pytest.mark.parametrize("minority", [False, True])
def test_each_group_is_explored_on_as_said(world, shown, minority):
    """With p = e / n + (1 − e) · m, the score of e is (1 / n − m) / p: its mean is 0 if e is right, and δ · E score² if e is off by δ."""
    own = shown[world.truth.minority[shown["user"]] == minority]
    on_offer = (world.truth.first_period <= np.arange(PERIODS)[:, None]).sum(1)[world.truth.period(own["timestamp"])]
    e, p = 0.2 + 0.8 * 0.6 * minority, own["propensity"].to_numpy()
    score = (1 / on_offer - (p - e / on_offer) / (1 - e)) / p
    assert abs(score.mean()) < 4 * (score**2).mean() ** 0.5 / len(own) ** 0.5


def test_active_people_come_more_often(world, shown):
    """Sessions go to people by their activity: a binomial for each tenth of them."""
    truth, sessions = world.truth, shown.drop_duplicates("session_id")
    tenth = truth.activity.argsort().argsort() * 10 // 2000
    for part in range(10):
        p = truth.activity[tenth == part].sum()
        assert (tenth[sessions["user"]] == part).mean() == pytest.approx(p, abs=4 * (p * (1 - p) / len(sessions)) ** 0.5)
    assert truth.activity[tenth == 9].sum() > 0.3  # log-normal of deviation 1: the top tenth has Φ(1 − 1.28) = 0.39


# What people did


def test_clicks_come_at_the_rate_of_examination_times_preference(world, shown):
    """In each tenth of the impressions by expected rate; the clicks are independent given what was shown, so Var = Σ p (1 − p)."""
    preference = world.truth.preference(shown["user"].to_numpy(), shown["item"].to_numpy(), shown["timestamp"].to_numpy())
    p = preference * world.truth.examination(shown["position"])
    assert ((p > 0) & (p < 1)).all()
    tenth = np.argsort(np.argsort(p)) * 10 // len(p)
    z = [(shown["clicked"] - p)[tenth == t].sum() / (p * (1 - p))[tenth == t].sum() ** 0.5 for t in range(10)]
    assert np.abs(z).max() < 4


def test_what_follows_comes_at_its_rate(world, log, shown):
    """Likes, purchases and hides against the sum of their probabilities; Var = Σ p (1 − p)."""
    truth, c = world.truth, world.config
    preference = truth.preference(shown["user"].to_numpy(), shown["item"].to_numpy(), shown["timestamp"].to_numpy())
    clicked, looks = shown["clicked"] == 1, truth.examination(shown["position"])
    chances = {
        "like": c.like * preference[clicked],
        "purchase": c.purchase * preference[clicked],
        "hide": looks * (1 - preference) * c.hide * (1 - preference),
    }
    for kind, p in chances.items():
        assert abs((log["event"] == kind).sum() - p.sum()) < 4 * (p * (1 - p)).sum() ** 0.5, kind


def test_dwell_is_in_proportion_to_liking(world, log):
    """Seconds / (dwell · (½ + preference)) is log-normal of median 1 and deviation 0.8; the cap of half an hour is out of reach here."""
    dwells = log[log["event"] == "dwell"]
    preference = world.truth.preference(code(dwells["user_id"]), code(dwells["item_id"]), dwells["timestamp"].to_numpy())
    z = np.log(dwells["value"] / (world.config.dwell * (0.5 + preference))) / 0.8
    error = 1 / len(z) ** 0.5
    assert z.mean() == pytest.approx(0, abs=4 * error)
    assert z.std() == pytest.approx(1, abs=4 * error / 2**0.5)
    assert abs(np.corrcoef(z, preference)[0, 1]) < 4 * error


def test_an_irrelevant_item_of_mean_appeal_is_clicked_at_the_click_rate():
    truth = World(replace(SMALL, taste=0.0, drift=0.0, click_rate=0.07)).truth
    preference = truth.preference(np.zeros(40, dtype=int), np.arange(40), SMALL.first_moment)
    assert np.log(preference / (1 - preference)).mean() == pytest.approx(np.log(0.07 / 0.93))


def test_position_bias_is_found_again(shown):
    """A slot's items don't depend on its position, so clicks at slot k are k^−0.7 times those at slot 1; log ratio of two binomials."""
    clicks = shown.groupby("position")["clicked"].sum()
    for position in range(2, 6):
        error = (1 / clicks[1] + 1 / clicks[position]) ** 0.5
        assert np.log(clicks[position] / clicks[1]) == pytest.approx(-0.7 * np.log(position), abs=4 * error)


@pytest.mark.parametrize("name", ["uniform", "greedy", "fair"])
def test_weighting_by_propensities_finds_the_value_of_another_policy(world, shown, name):
    """Mean of clicked · target / propensity: unbiased for the clicks per impression that the target policy would have had."""
    truth, policy = world.truth, getattr(world.truth, name)
    users, items, times = (shown[column].to_numpy() for column in ("user", "item", "timestamp"))
    people, place = np.unique(users, return_inverse=True)
    target = np.zeros(len(shown))
    for period in range(PERIODS):
        at = truth.period(times) == period
        target[at] = policy(people, times[at][0])[place[at], items[at]]
    weighted = shown["clicked"] * target / shown["propensity"]
    asked = requests(shown)
    known = truth.value(policy, asked["user"].to_numpy(), asked["timestamp"].to_numpy()).mean() / 5
    error = weighted.std() / len(weighted) ** 0.5
    assert weighted.mean() == pytest.approx(known, abs=4 * error)
    assert error < 0.15 * known  # or the bound above would say nothing
    if name != "fair":  # the logs' own rate is not the answer
        assert abs(shown["clicked"].mean() - known) > 8 * error


def test_better_policies_are_worth_more_and_a_value_is_a_sum(world):
    truth, time = world.truth, world.config.first_moment
    people = np.arange(200)
    times = np.full(200, time)
    greedy, fair, logging, uniform = (
        truth.value(policy, people, times) for policy in (truth.greedy, truth.fair, truth.propensities, truth.uniform)
    )
    assert (greedy >= np.maximum(fair, uniform)).all()
    assert fair.mean() > logging.mean() > uniform.mean()
    liking = truth.preference(np.zeros(60, dtype=int), np.arange(60), time)[~truth.cold]
    looks = 1 + 2**-0.7 + 3**-0.7 + 4**-0.7 + 5**-0.7
    assert uniform[0] == pytest.approx(liking.sum() / 54 * looks)  # 6 of 60 are not out yet
    assert greedy[0] == pytest.approx(liking.max() * looks)


def gap_in_the_log(world):
    """Majority minus minority, in clicks per impression, and its standard error with people as the unit (a ratio of means each)."""
    shown = impressions(world.frame())
    people = shown.groupby("user")["clicked"].agg(["sum", "size"])
    rates, variances = [], []
    for group in (False, True):
        own = people[world.truth.minority[people.index] == group]
        rates.append(own["sum"].sum() / own["size"].sum())
        residual = own["sum"] - rates[-1] * own["size"]
        variances.append((residual**2).sum() / own["size"].sum() ** 2)
    return rates[0] - rates[1], sum(variances) ** 0.5


@pytest.mark.parametrize("unfairness", [0.0, 0.9])
def test_the_planted_gap_is_found_again_and_is_zero_without_unfairness(unfairness):
    world = World(WorldConfig(n_users=3000, n_items=100, n_requests=40_000, group_share=0.4, unfairness=unfairness, taste=3.0))
    planted = world.truth.planted_gap(people=1200)  # all of them
    found, error = gap_in_the_log(world)
    assert found == pytest.approx(planted, abs=3 * error)
    if unfairness:
        assert planted > 6 * error  # a gap that nobody could miss
    else:
        assert planted == 0


def test_the_planted_gap_is_the_share_of_matched_shows_lost():
    """fair − served = (1 − explore) · unfairness · (matched − uniform), so it grows in proportion to unfairness."""
    gaps = [World(replace(SMALL, unfairness=share)).truth.planted_gap() for share in (0.25, 0.5, 1.0)]
    assert gaps[1] == pytest.approx(2 * gaps[0])
    assert gaps[2] == pytest.approx(4 * gaps[0])


def test_drift_moves_what_is_shown_and_none_is_none():
    """X² of two samples, the shows in the first and the last quarter; without drift its mean is 99, its deviation √(2 · 99)."""
    found = {}
    for drift in (0.0, 1.0):
        world = World(WorldConfig(n_items=100, n_requests=20_000, cold_items=0.0, drift=drift, segments=1, explore=0.5, unfairness=0.0))
        shown = impressions(world.frame())
        period = world.truth.period(shown["timestamp"])
        early, late = (np.bincount(shown["item"][at], minlength=100) for at in (period < 4, period >= 12))
        n, m = early.sum(), late.sum()
        found[drift] = ((early * (m / n) ** 0.5 - late * (n / m) ** 0.5) ** 2 / (early + late)).sum()
    assert abs(found[0.0] - 99) < 4 * (2 * 99) ** 0.5
    assert found[1.0] > 99 + 20 * (2 * 99) ** 0.5


def test_drift_moves_taste_by_its_own_size():
    """Log-odds from the middle of the first period to that of the last, 15/16 of the span: a deviation over items of 15/16 · drift."""
    world = World(WorldConfig(n_items=20_000, drift=0.8))
    c, items = world.config, np.arange(20_000)
    early, late = (world.truth.preference(np.zeros_like(items), items, time) for time in (c.first_moment, c.first_moment + c.span - 1))
    moved = np.log(late / (1 - late)) - np.log(early / (1 - early))
    assert moved.std() == pytest.approx(15 / 16 * 0.8, rel=4 / (2 * 20_000) ** 0.5)  # a deviation's relative error is 1 / √(2n)


# What cannot be asked for


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_users", 1),
        ("n_items", 2.5),
        ("n_requests", 0),
        ("slots", True),
        ("slots", 101),
        ("explore", 0.0),
        ("explore", 1.1),
        ("taste", "2"),
        ("taste", float("nan")),
        ("click_rate", 1),
        ("group_share", 0.6),
        ("unfairness", -0.1),
        ("cold_items", 1.0),
        ("seed", -1),
        ("start", "next week"),
        ("start", "1066-10-14"),
        ("start", 2024),
    ],
)
def test_a_bad_value_is_named_in_one_line(name, value):
    with pytest.raises(RequestError) as error:
        WorldConfig(**{name: value})
    assert str(error.value).startswith(f"{name} = {value!r} is not ")
    assert "\n" not in str(error.value)


def test_other_bad_requests(tmp_path):
    with pytest.raises(RequestError, match="rows = 99 is not"):
        World.sized(99)
    with pytest.raises(RequestError, match="rows = 0 is not"):
        next(World(SMALL).chunks(0))
    with pytest.raises(RequestError, match='no format "parket"'):
        World(SMALL).write(tmp_path, format="parket")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "extreme",
    [
        {"n_users": 2, "n_items": 2, "n_requests": 1, "slots": 1, "cold_items": 0.9, "segments": 1, "dimensions": 1},
        {"explore": 1.0, "skew": 3.0, "drift": 10.0, "taste": 10.0},
        {"slots": 100, "unfairness": 1.0, "position_bias": 3.0, "activity": 3.0},
        {"segments": 1000, "click_rate": 0.999, "like": 1.0, "purchase": 1.0, "hide": 1.0},
    ],
)
def test_the_ends_of_the_ranges_work(extreme):
    world = World(replace(SMALL, **extreme))
    log = world.frame()
    assert (log["event"] == "impression").sum() == world.config.n_requests * world.config.slots
    assert log["propensity"].between(0, 1, inclusive="right").all()
    assert log["timestamp"].is_monotonic_increasing
    assert 0 <= world.truth.planted_gap() < 1
    assert repr(world).startswith("World(")
