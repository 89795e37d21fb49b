"""A bundle in 8 bits: weights of products and lookups as int8, with a scale each; what it costs is measured, not hoped."""

import logging
import shutil
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnxruntime.quantization import QuantType, quantize_dynamic

from workbench.errors import NotApplicable
from workbench.promotion.bundle import write_manifest
from workbench.promotion.export import write_onnx
from workbench.serving import Bundle
from workbench.serving.requests import Request
from workbench.serving.verify import GOLDEN

OPERATIONS = ["MatMul", "Gemm", "Gather"]


def quantised(bundle: Bundle, folder: Path) -> Bundle:
    """A copy whose graphs are dynamically quantised, opened. Its golden requests are answered anew: it is another model, and is judged as
    one. Raises NotApplicable where nothing is to be made smaller.
    """
    shutil.copytree(bundle.folder, folder)
    names = [path.name for path in sorted(folder.glob("*.onnx")) if _quantise(path)]
    if not names:
        shutil.rmtree(folder)
        raise NotApplicable("no graph of this bundle has weights that 8 bits could hold.")
    told = {name: value for name, value in bundle.manifest.items() if name != "sha256"}
    told["made"] = {**told["made"], "system": f"{told['made']['system']}, int8", "quantised": names}
    told["retriever"] = {**told["retriever"], "together": False}  # scales are found for a whole batch: answers would depend on who is in it
    told["lists"] = {**told["lists"], "served_by": told["made"]["system"]}
    write_manifest(folder, told)
    made = Bundle.open(folder)
    _answer_anew(made)
    write_manifest(folder, told)
    return Bundle.open(folder)


def _quantise(path: Path) -> bool:
    """In place; whether anything was."""
    partial = path.with_suffix(".int8.onnx")
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it says a lot, on the root
    try:
        options = {"EnableSubgraph": True, "MatMulConstBOnly": True, "DefaultTensorType": onnx.TensorProto.FLOAT}
        quantize_dynamic(
            path, partial, op_types_to_quantize=OPERATIONS, per_channel=True, weight_type=QuantType.QInt8, extra_options=options
        )
        smaller = partial.stat().st_size < 0.9 * path.stat().st_size
        if smaller:
            write_onnx(path, onnx.load(partial))
    finally:
        logger.setLevel(level)
        partial.unlink(missing_ok=True)
    return smaller


def _answer_anew(bundle: Bundle) -> None:
    path = bundle.folder / GOLDEN
    table = pq.read_table(path)
    asked = [Request(user_id=row["user_id"], history=row["history"], timestamp=row["timestamp"]) for row in table.to_pylist()]
    answers = bundle.answer([bundle.encode(each) for each in asked])
    items = pa.array([[bundle.item_ids[item] for item in each.items] for each in answers], pa.list_(pa.string()))
    scores = pa.array([np.asarray(each.scores).tolist() for each in answers], pa.list_(pa.float64()))
    for name, column in (("items", items), ("scores", scores)):
        table = table.set_column(table.column_names.index(name), name, column)
    pq.write_table(table, path)
