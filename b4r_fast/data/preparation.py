"""From a raw log to a folder of sequences, through DuckDB with bounded memory.

The papers' preprocessing (SASRec, BERT4Rec section 4.1): every action counts whatever its rating, users and items with fewer than 5 actions
go, the rest of a user's actions are ordered by time. Items are numbered by falling popularity, ties by first appearance, so that the
log-uniform sampler fits and frequent items lie together in memory; users by first appearance.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..extras import require
from ..files import atomic_folder
from .logs import Columns, read_log
from .sequences import FORMAT, PreparedData

MEMORY_LIMIT = "2GB"
CHUNK = 4_000_000  # actions copied out of DuckDB at a time


@dataclass(frozen=True)
class Preprocessing:
    """What is kept of a log. min_rating: actions rated at least this. min_user_actions, min_item_actions: iterated until both hold.

    deduplicate: of a user's actions with one item keep the "first" or the "last"; None keeps all.
    """

    min_rating: float | None = None
    min_user_actions: int = 1
    min_item_actions: int = 1
    deduplicate: str | None = None


def prepare(
    log: str | Path,
    out: str | Path,
    *,
    columns: Columns | None = None,
    file_format: str | None = None,
    header: bool = True,
    preprocessing: Preprocessing | None = None,
    expected: dict[str, int] | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> PreparedData:
    """Write a folder of sequences and open it; a prepared folder that was there is replaced when all is done.

    expected: statistics that must come out. Raises InputError for a log that cannot be read or leaves nothing, statistics that differ, and
    a folder that holds something else.
    """
    log, out = Path(log), Path(out)
    preprocessing = preprocessing or Preprocessing()
    if preprocessing.deduplicate not in (None, "first", "last"):
        raise InputError(f"deduplicate must be 'first' or 'last', got {preprocessing.deduplicate!r}")
    if out.exists() and PreparedData.read_statistics(out) is None and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists and is not prepared data; it is left alone, choose another --out")
    duckdb = require("duckdb")
    with atomic_folder(out) as folder, tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as scratch:
        connection = duckdb.connect(
            str(Path(scratch) / "log.duckdb"),
            config={"memory_limit": MEMORY_LIMIT, "temp_directory": scratch, "preserve_insertion_order": True},
        )
        connection.execute("SET enable_progress_bar = false")
        try:
            progress(f"reading {log}")
            read_log(connection, log, columns or Columns(), file_format, header)
            progress("filtering")
            _filter(connection, log, preprocessing)
            progress("ordering")
            _number(connection)
            progress("writing")
            statistics = _write(connection, folder)
        except duckdb.OutOfMemoryException as error:
            raise InputError(f"{log}: DuckDB ran out of memory or disk: {str(error).splitlines()[0]}") from None
        finally:
            connection.close()
        statistics["source"] = log.name
        for name, value in (expected or {}).items():
            if statistics[name] != value:
                raise InputError(f"{log}: gives {statistics[name]:,} {name}, where {value:,} are published: not the expected data")
        (folder / "statistics.json").write_text(json.dumps(statistics, indent=2) + "\n")
    return PreparedData.open(out)


def _filter(connection, log: Path, options: Preprocessing) -> None:
    def left(option: str) -> int:
        (rows,) = connection.execute("SELECT count(*) FROM log").fetchone()
        if rows == 0:
            raise InputError(f"{log}: no action is left after {option}")
        return rows

    if options.min_rating is not None:
        if connection.execute("SELECT count(rating) FROM log").fetchone()[0] == 0:
            raise InputError(f"{log}: --min-rating needs a rating column; name it with --rating-column")
        connection.execute("DELETE FROM log WHERE rating < ?", [options.min_rating])
        left(f"--min-rating {options.min_rating:g}")
    if options.deduplicate:
        order = "" if options.deduplicate == "first" else "DESC"
        connection.execute(
            f"""CREATE OR REPLACE TABLE log AS SELECT * FROM log QUALIFY
                row_number() OVER (PARTITION BY "user", item ORDER BY "time" {order}, line {order}) = 1"""
        )
    cores = {"user": options.min_user_actions, "item": options.min_item_actions}
    before = -1
    while before != (before := left(f"--min-user-actions {cores['user']} and --min-item-actions {cores['item']}")):
        for role, least in cores.items():
            if least > 1:
                connection.execute(
                    f'DELETE FROM log WHERE "{role}" IN (SELECT "{role}" FROM log GROUP BY "{role}" HAVING count(*) < ?)', [least]
                )


def _number(connection) -> None:
    """Number users and items, and sort: users, then time, then file order."""
    connection.execute(
        """CREATE TABLE users AS SELECT (row_number() OVER (ORDER BY first, raw) - 1)::INTEGER AS id, raw
           FROM (SELECT "user" AS raw, min(line) AS first FROM log GROUP BY "user")"""
    )
    connection.execute(
        """CREATE TABLE items AS SELECT (row_number() OVER (ORDER BY actions DESC, first, first_time, raw))::INTEGER AS id, raw, actions
           FROM (SELECT item AS raw, count(*) AS actions, min(line) AS first, min("time") AS first_time FROM log GROUP BY item)"""
    )
    connection.execute(
        """CREATE TABLE actions AS SELECT users.id AS "user", items.id AS item, "time", line
           FROM log JOIN users ON users.raw = log."user" JOIN items ON items.raw = log.item ORDER BY 1, 3, 4"""
    )


def _write(connection, folder: Path) -> dict:
    connection.execute("COPY (SELECT id, raw FROM users ORDER BY id) TO ? (FORMAT parquet)", [str(folder / "users.parquet")])
    connection.execute("COPY (SELECT id, raw FROM items ORDER BY id) TO ? (FORMAT parquet)", [str(folder / "items.parquet")])
    lengths = connection.execute('SELECT count(*) AS n FROM actions GROUP BY "user" ORDER BY "user"').fetchnumpy()["n"].astype(np.int64)
    counts = connection.execute("SELECT actions FROM items ORDER BY id").fetchnumpy()["actions"].astype(np.int64)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    np.save(folder / "offsets.npy", offsets)
    np.save(folder / "counts.npy", np.concatenate(([0], counts)))
    total = int(offsets[-1])
    values = np.lib.format.open_memmap(folder / "values.npy", mode="w+", dtype=np.int32, shape=(total,))
    previous = (-1, -np.inf, -1)
    for start in range(0, total, CHUNK):
        # Row groups are sorted, so a range of row ids reads only its own.
        rows = connection.execute(
            'SELECT "user", item, "time", line FROM actions WHERE rowid >= ? AND rowid < ?', [start, min(start + CHUNK, total)]
        ).fetchnumpy()
        previous = _assert_ordered(rows, previous)
        values[start : start + len(rows["item"])] = rows["item"]
    values.flush()
    return {
        "format": FORMAT,
        "users": len(lengths),
        "items": len(counts),
        "actions": total,
        "average_length": total / len(lengths),
        "density": total / len(lengths) / len(counts),
        "shortest": int(lengths.min()),
        "median_length": float(np.median(lengths)),
        "longest": int(lengths.max()),
    }


def _assert_ordered(rows: dict[str, np.ndarray], previous: tuple) -> tuple:
    """Reading in order is what the result rests on, so it is checked: users rise, and a user's times, and lines where times are equal."""
    keys = [np.concatenate(([before], rows[name])) for name, before in zip(("user", "time", "line"), previous)]
    user, time, line = (np.diff(key.astype(np.float64)) for key in keys)
    ordered = (user > 0) | (user == 0) & ((time > 0) | (time == 0) & (line >= 0))
    if not ordered.all():
        raise RuntimeError("DuckDB returned actions out of order")
    return tuple(key[-1] for key in keys)
