"""How a file is handed to DuckDB: every reader of one goes through here."""

from __future__ import annotations

import glob
from pathlib import Path


def table(function: str, *options: str) -> str:
    """A table function of SQL on one file, which `exactly` gives as its parameter.

    Without hive_partitioning a folder called user_id=jdoe above the file would replace its column
    of that name.
    """
    return f"{function}({', '.join(('?', 'hive_partitioning = false', *options))})"


def exactly(path: Path) -> str:
    """The path as DuckDB takes it: a name with [, * or ? is that file, not a pattern."""
    return glob.escape(str(path))
