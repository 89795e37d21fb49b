"""From files to the three tables of a snapshot, inside DuckDB: read once, checked, coded. Nothing is written to disk but what does not fit.

`events`: user_code, item_code and the log's columns. `users`, `items`: one row for every id in the log or in the card's table, with
`user_code` or `item_code`, its place in the order of ids. `quarantine`: rows that were set apart, with the reason.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pandas as pd

from workbench.data.card import Card
from workbench.data.contract import Check, Reading, event_reading, table_reading
from workbench.data.engine import MEMORY_LIMIT, connect, literal, quoted
from workbench.data.reading import Source, open_source
from workbench.errors import RequestError, WorkError

TABLES = ("events", "users", "items")
# Names inside DuckDB that no column of a file is likely to have.
FAULT, ALLOWED, ORDINAL, RECORD, SHOWN, RAW = (quoted(f"::{name}") for name in ("fault", "allowed", "ordinal", "record", "shown", "raw"))
KEYS = {"users": "user_id", "items": "item_id"}


@dataclass(frozen=True)
class Tables:
    connection: duckdb.DuckDBPyConnection
    sources: Mapping[str, Source]
    """Of events, users, items: those that were read."""
    notes: list[str] = field(default_factory=list)
    """What the checks found and the card allows."""
    checks: list[tuple[str, str, str]] = field(default_factory=list)
    """(file, check, column) of every check that was made."""

    def columns(self, table: str) -> dict[str, str]:
        """Names and DuckDB types."""
        return {d[0]: str(d[1]) for d in self.connection.execute(f"SELECT * FROM {table} LIMIT 0").description}

    def count(self, query: str) -> int:
        return int(self.connection.execute(f"SELECT count(*) FROM {query}").fetchall()[0][0])


@contextlib.contextmanager
def read_tables(card: Card, files: Mapping[str, Path], *, quarantine: bool = False, memory_limit: str = MEMORY_LIMIT) -> Iterator[Tables]:
    """The tables of a card's files, checked.

    Raises RequestError that names file, row, column, value and mend for the first row that fails a check (with `quarantine`: only when no
    row is left, or when it is a time without a zone, which says that the request is incomplete and not that rows are bad).
    """
    sources = {role: open_source(file, files[role]) for role, file in card.files if file is not None}
    quarantine = quarantine or card.contract.quarantine
    with _within_limits(), connect(memory_limit) as connection:
        tables = Tables(connection, sources)
        connection.execute(
            'CREATE TABLE quarantine (file VARCHAR, "row" BIGINT, "check" VARCHAR, "column" VARCHAR, value VARCHAR, '
            "reason VARCHAR, record VARCHAR)"
        )
        for table, key in KEYS.items():
            if table in sources:
                ref = getattr(card.columns, f"{table[:-1]}_key") or (card.columns.person if table == "users" else card.columns.item_id)
                _read(tables, sources[table], f"{table}_file", table_reading(sources[table], key, ref), card, quarantine)
        others = {table: source for table, source in sources.items() if table in KEYS}
        reading = event_reading(card, sources["events"], others)
        _read(tables, sources["events"], "log", reading, card, quarantine)
        if not tables.count("log"):
            raise _nothing_left(tables)
        _code(tables)
        _check_duplicates(tables, sources["events"], reading, card, quarantine)
        yield tables


@contextlib.contextmanager
def _within_limits() -> Iterator[None]:
    """Memory or disk that runs out while files are read is nobody's bad row."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise WorkError(f"ran out of memory, or of disk beyond it: {str(error).splitlines()[0]} Raise --memory-limit.") from None


def _read(tables: Tables, source: Source, table: str, reading: Reading, card: Card, quarantine: bool) -> None:
    """Create `table` from a file in one pass; only when something is wrong, go back for the rows."""
    allowed = [check for check in reading.checks if check.name in card.contract.allow]
    in_cells = [check for check in _strict(reading, card) if check.seen is None]
    tables.checks.extend((source.name, check.name, check.column) for check in [*reading.checks, reading.twice])
    marks = {FAULT: in_cells, ALLOWED: allowed}
    marked = "".join(f", {_case(checks)} AS {mark}" for mark, checks in marks.items() if checks)
    try:
        tables.connection.execute(
            f"CREATE OR REPLACE TABLE {table} AS SELECT {_names(reading.kept)}{marked} FROM {_cells(source, reading)} AS cells"
        )
        wrong = _wrong(tables, table, reading, card, bool(in_cells))
    except duckdb.ConversionException as error:
        raise RequestError(f"{source.name}: {str(error).splitlines()[0]}") from None
    except (duckdb.InvalidInputException, duckdb.IOException) as error:
        if ".spill-" in str(error):
            raise WorkError(f"could not spill to disk: {str(error).splitlines()[0]}") from None
        if not quarantine or source.file.format == "parquet":
            raise source.explain(error) from None
        wrong = True
    if wrong:
        _judge(tables, source, table, reading, card, quarantine)
        return
    for number, check in enumerate(allowed):
        if rows := tables.count(f"{table} WHERE {ALLOWED} = {number}"):
            tables.notes.append(f'{rows:,} rows of {source.name} fail the check "{check.name}" ({check.column}), which the card allows')
    for mark in (mark for mark, checks in marks.items() if checks):
        tables.connection.execute(f"ALTER TABLE {table} DROP COLUMN {mark}")


def _wrong(tables: Tables, table: str, reading: Reading, card: Card, marked: bool) -> bool:
    """Whether any row of a table that was read fails a check. The log's duplicates are looked for once it is coded, which is cheaper."""
    seen: dict[str | None, list[str]] = {}
    for check in _strict(reading, card):
        if check.seen is not None:
            seen.setdefault(check.distinct, []).append(check.seen)
    if marked and tables.count(f"{table} WHERE {FAULT} IS NOT NULL"):
        return True
    for column, conditions in seen.items():
        looked_through = table if column is None else _distinct(tables, table, column)
        if tables.count(f"{looked_through} AS cells WHERE {' OR '.join(f'({condition})' for condition in conditions)}"):
            return True
    return table != "log" and tables.count(table) > tables.count(f"(SELECT DISTINCT {_names(reading.unique)} FROM {table})")


def _distinct(tables: Tables, table: str, column: str) -> str:
    """The name of a table of the distinct values of a column; made once."""
    name = quoted(f"{table} by {column}")
    tables.connection.execute(f"CREATE TABLE IF NOT EXISTS {name} AS SELECT DISTINCT {quoted(column)} FROM {table}")
    return name


def _nothing_left(tables: Tables) -> RequestError:
    name = tables.sources["events"].name
    apart = tables.connection.execute(
        'SELECT "row", reason, count(*) OVER () FROM quarantine WHERE file = ? ORDER BY "row" LIMIT 1', [name]
    ).fetchall()
    if not apart:
        return RequestError(f"{name} has no events.")
    row, reason, total = apart[0]
    return RequestError(f"{name} has no events left: all {total:,} rows would be set apart, the first of them row {row}: {reason}.")


def _strict(reading: Reading, card: Card) -> list[Check]:
    return [check for check in reading.checks if check.name not in card.contract.allow]


def _names(columns: Iterable[str]) -> str:
    return ", ".join(quoted(name) for name in columns)


def _cells(source: Source, reading: Reading, tolerant: bool = False, ordinals: bool = False) -> str:
    """SQL for a file's cells and what was parsed of them, in two steps, so that nothing is parsed twice."""
    more = f", row_number() OVER () AS {ORDINAL}, to_json({RAW})::VARCHAR AS {RECORD}" if ordinals else ""
    cells, parsed = (", ".join(f"{sql} AS {quoted(name)}" for name, sql in step.items()) for step in (reading.cells, reading.parsed))
    texts = f"(SELECT {cells}{more} FROM {source.relation(tolerant)} AS {RAW})"
    return f"(SELECT *{', ' if parsed else ''}{parsed} FROM {texts} AS texts)"


def _case(checks: list[Check], then: str | None = None) -> str:
    """SQL for the number of the first check that a row fails, NULL for none; or for the `then` of that check."""
    if not checks:
        return "NULL::INTEGER" if then is None else "NULL::VARCHAR"
    branches = (f"WHEN {check.condition} THEN {number if then is None else getattr(check, then)}" for number, check in enumerate(checks))
    return f"CASE {' '.join(branches)} END"


def _judge(tables: Tables, source: Source, table: str, reading: Reading, card: Card, quarantine: bool) -> None:
    """Read a file again, this time knowing the rows. Raises RequestError for the first that fails, or sets all that fail apart."""
    connection = tables.connection
    checks = _strict(reading, card)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE judged AS SELECT {ORDINAL}, {RECORD}, {_names(reading.kept)}, {_case(checks)} AS {FAULT}, "
        f"{_case(checks, 'value')} AS {SHOWN} FROM {_cells(source, reading, tolerant=quarantine, ordinals=True)} AS cells"
    )
    if table != "log" or "duplicate" not in card.contract.allow:
        unique = _names(reading.unique)
        connection.execute(
            f"""
            UPDATE judged SET {FAULT} = {len(checks)}, {SHOWN} = again.told
            FROM (SELECT {ORDINAL} AS number, row_number() OVER same AS n, {reading.twice.value} AS told
                  FROM judged WHERE {FAULT} IS NULL WINDOW same AS (PARTITION BY {unique} ORDER BY {ORDINAL})) AS again
            WHERE {ORDINAL} = again.number AND again.n > 1"""
        )
    checks = [*checks, reading.twice]
    if not quarantine:
        raise _first_failure(connection, source, checks)
    _set_apart(connection, source, checks)
    connection.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT {_names(reading.kept)} FROM judged WHERE {FAULT} IS NULL")
    connection.execute("DROP TABLE judged")
    for column in KEYS.values():
        connection.execute(f"DROP TABLE IF EXISTS {quoted(f'{table} by {column}')}")


def _first_failure(connection: duckdb.DuckDBPyConnection, source: Source, checks: list[Check]) -> RequestError:
    query = f"SELECT {ORDINAL}, {FAULT}, {SHOWN}, count(*) OVER () FROM judged WHERE {FAULT} IS NOT NULL ORDER BY 1 LIMIT 1"
    ordinal, fault, shown, total = connection.execute(query).fetchall()[0]
    check, others = checks[fault], f" (the first of {total:,} rows that fail)" if total > 1 else ""
    reason = _reason(source, check, shown)
    return RequestError(f'{source.name}, row {source.rows([ordinal])[ordinal]}, column "{check.column}": {reason}{others}. {check.mend}')


def _reason(source: Source, check: Check, shown: str | None) -> str:
    if check.names_record and shown:
        shown = str(source.rows([int(shown)])[int(shown)])
    text = " ".join((shown or "").splitlines())
    return check.reason.replace("{value}", text if len(text) <= 80 else f"{text[:80]}…")


def _set_apart(connection: duckdb.DuckDBPyConnection, source: Source, checks: list[Check]) -> None:
    """Move the rows of `judged` that fail, and those that could not be read at all, into `quarantine`."""
    broken = source.rejected(connection)
    failed = connection.execute(f"SELECT {ORDINAL}, TRY_CAST({SHOWN} AS BIGINT), {FAULT} FROM judged WHERE {FAULT} IS NOT NULL").fetchall()
    wanted = {row[0] for row in failed} | {row[1] for row in failed if checks[row[2]].names_record}
    rows = source.rows(wanted, {line for line, _, _ in broken} if source.is_text else ())
    places = pd.DataFrame({"number": rows.keys(), "place": rows.values()}, dtype="int64")
    columns = ["fault", "name", "label", "reason", "names_record"]
    named = pd.DataFrame(
        [(n, check.name, check.column, check.reason, check.names_record) for n, check in enumerate(checks)], columns=columns
    )
    connection.register("places", places)
    connection.register("named", named)
    connection.execute(
        f"""
        INSERT INTO quarantine
        SELECT {literal(source.name)}, here.place, name, label, told, replace(reason, '{{value}}', coalesce(told, '')), record
        FROM (SELECT number, name, label, reason, record,
                     CASE WHEN names_record THEN CAST(earlier.place AS VARCHAR) ELSE shown END AS told
              FROM (SELECT {ORDINAL} AS number, {FAULT} AS fault, {SHOWN} AS shown, {RECORD} AS record FROM judged) AS failing
              JOIN named USING (fault)
              LEFT JOIN (SELECT number AS earlier_number, place FROM places) AS earlier
                ON names_record AND TRY_CAST(shown AS BIGINT) = earlier_number) AS told_of
        JOIN places AS here USING (number)"""
    )
    if broken:
        connection.register("broken", pd.DataFrame(broken, columns=["line", "text", "why"]))
        connection.execute(f'DELETE FROM quarantine WHERE file = {literal(source.name)} AND "row" IN (SELECT line FROM broken)')
        connection.execute(f"INSERT INTO quarantine SELECT {literal(source.name)}, line, 'broken row', '', '', why, text FROM broken")


def _code(tables: Tables) -> None:
    """Ids become places in the order of ids, as text; `log` becomes `events`."""
    connection = tables.connection
    for table, key in KEYS.items():
        code, known = f"{table[:-1]}_code", table in tables.sources
        ids = f"SELECT {key} FROM {_distinct(tables, 'log', key)}" + (f" UNION SELECT {key} FROM {table}_file" if known else "")
        joined = f"LEFT JOIN {table}_file USING ({key})" if known else ""
        connection.execute(
            f"""
            CREATE OR REPLACE TABLE {table} AS
            SELECT CAST(row_number() OVER (ORDER BY {key}) - 1 AS INTEGER) AS {code}, *
            FROM ({ids}) {joined}"""
        )
    connection.execute(
        "CREATE OR REPLACE TABLE events AS SELECT user_code, item_code, log.* EXCLUDE (user_id, item_id) "
        "FROM log JOIN (SELECT user_id, user_code FROM users) USING (user_id) JOIN (SELECT item_id, item_code FROM items) USING (item_id)"
    )
    connection.execute("DROP TABLE log")


def _check_duplicates(tables: Tables, source: Source, reading: Reading, card: Card, quarantine: bool) -> None:
    """Equal rows have equal hashes, so as many hashes as rows mean no duplicates; only else rows are compared."""
    columns = _names(tables.columns("events"))
    if tables.count("events") == tables.count(f"(SELECT DISTINCT hash({columns}) FROM events)"):
        return
    again = tables.count("events") - tables.count(f"(SELECT DISTINCT {columns} FROM events)")
    if again and "duplicate" in card.contract.allow:
        tables.notes.append(f"{again:,} events of {source.name} are the same as another in every column, which the card allows")
    elif again:
        _judge(tables, source, "log", reading, card, quarantine)
        _code(tables)
