"""From logs to sequences to packed Cloze batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .columns import Columns
from .datasets import DATASETS, prepare_dataset
from .histories import read_histories
from .ids import RawIds
from .preparation import Preprocessing, prepare
from .sequences import PreparedData, Sequences
from .split import LeaveOneOut, leave_one_out

if TYPE_CHECKING:
    from .batches import Batches, ClozeBatch, ClozeBatches
    from .drawn import DrawnBatches

__all__ = [
    "DATASETS",
    "Batches",
    "ClozeBatch",
    "ClozeBatches",
    "Columns",
    "DrawnBatches",
    "LeaveOneOut",
    "PreparedData",
    "Preprocessing",
    "RawIds",
    "Sequences",
    "leave_one_out",
    "prepare",
    "prepare_dataset",
    "read_histories",
]


def __getattr__(name: str) -> Any:
    """Batches are of torch, which takes a second to import; a log is prepared without it."""
    if name in ("Batches", "ClozeBatch", "ClozeBatches", "DrawnBatches"):
        from . import batches, drawn

        return getattr(drawn if name == "DrawnBatches" else batches, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
