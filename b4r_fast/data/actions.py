"""From rows of a log to its table of actions: the columns are chosen, lists in them are taken
apart, and everything is text first, so that what is wrong can be named.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from ..errors import InputError
from .columns import Column, chosen
from .sql import first_value
from .times import kind_of_time

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from .readers import Log

# From here on a column of floats gives one number to several ids.
EXACT_BELOW = {"FLOAT": 2**24, "DOUBLE": 2**53}
NO_VALUE = re.compile(r"(STRUCT|MAP|UNION)\b|.*\]$", re.DOTALL)  # types that no id has


@dataclass(frozen=True)
class Rows:
    """What rows come from: DuckDB's table function on a file, its columns, and the line of the
    n-th row.
    """

    function: str
    file: str
    columns: list[Column]
    line_of: Callable[[int], int]


def read_actions(connection: DuckDBPyConnection, log: Log, rows: Rows) -> dict[str, str]:
    """Create the table `log`. Returns the name of each role's column. Raises InputError that names
    the row and the column.
    """
    roles = {"user", "item", "time"} | ({"rating"} if log.with_rating else set())
    columns = chosen(log.path, log.columns, rows.columns, roles)
    reading = _Reading(connection, log, rows, columns)
    reading.check_types()
    reading.check_lengths()
    reading.create_text()
    for role in ("user", "item"):
        reading.check_ids(role)
    time = reading.check_time() if "time" in columns else '"row"'
    rating = ""
    if "rating" in columns:
        reading.demand("rating", "isfinite(TRY_CAST(rating AS DOUBLE))", "not a number")
        rating = ", rating::DOUBLE AS rating"
    connection.execute(
        f'CREATE TABLE log AS SELECT "row", "user", item, {time} AS "time"{rating} FROM text'
    )
    connection.execute("DROP TABLE text")
    return {role: column.name for role, column in columns.items()}


@dataclass(frozen=True)
class _Reading:
    """One log on its way, in the table text(row, line, user, item, time, rating): row counts the
    actions, line the rows of the log, which may hold lists of them.
    """

    connection: DuckDBPyConnection
    log: Log
    rows: Rows
    columns: dict[str, Column]

    @property
    def lines(self) -> str:
        picked = ", ".join(f'{column.sql} AS "{role}"' for role, column in self.columns.items())
        return f"(SELECT row_number() OVER () AS line, {picked} FROM {self.rows.function})"

    def create_text(self) -> None:
        values = ", ".join(
            f'unnest("{role}") AS "{role}"' if column.is_list else f'"{role}"'
            for role, column in self.columns.items()
        )
        texts = ", ".join(
            f'{_as_text(role, column.type)} AS "{role}"' for role, column in self.columns.items()
        )
        self.connection.execute(
            f'CREATE TABLE text AS SELECT row_number() OVER () AS "row", line, {texts}'
            f" FROM (SELECT line, {values} FROM {self.lines})",
            [self.rows.file],
        )

    def check_types(self) -> None:
        for role, column in self.columns.items():
            if NO_VALUE.match(column.type):
                self.refuse(role, "holds records, or lists of lists, and no values")
            if column.is_list and (role == "user" or not self.columns["item"].is_list):
                self.refuse(role, "holds lists, where one value is needed for each row")

    def check_lengths(self) -> None:
        """unnest would leave out a row whose list is empty, and fill up the shorter of two."""
        lists = [role for role, column in self.columns.items() if column.is_list]
        if not lists:
            return
        lengths = ", ".join(f'coalesce(len("{role}"), 0) AS "{role}"' for role in lists)
        equal = " AND ".join(f'"{role}" = item' for role in lists)
        bad = self.connection.execute(
            f"SELECT * FROM (SELECT line, {lengths} FROM {self.lines})"
            f" WHERE NOT (item > 0 AND {equal}) ORDER BY line LIMIT 1",
            [self.rows.file],
        ).fetchone()
        if bad is not None:
            line, found = bad[0], dict(zip(lists, bad[1:]))
            role = next((role for role in lists if found[role] != found["item"]), "item")
            uneven = f"has {found[role]:,} values for {found['item']:,} items"
            self.refuse(role, uneven if found["item"] else "is empty", line)

    def check_ids(self, role: str) -> None:
        kind = self.columns[role].type
        self.demand(role, f"trim(\"{role}\") <> ''", "")
        if kind in EXACT_BELOW:
            self.demand(
                role,
                f'abs("{role}"::DOUBLE) < {EXACT_BELOW[kind]}',
                f"of so large ids a column of {kind} merges some; write whole numbers or text",
            )

    def check_time(self) -> str:
        """How SQL reads the time."""
        expression, row = kind_of_time(self.connection)
        if row is not None:
            what = "neither a number nor a date such as 2024-05-31 17:00:00, to the nanosecond"
            guessed = self.log.columns.time is None
            self.refuse_value(
                "time", row, what + ("; `time_column` names another column" if guessed else "")
            )
        return expression

    def demand(self, role: str, condition: str, what: str) -> None:
        row = first_value(
            self.connection,
            f'SELECT min("row") FROM text WHERE NOT coalesce({condition}, false)',
        )
        if row is not None:
            self.refuse_value(role, row, what)

    def refuse_value(self, role: str, row: int, what: str) -> NoReturn:
        line, value = self.connection.execute(
            f'SELECT line, "{role}" FROM text WHERE "row" = {row}'
        ).fetchone() or (0, None)
        empty = "is empty or no UTF-8" if self.columns[role].type == "BLOB" else "is empty"
        self.refuse(role, f"is {value!r}: {what}" if (value or "").strip() else empty, line)

    def refuse(self, role: str, what: str, line: int | None = None) -> NoReturn:
        row = "" if line is None else f"row {self.rows.line_of(line)}: "
        column = self.columns[role].name
        raise InputError(f"{self.log.path}: {row}column {column!r}, the {role}, {what}")


def _as_text(role: str, kind: str) -> str:
    value = f'"{role}"'
    if kind == "BLOB":  # text, in files that do not say that it is
        return f"TRY(decode({value}))"
    if kind in EXACT_BELOW and role in ("user", "item"):
        # Whole numbers, which pandas makes floats of where one is missing.
        return (
            f"CASE WHEN isnan({value}) THEN NULL"
            f" WHEN {value} = trunc({value}) AND abs({value}) < {EXACT_BELOW[kind]}"
            f" THEN {value}::BIGINT::VARCHAR ELSE {value}::VARCHAR END"
        )
    return f"{value}::VARCHAR"
