"""Which tests stand for all of a lane."""

from collections.abc import Sequence
from hashlib import sha256

PARTS = 10


def tenth(cases: Sequence[str], commit: str) -> set[str]:
    """One of ten parts that share nothing, by the commit's hash; of fewer than ten cases one."""
    shuffled = sorted(cases, key=lambda case: sha256(case.encode()).digest())
    parts = min(PARTS, len(cases))
    return set(shuffled[int(commit, 16) % parts :: parts]) if parts else set()
