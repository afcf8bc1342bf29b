"""Which tests stand for all of a lane."""

from collections.abc import Sequence
from hashlib import sha256

PARTS = 10


def tenth(cases: Sequence[str], commit: str) -> set[str]:
    """One of ten parts that share nothing, by the commit's hash; of fewer than ten cases one.

    Cases of one test and of one last parameter, which cost alike, are spread over all parts.
    """

    def order(case: str) -> tuple[str, str, bytes]:
        test, _, parameters = case.partition("[")
        return test, parameters.rpartition("-")[2], sha256(case.encode()).digest()

    ordered, parts = sorted(cases, key=order), min(PARTS, len(cases))
    return set(ordered[int(commit, 16) % parts :: parts]) if parts else set()
