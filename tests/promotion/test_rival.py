"""Whom a challenger meets: the champion's bundle on both parts, or the baseline that validation chose."""

import pytest
import torch

from tests.serving.made import made_data
from workbench.errors import WorkError
from workbench.promotion import enter, make_spec, on_validation, strongest, train_system, write_bundle
from workbench.promotion.rival import champion_of, on_test
from workbench.promotion.system import moments_of
from workbench.serving.registry import Registry

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # MLflow's own
KS, METRIC = (5,), "ndcg@5"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return made_data(tmp_path_factory.mktemp("rival"))


@pytest.fixture
def champion(data, tmp_path, monkeypatch):
    """`champion(refit)`: recent popularity, promoted in a project of its own."""
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def promoted(parts):
        system = train_system(make_spec("recent_popularity", k=5), data, parts).late
        write_bundle(tmp_path / "made", system, data, parts, surface="home")
        Registry().promote(tmp_path / "made", "small", "home", {"system": system.title})
        return champion_of(data, "home")

    return promoted


@pytest.fixture(scope="module")
def contest(data):
    parts = data.split("user_time", seed=0)
    entry = enter(make_spec("item_knn", k=5), data, parts, KS)
    return parts, entry, strongest("popularity, recent_popularity", entry, data, parts, KS, METRIC, k=5)


def test_without_a_champion_it_is_the_baseline_on_both_parts(data, contest, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    parts, entry, baseline = contest
    assert champion_of(data, "home") is None
    assert on_validation(entry, baseline, None, parts, KS) is baseline.valid
    found, name = on_test(baseline, None, data, parts, KS)
    assert found.title == baseline.trained.late.title
    assert name == f"{found.title} (the baseline that validation chose)"


def test_a_champion_is_asked_through_its_bundle_and_answers_as_what_it_was_made_of(data, contest, champion):
    parts, entry, baseline = contest
    holder = champion(parts)
    assert holder.version.number == 1
    assert holder.title == "the champion, version 1 (recent_popularity)"
    system = train_system(make_spec("recent_popularity", k=5), data, parts).early
    early = on_validation(entry, baseline, holder, parts, KS)
    late, name = on_test(baseline, holder, data, parts, KS)
    assert name == holder.title
    assert (early.model, late.model) == ("champion", "champion")
    for part, found, holdout in (("valid", early, entry.trained.valid), ("test", late, parts.holdout("test"))):
        expected = system.evaluate(holdout, moments_of(parts, part, holdout), data, name="expected", ks=KS)
        assert found.users.tolist() == expected.users.tolist()
        torch.testing.assert_close(found.values(METRIC), expected.values(METRIC), rtol=0, atol=1e-12)


def test_one_that_learnt_from_validation_says_nothing_of_how_much_people_differ_there(data, contest, champion):
    """It would seem better than it is, and further from the challenger."""
    parts, entry, baseline = contest
    both = champion(data.split("user_time", seed=0, refit="train+valid"))
    assert both.knew(parts)
    assert on_validation(entry, baseline, both, parts, KS) is baseline.valid
    assert not isinstance(on_test(baseline, both, data, parts, KS)[0], str)


def test_one_that_learnt_from_what_is_judged_is_no_rival_and_says_why(data, contest, champion):
    later = champion(data.split("leave_last_n", seed=0, refit="train+valid"))
    found, name = on_test(contest[2], later, data, contest[0], KS)
    assert isinstance(found, str)
    assert "events that the champion learnt from are judged here" in found
    assert name == later.title


def test_a_champion_whose_bundle_was_changed_stops_the_page_before_anything_is_trained(data, contest, champion):
    holder = champion(contest[0])
    (holder.version.folder / "items.parquet").write_bytes(b"other")
    with pytest.raises(WorkError, match=r"items.parquet hashes to "):
        champion_of(data, "home")
