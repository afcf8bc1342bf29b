"""Read an interaction log of any usual format into a DuckDB table, in file order.

DuckDB streams the file with bounded memory. The table is

    log(row BIGINT, user VARCHAR, item VARCHAR, time BIGINT or DOUBLE, rating DOUBLE)

with row the action's place in the file, from 1; time is that place where the log has no times,
dates are microseconds since 1970 in UTC; rating is there only when it is asked for. Errors name a
row by the line of the file that it starts at, in Parquet by its number from 1.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..extras import require
from .columns import Columns
from .duckdb_errors import disk_reason, log_reason
from .readers import Format, Log, read_parquet, read_sequences, read_text, rows
from .sources import source_of
from .sql import first_value

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FORMATS = {
    "csv": Format(".csv", read_text, delimiter=","),
    "tsv": Format(".tsv", read_text, delimiter="\t", quote=""),
    "parquet": Format(".parquet", read_parquet, binary=True),
    "inter": Format(".inter", read_text, delimiter="\t", quote="", typed=True),  # RecBole's
    # MovieLens's
    "dat": Format(
        ".dat", read_text, delimiter="::", quote="", columns=("user", "item", "rating", "time")
    ),
    "sequences": Format(".txt", read_sequences),
    "pairs": Format(None, read_text, delimiter=" ", quote="", columns=("user", "item")),
}
ONLY_PAIRS = 'SELECT bool_and(n = 2) FROM (SELECT count(*) AS n FROM log GROUP BY "user")'


def format_of(path: Path) -> str:
    """The format by the file name. Raises InputError where the name says nothing."""
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    for name, known in FORMATS.items():
        if suffix == known.suffix:
            return name
    raise InputError(
        f"{path}: the format is not clear from the name; give `file_format`, one of"
        f" {', '.join(FORMATS)}"
    )


def read_log(
    connection: DuckDBPyConnection,
    path: Path,
    columns: Columns,
    file_format: str | None = None,
    *,
    scratch: Path,
    header: bool = True,
    delimiter: str | None = None,
    quote: str | None = None,
    with_rating: bool = False,
) -> dict[str, str]:
    """Create the table `log`, and return the name of the column of each role, none for sequences.

    scratch: a folder for a copy of what cannot be read as it is. delimiter, quote: other ones than
    the format has. Raises InputError that names the file, and row or column; DuckDB's own errors
    where it lacks memory or disk.
    """
    if path.is_dir() or not path.exists():
        raise InputError(f"{path}: {'is a folder, not a log' if path.is_dir() else 'no such file'}")
    kind = file_format or format_of(path)
    if kind not in FORMATS:
        raise InputError(f"`file_format` must be one of {', '.join(FORMATS)}, got {kind!r}")
    log_format = _format(path, kind, delimiter, quote)
    duckdb = require("duckdb")
    connection.execute("SET TimeZone = 'UTC'")  # of dates that name no zone
    try:
        source = source_of(path, scratch, binary=log_format.binary)
        log = Log(path, source, kind, log_format, columns, header, with_rating)
        names = log_format.read(connection, log)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: cannot be unpacked: {error}") from None
    except duckdb.Error as error:
        if isinstance(error, duckdb.OutOfMemoryException) or disk_reason(error):
            raise
        raise InputError(f"{path}: {log_reason(error, rows(log))}") from None
    if not first_value(connection, "SELECT count(*) FROM log"):
        raise InputError(f"{path}: no row of data")
    if kind == "sequences" and file_format is None and first_value(connection, ONLY_PAIRS):
        raise InputError(
            f'{path}: every line holds two ids; say `file_format` pairs for "user item", or'
            " sequences for two items each"
        )
    return names


def _format(path: Path, kind: str, delimiter: str | None, quote: str | None) -> Format:
    """The format with another delimiter or quote, where they are given."""
    known = FORMATS[kind]
    if delimiter is None and quote is None:
        return known
    if not known.delimiter:
        raise InputError(
            f"{path}: {kind} has neither `delimiter` nor `quote`; `file_format` chooses another"
            " format"
        )
    delimiter = known.delimiter if delimiter is None else delimiter
    if not 1 <= len(delimiter.encode()) <= 4 or (not delimiter.isprintable() and delimiter != "\t"):
        raise InputError(f"`delimiter` must be 1 to 4 characters, such as ';', got {delimiter!r}")
    if quote is None:
        quote = known.quote if len(delimiter) == 1 else ""
    if quote and (len(quote.encode()) > 1 or len(delimiter) > 1 or quote in f"{delimiter}\r\n"):
        raise InputError(
            f"`quote` must be one character, beside a `delimiter` of one other, got {quote!r} and"
            f" {delimiter!r}"
        )
    return replace(known, delimiter=delimiter, quote=quote)
