"""Settings of RecBole's models are checked like ours, and nothing that somebody types is evaluated or opened."""

import sys
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from workbench.cli import main
from workbench.data import Side
from workbench.errors import NotApplicable, RequestError
from workbench.models import create, draws_at_random, fit, learns, parse_names, search_space, takes_side
from workbench.models.recbole import FAMILY, IMPOSSIBLE, SUPPORTED, zoo_model
from workbench.models.recbole.build import Given, build
from workbench.models.recbole.defaults import SPACES
from workbench.models.recbole.learn import seeded
from workbench.testing import interactions, latent_log
from workbench.training import Learning


def test_all_of_recboles_models_are_named():
    folder = Path(find_spec("recbole").submodule_search_locations[0]) / "model"
    files = {path.stem for path in folder.glob("*_recommender/*.py") if path.stem != "__init__"}
    assert {name.lower() for name in FAMILY} == files
    assert len(FAMILY) == 94


@pytest.mark.parametrize("name", FAMILY)
def test_every_default_is_a_number_a_choice_or_a_list(name):
    config = zoo_model(name)[1]()
    for field in fields(config):
        value = getattr(config, field.name)
        assert isinstance(value, bool | int | float | str | tuple), field.name
        assert value == "01" or not (isinstance(value, str) and value[:1].isdigit()), (
            f"{field.name} = {value!r} is a number that YAML took for a text"
        )


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("recbole:LightGNC", {}, 'there is no model of RecBole "LightGNC". Did you mean "LightGCN"?'),
        ("recbole:lightgcn", {}, 'there is no model of RecBole "lightgcn". Did you mean "LightGCN"?'),
        ("recbole:", {}, 'there is no model of RecBole "".'),
        ("recbole:../x", {}, 'there is no model of RecBole "../x".'),
        ("recbole:LightGCN", {"n_layer": 3}, 'there is no setting of recbole:LightGCN "n_layer". Did you mean "n_layers"?'),
        (
            "recbole:LightGCN",
            {"train_batch_size": 3},
            'there is no setting of recbole:LightGCN "train_batch_size". Did you mean "batch_size"?',
        ),
        ("recbole:LightGCN", {"n_layers": "many"}, "recbole:LightGCN: n_layers = 'many': input should be a valid integer"),
        ("recbole:LightGCN", {"n_layers": 0}, "recbole:LightGCN: n_layers = 0: input should be greater than or equal to 1."),
        ("recbole:LightGCN", {"reg_weight": -1}, "recbole:LightGCN: reg_weight = -1: input should be greater than or equal to 0."),
        ("recbole:SASRec", {"hidden_dropout_prob": 2}, "recbole:SASRec: hidden_dropout_prob = 2: input should be less than 1."),
        ("recbole:SASRec", {"loss_type": "hinge"}, "recbole:SASRec: loss_type = 'hinge': input should be 'CE' or 'BPR'."),
        ("recbole:NeuMF", {"mlp_hidden_size": "__import__('os')"}, "recbole:NeuMF: mlp_hidden_size = \"__import__('os')\": "),
        ("recbole:NeuMF", {"mlp_hidden_size": "[64, true]"}, "recbole:NeuMF: mlp_hidden_size"),
        ("recbole:NeuMF", {"mf_pretrain_path": "x.pth"}, 'there is no setting of recbole:NeuMF "mf_pretrain_path".'),
        ("recbole:BERT4Rec", {"length": 1}, "recbole:BERT4Rec: length = 1: input should be greater than or equal to 2."),
        ("recbole:MultiVAE", {"latent_dimension": 7}, "recbole:MultiVAE: latent_dimension = 7: input should be a multiple of 2."),
        ("recbole:CORE", {"temperature": 0}, "recbole:CORE: temperature = 0: input should be greater than 0."),
        ("recbole:NGCF", {"node_dropout": 1}, "recbole:NGCF: node_dropout = 1: input should be less than 1."),
        ("recbole:SGL", {"type": "zz"}, "recbole:SGL: type = 'zz': input should be 'ED', 'ND' or 'RW'."),
        ("recbole:S3Rec", {"mip_weight": 1}, 'there is no setting of recbole:S3Rec "mip_weight".'),
        ("recbole:KD_DAGFM", {"teacher": "print"}, 'there is no setting of recbole:KD_DAGFM "teacher".'),
    ],
)
def test_a_wrong_name_or_setting_is_one_line_with_the_mend(name, settings, message):
    with pytest.raises(RequestError) as caught:
        create(name, **settings)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_lists_can_be_typed():
    for typed in ("[32, 16]", "32, 16", (32, 16), [32, 16]):
        assert create("recbole:NeuMF", mlp_hidden_size=typed).config.mlp_hidden_size == (32, 16)


def test_settings_that_recbole_refuses_are_one_line():
    log = latent_log(n_users=10, n_items=8, events_each=5)[0]
    with pytest.raises(RequestError, match=r"^recbole:SASRec cannot be made with these settings and this data: ValueError: .*multiple"):
        create("recbole:SASRec", hidden_size=7).fit(log)


def test_what_the_data_lacks_is_named():
    log = latent_log(n_users=10, n_items=8, events_each=5)[0]
    with pytest.raises(NotApplicable, match=r"^recbole:FDSA needs groups of items as features, and this data has none\.$"):
        fit("recbole:FDSA", create("recbole:FDSA"), log, side=Side())
    timeless = replace(log, timestamps=torch.zeros_like(log.timestamps))
    with pytest.raises(NotApplicable, match=r"^recbole:GRU4Rec learns from the order of events, and this data has no times\.$"):
        create("recbole:GRU4Rec").fit(timeless)
    with pytest.raises(RequestError, match=r"^recbole:SASRec needs somebody with two events to learn what follows; nobody has\.$"):
        create("recbole:SASRec").fit(interactions([(0, 0), (1, 1)], 2, 2))
    with pytest.raises(NotApplicable, match=r"^recbole:BPR needs events; there are none\.$"):
        create("recbole:BPR").fit(interactions([], 2, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recbole:LightGCM"], 'there is no model of RecBole "LightGCM". Did you mean "LightGCN"?'),
        (["recbole:KGAT"], "recbole:KGAT needs a knowledge graph, which no data set here has."),
        (["recbole:LightGCN", "-p", "n_layer=2"], 'there is no setting of recbole:LightGCN "n_layer". Did you mean "n_layers"?'),
        (["recbole:LightGCN", "-p", "n_layers=two"], "recbole:LightGCN: n_layers = 'two': input should be a valid integer"),
    ],
)
def test_a_command_ends_with_2_and_one_line(arguments, message, home, capsys):
    assert main(["train", *arguments, "--dataset", "ml-100k", "--output", str(home / "model")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"workbench: {message}")
    assert said.count("\n") == 1
    assert not (home / "model").exists()


def test_the_zoo_is_asked_like_any_model():
    assert learns("recbole:BPR")
    assert not learns("recbole:EASE")
    assert draws_at_random("recbole:BPR")
    assert takes_side("recbole:FM")
    assert parse_names("ease, recbole:LightGCN") == ["ease", "recbole:LightGCN"]
    with pytest.raises(RequestError, match='Did you mean "SASRec"'):
        parse_names("ease, recbole:SASrec")


MAY_BE_UNREAD = {"DCNV2": {"expert_num", "low_rank"}}
"""Read for other values of other settings."""


@pytest.mark.parametrize("name", [name for name in FAMILY if name not in IMPOSSIBLE])
def test_every_setting_is_read_by_somebody(name, monkeypatch):
    """One that nobody reads would be accepted and change nothing."""
    read: set[str] = set()

    class Recorded(Given):
        def __getitem__(self, key):
            read.add(key)
            return super().__getitem__(key)

        def __contains__(self, key):
            read.add(key)
            return super().__contains__(key)

    monkeypatch.setattr("workbench.models.recbole.build.Given", Recorded)
    config = zoo_model(name)[1]()
    log = latent_log(n_users=60, n_items=40, events_each=12)[0]
    draw = torch.Generator().manual_seed(0)
    side = Side(items=(torch.rand(40, 6, generator=draw) < 0.4).float(), users=torch.eye(60)[:, :3])
    with seeded(0):
        build(name, config, log, side)
    ours = {field.name for field in fields(Learning)} | {"length", "every_position", "negatives"}
    ours |= {"ft_ratio", "n_enc_epochs", "n_dec_epochs", "warm_up_step"}  # which our examples and objectives read
    unread = {field.name for field in fields(config)} - {setting.replace("-", "_") for setting in read} - ours
    assert unread == MAY_BE_UNREAD.get(name, set())


def test_what_may_be_tuned_can_be_created():
    assert set(SPACES) == set(SUPPORTED)
    for name, space in SPACES.items():
        assert search_space(f"recbole:{name}") == space
        default = create(f"recbole:{name}").config
        for setting, options in space.items():
            ends = (options.low, options.high) if hasattr(options, "low") else options.values
            for value in ends:
                create(f"recbole:{name}", **{setting: value})
            assert type(getattr(default, setting)) is type(ends[0]), setting


def test_recboles_command_line_and_folders_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["workbench", "--embedding_size=3", "--learning_rate=boom"])
    model = create("recbole:BPR", epochs=1, embedding_size=8).fit(latent_log(n_users=10, n_items=8, events_each=5)[0])
    assert model.model.user_embedding.weight.shape == (11, 8)
    assert list(tmp_path.iterdir()) == []
