"""Files of every format as one thing: columns of text in the order of the file, whose rows can be found again in an editor."""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

import duckdb

from workbench.data.card import Key, Ref, SourceFile, refs
from workbench.data.engine import file_literal, literal, quoted
from workbench.data.text import Record, check_text, open_text, records, told
from workbench.errors import RequestError, unknown

LONGEST_DELIMITER = 4
"""Bytes; DuckDB's limit. Beyond it lines are read whole and split."""
MEND = "Mend the row, or pass --quarantine to set such rows apart."


@dataclass(frozen=True)
class Source:
    """One file that is being read."""

    file: SourceFile
    path: Path
    columns: tuple[str, ...]
    skip: int = 0
    """Lines before the first record, the header among them."""
    floats: frozenset[str] = frozenset()
    """Of a Parquet file: columns of floating point numbers."""
    bytes_: frozenset[str] = frozenset()
    """Of a Parquet file: columns of bytes, which old writers use for text."""

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def is_text(self) -> bool:
        return self.file.format in ("delimited", "atomic")

    @property
    def long_delimiter(self) -> bool:
        return self.file.format == "delimited" and len(self.file.delimiter.encode()) > LONGEST_DELIMITER

    def column(self, ref: Ref) -> str:
        """The column called `ref`, or at that place counted from 0. Raises RequestError that lists the columns there are."""
        if isinstance(ref, int) or (ref not in self.columns and ref.isdecimal()):
            if int(ref) >= len(self.columns):
                raise RequestError(f"{self.name} has no column {ref}: it has {len(self.columns)}, counted from 0.{self.delimiter_hint()}")
            return self.columns[int(ref)]
        bare = ref.rsplit(":", 1)[0] if self.file.format == "atomic" else ref
        if bare not in self.columns:
            raise RequestError(f"{self.name}: {unknown('column', ref, self.columns)}.{self.delimiter_hint()}")
        return bare

    def text(self, key: Key) -> str:
        """SQL for a column as text, or for several as one id: joined by "|", which is escaped within them; NULL where one of them is."""
        if not isinstance(key, tuple):
            return quoted(self.column(key))
        backslash, bar = "\\", "|"
        parts = (f"replace(replace({part}, '{backslash}', '{backslash * 2}'), '{bar}', '{backslash}{bar}')" for part in self.parts(key))
        return "(" + f" || '{bar}' || ".join(parts) + ")"

    def parts(self, key: Key) -> list[str]:
        """SQL for each column of a key."""
        return [quoted(self.column(ref)) for ref in refs(key)]

    def label(self, key: Key) -> str:
        """What a message calls the column."""
        return ", ".join(self.column(ref) for ref in refs(key))

    def relation(self, tolerant: bool = False) -> str:
        """SQL that reads the file as columns of text, in its order; `tolerant` skips rows that are broken instead of failing."""
        path, names = file_literal(self.path), [quoted(name) for name in self.columns]
        if self.file.format == "parquet":
            return f"(SELECT {', '.join(map(self._parquet_cell, self.columns))} FROM read_parquet({path}))"
        texts = "{" + ", ".join(f"{literal(name)}: 'VARCHAR'" for name in self.columns) + "}"
        if self.file.format == "jsonl":
            skip = f"ignore_errors = {str(tolerant).lower()}"
            return f"read_json({path}, format = 'newline_delimited', columns = {texts}, {skip})"
        if self.long_delimiter:
            lines, n = self._csv("{'line': 'VARCHAR'}", "", ""), len(names)
            fields = f"(SELECT string_split(line, {literal(self.file.delimiter)}) AS fields FROM {lines})"
            kept = f"len(fields) = {n}" if tolerant else f"CASE WHEN len(fields) = {n} THEN TRUE ELSE error('broken row') END"
            listed = ", ".join(f"nullif(fields[{place}], '') AS {name}" for place, name in enumerate(names, start=1))
            return f"(SELECT {listed} FROM {fields} WHERE {kept})"
        return self._csv(texts, self.file.delimiter, self.file.quote, ", store_rejects = true" if tolerant else "")

    def _parquet_cell(self, name: str) -> str:
        """A whole number that pandas stored as a double, because a cell was missing, is that number and not 7.0."""
        column = quoted(name)
        text = f"CAST({column} AS VARCHAR)"
        if name in self.floats:
            whole = f"CAST(CAST({column} AS BIGINT) AS VARCHAR)"
            text = f"CASE WHEN {column} = floor({column}) AND abs({column}) < 1e15 THEN {whole} ELSE {text} END"
        return f"{f'decode({column})' if name in self.bytes_ else text} AS {column}"

    def _csv(self, columns: str, delimiter: str, quote: str, more: str = "") -> str:
        return (
            f"read_csv({file_literal(self.path)}, auto_detect = false, columns = {columns}, delim = {literal(delimiter)}, "
            f"quote = {literal(quote)}, escape = {literal(quote)}, header = false, skip = {self.skip}, strict_mode = true, "
            f"null_padding = false, encoding = {literal(self.file.encoding)}{more})"
        )

    def delimiter_hint(self) -> str:
        if self.file.format == "delimited" and len(self.columns) == 1:
            return f" With {told(self.file.delimiter)} between columns there is only one: is that the delimiter?"
        return ""

    def explain(self, error: duckdb.Error) -> RequestError:
        """One line for a file that could not be read to its end."""
        text = str(error)
        if self.file.format == "parquet":
            return RequestError(f"{self.name} is not a Parquet file that can be read: {_first_line(text)}")
        if self.file.format == "jsonl":
            row, why = self._bad_json(text)
            return RequestError(f"{self.name}, row {row}: {why}. {MEND}")
        if "nvalid unicode" in text or "not utf-8" in text:
            return RequestError(
                f"{self._row_of(text)}: it is not {self.file.encoding}. Name the encoding with --encoding latin-1 or utf-16."
            )
        if "unterminated quote" in text:
            mend = "Mend the row, or name the quote character with --quote (none for none)."
            return RequestError(f"{self._row_of(text)}: a quote that is never closed. {mend}")
        if broken := next(self._broken(), None):
            return RequestError(f"{self.name}, row {broken.row}: {self._miscount(broken)}. {MEND}")
        if "state machine" in text:
            ending = self._other_ending()
            return RequestError(
                f"{self.name}, row {ending}: its end is not that of the rows before (\\n or \\r\\n). Give all rows the same."
            )
        return RequestError(f"{self._row_of(text)}: {_first_line(text)}")

    def _row_of(self, text: str) -> str:
        found = re.search(r"CSV Error on Line: (\d+)", text)
        return f"{self.name}, row {found[1]}" if found else self.name

    def _miscount(self, record: Record) -> str:
        return f"it has {len(record.cells)} columns by {told(self.file.delimiter)}, where {len(self.columns)} are expected"

    def _broken(self) -> Iterator[Record]:
        return (record for record in self._records() if len(record.cells) != len(self.columns))

    def _other_ending(self) -> int:
        """The first line that ends in another way than the first one."""
        with open_text(self.path, self.file.encoding) as lines:
            endings = (line[len(line.rstrip("\r\n")) :] for line in lines)
            first = next(endings)
            return next((number for number, ending in enumerate(endings, start=2) if ending not in (first, "")), 0)

    def _bad_json(self, text: str) -> tuple[int, str]:
        if bad := next(self._bad_lines(), None):
            return bad[0], bad[2]
        found = re.search(r"in line (\d+)", text)
        return int(found[1]) if found else 1, _first_line(text).rstrip(".")

    def objects(self) -> Iterator[dict[str, object]]:
        """The lines of a JSON lines file that are objects."""
        bad = {row for row, _, _ in self._bad_lines()}
        return (json.loads(record.cells[0]) for record in self._records() if record.row not in bad)

    def _bad_lines(self) -> Iterator[tuple[int, str, str]]:
        """(row, text, what is wrong) of lines that are no JSON objects."""
        for record in self._records():
            line = record.cells[0].strip()
            try:
                if not isinstance(json.loads(line), dict):
                    yield record.row, line, f"{line[:60]} is not an object"
            except ValueError:
                yield record.row, line, f"{line[:60]} is not JSON"

    def rejected(self, connection: duckdb.DuckDBPyConnection) -> list[tuple[int, str, str]]:
        """(row, its text, what is wrong) of the rows that a tolerant reading over this connection skipped; of JSON lines, left empty."""
        if self.file.format == "jsonl":
            return list(self._bad_lines())
        if not self.is_text:
            return []
        broken = [(record.row, self.file.delimiter.join(record.cells), self._miscount(record)) for record in self._broken()]
        if self.long_delimiter:
            return broken
        query = """
            SELECT line, min(csv_line), min(error_message) FROM reject_errors JOIN reject_scans USING (scan_id, file_id)
            WHERE file_path = ? GROUP BY line ORDER BY line"""
        seen = connection.execute(query, [str(self.path)]).fetchall()
        if len(seen) == len(broken):  # DuckDB does not count line ends within quotes, we do
            return broken
        return [(int(line), str(text).strip(), _first_line(str(why))) for line, text, why in seen]

    def rows(self, ordinals: Collection[int], rejected: Collection[int] = ()) -> dict[int, int]:
        """Where records stand, as an editor counts lines, header included; of a Parquet file, the record's number.

        ordinals: numbers of records, counted from 1 without the header and the rows in `rejected`.
        """
        wanted = set(ordinals)
        if self.file.format == "parquet" or not wanted:
            return {ordinal: ordinal for ordinal in wanted}
        whole = (record.row for record in self._records() if record.row not in rejected)
        last = max(wanted)
        return {ordinal: row for ordinal, row in enumerate(islice(whole, last), start=1) if ordinal in wanted}

    def _records(self) -> Iterator[Record]:
        """Every record after the header; empty lines are none."""
        delimiter, quote = (self.file.delimiter, self.file.quote) if self.is_text else ("", "")
        every = records(self.path, delimiter, quote, self.file.encoding, errors="replace")
        return (record for record in every if record.row > self.skip)

    @cached_property
    def sample(self) -> list[list[str]]:
        """Up to 100 records, as text, without the header."""
        with duckdb.connect() as connection:
            try:
                rows = connection.execute(f"SELECT * FROM {self.relation(tolerant=True)} LIMIT 100").fetchall()
            except duckdb.Error as error:
                raise self.explain(error) from None
        return [["" if cell is None else str(cell) for cell in row] for row in rows]


def open_source(file: SourceFile, path: Path) -> Source:
    """Find out a file's columns. Raises RequestError for a file that is not there, empty, a folder, binary, or has a column name twice."""
    check_file(path)
    if file.format == "parquet":
        source = _open_parquet(file, path)
    elif file.format == "jsonl":
        source = _open_json(file, path)
    else:
        source = _open_text(file, path)
    folded = [name.casefold() for name in source.columns]
    if twice := [name for name in source.columns if folded.count(name.casefold()) > 1]:
        if len(set(twice)) == 1:
            raise RequestError(f'{path.name} has the column "{twice[0]}" twice.')
        raise RequestError(f"{path.name} has columns that differ only in case: {', '.join(twice)}. SQL cannot tell them apart; rename one.")
    return source


def check_file(path: Path) -> None:
    """Raises RequestError unless there is a file with something in it."""
    if path.is_dir():
        raise RequestError(f"{path} is a folder; name a file.")
    if not path.is_file():
        raise RequestError(f"there is no file {path}.")
    try:
        with path.open("rb") as content:
            empty = not content.read(1)
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}.") from None
    if empty:
        raise RequestError(f"{path.name} is empty.")


def _open_parquet(file: SourceFile, path: Path) -> Source:
    with duckdb.connect() as connection:
        try:
            described = connection.execute(f"DESCRIBE SELECT * FROM read_parquet({file_literal(path)})").fetchall()
        except duckdb.Error as error:
            raise Source(file, path, ()).explain(error) from None
    kinds = {str(row[0]): str(row[1]) for row in described}
    floats, bytes_ = (frozenset(name for name, kind in kinds.items() if kind in of) for of in ({"FLOAT", "DOUBLE"}, {"BLOB"}))
    return Source(file, path, tuple(str(row[0]) for row in described), floats=floats, bytes_=bytes_)


def _open_json(file: SourceFile, path: Path) -> Source:
    check_text(path, file.encoding)
    with path.open("rb") as content:
        if content.read(3) == b"\xef\xbb\xbf":
            raise RequestError(f"{path.name} begins with a byte order mark, which JSON has not. Save it without.")
    if (first := next(records(path, "", "", file.encoding, errors="replace"), None)) and first.cells[0].lstrip().startswith("["):
        raise RequestError(f"{path.name}, row {first.row}: it begins a list; write one object a line.")
    source = Source(file, path, ())
    relation = f"read_json_auto({file_literal(path)}, format = 'newline_delimited', records = true, sample_size = -1, ignore_errors = true)"
    with duckdb.connect() as connection:
        try:
            columns = [str(row[0]) for row in connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()]
        except duckdb.Error:  # lines that are no objects; reading will say which, or set them apart
            columns = list(dict.fromkeys(key for line in islice(source.objects(), 10_000) for key in line))
    return replace(source, columns=tuple(columns))


def _open_text(file: SourceFile, path: Path) -> Source:
    """With the names of the columns; `column_0` and so on where there are none."""
    head = list(islice(records(path, file.delimiter, file.quote, file.encoding), 2))
    if not head:
        raise RequestError(f"{path.name} is empty.")
    cells = [name.rsplit(":", 1)[0] for name in head[0].cells] if file.format == "atomic" else head[0].cells
    names = tuple(name.strip() if file.header and name.strip() else f"column_{place}" for place, name in enumerate(cells))
    end_of_header = (head[1].row if len(head) > 1 else head[0].row + 1) - 1
    return Source(file, path, names, skip=end_of_header if file.header else head[0].row - 1)


def _first_line(text: str) -> str:
    return text.splitlines()[0].rstrip(".") + "."
