"""What is done faster than RecBole does it is the same; what is random is the seed's; a training that was killed goes on."""

import logging
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from workbench.data import Side
from workbench.errors import RequestError, WorkError
from workbench.evaluation import evaluate
from workbench.models import create
from workbench.models.recbole.build import build
from workbench.models.recbole.dataset import ITEM, LENGTH, SEQUENCE
from workbench.models.recbole.examples import People, Rows, Whole
from workbench.models.recbole.faster import Graph, fast_dropout
from workbench.models.recbole.learn import Bpr, EveryPosition, Learn, objective_for, seeded
from workbench.models.recbole.library import interaction
from workbench.testing import interactions, latent_log
from workbench.training import Engine

TRAIN, VALID = latent_log(n_users=40, n_items=30, events_each=12)


def made(name, **settings):
    """A model of RecBole on the log, before training."""
    model = create(f"recbole:{name}", **settings)
    with seeded(0):
        model.model, model.data = build(name, model.config, TRAIN, Side())
    return model


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", ["GRU4Rec", "SASRec"])
def test_one_pass_over_a_sequence_is_a_pass_over_each_of_its_prefixes(name):
    """The mean over all targets of −log softmax, RecBole's rows against our windows; padding, which RecBole's softmax has too, left out."""
    model = made(name, length=12, hidden_size=16, **({"embedding_size": 16} if name == "GRU4Rec" else {"inner_size": 16}))
    model.model.eval()  # without dropout
    whole = EveryPosition(model.model, Whole(TRAIN, 12), model.data)
    total, count = whole.loss(*whole.draw(torch.arange(whole.n_examples), generator()), generator=generator())
    rows = Rows(TRAIN, 12)
    columns = rows.columns(*rows.draw(torch.arange(rows.n), generator()), generator=generator())
    states = model.model.forward(columns[SEQUENCE], columns[LENGTH])
    logits = states @ model.model.item_embedding.weight[1:].T
    assert int(count) == rows.n
    expected = functional.cross_entropy(logits, columns[ITEM] - 1, reduction="sum")
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-5)
    assert "gather_indexes" not in vars(model.model)


@pytest.mark.parametrize("negatives", [1, 3])
def test_bpr_is_recboles_loss_and_gradient(negatives):
    model = made("BPR", embedding_size=8, negatives=negatives)
    objective = objective_for("BPR", model.model, model.data, TRAIN, model.config)
    assert type(objective) is Bpr
    objective.place(torch.device("cpu"))
    drawn = objective.draw(torch.arange(50), generator())
    total, count = objective.loss(*drawn, generator=generator())
    ours = {name: weight.grad.clone() for name, weight in model.model.named_parameters()}
    model.model.zero_grad()
    theirs = model.model.calculate_loss(interaction(objective.examples.columns(*drawn, generator=generator())))
    theirs.backward()
    torch.testing.assert_close(total / count, theirs.detach())
    for name, weight in model.model.named_parameters():
        torch.testing.assert_close(ours[name], weight.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["MultiVAE", "CDAE", "RecVAE"])
def test_people_without_padding_are_recboles_rating_matrix(name):
    model = made(name)
    users = torch.tensor([5, 1, 40])
    assert torch.equal(People(TRAIN).ratings(users), model.model.get_rating_matrix(users))


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_a_graph_by_rows_has_the_same_product_and_gradient():
    cells = torch.rand(9, 9, generator=generator())
    cells = torch.where(cells > 0.6, cells, 0.0)
    matrix = (cells + cells.T).to_sparse()
    dense = torch.rand(9, 4, generator=generator(1), requires_grad=True)
    weights = torch.rand(9, 4, generator=generator(2))
    expected = torch.sparse.mm(matrix, dense)
    (expected * weights).sum().backward()
    gradient = dense.grad.clone()
    dense.grad = None
    found = torch.sparse.mm(Graph.of(matrix), dense)
    (found * weights).sum().backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(dense.grad, gradient)
    torch.testing.assert_close(torch.sparse.mm(Graph.of_scipy((cells + cells.T).numpy()), dense), expected)
    with pytest.raises(TypeError):
        torch.sparse.mm(dense, Graph.of(matrix))


def test_dropout_is_ours_for_a_while():
    torchs, x = functional.dropout, torch.ones(4000)
    with fast_dropout():
        found = nn.Dropout(0.25)(x)
        assert functional.dropout is not torchs
        assert torch.equal(functional.dropout(x, 0.5, training=False), x)
    assert functional.dropout is torchs
    kept = found[found > 0]
    assert kept.unique().tolist() == pytest.approx([1 / 0.75])
    assert 0.72 < len(kept) / 4000 < 0.78
    with pytest.raises(RuntimeError, match="spoilt"), fast_dropout():
        raise RuntimeError("spoilt")
    assert functional.dropout is torchs


def test_training_leaves_every_global_generator_and_switch_as_it_was():
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    create("recbole:SGL", epochs=1).fit(TRAIN)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert random.getstate() == before[2]
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("name", ["MultiVAE", "SGL", "GRU4Rec", "NCL", "RecVAE", "LINE", "DiffRec"])
def test_a_training_that_was_stopped_ends_like_an_undisturbed_one(name, tmp_path):
    """What RecBole counts (annealing), draws for an epoch (graphs, clusters) or takes in turns begins where it was."""
    settings = {"epochs": 4, "batch_size": 64, "learning_rate": 0.01}
    settings |= {"LINE": {"batch_size": 16}, "NCL": {"num_clusters": 5, "warm_up_step": 2}, "MultiVAE": {"total_anneal_steps": 8}}.get(
        name, {}
    )

    def stop(epoch):
        if epoch.number == 2:
            raise KeyboardInterrupt

    undisturbed = create(f"recbole:{name}", **settings).fit(TRAIN, VALID, Engine(device="cpu", threads=1))
    with pytest.raises(KeyboardInterrupt):
        create(f"recbole:{name}", **settings).fit(TRAIN, VALID, Engine(device="cpu", threads=1, checkpoints=tmp_path, on_epoch=stop))
    resumed = create(f"recbole:{name}", **settings).fit(TRAIN, VALID, Engine(device="cpu", threads=1, checkpoints=tmp_path))
    assert resumed.training.resumed_from == 2
    assert [(e.number, e.loss, e.value) for e in resumed.training.curve] == [
        (e.number, e.loss, e.value) for e in undisturbed.training.curve
    ]
    batch = TRAIN.batch(torch.arange(40))
    assert torch.equal(resumed.score(batch), undisturbed.score(batch))
    assert evaluate(resumed, VALID, ks=(10,)).mean("ndcg@10") == resumed.training.best


def test_recvae_teaches_the_encoder_and_then_the_decoder():
    model = made("RecVAE", n_enc_epochs=2, n_dec_epochs=1)
    objective = objective_for("RecVAE", model.model, model.data, TRAIN, model.config)
    batches = objective.plan(16, generator())
    assert sorted(torch.cat(batches).tolist()) == list(range(3 * objective.n_examples))
    for batch in batches:
        encoder = int(batch[0]) < 2 * objective.n_examples
        total, count = objective.loss(*objective.draw(batch, generator()), generator=generator())
        objective.zero_grad()
        (total / count).backward()
        assert all((weight.grad is not None) == encoder for weight in model.model.encoder.parameters())
        assert all((weight.grad is not None) != encoder for weight in model.model.decoder.parameters())
        if not encoder:
            old = model.model.prior.encoder_old.state_dict()
            assert all(torch.equal(weight, old[name]) for name, weight in model.model.encoder.state_dict().items())


def test_popularity_counts_events_not_batches():
    counts = TRAIN.events_per_item
    scores = create("recbole:Pop").fit(TRAIN).score(TRAIN.batch(torch.tensor([0])))[0]
    torch.testing.assert_close(scores, (counts / counts.max()).float())


def test_several_processes_are_refused():
    with pytest.raises(RequestError, match=r"^recbole:BPR trains in one process: give an engine with one device\.$"):
        create("recbole:BPR").fit(TRAIN, engine=Engine(devices=2, strategy="ddp"))


def test_who_was_not_in_training_needs_a_fallback():
    model = create("recbole:BPR", epochs=1).fit(TRAIN)
    batch = TRAIN.batch(torch.tensor([0, 1]))
    stranger = type(batch)(**{**vars(batch), "users": torch.tensor([0, -1])})
    with pytest.raises(RequestError, match=r"^BPR \(RecBole\) cannot score person -1, who was not in training: name a fallback\.$"):
        model.score(stranger)


def test_settings_decide_whether_a_model_serves_strangers():
    assert create("recbole:ItemKNN").inductive
    assert not create("recbole:ItemKNN", knn_method="user").inductive
    assert not create("recbole:DiffRec", time_aware=True).inductive


def test_judging_in_training_does_not_change_it():
    """A model that is told of other histories to be judged goes on learning from its own."""
    alone = create("recbole:MultiVAE", epochs=3, batch_size=16).fit(TRAIN)
    judged = create("recbole:MultiVAE", epochs=3, batch_size=16).fit(TRAIN, VALID)
    assert [epoch.loss for epoch in alone.training.curve] == [epoch.loss for epoch in judged.training.curve]


def test_rows_are_learnt_from_where_the_loss_is_in_pairs():
    model = made("GRU4Rec", loss_type="BPR")
    objective = objective_for("GRU4Rec", model.model, model.data, TRAIN, model.config)
    assert type(objective) is Learn
    assert isinstance(objective.examples, Rows)


def test_a_failure_of_recboles_code_is_one_line_with_the_model():
    with pytest.raises(WorkError, match=r"^recbole:SASRecCPR failed in training: RuntimeError: selected index k out of range\.$"):
        create("recbole:SASRecCPR", epochs=1, reranker_CAN_NUM=100).fit(TRAIN)


def test_what_watches_a_training_may_end_it():
    class Enough(Exception):  # noqa: N818
        pass

    def enough(_):
        raise Enough

    with pytest.raises(Enough):
        create("recbole:BPR", epochs=2).fit(TRAIN, engine=Engine(on_epoch=enough))


def test_recbole_is_silent_and_others_are_not(caplog):
    create("recbole:NAIS", epochs=1).fit(TRAIN)  # whose constructor warns of a setting of RecBole's command line
    assert caplog.records == []
    with seeded(0):
        logging.getLogger().warning("not RecBole's")
    assert [record.message for record in caplog.records] == ["not RecBole's"]


def test_a_checkpoint_of_other_features_is_refused(tmp_path):
    sides = [Side(items=torch.eye(30)), Side(items=torch.eye(30).flip(0)), Side(items=torch.eye(30)[:, :20]), Side()]
    settings = {"epochs": 2, "batch_size": 64}
    create("recbole:FM", **settings).fit(TRAIN, engine=Engine(checkpoints=tmp_path), side=sides[0])
    for side in sides[1:]:
        with pytest.raises(RequestError, match="data"):
            create("recbole:FM", **settings).fit(TRAIN, engine=Engine(checkpoints=tmp_path), side=side)


@pytest.mark.parametrize(("length", "epochs"), [(2, 20), (20, 150)])
def test_bert4rec_is_asked_for_what_follows_all_of_a_short_history(length, epochs):
    """Items in a circle, everyone beginning elsewhere: RecBole's scoring forgets the oldest event, which here may be the only one."""
    circle = interactions([(user, (user + step) % 12) for user in range(48) for step in range(9)], 48, 12)
    settings = {
        "epochs": epochs,
        "batch_size": 8,
        "learning_rate": 0.005,
        "hidden_size": 32,
        "inner_size": 32,
        "n_layers": 1,
        "length": length,
    }
    settings |= {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
    model = create("recbole:BERT4Rec", **settings).fit(circle)
    asked = interactions([(user, (user + step) % 12) for user in range(12) for step in range(1 + user % 3)], 48, 12)
    found = model.score(asked.batch(torch.arange(12))).argmax(1)
    right = found == torch.tensor([(user + 1 + user % 3) % 12 for user in range(12)])
    assert right[::3].sum() >= 3, "of four with one event; RecBole's way finds one"
    assert right.sum() >= 10


@pytest.mark.parametrize("settings", [{"batch_size": 1}, {"mask_ratio": 0.0, "ft_ratio": 0.0}])
def test_bert4rec_always_hides_something(settings):
    short = interactions([(user, (user + step) % 7) for user in range(9) for step in range(2)], 9, 7)
    model = create("recbole:BERT4Rec", epochs=2, length=5, **settings).fit(short)
    assert all(0 < epoch.loss < 10 for epoch in model.training.curve)


@pytest.mark.parametrize("name", ["DCNV2", "NeuMF", "FM"])
def test_scores_are_not_squashed(name):
    model = create(f"recbole:{name}", epochs=40, learning_rate=0.02, batch_size=64).fit(TRAIN)
    scores = model.score(TRAIN.batch(torch.arange(40)))
    assert scores.min() < 0
    assert scores.max() > 1
    if name != "FM":
        assert isinstance(model.model.sigmoid, nn.Sigmoid)


def test_what_was_saved_has_the_same_settings(tmp_path):
    model = create("recbole:NeuMF", epochs=1, mlp_hidden_size=(16, 8)).fit(TRAIN)
    model.save(tmp_path)
    loaded = type(model).load(tmp_path)
    assert loaded.config == model.config
    assert hash(loaded.config) == hash(model.config)


def test_popularity_serves_who_has_no_place_in_training():
    model = create("recbole:Pop").fit(TRAIN)
    batch = TRAIN.batch(torch.tensor([0, 1]))
    stranger = type(batch)(**{**vars(batch), "users": torch.tensor([-1, -1])})
    assert torch.equal(model.score(stranger), model.score(batch))
    assert not model.personal


def test_repeats_weigh_once_in_a_graph():
    once = interactions([(0, 0), (0, 1), (1, 1)], 2, 3)
    often = interactions([(0, 0)] * 5 + [(0, 1), (1, 1)], 2, 3)
    with seeded(0):
        graphs = [build("SGL", create("recbole:SGL").config, log, Side())[0].train_graph.matrix.to_dense() for log in (once, often)]
    assert torch.equal(*graphs)
