"""Who runs the SQL: DuckDB with its own as-of join, or Spark with the form of it that is plain SQL."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.data.engine import connect
from workbench.errors import RequestError

ENGINES = ("duckdb", "spark")


class Engine(Protocol):
    def register(self, name: str, table: pa.Table) -> None:
        """Make a table known under a name."""
        ...

    def make(self, name: str, query: str) -> None:
        """Keep the answer to a query under a name."""
        ...

    def as_of(self, wanted: str, keys: Sequence[str], lookups: Sequence[tuple[str, str, int, Sequence[str]]]) -> str:
        """SQL for the rows of the table `wanted` with what streams say strictly before its timestamp less an offset. A row of `wanted` is
        told by its place, and by its group where groups are among the keys.

        lookups: prefix, the stream's table, offset in microseconds, columns; they come as prefix_column, NULL where there is nothing.
        """
        ...

    def fetch(self, query: str) -> pa.Table: ...


class DuckDb:
    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection

    def register(self, name: str, table: pa.Table) -> None:
        self.connection.register(name, table)

    def make(self, name: str, query: str) -> None:
        self.connection.execute(f"CREATE TEMP TABLE {name} AS {query}")

    def as_of(self, wanted: str, keys: Sequence[str], lookups: Sequence[tuple[str, str, int, Sequence[str]]]) -> str:
        columns, joins = ["w.*"], []
        for prefix, stream, offset, wanted_columns in lookups:
            same = " AND ".join(f"w.{key} = {prefix}.{key}" for key in keys)
            joins.append(f" ASOF LEFT JOIN {stream} AS {prefix} ON {same} AND w.timestamp - {offset} > {prefix}.timestamp")
            columns += [f"{prefix}.{column} AS {prefix}_{column}" for column in wanted_columns]
        return f"SELECT {', '.join(columns)} FROM {wanted} AS w{''.join(joins)}"

    def fetch(self, query: str) -> pa.Table:
        return self.connection.sql(query).to_arrow_table()


class Spark:
    """Tables go in and out as Parquet: integers of microseconds, so that no zone can shift them."""

    def __init__(self, session: Any, folder: Path) -> None:
        self.session, self.folder = session, folder

    def register(self, name: str, table: pa.Table) -> None:
        path = self.folder / f"{name}.parquet"
        pq.write_table(table, path)
        self.session.read.parquet(str(path)).createOrReplaceTempView(name)

    def make(self, name: str, query: str) -> None:
        self.session.sql(query).write.mode("overwrite").parquet(str(self.folder / name))
        self.session.read.parquet(str(self.folder / name)).createOrReplaceTempView(name)

    def as_of(self, wanted: str, keys: Sequence[str], lookups: Sequence[tuple[str, str, int, Sequence[str]]]) -> str:
        """Both sides in one column of moments, the asking first where they are equal; each row of the stream opens a group, and whoever
        asks within the group gets what it says."""
        named, columns, joins = ", ".join(keys), ["w.*"], []
        told_by = ["place", *(key for key in keys if key == "grp")]
        for prefix, stream, offset, wanted_columns in lookups:
            asking = ["place", *(f"NULL AS {column}" for column in wanted_columns)]
            saying = ["CAST(NULL AS BIGINT) AS place", *wanted_columns]
            both = (
                f"SELECT {named}, timestamp - {offset} AS at, 0 AS side, {', '.join(asking)} FROM {wanted} UNION ALL "
                f"SELECT {named}, timestamp AS at, 1 AS side, {', '.join(saying)} FROM {stream}"
            )
            opened = f"sum(side) OVER (PARTITION BY {named} ORDER BY at, side ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS opened"
            spread = ", ".join(f"max({column}) OVER (PARTITION BY {named}, opened) AS {column}" for column in wanted_columns)
            groups = f"SELECT {named}, place, {spread} FROM (SELECT *, {opened} FROM ({both}) AS b) AS o"
            same = " AND ".join(f"w.{key} = {prefix}.{key}" for key in told_by)
            joins.append(f" LEFT JOIN (SELECT * FROM ({groups}) AS s WHERE place IS NOT NULL) AS {prefix} ON {same}")
            columns += [f"{prefix}.{column} AS {prefix}_{column}" for column in wanted_columns]
        return f"SELECT {', '.join(columns)} FROM {wanted} AS w{''.join(joins)}"

    def fetch(self, query: str) -> pa.Table:
        self.session.sql(query).write.mode("overwrite").parquet(str(self.folder / "answer"))
        return pq.read_table(self.folder / "answer")


@contextmanager
def opened(name: str, threads: int | None = None) -> Iterator[Engine]:
    """An engine for a while. Raises RequestError for a name that is none, and for Spark where it is not installed."""
    if name == "duckdb":
        with connect() as connection:
            if threads:
                connection.execute(f"SET threads = {threads}")
            yield DuckDb(connection)
        return
    if name != "spark":
        raise RequestError(f'engine = "{name}" should be one of {", ".join(ENGINES)}.')
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        raise RequestError("engine = spark needs pyspark and Java: install the extra `spark` of this package.") from None
    builder = SparkSession.builder.master(f"local[{threads or 2}]").config("spark.ui.enabled", "false")
    session = builder.config("spark.sql.shuffle.partitions", "4").config("spark.sql.ansi.enabled", "false").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    with TemporaryDirectory() as folder:
        try:
            yield Spark(session, Path(folder))
        finally:
            session.stop()
