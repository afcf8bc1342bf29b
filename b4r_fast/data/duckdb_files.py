"""How a file is handed to DuckDB: every reader of one goes through here."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# In a pattern of DuckDB, and after the ? in the name of a database its options; and what Python
# makes of bytes that are not UTF-8, at which DuckDB fails.
SPECIAL = re.compile(r"[\\\[*?\udc80-\udcff]")


def table(function: str, *options: str) -> str:
    """A table function of SQL on one file, which `exactly` gives as its parameter.

    Without hive_partitioning a folder called user_id=jdoe above the file would replace its column
    of that name.
    """
    return f"{function}({', '.join(('?', 'hive_partitioning = false', *options))})"


@contextmanager
def exactly(path: Path) -> Iterator[str]:
    """The path of a file or a folder as DuckDB takes it: absolute, since ~x is a home and http:x
    an address, and a link of a plain name where there is something special in it, since no escaping
    is right for both \\ and [.
    """
    absolute = path.absolute()
    if _is_plain(absolute):
        yield str(absolute)
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, "link")
        link.symlink_to(absolute)
        yield str(link)


def plain_folder(path: Path) -> Path | None:
    """Where DuckDB's own files may lie: there, or where the system has its temporary ones, since
    DuckDB looks through links.
    """
    return path if _is_plain(path.absolute()) else None


def _is_plain(path: Path) -> bool:
    return not SPECIAL.search(path.as_posix())
