"""Read an interaction log of any usual format into a DuckDB table, in file order.

DuckDB streams the file with bounded memory. The table is

    log(row BIGINT, user VARCHAR, item VARCHAR, time BIGINT or DOUBLE, rating DOUBLE)

with row the action's place in the file, from 1; time is that place where the log has no times, dates are microseconds since 1970 in UTC;
rating is there only when it is asked for. Errors name a row by the line of the file that it starts at, in Parquet by its number from 1.
"""

from __future__ import annotations

import csv
import glob
import gzip
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..extras import require
from .duckdb_errors import disk_reason, log_reason

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# Names that columns go by in public data sets, lower case without underscores, spaces and hyphens; the first that is there is taken.
KNOWN_NAMES = {
    "user": ("userid", "user", "uid", "reviewerid", "customerid", "visitorid", "sessionid", "username", "useridx"),
    "item": ("itemid", "item", "iid", "movieid", "productid", "parentasin", "asin", "businessid", "artistid", "trackid", "bookid", "sid"),
    "time": ("timestamp", "time", "ts", "unixreviewtime", "datetime", "date", "eventtime", "createdat"),
    "rating": ("rating", "ratings", "score", "overall", "stars"),
}
DELIMITERS = {"csv": ",", "tsv": "\t", "inter": "\t", "dat": "::", "pairs": " "}
SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet", ".inter": "inter", ".dat": "dat", ".txt": "sequences"}
FORMATS = ("csv", "tsv", "parquet", "inter", "dat", "sequences", "pairs")
# MovieLens ratings.dat and "user item" text have no header, and a quote in them is a character like any other.
HEADERLESS = {"dat": ["user", "item", "rating", "time"], "pairs": ["user", "item"]}
NO_DELIMITER = "E'\\x01\\x02\\x03\\x04'"  # in no text
LONGEST_LINE = 1 << 25  # bytes of a sequence's line: some millions of items
ONLY_PAIRS = 'SELECT bool_and(n = 2) FROM (SELECT count(*) AS n FROM log GROUP BY "user")'


@dataclass(frozen=True)
class Columns:
    """Which columns hold what: a header name, or a number from 1; None guesses by name."""

    user: str | None = None
    item: str | None = None
    time: str | None = None
    rating: str | None = None


def format_of(path: Path) -> str:
    """The format by the file name. Raises InputError where the name says nothing."""
    name = path.name.lower().removesuffix(".gz")
    if (suffix := Path(name).suffix) in SUFFIXES:
        return SUFFIXES[suffix]
    raise InputError(f"{path}: the format is not clear from the name; give `file_format`, one of {', '.join(FORMATS)}")


def read_log(
    connection: DuckDBPyConnection,
    path: Path,
    columns: Columns,
    file_format: str | None = None,
    *,
    scratch: Path,
    header: bool = True,
    with_rating: bool = False,
) -> None:
    """Create the table `log`; scratch is a folder for what must be unpacked first.

    Raises InputError that names the file, and row or column; DuckDB's own errors where it lacks memory or disk.
    """
    if not path.is_file():
        raise InputError(f"{path}: {'is a folder, not a log' if path.is_dir() else 'no such file'}")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    kind = file_format or format_of(path)
    if kind not in FORMATS:
        raise InputError(f"`file_format` must be one of {', '.join(FORMATS)}, got {kind!r}")
    duckdb = require("duckdb")
    connection.execute("SET TimeZone = 'UTC'")  # of dates that name no zone
    try:
        if kind == "sequences":
            _read_sequences(connection, path, columns, with_rating)
        else:
            table = _open_parquet(connection, path, scratch) if kind == "parquet" else _open_text(path, kind, header)
            _read_table(connection, path, table, columns, with_rating)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: cannot be unpacked: {error}") from None
    except duckdb.Error as error:
        if isinstance(error, duckdb.OutOfMemoryException) or disk_reason(error):
            raise
        raise InputError(f"{path}: {log_reason(error, _rows(path, kind))}") from None
    if not _value(connection, "SELECT count(*) FROM log"):
        raise InputError(f"{path}: no row of data")
    if kind == "sequences" and file_format is None and _value(connection, ONLY_PAIRS):
        raise InputError(f'{path}: every line holds two ids; say `file_format` pairs for "user item", or sequences for two items each')


def _read_sequences(connection: DuckDBPyConnection, path: Path, columns: Columns, with_rating: bool) -> None:
    if any(astuple(columns)):
        raise InputError(f"{path}: text with one sequence a line has no columns to name; `file_format` chooses another format")
    if with_rating:
        raise InputError(f"{path}: text with one sequence a line has no ratings for `min_rating`")
    connection.execute(
        f"""
        CREATE TABLE log AS
        SELECT row_number() OVER () AS "row", line::VARCHAR AS "user", item, row_number() OVER () AS "time"
        FROM (SELECT line, unnest(string_split_regex(text, '[ \\t]+')) AS item
              FROM (SELECT row_number() OVER () AS line, trim(text, E' \\t\\r') AS text
                    FROM read_csv(?, delim = {NO_DELIMITER}, header = false, auto_detect = false, quote = '', escape = '',
                                  strict_mode = false, compression = {_compression(path)}, max_line_size = {LONGEST_LINE},
                                  columns = {{'text': 'VARCHAR'}}))
              WHERE text <> '')
        """,
        [_exactly(path)],
    )


@dataclass(frozen=True)
class _Table:
    """What rows come from: DuckDB's table function on a file, its columns' names, what SQL calls them, and the line of the n-th row."""

    function: str
    file: Path
    names: list[str]
    identifiers: list[str]
    line_of: Callable[[int], int]


def _open_parquet(connection: DuckDBPyConnection, path: Path, scratch: Path) -> _Table:
    plain = path
    if path.name.lower().endswith(".gz"):
        plain = scratch / "log.parquet"
        with gzip.open(path) as packed, open(plain, "wb") as file:
            shutil.copyfileobj(packed, file)
    described = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [_exactly(plain)]).fetchall()
    names = [row[0] for row in described]
    return _Table("read_parquet(?)", plain, names, [_identifier(name) for name in names], lambda row: row)


def _open_text(path: Path, kind: str, header: bool) -> _Table:
    first_line, fields = next(_rows(path, kind), (0, []))
    if not fields:
        raise InputError(f"{path}: no row of data")
    if kind in HEADERLESS:
        header, names = False, HEADERLESS[kind][: len(fields)]
        if not 2 <= len(fields) <= len(HEADERLESS[kind]):
            raise InputError(f"{path}: row {first_line}: {len(fields)} fields, where {kind} has {DELIMITERS[kind].join(HEADERLESS[kind])}")
    elif not header:
        names = [str(number) for number in range(1, len(fields) + 1)]
    else:
        names = [field.partition(":")[0] for field in fields] if kind == "inter" else fields
    # SQL calls the columns by number: a header may hold an empty name, or one twice.
    identifiers = [f"c{number}" for number in range(1, len(names) + 1)]
    types = ", ".join(f"{identifier}: 'VARCHAR'" for identifier in identifiers)
    quote = "''" if kind in HEADERLESS else "'\"'"
    function = (
        f"read_csv(?, delim = '{DELIMITERS[kind]}', header = false, skip = {first_line if header else 0}, auto_detect = false,"
        f" quote = {quote}, escape = {quote}, compression = {_compression(path)}, columns = {{{types}}})"
    )
    return _Table(function, path, names, identifiers, lambda row: next(islice(_rows(path, kind), row if header else row - 1, None))[0])


def _read_table(connection: DuckDBPyConnection, path: Path, table: _Table, columns: Columns, with_rating: bool) -> None:
    """Everything is read as text first, so that what is wrong can be named."""
    chosen = {role: _choose(path, role, getattr(columns, role), table.names) for role in KNOWN_NAMES}
    for role in ("user", "item", "rating") if with_rating else ("user", "item"):
        if chosen[role] is None:
            found = ", ".join(table.names)
            raise InputError(f"{path}: no column looks like the {role} among: {found}; name it with `{role}_column` (a name or a number)")
    if not with_rating:
        del chosen["rating"]
    places = {role: place for role, place in chosen.items() if place is not None}
    selected = ", ".join(f'{table.identifiers[place]}::VARCHAR AS "{role}"' for role, place in places.items())
    connection.execute(
        f'CREATE TABLE text AS SELECT row_number() OVER () AS "row", {selected} FROM {table.function}', [_exactly(table.file)]
    )

    def demand(role: str, condition: str, what: str) -> None:
        row = _value(connection, f'SELECT min("row") FROM text WHERE NOT coalesce({condition}, false)')
        if row is not None:
            value = _value(connection, f'SELECT "{role}" FROM text WHERE "row" = {row}')
            found = f"is {value!r}: {what}" if value and value.strip() else "is empty"
            raise InputError(f"{path}: row {table.line_of(row)}: column {table.names[places[role]]!r}, the {role}, {found}")

    demand("user", "trim(\"user\") <> ''", "")
    demand("item", "trim(item) <> ''", "")
    time, rating = '"row"', ""
    if "time" in places:
        time, condition = _kind_of_time(connection)
        demand("time", condition, "neither a number nor a date such as 2024-05-31 17:00:00")
    if with_rating:
        demand("rating", "isfinite(TRY_CAST(rating AS DOUBLE))", "not a number")
        rating = ", rating::DOUBLE AS rating"
    connection.execute(f'CREATE TABLE log AS SELECT "row", "user", item, {time} AS "time"{rating} FROM text')
    connection.execute("DROP TABLE text")


def _kind_of_time(connection: DuckDBPyConnection) -> tuple[str, str]:
    """How to read the whole column, and what each value must be: whole numbers, else numbers, else dates; or what fits the most rows."""
    kinds = {
        # A cast to BIGINT would round 1.5 to 2.
        '"time"::BIGINT': 'regexp_full_match(trim("time"), \'[+-]?[0-9]+\') AND TRY_CAST("time" AS BIGINT) IS NOT NULL',
        '"time"::DOUBLE': 'isfinite(TRY_CAST("time" AS DOUBLE))',
        'epoch_us("time"::TIMESTAMPTZ)': 'epoch_us(TRY_CAST("time" AS TIMESTAMPTZ)) IS NOT NULL',
    }
    fits_until = {}
    for expression, condition in kinds.items():
        row = _value(connection, f'SELECT min("row") FROM text WHERE NOT coalesce({condition}, false)')
        if row is None:
            return expression, condition
        fits_until[expression] = row
    best = max(fits_until, key=fits_until.__getitem__)
    return best, kinds[best]


def _choose(path: Path, role: str, wanted: str | None, names: list[str]) -> int | None:
    """The place of a role's column among names, from 0."""
    if wanted is not None:
        if wanted in names:
            return names.index(wanted)
        if wanted.isdecimal() and 1 <= int(wanted) <= len(names):
            return int(wanted) - 1
        raise InputError(f"{path}: no column {wanted!r} for the {role}; there are: {', '.join(names)}")
    plain = [re.sub(r"[ _-]", "", name.lower()) for name in names]
    return next((plain.index(known) for known in KNOWN_NAMES[role] if known in plain), None)


def _rows(path: Path, kind: str) -> Iterator[tuple[int, list[str]]]:
    """The line each row of a text log starts at, from 1, and its fields; blank lines are no rows. For the header, and to name a row."""
    opened: Any = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as file:
        if kind == "dat":
            yield from ((line, text.rstrip("\r\n").split("::")) for line, text in enumerate(file, 1) if text.strip())
            return
        reader = csv.reader(file, delimiter=DELIMITERS[kind], quoting=csv.QUOTE_NONE if kind in HEADERLESS else csv.QUOTE_MINIMAL)
        line = 1
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num + 1


def _value(connection: DuckDBPyConnection, query: str) -> Any:
    row = connection.execute(query).fetchone()
    return row[0] if row else None


def _exactly(path: Path) -> str:
    """The path as DuckDB takes it: a name with [, * or ? is that file, not a pattern."""
    return glob.escape(str(path))


def _compression(path: Path) -> str:
    return "'gzip'" if path.name.lower().endswith(".gz") else "'none'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
