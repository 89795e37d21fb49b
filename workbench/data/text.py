"""Text files record by record, with the lines they stand on."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

from workbench.errors import RequestError

LONGEST_FIELD = 2**31 - 1


class Record(NamedTuple):
    """One record of a text file."""

    row: int
    """Of its first line, from 1."""
    cells: list[str]


def records(path: Path, delimiter: str, quote: str, encoding: str, errors: str = "strict") -> Iterator[Record]:
    """The records of a text file, header included, without empty lines; without a delimiter, a record is a line.

    Raises RequestError for a file that is not text in that encoding.
    """
    check_text(path, encoding)
    csv.field_size_limit(LONGEST_FIELD)
    try:
        with open_text(path, encoding, errors) as lines:
            if len(delimiter) != 1 or not quote:
                for row, line in enumerate(lines, start=1):
                    if bare := line.rstrip("\r\n"):
                        yield Record(row, bare.split(delimiter) if delimiter else [bare])
                return
            reader = csv.reader(lines, delimiter=delimiter, quotechar=quote)
            row = 1
            for cells in reader:
                if cells:
                    yield Record(row, cells)
                row = reader.line_num + 1
    except UnicodeDecodeError as error:
        mend = "Name the encoding with --encoding latin-1 or utf-16."
        raise RequestError(f"{path.name} is not {encoding} (byte {error.start}). {mend}") from None
    except (csv.Error, zlib.error, EOFError, OSError) as error:
        raise RequestError(f"{path.name} cannot be read as text with {told(delimiter)} between columns: {error}.") from None


def check_text(path: Path, encoding: str = "utf-8") -> None:
    """Raises RequestError for a binary file."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(65536)
    except (OSError, EOFError, zlib.error) as error:
        raise RequestError(f"{path.name} cannot be read: {error}.") from None
    if encoding != "utf-16" and (at := head.find(b"\0")) >= 0:
        raise RequestError(f"{path.name} is a binary file (byte {at} is 0), not text, Parquet or JSON lines.")


def open_text(path: Path, encoding: str, errors: str = "strict") -> TextIO:
    """A text file, gzipped or not, its lines as they are."""
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path), encoding=encoding, errors=errors, newline="")
    return path.open(encoding=encoding, errors=errors, newline="")


def told(delimiter: str) -> str:
    """A delimiter as a message names it."""
    return {"\t": "a tab", " ": "a space", "": "nothing"}.get(delimiter, f'"{delimiter}"')
