"""Which columns of a log hold what: the ones that a person names, or those of usual names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from ..errors import InputError

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
        "itemidlist",
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
        "timestamplist",
    ),
    "rating": ("rating", "ratings", "score", "overall", "stars", "ratinglist"),
}
TIME_AND_DATE = ("time", "date")  # two halves, as they stand above


@dataclass(frozen=True)
class Columns:
    """Which columns hold what: a header name, or a number from 1; None guesses by name."""

    user: str | None = None
    item: str | None = None
    time: str | None = None
    rating: str | None = None


@dataclass(frozen=True)
class Column:
    """A column of a log. sql: its value, or a list of values; type: DuckDB's, of the value."""

    name: str
    sql: str
    type: str = "VARCHAR"
    is_list: bool = False


def chosen(
    path: Path, wanted: Columns, columns: list[Column], roles: set[str]
) -> dict[str, Column]:
    """The column of each of these roles; time only where there is one.

    Raises InputError where one is missing, or more than one could be meant.
    """
    found = {}
    for role in (role for role in KNOWN_NAMES if role in roles):
        name = getattr(wanted, role)
        column = _guess(path, role, columns) if name is None else _named(path, role, name, columns)
        if column is not None:
            found[role] = column
        elif role != "time":
            raise InputError(
                f"{path}: no column looks like the {role} among: {_names(columns)}; name it with"
                f" `{role}_column` (a name or a number){_hint(columns)}"
            )
    return found


def _named(path: Path, role: str, wanted: str, columns: list[Column]) -> Column:
    matching = [column for column in columns if column.name == wanted]
    if len(matching) > 1:
        raise InputError(
            f"{path}: {len(matching)} columns are called {wanted!r}; give the {role}'s number"
        )
    if matching:
        return matching[0]
    if wanted.isdecimal() and 1 <= int(wanted) <= len(columns):
        return columns[int(wanted) - 1]
    raise InputError(f"{path}: no column {wanted!r} for the {role}; there are: {_names(columns)}")


def _guess(path: Path, role: str, columns: list[Column]) -> Column | None:
    known = [
        (name, column)
        for name in KNOWN_NAMES[role]
        for column in columns
        if re.sub(r"[ _-]", "", column.name.lower()) == name
    ]
    if not known:
        return None
    names, candidates = zip(*known)
    first, *others = candidates
    mixed = any(column.is_list != first.is_list for column in others)
    if names == TIME_AND_DATE and not (mixed or first.is_list):
        return _joined(date=others[0], time=first)
    # A second time, or a sequence beside the item that follows it, would be left out in silence.
    if names.count(names[0]) == 1 and not mixed and (role != "time" or not others):
        return first
    raise InputError(
        f"{path}: {len(names)} columns look like the {role}: {_names(candidates)}; name one with"
        f" `{role}_column` (a name or a number)"
    )


def _joined(date: Column, time: Column) -> Column:
    day, clock = (f"nullif(trim(({column.sql})::VARCHAR), '')" for column in (date, time))
    return Column(f"{date.name} {time.name}", f"{day} || ' ' || {clock}")


def _names(columns: Iterable[Column]) -> str:
    return ", ".join(quote(column.name) for column in columns)


def _hint(columns: list[Column]) -> str:
    if len(columns) == 1:
        return ", or give another `delimiter`, for this is one column"
    if all(re.fullmatch(r'".*"', column.name) for column in columns):  # as R writes them
        return '; they are in quotes: give `quote` " to take those off'
    return ""
