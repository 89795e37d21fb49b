"""Spark makes of a log what DuckDB makes of it."""

import pytest
import torch

from tests.features import oracle
from tests.features.made import made, some_asks, some_log, thorough
from workbench.features import build_features, feature


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_spark_equals_duckdb():
    pytest.importorskip("pyspark")
    log, asked, definitions = some_log(), some_asks(30), [*thorough(delays=(0.25,)), feature("year", "item", "attribute", of="year")]
    found, wanted = (build_features(definitions, made(log), asked, engine=engine) for engine in ("spark", "duckdb"))
    for place, each in enumerate(definitions):
        near = 0 if each.aggregation in oracle.EXACT and each.entity != "user_group" else 1e-9
        torch.testing.assert_close(found.values[:, place], wanted.values[:, place], rtol=near, atol=0, equal_nan=True, msg=each.name)
    assert found.names == wanted.names
    oracle.check(found.values[:, :-1], definitions[:-1], log, asked)
