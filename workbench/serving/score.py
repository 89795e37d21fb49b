"""`workbench score`: a file of requests into a file of lists."""

import csv
import io
import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workbench.errors import RequestError
from workbench.files import whole_file
from workbench.serving.bundle import Bundle
from workbench.serving.requests import Answer, Asked, Request

FORMATS = (".parquet", ".csv", ".jsonl")
COLUMNS = ("user_id", "history", "timestamp")
SCHEMA = pa.schema(
    [
        ("request", pa.int64()),
        ("user_id", pa.string()),
        ("place", pa.int64()),
        ("item_id", pa.string()),
        ("score", pa.float64()),
        ("chance", pa.float64()),
        ("served_by", pa.string()),
    ]
)
TOGETHER = 1024
LONGEST = 2**31 - 1
"""Characters of a cell of a CSV file: what `csv` can count."""
LATEST = 2**61
"""Microseconds either side of 1970 that anything here reckons with."""


def score_file(bundle: Bundle, source: Path, target: Path, *, k: int | None = None, trace: bool = False) -> tuple[int, int, int]:
    """Requests, rows written, and requests that the fallback served. The format is that of the file's name: Parquet, CSV or JSON Lines.

    source: columns user_id, and if wanted history (a list of item ids, in CSV as JSON) and timestamp (microseconds since 1970 UTC, or
    ISO 8601). target: there whole or not at all.

    Raises RequestError, naming the row, for requests that cannot be read.
    """
    for path, what in ((source, "--input"), (target, "--output")):
        if path.suffix not in FORMATS:
            raise RequestError(f"{what} {path} should end in one of {', '.join(FORMATS)}.")
    if k is not None and k < 1:
        raise RequestError(f"-k {k} should be at least 1.")
    if not target.absolute().parent.is_dir():
        raise RequestError(f"--output {target}: there is no folder {target.absolute().parent}.")
    if target.is_dir():
        raise RequestError(f"--output {target} is a folder: name a file.")
    if not os.access(target.absolute().parent, os.W_OK):
        raise RequestError(f"--output {target}: nothing may be written into {target.absolute().parent}.")
    if target.resolve() == source.resolve():
        raise RequestError(f"--output {target} is the input: name another file.")
    if bundle.folder.resolve() in target.resolve().parents:
        raise RequestError(f"--output {target} is in the bundle, which is as it was promoted: name a file elsewhere.")
    requests = list(read_requests(source))
    schema = SCHEMA.append(pa.field("trace", pa.string())) if trace else SCHEMA
    n = fallback = 0
    with whole_file(target) as partial, _writer(partial, target.suffix, schema) as write:
        for start in range(0, len(requests), TOGETHER):
            some = requests[start : start + TOGETHER]
            asked = _asked(bundle, some, start)
            answers = bundle.answer(asked, k)
            rows = list(_rows(bundle, some, asked, answers, start, trace))
            write(pa.Table.from_pylist(rows, schema))
            n += len(rows)
            fallback += sum(each.fallback for each in answers)
    return len(requests), n, fallback


def read_requests(source: Path) -> Iterator[Request]:
    """Raises RequestError, naming the row, counted from 1 without a header."""
    try:
        rows = _read(source)
    except UnicodeDecodeError as error:
        raise RequestError(f"--input {source} cannot be read: it is no UTF-8 ({error.reason}); save it as UTF-8.") from None
    except (OSError, pa.ArrowException, OverflowError, csv.Error) as error:
        raise RequestError(f"--input {source} cannot be read: {' '.join(str(error).split())}.") from None
    for number, row in enumerate(rows, start=1):
        where = f"{source.name}, row {number}"
        if not isinstance(row, dict):
            raise RequestError(f"{where}: a request has user_id, history or both.")
        if None in row:
            raise RequestError(f"{where}: it has more cells than the header has names.")
        _check_columns(list(row), where)
        yield Request(
            user_id=_id(row.get("user_id"), f"{where}, user_id"),
            history=_history(row.get("history"), where),
            timestamp=_moment(row.get("timestamp"), where),
        )


def _check_columns(names: Sequence[str], where: str) -> None:
    if not {"user_id", "history"} & {*names}:
        raise RequestError(f"{where}: a request has user_id, history or both.")
    if other := sorted({*names} - {*COLUMNS}):
        raise RequestError(f"{where}: there is no column {other[0]}; a request has {', '.join(COLUMNS)}.")


def _read(source: Path) -> Sequence[Any]:
    if source.suffix == ".parquet":
        table = pq.read_table(source)
        _check_columns(table.column_names, source.name)
        rows: list[Any] = table.to_pylist()
        return rows
    text = source.read_text(encoding="utf-8-sig")
    if source.suffix == ".csv":
        csv.field_size_limit(LONGEST)
        read = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        if read.fieldnames:
            _check_once(read.fieldnames, f"{source.name}, its header")
            _check_columns(read.fieldnames, f"{source.name}, its header")
        return list(read)
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{source.name}, line {number}"
            try:
                found.append(json.loads(line, object_pairs_hook=partial(_object, where=where)))
            except RequestError:
                raise
            except (ValueError, RecursionError):
                raise RequestError(f"{where}: this is no JSON.") from None
    return found


def _object(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    _check_once([name for name, _ in pairs], where)
    return dict(pairs)


def _check_once(names: Sequence[str], where: str) -> None:
    if len(set(names)) < len(names):
        raise RequestError(f"{where}: {next(name for name in names if names.count(name) > 1)} is there twice.")


def _id(value: Any, where: str) -> str | None:
    """Text, or a whole number, which a table with gaps keeps as a float."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RequestError(f"{where}: {value!r} is no id; an id is a text or a whole number.")
    text = str(value)
    if not text.isprintable() and any("\ud800" <= each <= "\udfff" for each in text):
        raise RequestError(f"{where}: {text!r} is no text: half a character is in it.")
    return text


def _history(value: Any, where: str) -> list[str] | None:
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise RequestError(f'{where}, history: "{value[:60]}" is no list in JSON, like ["1", "2"].') from None
    if not isinstance(value, list) or not all(isinstance(each, str | int | float) and not isinstance(each, bool) for each in value):
        raise RequestError(f"{where}, history: it should be a list of item ids.")
    ids = [_id(each, f"{where}, history") for each in value]
    if None in ids:
        raise RequestError(f"{where}, history: place {ids.index(None) + 1} holds no item id.")
    return [each for each in ids if each is not None]


def _moment(value: Any, where: str) -> int | None:
    """Eight digits are a date, as ISO 8601 has it without dashes."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        raise RequestError(f"{where}, timestamp: {value} is no time.")
    told = f'{where}, timestamp: "{value}" is neither microseconds since 1970 nor ISO 8601.'
    try:
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,7}|-?[0-9]{9,19}", value.strip()):
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int):
            found = value
        else:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
            found = round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000)
    except (ValueError, TypeError, OverflowError):
        raise RequestError(told) from None
    if abs(found) > LATEST:
        raise RequestError(told)
    return found


def _asked(bundle: Bundle, requests: Sequence[Request], start: int) -> list[Asked]:
    found = []
    for number, request in enumerate(requests, start=start + 1):
        try:
            found.append(bundle.encode(request))
        except RequestError as error:
            raise RequestError(f"row {number}: {error}") from None
    return found


def _rows(
    bundle: Bundle, requests: Sequence[Request], asked: Sequence[Asked], answers: Sequence[Answer], start: int, trace: bool
) -> Iterator[dict[str, Any]]:
    for number, (request, each, answer) in enumerate(zip(requests, asked, answers, strict=True), start=start + 1):
        told = {"trace": json.dumps(bundle.trace(each, answer), sort_keys=True)} if trace else {}
        for place, item in enumerate(answer.items):
            row = {"request": number, "user_id": request.user_id, "place": place + 1, "item_id": bundle.item_ids[item]}
            chance = None if answer.chances is None else float(answer.chances[place])
            yield {**row, "score": float(answer.scores[place]), "chance": chance, "served_by": answer.served_by, **told}


class _writer:  # noqa: N801, used like a function
    """Tables one after another into a file of this kind."""

    def __init__(self, path: Path, suffix: str, schema: pa.Schema) -> None:
        self.path, self.suffix, self.schema = path, suffix, schema

    def __enter__(self) -> Any:
        if self.suffix == ".parquet":
            self.file: Any = pq.ParquetWriter(self.path, self.schema)
            return self.file.write_table
        self.file = self.path.open("w", encoding="utf-8", newline="")
        if self.suffix == ".jsonl":
            return lambda table: self.file.writelines(json.dumps(row) + "\n" for row in table.to_pylist())
        rows = csv.DictWriter(self.file, self.schema.names)
        rows.writeheader()
        return lambda table: rows.writerows(table.to_pylist())

    def __exit__(self, *_: object) -> None:
        self.file.close()
