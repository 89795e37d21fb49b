"""Models as graphs that ONNX can hold: what `score` computes, out of three tensors."""

from typing import Any

import torch
from torch import nn

from workbench.errors import NotApplicable
from workbench.models import MODELS, Recommender
from workbench.models.ease import Ease
from workbench.models.ials import Ials
from workbench.models.item_knn import ItemKnn
from workbench.models.mf import Mf
from workbench.models.popularity import Popularity
from workbench.models.recent_popularity import RecentPopularity
from workbench.models.rp3beta import Rp3Beta
from workbench.models.sasrec import SasRec
from workbench.models.session_knn import SessionKnn
from workbench.models.slim import Slim
from workbench.models.sparse import larger_first
from workbench.models.two_tower import TwoTower
from workbench.models.user_knn import EPSILON, UserKnn
from workbench.promotion.graphs.factors import FoldIn, Learnt, Tower, Transformer, Vectors
from workbench.promotion.graphs.items import Dense, Same, from_sparse
from workbench.promotion.graphs.neighbours import People, Sessions

NO_GRAPH = {"random": "is a floor to read metrics against, which nobody ships"}
"""Models of ours that are not exported, and why."""


def graph_of(model: Recommender) -> nn.Module:
    """The model as a module in evaluation: users int64 (batch,), -1 for strangers; history int64 (batch, length), oldest first and then any
    item; lengths int64 (batch,) → float32 (batch, n_items), what `score` gives. Where scores are products of vectors it is a `Vectors`.

    Raises NotApplicable, with the reason, for a model that has none.
    """
    made = _graph(model)
    if isinstance(made, str):
        raise NotApplicable(f"{getattr(model, 'title', type(model).__name__)} cannot be exported: it {made}.")
    return made.eval().requires_grad_(False)


def _graph(model: Any) -> nn.Module | str:  # noqa: C901, a case a model
    match model:
        case Popularity() | RecentPopularity():
            return Same(model.counts)
        case Ease():
            return Dense(model.weights)
        case ItemKnn() | Rp3Beta() | Slim():
            return from_sparse(model.weights)
        case UserKnn():
            has = model.people.to_dense().bool().byte().T
            order = larger_first(has.sum(0)).argsort()
            return People(has[:, order], model.config.k, model.config.shrink, EPSILON)
        case SessionKnn():
            if not len(model.sessions):
                return Same(torch.zeros(model.sessions.shape[1]))
            return Sessions(model.sessions.to_dense().bool().byte().T.flip(1), model.config.k, model.config.length)
        case Ials():
            return FoldIn(model.item_factors, model.config.regularization, model.config.alpha)
        case Mf():
            trained = len(model.network.trained)
            return Learnt(model.network.vectors.detach()[:trained].clone(), model.item_vectors().clone())
        case SasRec():
            return Transformer(model.network.cpu(), model.item_vectors().clone(), model.config.length)
        case TwoTower():
            network = model.network.cpu().eval()
            return Tower(network, model.item_vectors().clone(), model.config.length, 1 / model.config.temperature)
    name = next((name for name, (kind, _) in MODELS.items() if type(model) is kind), "")
    if name in NO_GRAPH:
        return NO_GRAPH[name]
    if hasattr(model, "data") and hasattr(model, "name"):
        from workbench.promotion.graphs.zoo import graph_of_zoo  # takes three seconds, and changes what NumPy and SciPy have

        return graph_of_zoo(model)
    return "is not one of ours; write a graph for it beside the others in workbench/promotion/graphs"


__all__ = ["NO_GRAPH", "Vectors", "graph_of"]
