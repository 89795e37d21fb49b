"""Snapshots: a data set as Parquet with a content hash, written whole or not at all, checked on every load.

`events`: user_code, item_code (int32, the places of the ids in the tables below) and the columns that the card names: timestamp (int64,
microseconds since 1970 UTC), value, event, position, propensity, request_id, session_id and context; sorted by person, time, item.
`users`, `items`: code, id and attributes as text, one row for every id in the log or in the card's table, in the order of ids.
`quarantine`, where rows were set apart: file, row, check, column, value, reason, record.
"""

import contextlib
import datetime
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
from filelock import FileLock

from workbench.data.card import Card, load_card
from workbench.data.contract import against_previous
from workbench.data.digest import content_digest
from workbench.data.engine import MEMORY_LIMIT, connect, file_literal, literal, quoted, sweep_spills
from workbench.data.source import at_hand, source_files
from workbench.data.statistics import column_statistics
from workbench.data.tables import TABLES, Tables, read_tables
from workbench.errors import RequestError, WorkError, unknown
from workbench.files import publish_folder, sha256_of, whole_file, write_json
from workbench.paths import checked_name, home

KEY, KEY_BYTES = "pseudonyms.key", 32
SCHEMA_VERSION = 2
ORDER = {"events": ("user_code", "timestamp", "item_code"), "users": ("user_code",), "items": ("item_code",)}
"""What each table is sorted by; its other columns decide what is left open."""


@dataclass(frozen=True, repr=False)
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
        return {"name": self.name, "snapshot": self.id, "events": self.rows("events")}

    def rows(self, table: str) -> int:
        return int(self.manifest["tables"][table]["rows"])

    def columns(self, table: str) -> dict[str, str]:
        """Names and DuckDB types, as stored."""
        return dict(self.manifest["tables"][table]["columns"])

    def __repr__(self) -> str:
        return f"Snapshot({self.id}: {self.rows('events'):,} events)"

    @property
    def has_times(self) -> bool:
        return "timestamp" in self.columns("events")

    def ids(self, table: str) -> list[str]:
        """Of `users` or `items`; an id's code is its place here."""
        key = f"{table[:-1]}_id"
        return list(pq.read_table(self.folder / f"{table}.parquet", columns=[key])[key].to_pylist())

    def cells(self, table: str, column: str) -> list[str | None]:
        """A column of `users` or `items`, in the order of codes."""
        return list(pq.read_table(self.folder / f"{table}.parquet", columns=[column])[column].to_pylist())

    def connect(self, memory_limit: str = MEMORY_LIMIT) -> duckdb.DuckDBPyConnection:
        """A fresh in-memory DuckDB with views over the Parquet files.

        `coded_events` is the file with `place`, a row's number from 0; `events` has ids in place of codes. `timestamp`, `value` and `event`
        are NULL where the log has none.
        """
        connection = connect(memory_limit)
        for table in ("users", "items"):
            connection.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet({file_literal(self.folder / f'{table}.parquet')})")
        absent = {"timestamp": "BIGINT", "value": "DOUBLE", "event": "VARCHAR"}
        nothing = "".join(f", NULL::{kind} AS {name}" for name, kind in absent.items() if name not in self.columns("events"))
        path = file_literal(self.folder / "events.parquet")
        connection.execute(
            "CREATE VIEW coded_events AS "
            f"SELECT * EXCLUDE (file_row_number), file_row_number AS place{nothing} FROM read_parquet({path}, file_row_number = true)"
        )
        connection.execute(f"CREATE VIEW events AS SELECT * EXCLUDE (place) FROM ({with_ids('coded_events', 'users', 'items')})")
        return connection

    def pseudonym_key(self) -> bytes:
        """The secret that turns ids into pseudonyms; one for all snapshots of a data set. In a report, 943 guesses would undo them."""
        return (self.folder.parent / KEY).read_bytes()


def with_ids(events: str, users: str, items: str) -> str:
    """SQL for coded events with ids in place of codes, which mean something in their own snapshot alone; each argument SQL for a table."""
    return (
        f"SELECT user_id, item_id, e.* EXCLUDE (user_code, item_code) FROM {events} AS e "
        f"JOIN (SELECT user_code, user_id FROM {users}) USING (user_code) JOIN (SELECT item_code, item_id FROM {items}) USING (item_code)"
    )


def snapshots_folder(name: str) -> Path:
    return home() / "datasets" / "snapshots" / checked_name("data set", name)


def find(name: str, card: Card) -> Path | None:
    """The folder of the snapshot made from this very card, if there is one. Raises WorkError when the only candidates cannot be read."""
    damaged: WorkError | None = None
    for path in _manifests(name):
        try:
            manifest = _manifest(path)
            if manifest["schema_version"] == SCHEMA_VERSION and manifest["card_fingerprint"] == card.fingerprint:
                return path.parent
        except WorkError as error:
            damaged = error
    if damaged:
        raise damaged
    return None


def versions(name: str) -> list[Snapshot]:
    """All snapshots of a data set, oldest first, by their manifests; what is damaged or of an older format is left out."""
    found = []
    for path in _manifests(name):
        with contextlib.suppress(WorkError):
            manifest = _manifest(path)
            if manifest["schema_version"] == SCHEMA_VERSION:
                found.append(Snapshot(name, path.parent, manifest))
    return sorted(found, key=lambda snapshot: (snapshot.manifest["created"], snapshot.id))


def version(text: str) -> Snapshot:
    """The snapshot called `name@hash`, of which the first hex suffice, or the current one of `name`. Raises RequestError that lists
    them."""
    name, at, prefix = text.partition("@")
    card = load_card(name)
    if not at:
        folder = find(name, card)
        if folder is None:
            raise RequestError(f"{name} has no snapshot of its card as it is. Run `workbench data prepare {name}`.")
        return open_snapshot(name, folder)
    known = {snapshot.id: snapshot for snapshot in versions(name)}
    matching = [snapshot for each, snapshot in known.items() if prefix and each.startswith(text)]
    if len(matching) != 1:
        raise unknown("snapshot", text, known)
    return open_snapshot(name, matching[0].folder)


def open_snapshot(name: str, folder: Path) -> Snapshot:
    """Raises WorkError with both hashes when a file is not what the manifest says, or the manifest not its folder's."""
    manifest = _manifest(folder / "manifest.json")
    snapshot = Snapshot(name, folder, manifest)
    for file, expected in manifest["files"].items():
        path = folder / file
        actual = sha256_of(path) if path.is_file() else "nothing"
        if actual != expected:
            hashes = f"{path.name} hashes to {actual[:12]}, its manifest says {expected[:12]}"
            raise WorkError(f"the snapshot {snapshot.id} is damaged: {hashes}. {_mend(name)}")
    if not _has_key(folder.parent):
        raise WorkError(f"the snapshot {snapshot.id} is damaged: {KEY} is missing or too short. {_mend(name)}")
    return snapshot


def prepare(name: str, *, quarantine: bool = False, memory_limit: str = MEMORY_LIMIT) -> Snapshot:
    """The snapshot of a data set: the existing one when it is sound, else made anew.

    Two processes at once end with one good snapshot. Raises RequestError for a name, card, source or row that is wrong, before anything is
    written, and WorkError when a source file is not the one the card describes or the disk is full; nothing unwhole is left behind.
    With `quarantine`, rows that fail a check are set apart and not an error.
    """
    card = load_card(name)
    if snapshot := _sound(name, card):
        return snapshot
    with read_tables(card, source_files(card), quarantine=quarantine, memory_limit=memory_limit) as tables:
        return publish(name, card, tables)


def publish(name: str, card: Card, tables: Tables, allow: Collection[str] = ()) -> Snapshot:
    """Write tables that were read and checked as the snapshot of `card`. Raises as `prepare` does.

    allow: changes against the previous snapshot that are meant, beside what the card allows.
    """
    _check_card(card, tables, name)
    root = snapshots_folder(name)
    try:
        with _locked(root):
            return _sound(name, card) or open_snapshot(name, _write(tables, name, card, root, allow))
    except (OSError, duckdb.IOException) as error:
        raise WorkError(f"could not write the snapshot of {name} under {root}: {str(error).splitlines()[0]}") from error


def catalogue_size(name: str) -> int | None:
    """Number of items in a data set, out of its snapshot or, where there is none yet, out of its source. Writes and fetches nothing.

    None when the source would have to be fetched first.
    """
    card = load_card(name)
    if folder := find(name, card):
        return open_snapshot(name, folder).rows("items")
    if not at_hand(card):
        return None
    with read_tables(card, source_files(card)) as tables:
        return tables.count("items")


def _check_card(card: Card, tables: Tables, name: str) -> None:
    """Raises RequestError for a column of the snapshot without a privacy class, and for a slice by a column that is not there."""
    for group, by in card.slices.items():
        if by.column not in tables.columns(by.table):
            raise RequestError(
                f"datasets/{name}.toml, [slices] {group}: {unknown(f'column of {by.table}', by.column, tables.columns(by.table))}"
            )
    for table in TABLES:
        for column in tables.columns(table):
            if column not in card.privacy and column not in ("user_code", "item_code"):
                raise RequestError(f'datasets/{name}.toml, [privacy]: the column "{column}" of {table} has no class.')


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Hold the lock of a data set; folders made for that are removed again when nothing came of it."""
    made = [folder for folder in (root, root.parent) if not folder.exists()]
    root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(root / ".lock"):
            yield
    except BaseException:
        if made:
            (root / ".lock").unlink(missing_ok=True)
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _manifests(name: str) -> list[Path]:
    return sorted(snapshots_folder(name).glob("[0-9a-f]*/manifest.json"))


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
        if manifest["schema_version"] == SCHEMA_VERSION:
            found = _content_hash(manifest)
            if manifest["content_hash"] != found or path.parent.name != found[:12]:
                raise ValueError(f"its tables hash to {found[:12]}, the folder is {path.parent.name}")
        return dict(manifest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error) or type(error).__name__
    raise WorkError(f"{path} is damaged ({reason}). {_mend(path.parent.parent.name)}")


def _sealed(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest with a hash over all of itself."""
    return {**manifest, "sha256": hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()}


def _content_hash(manifest: dict[str, Any]) -> str:
    digests = {table: manifest["tables"][table]["digest"] for table in TABLES}
    return hashlib.sha256(json.dumps([manifest["meaning_fingerprint"], digests], sort_keys=True).encode()).hexdigest()


def _write(tables: Tables, name: str, card: Card, root: Path, allow: Collection[str]) -> Path:
    """Write the tables into a folder of their own and give it its name. The caller holds the lock."""
    sweep_spills()
    for left_over in root.glob(".partial-*"):  # of a process that was killed
        shutil.rmtree(left_over)
    partial = root / f".partial-{os.getpid()}"
    partial.mkdir()
    try:
        manifest = _described(tables, name, card, partial, allow)
        if not _has_key(root):
            with whole_file(root / KEY) as path:
                path.touch(mode=0o600)
                path.write_bytes(secrets.token_bytes(KEY_BYTES))
        write_json(partial / "manifest.json", _sealed(manifest))
        final = root / str(manifest["content_hash"])[:12]
        if final.exists():  # and is damaged, or of a card that named another source
            final.rename(root / f".partial-{os.getpid()}.old")
        publish_folder(partial, final)
    finally:
        for rest in root.glob(f".partial-{os.getpid()}*"):
            shutil.rmtree(rest, ignore_errors=True)
    return final


def _described(tables: Tables, name: str, card: Card, folder: Path, allow: Collection[str]) -> dict[str, Any]:
    """Write the Parquet files and say what is in them. Raises RequestError when that does not go with the previous snapshot."""
    described = {table: _write_table(tables, table, folder) for table in TABLES}
    earlier = versions(name)
    notes = against_previous(card.contract, allow, described, earlier[-1].manifest["tables"], name) if earlier else []
    apart = tables.connection.execute('SELECT file, "check", "column", count(*) FROM quarantine GROUP BY ALL ORDER BY ALL').fetchall()
    if apart:
        _copy(tables, "SELECT * FROM quarantine ORDER BY ALL", folder / "quarantine.parquet")
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "parent": earlier[-1].id if earlier else None,
        "card_version": card.version,
        "card_fingerprint": card.fingerprint,
        "meaning_fingerprint": card.meaning_fingerprint,
        "card": json.loads(card.model_dump_json(by_alias=True)),
        "source": card.source,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds"),
        "tables": described,
        "files": {path.name: sha256_of(path) for path in sorted(folder.glob("*.parquet"))},
        "quarantined": [{"file": file, "check": check, "column": column, "rows": rows} for file, check, column, rows in apart],
        "checks": [list(check) for check in tables.checks],
        "notes": [*tables.notes, *notes],
    }
    return {**manifest, "content_hash": _content_hash(manifest)}


def _write_table(tables: Tables, table: str, folder: Path) -> dict[str, Any]:
    """Write one table, sorted; return its row count, column types and statistics, and its canonical digest."""
    columns = tables.columns(table)
    order = [name for name in ORDER[table] if name in columns]
    order += [quoted(name) for name in columns if name not in order]
    path = folder / f"{table}.parquet"
    _copy(tables, f"SELECT * FROM {table} ORDER BY {', '.join(order)}", path)
    return {
        "rows": tables.count(table),
        "columns": columns,
        "statistics": column_statistics(tables, table),
        "digest": content_digest(tables.connection, path),
    }


def _copy(tables: Tables, query: str, path: Path) -> None:
    tables.connection.execute(f"COPY ({query}) TO {literal(str(path))} (FORMAT parquet)")
