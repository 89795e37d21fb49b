"""Each model against its definition, computed another way."""

from math import sqrt

import numpy as np
import pytest
import torch

from workbench.errors import RequestError, WorkError
from workbench.models import MODELS, create, grid, parse_names
from workbench.testing import interactions, latent_log

PAIRS = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0), (3, 2)]


@pytest.fixture
def log():
    return interactions(PAIRS, 4, 4)


def scores(model, log):
    return model.score(log.batch(torch.arange(log.n_users)))


def test_popularity_counts_every_event_once(log):
    twice = interactions([*PAIRS, (3, 2)], 4, 4)
    assert scores(create("popularity").fit(log), log)[0].tolist() == [3, 2, 2, 0]
    assert scores(create("popularity").fit(twice), log)[3].tolist() == [3, 2, 3, 0]


def test_item_knn_is_the_cosine_of_the_sets_of_people(log):
    similar = scores(create("item_knn").fit(log), log)[3]  # this person has item 2 alone
    assert similar.tolist() == pytest.approx([1 / sqrt(3 * 2), 1 / sqrt(2 * 2), 0, 0], abs=1e-6)


def test_item_knn_adds_up_over_the_history_and_shrinks(log):
    zero_one, zero_two, one_two = 2 / (sqrt(3 * 2) + 1), 1 / (sqrt(3 * 2) + 1), 1 / (2 + 1)
    shrunk = scores(create("item_knn", shrink=1.0).fit(log), log)[0]  # items 0 and 1
    assert shrunk.tolist() == pytest.approx([zero_one, zero_one, zero_two + one_two, 0], abs=1e-6)


def test_item_knn_keeps_the_nearest_neighbours_only(log):
    nearest = scores(create("item_knn", k=1).fit(log), log)[3]
    assert nearest.tolist() == pytest.approx([0, 0, 0, 0])  # nobody's nearest is item 2: of 0 it is 1, of 1 it is 0
    both = scores(create("item_knn", k=2).fit(log), log)[3]
    assert (both > 0).tolist() == [True, True, False, False]


def test_ease_solves_each_items_ridge_regression_without_itself():
    train, _ = latent_log(n_users=50, n_items=12, events_each=5)
    x, l2 = train.csr().toarray().astype(float), 3.0
    weights = np.zeros((12, 12))
    for item in range(12):
        others = [i for i in range(12) if i != item]
        a = x[:, others]
        weights[others, item] = np.linalg.solve(a.T @ a + l2 * np.eye(11), a.T @ x[:, item])
    ours = create("ease", l2=l2).fit(train)
    np.testing.assert_allclose(scores(ours, train).numpy(), x @ weights, atol=1e-5)


def test_random_is_uniform_and_differs_by_person_and_seed():
    train = interactions([], 300, 400)
    zero, one = (scores(create("random", seed=seed).fit(train), train) for seed in (0, 1))
    assert abs(np.quantile(zero.numpy(), [0.1, 0.5, 0.9]) - [0.1, 0.5, 0.9]).max() < 0.01
    for x, y in ((zero, one), (zero[:-1], zero[1:]), (zero[:, :-1], zero[:, 1:])):
        assert abs(np.corrcoef(x.ravel(), y.ravel())[0, 1]) < 0.02
    assert 0 <= zero.min() <= zero.max() < 1


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("eese", {}, 'there is no model "eese". Did you mean "ease"?'),
        ("ease", {"l3": 1}, 'there is no setting of ease "l3". Did you mean "l2"?'),
        ("ease", {"l2": "many"}, "ease: l2 = 'many': input should be a valid number"),
        ("ease", {"l2": 0}, "ease: l2 = 0: input should be greater than 0."),
        ("item_knn", {"k": 0}, "item_knn: k = 0: input should be greater than or equal to 1."),
        ("item_knn", {"k": 2.5}, "item_knn: k = 2.5: input should be a valid integer"),
    ],
)
def test_a_wrong_model_or_setting_is_one_line_with_the_mend(name, settings, message):
    with pytest.raises(RequestError) as caught:
        create(name, **settings)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", " , ", "ease, ease"])
def test_a_list_of_models_names_each_once(text):
    with pytest.raises(RequestError, match="should name each model once"):
        parse_names(text)


def test_names_are_read_from_text():
    assert parse_names(" ease,popularity ,random") == ["ease", "popularity", "random"]
    with pytest.raises(RequestError, match='Did you mean "item_knn"'):
        parse_names("ease, itemknn")


@pytest.mark.parametrize("name", MODELS)
def test_every_setting_of_a_grid_can_be_created(name):
    for setting, values in grid(name).items():
        for value in values:
            create(name, **{setting: value})
    assert MODELS[name][0].title, "a name for readers"


def test_a_flipped_byte_in_a_saved_model_is_found(log, tmp_path):
    create("ease").fit(log).save(tmp_path)
    weights = tmp_path / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(WorkError, match=r"is damaged: settings and weights hash to [0-9a-f]{12}…, model.json says [0-9a-f]{12}…"):
        MODELS["ease"][0].load(tmp_path)


@pytest.mark.parametrize(("written", "flipped"), [('"heads": 2', '"heads": 0'), ('"layers": 1', '"layers": 3'), ('"sasrec"', '"sasreb"')])
def test_a_flipped_bit_in_the_settings_of_a_saved_model_is_found(log, tmp_path, written, flipped):
    """Any of them would load, or end in a trace: a model of other settings than its weights were learnt with."""
    create("sasrec", epochs=1, layers=1, dimensions=8).fit(log).save(tmp_path)
    text = (tmp_path / "model.json").read_text()
    assert text.count(written) == 1
    (tmp_path / "model.json").write_text(text.replace(written, flipped))
    with pytest.raises(WorkError, match=r"is damaged: settings and weights hash to"):
        MODELS["sasrec"][0].load(tmp_path)


def test_true_is_no_number():
    with pytest.raises(RequestError, match=r"sasrec: dimensions = True: input should be a number or a text\."):
        create("sasrec", dimensions=True)
    assert create("sasrec", whole=False).config.whole is False


def test_a_model_of_another_kind_or_none_is_refused(log, tmp_path):
    create("ease").fit(log).save(tmp_path)
    with pytest.raises(WorkError, match='holds the model "ease", not "item_knn"'):
        MODELS["item_knn"][0].load(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(WorkError, match="holds no readable model"):
        MODELS["ease"][0].load(tmp_path)
