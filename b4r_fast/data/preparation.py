"""From a raw log to a folder of sequences, through DuckDB with bounded memory.

The papers' preprocessing (SASRec, BERT4Rec section 4.1): every action counts whatever its rating,
users and items with fewer than 5 actions go, the rest of a user's actions are ordered by time.
Items are numbered by falling popularity, ties by first appearance, so that the log-uniform sampler
fits and frequent items lie together in memory; users by first appearance.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..extras import require
from ..files import atomic_folder, cannot_write
from ..signals import heard
from .columns import Columns
from .duckdb_errors import disk_reason
from .duckdb_files import exactly, plain_folder
from .logs import read_log
from .sequences import FILES, FORMAT, PreparedData, Sequences
from .split import leave_one_out
from .sql import first_value

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY_LIMIT = "2GB"
CHUNK = 4_000_000  # actions copied out of DuckDB at a time


@dataclass(frozen=True)
class Preprocessing:
    """What is kept of a log, applied in this order.

    min_rating: actions rated at least this. deduplicate: of a user's actions with one item the
    "first" or the "last" in time (equal times: in the file); None keeps all. min_user_actions,
    min_item_actions: users and items with fewer go, repeated until both hold.
    """

    min_rating: float | None = None
    min_user_actions: int = 1
    min_item_actions: int = 1
    deduplicate: str | None = None


# As pandas writes to text a column of whole numbers of which one was missing, or a column of lists;
# and two logs of which one went that way.
ODD_IDS = {
    "floats": r"bool_and(regexp_full_match(raw, '-?[0-9]+\.0'))",
    "floats and integers": (
        r"count(*) > count(DISTINCT regexp_replace(raw, '^(-?[0-9]+)\.0$', '\1'))"
    ),
    "lists": r"bool_and(regexp_full_match(raw, '\[.*\]'))",
}


def prepare(
    log: str | Path,
    out: str | Path,
    *,
    columns: Columns | None = None,
    file_format: str | None = None,
    header: bool = True,
    delimiter: str | None = None,
    quote: str | None = None,
    preprocessing: Preprocessing | None = None,
    expected: dict[str, int] | None = None,
    memory_limit: str = MEMORY_LIMIT,
    progress: Callable[[str], None] = lambda step: None,
) -> PreparedData:
    """Write a folder of sequences and open it; a prepared folder that was there is replaced when
    all is done.

    columns, file_format, header, delimiter, quote: how the log is written, where its name and its
    header do not say. expected: statistics that must come out. memory_limit: DuckDB's, a size such
    as "2GB"; beyond it DuckDB spills beside the output. Raises InputError for a log that cannot be
    read or leaves nothing, statistics that differ, and a folder that holds something else.
    """
    log, out = Path(log), Path(out)
    preprocessing = preprocessing or Preprocessing()
    if preprocessing.deduplicate not in (None, "first", "last"):
        raise InputError(f"`deduplicate` must be first or last, got {preprocessing.deduplicate!r}")
    _check_replaceable(out)
    with atomic_folder(out) as folder:
        with _database(log, out, folder.parent, memory_limit) as (connection, scratch):
            progress(f"reading {log}")
            names = read_log(
                connection,
                log,
                columns or Columns(),
                file_format,
                scratch=scratch,
                header=header,
                delimiter=delimiter,
                quote=quote,
                with_rating=preprocessing.min_rating is not None,
            )
            progress("filtering")
            _filter(connection, log, preprocessing)
            progress("ordering")
            _number(connection)
            progress("writing")
            statistics = _write(connection, folder) | {"odd_ids": _odd_ids(connection)}
        _check_expected(log, statistics, expected or {})
        statistics |= {
            "source": log.name,
            "columns": names,
            "preprocessing": asdict(preprocessing),
        }
        (folder / "statistics.json").write_text(json.dumps(statistics, indent=2) + "\n")
        _check_replaceable(out)  # somebody may have put a file there while the log was read
    return PreparedData.open(out)


@contextmanager
def _database(
    log: Path, out: Path, place: Path, memory_limit: str
) -> Iterator[tuple[DuckDBPyConnection, Path]]:
    """A database of its own in a scratch folder, in `place` if DuckDB can have it there; what it
    lacks is said of the log and of the output.
    """
    duckdb = require("duckdb")
    with tempfile.TemporaryDirectory(dir=plain_folder(place), ignore_cleanup_errors=True) as folder:
        scratch = Path(folder)
        try:
            with (
                _connect(scratch, memory_limit) as connection,
                heard(connection.interrupt),  # one statement may take minutes
            ):
                yield connection, scratch
        except duckdb.OutOfMemoryException:
            raise InputError(
                f"{log}: {memory_limit} of memory is not enough for it; give more with"
                " `memory_limit`"
            ) from None
        except duckdb.Error as error:
            if reason := disk_reason(error):
                raise cannot_write(out, reason) from None
            raise


def _check_expected(log: Path, statistics: dict, expected: dict[str, int]) -> None:
    for name, value in expected.items():
        if statistics[name] != value:
            raise InputError(
                f"{log}: gives {statistics[name]:,} {name}, where {value:,} are published: not the"
                " expected data"
            )


def _check_replaceable(out: Path) -> None:
    """Only an empty folder, or one that prepare wrote and nobody added to, is ever replaced."""
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"{out}: is a file; it is left alone, choose another `out`")
    there = sorted(path.name for path in out.iterdir())
    if there and PreparedData.read_statistics(out) is None:
        raise InputError(
            f"{out}: exists and is not prepared data; it is left alone, choose another `out`"
        )
    if others := [name for name in there if name not in FILES]:
        raise InputError(
            f"{out}: holds {others[0]} beside prepared data; it is left alone, move that away or"
            " choose another `out`"
        )


def _connect(scratch: Path, memory_limit: str) -> DuckDBPyConnection:
    duckdb = require("duckdb")
    connection = duckdb.connect(
        str(scratch / "log.duckdb"),
        config={"temp_directory": str(scratch), "preserve_insertion_order": True},
    )
    connection.execute("SET enable_progress_bar = false")
    try:
        connection.execute("SET memory_limit = ?", [memory_limit])
    except duckdb.Error:
        connection.close()
        raise InputError(
            f"`memory_limit` must be a size such as 2GB, got {memory_limit!r}"
        ) from None
    return connection


def _filter(connection: DuckDBPyConnection, log: Path, options: Preprocessing) -> None:
    def left(option: str) -> int:
        (rows,) = connection.execute("SELECT count(*) FROM log").fetchone() or (0,)
        if rows == 0:
            raise InputError(f"{log}: no action is left after {option}")
        return rows

    if options.min_rating is not None:
        connection.execute("DELETE FROM log WHERE rating < ?", [options.min_rating])
        left(f"`min_rating` {options.min_rating:g}")
    if options.deduplicate:
        order = "ASC" if options.deduplicate == "first" else "DESC"
        connection.execute(
            f"""CREATE OR REPLACE TABLE log AS SELECT * FROM log QUALIFY row_number() OVER (
                PARTITION BY "user", item ORDER BY "time" {order}, "row" {order}) = 1"""
        )
    minima = {"user": options.min_user_actions, "item": options.min_item_actions}
    if max(minima.values()) <= 1:
        return
    before = -1
    while before != (
        before := left(
            f"`min_user_actions` {minima['user']} and `min_item_actions` {minima['item']}"
        )
    ):
        for role, least in minima.items():
            connection.execute(
                f'DELETE FROM log WHERE "{role}" IN (SELECT "{role}" FROM log GROUP BY "{role}"'
                " HAVING count(*) < ?)",
                [least],
            )


def _number(connection: DuckDBPyConnection) -> None:
    """Number users and items, and sort: users, then time, then file order."""
    connection.execute(
        """CREATE TABLE users AS SELECT (row_number() OVER (ORDER BY first) - 1)::INTEGER AS id, raw
           FROM (SELECT "user" AS raw, min("row") AS first FROM log GROUP BY "user")"""
    )
    connection.execute(
        """CREATE TABLE items AS
           SELECT (row_number() OVER (ORDER BY actions DESC, first))::INTEGER AS id, raw, actions
           FROM (SELECT item AS raw, count(*) AS actions, min("row") AS first
                 FROM log GROUP BY item)"""
    )
    connection.execute(
        """CREATE TABLE actions AS SELECT users.id AS "user", items.id AS item, "time", "row"
           FROM log JOIN users ON users.raw = log."user" JOIN items ON items.raw = log.item
           ORDER BY 1, 3, 4"""
    )


def _odd_ids(connection: DuckDBPyConnection) -> dict[str, list[str]]:
    """Of users and items, what their ids look like that may not be meant."""
    return {
        role: [
            oddity
            for oddity, condition in ODD_IDS.items()
            if first_value(connection, f"SELECT {condition} FROM {role}s AS ids")
        ]
        for role in ("user", "item")
    }


def _write(connection: DuckDBPyConnection, folder: Path) -> dict:
    with exactly(folder) as place:
        for ids in ("users", "items"):
            connection.execute(
                f"COPY (SELECT id, raw FROM {ids} ORDER BY id) TO ? (FORMAT parquet)",
                [f"{place}/{ids}.parquet"],
            )
    lengths = (
        connection.execute('SELECT count(*) AS n FROM actions GROUP BY "user" ORDER BY "user"')
        .fetchnumpy()["n"]
        .astype(np.int64)
    )
    counts = (
        connection.execute("SELECT actions FROM items ORDER BY id")
        .fetchnumpy()["actions"]
        .astype(np.int64)
    )
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    np.save(folder / "offsets.npy", offsets)
    np.save(folder / "counts.npy", np.concatenate(([0], counts)))
    total = int(offsets[-1])
    _write_values(connection, folder / "values.npy", total)
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
        **_repeats(connection, folder, offsets, len(counts)),
    }


def _repeats(
    connection: DuckDBPyConnection, folder: Path, offsets: np.ndarray, num_items: int
) -> dict[str, float | None]:
    """The share of actions whose item the user had before, of all that have a before, and of those
    that are held out; None where there are none.
    """
    pairs = first_value(
        connection, 'SELECT count(*) FROM (SELECT DISTINCT "user", item FROM actions)'
    )
    users, actions = len(offsets) - 1, int(offsets[-1])
    values = np.load(folder / "values.npy", mmap_mode="r")
    sequences = Sequences(values, offsets[:-1], offsets[1:], num_items)
    held_out = (sequences.lengths >= 3).any()
    return {
        "repeats": (actions - pairs) / (actions - users) if actions > users else None,
        "held_out_repeats": leave_one_out(sequences).share_of_repeats() if held_out else None,
    }


def _write_values(connection: DuckDBPyConnection, path: Path, total: int) -> None:
    """The items in order, by plain writes: a full disk then raises an error, where a memory map
    would kill the process.
    """
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<i4", "fortran_order": False, "shape": (total,)}
        )
        for start in range(0, total, CHUNK):
            # The table is sorted, so a range of row ids reads only its own part of it. One row of
            # the chunk before checks the seam.
            overlap = min(start, 1)
            rows = connection.execute(
                'SELECT "user", item, "time", "row" FROM actions WHERE rowid >= ? AND rowid < ?',
                [start - overlap, start + CHUNK],
            ).fetchnumpy()
            _assert_ordered(rows)
            file.write(rows["item"][overlap:].astype("<i4").data)


def _assert_ordered(rows: dict[str, np.ndarray]) -> None:
    """Reading in order is what the result rests on, so it is checked: users rise, then a user's
    times, then rows where times are equal.
    """
    (user, next_user), (time, next_time), (row, next_row) = (
        (rows[key][:-1], rows[key][1:]) for key in ("user", "time", "row")
    )
    in_time = (time < next_time) | (time == next_time) & (row < next_row)
    if not ((user < next_user) | (user == next_user) & in_time).all():
        raise RuntimeError("DuckDB returned actions out of order")
