"""What every ranker promises: it learns, says the same again, is there after saving, and tells what it cannot take."""

import json
import math
import subprocess
import sys

import pytest
import torch
from torch import tensor

from tests.conftest import ROOT
from tests.ranking.made import COLOURS, frame, learnable, made
from workbench.errors import NotApplicable, RequestError, WorkError
from workbench.evaluation.pairs import auc
from workbench.ranking import RANKERS, Trees, TreesConfig, create_ranker
from workbench.ranking.inputs import Inputs

QUICK = {
    "trees": {"rounds": 30, "least": 20, "learning_rate": 0.15},
    "log_loss_trees": {"rounds": 30, "least": 20, "learning_rate": 0.15},
    **{
        name: {"epochs": 3, "batch_size": 16, "learning_rate": 0.01}
        for name in ("deepfm", "dcnv2", "autoint", "multi_task", "shared_bottom")
    },
}
NAMES = tuple(QUICK)
FILES = {name: ("ranker.json", "trees.txt" if "trees" in name else "weights.safetensors") for name in NAMES}
TRAIN, VALID, TEST = (learnable(n, seed=seed) for n, seed in ((150, 0), (40, 1), (150, 2)))
TIES = torch.randperm(40, generator=torch.Generator().manual_seed(3))
_FITTED = {}


def fitted(name):
    """Each is trained once."""
    if name not in _FITTED:
        _FITTED[name] = create_ranker(name, **QUICK[name]).fit(TRAIN, VALID, TIES)
    return _FITTED[name]


def like(examples, **columns):
    """The examples with other values in these columns."""
    told = {name: columns.get(name, examples.features.column(name)) for name in ("taste", "noise", "gap", "colour")}
    return examples.with_values(frame(told, {"colour": COLOURS}))


def test_every_ranker_is_tested():
    assert set(NAMES) == set(RANKERS)


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_what_is_to_be_learnt(name):
    scores = fitted(name).score(TEST)
    assert scores.shape == TEST.items.shape
    assert scores.dtype == torch.float64
    at_random = TEST.ndcg(torch.rand(len(scores), generator=torch.Generator().manual_seed(0)), TIES, 10).nanmean()
    assert TEST.ndcg(scores, TIES, 10).nanmean() > at_random + 0.2
    assert auc(scores, TEST.label) > 0.75


@pytest.mark.parametrize("name", NAMES)
def test_one_saved_and_loaded_scores_the_same(name, tmp_path):
    ranker = fitted(name)
    ranker.save(tmp_path / "ranker")
    again = type(ranker).load(tmp_path / "ranker")
    assert torch.equal(again.score(TEST), ranker.score(TEST))
    assert (again.title, again.config) == (ranker.title, ranker.config)
    again.save(tmp_path / "twice")
    assert torch.equal(type(ranker).load(tmp_path / "twice").score(TEST), ranker.score(TEST))


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_decides(name):
    settings = {"rounds": 5, "columns": 0.5} if "trees" in name else {"epochs": 1}
    some = TRAIN.select(torch.arange(40))

    def scores(seed):
        torch.rand(3)  # whatever others drew
        return create_ranker(name, **{**QUICK[name], **settings}, seed=seed).fit(some).score(TEST)

    assert torch.equal(scores(1), scores(1))
    assert not torch.equal(scores(1), scores(2))


@pytest.mark.parametrize("name", NAMES)
def test_a_candidate_is_scored_by_itself(name):
    rows = tensor([7, 3])
    alone = fitted(name).score(TEST.select(rows))
    whole = fitted(name).score(TEST)
    torch.testing.assert_close(alone, torch.cat([whole[TEST.rows == row] for row in rows.tolist()]), rtol=1e-5, atol=1e-5)
    assert fitted(name).score(TEST.select(tensor([], dtype=torch.int64))).shape == (0,)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_known_by_itself_and_not_by_its_code(name):
    """The same colours, numbered among others."""
    names = ("aubergine", "blue", "green", "mauve", "red", "violet")
    codes = tensor([names.index(COLOURS[int(code)]) for code in TEST.features.column("colour")])
    told = {each: TEST.features.column(each) for each in ("taste", "noise", "gap")}
    renamed = TEST.with_values(frame({"colour": codes, **told}, {"colour": names}))
    assert torch.equal(fitted(name).score(renamed), fitted(name).score(TEST))
    unheard = TEST.with_values(frame({"colour": torch.full_like(codes, 3), **told}, {"colour": names}))
    nothing = like(TEST, colour=torch.full((len(codes),), math.nan))
    assert fitted(name).score(unheard).isfinite().all()
    assert torch.equal(fitted(name).score(unheard), fitted(name).score(nothing))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("missing", ["taste", "gap"])
def test_what_is_missing_is_no_trouble_whether_it_was_in_training_or_not(name, missing):
    found = fitted(name).score(like(TEST, **{missing: torch.full((len(TEST.items),), math.nan)}))
    assert found.isfinite().all()
    if missing == "gap":
        assert auc(found, TEST.label) > 0.7


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [1e12, -1e12])
def test_a_number_far_beyond_training_gives_a_score(name, value):
    assert fitted(name).score(like(TEST, taste=torch.full((len(TEST.items),), value))).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_an_infinite_or_absent_feature_is_told_by_name(name):
    values = TEST.features.column("taste").clone()
    values[5] = -math.inf
    with pytest.raises(RequestError, match=r"the feature taste is -inf in row 5; NaN is for what is not there"):
        fitted(name).score(like(TEST, taste=values))
    broken = TRAIN.features.column("noise").clone()
    broken[0] = math.inf
    with pytest.raises(RequestError, match="the feature noise is inf in row 0"):
        create_ranker(name).fit(like(TRAIN, noise=broken))
    with pytest.raises(RequestError, match=r"feature .*taste"):
        fitted(name).score(TEST.with_features(["noise", "gap", "colour"]))


@pytest.mark.parametrize("name", NAMES)
def test_features_may_stand_in_any_order_and_among_others(name):
    told = {each: TEST.features.column(each) for each in ("colour", "gap", "noise", "taste")} | {"more": torch.zeros(len(TEST.items))}
    assert torch.equal(fitted(name).score(TEST.with_values(frame(told, {"colour": COLOURS}))), fitted(name).score(TEST))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_to_learn_from_is_told(name):
    with pytest.raises(NotApplicable, match="a ranker needs some that are and some that are not"):
        create_ranker(name).fit(made([[1, 2], [3]], [[True, True], [True]]))
    with pytest.raises(NotApplicable, match="there are no candidates to learn from"):
        create_ranker(name).fit(made([[], []]))


@pytest.mark.parametrize("name", NAMES)
def test_requests_without_candidates_are_in_nobodys_way(name):
    """First, last and in the middle, in training and in validation."""
    some = TRAIN.select(torch.arange(30))
    lengths = some.offsets.diff()
    padded = type(some)(
        **{
            **{key: value for key, value in vars(some).items() if key != "rows"},
            "users": torch.arange(33),
            "moments": torch.zeros(33, dtype=torch.int64),
            "n_relevant": torch.cat([some.n_relevant[:1] * 0, some.n_relevant[:15], tensor([0]), some.n_relevant[15:], tensor([2])]),
            "offsets": torch.cat(
                [
                    tensor([0, 0]),
                    lengths[:15].cumsum(0),
                    lengths[:15].sum()[None],
                    lengths[:15].sum() + lengths[15:].cumsum(0),
                    lengths.sum()[None],
                ]
            ),
        }
    )
    settings = {"rounds": 5, "patience": 0} if "trees" in name else {"epochs": 1, "dropout": 0.0}
    ranker, wanted = (create_ranker(name, **{**QUICK[name], **settings}).fit(each) for each in (padded, some))
    assert torch.equal(ranker.score(padded), wanted.score(some))
    create_ranker(name, **{**QUICK[name], **settings}).fit(some, padded, TIES)


@pytest.mark.parametrize("name", ["trees", "multi_task", "deepfm"])
@pytest.mark.parametrize("damage", ["lost", "empty", "other"])
def test_damaged_files_are_told(name, damage, tmp_path):
    ranker = fitted(name)
    for file in FILES[name]:
        ranker.save(tmp_path / "ranker")
        path = tmp_path / "ranker" / file
        path.unlink()
        if damage != "lost":
            path.write_bytes({"empty": b"", "other": b'{"ranker": "tree", "config": 7}'}[damage])
        with pytest.raises(WorkError, match=r"ranker"):
            type(ranker).load(tmp_path / "ranker")


@pytest.mark.parametrize("name", ["multi_task", "deepfm"])
def test_files_cut_short_are_told(name, tmp_path):
    ranker = fitted(name)
    for file in FILES[name]:
        ranker.save(tmp_path)
        content = (tmp_path / file).read_bytes()
        for length in (1, len(content) // 4, len(content) // 2, len(content) - 3):
            (tmp_path / file).write_bytes(content[:length])
            with pytest.raises(WorkError, match="cannot be read"):
                type(ranker).load(tmp_path)


LOAD = """
import sys
from pathlib import Path
from workbench.errors import WorkError
from workbench.ranking import Trees
for folder in sys.argv[1:]:
    try:
        Trees.load(Path(folder))
    except WorkError:
        print(folder + " told")
"""


def test_trees_cut_short_are_told(tmp_path):
    """In a process of its own, which LightGBM may end."""
    folders = [tmp_path / str(share) for share in (0.9, 0.25, 0.5)]
    for folder in folders:
        fitted("trees").save(folder)
        content = (folder / "trees.txt").read_bytes()
        (folder / "trees.txt").write_bytes(content[: int(len(content) * float(folder.name))])
    command = [sys.executable, "-c", LOAD, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, cwd=ROOT)
    assert done.returncode == 0
    assert [f"{folder} told" in done.stdout for folder in folders] == [True, True, True]


@pytest.mark.parametrize("name", ["trees", "multi_task", "deepfm"])
@pytest.mark.parametrize("told", ["[]", "7", "null", "{}"])
def test_what_describes_no_ranker_is_told(name, told, tmp_path):
    fitted(name).save(tmp_path)
    (tmp_path / "ranker.json").write_text(told)
    with pytest.raises(WorkError, match=r"the ranker in .* cannot be read"):
        type(fitted(name)).load(tmp_path)


def test_a_ranker_of_another_kind_is_told(tmp_path):
    fitted("multi_task").save(tmp_path / "multi")
    fitted("trees").save(tmp_path / "trees")
    with pytest.raises(WorkError):
        Trees.load(tmp_path / "multi")
    with pytest.raises(WorkError):
        type(fitted("deepfm")).load(tmp_path / "multi")
    told = json.loads((tmp_path / "trees" / "ranker.json").read_text())
    (tmp_path / "trees" / "ranker.json").write_text(json.dumps({**told, "ranker": "forest"}))
    with pytest.raises(WorkError, match="trees holds forest, not trees"):
        Trees.load(tmp_path / "trees")


@pytest.mark.parametrize("loss", ["pairwise", "pointwise", "listwise"])
def test_what_features_contribute_adds_up_to_the_score(loss):
    ranker = Trees(TreesConfig(loss=loss, rounds=20, least=20, learning_rate=0.2)).fit(TRAIN, VALID, TIES)
    some = TEST.select(torch.arange(20))
    found = ranker.contributions(some)
    assert found.shape == (len(some.items), 5)
    torch.testing.assert_close(found.sum(1), ranker.score(some), rtol=1e-9, atol=1e-9)
    assert (found[:, -1] == found[0, -1]).all()
    assert ranker.names == ("taste", "noise", "gap", "colour")
    by_size = found[:, :-1].abs().mean(0)
    assert by_size[0] > by_size[1], "taste says more than noise"
    gains = ranker.gains()
    assert sum(gains.values()) == pytest.approx(1)
    assert max(gains, key=gains.get) == "taste"


def test_trees_take_the_best_round_on_validation():
    ranker = Trees(TreesConfig(rounds=60, patience=5, least=20, learning_rate=0.3)).fit(TRAIN, VALID, TIES)
    values = []
    for rounds in range(1, 61):
        scores = torch.from_numpy(ranker.booster.predict(ranker._matrix(VALID.features), raw_score=True, num_iteration=rounds))
        values.append(VALID.ndcg(scores, TIES, 10).nanmean().item())
        if rounds == ranker.booster.current_iteration():
            break
    assert ranker.best_round == max(range(len(values)), key=lambda place: values[place]) + 1
    assert VALID.ndcg(ranker.score(VALID), TIES, 10).nanmean().item() == pytest.approx(max(values))


@pytest.mark.parametrize("name", ["trees", "log_loss_trees", "multi_task", "deepfm"])
def test_weights_have_a_say(name):
    """Of two halves that contradict each other the one that counts a thousand times more wins."""
    n, rng = 120, torch.Generator().manual_seed(4)
    x = torch.randn(n, 8, generator=rng, dtype=torch.float64)
    first = (torch.arange(n) % 2 == 0)[:, None].expand(n, 8)
    labels = torch.where(first, x > 0, x < 0)
    for heavy, sign in ((first, 1), (~first, -1)):
        weights = torch.where(heavy, 1.0, 1e-3).flatten().double()
        examples = made([list(range(8))] * n, labels.tolist(), features=frame({"x": x.flatten()}), weights=weights)
        ranker = create_ranker(name, **QUICK[name] | ({"l2": 0.01, "least": 5} if "trees" in name else {})).fit(examples)
        high, low = ranker.score(made([[1, 2]], features=frame({"x": [1.5, -1.5]})))
        assert sign * (high - low) > 0.1


def test_numbers_are_of_one_size_and_what_is_missing_has_a_mark():
    told = frame(
        {"count": [0, 10, 1000, 1e6], "gap": [1, math.nan, 2, 3], "same": [7] * 4, "never": [math.nan] * 4, "c": [0, 2, 2, math.nan]},
        {"c": COLOURS},
    )
    inputs = Inputs.of(told)
    assert inputs.numbers == ("count", "gap")
    assert inputs.missing == ("gap",)
    assert inputs.categories == {"c": ("blue", "red")}
    assert (inputs.width, inputs.sizes) == (3, [3])
    numbers, codes = inputs.encoded(told)
    assert codes[:, 0].tolist() == [1, 2, 2, 0]
    assert numbers[:, 2].tolist() == [0, 1, 0, 0]
    squashed = tensor([math.log1p(each) for each in (0, 10, 1000, 1e6)], dtype=torch.float64)
    torch.testing.assert_close(numbers[:, 0].double(), (squashed - squashed.mean()) / squashed.std(correction=0), rtol=1e-5, atol=1e-6)
    assert numbers[1, 1] == 0, "the mean stands for what is missing"
    far = inputs.encoded(frame({"count": [1e300, -1e300], "gap": [0, 0], "c": [0, 0]}, {"c": ("green",)}))
    assert far[0][:, 0].tolist() == [5, -5]
    assert far[1][:, 0].tolist() == [0, 0]


def test_features_that_say_nothing_leave_rankers_something():
    """All numbers are the same everywhere; there is one category."""
    n, rng = 60, torch.Generator().manual_seed(5)
    code = torch.randint(3, (n * 6,), generator=rng)
    labels = ((code == 2) ^ (torch.rand(n * 6, generator=rng) < 0.1)).view(n, 6).tolist()
    examples = made([list(range(6))] * n, labels, features=frame({"same": torch.ones(n * 6), "colour": code}, {"colour": COLOURS}))
    for name in NAMES:
        assert auc(create_ranker(name, **QUICK[name]).fit(examples).score(examples), examples.label) > 0.8, name
