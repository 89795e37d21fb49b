"""RecBole's supported models pass the contract that ours pass; the others train a step and score."""

import pytest
import torch

from workbench.data import Side
from workbench.errors import NotApplicable
from workbench.models import create, fit
from workbench.models.recbole import FAMILY, IMPOSSIBLE, SUPPORTED
from workbench.testing import check_recommender, latent_log

PAIRS = {"epochs": 30, "learning_rate": 0.02, "batch_size": 512}
ROWS = {"epochs": 8, "learning_rate": 0.01, "batch_size": 256, "length": 10, "inner_size": 32, "n_layers": 1}
FIELDS = {"epochs": 15, "learning_rate": 0.01, "batch_size": 256}
SMALL = {"mlp_hidden_size": (32,)}
SETTINGS = {
    "BPR": PAIRS,
    "NeuMF": PAIRS,
    "LightGCN": PAIRS,
    "SGL": PAIRS | {"epochs": 15, "n_layers": 2},
    "SimpleX": PAIRS | {"negatives": 2},
    "MultiVAE": {"epochs": 60, "learning_rate": 0.01, "batch_size": 64, "mlp_hidden_size": (64,), "latent_dimension": 64},
    "RecVAE": {"epochs": 30, "learning_rate": 0.01, "batch_size": 64, "hidden_dimension": 32, "latent_dimension": 32},
    "SLIMElastic": {"alpha": 0.01},
    "NGCF": PAIRS | {"epochs": 20},
    "GRU4Rec": {"epochs": 20, "learning_rate": 0.01, "batch_size": 16, "length": 20, "embedding_size": 16, "hidden_size": 32},
    "NARM": {"epochs": 10, "learning_rate": 0.01, "batch_size": 128, "length": 10, "embedding_size": 16, "hidden_size": 16},
    "SASRec": {"epochs": 30, "learning_rate": 0.01, "batch_size": 16, "length": 20, "hidden_size": 16, "inner_size": 32},
    "BERT4Rec": {"epochs": 80, "learning_rate": 0.01, "batch_size": 32, "length": 25, "hidden_size": 32, "inner_size": 64},
    "LightSANs": ROWS | {"hidden_size": 16},
    "CORE": ROWS | {"embedding_size": 16},
    "FM": FIELDS | {"epochs": 30, "learning_rate": 0.02},
    "DeepFM": FIELDS,
    "xDeepFM": FIELDS | {"epochs": 20, "cin_layer_size": (16,), "mlp_hidden_size": (64,), "reg_weight": 0.0, "dropout_prob": 0.0},
    "DCNV2": FIELDS | SMALL | {"reg_weight": 0.0},
    "AutoInt": FIELDS | SMALL | {"n_layers": 1},
    "WideDeep": FIELDS | {"epochs": 25},
}
SETTINGS["SASRec"] |= {"hidden_dropout_prob": 0.2, "attn_dropout_prob": 0.2}
SETTINGS["BERT4Rec"] |= {"n_layers": 1, "ft_ratio": 0.0, "mask_ratio": 0.4, "hidden_dropout_prob": 0.1, "attn_dropout_prob": 0.1}

RUNS = [name for name in FAMILY if name not in (*IMPOSSIBLE, *SUPPORTED)]
QUICK = {"DGCF": {"batch_size": 16}, "GRU4RecCPR": {"reranker_CAN_NUM": 10}, "SASRecCPR": {"reranker_CAN_NUM": 10}}


def test_every_supported_model_is_tried():
    assert sorted(SETTINGS) == sorted(SUPPORTED)
    assert len(SUPPORTED) == 21


OFTEN = ("BPR", "LightGCN", "MultiVAE", "SLIMElastic", "GRU4Rec", "DeepFM", "DCNV2")
"""One of each kind, each time; the others with the slow tests."""


@pytest.mark.parametrize("name", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.slow) for name in SUPPORTED])
def test_the_contract_holds(name):
    check_recommender(lambda: create(f"recbole:{name}", **SETTINGS[name]))


@pytest.fixture(scope="module")
def log():
    return latent_log(n_users=40, n_items=30, events_each=10)[0]


def features() -> Side:
    """One group each, some of several groups, and numbers, so that every kind of column is there."""
    draw = torch.Generator().manual_seed(0)
    genre = torch.nn.functional.one_hot(torch.randint(4, (30,), generator=draw)).float()
    tags = (torch.rand(30, 5, generator=draw) < 0.4).float()
    length = torch.rand(30, 2, generator=draw)
    people = torch.nn.functional.one_hot(torch.randint(3, (40,), generator=draw)).float()
    items = torch.cat([genre, tags, length], dim=1)
    return Side(users=people, user_fields=(("group", 3),), items=items, item_fields=(("genre", 4), ("tags", 5), ("length", 2)))


def test_how_many_run():
    assert len(RUNS) + len(SUPPORTED) == 79


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_the_others_train_an_epoch_and_score_and_can_be_saved(name, log, tmp_path):
    settings = {"epochs": 1, "batch_size": 64, **QUICK.get(name, {})}
    known = create(f"recbole:{name}").config.__dataclass_fields__
    model = create(f"recbole:{name}", **{key: value for key, value in settings.items() if key in known})
    fit(f"recbole:{name}", model, log, side=features())
    batch = log.batch(torch.arange(40))
    scores = model.score(batch)
    assert scores.shape == (40, 30)
    assert scores.dtype == torch.float32
    assert scores.isfinite().all()
    assert scores.std(dim=1).min() > 0
    model.save(tmp_path)
    loaded = type(model).load(tmp_path)
    if name != "Random":  # which draws for every request
        torch.testing.assert_close(loaded.score(batch), scores, rtol=1e-4, atol=1e-4)
    if model.inductive and name != "Random":
        stranger = type(batch)(**{**vars(batch), "users": torch.full((40,), -1)})
        assert torch.equal(model.score(stranger), scores)


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_cannot_run_says_why(name):
    with pytest.raises(NotApplicable, match=rf"^recbole:{name} (needs|is) .*\.$"):
        create(f"recbole:{name}")
