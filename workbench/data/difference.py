"""What changed between two snapshots."""

from typing import Any

from workbench.data.engine import connect, file_literal, quoted
from workbench.data.snapshot import Snapshot, with_ids
from workbench.data.tables import TABLES


def difference(before: Snapshot, after: Snapshot) -> list[str]:
    """One line for each change: rows and columns of every table, what the card says. Empty for the same content."""
    lines = [line for table in TABLES for line in _table(before, after, table)]
    return lines + list(_card("", before.manifest["card"], after.manifest["card"]))


def _table(before: Snapshot, after: Snapshot, table: str) -> list[str]:
    old, new = before.columns(table), after.columns(table)
    lines = [f"{table}: the column {name} is gone" for name in old if name not in new]
    lines += [f"{table}: the column {name} is new" for name in new if name not in old]
    if before.manifest["tables"][table]["digest"] == after.manifest["tables"][table]["digest"]:
        return lines
    shared = [name for name in old if name in new and name not in ("user_code", "item_code")]
    with connect() as connection:
        for name, snapshot in (("old", before), ("new", after)):
            connection.execute(f"CREATE VIEW {name} AS {_readable(snapshot, table, shared)}")
        counts = [
            connection.execute(f"SELECT count(*) FROM (SELECT * FROM {a} EXCEPT ALL SELECT * FROM {b})").fetchall()[0][0]
            for a, b in (("old", "new"), ("new", "old"))
        ]
    of = f" in the columns both have ({', '.join(shared)})" if old.keys() != new.keys() else ""
    if any(counts):
        lines.append(f"{table}: {counts[0]:,} rows removed, {counts[1]:,} added{of}; {before.rows(table):,} → {after.rows(table):,}")
    return lines


def _readable(snapshot: Snapshot, table: str, columns: list[str]) -> str:
    """SQL for these columns of a table, events with ids in place of codes."""
    path = {each: f"read_parquet({file_literal(snapshot.folder / f'{each}.parquet')})" for each in TABLES}
    if table == "events":
        columns, path[table] = ["user_id", "item_id", *columns], f"({with_ids(path['events'], path['users'], path['items'])})"
    return f"SELECT {', '.join(quoted(name) for name in columns)} FROM {path[table]}"


def _card(place: str, before: Any, after: Any) -> list[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [*before, *(key for key in after if key not in before)]
        return [line for key in keys for line in _card(f"{place}.{key}".removeprefix("."), before.get(key), after.get(key))]
    return [] if before == after else [f"card, {place}: {_shown(before)} → {_shown(after)}"]


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)
