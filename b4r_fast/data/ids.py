"""Raw ids, as the log has them, and internal ones."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..extras import require
from ..files import atomic_write
from .duckdb_files import exactly, table


class RawIds:
    """A two-way map, read from a Parquet file with columns id (from `first` on, without gaps) and
    raw.

    kind: "item" or "user", for messages.
    """

    def __init__(self, path: str | Path, kind: str, first: int) -> None:
        self.path, self.kind, self.first = Path(path), kind, first

    @cached_property
    def raw(self) -> np.ndarray:
        """(count,) of str: entry i is internal id first + i."""
        duckdb = require("duckdb")
        if not self.path.is_file():
            raise InputError(f"{self.path}: no such file; it holds the raw {self.kind} ids")
        try:
            with exactly(self.path) as file:
                columns = (
                    duckdb.connect()
                    .execute(f"SELECT id, raw FROM {table('read_parquet')} ORDER BY id", [file])
                    .fetchnumpy()
                )
        except duckdb.Error as error:
            raise InputError(
                f"{self.path}: not a readable map of {self.kind} ids: {str(error).splitlines()[0]}"
            ) from None
        if not np.array_equal(
            columns["id"], np.arange(self.first, self.first + len(columns["id"]))
        ):
            raise InputError(
                f"{self.path}: the {self.kind} ids are not {self.first}, {self.first + 1}, ..."
                " without gaps"
            )
        return np.asarray(columns["raw"], dtype=object)

    @cached_property
    def _internal(self) -> dict[str, int]:
        return {raw: self.first + i for i, raw in enumerate(self.raw)}

    def __len__(self) -> int:
        return len(self.raw)

    def to_raw(self, ids: np.ndarray) -> list[str]:
        """The raw ids of internal ones. Raises ValueError for an id out of range, padding among
        them.
        """
        rows = np.asarray(ids) - self.first
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise ValueError(
                f"{self.kind} ids must lie in [{self.first}, {self.first + len(self) - 1}], got"
                f" {np.asarray(ids).tolist()}"
            )
        return self.raw[rows].tolist()

    def to_internal(self, raw: Iterable[str]) -> np.ndarray:
        """(count,) int64. Raises InputError that names the first unknown raw id."""
        return np.array([self._find(value) for value in raw], dtype=np.int64)

    def to_internal_or_0(self, raw: Iterable[str]) -> np.ndarray:
        """(count,) int64, 0 for an unknown raw id."""
        return np.array([self._internal.get(str(value), 0) for value in raw], dtype=np.int64)

    def known(self, raw: Iterable[str]) -> list[str]:
        """Those raw ids that are in the map."""
        return [value for value in raw if str(value) in self._internal]

    @staticmethod
    def write(path: Path, raw: Sequence[str], first: int) -> None:
        """A map of these ids, in their order, as prepare writes it."""
        duckdb = require("duckdb")
        numbered = duckdb.connect()
        numbered.execute("CREATE TABLE ids (id INTEGER, raw VARCHAR)")
        numbered.execute(
            "INSERT INTO ids SELECT unnest(range(?, ?)), unnest(?::VARCHAR[])",
            [first, first + len(raw), [*raw]],
        )
        with atomic_write(path) as temporary, exactly(temporary) as file:
            numbered.execute("COPY (FROM ids ORDER BY id) TO ? (FORMAT parquet)", [file])

    def copy_to(self, path: Path) -> None:
        with atomic_write(path) as temporary:
            shutil.copyfile(self.path, temporary)

    def _find(self, value: str) -> int:
        try:
            return self._internal[str(value)]
        except KeyError:
            raise InputError(
                f"unknown {self.kind} {value!r}: it is not among the {len(self)} {self.kind}s of"
                f" {self.path}"
            ) from None
