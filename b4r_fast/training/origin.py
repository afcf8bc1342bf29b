"""The data that a run was made from, wherever it lies now. All that turns ids of the data into ids
of the model, or goes on training, opens it here: data that was prepared anew numbers its items
otherwise, and nothing else would notice.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..data import PreparedData, RawIds
from ..data.fingerprint import PARTS, fingerprint, of_ids
from ..errors import InputError
from .settings import RunFile

ITEMS = "items.parquet"


def open_data(
    run: Path, file: RunFile, folder: str | Path | None = None, parts: Sequence[str] = PARTS
) -> PreparedData:
    """The run's data; folder: where it lies, when not where run.json says. Raises InputError where
    these parts of it are not those that the run was made from.
    """
    if folder is None and file.data is None:
        raise InputError(
            f"{run}: was {file.preset}, and has no data of its own; say with `data` which to take"
        )
    if folder is None and not Path(str(file.data)).exists():
        raise InputError(
            f"{file.data}: the data that {run} was trained on is no longer there; say with `data`"
            " where it lies now"
        )
    data = PreparedData.open(str(folder or file.data))
    if differing := _differing(run, file, data, parts):
        raise InputError(
            f"{data.folder}: its {' and '.join(differing)} are not those that {run} was trained on:"
            " it was prepared anew, or from another log; prepare the log of the run there again, or"
            " `train` a new run"
        )
    return data


def items_of(run: Path, file: RunFile, data: PreparedData) -> np.ndarray | None:
    """(items of the data,) int64: the number that the run has for each, 0 where it has none; None
    where all are numbered alike. Raises InputError where it has none of them.
    """
    ours, theirs = open_item_ids(run, file), data.item_ids
    if np.array_equal(ours.raw, theirs.raw):
        return None
    numbers = ours.to_internal_or_0(theirs.raw)
    if not numbers.any():
        raise InputError(f"{data.folder}: has none of the {len(ours)} items of {run}")
    return numbers


def open_item_ids(run: Path, file: RunFile) -> RawIds:
    """The run's own map of item ids. Raises InputError where it is another run's."""
    ids = RawIds(run / ITEMS, "item", first=1)
    if file.data is None and not ids.path.is_file():
        raise InputError(
            f"{run}: was {file.preset} without the raw ids of its items; `convert` again with"
            " `items`"
        )
    if file.fingerprint is not None and of_ids(ids) != file.fingerprint["items"]:
        raise InputError(
            f"{ids.path}: is not the map of items that {run} was trained with; bring back its own,"
            " or `train` a new run"
        )
    return ids


def _differing(run: Path, file: RunFile, data: PreparedData, parts: Sequence[str]) -> list[str]:
    """A run from before there were fingerprints has the map of its items alone."""
    if not parts:
        return []
    if file.fingerprint is None:
        ours = open_item_ids(run, file).raw
        return [] if np.array_equal(data.item_ids.raw, ours) else ["items"]
    found = fingerprint(data, parts)
    return [part for part in parts if found[part] != file.fingerprint[part]]
