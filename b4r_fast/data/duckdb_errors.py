"""What DuckDB's errors say, in a line of our own: the one place that reads their wording, so the
one that an upgrade of DuckDB breaks.

The wording is that of DuckDB 2.0.0, which constraints.txt pins. tests/data/test_duckdb_errors.py
and test_logs.py hold every phrase against the DuckDB that is installed; what is not recognised
passes as its own first line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable


def disk_reason(error: Exception) -> str | None:
    """Why DuckDB could not write a file; None where an error is about something else."""
    message = str(error)
    if "No space left" in message:
        return "No space left on device"
    return message.splitlines()[0] if "Could not write" in message else None


def log_reason(error: Exception, rows: Iterable[tuple[int, list[str]]]) -> str:
    """What is wrong with a log, and at which row. rows: the line each starts at and its fields,
    read only where DuckDB miscounts.
    """
    message = str(error)
    if expected := re.search(r"Expected Number of Columns: (\d+) Found", message):
        # DuckDB counts lines otherwise where rows span several.
        for line, fields in rows:
            if len(fields) != int(expected[1]):
                return f"row {line}: {len(fields)} fields, where the first row has {expected[1]}"
    row = re.search(r"Line: (\d+)", message)
    size = re.search(r"Maximum line size of (\d+) bytes exceeded. Actual Size: ?(\d+)", message)
    if row and size:
        longest, found = f"{int(size[1]):,}", f"{int(size[2]):,}"
        return f"row {row[1]}: {found} bytes long, where a row may have {longest}"
    if row and "not utf-8" in message:
        return f"row {row[1]}: not UTF-8 text"
    if row and "unterminated quote" in message:
        return f"row {row[1]}: a quote is opened and never closed"
    if "invalid state" in message:
        return (
            "cannot be read: its rows do not all end alike, in LF or in CRLF, or text follows a"
            " closing quote"
        )
    first = re.sub(r"^(\w+ )+Error: ", "", message.splitlines()[0])
    return f"row {row[1]}: {first}" if row else f"cannot be read: {first}"
