"""Which data it is, by content and not by place: a run remembers it, and notices data that was
prepared anew.
"""

from __future__ import annotations

import hashlib

import numpy as np

from .ids import RawIds
from .sequences import PreparedData

PARTS = ("items", "users", "actions")


def fingerprint(data: PreparedData) -> dict[str, str]:
    """The sha256 of each of PARTS: the numbering of items, that of users, and whose action was on
    what, in order.
    """
    sequences = data.sequences
    return {
        "items": of_ids(data.item_ids),
        "users": of_ids(data.user_ids),
        "actions": _sha256(sequences.ends, sequences.values),
    }


def of_ids(ids: RawIds) -> str:
    """Of a map of ids, whatever file it stands in."""
    written = [str(raw).encode("utf-8", "surrogatepass") for raw in ids.raw]
    lengths = np.array([len(raw) for raw in written], dtype=np.int64)  # "a", "bc" is not "ab", "c"
    return _sha256(lengths, np.frombuffer(b"".join(written), dtype=np.uint8))


def _sha256(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
