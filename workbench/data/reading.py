"""Files of every format as one thing: columns of text in the order of the file, whose rows can be found again in an editor."""

import csv
import gzip
import io
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TextIO

import duckdb

from workbench.data.card import Key, Ref, SourceFile
from workbench.data.engine import literal, quoted
from workbench.errors import RequestError, unknown

LONGEST_DELIMITER = 4
"""Bytes; DuckDB's limit. Beyond it lines are read whole and split."""


@dataclass(frozen=True)
class Source:
    """One file that is being read."""

    file: SourceFile
    path: Path
    columns: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def long_delimiter(self) -> bool:
        return self.file.format == "delimited" and len(self.file.delimiter.encode()) > LONGEST_DELIMITER

    def column(self, ref: Ref) -> str:
        """The column called `ref`, or at that place counted from 0. Raises RequestError that lists the columns there are."""
        if isinstance(ref, int) or (ref not in self.columns and ref.isdigit()):
            if int(ref) >= len(self.columns):
                raise RequestError(f"{self.name} has no column {ref}: it has {len(self.columns)}, counted from 0.{self.delimiter_hint()}")
            return self.columns[int(ref)]
        bare = ref.rsplit(":", 1)[0] if self.file.format == "atomic" else ref
        if bare not in self.columns:
            raise RequestError(f"{self.name}: {unknown('column', ref, self.columns)}.{self.delimiter_hint()}")
        return bare

    def text(self, key: Key) -> str:
        """SQL for a column as text, or for several as one id: joined by "|", which is escaped within them."""
        if not isinstance(key, tuple):
            return quoted(self.column(key))
        backslash, bar = "\\", "|"
        parts = [
            f"replace(replace({quoted(self.column(ref))}, '{backslash}', '{backslash * 2}'), '{bar}', '{backslash}{bar}')" for ref in key
        ]
        return "(" + f" || '{bar}' || ".join(parts) + ")"

    def label(self, key: Key | None) -> str:
        """What a message calls the column."""
        refs = key if isinstance(key, tuple) else (key,)
        return ", ".join(self.column(ref) for ref in refs if ref is not None)

    def relation(self, tolerant: bool = False) -> str:
        """SQL that reads the file as columns of text, in its order; `tolerant` skips rows that are broken instead of failing."""
        path = literal(str(self.path))
        names = [quoted(name) for name in self.columns]
        if self.file.format == "parquet":
            return f"(SELECT {', '.join(f'CAST({name} AS VARCHAR) AS {name}' for name in names)} FROM read_parquet({path}))"
        texts = "{" + ", ".join(f"{literal(name)}: 'VARCHAR'" for name in self.columns) + "}"
        if self.file.format == "jsonl":
            return f"read_json({path}, format = 'newline_delimited', columns = {texts}, ignore_errors = {str(tolerant).lower()})"
        if self.long_delimiter:
            lines = self._csv("{'line': 'VARCHAR'}", "", "")
            fields = f"(SELECT string_split(line, {literal(self.file.delimiter)}) AS fields FROM {lines})"
            n = len(names)
            kept = f"len(fields) = {n}" if tolerant else f"CASE WHEN len(fields) = {n} THEN TRUE ELSE error('broken row') END"
            listed = ", ".join(f"nullif(fields[{place}], '') AS {name}" for place, name in enumerate(names, start=1))
            return f"(SELECT {listed} FROM {fields} WHERE {kept})"
        return self._csv(texts, self.file.delimiter, self.file.quote, ", store_rejects = true" if tolerant else "")

    def _csv(self, columns: str, delimiter: str, quote: str, more: str = "") -> str:
        return (
            f"read_csv({literal(str(self.path))}, auto_detect = false, columns = {columns}, delim = {literal(delimiter)}, "
            f"quote = {literal(quote)}, escape = {literal(quote)}, header = {str(self.file.header).lower()}, strict_mode = true, "
            f"null_padding = false, encoding = {literal(self.file.encoding)}{more})"
        )

    def delimiter_hint(self) -> str:
        if self.file.format == "delimited" and len(self.columns) == 1:
            return f" With {_told(self.file.delimiter)} between columns there is only one: is that the delimiter?"
        return ""

    def explain(self, error: duckdb.Error) -> RequestError:
        """One line for a row that could not be read at all."""
        text = str(error)
        if self.file.format == "parquet":
            return RequestError(f"{self.name} is not a Parquet file that can be read: {_first_line(text)}")
        if self.file.format == "jsonl":
            line, why = self._bad_json()
            return RequestError(f"{self.name}, row {line}: {why}. {MEND}")
        if self.long_delimiter and (broken := next(self._miscounted(), None)):
            text = f"CSV Error on Line: {broken[0]}\n{broken[2]}"
        line_found = re.search(r"CSV Error on Line: (\d+)", text)
        where = f"{self.name}, row {line_found[1]}" if line_found else self.name
        if counts := re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", text):
            return RequestError(
                f"{where}: it has {counts[2]} columns by {_told(self.file.delimiter)}, where {counts[1]} are expected. {MEND}"
            )
        if "unterminated quote" in text:
            return RequestError(
                f"{where}: a quote that is never closed. Mend the row, or name the quote character with --quote (none for none)."
            )
        if "nvalid unicode" in text or "not utf-8" in text:
            return RequestError(f"{where}: it is not {self.file.encoding}. Name the encoding with --encoding latin-1 or utf-16.")
        if "state machine" in text:
            return RequestError(
                f"{self.name}, row {self._other_ending()}: its end is not that of the rows before (\\n or \\r\\n). Give all rows the same."
            )
        return RequestError(f"{where}: {_first_line(text)}")

    def _other_ending(self) -> int:
        """The first line that ends in another way than the first one."""
        with open_text(self.path, self.file.encoding) as lines:
            endings = (line[len(line.rstrip("\r\n")) :] for line in lines)
            first = next(endings)
            return next((number for number, ending in enumerate(endings, start=2) if ending not in (first, "")), 0)

    def rejected(self, connection: duckdb.DuckDBPyConnection) -> list[tuple[int, str, str]]:
        """(row, its text, what is wrong) of the rows that a tolerant reading over this connection skipped."""
        if self.file.format == "delimited" and self.long_delimiter:
            return list(self._miscounted())
        if self.file.format not in ("delimited", "atomic"):
            return []
        query = """
            SELECT line, min(csv_line), min(error_message) FROM reject_errors JOIN reject_scans USING (scan_id, file_id)
            WHERE file_path = ? GROUP BY line ORDER BY line"""
        return [
            (int(line), str(text).strip(), _first_line(str(why)))
            for line, text, why in connection.execute(query, [str(self.path)]).fetchall()
        ]

    def _miscounted(self) -> Iterator[tuple[int, str, str]]:
        with open_text(self.path, self.file.encoding) as lines:
            for number, line in enumerate(lines, start=1):
                fields = line.rstrip("\r\n").split(self.file.delimiter)
                if line.strip("\r\n") and len(fields) != len(self.columns):
                    yield number, line.strip(), f"Expected Number of Columns: {len(self.columns)} Found: {len(fields)}"

    def _bad_json(self) -> tuple[int, str]:
        with open_text(self.path, self.file.encoding) as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    if line.strip() and not isinstance(json.loads(line), dict):
                        return number, f"{line.strip()[:60]} is not an object"
                except ValueError:
                    return number, f"{line.strip()[:60]} is not JSON"
        return 0, "it cannot be read as JSON lines"

    def rows(self, ordinals: Collection[int], rejected: Collection[int] = ()) -> dict[int, int]:
        """Where records stand, as an editor counts lines, header included; of a Parquet file, the record's number.

        ordinals: numbers of records, counted from 1 without the header and the lines in `rejected`.
        """
        wanted = set(ordinals)
        if self.file.format == "parquet" or not wanted:
            return {ordinal: ordinal for ordinal in wanted}
        found, ordinal = {}, 0
        for line in self._record_lines():
            if line in rejected:
                continue
            ordinal += 1
            if ordinal in wanted:
                found[ordinal] = line
                if len(found) == len(wanted):
                    break
        return found

    def _record_lines(self) -> Iterator[int]:
        """The first line of each record; empty lines are none."""
        with open_text(self.path, self.file.encoding) as lines:
            if self.file.format == "delimited" and self.file.quote and len(self.file.delimiter) == 1:
                reader = csv.reader(lines, delimiter=self.file.delimiter, quotechar=self.file.quote)
                start, header = 1, self.file.header
                for record in reader:
                    if record and not header:
                        yield start
                    start, header = reader.line_num + 1, header and not record
                return
            header = self.file.header and self.file.format != "jsonl"
            for number, line in enumerate(lines, start=1):
                if line.strip("\r\n"):
                    if not header:
                        yield number
                    header = False

    @cached_property
    def sample(self) -> list[list[str]]:
        """Up to 100 records, as text, without the header."""
        with duckdb.connect() as connection:
            try:
                rows = connection.execute(f"SELECT * FROM {self.relation(tolerant=True)} LIMIT 100").fetchall()
            except duckdb.Error as error:
                raise self.explain(error) from None
        return [["" if cell is None else str(cell) for cell in row] for row in rows]


MEND = "Mend the row, or pass --quarantine to set such rows apart."


def open_source(file: SourceFile, path: Path) -> Source:
    """Find out a file's columns. Raises RequestError for a file that is not there, empty, a folder, binary, or has a column name twice."""
    check_file(path)
    if file.format == "parquet":
        columns = _described(path, f"read_parquet({literal(str(path))})", "is not a Parquet file that can be read")
    elif file.format == "jsonl":
        columns = _described(path, f"read_json_auto({literal(str(path))}, format = 'newline_delimited', sample_size = -1)", "")
    else:
        columns = _header(file, path)
    twice = {name for name in columns if columns.count(name) > 1}
    if twice:
        raise RequestError(f'{path.name} has the column "{min(twice)}" twice.')
    return Source(file, path, tuple(columns))


def check_file(path: Path) -> None:
    """Raises RequestError unless there is a file with something in it."""
    if path.is_dir():
        raise RequestError(f"{path} is a folder; name a file.")
    if not path.is_file():
        raise RequestError(f"there is no file {path}.")
    if not path.stat().st_size:
        raise RequestError(f"{path.name} is empty.")


def _described(path: Path, relation: str, wrong: str) -> list[str]:
    with duckdb.connect() as connection:
        try:
            return [str(row[0]) for row in connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()]
        except duckdb.Error as error:
            if wrong:
                raise RequestError(f"{path.name} {wrong}: {_first_line(str(error))}") from None
            raise Source(SourceFile(name=path.name, sha256="0" * 64, format="jsonl"), path, ()).explain(error) from None


def _header(file: SourceFile, path: Path) -> list[str]:
    """Names of the columns; `column_0` and so on where there are none."""
    first = next(records(path, file.delimiter, file.quote, file.encoding), None)
    if first is None:
        raise RequestError(f"{path.name} is empty.")
    if file.format == "atomic":
        first = [name.rsplit(":", 1)[0] for name in first]
    return [name.strip() if file.header and name.strip() else f"column_{n}" for n, name in enumerate(first)]


def records(path: Path, delimiter: str, quote: str, encoding: str, most: int = 100) -> Iterator[list[str]]:
    """The first records of a text file, header included. Raises RequestError for a file that is not text in that encoding."""
    check_text(path, encoding)
    try:
        with open_text(path, encoding) as lines:
            if len(delimiter) == 1:
                reading = csv.reader(
                    lines, delimiter=delimiter, quotechar=quote or None, quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
                )
                yield from islice((record for record in reading if record), most)
            else:
                yield from islice((line.rstrip("\r\n").split(delimiter) for line in lines if line.strip("\r\n")), most)
    except UnicodeDecodeError as error:
        raise RequestError(
            f"{path.name} is not {encoding} (byte {error.start}). Name the encoding with --encoding latin-1 or utf-16."
        ) from None
    except csv.Error as error:
        raise RequestError(f"{path.name} cannot be read as text with {_told(delimiter)} between columns: {error}.") from None


def check_text(path: Path, encoding: str = "utf-8") -> None:
    """Raises RequestError for a binary file."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(65536)
    except (OSError, EOFError) as error:
        raise RequestError(f"{path.name} cannot be read: {error}.") from None
    if encoding != "utf-16" and (at := head.find(b"\0")) >= 0:
        raise RequestError(f"{path.name} is a binary file (byte {at} is 0), not text, Parquet or JSON lines.")


def open_text(path: Path, encoding: str) -> TextIO:
    """A text file, gzipped or not, its lines as they are."""
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path), encoding=encoding, newline="")  # the caller closes it
    return path.open(encoding=encoding, newline="")


def _told(delimiter: str) -> str:
    return {"\t": "a tab", " ": "a space"}.get(delimiter, f'"{delimiter}"')


def _first_line(text: str) -> str:
    return text.splitlines()[0].rstrip(".") + "."
