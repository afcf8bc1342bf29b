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
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..extras import require
from .duckdb_errors import disk_reason, log_reason
from .readers import (
    Columns,
    Format,
    Log,
    first_value,
    read_parquet,
    read_sequences,
    read_text,
    rows,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FORMATS = {
    "csv": Format(".csv", read_text, delimiter=","),
    "tsv": Format(".tsv", read_text, delimiter="\t", quote=""),
    "parquet": Format(".parquet", read_parquet),
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
    with_rating: bool = False,
) -> None:
    """Create the table `log`; scratch is a folder for what must be unpacked first.

    Raises InputError that names the file, and row or column; DuckDB's own errors where it lacks
    memory or disk.
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
    log = Log(path, kind, FORMATS[kind], columns, header, with_rating, scratch)
    try:
        log.format.read(connection, log)
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
