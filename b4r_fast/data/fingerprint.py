"""Which data it is, by content and not by place: a run remembers it, and notices data that was
prepared anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from .ids import RawIds
from .sequences import PreparedData

PARTS = ("items", "users", "actions")


def fingerprint(data: PreparedData, parts: Iterable[str] = PARTS) -> dict[str, str]:
    """The sha256 of each part: the numbering of items, that of users, and whose action was on what,
    in order.
    """
    digests = {
        "items": lambda: of_ids(data.item_ids),
        "users": lambda: of_ids(data.user_ids),
        "actions": lambda: _sha256(data.sequences.ends, data.sequences.values),
    }
    return {part: digests[part]() for part in parts}


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
