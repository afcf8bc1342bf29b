"""The leave-one-out split (BERT4Rec, section 4.1): a user's last item tests, the second-last
validates, the rest trains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .sequences import Sequences

HELD_OUT = {"validation": 2, "test": 1}  # how many items of the end a stage's history lacks
USERS_AT_A_TIME = 65_536


@dataclass(frozen=True)
class LeaveOneOut:
    """train: what may be learned from. users: the (evaluated,) users with at least 3 actions;
    shorter ones keep all their actions in train.

    A stage's history is all before its target, so the validation item belongs to the test history.
    """

    sequences: Sequences
    train: Sequences
    users: np.ndarray

    def histories(self, stage: str, users: np.ndarray) -> Sequences:
        """The histories of some users at a stage, "validation" or "test"."""
        return self.sequences.select(users).without_last(HELD_OUT[stage])

    def targets(self, stage: str, users: np.ndarray) -> np.ndarray:
        """(users,) int64: the item that comes next."""
        return self.sequences.values[self.sequences.ends[users] - HELD_OUT[stage]].astype(np.int64)

    def repeats(self, stage: str, users: np.ndarray) -> np.ndarray:
        """(users,) bool: whether the item that comes next is in the history."""
        packed, targets = self.histories(stage, users).pack(), self.targets(stage, users)
        owner = packed.sequence_of_token().numpy()
        same = packed.values.numpy() == targets[owner]
        return np.bincount(owner[same], minlength=len(users)) > 0

    def share_of_repeats(self) -> float:
        """Of the held-out items of both stages."""
        parts = np.array_split(self.users, -(-len(self.users) // USERS_AT_A_TIME))
        repeats = sum(self.repeats(stage, part).sum() for stage in HELD_OUT for part in parts)
        return float(repeats / (len(HELD_OUT) * len(self.users)))


def leave_one_out(sequences: Sequences) -> LeaveOneOut:
    """Split. Raises InputError where no user has 3 actions."""
    long_enough = sequences.lengths >= 3
    if not long_enough.any():
        raise InputError(
            f"none of the {len(sequences)} users has 3 actions, so nobody can be held out for"
            " validation and test"
        )
    train = sequences.without_last(np.where(long_enough, 2, 0))
    return LeaveOneOut(sequences, train, np.flatnonzero(long_enough))
