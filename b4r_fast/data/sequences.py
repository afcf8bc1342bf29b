"""Users' histories as `prepare` writes them: memory-mapped, so a data set of any size opens in
the time that one look at every item id takes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .ids import RawIds

if TYPE_CHECKING:
    from ..packed import PackedSequences

FORMAT = "b4r-fast prepared 1"
FILES = (
    "values.npy",
    "offsets.npy",
    "counts.npy",
    "items.parquet",
    "users.parquet",
    "statistics.json",
)


@dataclass(frozen=True)
class Sequences:
    """Histories of users end to end, chronological.

    values: (actions,) int32 item ids 1 to num_items. starts, ends: (users,) int64, user u owns
    values[starts[u]:ends[u]].
    """

    values: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    num_items: int

    def __len__(self) -> int:
        """The number of users."""
        return len(self.starts)

    def __getitem__(self, user: int) -> np.ndarray:
        return self.values[self.starts[user] : self.ends[user]]

    @property
    def lengths(self) -> np.ndarray:
        """(users,) int64: actions of each user."""
        return self.ends - self.starts

    def select(self, users: np.ndarray) -> Sequences:
        """The histories of some users."""
        return Sequences(self.values, self.starts[users], self.ends[users], self.num_items)

    def without_last(self, n: int | np.ndarray) -> Sequences:
        """Leave out the last n items of every user; n may be one number for each."""
        return Sequences(
            self.values, self.starts, np.maximum(self.ends - n, self.starts), self.num_items
        )

    def pack(self) -> PackedSequences:
        """All of them as a packed batch."""
        import torch  # a log is prepared without it

        from ..packed import PackedSequences

        lengths = self.lengths
        first = (
            np.repeat(self.starts - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths)
            if len(self)
            else np.empty(0, np.int64)
        )
        values = self.values[first + np.arange(lengths.sum())].astype(np.int64)
        return PackedSequences.from_lengths(torch.from_numpy(values), torch.from_numpy(lengths))

    def renumbered(self, numbers: np.ndarray) -> Sequences:
        """With other ids. numbers: (num_items,), the new id of each item, 0 for one that goes."""
        packed = self.pack()
        values = numbers[packed.values.numpy() - 1]
        owner = packed.sequence_of_token().numpy()[values > 0]
        ends = np.cumsum(np.bincount(owner, minlength=len(self)))
        starts = np.concatenate(([0], ends[:-1]))
        return Sequences(values[values > 0], starts, ends, int(numbers.max()))

    def counts(self) -> np.ndarray:
        """(num_items + 1,) int64: how often each item occurs; entry 0 is 0."""
        counts = np.zeros(self.num_items + 1, np.int64)
        for block in np.array_split(np.arange(len(self)), max(1, len(self) // 65_536)):
            counts += np.bincount(
                self.select(block).pack().values.numpy(), minlength=self.num_items + 1
            )
        return counts


@dataclass(frozen=True)
class PreparedData:
    """A folder that `prepare` wrote."""

    folder: Path
    statistics: dict
    sequences: Sequences

    @classmethod
    def open(cls, folder: str | Path) -> PreparedData:
        """Raises InputError where the folder is not a prepared one, or its files do not fit
        together.
        """
        folder = Path(folder)
        statistics = cls.read_statistics(folder)
        if statistics is None:
            raise InputError(f"{folder}: not a folder of prepared data; `prepare` makes one")
        try:
            values = np.load(folder / "values.npy", mmap_mode="r")
            offsets, counts = np.load(folder / "offsets.npy"), np.load(folder / "counts.npy")
        except Exception as error:  # a header that is damaged may end anywhere in Python's parser
            raise InputError(
                f"{folder}: values.npy, offsets.npy or counts.npy is absent, truncated or damaged"
                f" ({error}); prepare the data again"
            ) from None
        counted = [statistics.get(name) for name in ("users", "items", "actions")]
        # of JSON, which has other things too
        users, items, actions = (n if type(n) is int else -1 for n in counted)
        shapes = (
            values.shape == (actions,)
            and offsets.shape == (users + 1,)
            and counts.shape == (items + 1,)
        )
        if not (
            shapes
            and values.dtype == np.int32
            and offsets[0] == 0
            and offsets[-1] == counts.sum() == actions
        ):
            raise InputError(
                f"{folder}: its arrays do not fit its statistics.json; prepare the data again"
            )
        if (np.diff(offsets) < 0).any():
            raise InputError(f"{folder}: offsets.npy does not rise; prepare the data again")
        if len(values) and not (values.min() >= 1 and values.max() <= items):
            raise InputError(
                f"{folder}: values.npy holds item ids beyond 1 to {items}; prepare the data again"
            )
        return cls(folder, statistics, Sequences(values, offsets[:-1], offsets[1:], items))

    @staticmethod
    def read_statistics(folder: Path) -> dict | None:
        """The contents of statistics.json, None where it is not of a prepared folder."""
        try:
            statistics = json.loads((folder / "statistics.json").read_text())
        except (OSError, ValueError, RecursionError):
            return None
        return (
            statistics
            if isinstance(statistics, dict) and statistics.get("format") == FORMAT
            else None
        )

    @cached_property
    def item_ids(self) -> RawIds:
        return RawIds(self.folder / "items.parquet", "item", first=1)

    @cached_property
    def user_ids(self) -> RawIds:
        return RawIds(self.folder / "users.parquet", "user", first=0)
