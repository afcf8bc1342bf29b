"""The readers of logs.py: each makes the table `log` of a file of its kind, and names the row and
the column where it cannot.
"""

from __future__ import annotations

import csv
import gzip
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .duckdb_files import exactly, table

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# Names that columns go by in public data sets, lower case without underscores, spaces and hyphens;
# the first that is there is taken.
KNOWN_NAMES = {
    "user": (
        "userid",
        "user",
        "uid",
        "reviewerid",
        "customerid",
        "visitorid",
        "sessionid",
        "username",
        "useridx",
    ),
    "item": (
        "itemid",
        "item",
        "iid",
        "movieid",
        "productid",
        "parentasin",
        "asin",
        "businessid",
        "artistid",
        "trackid",
        "bookid",
        "sid",
    ),
    "time": (
        "timestamp",
        "time",
        "ts",
        "unixreviewtime",
        "datetime",
        "date",
        "eventtime",
        "createdat",
    ),
    "rating": ("rating", "ratings", "score", "overall", "stars"),
}
NO_DELIMITER = "E'\\x01\\x02\\x03\\x04'"  # in no text
LONGEST_LINE = 1 << 25  # bytes: some millions of items, or a long review beside them


@dataclass(frozen=True)
class Columns:
    """Which columns hold what: a header name, or a number from 1; None guesses by name."""

    user: str | None = None
    item: str | None = None
    time: str | None = None
    rating: str | None = None


@dataclass(frozen=True)
class Format:
    """How logs of one format are written.

    suffix: of their names, before a ".gz"; None where no name tells. read: the reader. For
    read_text, delimiter: between the fields of a line; quote: around a field that holds a
    delimiter, "" where a quote is a character like any other; columns: what the fields are, ()
    where a header says it; typed: the header has name:type.
    """

    suffix: str | None
    read: Callable[[DuckDBPyConnection, Log], None]
    delimiter: str = ""
    quote: str = '"'
    columns: tuple[str, ...] = ()
    typed: bool = False


@dataclass(frozen=True)
class Log:
    """A file, and how it is to be read, as in logs.read_log. kind: the name of its format."""

    path: Path
    kind: str
    format: Format
    columns: Columns
    header: bool
    with_rating: bool
    scratch: Path


def read_sequences(connection: DuckDBPyConnection, log: Log) -> None:
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
        f"strict_mode = false, compression = {_compression(log.path)}",
        f"max_line_size = {LONGEST_LINE}, columns = {{'text': 'VARCHAR'}}",
    )
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
        [exactly(log.path)],
    )


@dataclass(frozen=True)
class _Table:
    """What rows come from: DuckDB's table function on a file, its columns' names, what SQL calls
    them, and the line of the n-th row.
    """

    function: str
    file: Path
    names: list[str]
    identifiers: list[str]
    line_of: Callable[[int], int]


def read_parquet(connection: DuckDBPyConnection, log: Log) -> None:
    """Parquet, unpacked first where it is in a .gz: DuckDB has to seek in it."""
    plain = log.path
    if _packed(log.path):
        plain = log.scratch / "log.parquet"
        with gzip.open(log.path) as packed, open(plain, "wb") as file:
            shutil.copyfileobj(packed, file)
    function = table("read_parquet")
    described = connection.execute(
        f"DESCRIBE SELECT * FROM {function}", [exactly(plain)]
    ).fetchall()
    names = [row[0] for row in described]
    _read_table(
        connection,
        log,
        _Table(function, plain, names, [_identifier(name) for name in names], lambda row: row),
    )


def read_text(connection: DuckDBPyConnection, log: Log) -> None:
    """Text with one action a line, in fields between delimiters."""
    first_line, fields = next(rows(log), (0, []))
    if not fields:
        raise InputError(f"{log.path}: no row of data")
    header, names = _header(log, first_line, fields)
    # SQL calls the columns by number: a header may hold an empty name, or one twice.
    identifiers = [f"c{number}" for number in range(1, len(names) + 1)]
    types = ", ".join(f"{identifier}: 'VARCHAR'" for identifier in identifiers)
    delimiter, quote = log.format.delimiter, log.format.quote
    function = table(
        "read_csv",
        f"delim = '{delimiter}', header = false, skip = {first_line if header else 0}",
        f"auto_detect = false, quote = '{quote}', escape = '{quote}'",
        f"compression = {_compression(log.path)}, columns = {{{types}}}",
        f"max_line_size = {LONGEST_LINE}",
    )

    def line_of(row: int) -> int:
        return next(islice(rows(log), row if header else row - 1, None))[0]

    _read_table(connection, log, _Table(function, log.path, names, identifiers, line_of))


def _header(log: Log, line: int, fields: list[str]) -> tuple[bool, list[str]]:
    """Whether the first row, which these fields are of, is a header, and the columns' names."""
    columns = log.format.columns
    if columns:
        if not 2 <= len(fields) <= len(columns):
            expected = log.format.delimiter.join(columns)
            raise InputError(
                f"{log.path}: row {line}: {len(fields)} fields, where {log.kind} has {expected}"
            )
        return False, list(columns[: len(fields)])
    if not log.header:
        return False, [str(number) for number in range(1, len(fields) + 1)]
    return True, [field.partition(":")[0] for field in fields] if log.format.typed else fields


def _read_table(connection: DuckDBPyConnection, log: Log, source: _Table) -> None:
    """Everything is read as text first, so that what is wrong can be named."""
    places = _places(log, source.names)
    selected = ", ".join(
        f'{source.identifiers[place]}::VARCHAR AS "{role}"' for role, place in places.items()
    )
    connection.execute(
        f'CREATE TABLE text AS SELECT row_number() OVER () AS "row", {selected} FROM'
        f" {source.function}",
        [exactly(source.file)],
    )

    def demand(role: str, condition: str, what: str) -> None:
        row = first_value(
            connection, f'SELECT min("row") FROM text WHERE NOT coalesce({condition}, false)'
        )
        if row is not None:
            value = first_value(connection, f'SELECT "{role}" FROM text WHERE "row" = {row}')
            found = f"is {value!r}: {what}" if value and value.strip() else "is empty"
            raise InputError(
                f"{log.path}: row {source.line_of(row)}: column {source.names[places[role]]!r}, the"
                f" {role}, {found}"
            )

    demand("user", "trim(\"user\") <> ''", "")
    demand("item", "trim(item) <> ''", "")
    time, rating = '"row"', ""
    if "time" in places:
        time, condition = _kind_of_time(connection)
        demand("time", condition, "neither a number nor a date such as 2024-05-31 17:00:00")
    if "rating" in places:
        demand("rating", "isfinite(TRY_CAST(rating AS DOUBLE))", "not a number")
        rating = ", rating::DOUBLE AS rating"
    connection.execute(
        f'CREATE TABLE log AS SELECT "row", "user", item, {time} AS "time"{rating} FROM text'
    )
    connection.execute("DROP TABLE text")


def _kind_of_time(connection: DuckDBPyConnection) -> tuple[str, str]:
    """How to read the whole column, and what each value must be: whole numbers, else numbers, else
    dates; or what fits the most rows.
    """
    kinds = {
        # A cast to BIGINT would round 1.5 to 2.
        '"time"::BIGINT': (
            'regexp_full_match(trim("time"), \'[+-]?[0-9]+\') AND TRY_CAST("time" AS BIGINT) IS'
            " NOT NULL"
        ),
        '"time"::DOUBLE': 'isfinite(TRY_CAST("time" AS DOUBLE))',
        'epoch_us("time"::TIMESTAMPTZ)': 'epoch_us(TRY_CAST("time" AS TIMESTAMPTZ)) IS NOT NULL',
    }
    fits_until = {}
    for expression, condition in kinds.items():
        row = first_value(
            connection, f'SELECT min("row") FROM text WHERE NOT coalesce({condition}, false)'
        )
        if row is None:
            return expression, condition
        fits_until[expression] = row
    best = max(fits_until, key=fits_until.__getitem__)
    return best, kinds[best]


def _places(log: Log, names: list[str]) -> dict[str, int]:
    """Where among names, from 0, the column of each role is; time only where there is one, rating
    only where it is asked for.
    """
    chosen = {
        role: _choose(log.path, role, getattr(log.columns, role), names) for role in KNOWN_NAMES
    }
    for role in ("user", "item", "rating") if log.with_rating else ("user", "item"):
        if chosen[role] is None:
            found = ", ".join(names)
            raise InputError(
                f"{log.path}: no column looks like the {role} among: {found}; name it with"
                f" `{role}_column` (a name or a number)"
            )
    if not log.with_rating:
        del chosen["rating"]
    return {role: place for role, place in chosen.items() if place is not None}


def _choose(path: Path, role: str, wanted: str | None, names: list[str]) -> int | None:
    """The place of a role's column among names, from 0."""
    if wanted is not None:
        if wanted in names:
            return names.index(wanted)
        if wanted.isdecimal() and 1 <= int(wanted) <= len(names):
            return int(wanted) - 1
        raise InputError(
            f"{path}: no column {wanted!r} for the {role}; there are: {', '.join(names)}"
        )
    plain = [re.sub(r"[ _-]", "", name.lower()) for name in names]
    return next((plain.index(known) for known in KNOWN_NAMES[role] if known in plain), None)


def rows(log: Log) -> Iterator[tuple[int, list[str]]]:
    """The line each row of a text log starts at, from 1, and its fields; blank lines are no rows.
    For the header, and to name a row.
    """
    opened: Any = gzip.open if _packed(log.path) else open
    delimiter = log.format.delimiter
    with opened(log.path, "rt", encoding="utf-8-sig", errors="replace", newline="") as file:
        if len(delimiter) > 1:  # than csv takes
            yield from (
                (line, text.rstrip("\r\n").split(delimiter))
                for line, text in enumerate(file, 1)
                if text.strip()
            )
            return
        reader = csv.reader(
            file,
            delimiter=delimiter,
            quoting=csv.QUOTE_MINIMAL if log.format.quote else csv.QUOTE_NONE,
        )
        line = 1
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num + 1


def first_value(connection: DuckDBPyConnection, query: str) -> Any:
    """The first value of the first row; None where there is no row."""
    row = connection.execute(query).fetchone()
    return row[0] if row else None


def _packed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _compression(path: Path) -> str:
    return "'gzip'" if _packed(path) else "'none'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
