"""The readers of logs.py: each makes the table `log` of a file of its kind, and names the row and
the column where it cannot.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .actions import Rows, read_actions
from .columns import Column, Columns
from .duckdb_files import exactly, table
from .sources import Source
from .sql import identifier, literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NO_DELIMITER = "E'\\x01\\x02\\x03\\x04'"  # in no text
LONGEST_LINE = 1 << 25  # bytes: some millions of items, or a long review beside them


@dataclass(frozen=True)
class Format:
    """How logs of one format are written.

    suffix: of their names, before a ".gz"; None where no name tells. read: the reader; binary:
    what it reads is no text. For read_text, delimiter: between the fields of a line; quote: around
    a field that holds a delimiter, "" where a quote is a character like any other; columns: what
    the fields are, () where a header says it; typed: the header has name:type.
    """

    suffix: str | None
    read: Callable[[DuckDBPyConnection, Log], dict[str, str]]
    binary: bool = False
    delimiter: str = ""
    quote: str = '"'
    columns: tuple[str, ...] = ()
    typed: bool = False


@dataclass(frozen=True)
class Log:
    """A log, and how it is to be read, as in logs.read_log. path: as it was named, for messages;
    source: what is read of it; kind: the name of its format.
    """

    path: Path
    source: Source
    kind: str
    format: Format
    columns: Columns
    header: bool
    with_rating: bool


def read_sequences(connection: DuckDBPyConnection, log: Log) -> dict[str, str]:
    """Text with one sequence of items a line; the line's number is the user."""
    if any(astuple(log.columns)):
        raise InputError(
            f"{log.path}: text with one sequence a line has no columns to name; `file_format`"
            " chooses another format"
        )
    if log.with_rating:
        raise InputError(
            f"{log.path}: text with one sequence a line has no ratings for `min_rating`"
        )
    lines = table(
        "read_csv",
        f"delim = {NO_DELIMITER}, header = false, auto_detect = false, quote = '', escape = ''",
        f"strict_mode = false, compression = {_compression(log)}",
        f"max_line_size = {LONGEST_LINE}, columns = {{'text': 'VARCHAR'}}",
    )
    with exactly(log.source.file) as file:
        connection.execute(
            f"""
            CREATE TABLE log AS
            SELECT row_number() OVER () AS "row", line::VARCHAR AS "user", item,
                   row_number() OVER () AS "time"
            FROM (SELECT line, unnest(string_split_regex(text, '[ \\t]+')) AS item
                  FROM (SELECT row_number() OVER () AS line, trim(text, E' \\t\\r') AS text
                        FROM {lines})
                  WHERE text <> '')
            """,
            [file],
        )
    return {}


def read_parquet(connection: DuckDBPyConnection, log: Log) -> dict[str, str]:
    """Parquet, with one action a row or lists of them."""
    function = table("read_parquet")
    with exactly(log.source.file) as file:
        described = connection.execute(f"DESCRIBE SELECT * FROM {function}", [file]).fetchall()
        columns = [_parquet_column(*row[:2]) for row in described]
        return read_actions(connection, log, Rows(function, file, columns, lambda row: row))


def _parquet_column(name: str, kind: str) -> Column:
    listed = re.fullmatch(r"(.*)\[\d*\]", kind, re.DOTALL)
    if listed:  # of any length or of a fixed one
        return Column(name, f"{identifier(name)}::{listed[1]}[]", listed[1], is_list=True)
    return Column(name, identifier(name), kind)


def read_text(connection: DuckDBPyConnection, log: Log) -> dict[str, str]:
    """Text with one action a line, in fields between delimiters."""
    first_line, fields = next(rows(log), (0, []))
    if not fields:
        raise InputError(f"{log.path}: no row of data")
    header, columns = _columns(log, first_line, fields)
    types = ", ".join(f"c{number}: 'VARCHAR'" for number in range(1, len(columns) + 1))
    quote = literal(log.format.quote)
    function = table(
        "read_csv",
        f"delim = {literal(log.format.delimiter)}, quote = {quote}, escape = {quote}",
        f"header = false, skip = {first_line if header else 0}, auto_detect = false",
        f"compression = {_compression(log)}, columns = {{{types}}}",
        f"max_line_size = {LONGEST_LINE}",
    )

    def line_of(row: int) -> int:
        return next(islice(rows(log), row if header else row - 1, None))[0]

    with exactly(log.source.file) as file:
        return read_actions(connection, log, Rows(function, file, columns, line_of))


def _columns(log: Log, line: int, fields: list[str]) -> tuple[bool, list[Column]]:
    """Whether the first row, which these fields are of, is a header, and the columns."""
    names, header = log.format.columns, False
    if any("\0" in field for field in fields):
        raise InputError(
            f"{log.path}: row {line}: no text, or UTF-16 without the byte-order mark that tells it"
        )
    if names and not 2 <= len(fields) <= len(names):
        expected = log.format.delimiter.join(names)
        raise InputError(
            f"{log.path}: row {line}: {len(fields)} fields, where {log.kind} has {expected}"
        )
    if not names and log.header:
        names, header = tuple(field.strip(" \t") for field in fields), True
    return header, [
        _text_column(number, names[number - 1] if names else str(number), log.format.typed)
        for number in range(1, len(fields) + 1)
    ]


def _text_column(number: int, name: str, typed: bool) -> Column:
    """SQL calls a column by its number: a header may hold an empty name, or one twice. RecBole's
    sequences, of the types token_seq and float_seq, are in one field, with blanks between.
    """
    text = f"trim(c{number}, E' \\t')"  # padding, as after the comma of "x, a"
    name, _, kind = name.partition(":") if typed else (name, "", "")
    if kind.endswith("_seq"):
        return Column(name, f"string_split_regex({text}, ' +')", is_list=True)
    return Column(name, text)


def rows(log: Log) -> Iterator[tuple[int, list[str]]]:
    """The line each row of a text log starts at, from 1, and its fields; blank lines are no rows.
    For the header, and to name a row.
    """
    delimiter, quote = log.format.delimiter, log.format.quote
    with log.source.open("rt", encoding="utf-8-sig", errors="replace", newline="") as file:
        if len(delimiter) > 1:  # than csv takes
            yield from (
                (line, text.rstrip("\r\n").split(delimiter))
                for line, text in enumerate(file, 1)
                if text.strip()
            )
            return
        csv.field_size_limit(max(LONGEST_LINE, csv.field_size_limit()))  # of the whole process
        reader = csv.reader(
            file,
            delimiter=delimiter,
            quotechar=quote or None,
            quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
            skipinitialspace=delimiter != " ",
        )
        line = 1
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num + 1


def _compression(log: Log) -> str:
    return "'gzip'" if log.source.packed else "'none'"
