"""Models as ONNX: the retriever as one graph of all its sources, masked and cut; the ranker as one of its features."""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import torch
from torch import Tensor, nn

from workbench.errors import NotApplicable, WorkError
from workbench.evaluation.ranking import NOTHING
from workbench.files import whole_file
from workbench.promotion.graphs import Vectors
from workbench.ranking import Trees
from workbench.ranking.inputs import CLIP, squashed
from workbench.ranking.networks import Network

OPSET = 20
FEATURES = "features"


class RetrieverGraph(nn.Module):
    """Several models' scores, what was seen taken out, and the best of each, equals in the order of ties."""

    order: Tensor

    def __init__(self, graphs: Sequence[nn.Module], floors: Sequence[float | None], ties: Tensor, depth: int, *, scores: bool) -> None:
        """floors: of each, the score at or below which nothing is said; None: every score counts. ties: int64 (n_items,). scores: whether
        everything's scores are given too, for a ranker to read.
        """
        super().__init__()
        self.graphs, self.floors = nn.ModuleList(graphs), floors
        self.depth, self.scores = min(depth, len(ties)), scores
        self.register_buffer("order", ties.argsort())

    def forward(self, user: Tensor, history: Tensor, lengths: Tensor, seen: Tensor) -> tuple[Tensor, ...]:
        """user: int64 (batch,), -1 for strangers; history: int64 (batch, length), items, then anything; lengths: int64 (batch,); seen:
        int64 (batch, n), items, -1 for none. By model: items int64 (batch, depth), -1 after the last, their scores float32; the same of
        all."""
        n_items = len(self.order)
        hidden = torch.zeros(user.shape[0], n_items + 1).scatter(1, torch.where(seen < 0, n_items, seen), 1.0)[:, :n_items] > 0
        found: list[Tensor] = []
        for graph, floor in zip(self.graphs, self.floors, strict=True):
            scores = graph(user, history, lengths)
            silent = hidden if floor is None else hidden | (scores <= floor)
            best, place = scores.masked_fill(silent, -torch.inf)[:, self.order].topk(self.depth, dim=1)
            found += [torch.where(best.isneginf(), NOTHING, self.order[place]), best]
            found += [scores] if self.scores else []
        return tuple(found)

    @property
    def outputs(self) -> list[str]:
        named = ("items", "best", "scores") if self.scores else ("items", "best")
        return [f"{name}.{place}" for place in range(len(self.graphs)) for name in named]


class VectorGraph(nn.Module):
    """A person's vector, to be looked up in an index."""

    outputs = ("vector",)

    def __init__(self, model: Vectors) -> None:
        super().__init__()
        self.model = model

    def forward(self, user: Tensor, history: Tensor, lengths: Tensor) -> Tensor:
        return self.model.person(user, history, lengths)


class RankerGraph(nn.Module):
    """A network's logit of the last task, out of features as they are: squashed, scaled, marked where missing."""

    mean: Tensor
    spread: Tensor

    def __init__(self, ranker: Network, names: Sequence[str]) -> None:
        """names: of the features, in the order of the columns; a category's are the codes that the network knows, NaN for none."""
        super().__init__()
        self.network, self.log_chances = ranker.network.cpu().eval(), ranker.log_chances
        inputs = ranker.inputs
        self.places = [[names.index(name) for name in kind] for kind in (inputs.numbers, inputs.missing, list(inputs.categories))]
        self.register_buffer("mean", inputs.mean)
        self.register_buffer("spread", inputs.spread)

    def forward(self, features: Tensor) -> Tensor:
        """float32 (n,). features: float64 (n, d)."""
        numbers, missing, categories = (features[:, places] for places in self.places)
        scaled = (squashed(numbers) - self.mean) / self.spread
        scaled = torch.where(scaled.isnan(), 0.0, scaled).clamp(-CLIP, CLIP)
        codes = torch.where(categories.isnan(), 0.0, categories).long()
        logits = self.network(torch.cat([scaled, missing.isnan().double()], dim=1).float(), codes)
        return self.log_chances(logits.double())[:, -1].float()  # ONNX has no expm1: in 32 bits chances near 1 would be rough


def export_retriever(path: Path, graph: RetrieverGraph | VectorGraph) -> None:
    """Raises WorkError when ONNX cannot hold it."""
    batch, length, n_seen = (torch.export.Dim(name) for name in ("batch", "length", "n_seen"))
    names, shapes = ["user", "history", "lengths"], [{0: batch}, {0: batch, 1: length}, {0: batch}]
    example = [torch.zeros(2, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, dtype=torch.int64)]
    if isinstance(graph, RetrieverGraph):
        names, shapes, example = [*names, "seen"], [*shapes, {0: batch, 1: n_seen}], [*example, torch.zeros(2, 4, dtype=torch.int64)]
    _export(path, graph, tuple(example), names, graph.outputs, tuple(shapes))


def export_ranker(path: Path, ranker: Trees | Network, names: Sequence[str]) -> str:
    """The kind of its input, "float32" or "float64". Raises WorkError when ONNX cannot hold it."""
    if isinstance(ranker, Network):
        rows = torch.export.Dim("candidates")
        example = torch.zeros(3, len(names), dtype=torch.float64)
        _export(path, RankerGraph(ranker, names).eval(), (example,), (FEATURES,), ("scores",), ({0: rows},))
        return "float64"
    write_onnx(path, _trees(ranker))
    return "float32"


def _trees(ranker: Trees) -> Any:
    """LightGBM's trees by onnxmltools. Their thresholds are rounded down to 32 bits first, so that of any number of 32 bits both say alike;
    and they are called a regression, or it would make classes of them."""
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    text = ranker.booster.model_to_string(num_iteration=ranker.best_round)
    text = re.sub(r"^threshold=(.*)$", lambda found: f"threshold={_rounded_down(found[1])}", text, flags=re.MULTILINE)
    text = re.sub(r"^(objective=|\[objective: ).*?(\]?)$", r"\1regression\2", text, flags=re.MULTILINE)
    text = re.sub(r"^tree_sizes=.*$\n", "", text, flags=re.MULTILINE)  # they are other sizes now
    booster = lightgbm.Booster(model_str=text)
    with _quiet():
        made = convert_lightgbm(booster, initial_types=[(FEATURES, FloatTensorType([None, len(ranker.names)]))], target_opset=15)
    return made


def _rounded_down(thresholds: str) -> str:
    exact = np.array(thresholds.split(), np.float64)
    with np.errstate(over="ignore"):
        near = exact.astype(np.float32)
    down = np.where(near.astype(np.float64) > exact, np.nextafter(near, np.float32(-np.inf)), near)
    return " ".join(repr(float(each)) for each in down)


def _export(path: Path, graph: nn.Module, example: Any, inputs: Sequence[str], outputs: Sequence[str], shapes: Any) -> None:
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph,
                example,
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=shapes,
            )
        assert program is not None
        made = program.model_proto
    except Exception as error:
        raise WorkError(
            f"the graph for {path.name} cannot be exported: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        ) from error
    write_onnx(path, made)


def write_onnx(path: Path, made: Any) -> None:
    """Checked, in one file, without what the exporter says of this machine."""
    _forget(made.graph)
    made.doc_string, made.graph.name = "", "graph"  # a converter draws one
    del made.metadata_props[:]
    for function in made.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        for node in function.node:
            _forget_node(node)
    if made.ByteSize() >= onnx.checker.MAXIMUM_PROTOBUF:
        raise NotApplicable(
            f"{path.name} would be {made.ByteSize() / 2**30:.1f} GiB, and ONNX has at most 2 in one file: choose a smaller model."
        )
    onnx.checker.check_model(made, full_check=True)
    with whole_file(path) as partial:
        partial.write_bytes(made.SerializeToString(deterministic=True))


def _forget(graph: Any) -> None:
    graph.doc_string = ""
    del graph.metadata_props[:]
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    for node in graph.node:
        _forget_node(node)


def _forget_node(node: Any) -> None:
    node.doc_string = ""
    del node.metadata_props[:]
    for attribute in node.attribute:
        attribute.doc_string = ""
        for graph in (attribute.g, *attribute.graphs) if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) else ():
            _forget(graph)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporters say a lot."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
