"""Read an interaction log of any common format into a DuckDB table, in file order.

DuckDB streams the file with bounded memory. The table is

    log(line BIGINT, user VARCHAR, item VARCHAR, time BIGINT or DOUBLE, rating DOUBLE)

with line the row's place in the file, from 1, the header included; time is the place itself where the log has no time stamps.
"""

from __future__ import annotations

import csv
import gzip
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..extras import require

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
# MovieLens ratings.dat and "user item" text have no header.
HEADERLESS = {"dat": ["user", "item", "rating", "time"], "pairs": ["user", "item"]}


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
    raise InputError(f"{path}: the format is not clear from the name; give --format, one of {', '.join(FORMATS)}")


def read_log(connection, path: Path, columns: Columns, file_format: str | None = None, header: bool = True) -> None:
    """Create the table `log` on a DuckDB connection. Raises InputError that names the file, and row or column."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    kind = file_format or format_of(path)
    if kind not in FORMATS:
        raise InputError(f"--format must be one of {', '.join(FORMATS)}, got {kind!r}")
    duckdb = require("duckdb")
    try:
        if kind == "sequences":
            _read_sequences(connection, path)
        else:
            _read_table(connection, path, kind, columns, header)
    except duckdb.Error as error:
        raise InputError(f"{path}: {_reason(str(error))}") from None
    (rows,) = connection.execute("SELECT count(*) FROM log").fetchone()
    if rows == 0:
        raise InputError(f"{path}: no row of data")


def _reason(message: str) -> str:
    """One line out of DuckDB's many: the row, and what is wrong with it."""
    row = re.search(r"Line: (\d+)", message)
    fields = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message)
    first = message.splitlines()[0].removeprefix("Invalid Input Error: ").removeprefix("IO Error: ")
    if row and fields:
        return f"row {row[1]}: {fields[2]} fields, where the header has {fields[1]}"
    return f"row {row[1]}: {first}" if row else f"cannot be read: {first}"


def _read_sequences(connection, path: Path) -> None:
    connection.execute(
        """
        CREATE TABLE log AS
        SELECT line, line::VARCHAR AS "user", unnest(items) AS item,
               unnest(generate_series(1, len(items))) AS "time", NULL::DOUBLE AS rating
        FROM (SELECT row_number() OVER () AS line, string_split_regex(trim(text, E' \\t\\r'), '[ \\t]+') AS items
              FROM read_csv(?, delim = E'\\x01', header = false, auto_detect = false, quote = '', escape = '',
                            max_line_size = 33554432, columns = {'text': 'VARCHAR'}))
        WHERE items <> ['']
        """,
        [str(path)],
    )


def _read_table(connection, path: Path, kind: str, columns: Columns, header: bool) -> None:
    names = _column_names(connection, path, kind, header)
    chosen = {role: _choose(path, role, getattr(columns, role), names) for role in KNOWN_NAMES}
    for role in ("user", "item"):
        if chosen[role] is None:
            found = ", ".join(names)
            raise InputError(f"{path}: no column looks like the {role} among: {found}; name it with --{role}-column (a name or a number)")
    if kind == "parquet":
        source, options = "read_parquet(?)", [str(path)]
    else:
        has_header = kind not in HEADERLESS and header
        types = ", ".join(f"{_quote(name)}: 'VARCHAR'" for name in names)
        quote = "" if kind in ("dat", "pairs") else '"'
        source = (
            f"read_csv(?, delim = {_quote(DELIMITERS[kind])}, header = {has_header}, auto_detect = false, quote = {_quote(quote)},"
            f" escape = {_quote(quote)}, columns = {{{types}}})"
        )
        options = [str(path)]
    selected = ", ".join(f"{_identifier(name)}::VARCHAR AS {_identifier(role)}" for role, name in chosen.items() if name is not None)
    first_row = 2 if kind != "parquet" and kind not in HEADERLESS and header else 1
    connection.execute(f"CREATE TABLE text AS SELECT row_number() OVER () + {first_row - 1} AS line, {selected} FROM {source}", options)
    for role in ("user", "item"):
        name = chosen[role]
        missing = connection.execute(f'SELECT min(line) FROM text WHERE "{role}" IS NULL OR trim("{role}") = \'\'').fetchone()[0]
        if missing is not None:
            raise InputError(f"{path}: row {missing}: column {name!r}, the {role}, is empty")
    time = _time_expression(connection, path, chosen["time"])
    rating = _rating_expression(connection, path, chosen["rating"])
    connection.execute(f'CREATE TABLE log AS SELECT line, "user", item, {time} AS "time", {rating} AS rating FROM text')
    connection.execute("DROP TABLE text")


def _column_names(connection, path: Path, kind: str, header: bool) -> list[str]:
    if kind == "parquet":
        return [row[0] for row in connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(path)]).fetchall()]
    try:
        with gzip.open(path, "rt", newline="") if path.name.endswith(".gz") else open(path, newline="") as file:
            first = file.readline().rstrip("\r\n")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    fields = first.split("::") if kind == "dat" else next(csv.reader([first], delimiter=DELIMITERS[kind]), [])
    if kind in HEADERLESS:
        expected = HEADERLESS[kind]
        if not 2 <= len(fields) <= len(expected):
            what = "::".join(expected) if kind == "dat" else "two ids, user and item"
            raise InputError(f"{path}: row 1: {len(fields)} fields, where {kind} has {what}")
        return expected[: len(fields)]
    if not header:
        return [str(i + 1) for i in range(len(fields))]
    if kind == "inter":
        return [field.partition(":")[0] for field in fields]
    return fields


def _choose(path: Path, role: str, wanted: str | None, names: list[str]) -> str | None:
    if wanted is not None:
        if wanted in names:
            return wanted
        if wanted.isdigit() and 1 <= int(wanted) <= len(names):
            return names[int(wanted) - 1]
        raise InputError(f"{path}: no column {wanted!r} for the {role}; there are: {', '.join(names)}")
    plain = {re.sub(r"[ _-]", "", name.lower()): name for name in reversed(names)}
    return next((plain[known] for known in KNOWN_NAMES[role] if known in plain), None)


def _time_expression(connection, path: Path, name: str | None) -> str:
    """Whole numbers, else numbers, else dates; one kind for the whole column."""
    if name is None:
        return "line"
    casts = {
        "BIGINT": 'TRY_CAST("time" AS BIGINT)',
        "DOUBLE": 'TRY_CAST("time" AS DOUBLE)',
        "date": 'epoch_us(TRY_CAST("time" AS TIMESTAMP))',
    }
    # TRY_CAST rounds "1.5" to 2, so a whole number is one without a point or an exponent.
    whole = "regexp_full_match(trim(\"time\"), '[+-]?[0-9]+')"
    not_this = {kind: f"{cast} IS NULL" for kind, cast in casts.items()}
    not_this["BIGINT"] += f" OR NOT {whole}"
    first_bad = {kind: connection.execute(f"SELECT min(line) FROM text WHERE {bad}").fetchone()[0] for kind, bad in not_this.items()}
    for kind, cast in casts.items():
        if first_bad[kind] is None:
            return cast
    row = max(first_bad.values())
    (value,) = connection.execute(f'SELECT "time" FROM text WHERE line = {row}').fetchone()
    raise InputError(f"{path}: row {row}: column {name!r}, the time, is {value!r}: neither a number nor a date such as 2024-05-31 17:00:00")


def _rating_expression(connection, path: Path, name: str | None) -> str:
    if name is None:
        return "NULL::DOUBLE"
    bad = connection.execute("SELECT line, rating FROM text WHERE TRY_CAST(rating AS DOUBLE) IS NULL ORDER BY line LIMIT 1").fetchone()
    if bad:
        raise InputError(f"{path}: row {bad[0]}: column {name!r}, the rating, is {bad[1]!r}: not a number")
    return "TRY_CAST(rating AS DOUBLE)"


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
