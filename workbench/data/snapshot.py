"""Snapshots: a data set as Parquet with a content hash, written whole or not at all, checked on every load.

Three tables. `events`: user_id, item_id, value (float64), timestamp (int64, microseconds since 1970 UTC). `users`, `items`: one row for
every id in the log or in the card's table, sorted by id, so that a row's number is the id's code. All ids and attributes are text.
"""

import contextlib
import datetime
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from filelock import FileLock

from workbench.data.card import Card, load_card
from workbench.data.source import sha256_of, source_files
from workbench.errors import RequestError, WorkError
from workbench.files import publish_folder, whole_file, write_json
from workbench.paths import checked_name, home

KEY, KEY_BYTES = "pseudonyms.key", 32
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

    @property
    def origin(self) -> dict[str, Any]:
        """What a run record says of its data."""
        return {"name": self.name, "snapshot": self.id, "events": self.manifest["tables"]["events"]["rows"]}

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A fresh in-memory DuckDB with the views `events`, `users` and `items` over the Parquet files."""
        connection = duckdb.connect()
        for table in TABLES:
            connection.read_parquet(str(self.folder / f"{table}.parquet")).create_view(table)
        return connection

    def pseudonym_key(self) -> bytes:
        """The secret that turns ids into pseudonyms; one for all snapshots of a data set. In a report, 943 guesses would undo them."""
        return (self.folder.parent / KEY).read_bytes()


def snapshots_folder(name: str) -> Path:
    return home() / "datasets" / "snapshots" / checked_name("data set", name)


def find(name: str, card: Card) -> Path | None:
    """The folder of the snapshot made from this very card, if there is one. Raises WorkError when the only candidates cannot be read."""
    damaged: WorkError | None = None
    for path in sorted(snapshots_folder(name).glob("[0-9a-f]*/manifest.json")):
        try:
            if _manifest(path)["card_fingerprint"] == card.fingerprint:
                return path.parent
        except WorkError as error:
            damaged = error
    if damaged:
        raise damaged
    return None


def open_snapshot(name: str, folder: Path) -> Snapshot:
    """Raises WorkError with both hashes when a file is not what the manifest says, or the manifest not its folder's."""
    manifest = _manifest(folder / "manifest.json")
    snapshot = Snapshot(name, folder, manifest)
    for table in TABLES:
        path, expected = folder / f"{table}.parquet", manifest["tables"][table]["sha256"]
        actual = sha256_of(path) if path.is_file() else "nothing"
        if actual != expected:
            hashes = f"{path.name} hashes to {actual[:12]}, its manifest says {expected[:12]}"
            raise WorkError(f"the snapshot {snapshot.id} is damaged: {hashes}. {_mend(name)}")
    if not _has_key(folder.parent):
        raise WorkError(f"the snapshot {snapshot.id} is damaged: {KEY} is missing or too short. {_mend(name)}")
    return snapshot


def prepare(name: str) -> Snapshot:
    """The snapshot of a data set: the existing one when it is sound, else made anew.

    Two processes at once end with one good snapshot. Raises RequestError for a name, card or source that is wrong, before anything is
    written, and WorkError when a source file is not the one the card describes or the disk is full; nothing unwhole is left behind.
    """
    card = load_card(name)
    if snapshot := _sound(name, card):
        return snapshot
    root = snapshots_folder(name)
    with _tables(name, card) as connection:
        try:
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(root / ".lock"):
                return _sound(name, card) or open_snapshot(name, _write(connection, name, card, root))
        except (OSError, duckdb.IOException) as error:
            raise WorkError(f"could not write the snapshot of {name} under {root}: {str(error).splitlines()[0]}") from error


def catalogue_size(name: str) -> int:
    """Number of items in a data set, out of its snapshot or, where there is none yet, out of its source. Writes nothing."""
    card = load_card(name)
    if folder := find(name, card):
        return int(open_snapshot(name, folder).manifest["tables"]["items"]["rows"])
    with _tables(name, card) as connection:
        return int(connection.execute("SELECT count(*) FROM items").fetchall()[0][0])


def _has_key(root: Path) -> bool:
    return (root / KEY).is_file() and (root / KEY).stat().st_size == KEY_BYTES


def _mend(name: str) -> str:
    return f"Run `workbench data prepare {name}`."


def _sound(name: str, card: Card) -> Snapshot | None:
    try:
        folder = find(name, card)
        return open_snapshot(name, folder) if folder else None
    except WorkError:
        return None


def _manifest(path: Path) -> dict[str, Any]:
    """Raises WorkError for a manifest that is no JSON, lacks something, or does not belong to its folder."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest.pop("sha256") != _sealed(manifest)["sha256"]:
            raise ValueError("it does not hash to what it says")
        digests = {table: manifest["tables"][table]["digest"] for table in TABLES}
        found = _content_hash(manifest["card_fingerprint"], digests)
        if manifest["content_hash"] == found and path.parent.name == found[:12]:
            return dict(manifest)
        reason = f"its tables hash to {found[:12]}, the folder is {path.parent.name}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error) or type(error).__name__
    raise WorkError(f"{path} is damaged ({reason}). {_mend(path.parent.parent.name)}")


def _sealed(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest with a hash over all of itself."""
    return {**manifest, "sha256": hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()}


def _content_hash(card_fingerprint: str, digests: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps([card_fingerprint, digests], sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def _tables(name: str, card: Card) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with the three tables, read from the source and checked; in memory, nothing written."""
    files = source_files(card)
    with duckdb.connect() as connection:
        try:
            _create_tables(connection, card, files)
        except duckdb.Error as error:
            raise RequestError(f"datasets/{name}.toml does not fit its files: {str(error).splitlines()[0]}") from None
        _check_contract(connection, card, name)
        yield connection


def _write(connection: duckdb.DuckDBPyConnection, name: str, card: Card, root: Path) -> Path:
    """Write the tables into a folder of their own and give it its name. The caller holds the lock."""
    for left_over in root.glob(".partial-*"):  # of a process that was killed
        shutil.rmtree(left_over)
    if not _has_key(root):
        with whole_file(root / KEY) as path:
            path.touch(mode=0o600)
            path.write_bytes(secrets.token_bytes(KEY_BYTES))
    partial = root / f".partial-{os.getpid()}"
    partial.mkdir()
    try:
        tables = {table: _write_table(connection, table, partial) for table in TABLES}
        content_hash = _content_hash(card.fingerprint, {table: tables[table]["digest"] for table in TABLES})
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
        write_json(partial / "manifest.json", _sealed(manifest))
        final = root / content_hash[:12]
        if final.exists():  # and is damaged, or it would have been used
            final.rename(root / f".partial-{os.getpid()}.damaged")
        publish_folder(partial, final)
    finally:
        for rest in root.glob(f".partial-{os.getpid()}*"):
            shutil.rmtree(rest, ignore_errors=True)
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


def _check_contract(connection: duckdb.DuckDBPyConnection, card: Card, name: str) -> None:
    """Raises RequestError for a column without a privacy class, an empty cell in an event, an id twice in a table, and an empty log."""
    for table in TABLES:
        for column in _column_types(connection, table):
            if column not in card.privacy:
                raise RequestError(f'datasets/{name}.toml, [privacy]: the column "{column}" of {table} has no class.')
    empty = connection.execute("SELECT count(*) = 0 FROM events").fetchall()[0][0]
    if empty:
        raise RequestError(f"{card.files.events.name} has no events.")
    for column in ("user_id", "item_id", "value", "timestamp"):
        missing = connection.execute(f"SELECT count(*) FROM events WHERE {column} IS NULL").fetchall()[0][0]
        if missing:
            raise RequestError(
                f"{card.files.events.name}: {missing:,} events have no {column}. Mend the file; an empty cell is not a zero."
            )
    for table, key in (("users", "user_id"), ("items", "item_id")):
        twice = connection.execute(f"SELECT {key} FROM {table} GROUP BY {key} HAVING count(*) > 1 ORDER BY {key} LIMIT 1").fetchall()
        if twice:
            raise RequestError(f'the table of {table} has the {key} "{twice[0][0]}" more than once.')


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
