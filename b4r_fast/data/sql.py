"""Small pieces that statements of SQL are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def first_value(connection: DuckDBPyConnection, query: str) -> Any:
    """The first value of the first row; None where there is no row."""
    row = connection.execute(query).fetchone()
    return row[0] if row else None
