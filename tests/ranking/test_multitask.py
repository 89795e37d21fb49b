"""Tasks learnt together: chances that cannot rise along the chain, and nearer the truth of a made-up world than their shares are."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import tensor

from tests.ranking.made import learnable, made
from workbench.features import FeatureFrame, Tables, feature
from workbench.ranking import MultiTask, MultiTaskConfig, logged_examples

logits = st.lists(st.lists(st.floats(-30, 30), min_size=3, max_size=3), min_size=1, max_size=10).map(
    lambda told: tensor(told, dtype=torch.float64)
)
QUICK = {"epochs": 3, "batch_size": 16, "learning_rate": 0.01}


@settings(max_examples=30, deadline=None)
@given(logits)
def test_a_chain_multiplies_the_chances_so_far(found):
    chained = MultiTask().log_chances(found)
    products = torch.sigmoid(found).cumprod(1)
    torch.testing.assert_close(
        torch.sigmoid(chained), products, rtol=1e-6, atol=2e-7
    )  # a chance is at most 1 − 1e-7 where it is taken for a logit
    assert (chained.diff(dim=1) <= 1e-9).all()
    assert torch.equal(MultiTask(MultiTaskConfig(chain=False)).log_chances(found), found)


@pytest.mark.parametrize("value", [-1e4, -100.0, 0.0, 17.0, 100.0, 1e4])
def test_a_chain_is_finite_and_can_be_learnt_whatever_the_logits(value):
    found = torch.full((2, 3), value, requires_grad=True)
    chained = MultiTask().log_chances(found)
    assert chained.isfinite().all()
    chained.sum().backward()
    assert found.grad.isfinite().all()


@pytest.mark.parametrize("experts", [1, 3])
def test_later_tasks_are_never_likelier_than_earlier_ones(experts):
    train, test = learnable(60, seed=0), learnable(60, seed=1)
    ranker = MultiTask(MultiTaskConfig(experts=experts, **QUICK)).fit(train)
    found = ranker.scores(test)
    assert found.shape == (len(test.items), 2)
    assert (found[:, 1] <= found[:, 0] + 1e-6).all()
    assert torch.equal(ranker.score(test), found[:, 1])
    chances = torch.sigmoid(found)
    assert chances.mean(0).tolist() == pytest.approx(test.labels.double().mean(0).tolist(), abs=0.1)


def test_without_candidates_there_are_no_chances_of_any_task():
    ranker = MultiTask(MultiTaskConfig(epochs=1)).fit(learnable(20))
    empty = learnable(20).select(tensor([], dtype=torch.int64))
    assert ranker.scores(empty).shape == (0, 2)


def test_one_expert_is_the_shared_bottom():
    """A gate over one expert is 1: every tower reads the same layers."""
    ranker = MultiTask(MultiTaskConfig(experts=1, epochs=1)).fit(learnable(20))
    network = ranker.network.eval()
    numbers, codes = ranker.inputs.encoded(learnable(5).features)
    given_ = torch.cat([numbers, *(table(codes[:, place]) for place, table in enumerate(network.tables))], dim=1)
    shared = network.experts[0](given_)
    torch.testing.assert_close(network(numbers, codes), torch.cat([tower(shared) for tower in network.towers], dim=1))
    assert ranker.title == "Multi-task, shared bottom"


def test_several_experts_are_mixed_by_each_tasks_own_gate():
    ranker = MultiTask(MultiTaskConfig(experts=3, epochs=1)).fit(learnable(20))
    network = ranker.network.eval()
    numbers, codes = ranker.inputs.encoded(learnable(2).features)
    given_ = torch.cat([numbers, network.tables[0](codes[:, 0])], dim=1)
    wanted = []
    for gate, tower in zip(network.gates, network.towers, strict=True):
        shares = gate(given_).softmax(1)
        mixed = sum(shares[:, place, None] * expert(given_) for place, expert in enumerate(network.experts))
        wanted.append(tower(mixed))
    torch.testing.assert_close(network(numbers, codes), torch.cat(wanted, dim=1))


def test_pairs_and_lists_order_by_the_last_task():
    """Whatever the first one says: here it says the contrary."""
    n, rng = 80, np.random.default_rng(0)
    x = rng.normal(size=(n, 6))
    labels = [[(bool(each < 1), bool(0 < each < 1)) for each in row] for row in x]
    frame = FeatureFrame((feature("x", "candidate", "given", of="x"),), torch.from_numpy(x.reshape(-1, 1)), {})
    examples = made([list(range(6))] * n, labels, tasks=("all", "liked"), features=frame)
    for loss in ("pairwise", "listwise"):
        config = MultiTaskConfig(**{**QUICK, "epochs": 10}, loss=loss, chain=False)
        scores = MultiTask(config).fit(examples).score(examples)
        assert scores[examples.label].mean() > scores[~examples.label].mean() + 0.5


@pytest.fixture(scope="module")
def pages(known):
    """With what is told of the moment: how its person and its item fared, the position, and each item as a name."""
    definitions = [
        feature("person_rate", "user", "rate", events="impression", of="click"),
        feature("item_rate", "item", "rate", events="impression", of="click"),
        feature("group_rate", "user_item", "rate", events="impression", of="click"),
        feature("category", "item", "attribute", of="category", category=True),
    ]
    examples, shown = logged_examples(known.data, Tables.of(known.data), ("click", "like"), definitions=definitions)
    frame = examples.features
    more = FeatureFrame(
        (*frame.definitions, feature("position", "candidate", "given", of="position")),
        torch.cat([frame.values, shown["position"][:, None].double()], dim=1),
        frame.names,
    )
    return examples.with_values(more), shown["position"]


@pytest.mark.parametrize("experts", [1, 3])
def test_chances_are_nearer_the_truth_than_shares_are(pages, known, experts):
    """P(click) = examined · preference, P(like) = P(click) · like · preference, on the last third of the pages.

    By expected log loss, which the truth has lowest, and by mean distance from it.
    """
    examples, positions = pages
    first = torch.arange(len(examples)) < len(examples) * 2 // 3
    train, test = examples.select(first), examples.select(~first)
    ranker = MultiTask(MultiTaskConfig(experts=experts, epochs=4, batch_size=32, learning_rate=0.01)).fit(train)
    found = torch.sigmoid(ranker.scores(test))
    truth, asked = known.world.truth, test.rows
    users = np.array([int(known.data.user_ids[code][1:]) for code in test.users[asked]])
    items = np.array([int(known.data.item_ids[code][1:]) for code in test.items])
    preference = truth.preference(users, items, test.moments[asked].numpy())
    clicks = truth.examination(positions[~first[examples.rows]].numpy()) * preference
    likes = clicks * known.world.config.like * preference
    for place, true in enumerate((clicks, likes)):
        true = torch.from_numpy(true)
        p, share = found[:, place], train.labels[:, place].double().mean()
        assert true.mean().item() == pytest.approx(test.labels[:, place].double().mean().item(), abs=0.02), "the truth is that of this log"

        def loss(chance, true=true):
            return -(true * torch.log(chance) + (1 - true) * torch.log(1 - chance)).mean().item()

        assert loss(true) < loss(p) < loss(share.expand(len(true)))
        assert (p - true).abs().mean() < 0.7 * (share - true).abs().mean()
        assert math.isfinite(loss(p))
