"""From logs to sequences to packed Cloze batches."""

from .batches import ClozeBatch, ClozeBatches
from .columns import Columns
from .datasets import DATASETS, prepare_dataset
from .histories import read_histories
from .ids import RawIds
from .preparation import Preprocessing, prepare
from .sequences import PreparedData, Sequences
from .split import LeaveOneOut, leave_one_out

__all__ = [
    "DATASETS",
    "ClozeBatch",
    "ClozeBatches",
    "Columns",
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
