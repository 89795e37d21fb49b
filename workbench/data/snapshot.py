"""Snapshots: a data set as Parquet with a content hash, written whole or not at all, checked on every load.

Three tables. `events`: user_id, item_id, value (float64), timestamp (int64, microseconds since 1970 UTC). `users`, `items`: one row for
every id in the log or in the card's table, sorted by id, so that a row's number is the id's code. All ids and attributes are text.
"""

import datetime
import hashlib
import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from filelock import FileLock

from workbench.data.card import Card, load_card
from workbench.data.source import sha256_of, source_files
from workbench.errors import RequestError, WorkError
from workbench.files import publish_folder, write_json
from workbench.paths import checked_name, home

TABLES = ("events", "users", "items")
MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}


@dataclass(frozen=True)
class Snapshot:
    name: str
    folder: Path
    manifest: dict[str, Any]

    @property
    def id(self) -> str:
        """`<name>@<first 12 hex of the content hash>`."""
        return f"{self.name}@{self.manifest['content_hash'][:12]}"

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A fresh in-memory DuckDB with the views `events`, `users` and `items` over the Parquet files."""
        connection = duckdb.connect()
        for table in TABLES:
            connection.read_parquet(str(self.folder / f"{table}.parquet")).create_view(table)
        return connection

    def pseudonym_key(self) -> bytes:
        """The secret that turns ids into pseudonyms. It stays in this folder: with it in a report, 943 guesses would undo them."""
        return (self.folder / "pseudonyms.key").read_bytes()


def snapshots_folder(name: str) -> Path:
    return home() / "datasets" / "snapshots" / checked_name("data set", name)


def find(name: str, card: Card) -> Path | None:
    """The folder of the snapshot made from this very card, if there is one."""
    for path in sorted(snapshots_folder(name).glob("[0-9a-f]*/manifest.json")):
        if _manifest(path).get("card_fingerprint") == card.fingerprint:
            return path.parent
    return None


def open_snapshot(name: str, folder: Path) -> Snapshot:
    """Raises WorkError with both hashes when a file is not what the manifest says."""
    manifest = _manifest(folder / "manifest.json")
    snapshot = Snapshot(name, folder, manifest)
    for table in TABLES:
        path, expected = folder / f"{table}.parquet", manifest["tables"][table]["sha256"]
        actual = sha256_of(path) if path.is_file() else "nothing"
        if actual != expected:
            raise WorkError(
                f"the snapshot {snapshot.id} is damaged: {path.name} hashes to {actual[:12]}, its manifest says {expected[:12]}. "
                f"Run `workbench data prepare {name}`."
            )
    if not (folder / "pseudonyms.key").is_file():
        raise WorkError(f"the snapshot {snapshot.id} is damaged: pseudonyms.key is missing. Run `workbench data prepare {name}`.")
    return snapshot


def prepare(name: str) -> Snapshot:
    """The snapshot of a data set: the existing one when it is sound, else made anew.

    Two processes at once end with one good snapshot. Raises RequestError for a name or card that is wrong, WorkError when a source file is
    not the one the card describes or the disk does not take the snapshot; nothing unwhole is left behind.
    """
    card = load_card(name)
    root = snapshots_folder(name)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".lock"):
            folder = _sound(name, card) or _build(name, card, root)
    except (OSError, duckdb.IOException) as error:
        raise WorkError(f"could not write the snapshot of {name} under {root}: {str(error).splitlines()[0]}") from error
    return open_snapshot(name, folder)


def _sound(name: str, card: Card) -> Path | None:
    try:
        folder = find(name, card)
        return open_snapshot(name, folder).folder if folder else None
    except WorkError:
        return None


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["content_hash"] and all(manifest["tables"][table]["sha256"] for table in TABLES):
            return dict(manifest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorkError(f"{path} is damaged ({type(error).__name__}). Run `workbench data prepare {path.parent.parent.name}`.") from None
    raise WorkError(f"{path} is damaged. Run `workbench data prepare {path.parent.parent.name}`.")


def _build(name: str, card: Card, root: Path) -> Path:
    files = source_files(card)
    for left_over in root.glob(".partial-*"):  # of a process that was killed; we hold the lock
        shutil.rmtree(left_over)
    partial = root / f".partial-{os.getpid()}"
    partial.mkdir()
    try:
        with duckdb.connect() as connection:
            _create_tables(connection, card, files)
            _check_privacy(connection, card, name)
            tables = {table: _write_table(connection, table, partial) for table in TABLES}
        content = {table: tables[table]["digest"] for table in TABLES}
        content_hash = hashlib.sha256(json.dumps([card.fingerprint, content], sort_keys=True).encode()).hexdigest()
        final = root / content_hash[:12]
        key = final / "pseudonyms.key"
        (partial / "pseudonyms.key").write_bytes(key.read_bytes() if key.is_file() else secrets.token_bytes(32))
        (partial / "pseudonyms.key").chmod(0o600)
        manifest = {
            "schema_version": 1,
            "name": name,
            "content_hash": content_hash,
            "card_version": card.version,
            "card_fingerprint": card.fingerprint,
            "source": card.source,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "tables": tables,
        }
        write_json(partial / "manifest.json", manifest)
        publish_folder(partial, final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return final


def quoted(identifier: str) -> str:
    """A column name as SQL reads it, whatever characters are in it."""
    return '"' + identifier.replace('"', '""') + '"'


def _create_tables(connection: duckdb.DuckDBPyConnection, card: Card, files: dict[str, Path]) -> None:
    columns = card.columns
    read = "read_csv(?, delim = '\t', header = true, all_varchar = true, quote = '', escape = '', strict_mode = true)"
    connection.execute(
        f"""
        CREATE TABLE events AS SELECT
            {quoted(columns.user_id)} AS user_id,
            {quoted(columns.item_id)} AS item_id,
            CAST({quoted(columns.value)} AS DOUBLE) AS value,
            CAST(CAST({quoted(columns.timestamp.column)} AS DECIMAL(28, 6)) * {MICROSECONDS[columns.timestamp.unit]} AS BIGINT) AS timestamp
        FROM {read}""",
        [str(files["events"])],
    )
    for table, key, key_column in (("users", "user_id", columns.user_id), ("items", "item_id", columns.item_id)):
        if table not in files:
            connection.execute(f"CREATE TABLE {table} AS SELECT DISTINCT {key} FROM events")
            continue
        source = connection.execute(f"SELECT * FROM {read} LIMIT 0", [str(files[table])])
        attributes = [d[0] for d in source.description if d[0] != key_column]
        named = "".join(f", attributes.{quoted(a)} AS {quoted(a.rsplit(':', 1)[0])}" for a in attributes)
        connection.execute(
            f"""
            CREATE TABLE {table} AS
            WITH attributes AS (SELECT * FROM {read}),
                 ids AS (SELECT {key} FROM events UNION SELECT {quoted(key_column)} FROM attributes)
            SELECT ids.{key}{named} FROM ids LEFT JOIN attributes ON ids.{key} = attributes.{quoted(key_column)}""",
            [str(files[table])],
        )


def _check_privacy(connection: duckdb.DuckDBPyConnection, card: Card, name: str) -> None:
    for table in TABLES:
        for column in _column_types(connection, table):
            if column not in card.privacy:
                raise RequestError(f'datasets/{name}.toml, [privacy]: the column "{column}" of {table} has no class.')


def _column_types(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    return {d[0]: str(d[1]) for d in connection.execute(f"SELECT * FROM {table} LIMIT 0").description}


def _write_table(connection: duckdb.DuckDBPyConnection, table: str, folder: Path) -> dict[str, Any]:
    """Write one table sorted by all its columns; return its row count, column types, file hash and canonical digest.

    The digest sums a hash of each row: the same for any row order, row groups or writer (Parquet bytes differ by all three).
    """
    path = folder / f"{table}.parquet"
    connection.table(table).order("ALL").write_parquet(str(path))
    rows, low, high = connection.execute(
        f"SELECT count(*), sum(md5_number_lower(to_json(t)::VARCHAR)), sum(md5_number_upper(to_json(t)::VARCHAR)) FROM {table} t"
    ).fetchall()[0]
    types = _column_types(connection, table)
    digest = hashlib.sha256(json.dumps([types, rows, str(low), str(high)], sort_keys=True).encode()).hexdigest()
    return {"rows": rows, "columns": types, "sha256": sha256_of(path), "digest": digest}
